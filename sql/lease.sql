-- lease: claims for work that outlives a transaction
\set VERBOSITY sqlstate
\pset null (null)
SET search_path = public, tradekeep;
DELETE FROM claim;

-- The row as it is, and a lease that ran out an hour ago, by hand.
CREATE FUNCTION state(of_key text) RETURNS text LANGUAGE sql AS $$
	SELECT state FROM tradekeep.live_claims WHERE scope = 'work' AND key = of_key $$;
CREATE FUNCTION run_out(of_key text) RETURNS void LANGUAGE sql AS $$
	UPDATE tradekeep.claim SET claimed_at = now() - interval '2 h', expires_at = now() - interval '1 h'
	WHERE scope = 'work' AND key = of_key $$;

-- A lease is for one; the others get null until it is given back.
SELECT claim_lease('work', 'a', '1 min', '1 day') AS first \gset
SELECT :first > 0 AS token, state('a');
SELECT claim_lease('work', 'a', '1 min', '1 day');
SELECT claim('work', 'a', '1 day'), claimed('work', 'a'), claim_many('work', '{a,b}', '1 day');
SELECT claimed, expires_at - claimed_at AS lease, original FROM claim_or_get('work', 'a', '1 day');
SELECT release('work', 'a', :first), state('a'), release('work', 'a', :first);
SELECT claim_lease('work', 'a', '1 min', '1 day') AS second \gset
SELECT :second > :first AS grew;

-- Only the token's holder has a say.
SELECT extend_lease('work', 'a', :first, '1 h');
SELECT complete('work', 'a', :first);
SELECT release('work', 'a', :first);
SELECT state('a'), token = :second AS second FROM live_claims WHERE key = 'a';

-- Extending never shortens.
SELECT extend_lease('work', 'a', :second, '1 h');
SELECT extend_lease('work', 'a', :second, '1 s');
SELECT expires_at > now() + interval '59 min' AS extended, sweep_after >= expires_at AS kept FROM claim WHERE key = 'a';

-- What is completed stays claimed for its ttl, with the result. The holder may ask again.
SELECT complete('work', 'a', :second, '{"message_id": 7}'), state('a');
SELECT complete('work', 'a', :second, '{"message_id": 8}');
SELECT claim_lease('work', 'a', '1 min', '1 day'), claim('work', 'a', '1 day');
SELECT claimed, expires_at > now() + interval '23 h' AS kept, original FROM claim_or_get('work', 'a', '1 day');
SELECT extend_lease('work', 'a', :second, '1 h');
SELECT release('work', 'a', :second), state('a');
SELECT completed_at BETWEEN claimed_at AND now() + interval '1 min' AS at, expires_at - completed_at AS ttl,
	sweep_after >= expires_at AS kept FROM claim WHERE key = 'a';

-- Its ttl over, it is free; the token that completed it has nothing left.
SELECT run_out('a');
SELECT state('a');
SELECT complete('work', 'a', :second);
SELECT claim_lease('work', 'a', '1 min', '1 day') > :second AS grew, state('a');
SELECT completed_at, data FROM claim WHERE key = 'a';

-- A lease that ran out is absent, for its holder too; the next one takes it over with a higher token.
SELECT claim_lease('work', 'c', '1 h', '1 day') AS old \gset
SELECT run_out('c');
SELECT state('c'), claimed('work', 'c');
SELECT extend_lease('work', 'c', :old, '1 h');
SELECT complete('work', 'c', :old);
SELECT release('work', 'c', :old);
SELECT claim_lease('work', 'c', '1 h', '1 day') AS new \gset
SELECT :new > :old AS grew, state('c');
SELECT complete('work', 'c', :old);
SELECT complete('work', 'c', :new, '"done"');
SELECT original FROM claim_or_get('work', 'c', '1 day');
-- Also as a plain claim, which has no token.
SELECT claim_lease('work', 'd', '1 h', '1 day') AS old \gset
SELECT run_out('d');
SELECT claim('work', 'd', '1 h'), state('d');
SELECT complete('work', 'd', :old);
SELECT token, completed_at, ttl FROM claim WHERE key = 'd';

-- A plain claim has no token, and release() without one takes anything.
SELECT complete('work', 'b', 1);
SELECT claim_lease('work', 'e', '1 h', '1 day') > 0 AS token, release('work', 'e'), state('e');

