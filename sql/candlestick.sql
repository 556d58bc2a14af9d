-- candlestick: ticks and candles into one bar

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET extra_float_digits = 1;
\set VERBOSITY sqlstate
\pset format unaligned

CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN coalesce(answer, 'null');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;

-- Ticks of two minutes, with ids, and candles.
SELECT (candlestick(ts, price, amount)).* FROM (VALUES ('2026-01-05 10:00:01Z'::timestamptz, 100.5::float8, 2::float8),
	('2026-01-05 10:00:30Z', 102, 1), ('2026-01-05 10:01:59Z', 101, 1)) AS t(ts, price, amount);
SELECT candle_start('1m', ts) AS ts, (candlestick(ts, price, amount, id)).* FROM (VALUES ('2026-01-05 10:00:01Z'::timestamptz, 100.5::float8, 2::float8, '10'),
	('2026-01-05 10:00:01Z', 102, 1, '9'), ('2026-01-05 10:01:59Z', 101, 1, '11'), ('2026-01-05 10:01:59Z', 99, 0, '12')) AS t(ts, price, amount, id)
GROUP BY 1 ORDER BY 1;
SELECT (candlestick(ts, open, high, low, close, volume)).* FROM (VALUES ('2026-01-05 10:00Z'::timestamptz, 10::float8, 12::float8, 9::float8, 11.25::float8, 4::float8),
	('2026-01-05 10:01Z', 11.25, 15, 11, 13, 8)) AS t(ts, open, high, low, close, volume);

-- A few thousand rows: times that many share, rows with nulls, volumes that add up exactly in any order, and ids of all kinds and sizes. Not
-- temporary, so that parallel workers can see it.
CREATE FUNCTION pg_temp.dice(n integer, what text, sides integer) RETURNS integer LANGUAGE sql AS
	$$SELECT ('x' || substr(md5(n || what), 1, 7))::bit(28)::integer % sides$$;
CREATE TABLE public.candlestick_feed (n integer PRIMARY KEY, hour timestamptz, ts timestamptz, price float8, amount float8, id text,
	open float8, high float8, low float8, close float8, volume float8, inexact float8);
INSERT INTO public.candlestick_feed
	SELECT n, candle_start('1h', ts), ts,
		CASE WHEN pg_temp.dice(n, 'price?', 40) > 0 THEN pg_temp.dice(n, 'price', 1000) / 8.0 - 20 END,
		CASE WHEN pg_temp.dice(n, 'amount?', 20) > 0 THEN pg_temp.dice(n, 'amount', 100) / 8.0 END,
		CASE pg_temp.dice(n, 'id', 8) WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN '00' || n % 100 WHEN 3 THEN 'x' || n % 100 WHEN 4 THEN repeat('9', n % 200) || n
			WHEN 5 THEN repeat('é', n % 150) WHEN 6 THEN repeat('long', 1000 + n % 3) ELSE (n % 100)::text END,
		CASE WHEN pg_temp.dice(n, 'open?', 80) > 0 THEN low + spread * open END, CASE WHEN pg_temp.dice(n, 'high?', 80) > 0 THEN low + spread * 8 END,
		CASE WHEN pg_temp.dice(n, 'low?', 80) > 0 THEN low END, CASE WHEN pg_temp.dice(n, 'close?', 80) > 0 THEN low + spread * close END,
		CASE WHEN pg_temp.dice(n, 'volume?', 20) > 0 THEN pg_temp.dice(n, 'volume', 100) / 8.0 END, pg_temp.dice(n, 'inexact', 100000) / 7.0
	FROM (SELECT n, pg_temp.dice(n, 'low', 1000) / 8.0 - 20 AS low, pg_temp.dice(n, 'spread', 9) / 8.0 AS spread,
			pg_temp.dice(n, 'open', 9) AS open, pg_temp.dice(n, 'close', 9) AS close,
			CASE WHEN pg_temp.dice(n, 'ts?', 40) > 0 THEN '2026-01-05Z'::timestamptz + pg_temp.dice(n, 'ts', 900) * interval '40 s' END AS ts FROM generate_series(1, 3000) AS n) AS r;
