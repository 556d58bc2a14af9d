-- candle: what is there and what is missing, against plain SQL that counts on its fingers

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET extra_float_digits = 1;
\set VERBOSITY sqlstate
\pset format unaligned
TRUNCATE tick, candle, candle_correction;

-- The grid of a timeframe from a time on: its first start, and what leads from one to the next.
CREATE TEMP TABLE frame AS
	SELECT tf, CASE tf WHEN '1M' THEN interval '1 month' WHEN '1w' THEN '7 days' WHEN '3d' THEN '3 days' WHEN '1d' THEN '1 day'
		ELSE (CASE right(tf::text, 1) WHEN 's' THEN left(tf::text, -1) || ' seconds' WHEN 'm' THEN left(tf::text, -1) || ' minutes'
			ELSE left(tf::text, -1) || ' hours' END)::interval END AS step
	FROM unnest('{1s,1m,3m,5m,15m,30m,1h,2h,4h,6h,8h,12h,1d,3d,1w,1M}'::timeframe[]) AS tf;
CREATE FUNCTION pg_temp.grid_start(tf timeframe, step interval, at timestamptz) RETURNS timestamp LANGUAGE sql AS $$
	SELECT CASE tf WHEN '1M' THEN date_trunc('month', at AT TIME ZONE 'UTC') WHEN '1w' THEN date_trunc('week', at AT TIME ZONE 'UTC')
		ELSE date_bin(step, at AT TIME ZONE 'UTC', '1970-01-01') END
$$;
CREATE FUNCTION pg_temp.starts(tf timeframe, step interval, since timestamptz, until timestamptz) RETURNS SETOF timestamptz LANGUAGE sql AS $$
	SELECT t AT TIME ZONE 'UTC' FROM generate_series(pg_temp.grid_start(tf, step, since), until AT TIME ZONE 'UTC', step) AS t
	WHERE t AT TIME ZONE 'UTC' >= since AND t AT TIME ZONE 'UTC' < until
$$;

-- Series of 40 candles with holes: at the epoch, over leap days, the ends of months and years, the days when clocks change, and in the future.
CREATE TEMP TABLE series AS
	SELECT tf || ' ' || m::date AS symbol, tf, step, pg_temp.grid_start(tf, step, m) AS origin
	FROM frame, unnest('{1970-01-01 00:00Z,2000-02-28 23:59Z,2023-12-31 23:58Z,2024-03-10 06:30Z,2099-12-31 23:59Z}'::timestamptz[]) AS m
	WHERE tf > '1h' OR m < '2000-01-01' OR m > '2024-01-01';
INSERT INTO candle
	SELECT symbol, tf, (origin + i * step) AT TIME ZONE 'UTC', 1 + i, 3 + i, i, 2 + i, i, i < 39, CASE WHEN i % 7 = 0 THEN 3 END
	FROM series, generate_series(0, 39) AS i
	WHERE CASE WHEN i BETWEEN 20 AND 26 THEN i = 23 ELSE get_bit(decode(md5(symbol), 'hex'), i) = 1 END;

-- What has to be missing, one start after the other: behind since or the first bar, before until (or now) or the last one.
CREATE FUNCTION pg_temp.missing(s series, since timestamptz, until timestamptz) RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
#variable_conflict use_variable
BEGIN
	RETURN QUERY WITH bars AS MATERIALIZED (
		SELECT c.ts FROM tradekeep.candle AS c WHERE c.symbol = s.symbol AND (c.ts >= since OR since IS NULL) AND (c.ts < until OR until IS NULL)),
	range AS MATERIALIZED (
		SELECT coalesce(since, min(ts)) AS low, greatest(max(ts), CASE WHEN until IS NOT NULL
			THEN least(until, pg_temp.grid_start(s.tf, s.step, statement_timestamp()) AT TIME ZONE 'UTC') END) AS high FROM bars)
	SELECT t FROM range, pg_temp.starts(s.tf, s.step, low, high) AS t WHERE t NOT IN (SELECT ts FROM bars);
