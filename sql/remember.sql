-- remember: what caches in front of the database may remember
\set VERBOSITY sqlstate
\pset null (null)
SET TIME ZONE 'UTC';
SET datestyle = 'ISO, YMD';
SET search_path = public, tradekeep;
DELETE FROM claim;
DELETE FROM signal;

-- By how much the versions of claims in r, of those in another scope and of signals grow: once a transaction
-- at most, and each of these calls is one.
CREATE TABLE before (versions bigint[]);
CREATE VIEW grown AS
	SELECT array_agg(now_n - before_n ORDER BY i) AS grown
	FROM cache_state('{r,other}') AS s, before AS b,
		unnest(s.versions || s.signal_version, b.versions) WITH ORDINALITY AS v(now_n, before_n, i);
CREATE FUNCTION mark() RETURNS void LANGUAGE sql AS $$
	TRUNCATE public.before;
	INSERT INTO public.before SELECT versions || signal_version FROM tradekeep.cache_state('{r,other}') $$;
\set check 'SELECT grown FROM grown; SELECT mark();'

-- A claim and its duplicate say when it ends, and agree with the state.
SELECT claimed, expires_at FROM claim_to_remember('r', 'a', '1 h') \gset
SELECT :'claimed' AS claimed, expires_at = :'expires_at' AS stored, expires_at - claimed_at AS ttl FROM claim WHERE key = 'a';
SELECT r.claimed, r.expires_at = c.expires_at AS same FROM claim_to_remember('r', 'a') AS r, claim AS c WHERE c.key = 'a';
SELECT r.epoch = s.epoch AS epoch, r.version = s.versions[1] AS version,
	r.clock BETWEEN statement_timestamp() AND clock_timestamp() AND s.clock BETWEEN statement_timestamp() AND clock_timestamp() AS clock
FROM claim_to_remember('r', 'a', '1 h') AS r, cache_state('{r}') AS s;
SELECT versions[1] = versions[3] AS same, cardinality(versions) AS versions, ttls, backend = pg_backend_pid() AS backend, standby
FROM cache_state('{r,candle,r,publish,signal}');
SELECT versions, ttls, signal_version IS NOT NULL AS signal_version FROM cache_state('{}');

-- What is not over when it seems: a claim that slides, and a lease at work, which may be completed for a shorter time.
SELECT set_scope('slides', '1 h', 'sliding'), set_scope('ends', NULL, 'candle', '1d');
SELECT ttls FROM cache_state('{slides,ends}');
SELECT claimed, expires_at FROM claim_to_remember('slides', 'a');
SELECT claimed, expires_at FROM claim_to_remember('slides', 'a');
SELECT claimed, expires_at = candle_end('1d', clock) AS at_midnight FROM claim_to_remember('ends', 'a');
SELECT set_scope('slides', '1 h'), set_scope('ends', NULL);
SELECT claimed, expires_at FROM claim_to_remember('slides', 'a');
SELECT ttls FROM cache_state('{slides,ends}');
SELECT set_scope('slides', NULL);
SELECT claim_lease('r', 'work', '1 h', '1 min') AS token \gset
SELECT claimed, expires_at FROM claim_to_remember('r', 'work', '1 h');
SELECT complete('r', 'work', :token);
SELECT claimed, expires_at - clock BETWEEN '50 s' AND '1 min' AS ends FROM claim_to_remember('r', 'work', '1 h');
-- Nor what may be rolled back.
BEGIN;
SELECT claimed, expires_at FROM claim_to_remember('r', 'uncommitted', '1 h');
SELECT claimed, expires_at FROM claim_to_remember('r', 'uncommitted', '1 h');
ROLLBACK;
SELECT claimed, expires_at FROM claim_to_remember('r', 'uncommitted', '1 h') \; SELECT 1;

-- Candles and their publication.
SELECT claimed, expires_at FROM should_process_candle_to_remember('BTC', '15m', '2026-01-05 10:15:10Z');
SELECT claimed, expires_at FROM should_process_candle_to_remember('BTC', '15m', '2026-01-05 10:15:20Z', '1 h', '1 d');
SELECT claimed, expires_at FROM should_process_candle_to_remember('BTC', '15m', '2026-01-05 10:16:20Z');
SELECT claimed, expires_at - clock > '23 h' AS ends FROM claim_publish_to_remember('BTC', '2026-01-05 10:15Z');
SELECT claimed, expires_at - clock > '23 h' AS ends FROM claim_publish_to_remember('BTC', '2026-01-05 10:15Z', '1 min');
SELECT key FROM claim WHERE key ~ 'BTC' ORDER BY scope;
SELECT c.version = s.versions[1] AS candle, p.version = s.versions[2] AS publish, c.epoch = s.epoch AND p.epoch = s.epoch AS epoch
FROM cache_state('{candle,publish}') AS s, should_process_candle_to_remember('BTC', '15m') AS c, claim_publish_to_remember('BTC', '2026-01-05 10:15Z') AS p;

