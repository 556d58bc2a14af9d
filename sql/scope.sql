-- scope: how claims end, and many candles at once
\set VERBOSITY sqlstate
\pset null (null)
SET TIME ZONE 'UTC';
SET datestyle = 'ISO, YMD';
SET search_path = public, tradekeep;
DELETE FROM claim;
DELETE FROM scope;

CREATE FUNCTION life(of_scope text, of_key text, OUT claimed_at timestamptz, OUT expires_at timestamptz,
	OUT swept_later boolean) LANGUAGE sql AS $$
	SELECT claimed_at, expires_at, sweep_after >= expires_at
	FROM tradekeep.claim WHERE scope = of_scope AND key = of_key $$;

-- fixed: ttl after the claim. Duplicates change nothing.
SELECT set_scope('fixed', '30 min');
SELECT claim('fixed', 'k', at => '2024-03-01 10:00'), claim('fixed', 'k', at => '2024-03-01 10:29');
SELECT * FROM life('fixed', 'k');
SELECT claim('fixed', 'k', at => '2024-03-01 10:30');

-- sliding: ttl after the last duplicate, whoever asks, and never back in time.
SELECT set_scope('sliding', '30 min', 'sliding');
SELECT claim('sliding', 'k', at => '2024-03-01 10:00'), claim('sliding', 'k', at => '2024-03-01 10:29');
SELECT * FROM life('sliding', 'k');
SELECT claim('sliding', 'k', at => '2024-03-01 10:58:59');
SELECT claimed('sliding', 'k', '2024-03-01 11:28:58.999999'), claimed('sliding', 'k', '2024-03-01 11:28:59');
SELECT claim('sliding', 'k', at => '2024-03-01 10:10');
SELECT * FROM life('sliding', 'k');
-- claim_or_get() tells when it ends now, and claimed() never extends.
SELECT claimed, claimed_at, expires_at FROM claim_or_get('sliding', 'k', at => '2024-03-01 11:20');
SELECT claimed('sliding', 'k', '2024-03-01 11:40');
SELECT * FROM life('sliding', 'k');
-- Once it is over it begins anew.
SELECT claim('sliding', 'k', at => '2024-03-01 11:50');
SELECT * FROM life('sliding', 'k');
-- A ttl given with the claim is what it slides by.
SELECT claim('sliding', 'own', '1 min', at => '2024-03-01 10:00'), claim('sliding', 'own', '5 h', at => '2024-03-01 10:00:30');
SELECT * FROM life('sliding', 'own');
-- In a batch the live are extended, the others claimed; a key that comes twice is its own duplicate.
SELECT claim_many('sliding', '{k,l,own,l}', at => '2024-03-01 12:00');
SELECT key, life.* FROM unnest('{k,l,own}'::text[]) AS key, life('sliding', key);
SELECT claim_many('sliding', '{own,l,k}', at => '2024-03-01 12:10');
SELECT key, life.* FROM unnest('{k,l,own}'::text[]) AS key, life('sliding', key);
SELECT claim_many('sliding', array_agg('many' || i), at => '2024-03-01 12:00') = array_fill(true, '{1000}') AS granted
FROM generate_series(1, 1000) AS i;
SELECT claim_many('sliding', array_agg('many' || i ORDER BY -i), at => '2024-03-01 12:20') = array_fill(false, '{1000}') AS duplicates
FROM generate_series(1, 1000) AS i;
SELECT expires_at, count(*) FROM claim WHERE key LIKE 'many%' GROUP BY 1;
-- Time zones have no say in what a day is.
SELECT set_scope('sliding', '1 day', 'sliding');
SET TIME ZONE 'America/New_York';
SELECT claim('sliding', 'dst', at => '2024-03-10 00:00-05'), claim('sliding', 'dst', at => '2024-03-10 01:00-05');
SET TIME ZONE 'UTC';
SELECT * FROM life('sliding', 'dst');
-- How a claim ends is settled when it is made.
SELECT set_scope('sliding', '1 h', 'fixed');
SELECT claim('sliding', 'dst', at => '2024-03-10 12:00+00'), claim('sliding', 'new', at => '2024-03-10 12:00+00'),
	claim('sliding', 'new', at => '2024-03-10 12:30+00');
