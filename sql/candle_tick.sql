-- candle: public trades into candles

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
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
-- All that is stored of a symbol's candles, to the bit.
CREATE FUNCTION pg_temp.bits(symbol text) RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(concat_ws(' ', timeframe, ts, float8send(open), float8send(high), float8send(low), float8send(close), float8send(volume), closed, sources),
		'; ' ORDER BY timeframe, ts)) FROM tradekeep.candle AS c WHERE c.symbol = bits.symbol
$$;
-- The same made anew by plain SQL: in the order of time and id, all-digit ids by their value, others behind them by their bytes.
CREATE FUNCTION pg_temp.recomputed(symbol text, VARIADIC timeframes timeframe[]) RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(concat_ws(' ', tf, start, float8send(open), float8send(high), float8send(low), float8send(close), float8send(volume), closed, n), '; ' ORDER BY tf, start))
	FROM (
		SELECT tf, start, (array_agg(price ORDER BY ts, number, id))[1] AS open, max(price) AS high, min(price) AS low,
			(array_agg(price ORDER BY ts DESC, number DESC, id DESC))[1] AS close, sum(amount ORDER BY ts, number, id) AS volume,
			candle_end(tf, start) <= max(max(ts)) OVER (PARTITION BY tf) AS closed, count(*) AS n
		FROM (SELECT timeframe AS tf, candle_start(timeframe, ts) AS start, ts, id::text COLLATE "C" AS id, CASE WHEN id ~ '^[0-9]+$' THEN id::numeric ELSE 'NaN' END AS number, price, amount
			FROM tradekeep.tick AS t WHERE t.symbol = recomputed.symbol AND t.timeframe = ANY (timeframes)) AS t
		GROUP BY tf, start) AS c
$$;

-- 2026-01-05 10:00 UTC is 1767607200000. Two ticks, then one of the next minute.
SELECT * FROM upsert_ticks('BTC', '1m', '[[1767607200100, 1, 100.5, 0.25], [1767607230000, 2, 99.5, 0.5]]');
SELECT ts, open, high, low, close, volume, closed, sources FROM candle;
SELECT * FROM upsert_ticks('BTC', '1m', '[[1767607260000, 3, 101, 1]]');
SELECT ts, open, high, low, close, volume, closed, sources FROM candle ORDER BY ts;
SELECT ts, id, price, amount FROM tick ORDER BY ts;
-- Sent again they change nothing and take no transaction id; with a late one the closed candle is made anew, and no correction noted.
BEGIN;
SELECT * FROM upsert_ticks('BTC', '1m', '[[1767607200100, 1, 100.5, 0.25], [1767607260000, 3, 101, 1]]');
SELECT * FROM upsert_ticks('BTC', '1m', '[{"timestamp": 1767607230000, "id": "2", "price": 99.5, "amount": 0.5}, {"timestamp": 1767607230000, "id": 2, "price": 99.5, "amount": 0.5}]');
SELECT * FROM upsert_ticks('BTC', '1m', '[]');
SELECT * FROM upsert_ticks('BTC', '1m', '{2026-01-05 10:00:30Z}', '{2}', '{99.5}', '{0.5}');
SELECT * FROM upsert_ticks('BTC', '1m', '{}', '{}', '{}', '{}');
SELECT txid_current_if_assigned() IS NULL AS nothing_written;
COMMIT;
SELECT * FROM upsert_ticks('BTC', '1m', '[[1767607259999, 4, 90, 1]]');
SELECT ts, open, high, low, close, volume, closed, sources FROM candle ORDER BY ts;
SELECT count(*) FROM candle_correction;
-- A tick that is known by its id keeps the price that came first.
SELECT * FROM upsert_ticks('BTC', '1m', '[[1767607200100, 1, 555, 5]]');
SELECT price FROM tick WHERE id = '1';
-- Ticks stay for the grace behind the end of their candle, or behind now.
SELECT * FROM upsert_ticks('STAY', '1h', '[[1704448800000, 1, 1, 1]]', '10 min');
SELECT * FROM upsert_ticks('STAY', '1h', '[[7000000000000, 2, 1, 1]]', '10 min');
SELECT timeframe, id, CASE id WHEN '1' THEN sweep_after - now() BETWEEN '9 min' AND '10 min' ELSE sweep_after = candle_end('1h', ts) + '10 min' END AS sweep_after FROM tick WHERE symbol = 'STAY' ORDER BY id;
-- Each timeframe has ticks of its own; sent again they stay no longer.
SELECT * FROM upsert_ticks('STAY', '1d', '[[7000000000000, 2, 1, 1]]', '20 min');
SELECT * FROM upsert_ticks('STAY', '1m', '[[7000000000000, 2, 1, 1]]', '1 min');
SELECT * FROM upsert_ticks('STAY', '1m', '[[7000000000000, 2, 1, 1]]', '1 year');
SELECT timeframe, sweep_after - candle_end(timeframe, ts) AS grace FROM tick WHERE symbol = 'STAY' AND id = '2' ORDER BY timeframe;