-- Signals.
SELECT claimed, price, expires_at - sent_at AS ttl, r.version = t.signal_version AS version, r.epoch = t.epoch AS epoch
FROM claim_signal_to_remember('BTC', 'long', 100, data => '7') AS r, cache_state('{}') AS t;
SELECT symbol, direction, price, data FROM signal;
SELECT claimed, price, expires_at - sent_at AS ttl, clock > sent_at AS clock FROM claim_signal_to_remember('BTC', 'LONG', 100.04, 0.001, '1 h');
SELECT claimed, price FROM claim_signal_to_remember('BTC', 'LONG', 100.04, 0, NULL);

-- What gives something free makes versions grow; what finds nothing, or only claims, does not.
SELECT mark();
SELECT release('r', 'none'), clear_claims('r', 'none*'), clear_signals('none'), release('r', 'work', 0);
SELECT claim('r', 'b', '1 h'), claim_many('r', '{c,d,e}', '1 h'), claim('other', 'b', '1 h');
:check
SELECT release('r', 'b');
:check
SELECT release('r', 'c'), release('r', 'd');
:check
SELECT release('other', 'b');
:check
SELECT release('r', 'lease', claim_lease('r', 'lease', '1 h', '1 h'));
:check
SELECT clear_claims('r', 'e*');
:check
SELECT claim('r', 'f', '1 h'), clear_claims(pattern => 'f');
:check
SELECT clear_signals('BTC');
:check
SELECT set_scope('r', '2 h');
:check
SELECT set_scope('r', NULL);
:check
SELECT set_scope('r', NULL);
:check
-- What is expired was no longer held by anybody.
SELECT claim('r', 'old', '1 s', at => '2026-01-05Z'), release('r', 'old'), clear_claims('r', 'old');
:check

-- Each subtransaction has its own, and takes it with it.
SELECT claim_many('r', '{a1,a2,a3,a4,a5}', '1 h');
SELECT mark();
BEGIN;
SELECT release('r', 'a1');
SAVEPOINT s;
SELECT release('r', 'a2');
SELECT release('r', 'a3');
SELECT grown FROM grown;
ROLLBACK TO s;
SELECT grown FROM grown;
RELEASE SAVEPOINT s;
SELECT release('r', 'a2');
SAVEPOINT s;
ROLLBACK TO s;
SELECT release('r', 'a3'), release('other', 'none');
COMMIT;
SELECT grown FROM grown;
BEGIN;
SELECT release('r', 'a4');
ROLLBACK;
SELECT grown FROM grown;
SELECT release('r', 'a4');
:check
DO $$ BEGIN
	PERFORM tradekeep.release('r', 'a5');
	RAISE 'away with it';
EXCEPTION WHEN raise_exception THEN NULL;
END $$;
:check
SELECT release('r', 'a5');
:check

-- forget_cached() does so by hand.
SELECT forget_cached('r');
:check
SELECT forget_cached('signal');
:check
SELECT forget_cached();
:check
SELECT forget_cached(NULL), forget_cached('r');
:check

-- Spools: known from the first question on, and they never go back.
\set spool '''11111111-2222-3333-4444-555555555555'''
SELECT replay_position(:spool), replay_position('00000000-0000-0000-0000-000000000000');
SELECT advance_replay(:spool, 500);
SELECT advance_replay(:spool, 499);
SELECT replay_position(:spool), replay_position('00000000-0000-0000-0000-000000000000');
SELECT advance_replay('99999999-2222-3333-4444-555555555555', 9223372036854775807);
SELECT spool, position FROM replay ORDER BY spool;
BEGIN;
SELECT replay_position(:spool), advance_replay(:spool, 600);
ROLLBACK;
SELECT replay_position(:spool);
SELECT end_replay(:spool), end_replay(:spool), end_replay(NULL);
SELECT replay_position(:spool);
SELECT replay_position(NULL);
SELECT advance_replay(NULL, 1);
SELECT advance_replay(:spool, NULL);
SELECT advance_replay(:spool, -1);
SELECT replay_position('no uuid');
SELECT end_replay(spool) FROM replay;