SELECT key, life.* FROM unnest('{dst,new}'::text[]) AS key, life('sliding', key);
SELECT set_scope('sliding', '1 h', 'sliding');
SELECT claim('sliding', 'new', at => '2024-03-10 12:45+00');
SELECT * FROM life('sliding', 'new');
-- What slides is kept from the sweeper for a ttl from now.
SELECT min(sweep_after) > now() + interval '30 s' AS kept FROM claim WHERE scope = 'sliding';
-- A duplicate of the others writes nothing, one of these does.
BEGIN;
SELECT claim('fixed', 'k', at => '2024-03-01 10:31'), pg_current_xact_id_if_assigned() IS NULL AS nothing;
SELECT claim('sliding', 'dst', at => '2024-03-10 13:00+00'), pg_current_xact_id_if_assigned() IS NULL AS nothing;
ROLLBACK;
SELECT * FROM life('sliding', 'dst');

-- candle: with the candle in which the claim began, in UTC.
SELECT set_scope('daily', NULL, 'candle', '1d');
SET TIME ZONE 'Asia/Tokyo';
SELECT claim('daily', 'noon', at => '2024-02-29 12:34:56+00'), claim('daily', 'midnight', at => '2024-02-29 00:00+00'),
	claim('daily', 'last', at => '2024-02-29 23:59:59.999999+00');
SET TIME ZONE 'UTC';
SELECT key, life.* FROM unnest('{noon,midnight,last}'::text[]) AS key, life('daily', key);
SELECT claim('daily', 'noon', at => '2024-02-29 23:59:59.999999'), claim('daily', 'noon', at => '2024-03-01');
SELECT * FROM life('daily', 'noon');
SELECT claim_many('daily', '{noon,many,midnight}', at => '2024-03-01 01:00');
SELECT key, life.* FROM unnest('{noon,many,midnight}'::text[]) AS key, life('daily', key);
SELECT claimed, expires_at, original FROM claim_or_get('daily', 'get', at => '2024-03-01 01:00');
-- A ttl given with the claim wins, longer or shorter.
SELECT claim('daily', 'long', '36 h', at => '2024-02-29 12:00'), claim('daily', 'short', '1 s', at => '2024-02-29 12:00'),
	claim_many('daily', '{many2}', '36 h', at => '2024-02-29 12:00');
SELECT key, life.* FROM unnest('{long,short,many2}'::text[]) AS key, life('daily', key);
SELECT set_scope('daily', NULL, 'candle', '1M');
SELECT claim('daily', 'month', at => '2024-02-29 12:00');
SELECT set_scope('daily', NULL, 'candle', '1w');
SELECT claim('daily', 'week', at => '2024-02-29 12:00');
SELECT key, life.* FROM unnest('{month,week}'::text[]) AS key, life('daily', key);
SELECT sweep_after > now() + interval '1 day' AS kept FROM claim WHERE key = 'week';

-- Settings that do not go together, and those that do.
SELECT set_scope('x', NULL, 'sliding');
SELECT set_scope('x', '1 h', 'candle');
SELECT set_scope('x', NULL, 'candle');
SELECT set_scope('x', '1 h', 'candle', '1h');
SELECT set_scope('x', '1 h', 'fixed', '1h');
SELECT set_scope('x', '1 h', 'sliding', '1h');
SELECT set_scope('x', NULL, 'fixed', '1h');
SELECT set_scope('x', '1 h', 'Fixed');
SELECT set_scope('x', '1 h', 'never');
SELECT set_scope('x', '1 h', '');
SELECT set_scope('x', '0', 'sliding');
SELECT set_scope('x', '-1 h', 'sliding');
SELECT set_scope('x', '36526 days', 'sliding');
SELECT set_scope('x', NULL, 'candle', '7m');
SELECT set_scope(NULL, '1 h', 'sliding');
SELECT set_scope(repeat('x', 64), '1 h', 'sliding');
SELECT set_scope('x', '1 h', NULL);
SELECT expiry, ttl FROM scope WHERE scope = 'x';
SELECT set_scope('x', NULL);
SELECT claim('x', 'k');
SELECT * FROM scope ORDER BY scope;
SELECT set_scope('fixed', NULL), set_scope('sliding', NULL), set_scope('daily', NULL);
SELECT count(*) FROM scope;