ANALYZE public.candlestick_feed;
SELECT count(*) - count(DISTINCT ts) > 2000 AS shared, count(*) - count(ts) > 30 AS no_time, count(*) - count(price) > 30 AS no_price, count(*) - count(amount) > 30 AS no_amount,
	count(*) - count(open + high + low + close) > 30 AS no_candle, min(octet_length(id)) AS shortest, max(octet_length(id)) AS longest FROM public.candlestick_feed;

-- What their bars are, in plain SQL: numbers before other ids, an empty one before both, and null before all.
CREATE FUNCTION pg_temp.of_ticks(rows integer[]) RETURNS ohlcv LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN count(*) > 0 THEN ROW((array_agg(price ORDER BY ts, price))[1], max(price), min(price), (array_agg(price ORDER BY ts DESC, price DESC))[1],
		sum(coalesce(amount, 0)), sum(price * amount) / nullif(sum(amount), 0), count(*))::tradekeep.ohlcv END
	FROM public.candlestick_feed WHERE n = ANY (rows) AND ts IS NOT NULL AND price IS NOT NULL
$$;
CREATE FUNCTION pg_temp.of_ids(rows integer[]) RETURNS ohlcv LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN count(*) > 0 THEN ROW((array_agg(price ORDER BY ts, number, id, price))[1], max(price), min(price), (array_agg(price ORDER BY ts DESC, number DESC, id DESC, price DESC))[1],
		sum(coalesce(amount, 0)), sum(price * amount) / nullif(sum(amount), 0), count(*))::tradekeep.ohlcv END
	FROM (SELECT ts, price, amount, id COLLATE "C" AS id, CASE WHEN id IS NULL THEN -2 WHEN id = '' THEN -1 WHEN id ~ '^[0-9]+$' THEN id::numeric ELSE 'NaN' END AS number FROM public.candlestick_feed
		WHERE n = ANY (rows) AND ts IS NOT NULL AND price IS NOT NULL) AS t
$$;
CREATE FUNCTION pg_temp.of_candles(rows integer[]) RETURNS ohlcv LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN count(*) > 0 THEN ROW((array_agg(open ORDER BY ts, open))[1], max(high), min(low), (array_agg(close ORDER BY ts DESC, close DESC))[1],
		sum(coalesce(volume, 0)), sum((high + low + close) / 3 * volume) / nullif(sum(volume), 0), count(*))::tradekeep.ohlcv END
	FROM public.candlestick_feed WHERE n = ANY (rows) AND ts IS NOT NULL AND open + high + low + close IS NOT NULL
$$;
-- All but the average is the same to the bit.
CREATE FUNCTION pg_temp.same(a ohlcv, b ohlcv) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
	SELECT (a.open, a.high, a.low, a.close, a.volume, a.count, a IS NULL) IS NOT DISTINCT FROM (b.open, b.high, b.low, b.close, b.volume, b.count, b IS NULL)
		AND (a.vwap IS NOT DISTINCT FROM b.vwap OR abs(a.vwap - b.vwap) <= 1e-12 * abs(b.vwap) + 1e-12)
$$;
SELECT tf, count(*) AS groups, count(*) FILTER (WHERE pg_temp.same(ticks, pg_temp.of_ticks(rows))) AS ticks, count(*) FILTER (WHERE pg_temp.same(ids, pg_temp.of_ids(rows))) AS ids,
	count(*) FILTER (WHERE pg_temp.same(candles, pg_temp.of_candles(rows))) AS candles, sum((ticks).count) AS ticks, sum((candles).count) AS candles
FROM (SELECT tf, candle_start(tf::timeframe, ts), array_agg(n) AS rows, candlestick(ts, price, amount) AS ticks, candlestick(ts, price, amount, id) AS ids,
		candlestick(ts, open, high, low, close, volume) AS candles
	FROM public.candlestick_feed, unnest('{1m,15m,1h,1d}'::text[]) AS tf GROUP BY 1, 2) AS g
