-- claim: exactly-once claims on a key

-- Domains check what constraints of the table could, at a fraction of the cost: an INSERT reads each
-- CHECK of its table from text again, and finds those of domains ready in its plan.
CREATE DOMAIN tradekeep.scope_name AS text COLLATE "C" CHECK (octet_length(VALUE) BETWEEN 1 AND 63);
COMMENT ON DOMAIN tradekeep.scope_name IS 'name of a scope: 1 to 63 bytes';
CREATE DOMAIN tradekeep.key_name AS text COLLATE "C" CHECK (octet_length(VALUE) BETWEEN 1 AND 512);
COMMENT ON DOMAIN tradekeep.key_name IS 'key, instrument or symbol: 1 to 512 bytes';

CREATE TABLE tradekeep.claim (
	scope tradekeep.scope_name NOT NULL,
	key tradekeep.key_name NOT NULL,
	claimed_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	sweep_after timestamptz NOT NULL,
	token bigint,
	completed_at timestamptz,
	ttl interval,
	data jsonb,
	PRIMARY KEY (scope, key),
	CHECK (claimed_at < expires_at AND expires_at <= sweep_after AND sweep_after < 'infinity')
) USING heap;
COMMENT ON TABLE tradekeep.claim IS
'claims, live while expires_at lies in the future; expired rows count as absent and wait for the sweeper';
COMMENT ON COLUMN tradekeep.claim.sweep_after IS
'when the sweeper may take the row: the later of expires_at and the time of writing + ttl';
COMMENT ON COLUMN tradekeep.claim.token IS 'of a lease; null for other claims';
COMMENT ON COLUMN tradekeep.claim.completed_at IS 'when the lease was completed; null while it is held';
COMMENT ON COLUMN tradekeep.claim.ttl IS
'of a sliding claim: by how much a duplicate extends it; of a lease: how long it is kept once completed; without days and months';

CREATE INDEX claim_sweep_after_idx ON tradekeep.claim (sweep_after);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.claim', '');

CREATE SEQUENCE tradekeep.lease_token;
COMMENT ON SEQUENCE tradekeep.lease_token IS 'fencing tokens, which only grow';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.lease_token', '');

CREATE TABLE tradekeep.scope (
	scope tradekeep.scope_name NOT NULL PRIMARY KEY,
	ttl interval CHECK (ttl >= interval '1 ms' AND ttl <= interval '36525 days'),
	expiry text COLLATE "C" NOT NULL DEFAULT 'fixed' CHECK (expiry IN ('fixed', 'sliding', 'candle')),
	timeframe tradekeep.timeframe,
	CHECK ((ttl IS NULL) = (expiry = 'candle') AND (timeframe IS NOT NULL) = (expiry = 'candle'))
) USING heap;
COMMENT ON TABLE tradekeep.scope IS
'scopes that were set; without a row, candle has 1 hour, publish and signal have 24 hours, others no ttl';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.scope', '');

-- An expired row may lie there unswept. sweep_after is never before expires_at, and has the index.
CREATE VIEW tradekeep.live_claims AS
	SELECT scope, key,
		CASE WHEN token IS NULL THEN 'claimed' WHEN completed_at IS NULL THEN 'leased' ELSE 'completed' END AS state,
		claimed_at, expires_at, expires_at - statement_timestamp() AS remaining, token, data
	FROM tradekeep.claim
	WHERE expires_at > statement_timestamp() AND sweep_after > statement_timestamp();
COMMENT ON VIEW tradekeep.live_claims IS 'claims that are live now: claimed, leased or completed';