-- Many candles at once answer as one by one, aligned, under the same keys.
SELECT should_process_candles('{BTC/USDT,ETH/USDT,BTC/USDT}', '15m', '2026-01-05 10:15:30');
SELECT should_process_candle('ETH/USDT', '15m', '2026-01-05 10:15:31'), should_process_candle('XRP/USDT', '15m', '2026-01-05 10:15:31');
SELECT should_process_candles('{XRP/USDT,SOL/USDT,BTC/USDT}', '15m', '2026-01-05 10:15:45');
SELECT should_process_candles('{BTC/USDT}', '1h', '2026-01-05 10:00:45'), should_process_candles('{BTC/USDT}', '15m', '2026-01-05 10:30');
SELECT key, expires_at FROM claim WHERE scope = 'candle' ORDER BY key;
-- The drift has its edge inside; later it is false for all of them, and nothing is claimed.
SELECT should_process_candles('{A,B}', '1m', '2026-01-05 10:15:10.000001', '10 s'), should_process_candles('{A,B}', '1m', '2026-01-05 10:15:10', '10 s', '1 min');
SELECT key, expires_at FROM claim WHERE key LIKE 'A:%';
SELECT should_process_candles('{A,B}', '1m', '2026-01-05 10:16', '0'), should_process_candles('{}', '1m', '2026-01-05 10:16');
SELECT count(*) FILTER (WHERE mine) FROM unnest(should_process_candles(
	(SELECT array_agg('COIN' || i % 500) FROM generate_series(1, 1000) AS i), '15m', '2026-01-05 10:15')) AS mine;
SELECT should_process_candles(NULL, '1m');
SELECT should_process_candles('{A,NULL}', '1m');
SELECT should_process_candles('{A,""}', '1m');
SELECT should_process_candles('{{A},{B}}', '1m');
SELECT should_process_candles(ARRAY[repeat('x', 500)], '1m');
SELECT should_process_candles('{A}', NULL);
SELECT should_process_candles('{A}', '1m', 'infinity');
SELECT should_process_candles('{A}', '1m', drift => '-1 s');
SELECT should_process_candles('{A}', '1m', drift => NULL);
SELECT should_process_candles('{A}', '1m', ttl => '0');

SELECT claim_publish_many('{BTC/USDT,ETH/USDT,BTC/USDT}', '2026-01-05 10:15');
SELECT claim_publish('ETH/USDT', '2026-01-05 10:15'), claim_publish('XRP/USDT', '2026-01-05 10:15');
SET TIME ZONE 'Asia/Tokyo';
SELECT claim_publish_many('{XRP/USDT,SOL/USDT}', '2026-01-05 19:15', '1 h');
SET TIME ZONE 'UTC';
SELECT key, expires_at - claimed_at AS ttl FROM claim WHERE scope = 'publish' ORDER BY key;
SELECT claim_publish_many('{}', '2026-01-05 10:15');
SELECT claim_publish_many(NULL, '2026-01-05 10:15');
SELECT claim_publish_many('{A,NULL}', '2026-01-05 10:15');
SELECT claim_publish_many('{A}', NULL);
SELECT claim_publish_many('{A}', '2026-01-05 10:15:00.5');
SELECT claim_publish_many('{A}', '-infinity');
SELECT claim_publish_many('{A}', '2026-01-05 10:15', '0');
BEGIN TRANSACTION READ ONLY;
SELECT should_process_candles('{A}', '1m');
ROLLBACK;
BEGIN TRANSACTION READ ONLY;
SELECT claim_publish_many('{A}', '2026-01-05 10:15');
ROLLBACK;
BEGIN TRANSACTION READ ONLY;
SELECT set_scope('x', '1 h');
ROLLBACK;

DELETE FROM claim;
DROP FUNCTION life;
