-- timeframe: the type of candle lengths, and its calendar

SET search_path = tradekeep, public;
\set VERBOSITY sqlstate

-- What a statement comes to: its SQLSTATE, or "accepted".
CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;

-- Sixteen names, 4 bytes each, in the order of their lengths.
CREATE TEMP TABLE names AS
	SELECT name::timeframe AS tf, name, n
	FROM unnest('{1s,1m,3m,5m,15m,30m,1h,2h,4h,6h,8h,12h,1d,3d,1w,1M}'::text[])
		WITH ORDINALITY AS t(name, n)
	ORDER BY md5(name);
SELECT tf, tf::text = name AS same, pg_column_size(tf) AS bytes, tf::interval,
	row_number() OVER (ORDER BY tf) = n AS in_order
FROM names ORDER BY tf;

-- Nothing else is one.
SELECT quote_literal(name) AS name, pg_temp.outcome(format('SELECT %L::tradekeep.timeframe', name))
FROM unnest('{7m,1H,"",1mo," 1m","1m ",1,m,60,0m,-1m,1m1m,01m,10m,2d,1y,1W,1D}'::text[]) AS name;

-- Minutes and months differ by case alone.
SELECT '1m'::timeframe < '1M'::timeframe AS minute_before_month,
	'1m'::timeframe = '1M'::timeframe AS same;

-- Every comparison agrees with the order of the lengths.
SELECT count(*) AS pairs,
	bool_and((a.tf < b.tf) = (a.n < b.n) AND (a.tf <= b.tf) = (a.n <= b.n)
		AND (a.tf = b.tf) = (a.n = b.n) AND (a.tf <> b.tf) = (a.n <> b.n)
		AND (a.tf >= b.tf) = (a.n >= b.n) AND (a.tf > b.tf) = (a.n > b.n)) AS agree
FROM names AS a, names AS b;

-- Operators are found whatever the search_path.
SET search_path = pg_catalog;
SELECT '4h'::tradekeep.timeframe > '1h'::tradekeep.timeframe AS longer,
	'4h'::tradekeep.timeframe IN ('1h', '4h') AS member;
SET search_path = tradekeep, public;

-- Text is assigned without a cast, and cast when asked; it is not taken for one by itself.
CREATE TEMP TABLE bars (tf timeframe, n integer);
INSERT INTO bars SELECT name, i FROM names, generate_series(1, 100) AS i;
SELECT ('1' || 'h')::timeframe;
SELECT candle_start('1h'::text, '2026-01-05 10:15Z');
INSERT INTO bars VALUES ('1' || 'x', 0);

-- Grouped, joined and sorted by hash and by merge.
SET enable_sort = off;
SELECT count(*) AS groups, min(bars) = 100 AND max(bars) = 100 AS whole
FROM (SELECT tf, count(*) AS bars FROM bars GROUP BY tf) AS by_timeframe;
SET enable_mergejoin = off;
SELECT count(*) FROM bars JOIN names USING (tf);
RESET enable_sort;
RESET enable_mergejoin;
SET enable_hashagg = off;
SET enable_hashjoin = off;
SET enable_nestloop = off;
SELECT count(DISTINCT tf) FROM bars;
SELECT count(*) FROM bars JOIN names USING (tf);
RESET enable_hashagg;
RESET enable_hashjoin;
RESET enable_nestloop;

-- Indexes of both kinds serve it.
CREATE FUNCTION pg_temp.uses_index(statement text, index name) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		IF line LIKE '%' || index || '%' THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;
CREATE INDEX bars_btree ON bars (tf, n);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT pg_temp.uses_index($$SELECT * FROM bars WHERE tf = '4h' AND n = 7$$, 'bars_btree') AS equal,
	pg_temp.uses_index($$SELECT * FROM bars WHERE tf > '1d'$$, 'bars_btree') AS range,
	pg_temp.uses_index($$SELECT * FROM bars ORDER BY tf$$, 'bars_btree') AS ordered;
SELECT count(*) FROM bars WHERE tf >= '1w';
DROP INDEX bars_btree;
CREATE INDEX bars_hash ON bars USING hash (tf);
SELECT pg_temp.uses_index($$SELECT * FROM bars WHERE tf = '4h'$$, 'bars_hash') AS hashed;
SELECT count(*) FROM bars WHERE tf = '1M';
RESET enable_seqscan;
RESET enable_bitmapscan;

-- Binary: the length in seconds; there and back, and no other length comes in.
SELECT tf, ('x' || encode(timeframe_send(tf), 'hex'))::bit(40)::bit(32)::int AS seconds
FROM names ORDER BY tf;
\copy (SELECT tf FROM names ORDER BY tf) TO 'results/timeframe.bin' (FORMAT binary)
CREATE TEMP TABLE copied (tf timeframe);
\copy copied FROM 'results/timeframe.bin' (FORMAT binary)
SELECT count(*), count(*) FILTER (WHERE names.tf = copied.tf) AS same
FROM (SELECT tf, row_number() OVER () AS n FROM copied) AS copied JOIN names USING (n);
\copy (SELECT 61) TO 'results/timeframe.bin' (FORMAT binary)
\copy copied FROM 'results/timeframe.bin' (FORMAT binary)