-- 3,000 ticks of four hours, of which many share a millisecond, with ids of all kinds: beyond 2^53, with leading zeros, textual.
CREATE TEMP TABLE feed AS
	SELECT i AS n, 1767600000000 + (i * 7919 % 2400) * 6007 AS ms,
		CASE i % 5 WHEN 0 THEN (9007199254740992 + i / 2)::text WHEN 1 THEN i::text WHEN 2 THEN '000' || i WHEN 3 THEN 'x' || md5(i::text) ELSE repeat('9', 30) || i END AS id,
		100 + ((i * 104729) % 1000) / 7.0::float8 AS price, ((i * 31) % 97) / 13.0::float8 AS amount
	FROM generate_series(1, 3000) AS i;
SELECT count(*) - count(DISTINCT ms) > 500 AS shared FROM feed;
CREATE FUNCTION pg_temp.send(symbol text, timeframe timeframe, orderly text, size integer, times integer DEFAULT 1,
	OUT inserted bigint, OUT known bigint, OUT late bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT sum(inserted), sum(known), sum(late) FROM (
			SELECT jsonb_agg(jsonb_build_array(ms, id, price, amount) ORDER BY r) AS ticks
			FROM (SELECT *, row_number() OVER (ORDER BY %s) AS r FROM feed, generate_series(1, $3) AS time) AS f GROUP BY (r - 1) / $4 ORDER BY (r - 1) / $4) AS p,
		LATERAL tradekeep.upsert_ticks($1, $2, ticks)', orderly) INTO inserted, known, late USING symbol, timeframe, times, size;
END
$$;
SELECT * FROM pg_temp.send('FORWARD', '1m', 'ms, n', 3000);
SELECT * FROM pg_temp.send('BACKWARD', '1m', 'ms DESC, n DESC', 100);
SELECT * FROM pg_temp.send('RANDOM', '1m', 'md5(n::text)', 77);
SELECT * FROM pg_temp.send('TWICE', '1m', 'md5(n::text || time)', 250, 2);
SELECT * FROM pg_temp.send('THRICE', '1m', 'n', 1000, 3);
SELECT symbol, pg_temp.bits(symbol) = pg_temp.bits('FORWARD') AS same, pg_temp.bits(symbol) = pg_temp.recomputed(symbol, '1m') AS recomputed
FROM unnest('{FORWARD,BACKWARD,RANDOM,TWICE,THRICE}'::text[]) AS symbol;
SELECT count(*), count(*) FILTER (WHERE closed), sum(sources) FROM candle WHERE symbol = 'FORWARD';
-- One at a time, at the end of it by columns; and other timeframes.
SELECT count(*) FROM feed, upsert_ticks('SINGLE', '15m', jsonb_build_array(jsonb_build_object('timestamp', ms, 'id', id, 'price', price, 'amount', amount, 'side', 'buy', 'info', '{}'::jsonb))) WHERE n % 3 = 0;
SELECT u.* FROM (SELECT array_agg(to_timestamp(ms / 1000.0)) AS ts, array_agg(id) AS ids, array_agg(price) AS prices, array_agg(amount) AS amounts FROM feed) AS f,
	upsert_ticks('SINGLE', '15m', ts, ids, prices, amounts) AS u;
SELECT * FROM pg_temp.send('SINGLE', '1h', 'md5(n::text)', 500);
SELECT * FROM pg_temp.send('SINGLE', '1d', 'n', 3000);
SELECT timeframe, count(*), sum(sources) FROM candle WHERE symbol = 'SINGLE' GROUP BY 1 ORDER BY 1;
SELECT pg_temp.bits('SINGLE') = pg_temp.recomputed('SINGLE', '15m', '1h', '1d') AS recomputed;

-- Open and close go by time, then by id; each list in the order in which it has to come out, and is sent backwards.
CREATE FUNCTION pg_temp.first_and_last(ids jsonb, OUT opens jsonb, OUT closes jsonb) LANGUAGE plpgsql AS $$
DECLARE
	ends float8[];
BEGIN
	PERFORM tradekeep.upsert_ticks('IDS', '1m', (SELECT jsonb_agg(jsonb_build_array(1767607200000, id, n, 1) ORDER BY n DESC)
		FROM jsonb_array_elements(ids) WITH ORDINALITY AS i(id, n)));
	DELETE FROM tradekeep.candle WHERE symbol = 'IDS' RETURNING ARRAY[open, close] INTO ends;
	DELETE FROM tradekeep.tick WHERE symbol = 'IDS';
	opens := ids -> (ends[1]::int - 1);
	closes := ids -> (ends[2]::int - 1);
END
$$;
SELECT ids, e.* FROM unnest(ARRAY['["9", "10"]', '["9007199254740992", "9007199254740993"]', '[9007199254740992, 9007199254740993]',
	'["99999999999999999999999999999", "123456789012345678901234567890"]', '["9", "010"]', '["007", "07", "7"]', '["B", "a"]', '["ab", "b"]', '["2", "x1"]',
	'["10", "9a"]', '["2", "1.5"]', '["0", "-1"]', '["z", "é"]', '["2", " 1"]', '[1.0, 2]', '["00", "0", "1"]', '[3, "10", "2x"]', '[7e0, "8"]']) AS ids,
	pg_temp.first_and_last(ids::jsonb) AS e;
-- By columns also to the microsecond.
SELECT * FROM upsert_ticks('MICRO', '1s', '{2026-01-05 10:00:00.000002Z,2026-01-05 10:00:00.000001Z,2026-01-05 10:00:00.999999Z,2026-01-05 10:00:01Z}', '{1,2,3,4}', '{1,2,3,4}', '{1,1,1,1}');
SELECT ts, open, close, closed, sources FROM candles('MICRO', '1s');
-- A number and a string that say the same are the same id; 1 and 01 are not.
SELECT * FROM upsert_ticks('SAME', '1m', '[[1767607200000, 1, 1, 1], [1767607200000, "1", 1, 1], [1767607200000, 1.00, 1, 1], [1767607200000, "01", 1, 1], [1767607200001, "1", 1, 1]]');

-- A candle closes when a later one has a tick, also if none of its own come with it, and over holes.
SELECT * FROM upsert_ticks('CLOSE', '1m', '[[1767607200000, 1, 10, 1]]');
SELECT * FROM upsert_ticks('CLOSE', '1m', '[[1767608400000, 2, 11, 1]]');
SELECT * FROM upsert_ticks('CLOSE', '1m', '[[1767607800000, 3, 12, 1]]');
SELECT ts, close, closed FROM candles('CLOSE', '1m');
-- Also behind a bar that somebody else supplied.
SELECT * FROM upsert_ticks('HIDDEN', '1m', '[[1767607200000, 1, 10, 1]]');
SELECT upsert_candle('HIDDEN', '1m', '2026-01-05 10:01Z', 7, 7, 7, 7, 7, closed => false);
SELECT * FROM upsert_ticks('HIDDEN', '1m', '[[1767607265000, 2, 11, 1]]');
SELECT * FROM upsert_ticks('HIDDEN', '1m', '[[1767607325000, 3, 12, 1]]');
SELECT ts, close, closed, sources FROM candles('HIDDEN', '1m');

-- A supplied candle stays as it is, and takes a derived one's place.
SELECT upsert_candle('BOTH', '1m', '2026-01-05 10:00Z', 7, 7, 7, 7, 7);
SELECT * FROM upsert_ticks('BOTH', '1m', '[[1767607200000, 1, 10, 1], [1767607260000, 2, 11, 1], [1767607320000, 3, 12, 1]]');
SELECT upsert_candle('BOTH', '1m', '2026-01-05 10:01Z', 7, 7, 7, 7, 7, closed => false) AS partial_over_closed,
	upsert_candle('BOTH', '1m', '2026-01-05 10:01Z', 7, 7, 7, 7, 7) AS final_over_closed, upsert_candle('BOTH', '1m', '2026-01-05 10:02Z', 7, 7, 7, 7, 7, closed => false) AS partial_over_open;
SELECT * FROM upsert_ticks('BOTH', '1m', '[[1767607200001, 4, 20, 1], [1767607260001, 5, 20, 1], [1767607320001, 6, 20, 1], [1767607380000, 7, 20, 1]]');
SELECT ts, close, volume, closed, sources FROM candles('BOTH', '1m');
SELECT count(*) FROM candle_correction WHERE symbol = 'BOTH';

-- Ticks that come when those of their candle have been swept are late: counted, left out, and the candle stays.
SELECT * FROM upsert_ticks('LATE', '1m', '[[1767607200000, 1, 10, 1], [1767607230000, 2, 12, 1], [1767607260000, 3, 11, 1], [1767607320000, 4, 11, 1]]');
SELECT * FROM upsert_ticks('LATE', '1h', '[[1767607200000, 1, 10, 1], [1767607230000, 2, 12, 1], [1767607260000, 3, 11, 1], [1767607320000, 4, 11, 1]]');
SELECT pg_temp.bits('LATE') AS before \gset
UPDATE tick SET sweep_after = ts WHERE symbol = 'LATE' AND id IN ('1', '2');
CALL sweep('tradekeep.tick');
-- What the background sweeper has locked is gone as soon as it is done.
BEGIN;
LOCK TABLE tick IN SHARE MODE;
COMMIT;
SELECT timeframe, id FROM tick WHERE symbol = 'LATE' ORDER BY timeframe, id;
SELECT * FROM upsert_ticks('LATE', '1m', '[[1767607200000, 1, 10, 1], [1767607230000, 2, 12, 1], [1767607240000, 5, 99, 1], [1767607260000, 3, 11, 1]]');
SELECT * FROM upsert_ticks('LATE', '1h', '[[1767607240000, 5, 99, 1]]');
SELECT pg_temp.bits('LATE') = :'before' AS unchanged;
SELECT timeframe, id FROM tick WHERE symbol = 'LATE' ORDER BY timeframe, id;
-- Also when only some of them are gone; the next candle has all of its own.
DELETE FROM candle WHERE symbol = 'LATE' AND timeframe = '1h';
SELECT * FROM upsert_ticks('LATE', '1m', '[[1767607261000, 6, 50, 1]]');
DELETE FROM tick WHERE symbol = 'LATE' AND id = '3';
SELECT * FROM upsert_ticks('LATE', '1m', '[[1767607262000, 7, 60, 1], [1767607322000, 8, 60, 1]]');
SELECT ts, open, high, low, close, volume, closed, sources FROM candles('LATE', '1m');
-- A market was quiet for longer than the grace: the open candle closes as it is, whether all of its ticks are gone or some.
SELECT * FROM upsert_ticks('QUIET', '1m', '[[1767607200000, 1, 10, 1], [1767607230000, 2, 12, 1]]');
DELETE FROM tick WHERE symbol = 'QUIET';
SELECT * FROM upsert_ticks('QUIET', '1m', '[[1767614400000, 3, 10, 1], [1767614401000, 4, 10, 1]]');
DELETE FROM tick WHERE symbol = 'QUIET' AND id = '3';
SELECT * FROM upsert_ticks('QUIET', '1m', '[[1767621600000, 5, 11, 1]]');
SELECT ts, open, high, low, close, volume, closed, sources FROM candles('QUIET', '1m');
-- A candle is over when there is a later one, even if the ticks of that are gone.
SELECT * FROM upsert_ticks('OLDER', '1m', '[[1767614400000, 2, 10, 1]]');
DELETE FROM tick WHERE symbol = 'OLDER';
SELECT * FROM upsert_ticks('OLDER', '1m', '[[1767607200000, 1, 10, 1]]');
SELECT ts, closed FROM candles('OLDER', '1m') LIMIT 1;

-- What rolls back was never there.
BEGIN;
SELECT * FROM upsert_ticks('BACK', '1m', '[[1767607200000, 1, 10, 1]]');
SAVEPOINT part;
SELECT * FROM upsert_ticks('BACK', '1m', '[[1767607200000, 2, 20, 1]]');
ROLLBACK TO part;
SELECT open, close, volume, sources FROM candles('BACK', '1m');
ROLLBACK;
SELECT * FROM upsert_ticks('BACK', '1m', '[[1767607200000, 1, 10, 1], [1767607200000, 2, 20, 1]]');

-- What is refused leaves nothing behind.
CREATE FUNCTION pg_temp.refused(ticks text) RETURNS text LANGUAGE sql AS
	$$SELECT pg_temp.outcome(format('SELECT inserted FROM tradekeep.upsert_ticks(%L, %L, %L)', 'BAD', '1m', ticks))$$;
SELECT ticks, pg_temp.refused(ticks), pg_temp.refused(format('[[0, 1, 1, 1], %s', substr(ticks, 2))) AS behind_a_good_one
FROM unnest(ARRAY['[null]', '[1]', '["x"]', '[true]', '[{}]', '[[]]', '[[0, 1, 1]]', '[[0, 1, 1, 1, 1]]', '[[[0, 1, 1, 1]]]', '[0, 1, 1, 1]', '[["x", 1, 1, 1]]', '[[null, 1, 1, 1]]',
	'[[0, null, 1, 1]]', '[[0, true, 1, 1]]', '[[0, [1], 1, 1]]', '[[0, {}, 1, 1]]', '[[0, 1, null, 1]]', '[[0, 1, "x", 1]]', '[[0, 1, "", 1]]', '[[0, 1, "0x10", 1]]', '[[0, 1, "NaN", 1]]',
	'[[0, 1, "inf", 1]]', '[[0, 1, 1e400, 1]]', '[[0, 1, 1, "1e400"]]', '[[0, 1, 1, -1]]', '[[0, 1, 1, -5e-324]]', '[[0, "", 1, 1]]', format('[[0, "%s", 1, 1]]', repeat('x', 513)),
	'[[0, 1e600, 1, 1]]', '[[0.5, 1, 1, 1]]', '[[1e300, 1, 1, 1]]', '[[-2208988800001, 1, 1, 1]]', '[[7258118400000, 1, 1, 1]]', '[[1767607200000000, 1, 1, 1]]',
	'[{"timestamp": 0, "price": 1, "amount": 1}]', '[{"timestamp": 0, "id": null, "price": 1, "amount": 1}]', '[{"id": 1, "price": 1, "amount": 1}]',
	'[{"timestamp": 0, "id": 1, "amount": 1}]', '[{"timestamp": 0, "id": 1, "price": 1}]', '[{"timestamp": 0, "id": 1, "price": 1, "amount": null}]',
	'[{"timestamp": "now", "id": 1, "price": 1, "amount": 1}]', '[[0, 2, 1, 1.7e308], [0, 3, 1, 1.7e308]]']) AS ticks;
SELECT left(ticks, 20) AS ticks, pg_temp.refused(ticks) FROM unnest(ARRAY[NULL, 'null', '1', '"x"', '{}', '{"timestamp": 0}', '', '[', repeat('[', 300) || repeat(']', 300)]) AS ticks;
SELECT pg_temp.outcome('SELECT inserted FROM tradekeep.upsert_ticks(' || arguments || ')'), left(arguments, 100) AS arguments
FROM unnest(ARRAY[$$NULL, '1m', '[]'$$, $$'BAD', NULL, '[]'$$, $$'BAD', '7m', '[]'$$, $$'', '1m', '[]'$$, $$'BAD', '1m', '[]', NULL$$, $$'BAD', '1m', '[]', '0'$$, $$'BAD', '1m', '[]', '-1 h'$$,
	$$'BAD', '1m', '[]', '102 years'$$, $$'BAD', '1m', '[]', '999 us'$$, format('%L, %L, %L', repeat('x', 513), '1m', '[]'),
	$$'BAD', '1m', '{2026-01-05Z}', '{1}', '{1}', '{}'$$, $$'BAD', '1m', '{2026-01-05Z}', '{1,2}', '{1}', '{1}'$$, $$'BAD', '1m', '{2026-01-05Z,NULL}', '{1,2}', '{1,2}', '{1,2}'$$,
	$$'BAD', '1m', '{2026-01-05Z}', '{NULL}', '{1}', '{1}'$$, $$'BAD', '1m', '{2026-01-05Z}', '{1}', '{NULL}', '{1}'$$, $$'BAD', '1m', '{2026-01-05Z}', '{1}', '{1}', '{NULL}'$$,
	$$'BAD', '1m', '{2026-01-05Z}', '{1}', '{NaN}', '{1}'$$, $$'BAD', '1m', '{2026-01-05Z}', '{1}', '{1}', '{Infinity}'$$, $$'BAD', '1m', '{infinity}', '{1}', '{1}', '{1}'$$,
	$$'BAD', '1m', '{30000-01-01Z}', '{1}', '{1}', '{1}'$$, $$'BAD', '1m', '{{2026-01-05Z}}', '{{1}}', '{{1}}', '{{1}}'$$, $$'BAD', '1m', NULL, '{1}', '{1}', '{1}'$$]) AS arguments;
SELECT (SELECT count(*) FROM tick WHERE symbol IN ('BAD', '')) AS ticks, (SELECT count(*) FROM candle WHERE symbol IN ('BAD', '')) AS candles;
-- What lies at the edge is good.
SELECT u.*, ticks FROM unnest(ARRAY['[[-2208988800000, 1, -37.63, 0]]', '[[7258118399999, 1, 1.7976931348623157e308, 1.7976931348623157e308]]', '[[0, 1, -0.0, 0]]', '[[0, "2", "1e-400", "+.5"]]']) AS ticks,
	upsert_ticks('EDGE', '1M', ticks::jsonb) AS u;
SELECT * FROM upsert_ticks('EDGE', '1d', jsonb_build_array(jsonb_build_array(0, repeat('é', 256), 1, 1)));
SELECT ts, open, high, low, close, volume, closed, sources FROM candles('EDGE', '1M');
-- The table says the same to INSERT and COPY.
SELECT pg_temp.outcome(format('INSERT INTO tradekeep.tick (symbol, timeframe, ts, id, price, amount, sweep_after) VALUES (%s) RETURNING 1', r)), r FROM unnest(ARRAY[$$'', '1m', '2026-01-05Z', '1', 1, 1, '2026-01-05Z'$$, $$'BAD', '1m', '2026-01-05Z', '', 1, 1, '2026-01-05Z'$$,
	$$'BAD', '1m', '2026-01-05Z', '1', 'NaN', 1, '2026-01-05Z'$$, $$'BAD', '1m', '2026-01-05Z', '1', 1, -1, '2026-01-05Z'$$, $$'BAD', '1m', '2026-01-05Z', '1', 1, 1, '2026-01-04Z'$$,
	$$'BAD', '1m', '2026-01-05Z', '1', 1, 1, 'infinity'$$, $$'BAD', '1m', '2026-01-05Z', NULL, 1, 1, '2026-01-05Z'$$]) AS r;

BEGIN READ ONLY;
SELECT upsert_ticks('BTC', '1m', '[]');
ROLLBACK;
BEGIN READ ONLY;
SELECT upsert_ticks('BTC', '1m', '{}', '{}', '{}', '{}');
ROLLBACK;
-- A writer may do all of it, a reader look.
CREATE ROLE regress_tk_ticker;
SELECT grant_access('regress_tk_ticker', 'writer');
SET ROLE regress_tk_ticker;
SELECT * FROM upsert_ticks('ROLE', '1m', '[[1767607200000, 1, 10, 1], [1767607260000, 2, 11, 1]]');
SELECT * FROM upsert_ticks('ROLE', '1h', '[[1767607200000, 1, 10, 1], [1767607200001, 3, 12, 1]]', '1 year');
SELECT timeframe, count(*) FROM candle WHERE symbol = 'ROLE' GROUP BY 1 ORDER BY 1;
RESET ROLE;
SELECT grant_access('regress_tk_ticker', 'reader');
SET ROLE regress_tk_ticker;
SELECT count(*) FROM tick WHERE symbol = 'ROLE';
SELECT upsert_ticks('ROLE', '1m', '[]');
DELETE FROM tick;
RESET ROLE;
SELECT revoke_access('regress_tk_ticker');
DROP ROLE regress_tk_ticker;
TRUNCATE tick, candle, candle_correction;
