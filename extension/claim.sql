-- claim: exactly-once claims on a key

CREATE TABLE tradekeep.claim (
	scope text COLLATE "C" NOT NULL CHECK (octet_length(scope) BETWEEN 1 AND 63),
	key text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 512),
	claimed_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	sweep_after timestamptz NOT NULL,
	data jsonb,
	PRIMARY KEY (scope, key),
	CHECK (claimed_at < expires_at AND expires_at <= sweep_after AND sweep_after < 'infinity')
) USING heap;
COMMENT ON TABLE tradekeep.claim IS
'claims, live while expires_at lies in the future; expired rows count as absent and wait for the sweeper';
COMMENT ON COLUMN tradekeep.claim.sweep_after IS
'when the sweeper may take the row: the later of expires_at and the time of writing + ttl';

CREATE INDEX claim_sweep_after_idx ON tradekeep.claim (sweep_after);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.claim', '');

CREATE TABLE tradekeep.scope (
	scope text COLLATE "C" NOT NULL PRIMARY KEY CHECK (octet_length(scope) BETWEEN 1 AND 63),
	ttl interval NOT NULL CHECK (ttl > interval '0' AND ttl <= interval '36525 days')
) USING heap;
COMMENT ON TABLE tradekeep.scope IS
'scopes whose ttl was set; without a row, candle has 1 hour, publish and signal have 24 hours, others none';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.scope', '');

-- An expired row may lie there unswept. sweep_after is never before expires_at, and has the index.
CREATE VIEW tradekeep.live_claims AS
	SELECT scope, key, claimed_at, expires_at, expires_at - statement_timestamp() AS remaining, data
	FROM tradekeep.claim
	WHERE expires_at > statement_timestamp() AND sweep_after > statement_timestamp();
COMMENT ON VIEW tradekeep.live_claims IS 'claims that are live now';

CREATE FUNCTION tradekeep.claim(scope text, key text, ttl interval DEFAULT NULL,
	data jsonb DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_claim' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim(text, text, interval, jsonb, timestamptz) IS
'true: (scope, key) is yours once the transaction commits; false: somebody has it.
scope 1 to 63 bytes, else TK001; key 1 to 512 bytes, else TK002; ttl above 0 up to 100 years, else TK003, null for the scope''s own; at null for the clock, else from 1900 to 2200, else TK004.
A duplicate writes nothing. Waits while another transaction holds an uncommitted claim on the key.';

CREATE FUNCTION tradekeep.claim_or_get(scope text, key text, ttl interval DEFAULT NULL,
	data jsonb DEFAULT NULL, at timestamptz DEFAULT NULL,
	OUT claimed boolean, OUT claimed_at timestamptz, OUT expires_at timestamptz, OUT original jsonb)
	AS 'MODULE_PATHNAME', 'tradekeep_claim_or_get' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_or_get(text, text, interval, jsonb, timestamptz) IS
'claim(), and of a duplicate the original''s times and data; of a new claim its own times and a null original';

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

CREATE FUNCTION tradekeep.set_scope(scope text, ttl interval) RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_set_scope' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.set_scope(text, interval) IS
'sets how long claims of a scope live when none is given with the claim; null returns to what is built in (candle 1 hour, publish and signal 24 hours, others none). For the level admin.';

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