GROUP BY tf ORDER BY tf::timeframe;
-- Volumes that do not add up exactly are right to 1e-12.
SELECT count(*) AS groups, bool_and(abs((t).volume / volume - 1) <= 1e-12) AS volume, bool_and(abs((t).vwap / vwap - 1) <= 1e-12) AS vwap,
	bool_and(abs((c).volume / volume - 1) <= 1e-12) AS candle_volume, bool_and((t).count = n AND (c).count = n) AS count
FROM (SELECT candlestick(ts, n, inexact) AS t, candlestick(ts, n, n, n, n, inexact) AS c, sum(inexact::numeric)::float8 AS volume,
		(sum(n * inexact::numeric) / sum(inexact::numeric))::float8 AS vwap, count(*) AS n FROM public.candlestick_feed WHERE ts IS NOT NULL GROUP BY candle_start('1h', ts)) AS g;
-- The order in which the rows come makes no difference, not to a bit.
SELECT count(DISTINCT ticks) AS ticks, count(DISTINCT ids) AS ids, count(DISTINCT ((candles).open, (candles).high, (candles).low, (candles).close, (candles).volume, (candles).count)) AS candles,
	count(*) AS orders
FROM generate_series(1, 30) AS i, LATERAL (
	SELECT candlestick(ts, price, amount ORDER BY orderly, f.n * (i - 2)) AS ticks, candlestick(ts, price, amount, id ORDER BY orderly, f.n * (i - 2)) AS ids,
		candlestick(ts, open, high, low, close, volume / 1024 ORDER BY orderly, f.n * (i - 2)) AS candles
	FROM (SELECT *, CASE WHEN i > 3 THEN md5(n::text || i) END AS orderly FROM public.candlestick_feed) AS f
	WHERE hour = '2026-01-05 03:00Z') AS bars;

-- Equal times: each list in the order in which it has to come out, sent both ways.
SELECT ids, (forward).open, (forward).close, forward = backward AS same FROM (
	SELECT ids, candlestick('2026-01-05Z', n, 1, id ORDER BY n) AS forward, candlestick('2026-01-05Z', n, 1, id ORDER BY n DESC) AS backward
	FROM unnest(ARRAY['["9", "10"]', '["9007199254740992", "9007199254740993"]', '["99999999999999999999999999999", "123456789012345678901234567890"]', '["9", "010"]',
		'["007", "07", "7", "8"]', '["B", "a"]', '["ab", "abc", "b"]', '["2", "x1"]', '["10", "9a"]', '["2", "-1"]', '["00", "0", "1"]', '["z", "é"]', '["", "0", " 1"]',
		'[null, "0"]', '[null, ""]', '[null, "0", "x"]', '["7", "7", "7"]', '[null, null]', '["x", "x"]']) AS ids,
		LATERAL jsonb_array_elements_text(ids::jsonb) WITH ORDINALITY AS i(id, n) GROUP BY ids) AS t ORDER BY ids COLLATE "C";
-- Without ids, or with the same, the price decides; time is before all of it, to the microsecond.
SELECT (candlestick('2026-01-05Z', price, 1)).*, candlestick('2026-01-05Z', price, 1) = candlestick('2026-01-05Z', price, 1, 'same') AS same
FROM unnest('{5,7,3,-1,4}'::float8[]) AS price;
SELECT (candlestick('2026-01-05Z', open, 20, 0, close, 1)).* FROM (VALUES (5, 6), (3, 12), (9, 8)) AS t(open, close);
SELECT (candlestick(ts, price, 1, id)).* FROM (VALUES ('2026-01-05 00:00:00.000002Z'::timestamptz, 1, '1'), ('2026-01-05 00:00:00.000001Z', 2, '2'), ('2026-01-05 00:00:00.000003Z', 3, '0')) AS t(ts, price, id);