-- What is refused is refused whole.
SELECT claim_to_remember(NULL, 'k', '1 h');
SELECT claim_to_remember('', 'k', '1 h');
SELECT claim_to_remember(repeat('é', 32), 'k', '1 h');
SELECT claim_to_remember('r', NULL, '1 h');
SELECT claim_to_remember('r', '', '1 h');
SELECT claim_to_remember('r', repeat('k', 513), '1 h');
SELECT claim_to_remember('r', 'new', '-1 h');
SELECT claim_to_remember('r', 'new', '102 years');
SELECT claim_to_remember('r', 'new');
SELECT should_process_candle_to_remember(NULL, '1m');
SELECT should_process_candle_to_remember('BTC', NULL);
SELECT should_process_candle_to_remember('BTC', '1m', 'infinity');
SELECT should_process_candle_to_remember('BTC', '1m', drift => '-1 s');
SELECT should_process_candle_to_remember(repeat('B', 512), '1m', drift => '1 min');
SELECT claim_publish_to_remember('', '2026-01-05Z');
SELECT claim_publish_to_remember('BTC', NULL);
SELECT claim_publish_to_remember('BTC', '2026-01-05 00:00:00.5Z');
SELECT claim_signal_to_remember(NULL, 'LONG', 1);
SELECT claim_signal_to_remember('BTC', 'UP', 1);
SELECT claim_signal_to_remember('BTC', 'LONG', 'NaN');
SELECT claim_signal_to_remember('BTC', 'LONG', 1, 1);
SELECT claim_signal_to_remember('BTC', 'LONG', 1, ttl => '0');
SELECT cache_state(NULL);
SELECT cache_state('{{a},{b}}');
SELECT cache_state('{a,NULL}');
SELECT cache_state('{a,""}');
SELECT cache_state(ARRAY['a', repeat('s', 64)]);
SELECT forget_cached('');
SELECT forget_cached(repeat('s', 64));
BEGIN READ ONLY;
SELECT standby FROM cache_state('{r}');
SELECT claim_to_remember('r', 'a', '1 h');
ROLLBACK;
BEGIN READ ONLY;
SELECT forget_cached('r');
ROLLBACK;
BEGIN READ ONLY;
SELECT replay_position(:spool);
ROLLBACK;
SELECT key FROM claim WHERE key IN ('k', 'new');
-- The longest subjects, and keys that look like a subject.
SELECT release(repeat('s', 63), repeat('k', 512)) FROM claim(repeat('s', 63), repeat('k', 512), '1 h');
SELECT release(E'a\nb', E'\n%s\\') FROM claim(E'a\nb', E'\n%s\\', '1 h');
SELECT DISTINCT octet_length(subject) FROM cache_version WHERE subject LIKE 'claim:sss%';

-- Levels: a reader looks, a writer makes a scope be forgotten, an admin all of them.
CREATE ROLE regress_tk_reads;
CREATE ROLE regress_tk_writes;
CREATE ROLE regress_tk_rules;
SELECT grant_access('regress_tk_reads', 'reader'), grant_access('regress_tk_writes', 'writer'), grant_access('regress_tk_rules', 'admin');
SET search_path = tradekeep;
SET ROLE regress_tk_reads;
SELECT standby FROM cache_state('{r}');
SELECT count(*) > 0 AS any FROM cache_version;
SELECT claim_to_remember('r', 'a', '1 h');
SELECT forget_cached('r');
SELECT replay_position(:spool);
SET ROLE regress_tk_writes;
SELECT claimed FROM claim_to_remember('r', 'mine', '1 h');
SELECT release('r', 'mine'), forget_cached('r');
SELECT forget_cached();
SELECT replay_position(:spool), advance_replay(:spool, 1), end_replay(:spool);
DELETE FROM cache_version;
SET ROLE regress_tk_rules;
SELECT forget_cached(), set_scope('r', '1 h'), set_scope('r', NULL);
RESET ROLE;
SELECT revoke_access('regress_tk_reads'), revoke_access('regress_tk_writes'), revoke_access('regress_tk_rules');
DROP ROLE regress_tk_reads, regress_tk_writes, regress_tk_rules;

-- Nothing in the caller's search_path stands in for what this is made of.
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.trap() RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END';
CREATE FUNCTION hostile.compare(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.compare(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.add(bigint, integer) RETURNS bigint LANGUAGE sql AS 'SELECT hostile.trap(); SELECT $1';
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.compare);
CREATE OPERATOR hostile.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = hostile.compare);
CREATE OPERATOR hostile.+ (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = hostile.add);
CREATE TABLE hostile.cache_version (subject text, slot int, n bigint);
CREATE TABLE hostile.replay (spool uuid, position bigint, updated_at timestamptz);
\c -
SET search_path = hostile, pg_catalog;
SELECT claimed FROM tradekeep.claim_to_remember('r', 'safe', '1 h');
SELECT tradekeep.release('r', 'safe');
SELECT tradekeep.claim('r', 'safe', '1 h'), tradekeep.release('r', 'safe');
SELECT tradekeep.forget_cached();
SELECT claimed FROM tradekeep.claim_signal_to_remember('BTC', 'LONG', 100);
SELECT standby FROM tradekeep.cache_state('{r}');
SELECT tradekeep.replay_position(:spool), tradekeep.advance_replay(:spool, 1), tradekeep.end_replay(:spool);
RESET search_path;
DROP SCHEMA hostile CASCADE;

DROP VIEW grown;
DROP TABLE before;
DROP FUNCTION mark();
DELETE FROM tradekeep.claim;
DELETE FROM tradekeep.signal;
DELETE FROM tradekeep.replay;
