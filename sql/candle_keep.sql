-- candle: what is kept and what is told: the newest bar, corrections on the record, retention, notifications

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET extra_float_digits = 1;
SET client_min_messages = warning;
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
TRUNCATE candle, candle_correction;

-- Thirty bars grow in five steps each before they are final, at times in their high, their low or their volume alone. Whatever comes when, twice, one by one or in batches:
-- while a bar is open it grows, and once its last one came it is that one.
CREATE TEMP TABLE feed AS
	SELECT k, step, '2026-01-05Z'::timestamptz + k * interval '1 min' AS ts, 100 + k AS open, 101 + k + ('{0,1,1,1,2,3}'::int[])[step + 1] AS high,
		99 + k - ('{0,0,0,1,1,2}'::int[])[step + 1] AS low, 100 + k + (step * 7 + k) % 2 AS close, 5 + ('{0,0,1,1,2,3}'::int[])[step + 1] AS volume, step = 5 AS closed
	FROM generate_series(1, 30) AS k, generate_series(0, 5) AS step;
CREATE FUNCTION pg_temp.replay(symbol text, orderly text, OUT outcomes text, OUT shrank bigint) LANGUAGE plpgsql AS $$
DECLARE
	bar record;
	before candle;
	after candle;
	outcome text;
	counts jsonb = '{"inserted": 0, "updated": 0, "unchanged": 0, "ignored": 0}';
BEGIN
	shrank := 0;
	FOR bar IN EXECUTE 'SELECT f.* FROM feed AS f, generate_series(1, 2) AS time ORDER BY ' || orderly LOOP
		SELECT * INTO before FROM candle AS c WHERE c.symbol = replay.symbol AND c.ts = bar.ts;
		outcome := upsert_candle(symbol, '1m', bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.closed);
		counts := jsonb_set(counts, ARRAY[outcome], to_jsonb((counts -> outcome)::int + 1));
		SELECT * INTO after FROM candle AS c WHERE c.symbol = replay.symbol AND c.ts = bar.ts;
		IF after.high < before.high OR after.low > before.low OR after.volume < before.volume OR after.closed < before.closed THEN
			shrank := shrank + 1;
		END IF;
	END LOOP;
	outcomes := CASE WHEN (counts -> 'inserted')::int = 30 AND (SELECT sum(v::int) FROM jsonb_each_text(counts) AS t(k, v)) = 360 THEN 'all told' ELSE counts::text END;
END
$$;
SELECT orderly, r.* FROM unnest(ARRAY['step, k', 'time, step, k', 'step DESC, k', 'k DESC, time, step', 'md5(f::text || time)', 'md5(time || f::text)', 'md5(f::text)']) AS orderly,
	pg_temp.replay(orderly, orderly) AS r;
-- In batches of 50, as JSON for the partial ones and the final ones, and as columns.
SELECT count(*) FROM (SELECT closed, jsonb_agg(jsonb_build_array(extract(epoch FROM ts) * 1000, open, high, low, close, volume) ORDER BY md5(r::text)) AS bars
	FROM (SELECT *, row_number() OVER (ORDER BY md5(f::text || 'json')) AS r FROM feed AS f) AS f GROUP BY r / 50, closed ORDER BY min(r)) AS b, LATERAL upsert_candles('JSON', '1m', bars, closed) AS u;
SELECT sum(inserted) AS inserted, sum(inserted + updated + unchanged + ignored) AS all
FROM (SELECT array_agg(ts ORDER BY r) AS ts, array_agg(open::float8 ORDER BY r) AS o, array_agg(high::float8 ORDER BY r) AS h, array_agg(low::float8 ORDER BY r) AS l,
		array_agg(close::float8 ORDER BY r) AS c, array_agg(volume::float8 ORDER BY r) AS v, array_agg(closed ORDER BY r) AS closed, count(*)::int AS n
	FROM (SELECT f.*, row_number() OVER (ORDER BY md5(f::text || 'columns' || time)) AS r FROM feed AS f, generate_series(1, 2) AS time) AS f GROUP BY r / 50 ORDER BY min(r)) AS b,
	LATERAL upsert_candles(array_fill('COLUMNS'::text, ARRAY[n]), array_fill('1m'::timeframe, ARRAY[n]), ts, o, h, l, c, v, closed) AS u;
