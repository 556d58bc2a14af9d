-- candle: OHLCV bars, and which of two wins

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET extra_float_digits = 1;
\set VERBOSITY sqlstate

-- What a statement comes to: its SQLSTATE, or its answer.
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

-- A bar comes, comes again, grows, and is final.
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 101, 99, 100, 5, closed => false) AS partial,
	upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 101, 99, 100, 5, closed => false) AS again,
	upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 103, 99, 102, 7, closed => false) AS grown,
	upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 101, 99, 100, 5, closed => false) AS late,
	upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 104, 98, 103, 9) AS final,
	upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 104, 98, 103, 9) AS final_again,
	upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 105, 98, 103, 99, closed => false) AS partial_after,
	upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 104, 98, 103, 8) AS correction,
	upsert_candle('BTC', '1m', '2026-01-05 10:16Z', 103, 103, 103, 103, 0, closed => NULL) AS without_trades;
SELECT * FROM candle;

-- Which bar wins: every stored bar against every incoming one, by function, by plain UPDATE and by
-- ON CONFLICT DO UPDATE. Functions only supply; what is derived comes by the others.
CREATE TEMP TABLE bars (n serial, name text, open float8, high float8, low float8, close float8, volume float8, closed boolean, sources integer);
INSERT INTO bars (name, open, high, low, close, volume, closed, sources) VALUES
	('partial', 10, 12, 9, 11, 5, false, NULL),
	('partial, other close', 10, 12, 9, 10, 5, false, NULL),
	('partial, more volume', 10, 12, 9, 11, 6, false, NULL),
	('partial, higher', 10, 13, 9, 11, 5, false, NULL),
	('partial, lower', 10, 12, 8, 11, 5, false, NULL),
	('partial, higher, less volume', 10, 13, 9, 11, 4, false, NULL),
	('final', 10, 12, 9, 11, 5, true, NULL),
	('final, less volume', 10, 12, 9, 11, 4, true, NULL),
	('derived partial', 10, 12, 9, 11, 5, false, 3),
	('derived partial of more', 10, 12, 9, 11, 5, false, 4),
	('derived final', 10, 12, 9, 11, 5, true, 5);

CREATE FUNCTION pg_temp.store(stored bars) RETURNS void LANGUAGE sql AS $$
	DELETE FROM tradekeep.candle WHERE symbol = 'RULE';
	INSERT INTO tradekeep.candle VALUES ('RULE', '1h', '2026-01-05Z', stored.open, stored.high, stored.low, stored.close,
		stored.volume, stored.closed, stored.sources);
$$;
-- Whether the row is the incoming bar in a new version, or the stored one in its old version.
CREATE FUNCTION pg_temp.became(stored bars, incoming bars) RETURNS text LANGUAGE sql AS $$
	SELECT CASE
		WHEN bar IS NOT DISTINCT FROM row(incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume,
			incoming.closed, incoming.sources) AND versions = 1 THEN 'updated'
		WHEN bar IS NOT DISTINCT FROM row(stored.open, stored.high, stored.low, stored.close, stored.volume,
			stored.closed, stored.sources) AND versions = 0 THEN 'kept'
		ELSE 'broken' END
	FROM (SELECT row(c.open, c.high, c.low, c.close, c.volume, c.closed, c.sources) AS bar,
			pg_stat_get_xact_tuples_updated(c.tableoid) - current_setting('test.updates')::bigint AS versions
		FROM tradekeep.candle AS c WHERE symbol = 'RULE') AS c
