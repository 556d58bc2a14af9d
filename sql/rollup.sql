-- rollup: timeframes derived from finer ones

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET extra_float_digits = 1;
\set VERBOSITY sqlstate
\pset format unaligned
TRUNCATE tick, candle, candle_correction;

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
-- The calendar, by the server's own functions; 1m is a minute for an interval too.
CREATE FUNCTION pg_temp.period(timeframe text, ts timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	SELECT CASE timeframe WHEN '1M' THEN date_trunc('month', ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
		WHEN '1w' THEN date_trunc('week', ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' ELSE date_bin(timeframe::interval, ts, '1970-01-01Z') END
$$;
CREATE FUNCTION pg_temp.period_end(timeframe text, ts timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	SELECT CASE timeframe WHEN '1M' THEN (date_trunc('month', ts AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
		ELSE pg_temp.period(timeframe, ts) + make_interval(secs => extract(epoch FROM timeframe::interval)) END
$$;
-- What the derived candles have to be, in plain SQL: from what is stored of their source, but where a supplied one is.
CREATE VIEW pg_temp.expected AS
	SELECT m.symbol, m.target AS timeframe, m.ts, m.open, m.high, m.low, m.close, m.volume,
		m.closed = extract(epoch FROM ends - m.ts) / extract(epoch FROM m.source::text::interval)
			OR n.ts >= ends + greatest(make_interval(secs => extract(epoch FROM m.grace) - extract(epoch FROM m.source::text::interval)), '0') AS closed, m.sources
	FROM (SELECT c.symbol, r.target, r.source, r.grace, pg_temp.period(r.target::text, c.ts) AS ts, (array_agg(open ORDER BY c.ts))[1] AS open, max(high) AS high, min(low) AS low,
			(array_agg(close ORDER BY c.ts DESC))[1] AS close, sum(volume ORDER BY c.ts) AS volume, count(*) FILTER (WHERE closed) AS closed, count(*)::integer AS sources
		FROM tradekeep.rollup AS r JOIN tradekeep.candle AS c ON c.timeframe = r.source GROUP BY 1, 2, 3, 4, 5) AS m
	LEFT JOIN (SELECT symbol, timeframe, max(ts) AS ts FROM tradekeep.candle WHERE closed GROUP BY 1, 2) AS n ON n.symbol = m.symbol AND n.timeframe = m.source
	CROSS JOIN LATERAL (SELECT pg_temp.period_end(m.target::text, m.ts) AS ends) AS e
	WHERE NOT EXISTS (SELECT FROM tradekeep.candle AS s WHERE s.symbol = m.symbol AND s.timeframe = m.target AND s.ts = m.ts AND s.sources IS NULL);
-- How many are derived, how many of them are not as expected, to the bit, and what verify_rollups() says of it.
CREATE FUNCTION pg_temp.check(OUT derived bigint, OUT closed bigint, OUT wrong bigint, OUT verify bigint) LANGUAGE sql AS $$
	SELECT count(*) FILTER (WHERE s.symbol IS NOT NULL), count(*) FILTER (WHERE s.closed), count(*) FILTER (WHERE (s.open, s.high, s.low, s.close, s.volume, s.closed, s.sources)
		IS DISTINCT FROM (e.open, e.high, e.low, e.close, e.volume, coalesce(e.closed, false), e.sources)), (SELECT count(*) FROM tradekeep.verify_rollups())
	FROM (SELECT * FROM tradekeep.candle WHERE sources IS NOT NULL AND timeframe IN (SELECT target FROM tradekeep.rollup)) AS s
	FULL JOIN pg_temp.expected AS e ON e.symbol = s.symbol AND e.timeframe = s.timeframe AND e.ts = s.ts
$$;
-- Candles of minutes after 10:00 on Monday, 5 January 2026; what is in them says which they are.
CREATE FUNCTION pg_temp.at(minute integer) RETURNS timestamptz LANGUAGE sql AS $$SELECT '2026-01-05 10:00Z'::timestamptz + minute * interval '1 min'$$;
CREATE FUNCTION pg_temp.put(symbol text, timeframe timeframe, minutes integer[], closed boolean DEFAULT true) RETURNS bigint LANGUAGE sql AS $$
	WITH written AS (
		INSERT INTO tradekeep.candle SELECT put.symbol, put.timeframe, pg_temp.at(m), 1000 + m, 2000 + m, 500 - m, 1500 + m, abs(m) + 0.125, put.closed FROM unnest(minutes) AS m
		ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
			volume = excluded.volume, closed = excluded.closed, sources = NULL RETURNING 1)
	SELECT count(*) FROM written
$$;
CREATE VIEW pg_temp.bars AS SELECT symbol, timeframe, ts, open, high, low, close, volume, closed, sources FROM candle;
CREATE FUNCTION pg_temp.series(from_minute integer, to_minute integer) RETURNS integer[] LANGUAGE sql AS $$SELECT array_agg(m) FROM generate_series(from_minute, to_minute) AS m$$;

-- Every pair of timeframes, against another rule: the boundaries of the target's candles are some of those of the source's.
CREATE TEMP TABLE grid AS SELECT tf, p FROM unnest('{1s,1m,3m,5m,15m,30m,1h,2h,4h,6h,8h,12h,1d,3d,1w,1M}'::text[]) AS tf, (
	SELECT p FROM generate_series('2024-01-01Z', '2024-01-01 00:02Z', interval '1 s') AS p UNION SELECT generate_series('2024-01-01Z', '2024-01-02Z', interval '1 min')
	UNION SELECT generate_series('2024-01-01Z', '2025-06-01Z', interval '1 day')) AS p WHERE pg_temp.period(tf, p) = p;
CREATE FUNCTION pg_temp.pair(source text, target text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF tradekeep.add_rollup(source::tradekeep.timeframe, target::tradekeep.timeframe) AND tradekeep.drop_rollup(target::tradekeep.timeframe) THEN
		RETURN 'added';
	END IF;
	RETURN 'broken';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE TEMP TABLE pairs AS SELECT s.tf AS source, t.tf AS target, s.tf::timeframe < t.tf::timeframe AS finer, pg_temp.pair(s.tf, t.tf) AS outcome,
		pg_temp.outcome(format('WITH added AS (INSERT INTO tradekeep.rollup VALUES (%L, %L) RETURNING 1) SELECT 1 / (count(*) - 1) FROM added', t.tf, s.tf)) AS plain,
		cardinality(s.p) > cardinality(t.p) AND t.p <@ s.p AS divides
	FROM (SELECT tf, array_agg(p) AS p FROM grid GROUP BY tf) AS s, (SELECT tf, array_agg(p) AS p FROM grid GROUP BY tf) AS t;
SELECT outcome, plain, divides, count(*) FROM pairs GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT source, string_agg(target, ' ' ORDER BY target::timeframe) AS refused_targets FROM pairs WHERE finer AND outcome <> 'added' GROUP BY source ORDER BY source::timeframe;
SELECT count(*) FROM rollup;

-- What else is refused, and leaves nothing behind.
SELECT arguments, pg_temp.outcome(format('SELECT tradekeep.add_rollup(%s)', arguments)) FROM unnest(ARRAY[$$NULL, '1h'$$, $$'1m', NULL$$, $$'1m', '1h', NULL$$, $$'1h', '1h', NULL$$, $$'7m', '1h'$$, $$'1m', '7h'$$,
	$$'1m', '1h', '-1 us'$$, $$'1m', '1h', '36525 days 1 us'$$, $$'1m', '1h', '1 month'$$, $$'1m', '1h', '1 month -30 days'$$, $$'1m', '1h', '100 years'$$, $$'1m', '1h', '1 day -25 h'$$, $$'1m', '1h', 'x'$$,
	$$'1h', '1m', '-1 h'$$]) AS arguments;
SELECT * FROM upsert_ticks('TICK', '1h', '[[1767607200000, 1, 10, 1]]');
SELECT pg_temp.outcome($$SELECT tradekeep.add_rollup('1m', '1h')$$) AS from_ticks, pg_temp.outcome($$SELECT tradekeep.add_rollup('1h', '1d')$$) AS on_top;
SELECT pg_temp.outcome($$SELECT tradekeep.drop_rollup('1d')$$);
TRUNCATE tick, candle;
SELECT (SELECT count(*) FROM rollup) AS rollups, (SELECT count(*) FROM rollup_build) AS builds, (SELECT count(*) FROM candle_horizon) AS horizons, (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'candle'::regclass AND tgname ~ '^roll_') AS triggers;
-- The bounds of grace; the same again; another source; another grace. The triggers are there while there is a rollup.
SELECT add_rollup('1m', '1h'), add_rollup('1h', '1d', '0'), add_rollup('1h', '12h', '36525 days');
SELECT add_rollup('1m', '1h') AS again, pg_temp.outcome($$SELECT tradekeep.add_rollup('5m', '1h')$$) AS other_source, add_rollup('1m', '1h', '90 min') AS other_grace, pg_temp.outcome($$SELECT tradekeep.add_rollup('1m', '1h', '-1 s')$$) AS bad_grace;
SELECT * FROM rollup_status ORDER BY target;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'candle'::regclass AND tgname ~ '^roll_';
-- What others are derived from stays.
SELECT pg_temp.outcome($$SELECT tradekeep.drop_rollup('1h')$$) AS needed, drop_rollup('12h'), drop_rollup('12h') AS again, pg_temp.outcome($$SELECT tradekeep.drop_rollup('1h')$$) AS still_needed, drop_rollup('1d') AS last, drop_rollup('1h');
SELECT pg_temp.outcome('SELECT tradekeep.drop_rollup(NULL)') AS nothing, (SELECT count(*) FROM rollup) AS rollups, (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'candle'::regclass AND tgname ~ '^roll_') AS triggers;

-- A candle grows with its sources, whatever way and in whatever order they come.
SELECT add_rollup('1m', '5m'), add_rollup('5m', '15m');
SELECT pg_temp.put('BTC', '1m', '{2}', false);
SELECT * FROM pg_temp.bars;
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:02Z', 1002, 2003, 498, 1500, 3), upsert_candle('BTC', '1m', '2026-01-05 10:04Z', 1004, 2004, 496, 1504, 4), upsert_candle('BTC', '1m', '2026-01-05 10:00Z', 1000, 2000, 500, 1500, 1);
SELECT * FROM pg_temp.bars ORDER BY 1, 2, 3;
COPY candle (symbol, timeframe, ts, open, high, low, close, volume) FROM stdin;
BTC	1m	2026-01-05 10:03Z	1003	2003	497	1503	0.25
BTC	1m	2026-01-05 10:01Z	1001	2001	499	1501	0.5
\.
SELECT * FROM pg_temp.bars WHERE timeframe > '1m' ORDER BY 1, 2, 3;
-- A correction, a deletion, and another key; the candle of the last source goes with it.
UPDATE candle SET high = 9000 WHERE timeframe = '1m' AND ts = '2026-01-05 10:02Z';
DELETE FROM candle WHERE timeframe = '1m' AND ts = '2026-01-05 10:00Z';
SELECT * FROM pg_temp.bars WHERE timeframe > '1m' ORDER BY 1, 2, 3;
UPDATE candle SET ts = ts + interval '17 min', symbol = CASE WHEN ts < '2026-01-05 10:02Z' THEN 'ETH' ELSE symbol END WHERE timeframe = '1m' AND ts <> '2026-01-05 10:03Z';
SELECT * FROM pg_temp.bars WHERE timeframe > '1m' ORDER BY 1, 2, 3;
SELECT * FROM pg_temp.check();
MERGE INTO candle AS c USING (VALUES ('BTC', 3), ('BTC', 4)) AS v(symbol, minute) ON c.symbol = v.symbol AND c.timeframe = '1m' AND c.ts = '2026-01-05 10:00Z'::timestamptz + minute * interval '1 min'
WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.symbol, '1m', '2026-01-05 10:04Z', 7, 7, 7, 7, 7);
SELECT * FROM pg_temp.bars WHERE timeframe > '1m' AND symbol = 'BTC' ORDER BY 1, 2, 3;
-- What is sent again writes nothing, and what does not change is not written.
SELECT ctid AS row FROM candle WHERE symbol = 'BTC' AND timeframe = '15m' AND ts = '2026-01-05 10:15Z' \gset
BEGIN;
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:04Z', 7, 7, 7, 7, 7);
SELECT txid_current_if_assigned() IS NULL AS nothing_written;
COMMIT;
SELECT pg_temp.put('BTC', '1m', '{40}');
SELECT ctid = :'row' AS same FROM candle WHERE symbol = 'BTC' AND timeframe = '15m' AND ts = '2026-01-05 10:15Z';
-- It all rolls back with its transaction, or part of one.
BEGIN;
SELECT pg_temp.put('BACK', '1m', '{0,1}');
SAVEPOINT part;
SELECT pg_temp.put('BACK', '1m', '{2,3}');
ROLLBACK TO part;
SELECT sources FROM candle WHERE symbol = 'BACK' AND sources > 0;
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pg_temp.put('BACK', '1m', '{0,1}');
SELECT pg_temp.put('BACK', '1m', '{2,4}');
DELETE FROM candle WHERE symbol = 'BACK' AND timeframe = '1m' AND ts = '2026-01-05 10:01Z';
SELECT timeframe, open, close, sources FROM candle WHERE symbol = 'BACK' AND sources > 0 ORDER BY 1;
COMMIT;
-- Sums that overflow are refused whole.
SELECT upsert_candle('BIG', '1m', '2026-01-05 10:00Z', 1, 1, 1, 1, 1.7e308), pg_temp.outcome($$SELECT tradekeep.upsert_candle('BIG', '1m', '2026-01-05 10:01Z', 1, 1, 1, 1, 1.7e308)$$) AS in_sum,
	pg_temp.outcome($$INSERT INTO tradekeep.candle VALUES ('BIG', '1m', '2026-01-05 10:05Z', 1, 1, 1, 1, 1.7e308), ('BIG', '1m', '2026-01-05 10:06Z', 1, 1, 1, 1, 1) RETURNING 1$$) AS above;
SELECT timeframe, ts, volume FROM candle WHERE symbol = 'BIG' ORDER BY 1, 2;
SELECT * FROM pg_temp.check();
-- The trigger is for that table alone.
CREATE TEMP TABLE other (LIKE candle);
CREATE TRIGGER roll AFTER DELETE ON other REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION roll_candles();
SELECT pg_temp.outcome('WITH d AS (DELETE FROM other RETURNING 1) SELECT count(*) FROM d') AS other_table, pg_temp.outcome('SELECT tradekeep.roll_candles()') AS called;
TRUNCATE candle, candle_correction;

-- Closed: when all sources are there and closed, or a closed one begins at the end or later. Which candle closes 10:00, of five minutes?
CREATE FUNCTION pg_temp.closes(closed integer[], open integer[] DEFAULT NULL, OUT now boolean, OUT after_deletion boolean) LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM tradekeep.candle;
	PERFORM pg_temp.put('C', '1m', open, false);
	PERFORM pg_temp.put('C', '1m', closed);
	SELECT c.closed INTO now FROM tradekeep.candle AS c WHERE symbol = 'C' AND timeframe = '5m' AND ts = '2026-01-05 10:00Z';
	DELETE FROM tradekeep.candle AS c WHERE symbol = 'C' AND timeframe = '1m' AND ts = (SELECT max(ts) FROM tradekeep.candle AS n WHERE n.symbol = 'C' AND n.timeframe = '1m' AND n.closed);
	SELECT c.closed INTO after_deletion FROM tradekeep.candle AS c WHERE symbol = 'C' AND timeframe = '5m' AND ts = '2026-01-05 10:00Z';
	IF (SELECT c.wrong + c.verify FROM pg_temp.check() AS c) <> 0 THEN
		RAISE EXCEPTION 'wrong after %, %', closed, open;
	END IF;
END
$$;
CREATE TEMP TABLE cases (n serial, closed integer[], open integer[]);
INSERT INTO cases (closed, open) VALUES ('{0,1,2,3,4}', '{}'), ('{0,1,2,3}', '{4}'), ('{0,1,2,4}', '{3}'), ('{0,1,2,3}', '{}'), ('{1,4}', '{}'), ('{1}', '{5}'), ('{1,5}', '{}'), ('{5}', '{1}'), ('{6}', '{1,5}'), ('{1,7}', '{}'), ('{1,8}', '{}'),
	('{1,9}', '{}'), ('{1,5,9}', '{}'), ('{1,8,9}', '{}'), ('{1,10}', '{}'), ('{1,1443}', '{}'), ('{1,1444}', '{}'), ('{0,1,2,3,4,-1}', '{9}'), ('{-5,1}', '{}'), ('{60,61,62}', '{1}');
CREATE FUNCTION pg_temp.closing(grace interval) RETURNS TABLE (closed integer[], open integer[], now boolean, after_deletion boolean) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM tradekeep.add_rollup('1m', '5m', grace);
	RETURN QUERY SELECT c.closed, c.open, d.* FROM cases AS c, pg_temp.closes(c.closed, c.open) AS d ORDER BY n;
END
$$;
SELECT * FROM pg_temp.closing('0');
-- The same with grace, of which the source's own length is a part: those for which it makes a difference to the line before.
CREATE TEMP TABLE graces AS SELECT n, grace, c.* FROM unnest('{0,30 s,1 min,61 s,2 min,4 min,5 min,1 day}'::text[]) WITH ORDINALITY AS g(grace, n), pg_temp.closing(grace::interval) AS c;
SELECT a.grace, a.closed, a.open, a.now, a.after_deletion FROM graces AS a JOIN graces AS b ON b.n = a.n - 1 AND (b.closed, b.open) = (a.closed, a.open)
WHERE (a.now, a.after_deletion) IS DISTINCT FROM (b.now, b.after_deletion) ORDER BY a.n, a.closed;
-- Only a symbol's own candles close it. Another grace closes and opens what is stored.
DELETE FROM candle;
SELECT add_rollup('1m', '5m', '5 min');
SELECT pg_temp.put('A', '1m', '{0,5,12}'), pg_temp.put('B', '1m', '{0,60}'), pg_temp.put('AB', '1m', '{0}');
SELECT symbol, ts, closed FROM candle WHERE timeframe = '5m' ORDER BY 1, 2;
SELECT add_rollup('1m', '5m', '1 h'), string_agg(symbol || to_char(ts, ' HH24:MI'), ', ' ORDER BY symbol, ts) AS closed FROM candle WHERE timeframe = '5m' AND closed;
SELECT string_agg(symbol || to_char(ts, ' HH24:MI'), ', ' ORDER BY symbol, ts) AS closed FROM candle WHERE timeframe = '5m' AND closed;
SELECT add_rollup('1m', '5m', '8 min');
SELECT string_agg(symbol || to_char(ts, ' HH24:MI'), ', ' ORDER BY symbol, ts) AS closed FROM candle WHERE timeframe = '5m' AND closed;
UPDATE rollup SET grace = '0' WHERE target = '5m';
SELECT string_agg(symbol || to_char(ts, ' HH24:MI'), ', ' ORDER BY symbol, ts) AS closed FROM candle WHERE timeframe = '5m' AND closed;
SELECT * FROM pg_temp.check();
SELECT drop_rollup('15m'), drop_rollup('5m');
SELECT timeframe, count(*) FROM candle GROUP BY 1;
TRUNCATE candle;

-- Calendar edges: what is there already is built. Weeks over the end of a year, months with and without a leap day, 3d from 1970-01-01; days come last to first.
INSERT INTO candle SELECT 'CAL', '1d', d, 100 + n, 200 + n, 50 - n / 1000.0, 110 + n, 1 FROM generate_series('2023-12-18Z', '2024-03-10Z', interval '1 day') WITH ORDINALITY AS g(d, n);
SELECT add_rollup('1d', '3d'), add_rollup('1d', '1w'), add_rollup('1d', '1M');
SELECT timeframe, ts, open, close, low, volume, closed, sources FROM candle WHERE timeframe > '1d' AND (timeframe > '3d' OR ts < '2024-01-05Z' OR ts > '2024-02-27Z') AND (timeframe <> '1w' OR ts < '2024-01-09Z' OR ts > '2024-02-25Z') ORDER BY 1, 2;
CREATE TEMP TABLE before AS SELECT * FROM candle;
DELETE FROM candle WHERE timeframe = '1d';
SELECT count(*) FROM candle;
DO $$
DECLARE
	day tradekeep.candle;
BEGIN
	FOR day IN SELECT * FROM before WHERE timeframe = '1d' ORDER BY ts DESC LOOP
		INSERT INTO tradekeep.candle VALUES (day.*);
	END LOOP;
END
$$;
SELECT count(*) AS other FROM (TABLE candle EXCEPT TABLE before) AS d;
SELECT * FROM pg_temp.check();
DELETE FROM candle;
SELECT drop_rollup('3d'), drop_rollup('1w'), drop_rollup('1M');
-- A month straight from hours, or from minutes: complete when all are there.
SELECT add_rollup('1h', '1M');
INSERT INTO candle SELECT 'CAL', '1h', h, 1, 1, 1, 1, 1 FROM generate_series('2024-02-01Z', '2024-02-29 23:00Z', interval '1 h') AS h UNION ALL SELECT 'PAST', '1h', h, 1, 1, 1, 1, 1 FROM generate_series('2023-02-01Z', '2023-02-28 23:00Z', interval '1 h') AS h;
SELECT symbol, ts, volume, closed, sources FROM candle WHERE timeframe = '1M' ORDER BY 1;
DELETE FROM candle WHERE ts = '2024-02-29 13:00Z';
SELECT symbol, ts, volume, closed, sources FROM candle WHERE timeframe = '1M' ORDER BY 1;
SELECT drop_rollup('1M'), add_rollup('1m', '1M', '1 day');
INSERT INTO candle SELECT 'MIN', '1m', ts::timestamptz, 1, 1, 1, 1, 1 FROM unnest('{2023-12-31 23:59Z,2024-01-01Z,2024-02-29 23:59Z,2024-03-01Z,2024-03-01 23:58Z,2024-03-31 23:59Z,2024-04-01Z}'::text[]) AS ts;
SELECT ts, closed, sources FROM candle WHERE symbol = 'MIN' AND timeframe = '1M' ORDER BY 1;
INSERT INTO candle VALUES ('MIN', '1m', '2024-04-01 23:59Z', 1, 1, 1, 1, 1);
SELECT ts, closed, sources FROM candle WHERE symbol = 'MIN' AND timeframe = '1M' ORDER BY 1;
SELECT * FROM pg_temp.check();
-- Up to the edges of time.
INSERT INTO candle VALUES ('EDGE', '1m', '1900-01-01Z', 1, 1, 1, 1, 1), ('EDGE', '1m', '2199-12-31 23:59Z', 1, 1, 1, 1, 1);
SELECT ts, closed, sources FROM candle WHERE symbol = 'EDGE' AND timeframe = '1M' ORDER BY 1;
SELECT * FROM pg_temp.check();
SELECT drop_rollup('1M'), add_rollup('1m', '3d');
SELECT ts, closed, sources FROM candle WHERE symbol = 'EDGE' AND timeframe = '3d' ORDER BY 1;
SELECT drop_rollup('3d');
TRUNCATE candle;
-- Grace is the same wherever it is asked for: days have 24 hours and months 30 days.
SET timezone = 'America/New_York';
SELECT add_rollup('1h', '1d', '1 day 1 h'), add_rollup('1m', '1h', '30 days');
INSERT INTO candle SELECT 'ZONE', '1h', ts::timestamptz, 1, 1, 1, 1, 1 FROM unnest('{2026-03-07 00:00Z,2026-03-08 23:00Z}'::text[]) AS ts;
SELECT closed FROM candle WHERE timeframe = '1d' AND ts = '2026-03-07Z';
SELECT count(*) FROM verify_rollups();
INSERT INTO candle SELECT 'ZONE', '1m', ts::timestamptz, 1, 1, 1, 1, 1 FROM unnest('{2026-05-01 00:00Z,2026-05-31 00:58Z}'::text[]) AS ts;
SELECT closed FROM candle WHERE timeframe = '1h' AND ts = '2026-05-01Z';
SELECT count(*) FROM verify_rollups();
INSERT INTO candle SELECT 'ZONE', '1m', '2026-05-31 00:59Z', 1, 1, 1, 1, 1;
SELECT closed FROM candle WHERE timeframe = '1h' AND ts = '2026-05-01Z';
SELECT count(*) FROM verify_rollups();
SET timezone = 'UTC';
SELECT drop_rollup('1d'), drop_rollup('1h');
TRUNCATE candle;

-- Steps of all kinds at random, with holes, open and closed ones, late ones, in the days where week, month and year begin: each must leave what follows from the sources.
SELECT add_rollup('1m', '5m'), add_rollup('5m', '15m', '3 min'), add_rollup('1m', '30m', '10 min'), add_rollup('15m', '1h', '30 min'), add_rollup('1h', '1d'), add_rollup('1d', '3d'), add_rollup('1d', '1w'), add_rollup('1h', '1M', '2 days');
CREATE FUNCTION pg_temp.dice(n integer, what text, sides integer) RETURNS integer LANGUAGE sql IMMUTABLE AS
	$$SELECT ('x' || substr(md5(n || what), 1, 7))::bit(28)::integer % sides$$;
CREATE FUNCTION pg_temp.batch(step integer, size integer, timeframes text[]) RETURNS TABLE (symbol text, timeframe timeframe, ts timestamptz, open float8, high float8, low float8, close float8, volume float8, closed boolean) LANGUAGE sql AS $$
	SELECT DISTINCT ON (symbol, tf, start) symbol, tf, start, low + o, low + 9, low, low + c, volume, closed
	FROM (SELECT (ARRAY['A', 'B', 'Longer name'])[1 + pg_temp.dice(n, 'symbol', 3)] AS symbol, tf::tradekeep.timeframe AS tf, tradekeep.candle_start(tf::tradekeep.timeframe, ts) AS start, pg_temp.dice(n, 'low', 999) / 7.0 AS low,
			pg_temp.dice(n, 'open', 10) AS o, pg_temp.dice(n, 'close', 10) AS c, pg_temp.dice(n, 'volume', 9999) / 7.0 AS volume, pg_temp.dice(n, 'closed', 3) > 0 AS closed
		FROM (SELECT n, timeframes[1 + pg_temp.dice(n, 'tf', cardinality(timeframes))] AS tf, CASE pg_temp.dice(n, 'when', 9) WHEN 0 THEN '2024-02-28 12:00Z'::timestamptz + pg_temp.dice(n, 'ts', 36) * interval '1 h'
				WHEN 1 THEN '2023-12-20Z'::timestamptz + pg_temp.dice(n, 'ts', 120) * interval '5 h 1 min' ELSE '2023-12-31 21:30Z'::timestamptz + pg_temp.dice(n, 'ts', 240) * interval '1 min' END AS ts
			FROM generate_series(step * 1000, step * 1000 + size - 1) AS n) AS t) AS r ORDER BY symbol, tf, start
$$;
CREATE FUNCTION pg_temp.step(i integer, OUT op text, OUT wrong bigint, OUT verify bigint) LANGUAGE plpgsql AS $$
DECLARE
	ops CONSTANT text[] := '{upsert,on conflict,fill,other key,supply,delete sources,delete targets,by hand,delete newest,mixed,single}';
	b record;
BEGIN
	op := ops[1 + pg_temp.dice(i, 'op', cardinality(ops))];
	IF op = 'upsert' OR op = 'supply' OR op = 'mixed' THEN
		PERFORM u.* FROM (SELECT array_agg(r.symbol) AS s, array_agg(r.timeframe) AS tf, array_agg(r.ts) AS ts, array_agg(r.open) AS o, array_agg(r.high) AS h, array_agg(r.low) AS l, array_agg(r.close) AS c, array_agg(r.volume) AS v, array_agg(r.closed) AS closed
			FROM pg_temp.batch(i, CASE op WHEN 'supply' THEN 4 ELSE 40 END, CASE op WHEN 'upsert' THEN '{1m}' WHEN 'mixed' THEN '{1m,1m,1m,1m,5m,1h}' ELSE '{5m,15m,30m,1h,1d,1w}' END::text[]) AS r) AS a,
			LATERAL tradekeep.upsert_candles(s, tf, ts, o, h, l, c, v, closed) AS u;
	ELSIF op = 'on conflict' THEN
		INSERT INTO tradekeep.candle SELECT * FROM pg_temp.batch(i, 30, '{1m}') AS r ON CONFLICT ON CONSTRAINT candle_pkey DO UPDATE SET high = excluded.high + 5, low = excluded.low, open = excluded.open, close = excluded.close, volume = excluded.volume, closed = excluded.closed, sources = NULL;
	ELSIF op = 'fill' THEN
		INSERT INTO tradekeep.candle SELECT (ARRAY['A', 'B'])[1 + i % 2], '1m', candle_start('15m', r.ts) + n * interval '1 min', r.open, r.high, r.low, r.close, r.volume / n, true
		FROM pg_temp.batch(i, 1, '{1m}') AS r, generate_series(1, 60) AS n ON CONFLICT DO NOTHING;
	ELSIF op = 'other key' THEN
		UPDATE tradekeep.candle AS c SET symbol = 'Moved', volume = c.volume + 1 WHERE c.symbol = 'A' AND c.timeframe = '1m' AND pg_temp.dice(i, c.ts::text, 5) = 0
			AND NOT EXISTS (SELECT FROM tradekeep.candle AS o WHERE o.symbol = 'Moved' AND o.timeframe = '1m' AND o.ts = c.ts);
	ELSIF op = 'delete sources' THEN
		DELETE FROM tradekeep.candle AS c USING pg_temp.batch(i, 3, '{1m}') AS r WHERE c.symbol = r.symbol AND c.timeframe = '1m' AND c.ts BETWEEN r.ts AND r.ts + interval '25 min';
	ELSIF op = 'delete targets' THEN
		DELETE FROM tradekeep.candle AS c WHERE c.timeframe > '1m' AND pg_temp.dice(i, c.symbol || c.timeframe || c.ts, 3) = 0;
	ELSIF op = 'by hand' THEN
		UPDATE tradekeep.candle AS c SET high = c.high + pg_temp.dice(i, c.ts::text, 2), closed = NOT c.closed, volume = c.volume * 2, sources = c.sources + pg_temp.dice(i, c.ts::text, 3) WHERE c.sources > 0 AND pg_temp.dice(i, c.symbol || c.timeframe || c.ts, 4) = 0;
	ELSIF op = 'delete newest' THEN
		DELETE FROM tradekeep.candle AS c WHERE (c.symbol, c.timeframe, c.ts) IN (SELECT n.symbol, n.timeframe, max(n.ts) FROM tradekeep.candle AS n WHERE n.closed AND (n.timeframe = '1m' OR n.sources IS NULL) GROUP BY 1, 2);
	ELSE
		FOR b IN SELECT * FROM pg_temp.batch(i, 8, '{1m}') ORDER BY md5(ts::text) LOOP
			PERFORM tradekeep.upsert_candle(b.symbol, b.timeframe, b.ts, b.open, b.high, b.low, b.close, b.volume, b.closed);
		END LOOP;
	END IF;
	SELECT c.wrong, c.verify INTO wrong, verify FROM pg_temp.check() AS c;
END
$$;
SELECT op, count(*) AS steps, sum(s.wrong) AS wrong, sum(s.verify) AS verify FROM generate_series(1, 80) AS i, pg_temp.step(i) AS s GROUP BY op ORDER BY op COLLATE "C";
SELECT timeframe, count(*) > 20 AS some, count(*) FILTER (WHERE sources > 0) > 10 AS derived, count(*) FILTER (WHERE closed AND sources > 0) > 3 AS closed, count(*) FILTER (WHERE NOT closed AND sources > 0) > 3 AS open, count(*) FILTER (WHERE sources IS NULL) > 0 AS supplied FROM candle GROUP BY 1 ORDER BY 1;
-- The same is there whatever the order in which the rollups are made, or made again.
CREATE TEMP TABLE as_it_was AS SELECT symbol, timeframe, ts, open, high, low, close, volume, closed, sources FROM candle;
SELECT count(*) AS horizons FROM candle_horizon;
SELECT drop_rollup('1M'), drop_rollup('1w'), drop_rollup('3d'), drop_rollup('1d'), drop_rollup('1h'), drop_rollup('15m'), drop_rollup('5m'), drop_rollup('30m');
SELECT count(*) AS derived FROM candle WHERE sources IS NOT NULL;
SELECT add_rollup('1h', '1M', '2 days'), add_rollup('1d', '1w'), add_rollup('1d', '3d'), add_rollup('15m', '1h', '30 min'), add_rollup('1h', '1d'), add_rollup('1m', '30m', '10 min'), add_rollup('5m', '15m', '3 min'), add_rollup('1m', '5m');
SELECT count(*) AS other FROM (SELECT symbol, timeframe, ts, open, high, low, close, volume, closed, sources FROM candle EXCEPT TABLE as_it_was UNION ALL (TABLE as_it_was EXCEPT SELECT symbol, timeframe, ts, open, high, low, close, volume, closed, sources FROM candle)) AS d;
DELETE FROM candle WHERE timeframe = '1m';
SELECT * FROM pg_temp.check();
DELETE FROM candle WHERE sources IS NULL;
SELECT count(*) FROM candle;
SELECT drop_rollup('1M'), drop_rollup('1w'), drop_rollup('3d'), drop_rollup('1d'), drop_rollup('1h'), drop_rollup('15m'), drop_rollup('30m');
TRUNCATE candle, candle_correction;

-- One statement that writes sources, and targets that others are derived from.
SELECT add_rollup('5m', '15m');
SELECT pg_temp.put('ONE', '1m', '{0,1,2,3,4}');
INSERT INTO candle SELECT 'ONE', '1m', '2026-01-05 13:00Z'::timestamptz + m * interval '1 min', 1, 1, 1, 1, 1 FROM generate_series(0, 4) AS m UNION ALL SELECT 'ONE', '5m', '2026-01-05 12:00Z', 2, 2, 2, 2, 2;
SELECT timeframe, ts, close, closed, sources FROM candle WHERE timeframe > '1m' ORDER BY 1, 2;
SELECT * FROM pg_temp.check();
-- A derived candle that is moved behind all others goes, and the supplied one that moved with it closes what is before.
SELECT pg_temp.put('MOVE', '1m', pg_temp.series(-60, -56)), pg_temp.put('MOVE', '5m', '{-120,5}');
UPDATE candle SET ts = ts + interval '5 h' WHERE symbol = 'MOVE' AND timeframe = '5m' AND ts < pg_temp.at(0);
SELECT timeframe, ts, closed, sources FROM candle WHERE symbol = 'MOVE' AND timeframe > '1m' ORDER BY 1, 2;
SELECT * FROM pg_temp.check();
DELETE FROM candle WHERE symbol = 'MOVE' AND timeframe IN ('1m', '5m') AND sources IS NULL;
-- Batches of several timeframes, in any order, by the functions: what they supply stays.
SELECT * FROM upsert_candles('{TWO,TWO,TWO,TWO,ONE}', '{15m,1m,5m,1m,1h}', '{2026-01-05 10:00Z,2026-01-05 10:00Z,2026-01-05 10:05Z,2026-01-05 10:05Z,2026-01-05 10:00Z}', '{1,2,3,4,5}', '{1,2,3,4,5}', '{1,2,3,4,5}', '{1,2,3,4,5}', '{1,2,3,4,5}', '{t,t,f,t,t}');
SELECT * FROM upsert_candles('{TWO,TWO,TWO}', '{5m,15m,1m}', '{2026-01-05 10:05Z,2026-01-05 10:00Z,2026-01-05 10:10Z}', '{3,1,6}', '{3,1,6}', '{3,1,6}', '{3,1,6}', '{4,1,6}', '{t,f,t}');
SELECT timeframe, ts, close, volume, closed, sources FROM candle WHERE symbol = 'TWO' ORDER BY 1, 2;
SELECT * FROM pg_temp.check();
DELETE FROM candle WHERE sources IS NULL;
SELECT count(*) FROM candle;

-- A supplied candle wins over a derived one, is what others are derived from, and nothing touches it; when it goes the derived one is there again.
SELECT pg_temp.put('SUP', '1m', pg_temp.series(0, 14)), pg_temp.put('SUP', '1m', '{15,16}', false);
SELECT ts, timeframe, close, closed, sources FROM candle WHERE timeframe > '1m' ORDER BY 2, 1;
SELECT upsert_candle('SUP', '5m', '2026-01-05 10:00Z', 7, 7, 7, 7, 7, closed => false) AS partial_over_closed, upsert_candle('SUP', '5m', '2026-01-05 10:15Z', 7, 7, 7, 7, 7, closed => false) AS partial_over_open,
	upsert_candle('SUP', '5m', '2026-01-05 10:05Z', 7, 9999, 7, 7, 7) AS final_over_closed, pg_temp.outcome($$INSERT INTO tradekeep.candle VALUES ('SUP', '5m', '2026-01-05 10:10Z', 7, 7, 7, 7, 7) RETURNING 1$$) AS plain;
SELECT ts, timeframe, high, close, volume, closed, sources FROM candle WHERE timeframe > '1m' ORDER BY 2, 1;
SELECT pg_temp.put('SUP', '1m', '{7,17,18,19,25}');
SELECT ts, timeframe, high, close, volume, closed, sources FROM candle WHERE timeframe > '1m' ORDER BY 2, 1;
SELECT * FROM pg_temp.check();
INSERT INTO candle VALUES ('SUP', '15m', '2026-01-05 10:00Z', 3, 3, 3, 3, 3) ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET (open, high, low, close, volume, sources) = (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, NULL);
DELETE FROM candle WHERE timeframe = '5m' AND sources IS NULL;
SELECT ts, timeframe, high, close, volume, closed, sources FROM candle WHERE timeframe > '1m' ORDER BY 2, 1;
-- One that others never came for: it stays alone, and goes for good.
SELECT upsert_candle('ALONE', '5m', '2026-01-05 10:00Z', 7, 7, 7, 7, 7);
DELETE FROM candle WHERE symbol = 'ALONE' AND timeframe = '15m';
SELECT timeframe, sources FROM candle WHERE symbol = 'ALONE' ORDER BY 1;
DELETE FROM candle WHERE symbol = 'ALONE' AND timeframe = '5m';
SELECT count(*) FROM candle WHERE symbol = 'ALONE';
-- What is done to derived ones by hand is undone at once.
DELETE FROM candle WHERE sources IS NULL AND timeframe = '15m';
CREATE TEMP TABLE right_ones AS TABLE candle;
DELETE FROM candle WHERE sources > 0;
UPDATE candle SET open = low, high = high + 1, close = low, volume = 0, closed = NOT closed, sources = sources + 1 WHERE sources > 0;
UPDATE candle SET ts = ts + interval '1 day' WHERE sources > 0 AND timeframe = '5m';
UPDATE candle SET symbol = 'SUP2' WHERE sources > 0 AND timeframe = '15m';
UPDATE candle SET timeframe = '15m', ts = ts + interval '1 hour' WHERE sources > 0 AND timeframe = '5m' AND ts = '2026-01-05 10:00Z';
INSERT INTO candle VALUES ('SUP', '5m', '2026-01-05 10:00Z', 1, 1, 1, 1, 1, false, 99), ('SUP', '15m', '2026-01-05 10:15Z', 1, 1, 1, 1, 1, false, 1) ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET high = excluded.high + 9999, sources = excluded.sources;
SELECT count(*) AS other FROM (TABLE candle EXCEPT TABLE right_ones UNION ALL (TABLE right_ones EXCEPT TABLE candle)) AS d;
-- Made a supplied one by hand, it is one.
UPDATE candle SET sources = NULL, volume = 5 WHERE timeframe = '5m' AND ts = '2026-01-05 10:10Z';
SELECT timeframe, volume, closed, sources FROM candle WHERE symbol = 'SUP' AND timeframe > '1m' AND ts <= '2026-01-05 10:10Z' ORDER BY 1, ts;
SELECT * FROM pg_temp.check();
SELECT count(*) AS horizons FROM candle_horizon;
-- A trigger of somebody else's that meddles with what is being derived is undone as well.
CREATE FUNCTION pg_temp.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM tradekeep.candle WHERE symbol = 'SUP' AND timeframe = '5m' AND ts = '2026-01-05 10:00Z' AND sources > 0;
	RETURN NULL;
END
$$;
CREATE TRIGGER meddle AFTER INSERT ON candle FOR EACH ROW WHEN (NEW.symbol = 'MEDDLE' AND NEW.timeframe = '5m') EXECUTE FUNCTION pg_temp.meddle();
SELECT pg_temp.put('MEDDLE', '1m', '{0}');
DROP TRIGGER meddle ON candle;
SELECT * FROM pg_temp.check();

-- A statement within a statement: what both wrote is derived when the outer one is over, whichever way that is.
CREATE FUNCTION pg_temp.nested(symbol text, minute integer, fails text DEFAULT '') RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_temp.put(symbol || minute, '1m', pg_temp.series(minute, minute + 300));
	BEGIN
		PERFORM pg_temp.put(symbol, '1m', ARRAY[minute + 300, minute + 400]);
		INSERT INTO tradekeep.candle VALUES (symbol, '5m', pg_temp.at(2000), 1, 1, 1, 1, 1, true, 3);
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
	END;
	IF minute::text = fails THEN
		RAISE EXCEPTION 'enough';
	END IF;
	RETURN pg_temp.at(minute);
END
$$;
INSERT INTO candle SELECT 'OUTER', '1m', pg_temp.nested('INNER', m), 1, 1, 1, 1, 1 FROM generate_series(0, 12) AS m;
SELECT * FROM pg_temp.check();
SELECT count(*) AS horizons, (SELECT count(*) FROM candle WHERE symbol = 'INNER') AS undone FROM candle_horizon;
INSERT INTO candle SELECT 'FAILED', '1m', pg_temp.nested('FAILED', m, '7'), 1, 1, 1, 1, 1 FROM generate_series(0, 12) AS m;
SELECT count(*) FROM candle WHERE symbol ~ 'FAILED';
SELECT pg_temp.put('NEXT', '1m', pg_temp.series(0, 1000));
BEGIN;
SELECT pg_temp.put('NEXT', '1m', '{4000}');
SAVEPOINT part;
INSERT INTO candle SELECT 'FAILED', '1m', pg_temp.nested('FAILED', m, '7'), 1, 1, 1, 1, 1 FROM generate_series(0, 12) AS m;
ROLLBACK TO part;
SELECT pg_temp.put('NEXT', '1m', '{4100}'), pg_temp.put('LAST', '1m', pg_temp.series(0, 1000));
COMMIT;
SELECT * FROM pg_temp.check();
SELECT count(*) AS horizons FROM candle_horizon;
DELETE FROM candle WHERE symbol <> 'SUP' AND timeframe = '1m';
WITH gone AS (DELETE FROM candle WHERE symbol = 'SUP' AND timeframe = '1m' AND ts >= '2026-01-05 10:17Z' RETURNING *), moved AS (UPDATE candle SET symbol = 'MOVED' WHERE symbol = 'SUP' AND timeframe = '1m' AND ts < '2026-01-05 10:03Z' RETURNING *)
INSERT INTO candle SELECT 'AGAIN', timeframe, ts, open, high, low, close, volume FROM gone UNION ALL SELECT 'AGAIN', timeframe, ts, open, high, low, close, volume FROM moved;
SELECT symbol, timeframe, count(*), sum(sources) FROM candle GROUP BY 1, 2 ORDER BY 1, 2;
CREATE VIEW pg_temp.minutes AS SELECT symbol, ts, open, high, low, close, volume, timeframe FROM candle WHERE timeframe = '1m';
INSERT INTO pg_temp.minutes VALUES ('VIEW', pg_temp.at(0), 1, 1, 1, 1, 1, '1m'), ('VIEW', pg_temp.at(5), 1, 1, 1, 1, 1, '1m');
DO $$BEGIN EXECUTE 'EXPLAIN ANALYZE UPDATE pg_temp.minutes SET high = 8 WHERE symbol = ''VIEW'''; END$$;
SELECT timeframe, ts, high, closed FROM candle WHERE symbol = 'VIEW' AND timeframe > '1m' ORDER BY 1, 2;
-- A trigger of somebody's that makes candles of candles: the one at 13:00 closes the one at 10:00.
CREATE FUNCTION pg_temp.more() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO tradekeep.candle VALUES (NEW.symbol, '1m', NEW.ts + interval '1 h', 1, 1, 1, 1, 1);
	RETURN NULL;
END
$$;
SELECT pg_temp.put('MORE', '1m', '{0}');
CREATE TRIGGER more AFTER INSERT ON candle FOR EACH ROW WHEN (NEW.volume = 777 AND NEW.timeframe = '1m') EXECUTE FUNCTION pg_temp.more();
INSERT INTO candle VALUES ('MORE', '1m', pg_temp.at(120), 1, 1, 1, 1, 777);
DROP TRIGGER more ON candle;
SELECT ts, closed FROM candle WHERE symbol = 'MORE' AND timeframe = '5m' ORDER BY 1;
-- One that is deferred to the end of the transaction.
CREATE CONSTRAINT TRIGGER more AFTER INSERT ON candle DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.volume = 777 AND NEW.timeframe = '1m') EXECUTE FUNCTION pg_temp.more();
INSERT INTO candle VALUES ('MORE', '1m', pg_temp.at(240), 1, 1, 1, 1, 777);
DROP TRIGGER more ON candle;
SELECT ts, closed FROM candle WHERE symbol = 'MORE' AND timeframe = '5m' AND ts >= '2026-01-05 14:00Z' ORDER BY 1;
SELECT * FROM pg_temp.check();

-- Dropping a rollup takes what was derived along, and leaves what was supplied; nothing is derived any more.
SELECT pg_temp.outcome($$SELECT tradekeep.drop_rollup('5m')$$) AS needed, drop_rollup('15m');
SELECT timeframe, sources IS NULL AS supplied, count(*) FROM candle GROUP BY 1, 2 ORDER BY 1, 2;
BEGIN;
SELECT drop_rollup('5m');
SELECT count(*) FROM candle WHERE sources > 0;
ROLLBACK;
SELECT count(*) > 0 AS back FROM candle WHERE sources > 0;
SELECT drop_rollup('5m');
SELECT pg_temp.put('SUP', '1m', '{100}');
SELECT timeframe, count(*) FROM candle GROUP BY 1 ORDER BY 1;
TRUNCATE candle, candle_correction;

-- Rollups that come by plain statements, as in a restore, are built and kept too; without one nothing is.
SELECT pg_temp.put('PLAIN', '1m', pg_temp.series(0, 16));
INSERT INTO rollup VALUES ('15m', '5m', '0'), ('5m', '1m', '2 min');
SELECT timeframe, ts, closed, sources FROM candle WHERE sources > 0 ORDER BY 1, 2;
UPDATE rollup SET source = '1m' WHERE target = '15m';
SELECT timeframe, ts, closed, sources FROM candle WHERE sources > 0 AND timeframe = '15m' ORDER BY 1, 2;
SELECT * FROM pg_temp.check();
SELECT pg_temp.outcome(format('INSERT INTO tradekeep.rollup VALUES (%s) RETURNING 1', r)), r FROM unnest(ARRAY[$$'1h', '1h'$$, $$'1h', '1d'$$, $$'8h', '6h'$$, $$'15m', '1m'$$, $$'1h', '1m', '-1 s'$$, $$'1h', '1m', '1 month'$$, $$'1h', '1m', '36526 days'$$, $$'1h', NULL$$, $$NULL, '1m'$$, $$'1h', '1m', NULL$$]) AS r;
UPDATE rollup SET target = '30m' WHERE target = '15m';
DELETE FROM rollup WHERE target = '15m';
SELECT timeframe, count(*) FROM candle GROUP BY 1 ORDER BY 1;
TRUNCATE rollup;
SELECT timeframe, count(*) FROM candle GROUP BY 1 ORDER BY 1;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'candle'::regclass AND tgname ~ '^roll_';
-- Tables that inherit from candle are none of its business, wherever their rows lie.
TRUNCATE candle;
CREATE TEMP TABLE child () INHERITS (candle);
INSERT INTO child SELECT 'CHILD', '1m', pg_temp.at(m), 1, 1, 1, 1, 1 FROM generate_series(1, 200) AS m;
SELECT add_rollup('1m', '5m'), add_rollup('5m', '15m');
SELECT pg_temp.put('PARENT', '1m', pg_temp.series(0, 60));
UPDATE ONLY candle SET volume = volume + 1 WHERE timeframe = '1m';
SELECT timeframe, count(*), sum(volume) FROM ONLY candle GROUP BY 1 ORDER BY 1;
DELETE FROM ONLY candle WHERE timeframe = '1m';
SELECT drop_rollup('15m'), drop_rollup('5m'), (SELECT count(*) FROM ONLY candle) AS parent, (SELECT count(*) FROM child WHERE symbol = 'CHILD' AND volume = 1) AS child;
DROP TABLE child;

-- Damage that triggers did not see, of each kind: verify_rollups() shows it, rebuild_rollups() repairs it.
SELECT add_rollup('1m', '5m'), add_rollup('5m', '15m');
SELECT pg_temp.put('D', '1m', pg_temp.series(0, 61)), pg_temp.put('E', '1m', '{0,7}'), upsert_candle('D', '15m', '2026-01-05 10:30Z', 1, 1, 1, 1, 1);
CREATE TEMP TABLE intact AS TABLE candle;
CREATE FUNCTION pg_temp.other() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM (TABLE tradekeep.candle EXCEPT TABLE intact UNION ALL (TABLE intact EXCEPT TABLE tradekeep.candle)) AS d';
SET session_replication_role = replica;
UPDATE candle SET open = open + 1 WHERE timeframe = '5m' AND ts = pg_temp.at(0) AND symbol = 'D';
UPDATE candle SET high = high + 1e-9 WHERE timeframe = '5m' AND ts = pg_temp.at(5) AND symbol = 'D';
UPDATE candle SET low = low - 1e-9 WHERE timeframe = '5m' AND ts = pg_temp.at(10) AND symbol = 'D';
UPDATE candle SET close = close + 1e-9 WHERE timeframe = '5m' AND ts = pg_temp.at(15) AND symbol = 'D';
UPDATE candle SET volume = volume * (1 + 1e-11) WHERE timeframe = '5m' AND ts = pg_temp.at(20) AND symbol = 'D';
UPDATE candle SET closed = false WHERE timeframe = '5m' AND ts = pg_temp.at(25) AND symbol = 'D';
UPDATE candle SET closed = true WHERE timeframe = '5m' AND ts = pg_temp.at(60) AND symbol = 'D';
UPDATE candle SET sources = 6 WHERE timeframe = '5m' AND ts = pg_temp.at(30) AND symbol = 'D';
DELETE FROM candle WHERE timeframe = '5m' AND ts = pg_temp.at(35) AND symbol = 'D';
INSERT INTO candle VALUES ('E', '5m', pg_temp.at(30), 1, 1, 1, 1, 1, true, 1), ('NONE', '15m', pg_temp.at(0), 1, 1, 1, 1, 1, false, 1);
UPDATE candle SET high = 9999 WHERE timeframe = '15m' AND ts = pg_temp.at(30);
RESET session_replication_role;
SELECT symbol, timeframe, ts, problem, concat_ws(' ', CASE WHEN (stored).open <> (expected).open THEN 'open' END, CASE WHEN (stored).high <> (expected).high THEN 'high' END, CASE WHEN (stored).low <> (expected).low THEN 'low' END,
	CASE WHEN (stored).close <> (expected).close THEN 'close' END, CASE WHEN (stored).volume <> (expected).volume THEN 'volume' END, CASE WHEN (stored).closed <> (expected).closed THEN 'closed' END,
	CASE WHEN (stored).sources <> (expected).sources THEN 'sources' END) AS what, (stored).symbol IS NOT NULL AS stored, (expected).symbol IS NOT NULL AS expected, (expected).sources FROM verify_rollups();
SELECT stored, expected FROM verify_rollups() WHERE problem <> 'differs' OR (stored).open <> (expected).open;
-- Not in a transaction block; then one rollup, then all. What is supplied stays as it is, and there may be new ones meanwhile.
BEGIN;
CALL rebuild_rollups();
ROLLBACK;
SELECT pg_temp.outcome('CALL tradekeep.rebuild_rollups()') AS called_inside;
CALL rebuild_rollups('1h');
CALL rebuild_rollups('7m');
SELECT pg_temp.other() > 5 AS damaged, (SELECT count(*) FROM rollup_build) AS builds;
CALL rebuild_rollups('15m');
SELECT timeframe, problem, count(*) FROM verify_rollups() GROUP BY 1, 2 ORDER BY 1, 2;
CALL rebuild_rollups(target => '5m');
SELECT * FROM pg_temp.check();
DELETE FROM intact WHERE timeframe = '15m' AND sources IS NULL;
INSERT INTO intact SELECT * FROM candle WHERE timeframe = '15m' AND high = 9999;
SELECT pg_temp.other() AS other;
-- A difference below 1e-12 in volume is none for verify_rollups(), but the rebuild is exact; it writes only what differs.
SET session_replication_role = replica;
UPDATE candle SET volume = volume * (1 + 4e-16) WHERE timeframe = '5m' AND ts = pg_temp.at(20) AND symbol = 'D';
DELETE FROM candle WHERE timeframe > '1m' AND symbol = 'E';
RESET session_replication_role;
SELECT symbol, timeframe, ts, problem FROM verify_rollups();
CREATE TEMP TABLE places AS SELECT ctid AS place, c.* FROM candle AS c;
CALL rebuild_rollups();
SELECT pg_temp.other() AS other, (SELECT count(*) FROM candle AS c JOIN places AS p USING (symbol, timeframe, ts) WHERE c.ctid <> p.place) AS rewritten;
SELECT drop_rollup('15m'), drop_rollup('5m');
TRUNCATE candle, candle_correction;

-- A history too long for add_rollup(): the rest is built by the procedure. Until then new candles are derived, and nothing is swept.
INSERT INTO candle SELECT s, '1s', '2020-01-01Z'::timestamptz + i * interval '1 s', i, i + 1, i - 1, i, 0.5 FROM unnest('{X,Y}'::text[]) AS s, generate_series(1, 105000) AS i;
-- With statistics the planner has other joins to choose from; symbols are visited in their order all the same.
ANALYZE candle;
SELECT add_rollup('1s', '1h');
SELECT add_rollup('1s', '1h') AS again, (SELECT count(*) FROM rollup_status) AS rollups, s.target, s.source, s.built, s.build_symbol, s.build_since < '2020-01-02Z' AS build_since FROM rollup_status AS s;
INSERT INTO candle VALUES ('X', '1s', '2020-01-05Z', 1, 1, 1, 1, 1), ('Y', '1s', '2020-01-05Z', 1, 1, 1, 1, 1), ('Y', '1s', '2020-01-02 05:00Z', 1, 1, 1, 1, 1) ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET high = 777777;
SELECT symbol, count(*) FROM candle WHERE timeframe = '1h' GROUP BY 1 ORDER BY 1;
SELECT cleanup_old_candles('1 day', '1s') AS swept;
CALL rebuild_rollups();
SELECT target, built, build_symbol, build_since, horizon, late FROM rollup_status;
SELECT symbol, count(*), sum(sources) FROM candle WHERE timeframe = '1h' GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM verify_rollups();
-- Again from the beginning: it commits as it goes, and finds nothing to do.
CREATE TEMP TABLE hours AS SELECT ctid AS place, * FROM candle WHERE timeframe = '1h';
CALL rebuild_rollups('1h');
SELECT count(*) FROM (SELECT ctid AS place, * FROM candle WHERE timeframe = '1h' EXCEPT TABLE hours) AS rewritten;
SELECT drop_rollup('1h');
TRUNCATE candle;

-- Retention. What goes by it is no deletion: whole periods go, what was derived from them stays as it is, and is left out from then on.
CREATE FUNCTION pg_temp.cleanup(timeframe timeframe, cutoff timestamptz) RETURNS bigint LANGUAGE sql AS 'SELECT tradekeep.cleanup_old_candles(statement_timestamp() - cutoff, timeframe)';
CREATE FUNCTION pg_temp.fill(symbol text, since timestamptz, until timestamptz) RETURNS bigint LANGUAGE sql AS $$
	WITH written AS (INSERT INTO tradekeep.candle SELECT fill.symbol, '1m', ts, 100 + n, 200 + n, 50 - n / 100.0, 150 + n, n / 8.0 FROM generate_series(since, until - interval '1 min', interval '1 min') WITH ORDINALITY AS g(ts, n) RETURNING 1)
	SELECT count(*) FROM written
$$;
CREATE VIEW pg_temp.kept AS SELECT symbol, timeframe, count(*), to_char(min(ts), 'HH24:MI') AS first, to_char(max(ts), 'HH24:MI') AS last, bool_and(sources IS NOT NULL) AS derived FROM candle GROUP BY 1, 2;
SELECT add_rollup('1m', '5m'), add_rollup('1m', '1h'), add_rollup('5m', '30m');
SELECT pg_temp.fill('R', '2020-01-06 08:00Z', '2020-01-06 12:00Z'), pg_temp.fill('S', '2020-01-06 09:30Z', '2020-01-06 10:30Z');
CREATE TEMP TABLE frozen AS SELECT * FROM candle WHERE sources > 0;
SELECT cutoff, pg_temp.cleanup('1m', cutoff::timestamptz) FROM unnest('{2020-01-06 08:59:59Z,2020-01-06 09:00Z,2020-01-06 10:37Z,2020-01-06 10:59:59.999Z}'::text[]) AS cutoff;
SELECT * FROM pg_temp.kept ORDER BY 1, 2;
SELECT count(*) FROM (SELECT * FROM candle WHERE sources > 0 EXCEPT TABLE frozen) AS changed;
SELECT symbol, timeframe, horizon, late FROM candle_horizon ORDER BY 1, 2;
SELECT * FROM rollup_status ORDER BY target;
SELECT count(*) FROM verify_rollups();
-- Late ones are stored, counted and left out, whatever becomes of them; frozen ones can only be deleted. Behind the horizon all is as ever.
SELECT upsert_candle('R', '1m', '2020-01-06 08:30Z', 7777, 7777, 1, 1, 1), upsert_candle('R', '1m', '2020-01-06 08:31Z', 7777, 7777, 1, 1, 1, closed => false), upsert_candle('S', '1m', '2020-01-06 09:01Z', 1, 1, 1, 1, 1);
SELECT count(*) FROM (SELECT * FROM candle WHERE sources > 0 EXCEPT TABLE frozen) AS changed;
SELECT symbol, timeframe, horizon, late FROM candle_horizon ORDER BY 1, 2;
UPDATE candle SET volume = 2 WHERE timeframe = '1m' AND ts = '2020-01-06 08:30Z';
DELETE FROM candle WHERE timeframe = '1m' AND ts IN ('2020-01-06 08:31Z', '2020-01-06 08:30Z');
SELECT count(*) FROM (SELECT * FROM candle WHERE sources > 0 EXCEPT TABLE frozen) AS changed;
DELETE FROM candle WHERE symbol = 'R' AND timeframe = '5m' AND ts = '2020-01-06 08:30Z';
SELECT upsert_candle('R', '1m', '2020-01-06 08:32Z', 7777, 7777, 1, 1, 1), upsert_candle('R', '1m', '2020-01-06 10:00Z', 7777, 7777, 1, 1, 1);
SELECT timeframe, ts, high, sources FROM candle WHERE symbol = 'R' AND timeframe > '1m' AND ts IN ('2020-01-06 08:30Z', '2020-01-06 10:00Z') ORDER BY 2, 1;
CALL rebuild_rollups();
SELECT count(*) FROM verify_rollups();
-- One that is new for a symbol without a horizon is not late.
SELECT pg_temp.fill('T', '2020-01-06 08:00Z', '2020-01-06 08:05Z');
SELECT timeframe, closed, sources FROM candle WHERE symbol = 'T' AND sources > 0 ORDER BY 1;
-- A target has a retention of its own: its candles do not come back either, not by rebuilding, nor by corrections of sources that are there.
SELECT pg_temp.cleanup('30m', '2020-01-06 10:45Z'), pg_temp.cleanup('5m', '2020-01-06 09:44Z'), pg_temp.cleanup('1h', '2020-01-06 10:30Z');
SELECT * FROM pg_temp.kept WHERE timeframe > '1m' ORDER BY 1, 2;
SELECT count(*) FROM verify_rollups();
UPDATE candle SET volume = volume + 1 WHERE timeframe = '1m' AND ts >= '2020-01-06 10:58Z';
CALL rebuild_rollups();
SELECT * FROM pg_temp.kept WHERE timeframe > '1m' ORDER BY 1, 2;
SELECT count(*) FROM verify_rollups();
-- Dropping a rollup leaves what is frozen, and adding it again changes nothing of that.
SELECT drop_rollup('30m'), drop_rollup('5m');
SELECT * FROM pg_temp.kept WHERE timeframe > '1m' ORDER BY 1, 2;
CREATE TEMP TABLE left_over AS SELECT * FROM candle WHERE timeframe = '5m';
SELECT add_rollup('1m', '5m');
SELECT * FROM pg_temp.kept WHERE timeframe = '5m' ORDER BY 1, 2;
SELECT count(*) FROM (TABLE left_over EXCEPT SELECT * FROM candle WHERE timeframe = '5m') AS changed;
SELECT count(*) FROM verify_rollups();
-- All timeframes at once; a plain DELETE with the setting is retention too, without it is not.
SELECT pg_temp.cleanup(NULL, '2020-01-06 11:17Z');
SELECT * FROM pg_temp.kept ORDER BY 1, 2;
BEGIN;
SET LOCAL tradekeep.retention = on;
DELETE FROM candle WHERE timeframe = '1m' AND ts < '2020-01-06 11:30Z';
COMMIT;
DELETE FROM candle WHERE timeframe = '1m' AND ts >= '2020-01-06 11:45Z';
SELECT * FROM pg_temp.kept ORDER BY 1, 2;
SELECT symbol, timeframe, horizon FROM candle_horizon ORDER BY 1, 2;
SELECT count(*) FROM verify_rollups();
-- Without rollups there is nothing to freeze, and nothing is waited for.
SELECT drop_rollup('1h'), drop_rollup('5m');
SELECT count(*) FROM candle_horizon;
SELECT pg_temp.cleanup('1m', '2020-01-06 11:37Z');
SELECT * FROM pg_temp.kept WHERE timeframe = '1m' ORDER BY 1, 2;
SELECT count(*) FROM candle_horizon;
TRUNCATE candle, candle_correction;
-- The sweeper does the same, whoever comes first; TRUNCATE forgets what was frozen.
SELECT add_rollup('1m', '5m'), add_rollup('5m', '1h');
SELECT pg_temp.fill('R', '2020-01-06 08:00Z', '2020-01-06 12:00Z');
SELECT set_candle_retention('1m', now() - '2020-01-06 09:57Z'), set_candle_retention('5m', now() - '2020-01-06 08:10Z');
CALL sweep('tradekeep.candle');
-- What the background sweeper has locked is gone as soon as it is done.
BEGIN;
LOCK TABLE candle IN SHARE MODE;
COMMIT;
SELECT set_candle_retention('1m', NULL), set_candle_retention('5m', NULL);
SELECT symbol, timeframe, derived, last, CASE timeframe WHEN '1m' THEN first BETWEEN '09:55' AND '10:25' ELSE first = '08:00' END AS first FROM pg_temp.kept ORDER BY 2;
SELECT symbol, timeframe, horizon BETWEEN '2020-01-06 09:55Z' AND '2020-01-06 10:25Z' AS horizon FROM candle_horizon;
SELECT count(*) FROM verify_rollups();
TRUNCATE candle;
SELECT count(*) FROM candle_horizon;
SELECT pg_temp.fill('R', '2020-01-06 08:00Z', '2020-01-06 08:07Z');
SELECT timeframe, ts, sources FROM candle WHERE sources > 0 ORDER BY 1, 2;
-- Derived ones that come from elsewhere, as a dump has them, are frozen when they are closed or have more sources than are there.
INSERT INTO candle VALUES ('R', '5m', '2020-01-06 07:00Z', 5, 6, 4, 5, 5, true, 5), ('U', '5m', '2020-01-06 08:00Z', 5, 6, 4, 5, 5, false, 1);
SELECT symbol, timeframe, ts, close, closed, sources FROM candle WHERE timeframe > '1m' ORDER BY 1, 2, 3;
SELECT symbol, timeframe, horizon FROM candle_horizon ORDER BY 1, 2;
SELECT count(*) FROM verify_rollups();
TRUNCATE candle;

-- Ticks make candles of a timeframe that is not derived, and those are derived from.
SELECT pg_temp.outcome($$SELECT inserted FROM tradekeep.upsert_ticks('TICK', '5m', '[[1767607200000, 1, 10, 1]]')$$) AS json, pg_temp.outcome($$SELECT inserted FROM tradekeep.upsert_ticks('TICK', '1h', '{2026-01-05Z}', '{1}', '{1}', '{1}')$$) AS columns,
	pg_temp.outcome($$SELECT inserted FROM tradekeep.upsert_ticks('TICK', '5m', '[]')$$) AS empty, (SELECT count(*) FROM tick) AS ticks;
SELECT * FROM upsert_ticks('TICK', '1m', '[[1767607200000, 1, 10, 1], [1767607230000, 2, 12, 1], [1767607320000, 4, 11, 1], [1767607500000, 9, 5, 2]]');
SELECT * FROM upsert_ticks('TICK', '1m', '[[1767607325000, 7, 99, 1]]');
SELECT timeframe, ts, open, high, low, close, volume, closed, sources FROM candle ORDER BY 1, 2;
SELECT * FROM pg_temp.check();
SELECT pg_temp.outcome($$SELECT tradekeep.add_rollup('1s', '1m')$$) AS of_ticks;
TRUNCATE tick, candle;

-- Who may write candles has them derived, though that may delete some, and though the role itself may not; who reads may verify; the rest is for admins.
CREATE ROLE regress_tk_roller;
CREATE ROLE regress_tk_plain;
GRANT USAGE ON SCHEMA tradekeep TO regress_tk_plain;
GRANT USAGE ON TYPE timeframe TO regress_tk_plain;
GRANT SELECT, INSERT, UPDATE ON candle TO regress_tk_plain;
-- The table's constraints call it.
GRANT EXECUTE ON FUNCTION candle_start TO regress_tk_plain;
SET ROLE regress_tk_plain;
INSERT INTO candle SELECT 'ROLE', '1m', ts, 1, 1, 1, 1, 1 FROM generate_series('2026-01-05 10:00Z'::timestamptz, '2026-01-05 10:04Z', '1 min') AS ts;
INSERT INTO candle VALUES ('ROLE', '1m', '2026-01-05 12:00Z', 1, 1, 1, 1, 1);
UPDATE candle SET symbol = 'ROLE2' WHERE sources IS NULL AND ts = '2026-01-05 12:00Z';
SELECT symbol, timeframe, ts, closed, sources FROM candle WHERE sources > 0 ORDER BY 1, 2, 3;
SELECT current_user, pg_temp.outcome('DELETE FROM tradekeep.candle RETURNING 1') AS delete, pg_temp.outcome('SELECT count(*) FROM tradekeep.rollup') AS rollups, pg_temp.outcome('SELECT count(*) FROM tradekeep.verify_rollups()') AS verify;
RESET ROLE;
CREATE FUNCTION pg_temp.attempts() RETURNS TABLE (outcome text, statement text) LANGUAGE sql AS $$
	SELECT pg_temp.outcome(s), s FROM unnest(ARRAY['SELECT count(*) FROM tradekeep.verify_rollups()', 'SELECT count(*) FROM tradekeep.rollup_status', 'SELECT tradekeep.timeframe_divides(''1m'', ''1h'')',
		'SELECT tradekeep.upsert_candle(''BY'', ''1m'', ''2026-01-05Z'', 1, 1, 1, 1, 1)', 'WITH d AS (DELETE FROM tradekeep.candle WHERE symbol = ''BY'' RETURNING 1) SELECT count(*) FROM d',
		'SELECT tradekeep.add_rollup(''1m'', ''3m'')', 'SELECT tradekeep.add_rollup(''1m'', ''3m'', ''1 h'')', 'SELECT sources FROM tradekeep.derive_candles(''3m'', ''ROLE'', ''-infinity'', ''infinity'')', 'SELECT tradekeep.drop_rollup(''3m'')',
		'SELECT tradekeep.continue_build(''5m'', 100)', 'CALL tradekeep.rebuild_rollups()', 'WITH i AS (INSERT INTO tradekeep.rollup VALUES (''3m'', ''1m'') RETURNING 1) SELECT count(*) FROM i', 'WITH u AS (UPDATE tradekeep.candle_horizon SET late = 0 RETURNING 1) SELECT count(*) FROM u',
		'SELECT tradekeep.make_rollup_triggers()', 'SELECT tradekeep.cleanup_old_candles(''100 years'')']) AS s
$$;
SELECT grant_access('regress_tk_roller', 'reader');
SET ROLE regress_tk_roller;
SELECT * FROM pg_temp.attempts();
RESET ROLE;
SELECT grant_access('regress_tk_roller', 'writer');
SET ROLE regress_tk_roller;
SELECT * FROM pg_temp.attempts();
RESET ROLE;
SELECT grant_access('regress_tk_roller', 'admin');
SET ROLE regress_tk_roller;
SELECT * FROM pg_temp.attempts();
CALL rebuild_rollups('5m');
SELECT drop_rollup('3m') AS dropped, add_rollup('1m', '3m') AS added, drop_rollup('3m') AS again, drop_rollup('1h') AS last_but_one, drop_rollup('5m') AS last;
SELECT add_rollup('1m', '5m') AS first, drop_rollup('5m') AS last;
RESET ROLE;
SELECT pg_temp.outcome($$SELECT tradekeep.derive_candles('5m', 'ROLE', '-infinity', 'infinity')$$) AS no_rollup, pg_temp.outcome($$SELECT tradekeep.derive_candles('5m', '', '-infinity', 'infinity')$$) AS no_symbol;
REVOKE ALL ON candle FROM regress_tk_plain;
REVOKE ALL ON FUNCTION candle_start FROM regress_tk_plain;
REVOKE ALL ON TYPE timeframe FROM regress_tk_plain;
REVOKE ALL ON SCHEMA tradekeep FROM regress_tk_plain;
SELECT revoke_access('regress_tk_roller');
DROP ROLE regress_tk_plain, regress_tk_roller;
BEGIN READ ONLY;
SELECT add_rollup('1m', '5m');
ROLLBACK;
BEGIN READ ONLY;
SELECT drop_rollup('5m');
ROLLBACK;

-- All is as it was before.
TRUNCATE tick, candle, candle_correction;
SELECT (SELECT count(*) FROM rollup) AS rollups, (SELECT count(*) FROM rollup_build) AS builds, (SELECT count(*) FROM candle_horizon) AS horizons, (SELECT count(*) FROM candle_retention) AS retentions,
	(SELECT count(*) FROM pg_trigger WHERE tgrelid = 'candle'::regclass AND tgname ~ '^roll_') AS triggers;