-- candle_start() and candle_end(): the calendar where it is uneven.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT tf, ts AS time, candle_start(tf, ts) AS start, candle_end(tf, ts) AS end
FROM (VALUES
	('1M'::timeframe, '2024-02-29 23:59:59.999999Z'::timestamptz),	-- a leap year
	('1M', '2023-02-28 12:00Z'),		-- an ordinary one
	('1M', '2000-02-29 00:00Z'),		-- a leap century
	('1M', '2100-02-28 23:59Z'),		-- an ordinary century
	('1M', '1999-12-31 23:59:59Z'),		-- a year's end
	('1w', '2026-01-04 23:59:59Z'),		-- a Sunday belongs to the week before
	('1w', '2026-01-05 00:00Z'),		-- Monday
	('1w', '1969-12-31 23:59:59Z'),		-- before 1970
	('1w', '1900-01-01 00:00Z'),		-- the first time there is, a Monday
	('3d', '1970-01-01 00:00Z'),		-- three-day candles are counted from here
	('3d', '1969-12-31 23:59:59.999999Z'),
	('3d', '2024-02-29 12:00Z'),
	('1d', '1970-01-01 00:00Z'),
	('1d', '1999-12-31 23:59:59.999999Z'),
	('12h', '2026-01-05 12:00Z'),
	('8h', '2026-01-05 07:59:59.999999Z'),
	('1s', '1969-12-31 23:59:59.5Z'),
	('1s', '2199-12-31 23:59:59.999999Z')	-- the last time there is
) AS t(tf, ts);

-- The grid is the same in every time zone, when clocks change too.
CREATE FUNCTION pg_temp.calendar(zone text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('TimeZone', zone, true);
	RETURN (SELECT string_agg(extract(epoch FROM candle_start(tf, ts)) || ' '
			|| extract(epoch FROM candle_end(tf, ts)) || ' '
			|| extract(epoch FROM candle_start(tf, ts) + tf::interval), ',' ORDER BY tf, ts)
		FROM names, generate_series(1774600000, 1774900000, 1800) AS epoch, to_timestamp(epoch) AS ts
		WHERE tf < '1M');
END
$$;
SELECT count(*) AS zones, count(DISTINCT pg_temp.calendar(zone)) AS calendars
FROM unnest('{UTC,Europe/Berlin,America/New_York,Asia/Kathmandu,Australia/Lord_Howe,-13:37}'::text[]) AS zone;

-- Over three centuries each time lies in its candle, each candle ends where the next begins, and
-- the server's own calendar agrees.
CREATE TEMP TABLE times AS
	SELECT '1900-01-01Z'::timestamptz + i * 473385.123457 * interval '1 s' AS ts
	FROM generate_series(0, 19997) AS i;
SELECT min(ts), max(ts) FROM times;
SELECT count(*) AS checked,
	bool_and(started <= ts AND ts < ended) AS contains,
	bool_and(candle_start(tf, started) = started) AS starts_itself,
	bool_and(started = CASE tf
		WHEN '1M' THEN date_trunc('month', ts, 'UTC')
		WHEN '1w' THEN date_trunc('week', ts, 'UTC')
		WHEN '3d' THEN to_timestamp(floor(extract(epoch FROM ts) / 259200) * 259200)
		ELSE date_bin(tf::interval, ts, '1900-01-01Z') END) AS as_the_server,
	bool_and(ended = started + tf::interval) AS as_long
FROM names, times, candle_start(tf, ts) AS started, candle_end(tf, ts) AS ended
WHERE started >= '1900-01-01Z';
SELECT bool_and(candle_start(tf, ended) = ended AND candle_end(tf, ended - interval '1 us') = ended) AS adjacent
FROM names, times, candle_end(tf, ts) AS ended
WHERE ended < '2200-01-01Z';

-- Other times are none.
SELECT time, pg_temp.outcome(format('SELECT tradekeep.candle_start(%L, %L)', '1h', time)) AS start,
	pg_temp.outcome(format('SELECT tradekeep.candle_end(%L, %L)', '1M', time)) AS end
FROM unnest('{1899-12-31 23:59:59.999999Z,1900-01-01 00:00Z,2199-12-31 23:59:59.999999Z,2200-01-01 00:00Z,30000-01-01Z,4713-01-01Z BC,infinity,-infinity}'::text[]) AS time;
SELECT candle_start(NULL, '2026-01-05Z') IS NULL AND candle_end('1h', NULL) IS NULL AS strict;