-- Nothing: no rows, rows that do not count, groups without one.
SELECT candlestick(ts, price, amount) IS NULL AS ticks, candlestick(ts, price, amount, id) IS NULL AS ids, candlestick(ts, open, high, low, close, volume) IS NULL AS candles
FROM public.candlestick_feed WHERE false;
SELECT candlestick(NULL, NULL, NULL) IS NULL AS ticks, candlestick(NULL, NULL, NULL, NULL) IS NULL AS ids, candlestick(NULL, NULL, NULL, NULL, NULL, NULL) IS NULL AS candles FROM generate_series(1, 3);
SELECT n / 2 AS g, (candlestick('2026-01-05Z', CASE WHEN n > 3 THEN n END, 1)).*, candlestick('2026-01-05Z', CASE WHEN n > 3 THEN n END, 1) AS bar FROM generate_series(1, 5) AS n GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM (SELECT candlestick(ts, price, amount) FROM public.candlestick_feed WHERE false GROUP BY n) AS none;
-- A null at each place, between two rows that are whole: ids and amounts may be null, the others not.
SELECT n AS without, (candlestick(a[1]::timestamptz, a[2]::float8, a[3]::float8)).* FROM generate_series(1, 3) AS n, LATERAL (VALUES ('{2026-01-05Z,10,1}'::text[]),
	(array_replace('{2026-01-04Z,20,2}'::text[], ('{2026-01-04Z,20,2}'::text[])[n], NULL)), (array_replace('{2026-01-06Z,5,4}'::text[], ('{2026-01-06Z,5,4}'::text[])[n], NULL))) AS t(a) GROUP BY n ORDER BY n;
SELECT n AS without, (candlestick(a[1]::timestamptz, a[2]::float8, a[3]::float8, a[4])).* FROM generate_series(1, 4) AS n, LATERAL (VALUES ('{2026-01-05Z,10,1,b}'::text[]),
	(array_replace('{2026-01-05Z,20,2,c}'::text[], ('{2026-01-05Z,20,2,c}'::text[])[n], NULL)), (array_replace('{2026-01-05Z,5,4,a}'::text[], ('{2026-01-05Z,5,4,a}'::text[])[n], NULL))) AS t(a) GROUP BY n ORDER BY n;
SELECT n AS without, (candlestick(a[1]::timestamptz, a[2]::float8, a[3]::float8, a[4]::float8, a[5]::float8, a[6]::float8)).* FROM generate_series(1, 6) AS n, LATERAL (VALUES ('{2026-01-05Z,10,12,9,11,1}'::text[]),
	(array_replace('{2026-01-04Z,20,22,19,21,2}'::text[], ('{2026-01-04Z,20,22,19,21,2}'::text[])[n], NULL))) AS t(a) GROUP BY n ORDER BY n;

-- NaN is greater than every number, as in max(); infinity and overflow are what IEEE makes of them.
SELECT prices, amounts, (bar).*, ((bar).high, (bar).low) IS NOT DISTINCT FROM (highest, lowest) AS as_max_and_min, bar = backward AS same
FROM (SELECT prices, amounts, candlestick(ts, price, amount ORDER BY n) AS bar, candlestick(ts, price, amount ORDER BY n DESC) AS backward, max(price) AS highest, min(price) AS lowest
	FROM (VALUES ('{NaN}', '{1}'), ('{1,NaN,2}', '{1,1,1}'), ('{NaN,1}', '{1,1}'), ('{1,NaN}', '{1,1}'), ('{NaN,Infinity}', '{1,1}'), ('{Infinity,-Infinity,3}', '{1,1,1}'),
			('{1,2}', '{NaN,1}'), ('{1,2}', '{Infinity,1}'), ('{1,2}', '{Infinity,-Infinity}'), ('{1,2}', '{1e308,1.7e308}'), ('{1e308,1e308}', '{1e308,1}'),
			('{1,2}', '{0,0}'), ('{1,2}', '{5,-5}'), ('{1,2}', '{-5,3}'), ('{5e-324,-5e-324}', '{1,1}'), ('{0,-0}', '{1,0}')) AS t(prices, amounts),
		LATERAL unnest(prices::float8[], amounts::float8[]) WITH ORDINALITY AS u(price, amount, n), LATERAL (SELECT '2026-01-05Z'::timestamptz + n * interval '1 s' AS ts) AS at
	GROUP BY prices, amounts) AS b ORDER BY prices COLLATE "C", amounts COLLATE "C";