$$;
CREATE FUNCTION pg_temp.judge(stored bars, incoming bars, OUT by_update text, OUT by_upsert text, OUT by_function text)
	LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_temp.store(stored);
	PERFORM set_config('test.updates', pg_stat_get_xact_tuples_updated('tradekeep.candle'::regclass)::text, true);
	UPDATE tradekeep.candle SET (open, high, low, close, volume, closed, sources) = (incoming.open, incoming.high,
		incoming.low, incoming.close, incoming.volume, incoming.closed, incoming.sources) WHERE symbol = 'RULE';
	by_update := pg_temp.became(stored, incoming);

	PERFORM pg_temp.store(stored);
	PERFORM set_config('test.updates', pg_stat_get_xact_tuples_updated('tradekeep.candle'::regclass)::text, true);
	INSERT INTO tradekeep.candle VALUES ('RULE', '1h', '2026-01-05Z', incoming.open, incoming.high, incoming.low,
		incoming.close, incoming.volume, incoming.closed, incoming.sources)
	ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET open = excluded.open, high = excluded.high, low = excluded.low,
		close = excluded.close, volume = excluded.volume, closed = excluded.closed, sources = excluded.sources;
	by_upsert := pg_temp.became(stored, incoming);

	IF incoming.sources IS NULL THEN
		PERFORM pg_temp.store(stored);
		PERFORM set_config('test.updates', pg_stat_get_xact_tuples_updated('tradekeep.candle'::regclass)::text, true);
		by_function := tradekeep.upsert_candle('RULE', '1h', '2026-01-05Z', incoming.open, incoming.high, incoming.low,
			incoming.close, incoming.volume, incoming.closed);
		IF (by_function = 'updated') <> (pg_temp.became(stored, incoming) = 'updated') THEN
			by_function := 'lied';
		END IF;
	END IF;
END
$$;
SELECT stored.name AS stored, incoming.name AS incoming, judged.*
FROM bars AS stored, bars AS incoming, pg_temp.judge(stored, incoming) AS judged
ORDER BY stored.n, incoming.n;

-- MERGE, and what a subscription applies, keep the rule as well.
SELECT pg_temp.store(bars) FROM bars WHERE name = 'final';
MERGE INTO candle AS c USING bars AS b ON c.symbol = 'RULE' AND b.name = 'partial, higher'
WHEN MATCHED AND b.name = 'partial, higher' THEN UPDATE SET high = b.high, closed = false;
SET session_replication_role = replica;
UPDATE candle SET high = 99, closed = false WHERE symbol = 'RULE';
RESET session_replication_role;
SELECT high, closed FROM candle WHERE symbol = 'RULE';
-- A bar whose key is changed is another one; its values and its place still have to be right.
UPDATE candle SET symbol = 'RULED', closed = false WHERE symbol = 'RULE' RETURNING symbol, ts, closed;
UPDATE candle SET ts = ts + interval '1 h', timeframe = '30m', volume = 1 WHERE symbol = 'RULED' RETURNING ts, timeframe, volume;
UPDATE candle SET ts = ts + interval '1 min' WHERE symbol = 'RULED';
UPDATE candle SET closed = true, high = low - 1 WHERE symbol = 'RULED';
UPDATE candle SET closed = NULL WHERE symbol = 'RULED';
UPDATE candle SET symbol = 'BTC', timeframe = '1m', ts = '2026-01-05 10:15Z' WHERE symbol = 'RULED';
DELETE FROM candle WHERE symbol = 'RULED';

-- Bad bars: by function, in a batch behind a good one, and by plain INSERT.
CREATE FUNCTION pg_temp.refused(symbol text, timeframe text, ts text, open float8, high float8, low float8, close float8, volume float8,
	OUT single text, OUT batch text, OUT as_json text, OUT plain text) LANGUAGE sql AS $$
	SELECT pg_temp.outcome(format('SELECT tradekeep.upsert_candle(%L, %L, %L, %L, %L, %L, %L, %L)',
			symbol, timeframe, ts, open, high, low, close, volume)),
		pg_temp.outcome(format('SELECT inserted FROM tradekeep.upsert_candles(ARRAY[%L, %L], ARRAY[%L, %L]::tradekeep.timeframe[],
			ARRAY[%L, %L]::timestamptz[], ARRAY[10, %L]::float8[], ARRAY[10, %L]::float8[], ARRAY[10, %L]::float8[],
			ARRAY[10, %L]::float8[], ARRAY[10, %L]::float8[])', 'GOOD', symbol, '1m', timeframe, '2026-01-05Z', ts,
			open, high, low, close, volume)),
		pg_temp.outcome(format('SELECT inserted FROM tradekeep.upsert_candles(%L, %L, %L)', symbol, timeframe,
			jsonb_build_array(ARRAY[0, 1, 1, 1, 1, 1]::float8[],
				ARRAY[extract(epoch FROM ts::timestamptz) * 1000, open, high, low, close, volume]))),
		pg_temp.outcome(format('INSERT INTO tradekeep.candle VALUES (%L, %L, %L, %L, %L, %L, %L, %L) RETURNING 1',
			symbol, timeframe, ts, open, high, low, close, volume))