SELECT count(DISTINCT symbol) AS symbols, count(*), count(*) FILTER (WHERE (c.open, c.high, c.low, c.close, c.volume, c.closed) = (f.open, f.high, f.low, f.close, f.volume, true)) AS final
FROM candle AS c JOIN feed AS f ON f.ts = c.ts AND f.closed;
SELECT count(*) FROM candle_correction;
-- Of the partial ones alone the fullest stays.
DELETE FROM feed WHERE closed;
TRUNCATE candle;
SELECT orderly, r.shrank FROM unnest(ARRAY['step DESC, k', 'md5(f::text || time)', 'md5(time || f::text)']) AS orderly, pg_temp.replay(orderly, orderly) AS r;
SELECT count(*), count(*) FILTER (WHERE (c.open, c.high, c.low, c.close, c.volume, c.closed) = (f.open, f.high, f.low, f.close, f.volume, false)) AS fullest
FROM candle AS c JOIN feed AS f ON f.ts = c.ts AND f.step = 4;
TRUNCATE candle;

-- A correction is a final bar over another final one, both supplied: every pair of bars, by function, by UPDATE and by ON CONFLICT DO UPDATE.
CREATE TEMP TABLE bars (n serial, name text, close float8, closed boolean, sources integer);
INSERT INTO bars (name, close, closed, sources) VALUES ('partial', 10, false, NULL), ('final', 11, true, NULL), ('other final', 12, true, NULL),
	('derived partial', 11, false, 3), ('derived final', 11, true, 3), ('other derived final', 12, true, 4);
CREATE FUNCTION pg_temp.corrections(stored bars, incoming bars, OUT by_update bigint, OUT by_upsert bigint, OUT by_function bigint) LANGUAGE plpgsql AS $$
DECLARE
	way text;
	n bigint;
BEGIN
	FOREACH way IN ARRAY '{update,upsert,function}'::text[] LOOP
		DELETE FROM tradekeep.candle WHERE symbol = 'PAIR';
		INSERT INTO tradekeep.candle VALUES ('PAIR', '1m', '2026-01-05Z', 10, 20, 5, stored.close, 1, stored.closed, stored.sources);
		DELETE FROM tradekeep.candle_correction;
		CONTINUE WHEN way = 'function' AND incoming.sources IS NOT NULL;
		IF way = 'update' THEN
			UPDATE tradekeep.candle SET close = incoming.close, closed = incoming.closed, sources = incoming.sources WHERE symbol = 'PAIR';
		ELSIF way = 'upsert' THEN
			INSERT INTO tradekeep.candle VALUES ('PAIR', '1m', '2026-01-05Z', 10, 20, 5, incoming.close, 1, incoming.closed, incoming.sources)
			ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET close = excluded.close, closed = excluded.closed, sources = excluded.sources;
		ELSE
			PERFORM tradekeep.upsert_candle('PAIR', '1m', '2026-01-05Z', 10, 20, 5, incoming.close, 1, incoming.closed);
		END IF;
		SELECT count(*) INTO n FROM tradekeep.candle_correction AS c WHERE (c.old_close, c.new_close) = (stored.close, incoming.close);
		IF n <> (SELECT count(*) FROM tradekeep.candle_correction) THEN
			n := -1;
		END IF;
		IF way = 'update' THEN by_update := n; ELSIF way = 'upsert' THEN by_upsert := n; ELSE by_function := n; END IF;
	END LOOP;
END
$$;
SELECT stored.name AS stored, incoming.name AS incoming, c.* FROM bars AS stored, bars AS incoming, pg_temp.corrections(stored, incoming) AS c
WHERE by_update + by_upsert + coalesce(by_function, 0) <> 0 ORDER BY stored.n, incoming.n;
TRUNCATE candle, candle_correction;

-- All of both bars is written down, whichever way they come, with the time.
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:00Z', 10, 12, 9, 11, 5) AS first, upsert_candle('BTC', '1m', '2026-01-05 10:00Z', 10, 13, 8, 12, 6) AS correction,
	upsert_candle('BTC', '1m', '2026-01-05 10:00Z', 10, 13, 8, 12, 6) AS again, upsert_candle('BTC', '1m', '2026-01-05 10:00Z', 10, 99, 8, 12, 99, closed => false) AS partial;
SELECT upsert_candles('BTC', '1m', '[[1767607200000, 10, 13, 8, 12, 7], [1767607260000, 1, 1, 1, 1, 1]]'),
	upsert_candles('{BTC,BTC,ETH}', '{1m,1m,1h}', '{2026-01-05 10:00Z,2026-01-05 10:01Z,2026-01-05 10:00Z}', '{1,2,3}', '{1,2,3}', '{1,2,3}', '{1,2,3}', '{1,2,3}');