SELECT (candlestick('2026-01-05Z', price, 1)).* FROM unnest('{NaN,3,NaN,Infinity}'::float8[]) AS price;
SELECT (candlestick('2026-01-05Z'::timestamptz + n * interval '1 s', o, h, l, c, 1)).* FROM (VALUES (1, 'NaN'::float8, 2::float8, 'NaN'::float8, 1::float8), (2, 1, 'NaN', 1, 'Infinity'), (3, 1, 9, 1, 'NaN')) AS t(n, o, h, l, c);
SELECT (candlestick(ts::timestamptz, price, 1)).* FROM (VALUES ('infinity', 1), ('2026-01-05Z', 2), ('-infinity', 3), ('0044-03-15 BC', 4)) AS t(ts, price);

-- vwap of ticks is exact where the sums are; a candle's price is (high + low + close) / 3; without volume there is none.
SELECT (candlestick(ts, price, amount)).vwap = 101.5 AS ticks FROM (VALUES ('2026-01-05Z'::timestamptz, 100::float8, 1::float8), ('2026-01-06Z', 102, 3)) AS t(ts, price, amount);
SELECT (candlestick(ts, 1, h, l, c, v)).vwap = (10.0::float8 * 2 + 20 * 6) / 8 AS candles FROM (VALUES ('2026-01-05Z'::timestamptz, 15, 5, 10, 2), ('2026-01-06Z', 30, 12, 18, 6)) AS t(ts, h, l, c, v);
SELECT (candlestick(now(), 1, NULL)).vwap IS NULL AS no_amount, (candlestick(now(), 1, 0)).vwap IS NULL AS no_volume, (candlestick(now(), 1, 1, 1, 1, 0)).vwap IS NULL AS candle, (candlestick(now(), 1, NULL)).volume;

-- Literals without a type, and columns of other types.
SELECT candlestick('2026-01-05Z', 1, 2) AS literals, candlestick('2026-01-05Z', '1', '2', '3') AS ids, candlestick('2026-01-05Z', '1', 2, 0.5, '1', NULL) AS candles;
SELECT candlestick(d, i, n) AS numbers, candlestick(d, s, r, 'id') AS small, candlestick(t, n, n, n, i, b) AS candles, candlestick(t, i, i, v) AS varchars
FROM (VALUES ('2026-01-05'::date, '2026-01-05 12:00'::timestamp, 1, 2.5::numeric, 3::smallint, 0.5::real, 4::bigint, 'x'::varchar(5)), ('2026-01-06', '2026-01-05 13:00', 7, 3.25, 2, 0.25, 1, '5')) AS t(d, t, i, n, s, r, b, v);
-- No number is taken for an id, no text for a price.
SELECT pg_temp.outcome('SELECT tradekeep.candlestick(now(), 1, 1, 5::bigint)') AS id, pg_temp.outcome($$SELECT tradekeep.candlestick(now(), '1'::text, 1)$$) AS price,
	pg_temp.outcome($$SELECT tradekeep.candlestick(now(), 'x', 1)$$) AS bad, pg_temp.outcome('SELECT tradekeep.candlestick(now(), 1)') AS few, pg_temp.outcome('SELECT tradekeep.candlestick(now(), 1, 1, 1, 1)') AS five;