CREATE FUNCTION tradekeep.claim(scope text, key text, ttl interval DEFAULT NULL,
	data jsonb DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_claim' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim(text, text, interval, jsonb, timestamptz) IS
'true: (scope, key) is yours once the transaction commits; false: somebody has it.
scope 1 to 63 bytes, else TK001; key 1 to 512 bytes, else TK002; ttl from a millisecond to 100 years, else TK003, null for the scope''s own; at null for the clock, else from 1900 to 2200, else TK004.
A duplicate writes nothing, unless the claim slides. Waits while another transaction holds an uncommitted claim on the key.';

CREATE FUNCTION tradekeep.claim_or_get(scope text, key text, ttl interval DEFAULT NULL,
	data jsonb DEFAULT NULL, at timestamptz DEFAULT NULL,
	OUT claimed boolean, OUT claimed_at timestamptz, OUT expires_at timestamptz, OUT original jsonb)
	AS 'MODULE_PATHNAME', 'tradekeep_claim_or_get' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_or_get(text, text, interval, jsonb, timestamptz) IS
'claim(), and of a duplicate the original''s times and data (of a completed lease, its result); of a new claim its own times and a null original';

CREATE FUNCTION tradekeep.claim_many(scope text, keys text[], ttl interval DEFAULT NULL,
	at timestamptz DEFAULT NULL) RETURNS boolean[]
	AS 'MODULE_PATHNAME', 'tradekeep_claim_many' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_many(text, text[], interval, timestamptz) IS
'claim() of many keys at once, answers aligned with keys; of a key that comes twice, the second is a duplicate.
Keys are visited in their order, so overlapping batches wait for each other and never deadlock. One bad key refuses the whole batch.';

CREATE FUNCTION tradekeep.claimed(scope text, key text, at timestamptz DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_claimed' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.claimed(text, text, timestamptz) IS
'true when (scope, key) has a live claim that the running statement sees; also on a standby';

CREATE FUNCTION tradekeep.release(scope text, key text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_release' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.release(text, text) IS
'gives (scope, key) free; false when it had no live claim';

CREATE FUNCTION tradekeep.clear_claims(scope text DEFAULT NULL, pattern text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'tradekeep_clear_claims' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.clear_claims(text, text) IS
'gives free the claims of a scope whose key matches a glob pattern as in Redis (* ? [a-z] [^a] \x), null for any; returns how many were live.
With neither argument it clears all scopes, for the level admin only (42501).';

CREATE FUNCTION tradekeep.set_scope(scope text, ttl interval, expiry text DEFAULT 'fixed',
	timeframe tradekeep.timeframe DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_set_scope' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.set_scope(text, interval, text, tradekeep.timeframe) IS
'sets how claims of a scope end, from the next claim on: fixed, ttl after the claim; sliding, ttl after its last duplicate; candle, with the candle of the timeframe in which it began (ttl null).
A null ttl with expiry fixed returns to what is built in: candle 1 hour, publish and signal 24 hours, others none. Anything else raises TK003. For the level admin.';

CREATE FUNCTION tradekeep.claim_lease(scope text, key text, lease interval, ttl interval DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'tradekeep_claim_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_lease(text, text, interval, interval) IS
'claims work that outlives a transaction: a fencing token, or null when somebody holds (scope, key) or it is done.
lease: how long it is yours without complete() or extend_lease(), from a millisecond to 100 years, else TK003; ttl: how long it stays claimed once completed, null for the scope''s own. A lease that ran out goes to the next who asks, with a higher token.';

CREATE FUNCTION tradekeep.extend_lease(scope text, key text, token bigint, lease interval) RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_extend_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.extend_lease(text, text, bigint, interval) IS
'makes a lease last until now + lease, if that is later; TK008 when the token holds it no more';

CREATE FUNCTION tradekeep.complete(scope text, key text, token bigint, result jsonb DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_complete' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.complete(text, text, bigint, jsonb) IS
'ends a lease: the work is done, and (scope, key) stays claimed for its ttl, with the result for claim_or_get().
true, or false when this token had completed it before (nothing is changed then); TK008 when the token holds it no more.';

CREATE FUNCTION tradekeep.release(scope text, key text, token bigint) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_release_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.release(text, text, bigint) IS
'gives a lease back undone; false when the token holds it no more';

CREATE FUNCTION tradekeep.should_process_candle(instrument text, timeframe tradekeep.timeframe,
	at timestamptz DEFAULT NULL, drift interval DEFAULT '60 s', ttl interval DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_should_process_candle' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.should_process_candle(text, tradekeep.timeframe, timestamptz, interval, interval) IS
'true once per candle, and only within drift (0 to 100 years) after the start of the candle that contains at.
Claims instrument:timeframe:candle_start in scope candle, the start in UTC as YYYY-MM-DDTHH:MM:SS; the claim ends ttl after the drift is over. Errors as claim().';

CREATE FUNCTION tradekeep.claim_publish(instrument text, candle_start timestamptz,
	ttl interval DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_claim_publish' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_publish(text, timestamptz, interval) IS
'claims instrument:candle_start in scope publish, the start in UTC as YYYY-MM-DDTHH:MM:SS. Errors as claim(); a fraction of a second raises TK004.';

CREATE FUNCTION tradekeep.should_process_candles(instruments text[], timeframe tradekeep.timeframe,
	at timestamptz DEFAULT NULL, drift interval DEFAULT '60 s', ttl interval DEFAULT NULL) RETURNS boolean[]
	AS 'MODULE_PATHNAME', 'tradekeep_should_process_candles' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.should_process_candles(text[], tradekeep.timeframe, timestamptz, interval, interval) IS
'should_process_candle() of many instruments at once, answers aligned with instruments';

CREATE FUNCTION tradekeep.claim_publish_many(instruments text[], candle_start timestamptz,
	ttl interval DEFAULT NULL) RETURNS boolean[]
	AS 'MODULE_PATHNAME', 'tradekeep_claim_publish_many' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_publish_many(text[], timestamptz, interval) IS
'claim_publish() of many instruments at once, answers aligned with instruments';