SELECT * FROM ingest_kline('[[1767607260000, 3, 3, 3, 3, 3]]', 'BTC', '1m', '2026-02-01Z');
UPDATE candle SET volume = volume + 1;
INSERT INTO candle VALUES ('ETH', '1h', '2026-01-05 10:00Z', 5, 5, 5, 5, 5) ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET volume = excluded.volume, open = 3;
MERGE INTO candle AS c USING (VALUES ('ETH')) AS v(symbol) ON c.symbol = v.symbol WHEN MATCHED THEN UPDATE SET volume = 50;
-- What is replicated brings its record along.
SET session_replication_role = replica;
UPDATE candle SET volume = 51 WHERE symbol = 'ETH';
RESET session_replication_role;
SELECT symbol, timeframe, ts, old_open, old_high, old_low, old_close, old_volume, new_open, new_high, new_low, new_close, new_volume,
	corrected_at BETWEEN now() - interval '1 h' AND clock_timestamp() AS corrected_at FROM candle_correction ORDER BY correction_id;
-- In a batch only what is written counts: from what was stored to what is left at the end.
TRUNCATE candle_correction;
SELECT * FROM upsert_candles('ETH', '1h', '[[1767607200000, 1, 1, 1, 1, 1], [1767607200000, 2, 2, 2, 2, 2], [1767607200000, 3, 3, 3, 3, 3], [1767610800000, 1, 1, 1, 1, 1], [1767610800000, 2, 2, 2, 2, 2]]');
SELECT ts, old_close, old_volume, new_close, new_volume FROM candle_correction;
-- What is deleted and stored anew, or moved to another key, is no correction.
TRUNCATE candle_correction;
DELETE FROM candle WHERE symbol = 'ETH';
SELECT upsert_candle('ETH', '1h', '2026-01-05 10:00Z', 8, 8, 8, 8, 8);
UPDATE candle SET symbol = 'MOVED', close = 8, volume = 9 WHERE symbol = 'ETH';
SELECT count(*) FROM candle_correction;
-- It rolls back with its transaction, or part of one.
BEGIN;
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:00Z', 1, 1, 1, 1, 100);
SAVEPOINT part;
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:00Z', 1, 1, 1, 1, 101);
SELECT count(*) FROM candle_correction;
ROLLBACK TO part;
SELECT count(*) FROM candle_correction;
ROLLBACK;
SELECT count(*) FROM candle_correction;
BEGIN;
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:00Z', 1, 1, 1, 1, 100);
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:00:01Z', 1, 1, 1, 1, 100);
COMMIT;
SELECT count(*) FROM candle_correction;

-- Who may write bars cannot write, change or remove what is said of them; nor can one who has no more than the table.
CREATE ROLE regress_tk_keeper;
CREATE ROLE regress_tk_plain;
SELECT grant_access('regress_tk_keeper', 'writer');
GRANT USAGE ON SCHEMA tradekeep TO regress_tk_plain;
GRANT USAGE ON TYPE timeframe TO regress_tk_plain;
GRANT SELECT, INSERT, UPDATE ON candle TO regress_tk_plain;
-- The table's constraints call it.
GRANT EXECUTE ON FUNCTION candle_start TO regress_tk_plain;
SET ROLE regress_tk_keeper;
SELECT upsert_candle('BTC', '1m', '2026-01-05 10:00Z', 1, 1, 1, 1, 201);
INSERT INTO candle VALUES ('BTC', '1m', '2026-01-05 10:00Z', 1, 1, 1, 1, 202) ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET volume = excluded.volume;
SELECT old_volume, new_volume FROM candle_correction ORDER BY correction_id;
INSERT INTO candle_correction SELECT * FROM candle_correction;
UPDATE candle_correction SET old_volume = 0;
DELETE FROM candle_correction;
TRUNCATE candle_correction;
SET ROLE regress_tk_plain;
UPDATE candle SET volume = 203 WHERE symbol = 'BTC' AND volume = 202;
INSERT INTO candle VALUES ('BTC', '1m', '2026-01-05 10:00Z', 1, 1, 1, 1, 204) ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET volume = excluded.volume;
SELECT current_user;
SELECT * FROM candle_correction;
RESET ROLE;
SELECT old_volume, new_volume FROM candle_correction ORDER BY correction_id;
REVOKE ALL ON candle FROM regress_tk_plain;
REVOKE ALL ON FUNCTION candle_start FROM regress_tk_plain;
REVOKE ALL ON TYPE timeframe FROM regress_tk_plain;
REVOKE ALL ON SCHEMA tradekeep FROM regress_tk_plain;
DROP ROLE regress_tk_plain;