-- FILTER, DISTINCT, GROUPING SETS, and a bar more than once.
SELECT (candlestick(ts, price, amount) FILTER (WHERE n % 3 = 0)) = pg_temp.of_ticks(array_agg(n) FILTER (WHERE n % 3 = 0)) AS ticks,
	pg_temp.same(candlestick(ts, open, high, low, close, volume) FILTER (WHERE n % 3 = 0), pg_temp.of_candles(array_agg(n) FILTER (WHERE n % 3 = 0))) AS candles,
	candlestick(ts, price, amount) FILTER (WHERE false) IS NULL AS none FROM public.candlestick_feed;
SELECT (candlestick(DISTINCT '2026-01-05Z'::timestamptz, price, 1)).* FROM unnest('{5,5,7,5,NULL,7}'::float8[]) AS price;
SELECT (candlestick(DISTINCT '2026-01-05Z'::timestamptz, 1, 1, id)).count FROM unnest('{a,a,b,NULL,NULL,01,1}'::text[]) AS id;
SELECT (candlestick(DISTINCT '2026-01-05Z'::timestamptz, 1, 2, 1, 1, v)).* FROM unnest('{5,5,7,5,NULL,7}'::float8[]) AS v;
SELECT count(*) AS groups, bool_and(pg_temp.same(bar, pg_temp.of_ids(rows))) AS same
FROM (SELECT candlestick(ts, price, amount, id) AS bar, array_agg(n) AS rows FROM public.candlestick_feed GROUP BY GROUPING SETS ((), (n % 5), (n % 5, n % 3), CUBE (n % 2, n % 7))) AS g;

CREATE FUNCTION pg_temp.plan(query text, OUT gather boolean, OUT partial boolean, OUT final boolean) LANGUAGE plpgsql AS $$
DECLARE
	line text;
	lines text = '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		lines := lines || line;
	END LOOP;
	SELECT lines ~ 'Gather', lines ~ 'Partial', lines ~ 'Finalize' INTO gather, partial, final;
END
$$;
-- In parallel: the plan is partial, and its bars are the same to the bit as the serial ones.
CREATE VIEW pg_temp.bars AS SELECT hour, candlestick(ts, price, amount) AS ticks, candlestick(ts, price, amount, id) AS ids,
	candlestick(ts, open, high, low, close, volume) AS candles, candlestick(ts, CASE WHEN n < 0 THEN 1 END, 1, id) AS none,
	candlestick(ts, price, amount, id) FILTER (WHERE n % 600 = 7) AS few FROM public.candlestick_feed GROUP BY 1;
SET max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE serial AS TABLE pg_temp.bars;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT candlestick(ts, price, amount), candlestick(ts, price, amount, id), candlestick(ts, open, high, low, close, volume) FROM public.candlestick_feed;
SELECT * FROM pg_temp.plan('TABLE pg_temp.bars');
CREATE TEMP TABLE parallel AS TABLE pg_temp.bars;
SET parallel_leader_participation = off;
INSERT INTO parallel TABLE pg_temp.bars;
RESET parallel_leader_participation;
SELECT count(*), count(*) FILTER (WHERE (p.ticks, p.ids, p.few) IS NOT DISTINCT FROM (s.ticks, s.ids, s.few) AND p.none IS NULL) AS same, count(*) FILTER (WHERE pg_temp.same(p.candles, s.candles)) AS candles
FROM serial AS s JOIN parallel AS p ON p.hour IS NOT DISTINCT FROM s.hour;
-- Hardly a row with an id.
SELECT (candlestick('2026-01-05Z', n, 1, CASE n WHEN 1000 THEN 'x' WHEN 2000 THEN '1' END)).* FROM public.candlestick_feed WHERE n >= 1000;
RESET max_parallel_workers_per_gather;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
-- Partition by partition, where two states meet in one process.
CREATE TEMP TABLE parts (LIKE public.candlestick_feed) PARTITION BY HASH (n);
CREATE TEMP TABLE part0 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TEMP TABLE part1 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TEMP TABLE part2 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO parts TABLE public.candlestick_feed;
SET enable_partitionwise_aggregate = on;
SELECT * FROM pg_temp.plan('SELECT tradekeep.candlestick(ts, price, amount, id) FROM parts');
SELECT pg_temp.same(candlestick(ts, price, amount), pg_temp.of_ticks(array_agg(n))) AS ticks, pg_temp.same(candlestick(ts, price, amount, id), pg_temp.of_ids(array_agg(n))) AS ids,
	pg_temp.same(candlestick(ts, open, high, low, close, volume), pg_temp.of_candles(array_agg(n))) AS candles FROM parts;