END
$$;
-- The same in runs: a new one begins where the start before is not missing too.
CREATE FUNCTION pg_temp.gaps(s series, since timestamptz, until timestamptz) RETURNS text[] LANGUAGE plpgsql AS $$
#variable_conflict use_variable
BEGIN
	RETURN (SELECT array_agg(gap ORDER BY gap) FROM (
		SELECT row(min(t), (max(t) AT TIME ZONE 'UTC' + s.step) AT TIME ZONE 'UTC', count(*))::text AS gap
		FROM (SELECT t, count(*) FILTER (WHERE begins) OVER (ORDER BY t) AS run
			FROM (SELECT t, coalesce((lag(t) OVER (ORDER BY t) AT TIME ZONE 'UTC' + s.step) AT TIME ZONE 'UTC' <> t, true) AS begins
				FROM pg_temp.missing(s, since, until) AS t) AS m) AS n
		GROUP BY run) AS g);
END
$$;
-- Bars with what fills the holes between them: behind the one before since, or the first, at the last close.
CREATE FUNCTION pg_temp.filled(s series, since timestamptz, until timestamptz) RETURNS text[] LANGUAGE plpgsql AS $$
#variable_conflict use_variable
BEGIN
	RETURN (WITH bars AS MATERIALIZED (SELECT * FROM tradekeep.candle AS c WHERE c.symbol = s.symbol)
	SELECT array_agg(row(s.symbol, s.tf, f.ts, f.open, f.high, f.low, f.close, f.volume, f.closed, f.filled)::text ORDER BY f.ts)
	FROM (
		SELECT b.ts, b.open, b.high, b.low, b.close, b.volume, b.closed, false AS filled
		FROM bars AS b WHERE (b.ts >= since OR since IS NULL) AND (b.ts < until OR until IS NULL)
		UNION ALL
		SELECT m, l.close, l.close, l.close, l.close, 0, true, true
		FROM pg_temp.missing(s, since, until) AS m CROSS JOIN LATERAL (SELECT b.close FROM bars AS b WHERE b.ts < m ORDER BY b.ts DESC LIMIT 1) AS l
	) AS f);
END
$$;
-- Every series from and to where it matters: no bound, on the grid and beside it, before and behind everything, and backwards.
CREATE FUNCTION pg_temp.compare(OUT calls bigint, OUT with_gaps bigint, OUT same_gaps bigint, OUT same_bars bigint) LANGUAGE sql AS $$
	SELECT count(*), count(*) FILTER (WHERE expected_gaps <> '{}'),
		count(*) FILTER (WHERE ARRAY(SELECT g::text FROM tradekeep.candle_gaps(symbol, tf, since, until) AS g) = expected_gaps),
		count(*) FILTER (WHERE ARRAY(SELECT f::text FROM tradekeep.candles_filled(symbol, tf, since, until) AS f) = expected_bars)
	FROM (
		SELECT s.symbol, s.tf, since, until, coalesce(pg_temp.gaps(s, since, until), '{}') AS expected_gaps,
			coalesce(pg_temp.filled(s, since, until), '{}') AS expected_bars
		FROM series AS s,
			(VALUES (NULL, NULL), (-20, '0'), (22, '1 us'), (22, '0'), (45, '0')) AS l(low, past_low),
			(VALUES (NULL, NULL), (10, '1 us'), (24, '-1 us'), (24, '0'), (50, '1 us')) AS h(high, past_high),
			LATERAL (SELECT (origin + low * step) AT TIME ZONE 'UTC' + past_low::interval AS since,
				(origin + high * step) AT TIME ZONE 'UTC' + past_high::interval AS until OFFSET 0) AS bounds
		OFFSET 0) AS e
$$;
SELECT count(*) FROM series;
SELECT calls, with_gaps > 500 AS many, same_gaps, same_bars FROM pg_temp.compare();
-- Whatever the session's time zone.
DELETE FROM series WHERE symbol !~ '2024' OR tf NOT IN ('1h', '8h', '1d', '1w', '1M');
SET timezone = 'America/New_York';
SELECT calls, with_gaps > 50 AS many, same_gaps, same_bars FROM pg_temp.compare();
SET timezone = 'Asia/Kathmandu';
SELECT calls, with_gaps > 50 AS many, same_gaps, same_bars FROM pg_temp.compare();
SET timezone = 'UTC';