-- The newest 10,000 stay.
INSERT INTO candle_correction (corrected_at, symbol, timeframe, ts, old_open, old_high, old_low, old_close, old_volume, new_open, new_high, new_low, new_close, new_volume)
	SELECT now() - i * interval '1 min', 'OLD', '1m', '2026-01-05Z', i, i, i, i, i, i, i, i, i, i FROM generate_series(1, 10500) AS i;
CALL sweep('tradekeep.candle_correction');
-- What the background sweeper has locked is gone as soon as it is done.
BEGIN;
LOCK TABLE candle_correction IN SHARE MODE;
SELECT count(*), count(*) FILTER (WHERE symbol = 'BTC') AS newest, max(old_open) FROM candle_correction;
COMMIT;
TRUNCATE candle, candle_correction;

-- cleanup_old_candles(): months by the calendar in UTC, whatever the session's zone.
CREATE FUNCTION pg_temp.age(keep interval) RETURNS timestamptz LANGUAGE sql AS
	$$SELECT (statement_timestamp() AT TIME ZONE 'UTC' - keep) AT TIME ZONE 'UTC'$$;
CREATE FUNCTION pg_temp.fill() RETURNS bigint LANGUAGE sql AS $$
	DELETE FROM tradekeep.candle;
	WITH stored AS (INSERT INTO tradekeep.candle
		SELECT s, tf::tradekeep.timeframe, tradekeep.candle_start(tf::tradekeep.timeframe, now() - i * interval '3 h'), 1, 1, 1, 1, 1
		FROM unnest('{A,B,C}'::text[]) AS s, unnest('{1m,1h}'::text[]) AS tf, generate_series(0, 799) AS i RETURNING 1)
	SELECT count(*) FROM stored
$$;
SET timezone = 'America/New_York';
SELECT pg_temp.fill();
SELECT (SELECT count(*) FROM candle WHERE ts <= pg_temp.age('3 months') AND timeframe = '1m') = cleanup_old_candles('3 months', '1m') AS as_counted;
SELECT count(*) > 0 AS some FROM candle WHERE ts <= pg_temp.age('3 months');
SELECT count(*) FROM candle WHERE ts <= pg_temp.age('3 months') AND timeframe = '1m';
SELECT (SELECT count(*) FROM candle WHERE ts <= pg_temp.age('1 month')) = cleanup_old_candles('1 month') AS as_counted;
SELECT count(*) FROM candle WHERE ts <= pg_temp.age('1 month');
SELECT (SELECT count(*) FROM candle WHERE ts <= pg_temp.age('36 h')) = cleanup_old_candles('36 h', NULL) AS as_counted, count(*) > 0 AS some FROM candle;
SET timezone = 'UTC';
SELECT keep, pg_temp.outcome(format('SELECT tradekeep.cleanup_old_candles(%L)', keep)) AS cleanup, pg_temp.outcome(format('SELECT tradekeep.set_candle_retention(%L, %L)', '1m', keep)) AS retention
FROM unnest('{0,-1 h,999 us,102 years,1000000 hours,300000 years,1 month -30 days,x}'::text[]) AS keep;
SELECT pg_temp.outcome('SELECT tradekeep.cleanup_old_candles(NULL)') AS keep, pg_temp.outcome($$SELECT tradekeep.cleanup_old_candles('1 h', '7m')$$) AS timeframe,
	pg_temp.outcome($$SELECT tradekeep.set_candle_retention(NULL, '1 h')$$) AS retention, pg_temp.outcome($$SELECT tradekeep.set_candle_retention('7m', '1 h')$$) AS retention_of;
SELECT count(*) FROM candle_retention;

-- Retention: what preview_ttl() counts and the sweeper takes is what is older, of the timeframes that were named, of every symbol.
SELECT pg_temp.outcome($$SELECT tradekeep.preview_ttl('tradekeep.candle')$$) AS without_policy;
SELECT pg_temp.fill();
INSERT INTO candle SELECT symbol, '1d', candle_start('1d', ts), 1, 1, 1, 1, 1 FROM candle WHERE timeframe = '1m' ON CONFLICT DO NOTHING;
BEGIN;
SELECT set_candle_retention('1m', '2 days'), set_candle_retention('1h', '5 weeks');
SELECT set_candle_retention('1h', '1 month');
TABLE candle_retention ORDER BY timeframe;
SELECT preview_ttl('tradekeep.candle') = count(*) AS previewed, count(*) > 4000 AS many FROM candle
WHERE timeframe = '1m' AND ts <= pg_temp.age('2 days') OR timeframe = '1h' AND ts <= pg_temp.age('1 month');
COMMIT;
SELECT timeframe, count(*) FROM candle WHERE timeframe = '1d' GROUP BY 1 \gset daily_
CALL sweep('tradekeep.candle');
BEGIN;
LOCK TABLE candle IN SHARE MODE;
SELECT timeframe, count(DISTINCT symbol) AS symbols, min(ts) > pg_temp.age(CASE timeframe WHEN '1m' THEN interval '2 days' ELSE '1 month' END) AS young,
	min(ts) <= pg_temp.age(CASE timeframe WHEN '1m' THEN interval '2 days' ELSE '1 month' END) + interval '4 h' AS no_younger FROM candle WHERE timeframe < '1d' GROUP BY 1 ORDER BY 1;