RESET enable_partitionwise_aggregate;

-- Moving windows, row by row against what the rows of the frame make in plain SQL: frames that grow, move, jump and become empty, by rows, by
-- time and by peers, in the order of time and in others.
CREATE FUNCTION pg_temp.compare(frame text, filter text DEFAULT 'true', OUT rows bigint, OUT empty bigint, OUT ticks bigint, OUT ids bigint, OUT candles bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT count(*), count(*) FILTER (WHERE rows IS NULL), count(*) FILTER (WHERE pg_temp.same(ticks, pg_temp.of_ticks(rows))),
			count(*) FILTER (WHERE pg_temp.same(ids, pg_temp.of_ids(rows))), count(*) FILTER (WHERE pg_temp.same(candles, pg_temp.of_candles(rows)))
		FROM (SELECT array_agg(n) FILTER (WHERE %2$s) OVER w AS rows, tradekeep.candlestick(ts, price, amount) FILTER (WHERE %2$s) OVER w AS ticks,
				tradekeep.candlestick(ts, price, amount, id) FILTER (WHERE %2$s) OVER w AS ids, tradekeep.candlestick(ts, open, high, low, close, volume) FILTER (WHERE %2$s) OVER w AS candles
			FROM public.candlestick_feed WHERE n %% 16 = 0 WINDOW w AS (%1$s)) AS f', frame, filter)
	INTO rows, empty, ticks, ids, candles;
END
$$;
SELECT frame, c.* FROM unnest(ARRAY['ORDER BY n ROWS 10 PRECEDING', 'ORDER BY ts, n ROWS 10 PRECEDING', 'ORDER BY ts DESC, n ROWS BETWEEN 7 PRECEDING AND 7 FOLLOWING', 'ORDER BY n',
	'ORDER BY n ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING', 'ORDER BY n ROWS BETWEEN 100 FOLLOWING AND UNBOUNDED FOLLOWING', 'ORDER BY n ROWS CURRENT ROW',
	'ORDER BY n ROWS BETWEEN 30 PRECEDING AND 25 PRECEDING', 'ORDER BY n ROWS BETWEEN 3 FOLLOWING AND 9 FOLLOWING', 'ORDER BY n ROWS BETWEEN 1 PRECEDING AND 3 PRECEDING',
	'PARTITION BY n % 7 ORDER BY n ROWS 4 PRECEDING', 'PARTITION BY price IS NULL, amount IS NULL ORDER BY md5(n::text) ROWS 5 PRECEDING',
	'ORDER BY ts RANGE BETWEEN ''20 min'' PRECEDING AND CURRENT ROW', 'ORDER BY ts RANGE BETWEEN ''1 min'' PRECEDING AND ''40 s'' PRECEDING',
	'ORDER BY ts RANGE BETWEEN ''1 min'' FOLLOWING AND ''3 min'' FOLLOWING', 'ORDER BY ts DESC NULLS LAST RANGE BETWEEN ''5 min'' PRECEDING AND ''5 min'' FOLLOWING',
	'ORDER BY price RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING', 'ORDER BY ts GROUPS BETWEEN 2 PRECEDING AND 1 FOLLOWING', 'ORDER BY ts GROUPS BETWEEN 3 PRECEDING AND 2 PRECEDING',
	'ORDER BY n ROWS 10 PRECEDING EXCLUDE CURRENT ROW', 'ORDER BY ts RANGE BETWEEN ''20 min'' PRECEDING AND CURRENT ROW EXCLUDE GROUP',
	'ORDER BY ts GROUPS 2 PRECEDING EXCLUDE TIES', 'ORDER BY n ROWS CURRENT ROW EXCLUDE CURRENT ROW']) AS frame, pg_temp.compare(frame) AS c;
-- With a filter; and where no row of many frames counts.
SELECT filter, c.* FROM unnest(ARRAY['n % 3 = 0', 'price IS NULL', 'ts IS NULL OR price IS NULL OR open IS NULL', 'n % 400 = 0', 'false']) AS filter, pg_temp.compare('ORDER BY n ROWS 6 PRECEDING', filter) AS c;
-- Long frames, against the server's own windows.
SELECT count(*), count(*) FILTER (WHERE ((t).open, (t).high, (t).low, (t).close, (t).volume, (t).count) = (first, highest, lowest, last, volume, many)) AS same
FROM (SELECT candlestick('2026-01-05Z'::timestamptz + n * interval '1 s', inexact, n / 8.0, 'x') OVER w AS t, first_value(inexact) OVER w AS first, max(inexact) OVER w AS highest, min(inexact) OVER w AS lowest,
		last_value(inexact) OVER w AS last, (sum(n) OVER w) / 8.0 AS volume, count(*) OVER w AS many FROM public.candlestick_feed WINDOW w AS (ORDER BY n ROWS 999 PRECEDING)) AS w;
-- What has left a frame leaves no trace: not a huge volume, not NaN, not infinity.
SELECT n, price, amount, (bar).* FROM (SELECT n, price, amount, candlestick('2026-01-05Z'::timestamptz + n * interval '1 s', price, amount) OVER (ORDER BY n ROWS 1 PRECEDING) AS bar
	FROM (VALUES (1, 1::float8, 0.1::float8), (2, 2, 1e300), (3, 3, 0.1), (4, 4, 0.2), (5, 'NaN', 'NaN'), (6, 6, 0.1), (7, 7, 0.2), (8, '-Infinity', 'Infinity'), (9, 9, 0.1), (10, 10, 0.2)) AS t(n, price, amount)) AS w ORDER BY n;

-- The functions behind the aggregates take no calls, whatever is said to be internal.
SELECT function, pg_temp.outcome(format(call, 'NULL')) AS with_null, pg_temp.outcome(format(call, 'NULL::internal')) AS with_internal, pg_temp.outcome(format(call, '''x''')) AS with_text
FROM (SELECT p.oid::regprocedure AS function, format('SELECT tradekeep.%I(%s)', proname, string_agg(CASE t WHEN 'internal'::regtype THEN '%1$s' WHEN 'bytea'::regtype THEN '''\x00''' ELSE format('%L::%s', CASE t
		WHEN 'timestamptz'::regtype THEN '2026-01-05Z' ELSE '1' END, t::regtype) END, ', ' ORDER BY n)) AS call
	FROM pg_proc AS p, unnest(p.proargtypes) WITH ORDINALITY AS a(t, n) WHERE pronamespace = 'tradekeep'::regnamespace AND proname ~ '^candlestick_' GROUP BY p.oid) AS f ORDER BY function::text COLLATE "C";

-- For the level reader.
CREATE ROLE regress_tk_bars;
SET ROLE regress_tk_bars;
SELECT pg_temp.outcome($$SELECT tradekeep.candlestick('2026-01-05Z', 1, 2)$$);
RESET ROLE;
SELECT grant_access('regress_tk_bars', 'reader');
SET ROLE regress_tk_bars;
SELECT candlestick('2026-01-05Z', 1, 2) AS ticks, candlestick('2026-01-05Z', 1, 2, 'x') AS ids, candlestick('2026-01-05Z', 1, 1, 1, 1, 1) AS candles;
SELECT candlestick('2026-01-05Z', n, 2) OVER (ORDER BY n ROWS 1 PRECEDING) FROM generate_series(1, 3) AS n;
RESET ROLE;
SELECT revoke_access('regress_tk_bars');
DROP ROLE regress_tk_bars;
DROP VIEW pg_temp.bars;
DROP TABLE public.candlestick_feed;