-- candle_stats() and count_candles() know the same.
SELECT count(*), count(*) FILTER (WHERE (s.candles, s.first, s.last) = (c.candles, c.first, c.last)) AS same,
	count(*) FILTER (WHERE s.candles + s.missing = (SELECT count(*) FROM frame AS f, pg_temp.starts(f.tf, f.step, c.first, c.last + interval '1 us') WHERE f.tf = s.timeframe)) AS same_missing,
	count(*) FILTER (WHERE s.missing = (SELECT coalesce(sum(missing), 0) FROM candle_gaps(s.symbol, s.timeframe))) AS as_gaps,
	sum(s.bytes) BETWEEN pg_total_relation_size('candle') / 2 AND pg_total_relation_size('candle') * 2 AS bytes
FROM candle_stats() AS s FULL JOIN (SELECT symbol, timeframe, count(*) AS candles, min(ts) AS first, max(ts) AS last FROM candle GROUP BY 1, 2) AS c
	USING (symbol, timeframe);
SELECT count(*), count(*) FILTER (WHERE count_candles(tf, since, until) = (SELECT count(*) FROM pg_temp.starts(tf, step, since, until))) AS same
FROM frame, generate_series(0, 130, 13) AS y,
	LATERAL (SELECT '1970-01-01Z'::timestamptz + y * interval '365 days 5:49:12.000001' AS since) AS s,
	LATERAL (SELECT since + n * step * 3.7 AS until FROM generate_series(-1, 4) AS n) AS u;
SELECT count(*), count(*) FILTER (WHERE count_candles(tf, '1970-01-01Z', until) = (SELECT count(*) FROM pg_temp.starts(tf, step, '1970-01-01Z', until))) AS same
FROM frame, unnest('{1972-03-01Z,2000-02-29Z,2000-03-01Z,2001-01-01Z,2024-12-31 23:59:59.999999Z,2100-02-28Z,2100-03-01Z,2100-12-31Z}'::timestamptz[]) AS until WHERE tf >= '1d';
SELECT tf, count_candles(tf, '1970-01-01Z', '2100-01-01Z'), count_candles(tf, '2024-02-29 12:00Z', '2024-02-29 12:00Z') AS none, count_candles(tf, '2024-02-29Z', '2023-01-01Z') AS backwards FROM frame ORDER BY tf;