$$;
SELECT left(b.symbol, 10) AS symbol, timeframe, ts, open, high, low, close, volume, r.*
FROM (VALUES
	('BAD', '1m', '2026-01-05Z', 'NaN'::float8, 1::float8, 1::float8, 1::float8, 1::float8),
	('BAD', '1m', '2026-01-05Z', 1, 'NaN', 1, 1, 1),
	('BAD', '1m', '2026-01-05Z', 1, 1, 'NaN', 1, 1),
	('BAD', '1m', '2026-01-05Z', 1, 1, 1, 'NaN', 1),
	('BAD', '1m', '2026-01-05Z', 1, 1, 1, 1, 'NaN'),
	('BAD', '1m', '2026-01-05Z', 'NaN', 'NaN', 'NaN', 'NaN', 1),
	('BAD', '1m', '2026-01-05Z', 1, 'Infinity', 1, 1, 1),
	('BAD', '1m', '2026-01-05Z', 1, 1, '-Infinity', 1, 1),
	('BAD', '1m', '2026-01-05Z', 'Infinity', 'Infinity', 1, 1, 1),
	('BAD', '1m', '2026-01-05Z', 'Infinity', 'Infinity', 'Infinity', 'Infinity', 1),
	('BAD', '1m', '2026-01-05Z', '-Infinity', '-Infinity', '-Infinity', '-Infinity', 1),
	('BAD', '1m', '2026-01-05Z', 1, 1, 1, 1, 'Infinity'),
	('BAD', '1m', '2026-01-05Z', 1, 1, 1, 1, -1),
	('BAD', '1m', '2026-01-05Z', 1, 1, 1, 1, '-5e-324'),
	('BAD', '1m', '2026-01-05Z', 2, 1, 3, 2, 1),		-- high < low
	('BAD', '1m', '2026-01-05Z', 4, 3, 1, 2, 1),		-- open above
	('BAD', '1m', '2026-01-05Z', 0, 3, 1, 2, 1),		-- open below
	('BAD', '1m', '2026-01-05Z', 2, 3, 1, 4, 1),		-- close above
	('BAD', '1m', '2026-01-05Z', 2, 3, 1, 0, 1),		-- close below
	('BAD', '1m', '2026-01-05 00:00:01Z', 1, 1, 1, 1, 1),	-- off the grid
	('BAD', '1m', '2026-01-05 00:00:00.001Z', 1, 1, 1, 1, 1),
	('BAD', '3m', '2026-01-05 00:01Z', 1, 1, 1, 1, 1),
	('BAD', '4h', '2026-01-05 02:00Z', 1, 1, 1, 1, 1),
	('BAD', '1d', '2026-01-05 00:00+01', 1, 1, 1, 1, 1),
	('BAD', '3d', '2026-01-05Z', 1, 1, 1, 1, 1),
	('BAD', '1w', '2026-01-06Z', 1, 1, 1, 1, 1),
	('BAD', '1M', '2026-01-02Z', 1, 1, 1, 1, 1),
	('BAD', '1s', '1899-12-31 23:59:59Z', 1, 1, 1, 1, 1),
	('BAD', '1s', '2200-01-01Z', 1, 1, 1, 1, 1),
	('BAD', '1s', '30000-01-01Z', 1, 1, 1, 1, 1),
	('BAD', '7m', '2026-01-05Z', 1, 1, 1, 1, 1),
	('', '1m', '2026-01-05Z', 1, 1, 1, 1, 1),
	(repeat('x', 513), '1m', '2026-01-05Z', 1, 1, 1, 1, 1),
	(repeat('x', 10485760), '1m', '2026-01-05Z', 1, 1, 1, 1, 1)
) AS b(symbol, timeframe, ts, open, high, low, close, volume), pg_temp.refused(b.symbol, timeframe, ts, open, high, low, close, volume) AS r;
SELECT ts, pg_temp.outcome(format('SELECT tradekeep.upsert_candle(%L, %L, %L, 1, 1, 1, 1, 1)', 'BAD', '1m', ts))
FROM unnest('{infinity,-infinity}'::text[]) AS ts;
SELECT n, pg_temp.outcome(format('SELECT tradekeep.upsert_candle(%s)', string_agg(CASE WHEN n = i THEN 'NULL' ELSE quote_literal(argument) END, ', ' ORDER BY i))) AS without
FROM generate_series(1, 8) AS n, unnest('{BAD,1m,2026-01-05Z,1,1,1,1,1}'::text[]) WITH ORDINALITY AS t(argument, i)
GROUP BY n ORDER BY n;
-- Nothing of them was stored, nor of what came with them.
SELECT symbol, count(*) FROM candle GROUP BY symbol;
-- What lies at the edge is good: zero, negative and subnormal prices, the largest numbers, flat bars, all lengths.
SELECT upsert_candle('EDGE', '1m', '1900-01-01Z', 0, 0, 0, 0, 0), upsert_candle('EDGE', '1s', '2199-12-31 23:59:59Z', -37.63, -1, -40, -40, 1),
	upsert_candle('EDGE', '1w', '1900-01-01Z', 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 0, 1.7976931348623157e308),
	upsert_candle(repeat('x', 512), '1M', '2200-01-01Z'::timestamptz - interval '31 days', 1, 1, 1, 1, -0.0);