-- Rolled back, a lease never was, nor its end; tokens grow all the same.
BEGIN;
SELECT claim_lease('work', 'f', '1 h', '1 day') AS lost \gset
ROLLBACK;
SELECT claim_lease('work', 'f', '1 h', '1 day') AS kept \gset
SELECT :kept > :lost AS grew;
BEGIN;
SELECT complete('work', 'f', :kept);
ROLLBACK;
SELECT state('f'), complete('work', 'f', :kept);
-- A result may be absent, and a JSON null.
SELECT original FROM claim_or_get('work', 'f', '1 day');
SELECT claim_lease('work', 'g', '1 h', '1 day') AS token \gset
SELECT complete('work', 'g', :token, 'null');
SELECT original FROM claim_or_get('work', 'g', '1 day');

-- Without a ttl the scope's holds once it is completed; a scope that slides leaves leases alone.
SELECT claim_lease('work', 'h', '1 h');
SELECT set_scope('work', '3 h', 'sliding');
SELECT claim_lease('work', 'h', '1 h') AS token \gset
SELECT expires_at AS before FROM claim WHERE key = 'h' \gset
SELECT claim('work', 'h'), claim_many('work', '{h}');
SELECT expires_at = :'before' AS untouched FROM claim WHERE key = 'h';
SELECT complete('work', 'h', :token);
SELECT expires_at - completed_at AS ttl FROM claim WHERE key = 'h';
SELECT expires_at AS before FROM claim WHERE key = 'h' \gset
SELECT claim('work', 'h'), claim_many('work', '{h}');
SELECT expires_at = :'before' AS untouched FROM claim WHERE key = 'h';
SELECT set_scope('work', NULL);

-- Months and days are 30 days and 24 hours, whatever the time zone.
SET TIME ZONE 'America/New_York';
SELECT claim_lease('work', 'i', '1 h', '1 month 1 day') AS token \gset
SELECT ttl FROM claim WHERE key = 'i';
SELECT complete('work', 'i', :token);
SELECT extract(epoch FROM expires_at - completed_at) / 3600 AS hours FROM claim WHERE key = 'i';
RESET TIME ZONE;

-- What makes no sense is refused.
SELECT claim_lease(NULL, 'x', '1 h', '1 h');
SELECT claim_lease('', 'x', '1 h', '1 h');
SELECT claim_lease('work', NULL, '1 h', '1 h');
SELECT claim_lease('work', repeat('x', 513), '1 h', '1 h');
SELECT claim_lease('work', 'x', NULL, '1 h');
SELECT claim_lease('work', 'x', '0', '1 h');
SELECT claim_lease('work', 'x', '-1 s', '1 h');
SELECT claim_lease('work', 'x', '36526 days', '1 h');
SELECT claim_lease('work', 'x', '1 h', '0');
SELECT claim_lease('work', 'x', '1 h', '36526 days');
SELECT claim_lease('work', 'x', '1 h');
SELECT extend_lease('work', 'x', 1, '1 h');
SELECT extend_lease('work', 'x', NULL, '1 h');
SELECT extend_lease('work', 'x', 1, NULL);
SELECT extend_lease('work', 'x', 1, '0');
SELECT extend_lease(NULL, 'x', 1, '1 h');
SELECT complete('work', 'x', 1);
SELECT complete('work', 'x', NULL);
SELECT complete('work', NULL, 1);
SELECT complete('', 'x', 1);
SELECT release('work', 'x', NULL);
SELECT release('work', 'x', -1);
SELECT count(*) FROM claim WHERE key LIKE 'x%';
BEGIN TRANSACTION READ ONLY;
SELECT claim_lease('work', 'x', '1 h', '1 h');
ROLLBACK;
BEGIN TRANSACTION READ ONLY;
SELECT extend_lease('work', 'x', 1, '1 h');
ROLLBACK;
BEGIN TRANSACTION READ ONLY;
SELECT complete('work', 'x', 1);
ROLLBACK;
BEGIN TRANSACTION READ ONLY;
SELECT release('work', 'x', 1);
ROLLBACK;

-- A writer may do all of it.
CREATE ROLE regress_lease_writer;
SELECT grant_access('regress_lease_writer', 'writer');
SET ROLE regress_lease_writer;
SELECT claim_lease('work', 'w', '1 h', '1 h') AS token \gset
SELECT extend_lease('work', 'w', :token, '2 h');
SELECT complete('work', 'w', :token);
SELECT release('work', 'w', :token);
RESET ROLE;
SELECT revoke_access('regress_lease_writer');
DROP ROLE regress_lease_writer;

SELECT clear_claims('work') > 0 AS cleared;
DROP FUNCTION state, run_out;
