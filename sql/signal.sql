-- signal: near-duplicate claims, by symbol, direction and price
\set VERBOSITY sqlstate
\pset null (null)
SET TIME ZONE 'UTC';
SET datestyle = 'ISO, YMD';
SET search_path = public, tradekeep;
DELETE FROM signal;

-- What was sent is a duplicate, and so is what comes close; direction is LONG or SHORT in any case.
SELECT claimed, price, expires_at - sent_at AS ttl, sent_at > now() - interval '1 min' AS just_now
FROM claim_signal('BTC', 'LONG', 100);
SELECT claimed, price FROM claim_signal('BTC', 'LONG', 100);
SELECT claimed, price FROM claim_signal('BTC', 'long', 100.04);
SELECT claimed, price FROM claim_signal('BTC', 'Long', 99.96);
SELECT claimed, price FROM claim_signal('BTC', 'LONG', 100.06);
SELECT claimed, price FROM claim_signal('BTC', 'sHORT', 100);
SELECT claimed, price FROM claim_signal('btc', 'LONG', 100);
-- The answer to a duplicate is the stored original.
SELECT (c.price, c.sent_at, c.expires_at) = (s.price, s.sent_at, s.expires_at) AS same
FROM claim_signal('BTC', 'LONG', 100.03) AS c JOIN signal AS s USING (signal_id);
SELECT symbol, direction, price, remaining > interval '23 h' AS fresh FROM live_signals
ORDER BY symbol, direction, price;

-- A duplicate takes no lock and no transaction id; what is new takes two locks that no user has.
BEGIN;
SELECT claimed FROM claim_signal('BTC', 'LONG', 100);
SELECT claimed FROM claim_signals('[{"symbol": "BTC", "direction": "LONG", "entry_price": 100}]');
SELECT pg_current_xact_id_if_assigned() AS xid, count(*) AS locks
FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
SELECT claimed FROM claim_signal('BTC', 'LONG', 7);
SELECT objsubid, mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
ORDER BY objsubid;
ROLLBACK;

-- It lives and dies with its transaction.
SELECT claimed FROM claim_signal('BTC', 'LONG', 7);
BEGIN;
SAVEPOINT before;
SELECT claimed FROM claim_signal('BTC', 'LONG', 8);
ROLLBACK TO before;
SELECT claimed FROM claim_signal('BTC', 'LONG', 8);
COMMIT;
DO $$
BEGIN
	PERFORM claim_signal('BTC', 'LONG', 9);
	RAISE 'no';
EXCEPTION WHEN raise_exception THEN
END
$$;
SELECT claimed FROM claim_signal('BTC', 'LONG', 9);
-- Calls of one statement see each other.
SELECT count(*) FILTER (WHERE (s).claimed) AS claimed, count(*) AS calls
FROM (SELECT claim_signal('BTC', 'LONG', 20 + i * 0.001) AS s FROM generate_series(1, 20) AS i OFFSET 0) AS t;