SELECT left(symbol, 4), timeframe, ts, open, high, low, close, volume FROM candle WHERE symbol <> 'BTC' ORDER BY 1, 2;
SELECT upsert_candle('LENGTHS', tf::timeframe, candle_start(tf::timeframe, '2024-02-29 13:37:11Z'), 1, 1, 1, 1, 1)
FROM unnest('{1s,1m,3m,5m,15m,30m,1h,2h,4h,6h,8h,12h,1d,3d,1w,1M}'::text[]) AS tf;

-- Batches of JSON, as ccxt gives them; 1767607200000 is 2026-01-05 10:00 UTC.
SELECT * FROM upsert_candles('JSON', '1m', '[[1767607200000, 1, 2, 0.5, 1.5, 10], [1767607260000, 1.5, 2, 1, 1, 3]]');
SELECT * FROM upsert_candles('JSON', '1m', '[[1767607260000, 1.5, 2, 1, 1, 3], [1767607200000, 1, 2, 0.5, 1.5, 11], [1767607320000, 1, 1, 1, 1, 1]]');
SELECT * FROM upsert_candles('JSON', '1m', '[[1767607320000, 1, 1, 1, 1, 9], [1767607380000, 1, 1, 1, 1, 1]]', false);
SELECT * FROM upsert_candles('JSON', '1m', '[]');
SELECT * FROM upsert_candles('JSON', '1h', '[["1767607200000", "67012.10", "6.8e4", "+67000", "67012.1", ".5"]]');
SELECT * FROM upsert_candles('JSON', '1d', '[[-86400000, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1], [4102444800000.0, 1, 1, 1, 1, 1e0]]');
SELECT timeframe, ts, open, high, low, close, volume, closed FROM candle WHERE symbol = 'JSON' ORDER BY 1, 2;
CREATE FUNCTION pg_temp.json(ohlcv text) RETURNS text LANGUAGE sql AS
	$$SELECT pg_temp.outcome(format('SELECT inserted FROM tradekeep.upsert_candles(%L, %L, %L)', 'BADJSON', '1m', ohlcv))$$;