SELECT count(*) = :daily_count AS all_days FROM candle WHERE timeframe = '1d';
COMMIT;
SELECT preview_ttl('tradekeep.candle');
-- Null takes it away again; without any the table has no policy.
SELECT set_candle_retention('1m', NULL), set_candle_retention('3m', NULL);
SELECT relation, column_name, candle_retention FROM effective_ttl_policy WHERE relation = 'candle'::regclass;
SELECT set_candle_retention('1h', NULL);
SELECT count(*) FROM effective_ttl_policy WHERE relation = 'candle'::regclass;
TABLE candle_retention;
TRUNCATE candle;

-- For the level admin.
SET ROLE regress_tk_keeper;
SELECT pg_temp.outcome($$SELECT tradekeep.set_candle_retention('1m', '1 h')$$), pg_temp.outcome($$SELECT tradekeep.cleanup_old_candles('1 h')$$),
	pg_temp.outcome($$SELECT tradekeep.notify_candles('1m')$$), pg_temp.outcome($$INSERT INTO tradekeep.candle_notify VALUES ('1m') RETURNING 1$$),
	pg_temp.outcome($$SELECT tradekeep.send_candle_notes('{A}', '{1m}', '{2026-01-05Z}')$$);
RESET ROLE;
SELECT grant_access('regress_tk_keeper', 'admin');
SET ROLE regress_tk_keeper;
SELECT upsert_candle('ADMIN', '1m', '2020-01-01Z', 1, 1, 1, 1, 1);
SELECT cleanup_old_candles('1 h'), set_candle_retention('1m', '1 h'), set_candle_retention('1m', '2 h'), set_candle_retention('1m', NULL), notify_candles('1m'), notify_candles('1m', false);
RESET ROLE;
SELECT revoke_access('regress_tk_keeper');
DROP ROLE regress_tk_keeper;

-- Notification: the triggers are there only while a timeframe has it.
CREATE VIEW pg_temp.triggers AS
	SELECT count(*) FILTER (WHERE tgenabled = 'O') AS enabled, (SELECT string_agg(timeframe::text, ' ' ORDER BY timeframe) FROM candle_notify) AS timeframes
	FROM pg_trigger WHERE tgrelid = 'candle'::regclass AND tgname ~ '^notify';
TABLE pg_temp.triggers;
SELECT notify_candles('1m'), notify_candles('1h'), notify_candles('1m');
TABLE pg_temp.triggers;
SELECT notify_candles('1m', false), notify_candles('4h', false);
TABLE pg_temp.triggers;
SELECT notify_candles('1h', false);
TABLE pg_temp.triggers;
BEGIN;
SELECT notify_candles('1d');
TABLE pg_temp.triggers;
ROLLBACK;
TABLE pg_temp.triggers;
COPY candle_notify FROM stdin;
1m
1M
\.
TABLE pg_temp.triggers;
DELETE FROM candle_notify WHERE timeframe = '1M';
TABLE pg_temp.triggers;
-- Also when the bars themselves come by COPY, and in one transaction with what else was done to them.
COPY candle (symbol, timeframe, ts, open, high, low, close, volume) FROM stdin;
COPIED	1m	2026-01-05 00:00Z	1	1	1	1	1
COPIED	1m	2026-01-05 00:01Z	1	1	1	1	1
\.
BEGIN;
SELECT upsert_candle('ONE', '1m', '2026-01-05Z', 1, 1, 1, 1, 1);
SELECT notify_candles('1m', false);
SELECT notify_candles('1m');
SELECT upsert_candle('ONE', '1m', '2026-01-05Z', 1, 1, 1, 1, 2);
COMMIT;
SELECT count(*) FROM candle;
TRUNCATE candle_notify;
TABLE pg_temp.triggers;
SELECT pg_temp.outcome('SELECT tradekeep.notify_candles(NULL)') AS nothing, pg_temp.outcome($$SELECT tradekeep.notify_candles('7m')$$) AS unknown;
TRUNCATE candle, candle_correction;