-- The edge of the tolerance is inclusive, to the last bit. A double has 52 bits behind its first.
CREATE FUNCTION ulp(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
	SELECT 2::float8 ^ (greatest((get_byte(b, 0) & 127) * 16 + (get_byte(b, 1) >> 4), 1) - 1075)
	FROM float8send(x) AS b $$;
SELECT ulp(1) = 2.220446049250313e-16 AND ulp(4e-320) = 4.94065645841247e-324 AS right;
CREATE FUNCTION is_new(entry_price float8, tolerance float8) RETURNS boolean LANGUAGE sql AS $$
	SELECT claimed FROM tradekeep.claim_signal('EDGE', 'LONG', entry_price, tolerance) $$;
-- 64 and 0.25 are powers of two, so that the edges 48 and 80 are exact.
SELECT is_new(64, 0.25), is_new(80, 0.25), is_new(48, 0.25);
SELECT is_new(80 + ulp(80), 0.25) AS above, is_new(48 - ulp(48), 0.25) AS below;
SELECT clear_signals('EDGE');
-- Here they are not: the formula is computed in double precision.
SELECT 100.05 - 100 <= 0.0005 * 100 AS formula, is_new(100, 0.0005), is_new(100.05, 0.0005);
SELECT is_new(100.05 + ulp(100.05), 0.0005);
SELECT clear_signals('EDGE');
-- Tolerance 0 is the same price; 0.1 + 0.2 is not the same double as 0.3.
SELECT is_new(0.3, 0), is_new(0.3, 0), is_new(0.1::float8 + 0.2::float8, 0), is_new(0.3 - ulp(0.3) / 2, 0);
SELECT clear_signals('EDGE');
-- The ends of the scale.
SELECT is_new(5e-324, 0), is_new(5e-324, 0.5), is_new(1e-323, 0.5), is_new(1.5e-323, 0);
SELECT is_new(1.7976931348623157e308, 0.999999), is_new(1e308, 0), is_new(1.79e308, 0.1), is_new(1.79e308, 0.5);
SELECT clear_signals('EDGE');

-- Of several originals the nearest is returned; of equally near ones the one sent first.
SELECT claimed FROM unnest('{1000, 1010, 1020, 990}'::float8[]) AS p, claim_signal('NEAR', 'LONG', p, 0);
SELECT p, s.claimed, s.price FROM unnest('{1004, 1006, 1005, 995, 1015, 1020, 1021}'::float8[]) AS p,
	claim_signal('NEAR', 'LONG', p, 0.1) AS s;
-- Twice the same price happens where only one of them was live at its time.
SELECT s.claimed FROM unnest('{2026-01-01, 2026-01-03, 2026-01-02}'::timestamptz[]) AS at,
	claim_signal('TWICE', 'LONG', 5, 0, '12 h', at => at) AS s;
SELECT s.claimed, s.sent_at, t.first
FROM claim_signal('TWICE', 'LONG', 5.001, at => '2026-01-01 06:00') AS s,
	LATERAL (SELECT s.signal_id = min(signal_id) AS first FROM signal WHERE symbol = 'TWICE') AS t;

-- Expired is absent at once, swept or not; it neither answers nor hides what lies behind it.
INSERT INTO signal (symbol, direction, price, signal_id, sent_at, expires_at, sweep_after)
	SELECT 'OLD', 'LONG', price, -price, now() - interval '2 d', now() - interval '1 d', now() - interval '1 d'
	FROM generate_series(98, 102) AS price;
SELECT claimed, price FROM claim_signal('OLD', 'LONG', 103, 0.1);
SELECT claimed, price FROM claim_signal('OLD', 'LONG', 97, 0.1);
SELECT claimed, price FROM claim_signal('OLD', 'LONG', 100, 0.001);
SELECT price FROM live_signals WHERE symbol = 'OLD';
SELECT clear_signals('OLD'), (SELECT count(*) FROM signal WHERE symbol = 'OLD') AS before;
SELECT count(*) FROM signal WHERE symbol = 'OLD';

-- `at` moves the clock. A signal ends when its ttl is over, not a microsecond later.
SELECT claimed, sent_at, expires_at FROM claim_signal('BACK', 'LONG', 50, ttl => '1 h', at => '2024-03-01 10:00');
SELECT claimed, sent_at FROM claim_signal('BACK', 'LONG', 50, ttl => '1 h', at => '2024-03-01 10:59:59.999999');
SELECT claimed, sent_at FROM claim_signal('BACK', 'LONG', 50, ttl => '1 h', at => '2024-03-01 11:00');
-- What is replayed in the past stays for a ttl from now; what is sent now until it ends.
SELECT sweep_after > now() + interval '59 min' AS kept, sweep_after < now() + interval '61 min' AS not_long
FROM signal WHERE symbol = 'BACK';
SELECT bool_and(sweep_after < expires_at + interval '1 min') AS kept FROM signal WHERE symbol = 'BTC';
SELECT count(*) FROM live_signals WHERE symbol = 'BACK';

-- A null ttl is that of scope signal.
SELECT expires_at - sent_at AS ttl FROM claim_signal('TTL', 'LONG', 1, ttl => NULL);
SELECT set_scope('signal', '90 min');
SELECT expires_at - sent_at AS ttl FROM claim_signal('TTL', 'LONG', 2, ttl => NULL);
SELECT expires_at - sent_at AS ttl FROM claim_signal('TTL', 'LONG', 3);
SELECT set_scope('signal', NULL, 'candle', '1h');
SELECT claimed FROM claim_signal('TTL', 'LONG', 4, ttl => NULL);
SELECT set_scope('signal', NULL);

-- data is kept.
SELECT claimed FROM claim_signal('DATA', 'LONG', 1, data => '{"rule": "ma-cross"}');
SELECT claimed FROM claim_signal('DATA', 'LONG', 2, data => 'null');
SELECT claimed FROM claim_signal('DATA', 'LONG', 1, data => '{"rule": "later"}');
SELECT price, data FROM live_signals WHERE symbol = 'DATA' ORDER BY price;

-- What makes no sense is refused.
SELECT claim_signal(NULL, 'LONG', 1);
SELECT claim_signal('', 'LONG', 1);
SELECT claim_signal(repeat('x', 513), 'LONG', 1);
SELECT claimed FROM claim_signal(repeat('x', 512), 'LONG', 1);
SELECT claim_signal('BAD', NULL, 1);
SELECT claim_signal('BAD', '', 1);
SELECT claim_signal('BAD', 'LONGER', 1);
SELECT claim_signal('BAD', 'BUY', 1);
SELECT claim_signal('BAD', 'LONG', NULL);
SELECT claim_signal('BAD', 'LONG', 0);
SELECT claim_signal('BAD', 'LONG', -1);
SELECT claim_signal('BAD', 'LONG', 'NaN');
SELECT claim_signal('BAD', 'LONG', 'Infinity');
SELECT claim_signal('BAD', 'LONG', 1, NULL);
SELECT claim_signal('BAD', 'LONG', 1, -0.0001);
SELECT claim_signal('BAD', 'LONG', 1, 1);
SELECT claim_signal('BAD', 'LONG', 1, 'NaN');
SELECT claim_signal('BAD', 'LONG', 1, 'Infinity');
SELECT claimed FROM claim_signal('ZERO', 'LONG', 1, '-0');
SELECT claim_signal('BAD', 'LONG', 1, ttl => '0');
SELECT claim_signal('BAD', 'LONG', 1, ttl => '-1 h');
SELECT claim_signal('BAD', 'LONG', 1, ttl => '36526 days');
SELECT claim_signal('BAD', 'LONG', 1, at => 'infinity');
SELECT claim_signal('BAD', 'LONG', 1, at => '30000-01-01');
SELECT count(*) FROM signal WHERE symbol = 'BAD';
BEGIN TRANSACTION READ ONLY;
SELECT claim_signal('BTC', 'LONG', 100);
ROLLBACK;
BEGIN TRANSACTION READ ONLY;
SELECT * FROM claim_signals('[]');
ROLLBACK;
BEGIN TRANSACTION READ ONLY;
SELECT clear_signals('BTC');
ROLLBACK;

-- A batch answers a row a signal, in order, also against itself. Numbers may be strings, as
-- exchanges send them; other members are ignored.
CREATE FUNCTION batch(symbol text, direction text, variadic prices float8[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('symbol', symbol, 'direction', direction, 'entry_price', p) ORDER BY i)
	FROM unnest(prices) WITH ORDINALITY AS u(p, i) $$;
SELECT claimed, price FROM claim_signals('[
	{"symbol": "MANY", "direction": "LONG", "entry_price": 100, "data": {"n": 1}},
	{"symbol": "MANY", "direction": "short", "entry_price": "100.0"},
	{"symbol": "MANY", "direction": "Long", "entry_price": "1.0004e2", "data": {"n": 3}},
	{"symbol": "MANY2", "direction": "LONG", "entry_price": 100, "data": null, "other": []},
	{"symbol": "MANY", "direction": "LONG", "entry_price": 101},
	{"symbol": "MANY", "direction": "LONG", "entry_price": 100}]');
SELECT symbol, direction, price, data FROM live_signals WHERE symbol LIKE 'MANY%' ORDER BY 1, 2, 3;
-- Order decides: what is granted first turns down its neighbours. A chain of near ones leaves every second.
SELECT p, s.claimed, s.price FROM
	ROWS FROM (unnest('{10, 11, 12, 13, 9}'::float8[]),
		claim_signals(batch('CHAIN', 'LONG', 10, 11, 12, 13, 9), 0.1)) AS s(p, claimed, id, price);
-- The nearest is stored before, or granted by the batch itself, and of equally near ones the older.
SELECT p, s.claimed, s.price FROM
	ROWS FROM (unnest('{1000, 1020, 1012, 1009, 1010}'::float8[]),
		claim_signals(batch('NEAR2', 'LONG', 1000, 1020, 1012, 1009, 1010), 0.015)) AS s(p, claimed, id, price);
SELECT p, s.claimed, s.price FROM
	ROWS FROM (unnest('{1036, 1027, 1028, 1029, 1021}'::float8[]),
		claim_signals(batch('NEAR2', 'LONG', 1036, 1027, 1028, 1029, 1021), 0.015)) AS s(p, claimed, id, price);
SELECT claimed, price, sent_at FROM claim_signals(batch('MANYAT', 'LONG', 1, 2), 0, '1 h', '2024-03-01 10:00');
SELECT count(*) FILTER (WHERE claimed) AS claimed, count(DISTINCT signal_id) AS ids
FROM claim_signals((SELECT jsonb_agg(jsonb_build_object(
	'symbol', 'S' || i % 300, 'direction', 'LONG', 'entry_price', 100)) FROM generate_series(1, 1000) AS i));
SELECT count(*) FROM claim_signals('[]');

SELECT claim_signals(NULL);
SELECT claim_signals('{}');
SELECT claim_signals('1');
SELECT claim_signals('[1]');
SELECT claim_signals('[[]]');
SELECT claim_signals('[null]');
SELECT claim_signals('[{"symbol": "BAD", "direction": "LONG"}]');
SELECT claim_signals('[{"symbol": "BAD", "entry_price": 1}]');
SELECT claim_signals('[{"direction": "LONG", "entry_price": 1}]');
SELECT claim_signals('[{"symbol": 1, "direction": "LONG", "entry_price": 1}]');
SELECT claim_signals('[{"symbol": "BAD", "direction": true, "entry_price": 1}]');
SELECT claim_signals('[{"symbol": "BAD", "direction": "LONG", "entry_price": null}]');
SELECT claim_signals('[{"symbol": "BAD", "direction": "LONG", "entry_price": "0x10"}]');
SELECT claim_signals('[{"symbol": "BAD", "direction": "LONG", "entry_price": " 1"}]');
SELECT claim_signals('[{"symbol": "BAD", "direction": "LONG", "entry_price": "1e999"}]');
SELECT claim_signals('[{"symbol": "BAD", "direction": "LONG", "entry_price": 1e999}]');
SELECT claim_signals('[{"symbol": "BAD", "direction": "LONG", "entry_price": -1}]');
SELECT claim_signals('[{"symbol": "BAD", "direction": "UP", "entry_price": 1}]');
SELECT claim_signals('[{"symbol": "", "direction": "LONG", "entry_price": 1}]');
SELECT claim_signals('[]', 1);
SELECT claim_signals('[]', 0, '0');
-- One bad signal refuses the whole batch.
SELECT claim_signals('[{"symbol": "BAD", "direction": "LONG", "entry_price": 1},
	{"symbol": "BAD", "direction": "LONG", "entry_price": 0}]');
SELECT count(*) FROM signal WHERE symbol = 'BAD';

-- The oracle: of all that is live, whatever comes within tolerance, the nearest. Prices come in
-- clusters, at the edge of each other's tolerance and one bit beside it; some are expired.
CREATE FUNCTION random_price(INOUT p float8) LANGUAGE plpgsql AS $$
DECLARE
	edges float8[] := ARRAY[p, p, p * 1.0005, p / 1.0005, p * 0.9995, p / 0.9995, p * 1.3, p * 0.7, p * 1.01];
BEGIN
	p := edges[1 + floor(random() * 9)];
	p := p + floor(random() * 3 - 1) * ulp(p);
END
$$;
CREATE FUNCTION oracle(calls int, OUT granted int, OUT duplicates int, OUT wrong int) LANGUAGE plpgsql AS $$
DECLARE
	p float8 := 100;
	tol float8;
	side text;
	now timestamptz;
	truth record;
	answer record;
BEGIN
	granted := 0; duplicates := 0; wrong := 0;
	FOR i IN 1 .. calls LOOP
		SELECT random_price(p) INTO p;
		IF p NOT BETWEEN 1 AND 10000 OR random() < 0.02 THEN
			p := 100 + floor(random() * 10);
		END IF;
		tol := (ARRAY[0, 1e-16, 0.0005, 0.0005, 0.0005, 0.3])[1 + floor(random() * 6)];
		side := (ARRAY['LONG', 'SHORT'])[1 + floor(random() * 2)];
		now := timestamptz '2026-01-01' + i * interval '1 min';
		SELECT s.signal_id, s.price INTO truth FROM tradekeep.signal AS s
		WHERE s.symbol = 'ORACLE' AND s.direction = side AND s.expires_at > now
			AND abs(p - s.price) <= tol * s.price
		ORDER BY abs(p - s.price), s.signal_id LIMIT 1;
		SELECT * INTO answer FROM tradekeep.claim_signal('ORACLE', side, p, tol, random() * 600 * interval '1 min' + interval '1 s', at => now);
		IF answer.claimed THEN
			granted := granted + 1;
		ELSE
			duplicates := duplicates + 1;
		END IF;
		IF answer.claimed <> (truth.signal_id IS NULL) OR answer.signal_id <> truth.signal_id
			OR answer.price <> coalesce(truth.price, p) THEN
			wrong := wrong + 1;
			RAISE WARNING 'price % tolerance %: % instead of %', p, tol, answer, truth;
		END IF;
	END LOOP;
END
$$;
SELECT setseed(0.5) IS NOT NULL AS seeded;
SELECT wrong, granted > 500 AS many_granted, duplicates > 500 AS many_duplicates FROM oracle(4000);

-- Whatever functions and operators stand first in the path, ours are not among them.
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.captured() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'captured'; END $$;
DO $$
DECLARE
	type text;
	operator text;
BEGIN
	FOREACH type IN ARRAY '{text, bigint, float8, timestamptz}'::text[] LOOP
		EXECUTE format('CREATE FUNCTION hostile.captured(%s, %1$s) RETURNS boolean'
			' LANGUAGE sql VOLATILE AS %L', type, 'SELECT hostile.captured() IS NULL');
		FOREACH operator IN ARRAY '{=, <>, <, <=, >, >=}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR hostile.%s (LEFTARG = %s, RIGHTARG = %2$s,'
				' FUNCTION = hostile.captured)', operator, type);
		END LOOP;
	END LOOP;
END
$$;
CREATE FUNCTION hostile.captured(timestamptz, interval) RETURNS timestamptz LANGUAGE sql
	AS $$ SELECT now() FROM hostile.captured() $$;
CREATE OPERATOR hostile.+ (LEFTARG = timestamptz, RIGHTARG = interval, FUNCTION = hostile.captured);
CREATE FUNCTION hostile.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql
	AS $$ BEGIN PERFORM hostile.captured(); END $$;
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE sql
	AS $$ SELECT now() FROM hostile.captured() $$;
SELECT set_scope('sliding', '1 h', 'sliding');
\c -
\set VERBOSITY sqlstate
SET search_path = hostile, pg_catalog;
CREATE TEMP TABLE signal (symbol text);
CREATE TEMP TABLE claim (scope text);
SELECT 'a'::text = 'a'::text;
SELECT claimed FROM tradekeep.claim_signal('HOSTILE', 'LONG', 1);
SELECT claimed FROM tradekeep.claim_signals('[{"symbol": "HOSTILE", "direction": "LONG", "entry_price": 1},
	{"symbol": "HOSTILE", "direction": "LONG", "entry_price": 2},
	{"symbol": "HOSTILE", "direction": "LONG", "entry_price": 3}]');
SELECT tradekeep.clear_signals('HOSTILE');
SELECT tradekeep.claim('sliding', 'k'), tradekeep.claim('sliding', 'k'), tradekeep.claim_many('sliding', '{k,l}');
SELECT tradekeep.claim_lease('sliding', 'lease', '1 h') AS token \gset
SELECT tradekeep.extend_lease('sliding', 'lease', :token, '2 h');
SELECT tradekeep.complete('sliding', 'lease', :token), tradekeep.complete('sliding', 'lease', :token);
SELECT tradekeep.release('sliding', 'lease', :token);
SELECT tradekeep.set_scope('sliding', NULL), tradekeep.clear_claims('sliding');
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA hostile CASCADE;
RESET client_min_messages;

-- Clearing all of them is for admins.
CREATE ROLE regress_signal_writer;
CREATE ROLE regress_signal_reader;
SELECT tradekeep.grant_access('regress_signal_writer', 'writer');
SELECT tradekeep.grant_access('regress_signal_reader', 'reader');
SET ROLE regress_signal_reader;
SELECT count(*) > 0 AS reads FROM tradekeep.live_signals;
SELECT tradekeep.claim_signal('BTC', 'LONG', 100);
SET ROLE regress_signal_writer;
SELECT claimed FROM tradekeep.claim_signal('WRITER', 'LONG', 100);
SELECT claimed FROM tradekeep.claim_signals('[{"symbol": "WRITER", "direction": "LONG", "entry_price": 1}]');
SELECT tradekeep.clear_signals();
SELECT tradekeep.clear_signals('WRITER');
SELECT tradekeep.clear_signals('');
RESET ROLE;
SELECT tradekeep.clear_signals() > 0 AS cleared;
SELECT count(*) FROM tradekeep.signal;

-- The table refuses by itself what no function would store.
INSERT INTO tradekeep.signal VALUES ('X', 'UP', 1, 1, now(), now() + interval '1 h', now() + interval '1 h');
INSERT INTO tradekeep.signal VALUES ('X', 'LONG', 'NaN', 1, now(), now() + interval '1 h', now() + interval '1 h');
INSERT INTO tradekeep.signal VALUES ('', 'LONG', 1, 1, now(), now() + interval '1 h', now() + interval '1 h');

SELECT tradekeep.revoke_access('regress_signal_writer'), tradekeep.revoke_access('regress_signal_reader');
DROP ROLE regress_signal_writer, regress_signal_reader;
DROP FUNCTION ulp, is_new, batch, random_price, oracle;