SELECT ohlcv, pg_temp.json(ohlcv)
FROM (VALUES (NULL), ('null'), ('1'), ('"[]"'), ('true'), ('{}'), ('{"ohlcv": []}'), ('[null]'), ('[1, 2, 3, 4, 5, 6]'), ('["x"]'),
	('[{}]'), ('[[]]'), ('[[[0, 1, 1, 1, 1, 1]]]'), ('[[0, 1, 1, 1, 1]]'), ('[[0, 1, 1, 1, 1, 1, 1]]'), ('[[0, 1, 1, 1, 1, null]]'),
	('[[0, 1, 1, 1, 1, true]]'), ('[[0, 1, 1, 1, 1, [1]]]'), ('[[0, 1, 1, 1, 1, {"v": 1}]]'), ('[[null, 1, 1, 1, 1, 1]]'),
	('[[0, 1, 1, 1, 1, 1], [60000, 1, 1, 1, 1]]'), ('[[0, 1, 1, 1, 1, 1], 5]'), ('[[0, 1, 1, 1, 1, 1'), (''),
	('[[0.5, 1, 1, 1, 1, 1]]'), ('[[1, 1, 1, 1, 1, 1]]'), ('[[1767607200, 1, 1, 1, 1, 1]]'), ('[[1767607200000000, 1, 1, 1, 1, 1]]'),
	('[[1e300, 1, 1, 1, 1, 1]]'), ('[[1e400, 1, 1, 1, 1, 1]]'), ('[[-1e15, 1, 1, 1, 1, 1]]'), ('[[0, 1e999, 1, 1, 1, 1]]'), ('[[0, 1, 1, 1, 1, 1e999]]')) AS t(ohlcv);
SELECT number, pg_temp.json(format('[[0, 1, 1, 1, 1, %s]]', to_json(number)))
FROM unnest('{0x10,"\" 1\"","1 ",1e999,1e-999,-1e999,NaN,nan,inf,Infinity,"",+,-,.,e5,1e,1.2.3,"1,5",1_000,1;2,--1,1e5,.5,5.,+5,-0}'::text[]) AS number;
SELECT count(*) FROM candle WHERE symbol = 'BADJSON';

-- Batches of columns: any symbols, lengths and order.
SELECT * FROM upsert_candles('{Z,A,Z,M}', '{1h,1m,1m,1M}', '{2026-01-05Z,2026-01-05Z,2026-01-05Z,2026-01-01Z}', '{1,2,3,4}', '{1,2,3,4}', '{1,2,3,4}', '{1,2,3,4}', '{1,2,3,4}');
SELECT * FROM upsert_candles('{M,Z,A,Z}', '{1M,1m,1m,1h}', '{2026-01-01Z,2026-01-05Z,2026-01-05Z,2026-01-05Z}', '{4,3,2,1}', '{4,3,2,1}', '{4,3,2,1}', '{4,3,2,1}', '{4,3,2,9}',
	'{t,f,t,t}');