-- Bounds that are no times, and no data at all.
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
TRUNCATE candle;
SELECT * FROM candle_stats();
SELECT upsert_candle('ONE', '1h', '2024-02-29 22:00Z', 1, 3, 1, 2, 5);
SELECT c.*, r.* FROM (VALUES ('ONE', '1h', NULL, NULL), ('ONE', '1h', '-infinity', NULL), ('ONE', '1h', NULL, '-infinity'), ('ONE', '1h', 'infinity', NULL),
	('ONE', '1h', 'infinity', 'infinity'), ('ONE', '1h', '2024-02-29 20:30Z', '2024-03-01 01:00Z'), ('ONE', '1h', '2024-02-29 22:00:01Z', '2024-03-01 01:00Z'),
	('ONE', '1h', '2024-02-29 20:30Z', '2024-02-29 20:45Z'), ('ONE', '1h', '2024-03-01 01:00Z', '2024-02-29 20:00Z'),
	('ONE', '1m', '2024-02-29 20:00Z', '2024-02-29 20:10Z'), ('NONE', '1h', NULL, NULL), ('NONE', '1h', NULL, '2024-01-01Z'), ('NONE', '1d', '2023-12-01Z', '2024-01-01Z'),
	('NONE', '1d', '2190-01-01Z', '2190-01-05Z'), (NULL, '1h', NULL, NULL), ('ONE', NULL, NULL, NULL), ('', '1h', NULL, NULL),
	('ONE', '1h', '1800-01-01Z', NULL), ('ONE', '1h', '2200-01-01Z', NULL), ('ONE', '1h', '30000-01-01Z', NULL), ('ONE', '1h', NULL, '1800-01-01Z'),
	('ONE', '1h', NULL, '30000-01-01Z'), ('ONE', '7m', NULL, NULL)) AS c(symbol, tf, since, until),
	LATERAL (SELECT pg_temp.outcome(format('SELECT string_agg(CASE WHEN gap_end < ''2025-01-01'' THEN g::text ELSE gap_start || '' to now'' END, '' '')
			FROM tradekeep.candle_gaps(%L, %L, %L, %L) AS g', symbol, tf, since, until)) AS gaps,
		pg_temp.outcome(format('SELECT CASE WHEN count(*) < 1000 THEN count(*)::text ELSE ''many'' END || '', '' || count(*) FILTER (WHERE NOT filled) || '' stored''
			FROM tradekeep.candles_filled(%L, %L, %L, %L)', symbol, tf, since, until)) AS filled) AS r;
-- Until now means that the candle that is open now is not missing: whether asked for by far times, or by now.
SELECT count(*) AS gaps, bool_and(gap_end = candle_start('1h', statement_timestamp())) AS to_now, bool_and(missing = extract(epoch FROM gap_end - gap_start) / 3600) AS all
FROM unnest(ARRAY['infinity', '2190-01-01Z', statement_timestamp()]) AS until, candle_gaps('ONE', '1h', NULL, until);
SELECT upsert_candle('ONE', '1d', '2024-02-29Z', 1, 3, 1, 2, 5);
SELECT count(*) FILTER (WHERE ts >= candle_start('1d', statement_timestamp())) AS beyond, count(*) = count_candles('1d', '2024-02-29 22:00Z', candle_start('1d', statement_timestamp())) AS all
FROM candles_filled('ONE', '1d', '2024-02-29 22:00Z', 'infinity');
SELECT pg_temp.outcome(format('SELECT tradekeep.count_candles(%s)', arguments)), arguments
FROM unnest(ARRAY['NULL, now(), now()', $$'1m', NULL, now()$$, $$'1m', now(), NULL$$, $$'1m', '-infinity', now()$$, $$'1m', now(), 'infinity'$$,
	$$'1m', '1899-12-31Z', now()$$, $$'1m', now(), '30000-01-01'$$, $$'7m', now(), now()$$]) AS arguments;
-- At both ends of what can be stored.
SELECT tf, upsert_candle('EDGE', tf, candle_start(tf, '2199-12-31 23:59:59Z'), 1, 1, 1, 1, 1), upsert_candle('EDGE', tf, '1900-01-01Z', 1, 1, 1, 1, 1)
FROM unnest('{1s,1m,1d,1M}'::timeframe[]) AS tf;
SELECT * FROM candle_gaps('EDGE', '1d');
SELECT * FROM candle_gaps('EDGE', '1M', '1900-01-01Z');
SELECT count(*), sum(volume) FROM candles_filled('EDGE', '1M');
SELECT symbol, timeframe, candles, first, last, missing FROM candle_stats() WHERE symbol = 'EDGE';
TRUNCATE candle;

-- What a function reads is what its statement sees: not what the statement itself stores.
SELECT upsert_candle('SELF', '1m', t, 1, 1, 1, 1, 1) FROM unnest('{2024-01-01 00:00Z,2024-01-01 00:09Z}'::timestamptz[]) AS t;
WITH added AS (INSERT INTO candle VALUES ('SELF', '1m', '2024-01-01 00:05Z', 1, 1, 1, 1, 1) RETURNING ts)
SELECT missing, (SELECT count(*) FROM candles_filled('SELF', '1m') WHERE filled) AS filled FROM added, candle_gaps('SELF', '1m');
SELECT missing FROM candle_gaps('SELF', '1m');

-- Inside of larger queries, and in parallel workers.
INSERT INTO candle SELECT 'J' || i % 3, '1m', '2024-01-01Z'::timestamptz + i * interval '1 min', i, i, i, i, i FROM generate_series(0, 2999) AS i WHERE i % 10 > 3;
SELECT s.symbol, g.gaps, g.missing, f.filled FROM unnest('{J0,J1,J2,J3}'::text[]) AS s(symbol)
LEFT JOIN LATERAL (SELECT count(*) AS gaps, sum(missing) AS missing FROM candle_gaps(s.symbol, '1m', '2024-01-01Z', '2024-01-03Z')) AS g ON true
LEFT JOIN LATERAL (SELECT count(*) AS filled FROM candles_filled(s.symbol, '1m', '2024-01-01Z', '2024-01-03Z') WHERE filled) AS f ON true;
SELECT count(*) FROM candles('J0', '1m') AS c JOIN candles_filled('J1', '1m') AS f USING (ts) JOIN latest_candles('J0', '1m', 100) AS l USING (ts) WHERE f.filled;
-- Stopped half way.
SELECT gap_start FROM candle_gaps('J1', '1m') LIMIT 1;
SELECT (candle_gaps('J1', '1m')).missing LIMIT 2;
SELECT proname, provolatile, proparallel FROM pg_proc WHERE pronamespace = 'tradekeep'::regnamespace
	AND proname IN ('candles', 'latest_candles', 'candles_filled', 'candle_gaps', 'count_candles', 'candle_stats', 'storage_stats') ORDER BY 1;
ANALYZE candle;
CREATE TABLE public.symbols AS SELECT 'J' || i % 4 AS symbol FROM generate_series(0, 999) AS i;
ALTER TABLE public.symbols SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE FUNCTION pg_temp.plan_has(statement text, part text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
	found boolean := false;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		found := found OR line LIKE '%' || part || '%';
	END LOOP;
	RETURN found;
END
$$;
SELECT pg_temp.plan_has($$SELECT symbol, g.missing FROM public.symbols, LATERAL tradekeep.candle_gaps(symbol, '1m') AS g$$, 'Gather') AS in_parallel;
SELECT symbol, count(*), sum(g.missing) FROM public.symbols, LATERAL candle_gaps(symbol, '1m') AS g GROUP BY symbol ORDER BY symbol;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
DROP TABLE public.symbols;

-- storage_stats() has every table once, the largest first.
SELECT count(*) = count(DISTINCT relation) AS once, count(*) = (SELECT count(*) FROM pg_class WHERE relnamespace = 'tradekeep'::regnamespace AND relkind = 'r') AS all,
	bool_and(total_bytes = table_bytes + index_bytes AND total_bytes = pg_total_relation_size(relation) AND index_bytes > 0)
		FILTER (WHERE relation IN ('candle_retention'::regclass, 'candle_notify'::regclass)) AS sizes FROM storage_stats();
SELECT relation, rows_estimate = (SELECT count(*) FROM candle) AS estimate FROM storage_stats() WHERE relation = 'candle'::regclass;
SELECT bool_and(total_bytes <= before) AS falling FROM (SELECT total_bytes, lag(total_bytes) OVER () AS before FROM storage_stats()) AS s;
-- In a read-only transaction, and by a role that may only read.
BEGIN READ ONLY;
SELECT count(*) FROM candle_gaps('J1', '1m'), candle_stats() WHERE symbol = 'J1';
COMMIT;
CREATE ROLE regress_tk_looks;
SELECT grant_access('regress_tk_looks', 'reader');
SET ROLE regress_tk_looks;
SELECT count(*) FROM candle_gaps('J1', '1m'), candle_stats() WHERE symbol = 'J1';
SELECT count(*) > 5 AS some FROM storage_stats();
SELECT count_candles('1m', '2024-01-01Z', '2024-01-02Z'), count(*) FROM candles_filled('J1', '1m');
RESET ROLE;
SELECT revoke_access('regress_tk_looks');
GRANT USAGE ON SCHEMA tradekeep TO regress_tk_looks;
SET ROLE regress_tk_looks;
SELECT * FROM candle_gaps('J1', '1m');
RESET ROLE;
REVOKE ALL ON SCHEMA tradekeep FROM regress_tk_looks;
DROP ROLE regress_tk_looks;
TRUNCATE candle;