SELECT symbol, timeframe, ts, open, volume, closed FROM candle WHERE symbol IN ('A', 'M', 'Z') ORDER BY 1, 2, 3;
SELECT * FROM upsert_candles('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
-- A bar that comes twice counts twice, in the order given.
SELECT * FROM upsert_candles(array_fill('TWICE'::text, '{6}'), array_fill('1m'::timeframe, '{6}'), array_fill('2026-01-05Z'::timestamptz, '{6}'),
	'{1,1,1,1,1,1}', '{1,1,1,1,1,1}', '{1,1,1,1,1,1}', '{1,1,1,1,1,1}', '{5,4,5,6,6,7}', '{f,f,f,f,t,f}');
SELECT volume, closed FROM candle WHERE symbol = 'TWICE';
SELECT * FROM upsert_candles(array_fill('TWICE'::text, '{3}'), array_fill('1m'::timeframe, '{3}'), array_fill('2026-01-05Z'::timestamptz, '{3}'),
	'{1,1,1}', '{1,1,1}', '{1,1,1}', '{1,1,1}', '{9,8,8}');
SELECT volume FROM candle WHERE symbol = 'TWICE';
-- 5,000 bars in any order come in as they are, and change nothing when they come again in another.
CREATE TEMP TABLE feed AS
	SELECT 'S' || i % 7 AS symbol, '2026-01-05Z'::timestamptz + i / 7 * interval '1 min' AS ts, i AS volume FROM generate_series(0, 4999) AS i;
SELECT r.* FROM (SELECT array_agg(symbol ORDER BY volume) AS symbols, array_agg(ts ORDER BY volume) AS times, array_agg(volume::float8 ORDER BY volume) AS volumes FROM feed) AS f,
	upsert_candles(symbols, array_fill('1m'::timeframe, '{5000}'), times, volumes, volumes, volumes, volumes, volumes) AS r;
SELECT r.* FROM (SELECT array_agg(symbol ORDER BY md5(volume::text)) AS symbols, array_agg(ts ORDER BY md5(volume::text)) AS times,
		array_agg(volume::float8 + (volume > 4989)::int ORDER BY md5(volume::text)) AS volumes FROM feed) AS f,
	upsert_candles(symbols, array_fill('1m'::timeframe, '{5000}'), times, volumes, volumes, volumes, volumes, volumes) AS r;
SELECT count(*), count(*) FILTER (WHERE c.volume = f.volume) AS same FROM candle AS c JOIN feed AS f USING (symbol, ts);
-- Arrays that do not fit.
SELECT pg_temp.outcome('SELECT inserted FROM tradekeep.upsert_candles(' || arguments || ')') AS outcome, arguments
FROM unnest(ARRAY[
	$$'{A,B}', '{1m}', '{2026-01-06Z}', '{1}', '{1}', '{1}', '{1}', '{1}'$$,
	$$'{A}', '{1m,1m}', '{2026-01-06Z}', '{1}', '{1}', '{1}', '{1}', '{1}'$$,
	$$'{A}', '{1m}', '{2026-01-06Z}', '{1}', '{1}', '{1}', '{1}', '{1,2}'$$,
	$$'{A}', '{1m}', '{2026-01-06Z}', '{1}', '{1}', '{1}', '{1}', '{}'$$,
	$$'{A}', '{1m}', '{2026-01-06Z}', '{1}', '{1}', '{1}', '{1}', '{1}', '{t,t}'$$,
	$$'{A}', '{1m}', '{2026-01-06Z}', '{1}', '{1}', '{1}', '{1}', NULL$$,
	$$NULL, '{1m}', '{2026-01-06Z}', '{1}', '{1}', '{1}', '{1}', '{1}'$$,
	$$'{A,NULL}', '{1m,1m}', '{2026-01-06Z,2026-01-06Z}', '{1,1}', '{1,1}', '{1,1}', '{1,1}', '{1,1}'$$,
	$$'{A,A}', '{1m,NULL}', '{2026-01-06Z,2026-01-06Z}', '{1,1}', '{1,1}', '{1,1}', '{1,1}', '{1,1}'$$,
	$$'{A,A}', '{1m,1m}', '{2026-01-06Z,NULL}', '{1,1}', '{1,1}', '{1,1}', '{1,1}', '{1,1}'$$,
	$$'{A,A}', '{1m,1m}', '{2026-01-06Z,2026-01-06Z}', '{1,1}', '{1,1}', '{1,1}', '{1,1}', '{1,NULL}'$$,
	$$'{A,A}', '{1m,1m}', '{2026-01-06Z,2026-01-06Z}', '{1,1}', '{1,1}', '{1,1}', '{1,1}', '{1,1}', '{t,NULL}'$$,
	$$'{{A,A}}', '{1m,1m}', '{2026-01-06Z,2026-01-06Z}', '{1,1}', '{1,1}', '{1,1}', '{1,1}', '{1,1}'$$,
	$$'{{A,A}}', '{{1m,1m}}', '{{2026-01-06Z,2026-01-06Z}}', '{{1,1}}', '{{1,1}}', '{{1,1}}', '{{1,1}}', '{{1,1}}'$$]) AS arguments;
SELECT pg_temp.outcome($$SELECT inserted FROM tradekeep.upsert_candles(NULL, '1m', '[]')$$) AS no_symbol,
	pg_temp.outcome($$SELECT inserted FROM tradekeep.upsert_candles('', '1m', '[]')$$) AS empty_symbol,
	pg_temp.outcome($$SELECT inserted FROM tradekeep.upsert_candles('A', NULL, '[]')$$) AS no_timeframe,
	pg_temp.outcome($$SELECT inserted FROM tradekeep.upsert_candles('A', '7m', '[]')$$) AS bad_timeframe;
SELECT count(*) FROM candle WHERE symbol = 'A';

-- An unchanged bar takes no transaction id, nor does one that is ignored.
BEGIN;
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 104, 98, 103, 8),
	upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 104, 98, 103, 99, closed => false);
SELECT * FROM upsert_candles('JSON', '1d', '[[-86400000, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]]');
SELECT * FROM upsert_candles('{M,A}', '{1M,1m}', '{2026-01-01Z,2026-01-05Z}', '{4,2}', '{4,2}', '{4,2}', '{4,2}', '{4,2}');
SELECT txid_current_if_assigned() IS NULL AS nothing_written;
COMMIT;

-- What was stored rolls back with its transaction.
BEGIN;
SELECT upsert_candle('BACK', '1m', '2026-01-05Z', 1, 1, 1, 1, 1);
SAVEPOINT part;
SELECT upsert_candle('BACK', '1m', '2026-01-05Z', 1, 1, 1, 1, 2), upsert_candle('BACK', '1m', '2026-01-05Z', 1, 1, 1, 1, 2) AS again;
ROLLBACK TO part;
SELECT upsert_candle('BACK', '1m', '2026-01-05Z', 1, 1, 1, 1, 2) AS anew;
ROLLBACK;
SELECT count(*) FROM candle WHERE symbol = 'BACK';
BEGIN READ ONLY;
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:15Z', 100, 104, 98, 103, 8);
ROLLBACK;
BEGIN READ ONLY;
SELECT upsert_candles('BTC', '1m', '[]');
ROLLBACK;

-- Plain INSERT and COPY raise what they raise anywhere.
INSERT INTO candle VALUES ('BTC', '1m', '2026-01-05 10:15Z', 1, 1, 1, 1, 1);
COPY candle (symbol, timeframe, ts, open, high, low, close, volume) FROM stdin;
COPIED	1m	2026-01-05 00:00Z	1	1	1	1	1
COPIED	1m	2026-01-05 00:01Z	1	1	1	1	1
\.
COPY candle (symbol, timeframe, ts, open, high, low, close, volume) FROM stdin;
COPIED	1m	2026-01-05 00:02Z	1	1	1	1	1
COPIED	1m	2026-01-05 00:03:30Z	1	1	1	1	1
\.
SELECT count(*) FROM candle WHERE symbol = 'COPIED';

-- candles(): from since on, before until, the oldest first.
DELETE FROM candle;
SELECT * FROM upsert_candles('READ', '1m', (SELECT jsonb_agg(ARRAY[1767607200000 + i * 60000, i, i, i, i, i] ORDER BY md5(i::text)) FROM generate_series(0, 9) AS i));
SELECT upsert_candle('READ', '5m', '2026-01-05 10:00Z', 1, 1, 1, 1, 1), upsert_candle('OTHER', '1m', '2026-01-05 10:03Z', 1, 1, 1, 1, 1),
	upsert_candle('READ', '1m', '2026-01-05 10:10Z', 10, 10, 10, 10, 10, closed => false);
SELECT since, until, max_rows, array(SELECT open FROM candles('READ', '1m', since, until, max_rows)) AS bars
FROM (VALUES (NULL::timestamptz, NULL::timestamptz, NULL::bigint),
	('2026-01-05 10:03Z', NULL, NULL), (NULL, '2026-01-05 10:03Z', NULL), ('2026-01-05 10:03Z', '2026-01-05 10:06Z', NULL),
	('2026-01-05 10:02:59.999999Z', '2026-01-05 10:06:00.000001Z', NULL), ('2026-01-05 10:03Z', NULL, 2), (NULL, NULL, 0),
	('2026-01-05 10:06Z', '2026-01-05 10:03Z', NULL), ('infinity', NULL, NULL), ('-infinity', 'infinity', 1)) AS t(since, until, max_rows);
SELECT * FROM candles('READ', '1m') WHERE NOT closed;
SELECT n, array(SELECT open FROM latest_candles('READ', '1m', n)) AS bars FROM unnest('{0,1,3,11,1000,NULL}'::bigint[]) AS n;
SELECT count(*) FROM candles('NONE', '1m');
SELECT pg_temp.outcome($$SELECT tradekeep.candles('READ', '1m', max_rows => -1)$$) AS negative,
	pg_temp.outcome($$SELECT tradekeep.latest_candles('READ', '1m', -1)$$) AS latest;
-- The planner sees through both: it reads by the primary key and no more than it is asked for.
CREATE FUNCTION pg_temp.plan_has(statement text, part text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		IF line LIKE '%' || part || '%' THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT call, pg_temp.plan_has('SELECT close FROM tradekeep.' || call, 'using candle_pkey') AS by_key,
	pg_temp.plan_has('SELECT close FROM tradekeep.' || call, 'Function Scan') AS hidden
FROM unnest(ARRAY['candles(''READ'', ''1m'', ''2026-01-05Z'')', 'latest_candles(''READ'', ''1m'', 5)']) AS call;
RESET enable_seqscan;
RESET enable_bitmapscan;

-- Nothing in the caller's search_path stands in for what candles are made of.
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.trap() RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END';
CREATE FUNCTION hostile.compare(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.compare(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.compare(timeframe, timeframe) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.compare(float8, float8) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE sql AS 'SELECT hostile.trap(); SELECT $1[1]';
DO $$
DECLARE
	operator text;
	type text;
BEGIN
	FOREACH operator IN ARRAY '{=,<,<=,>,>=,<>}'::text[] LOOP
		FOREACH type IN ARRAY '{text,timestamptz,tradekeep.timeframe,float8}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR hostile.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.compare)', operator, type, type);
		END LOOP;
	END LOOP;
END
$$;
\c -
\set VERBOSITY sqlstate
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TEMP TABLE candle (LIKE tradekeep.candle);
CREATE TEMP TABLE unnest (k text);
SET search_path = pg_temp, hostile, pg_catalog;
SELECT 1 WHERE 1::float8 = 1::float8;
SELECT tradekeep.upsert_candle('PATH', '1m', '2026-01-05Z', 1, 1, 1, 1, 1), tradekeep.upsert_candle('PATH', '1m', '2026-01-05Z', 1, 1, 1, 1, 2) AS newer,
	tradekeep.upsert_candle('PATH', '1m', '2026-01-05Z', 1, 1, 1, 1, 2) AS same;
SELECT * FROM tradekeep.upsert_candles('PATH', '1m', '[[0, 1, 1, 1, 1, 1], [60000, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 2]]');
SELECT * FROM tradekeep.upsert_candles('{PATH}', '{1m}', '{1970-01-01Z}', '{1}', '{1}', '{1}', '{1}', '{2}');
SELECT ts, volume FROM tradekeep.candles('PATH', '1m');
SELECT ts, volume FROM tradekeep.latest_candles('PATH', '1m', 2);
SET search_path = pg_catalog;
SELECT count(*) FROM pg_temp.candle;
SET client_min_messages = warning;
DROP SCHEMA hostile CASCADE;

DELETE FROM tradekeep.candle;

SET search_path = tradekeep, public;
-- A batch that changes a bar and changes it back says so, and writes nothing.
SELECT upsert_candle('BACK', '1m', '2026-01-05Z', 10, 11, 9, 10, 10);
SELECT * FROM upsert_candles('{BACK,BACK}'::text[], '{1m,1m}'::timeframe[], '{2026-01-05Z,2026-01-05Z}'::timestamptz[],
	'{20,10}', '{21,11}', '{19,9}', '{20,10}', '{20,10}');
SELECT volume FROM candles('BACK', '1m');
-- The trigger reads rows of this table, and of no other.
CREATE TEMP TABLE trap (a int, b int, c int, d int, e int, f int, g int, h int, i int, j int);
INSERT INTO trap VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
CREATE TRIGGER trap BEFORE UPDATE ON trap FOR EACH ROW EXECUTE FUNCTION keep_newest_candle();
UPDATE trap SET b = 3;
