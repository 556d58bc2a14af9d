\echo Use "CREATE EXTENSION tradekeep" to load this file. \quit

-- The schema is ours alone: in one that others own, or may create in, objects of theirs could stand in
-- for ours. CREATE EXTENSION has just made it, or found it.
DO $$
DECLARE
	owner name;
BEGIN
	SELECT r.rolname INTO owner
	FROM pg_catalog.pg_namespace AS n
	JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
	WHERE n.nspname OPERATOR(pg_catalog.=) 'tradekeep'
		AND (NOT r.rolsuper
			OR EXISTS (SELECT FROM pg_catalog.aclexplode(n.nspacl) AS a
				WHERE a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
					AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner)
			OR EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace OPERATOR(pg_catalog.=) n.oid)
			OR EXISTS (SELECT FROM pg_catalog.pg_type AS t WHERE t.typnamespace OPERATOR(pg_catalog.=) n.oid)
			OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.pronamespace OPERATOR(pg_catalog.=) n.oid)
			OR EXISTS (SELECT FROM pg_catalog.pg_operator AS o WHERE o.oprnamespace OPERATOR(pg_catalog.=) n.oid));
	IF FOUND THEN
		RAISE EXCEPTION 'schema tradekeep exists and belongs to "%"', owner
			USING ERRCODE = 'duplicate_schema',
			DETAIL = 'It has to be empty, of a superuser, and closed to others.',
			HINT = 'Drop or rename that schema first.';
	END IF;
END
$$;

-- timeframe: the type of candle lengths and its calendar

CREATE TYPE tradekeep.timeframe;

CREATE FUNCTION tradekeep.timeframe_in(cstring) RETURNS tradekeep.timeframe
	AS 'MODULE_PATHNAME', 'tradekeep_timeframe_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION tradekeep.timeframe_out(tradekeep.timeframe) RETURNS cstring
	AS 'MODULE_PATHNAME', 'tradekeep_timeframe_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION tradekeep.timeframe_recv(internal) RETURNS tradekeep.timeframe
	AS 'MODULE_PATHNAME', 'tradekeep_timeframe_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION tradekeep.timeframe_send(tradekeep.timeframe) RETURNS bytea
	AS 'MODULE_PATHNAME', 'tradekeep_timeframe_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE tradekeep.timeframe (
	INPUT = tradekeep.timeframe_in,
	OUTPUT = tradekeep.timeframe_out,
	RECEIVE = tradekeep.timeframe_recv,
	SEND = tradekeep.timeframe_send,
	LIKE = pg_catalog.int4
);
COMMENT ON TYPE tradekeep.timeframe IS
'length of a candle: 1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M, ordered by length; 1m is a minute, 1M a month';

COMMENT ON FUNCTION tradekeep.timeframe_in(cstring) IS 'text to timeframe; anything but its 16 names raises 22P02';
COMMENT ON FUNCTION tradekeep.timeframe_out(tradekeep.timeframe) IS 'timeframe to text';
COMMENT ON FUNCTION tradekeep.timeframe_recv(internal) IS 'binary input: length in seconds as int4, a month as 2592000';
COMMENT ON FUNCTION tradekeep.timeframe_send(tradekeep.timeframe) IS 'binary output: length in seconds as int4, a month as 2592000';

CREATE CAST (text AS tradekeep.timeframe) WITH INOUT AS ASSIGNMENT;

-- A timeframe is an int4 underneath, so the server's own functions compare it.

CREATE FUNCTION tradekeep.timeframe_lt(tradekeep.timeframe, tradekeep.timeframe) RETURNS boolean
	AS 'int4lt' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION tradekeep.timeframe_le(tradekeep.timeframe, tradekeep.timeframe) RETURNS boolean
	AS 'int4le' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION tradekeep.timeframe_eq(tradekeep.timeframe, tradekeep.timeframe) RETURNS boolean
	AS 'int4eq' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION tradekeep.timeframe_ne(tradekeep.timeframe, tradekeep.timeframe) RETURNS boolean
	AS 'int4ne' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION tradekeep.timeframe_ge(tradekeep.timeframe, tradekeep.timeframe) RETURNS boolean
	AS 'int4ge' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION tradekeep.timeframe_gt(tradekeep.timeframe, tradekeep.timeframe) RETURNS boolean
	AS 'int4gt' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION tradekeep.timeframe_cmp(tradekeep.timeframe, tradekeep.timeframe) RETURNS integer
	AS 'btint4cmp' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION tradekeep.timeframe_hash(tradekeep.timeframe) RETURNS integer
	AS 'hashint4' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION tradekeep.timeframe_hash_extended(tradekeep.timeframe, bigint) RETURNS bigint
	AS 'hashint4extended' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION tradekeep.timeframe_lt(tradekeep.timeframe, tradekeep.timeframe) IS 'implementation of < operator';
COMMENT ON FUNCTION tradekeep.timeframe_le(tradekeep.timeframe, tradekeep.timeframe) IS 'implementation of <= operator';
COMMENT ON FUNCTION tradekeep.timeframe_eq(tradekeep.timeframe, tradekeep.timeframe) IS 'implementation of = operator';
COMMENT ON FUNCTION tradekeep.timeframe_ne(tradekeep.timeframe, tradekeep.timeframe) IS 'implementation of <> operator';
COMMENT ON FUNCTION tradekeep.timeframe_ge(tradekeep.timeframe, tradekeep.timeframe) IS 'implementation of >= operator';
COMMENT ON FUNCTION tradekeep.timeframe_gt(tradekeep.timeframe, tradekeep.timeframe) IS 'implementation of > operator';
COMMENT ON FUNCTION tradekeep.timeframe_cmp(tradekeep.timeframe, tradekeep.timeframe) IS 'less-equal-greater, for btree indexes';
COMMENT ON FUNCTION tradekeep.timeframe_hash(tradekeep.timeframe) IS 'hash';
COMMENT ON FUNCTION tradekeep.timeframe_hash_extended(tradekeep.timeframe, bigint) IS 'hash with a seed';

-- Operators are found by search_path alone, and a bot's does not hold this schema.
-- In pg_catalog they work everywhere, and nobody can put others before them.

CREATE OPERATOR pg_catalog.< (
	LEFTARG = tradekeep.timeframe, RIGHTARG = tradekeep.timeframe, FUNCTION = tradekeep.timeframe_lt,
	COMMUTATOR = OPERATOR(pg_catalog.>), NEGATOR = OPERATOR(pg_catalog.>=),
	RESTRICT = pg_catalog.scalarltsel, JOIN = pg_catalog.scalarltjoinsel
);
CREATE OPERATOR pg_catalog.<= (
	LEFTARG = tradekeep.timeframe, RIGHTARG = tradekeep.timeframe, FUNCTION = tradekeep.timeframe_le,
	COMMUTATOR = OPERATOR(pg_catalog.>=), NEGATOR = OPERATOR(pg_catalog.>),
	RESTRICT = pg_catalog.scalarlesel, JOIN = pg_catalog.scalarlejoinsel
);
CREATE OPERATOR pg_catalog.= (
	LEFTARG = tradekeep.timeframe, RIGHTARG = tradekeep.timeframe, FUNCTION = tradekeep.timeframe_eq,
	COMMUTATOR = OPERATOR(pg_catalog.=), NEGATOR = OPERATOR(pg_catalog.<>),
	RESTRICT = pg_catalog.eqsel, JOIN = pg_catalog.eqjoinsel, HASHES, MERGES
);
CREATE OPERATOR pg_catalog.<> (
	LEFTARG = tradekeep.timeframe, RIGHTARG = tradekeep.timeframe, FUNCTION = tradekeep.timeframe_ne,
	COMMUTATOR = OPERATOR(pg_catalog.<>), NEGATOR = OPERATOR(pg_catalog.=),
	RESTRICT = pg_catalog.neqsel, JOIN = pg_catalog.neqjoinsel
);
CREATE OPERATOR pg_catalog.>= (
	LEFTARG = tradekeep.timeframe, RIGHTARG = tradekeep.timeframe, FUNCTION = tradekeep.timeframe_ge,
	COMMUTATOR = OPERATOR(pg_catalog.<=), NEGATOR = OPERATOR(pg_catalog.<),
	RESTRICT = pg_catalog.scalargesel, JOIN = pg_catalog.scalargejoinsel
);
CREATE OPERATOR pg_catalog.> (
	LEFTARG = tradekeep.timeframe, RIGHTARG = tradekeep.timeframe, FUNCTION = tradekeep.timeframe_gt,
	COMMUTATOR = OPERATOR(pg_catalog.<), NEGATOR = OPERATOR(pg_catalog.<=),
	RESTRICT = pg_catalog.scalargtsel, JOIN = pg_catalog.scalargtjoinsel
);

CREATE OPERATOR CLASS tradekeep.timeframe_ops DEFAULT FOR TYPE tradekeep.timeframe USING btree AS
	OPERATOR 1 pg_catalog.<,
	OPERATOR 2 pg_catalog.<=,
	OPERATOR 3 pg_catalog.=,
	OPERATOR 4 pg_catalog.>=,
	OPERATOR 5 pg_catalog.>,
	FUNCTION 1 tradekeep.timeframe_cmp(tradekeep.timeframe, tradekeep.timeframe),
	FUNCTION 2 pg_catalog.btint4sortsupport(internal),
	FUNCTION 4 pg_catalog.btequalimage(oid);

CREATE OPERATOR CLASS tradekeep.timeframe_hash_ops DEFAULT FOR TYPE tradekeep.timeframe USING hash AS
	OPERATOR 1 pg_catalog.=,
	FUNCTION 1 tradekeep.timeframe_hash(tradekeep.timeframe),
	FUNCTION 2 tradekeep.timeframe_hash_extended(tradekeep.timeframe, bigint);

CREATE FUNCTION tradekeep.timeframe_interval(tradekeep.timeframe) RETURNS interval
	AS 'MODULE_PATHNAME', 'tradekeep_timeframe_interval' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.timeframe_interval(tradekeep.timeframe) IS
'length as an interval, in hours up to 1w so that adding it never leaves the UTC grid; 1M is one month';

CREATE CAST (tradekeep.timeframe AS interval) WITH FUNCTION tradekeep.timeframe_interval(tradekeep.timeframe);

CREATE FUNCTION tradekeep.candle_start(timeframe tradekeep.timeframe, ts timestamptz) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'tradekeep_candle_start' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candle_start(tradekeep.timeframe, timestamptz) IS
'start of the candle that contains ts, on the UTC grid: days at midnight, weeks on Monday, months on the 1st, 3d counted from 1970-01-01; TK004 outside 1900 to 2200';

CREATE FUNCTION tradekeep.candle_end(timeframe tradekeep.timeframe, ts timestamptz) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'tradekeep_candle_end' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candle_end(tradekeep.timeframe, timestamptz) IS
'end of the candle that contains ts, which is the start of the next one; TK004 outside 1900 to 2200';

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

-- signal: near-duplicate claims, by symbol, direction and price

CREATE DOMAIN tradekeep.signal_direction AS text COLLATE "C" CHECK (VALUE IN ('LONG', 'SHORT'));
COMMENT ON DOMAIN tradekeep.signal_direction IS 'LONG or SHORT';
CREATE DOMAIN tradekeep.signal_price AS double precision CHECK (VALUE > 0 AND VALUE < 'Infinity');
COMMENT ON DOMAIN tradekeep.signal_price IS 'price: finite and above 0';

CREATE TABLE tradekeep.signal (
	symbol tradekeep.key_name NOT NULL,
	direction tradekeep.signal_direction NOT NULL,
	price tradekeep.signal_price NOT NULL,
	signal_id bigint NOT NULL,
	sent_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	sweep_after timestamptz NOT NULL,
	data jsonb,
	PRIMARY KEY (symbol, direction, price, signal_id),
	CHECK (sent_at < expires_at AND expires_at <= sweep_after AND sweep_after < 'infinity')
) USING heap;
COMMENT ON TABLE tradekeep.signal IS
'signals that were sent, live while expires_at lies in the future; expired rows count as absent and wait for the sweeper';
COMMENT ON COLUMN tradekeep.signal.sweep_after IS
'when the sweeper may take the row: the later of expires_at and the time of writing + ttl';

CREATE INDEX signal_sweep_after_idx ON tradekeep.signal (sweep_after);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.signal', '');

CREATE SEQUENCE tradekeep.signal_id;
COMMENT ON SEQUENCE tradekeep.signal_id IS 'numbers of signals, which only grow';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.signal_id', '');

CREATE VIEW tradekeep.live_signals AS
	SELECT symbol, direction, price, signal_id, sent_at, expires_at,
		expires_at - statement_timestamp() AS remaining, data
	FROM tradekeep.signal
	WHERE expires_at > statement_timestamp() AND sweep_after > statement_timestamp();
COMMENT ON VIEW tradekeep.live_signals IS 'signals that are live now';

CREATE FUNCTION tradekeep.claim_signal(symbol text, direction text, entry_price double precision,
	tolerance double precision DEFAULT 0.0005, ttl interval DEFAULT '24 hours', data jsonb DEFAULT NULL,
	at timestamptz DEFAULT NULL,
	OUT claimed boolean, OUT signal_id bigint, OUT price double precision, OUT sent_at timestamptz,
	OUT expires_at timestamptz)
	AS 'MODULE_PATHNAME', 'tradekeep_claim_signal' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_signal(text, text, double precision, double precision, interval, jsonb, timestamptz) IS
'claims a signal unless a live one of the same symbol and direction has a price q with |entry_price - q| <= tolerance * q; of a duplicate, the nearest such original is returned.
symbol 1 to 512 bytes, else TK002; direction LONG or SHORT in any case, entry_price finite and above 0, tolerance a fraction from 0 to below 1, else TK007; ttl as claim(), null for the ttl of scope signal; at as claim().
A duplicate writes nothing and takes no lock. What is new waits while another transaction holds an uncommitted signal of the same symbol and direction.';

CREATE FUNCTION tradekeep.claim_signals(signals jsonb, tolerance double precision DEFAULT 0.0005,
	ttl interval DEFAULT '24 hours', at timestamptz DEFAULT NULL,
	OUT claimed boolean, OUT signal_id bigint, OUT price double precision, OUT sent_at timestamptz,
	OUT expires_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'tradekeep_claim_signals' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_signals(jsonb, double precision, interval, timestamptz) IS
'claim_signal() for [{"symbol": ..., "direction": ..., "entry_price": ..., "data": ...}, ...], in order and also against each other; a row a signal, in input order.
Overlapping batches wait for each other and never deadlock. Anything but an array of such objects raises TK006; else errors as claim_signal(). One bad signal refuses the whole batch.';

CREATE FUNCTION tradekeep.clear_signals(symbol text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'tradekeep_clear_signals' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.clear_signals(text) IS
'forgets the signals of a symbol; returns how many were live. Without a symbol it clears all, for the level admin only (42501)';

-- candle: OHLCV bars

CREATE TABLE tradekeep.candle (
	symbol text COLLATE "C" NOT NULL,
	timeframe tradekeep.timeframe NOT NULL,
	ts timestamptz NOT NULL,
	open double precision NOT NULL,
	high double precision NOT NULL,
	low double precision NOT NULL,
	close double precision NOT NULL,
	volume double precision NOT NULL,
	closed boolean NOT NULL DEFAULT true,
	sources integer,
	PRIMARY KEY (symbol, timeframe, ts),
	CONSTRAINT candle_symbol CHECK (octet_length(symbol) BETWEEN 1 AND 512),
	CONSTRAINT candle_grid CHECK (ts = tradekeep.candle_start(timeframe, ts)),
	-- NaN sorts above infinity, so every comparison with an upper bound refuses it.
	CONSTRAINT candle_prices CHECK (low <= open AND low <= close AND open <= high AND close <= high
		AND low > '-Infinity' AND high < 'Infinity'),
	CONSTRAINT candle_volume CHECK (volume >= 0 AND volume < 'Infinity'),
	CONSTRAINT candle_sources CHECK (sources > 0)
) USING heap;
COMMENT ON TABLE tradekeep.candle IS
'one bar per symbol, timeframe and start; final once closed';
COMMENT ON COLUMN tradekeep.candle.ts IS 'start of the candle, on the UTC grid of its timeframe';
COMMENT ON COLUMN tradekeep.candle.sources IS
'null: supplied; else derived from so many finer candles';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle', '');

CREATE FUNCTION tradekeep.keep_newest_candle() RETURNS trigger
	AS 'MODULE_PATHNAME', 'tradekeep_keep_newest_candle' LANGUAGE C;
COMMENT ON FUNCTION tradekeep.keep_newest_candle() IS
'drops an update that would put a partial bar over a final or newer one, a derived over a supplied one, or nothing new';

CREATE TRIGGER keep_newest_candle BEFORE UPDATE ON tradekeep.candle
	FOR EACH ROW EXECUTE FUNCTION tradekeep.keep_newest_candle();
-- Also for what logical replication applies.
ALTER TABLE tradekeep.candle ENABLE ALWAYS TRIGGER keep_newest_candle;

CREATE FUNCTION tradekeep.upsert_candle(symbol text, timeframe tradekeep.timeframe, ts timestamptz,
	open double precision, high double precision, low double precision, close double precision,
	volume double precision, closed boolean DEFAULT true) RETURNS text
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_candle' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_candle(text, tradekeep.timeframe, timestamptz, double precision,
	double precision, double precision, double precision, double precision, boolean) IS
'stores a bar: inserted, updated, unchanged (nothing was written), or ignored: a partial bar after the final one, or one with a smaller volume, lower high or higher low than the partial stored.
symbol 1 to 512 bytes, else TK002; ts the start of a candle in UTC from 1900 to 2200, else TK004; finite low <= open, close <= high and volume >= 0, else TK005.';

CREATE FUNCTION tradekeep.upsert_candles(symbol text, timeframe tradekeep.timeframe, ohlcv jsonb,
	closed boolean DEFAULT true,
	OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT ignored bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_candles_json' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_candles(text, tradekeep.timeframe, jsonb, boolean) IS
'upsert_candle() for [[ms, open, high, low, close, volume], ...] as ccxt gives it, ms since 1970 UTC, numbers also as strings; all rows or none.
Anything but an array of six numbers a row raises TK006; else errors as upsert_candle(), with the number of the row.';

CREATE FUNCTION tradekeep.upsert_candles(symbol text[], timeframe tradekeep.timeframe[], ts timestamptz[],
	open double precision[], high double precision[], low double precision[], close double precision[],
	volume double precision[], closed boolean[] DEFAULT NULL,
	OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT ignored bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_candles_arrays' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_candles(text[], tradekeep.timeframe[], timestamptz[], double precision[],
	double precision[], double precision[], double precision[], double precision[], boolean[]) IS
'upsert_candle() for bars given as columns, closed null for all final; all rows or none. A bar that comes twice counts twice, in the order given.
Arrays of different lengths and null elements raise TK006; else errors as upsert_candle(), with the number of the row.';

CREATE FUNCTION tradekeep.candles(symbol text, timeframe tradekeep.timeframe,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, max_rows bigint DEFAULT NULL)
	RETURNS SETOF tradekeep.candle LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT * FROM tradekeep.candle AS c
	WHERE c.symbol = candles.symbol AND c.timeframe = candles.timeframe
		AND c.ts >= coalesce(since, '-infinity') AND c.ts < coalesce(until, 'infinity')
	ORDER BY c.ts
	LIMIT max_rows;
END;
COMMENT ON FUNCTION tradekeep.candles(text, tradekeep.timeframe, timestamptz, timestamptz, bigint) IS
'stored bars that start at since or later and before until, oldest first; null for no bound. At most max_rows of them, the oldest';

CREATE FUNCTION tradekeep.latest_candles(symbol text, timeframe tradekeep.timeframe, n bigint)
	RETURNS SETOF tradekeep.candle LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	SELECT newest.* FROM (
		SELECT * FROM tradekeep.candle AS c
		WHERE c.symbol = latest_candles.symbol AND c.timeframe = latest_candles.timeframe
		ORDER BY c.ts DESC
		LIMIT n) AS newest
	ORDER BY newest.ts;
END;
COMMENT ON FUNCTION tradekeep.latest_candles(text, tradekeep.timeframe, bigint) IS
'the newest n stored bars, oldest first; the last one may still be open (closed = false)';

-- metrics: how the installation is doing

CREATE FUNCTION tradekeep.library_version() RETURNS text
	AS 'MODULE_PATHNAME', 'tradekeep_library_version' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.library_version() IS 'version of the loaded library';

CREATE FUNCTION tradekeep.preloaded() RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_preloaded_now' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION tradekeep.preloaded() IS
'true when the library came in by shared_preload_libraries';

CREATE FUNCTION tradekeep.counters(OUT scope text, OUT claimed bigint, OUT released bigint,
	OUT duplicates bigint, OUT errors bigint) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'tradekeep_counters' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION tradekeep.counters() IS
'the counters of this database as they are kept: a row a scope, a null scope for the signals; no row when the library is not preloaded';

CREATE FUNCTION tradekeep.reset_stats() RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_reset_stats' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.reset_stats() IS 'sets the counters of this database to 0. For the level admin';

-- Where nothing is counted the answer is null, not 0.
CREATE FUNCTION tradekeep.claim_stats(OUT scope text, OUT claimed bigint, OUT released bigint,
	OUT duplicates_prevented bigint, OUT duplicate_rate double precision, OUT errors bigint)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT c.scope, c.claimed, c.released, c.duplicates,
		c.duplicates / nullif(c.claimed + c.duplicates, 0)::double precision, c.errors
	FROM tradekeep.counters() AS c
	WHERE c.scope IS NOT NULL
	UNION ALL
	SELECT NULL, NULL, NULL, NULL, NULL, NULL WHERE NOT tradekeep.preloaded()
	ORDER BY 1;
END;
COMMENT ON FUNCTION tradekeep.claim_stats() IS
'per scope since reset_stats(): claims committed and released, duplicates and their share of all answers (0 to 1), errors; scopes beyond the first 192 of a server together as (other).
One row of nulls when the library is not preloaded.';

CREATE FUNCTION tradekeep.signal_stats(OUT live bigint, OUT claimed_total bigint,
	OUT duplicates_prevented bigint, OUT duplicate_rate double precision)
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT l.live,
		CASE WHEN tradekeep.preloaded() THEN coalesce(c.claimed, 0) END,
		CASE WHEN tradekeep.preloaded() THEN coalesce(c.duplicates, 0) END,
		c.duplicates / nullif(c.claimed + c.duplicates, 0)::double precision
	FROM (SELECT count(*) AS live FROM tradekeep.live_signals) AS l
	LEFT JOIN tradekeep.counters() AS c ON c.scope IS NULL;
END;
COMMENT ON FUNCTION tradekeep.signal_stats() IS
'signals live now and, since reset_stats(), how many were claimed and how many duplicates were prevented, with their share of all answers (0 to 1, null without answers); null when the library is not preloaded';

CREATE FUNCTION tradekeep.health(OUT extension_version text, OUT library_version text,
	OUT server_version text, OUT preloaded boolean, OUT standby boolean, OUT synchronous_commit text,
	OUT started_at timestamptz, OUT answered_at timestamptz)
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT
		(SELECT e.extversion FROM pg_catalog.pg_extension AS e WHERE e.extname = 'tradekeep'),
		tradekeep.library_version(),
		current_setting('server_version'),
		tradekeep.preloaded(),
		pg_is_in_recovery(),
		current_setting('synchronous_commit'),
		pg_postmaster_start_time(),
		clock_timestamp();
END;
COMMENT ON FUNCTION tradekeep.health() IS
'one row for a health probe; cheap, and also on a standby. What is wrong, and how to mend it, is told by doctor()';

CREATE FUNCTION tradekeep.doctor(OUT check_name text, OUT status text, OUT detail text, OUT remedy text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT c.check_name,
		CASE WHEN c.passed THEN 'ok' ELSE c.severity END,
		CASE WHEN c.passed THEN c.good ELSE c.bad END,
		CASE WHEN NOT c.passed THEN c.remedy END
	FROM tradekeep.health() AS h,
	LATERAL (VALUES
		('versions', h.extension_version = h.library_version, 'warning',
			format('extension and library are %s', h.library_version),
			format('the extension is %s, the library %s', h.extension_version, h.library_version),
			'ALTER EXTENSION tradekeep UPDATE, then let sessions reconnect'),
		('preload', h.preloaded, 'warning',
			'the library is preloaded',
			'the library is not preloaded: nothing is counted, and expired rows are not swept by themselves',
			'add tradekeep to shared_preload_libraries and restart the server'),
		('server', NOT h.standby, 'warning',
			'this is a primary',
			'this is a standby: reading functions work, writing ones raise 25006',
			'connect bots that claim to the primary'),
		('synchronous_commit', h.synchronous_commit <> 'off', 'error',
			format('synchronous_commit is %s', h.synchronous_commit),
			'synchronous_commit is off: after a crash, claims of the last moments are granted again',
			'SET synchronous_commit = on where bots claim: ALTER ROLE ... SET synchronous_commit = on'),
		('fsync', current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean, 'error',
			'fsync and full_page_writes are on',
			'fsync or full_page_writes is off: a crash of the machine may lose anything',
			'set fsync = on and full_page_writes = on in postgresql.conf'),
		('role', has_table_privilege('tradekeep.claim'::regclass, 'INSERT')
			AND has_function_privilege('tradekeep.claim'::regproc, 'EXECUTE'),
			'warning',
			format('%s may claim', current_user),
			format('%s may read, not claim', current_user),
			format('SELECT tradekeep.grant_access(%L, ''writer'') as the owner of the extension', current_user))
	) AS c(check_name, passed, severity, good, bad, remedy);
END;
COMMENT ON FUNCTION tradekeep.doctor() IS
'checks the installation as the current role sees it: a row a check, status ok, warning or error, and what to do about it';

-- access: nothing for PUBLIC, and three levels to open it

CREATE TABLE tradekeep.access (
	role name NOT NULL PRIMARY KEY,
	level text COLLATE "C" NOT NULL CHECK (level IN ('reader', 'writer', 'admin'))
) USING heap;
COMMENT ON TABLE tradekeep.access IS
'what grant_access() granted; update scripts grant it again, on new objects too';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.access', '');

-- What reads is STABLE or IMMUTABLE, what writes is VOLATILE; only the exceptions have names.
CREATE VIEW tradekeep.function_access AS
	SELECT p.oid::regprocedure AS function,
		CASE
			WHEN p.proname IN ('grant_access', 'revoke_access', 'apply_access', 'type_names', 'keep_newest_candle')
				THEN 'owner'
			WHEN p.proname IN ('set_scope', 'reset_stats') THEN 'admin'
			WHEN p.provolatile = 'v' THEN 'writer'
			ELSE 'reader'
		END AS level
	FROM pg_catalog.pg_proc AS p
	WHERE p.pronamespace = 'tradekeep'::regnamespace;
COMMENT ON VIEW tradekeep.function_access IS 'the lowest level that may call each function';

CREATE FUNCTION tradekeep.type_names() RETURNS text
	LANGUAGE sql STABLE
RETURN (SELECT string_agg(t.oid::regtype::text, ', ') FROM pg_catalog.pg_type AS t
	WHERE t.typnamespace = 'tradekeep'::regnamespace AND t.typtype IN ('b', 'd') AND t.typelem = 0);
COMMENT ON FUNCTION tradekeep.type_names() IS 'the types of the extension, as GRANT and REVOKE take them';

CREATE FUNCTION tradekeep.apply_access(role name, level text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	levels CONSTANT text[] := '{reader,writer,admin}';
	rank CONSTANT integer := array_position(levels, level);
	callable record;
BEGIN
	EXECUTE format('GRANT USAGE ON SCHEMA tradekeep TO %I', role);
	EXECUTE format('GRANT USAGE ON TYPE %s TO %I', tradekeep.type_names(), role);
	EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA tradekeep TO %I', role);
	IF rank >= 2 THEN
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON tradekeep.claim, tradekeep.signal, tradekeep.candle TO %I', role);
		EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA tradekeep TO %I', role);
	END IF;
	IF rank >= 3 THEN
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON tradekeep.scope TO %I', role);
		EXECUTE format('GRANT TRUNCATE ON tradekeep.claim, tradekeep.signal, tradekeep.candle TO %I', role);
	END IF;
	FOR callable IN
		SELECT f.function FROM tradekeep.function_access AS f
		WHERE f.level = ANY (levels[:rank])
	LOOP
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', callable.function, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION tradekeep.apply_access(name, text) IS
'grants a role all that a level may do, without remembering it; update scripts call it for every row of tradekeep.access';

CREATE FUNCTION tradekeep.revoke_access(role name) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- Of a role that was dropped, only what is remembered is left.
	IF EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = role) THEN
		EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tradekeep FROM %I', role);
		EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA tradekeep FROM %I', role);
		EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA tradekeep FROM %I', role);
		EXECUTE format('REVOKE ALL ON TYPE %s FROM %I', tradekeep.type_names(), role);
		EXECUTE format('REVOKE ALL ON SCHEMA tradekeep FROM %I', role);
	END IF;
	DELETE FROM tradekeep.access AS a WHERE a.role = revoke_access.role;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION tradekeep.revoke_access(name) IS
'takes from a role all that grant_access() gave it; false when nothing was remembered. For the owner of the extension';

CREATE FUNCTION tradekeep.grant_access(role name, level text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF level IS NULL OR level NOT IN ('reader', 'writer', 'admin') THEN
		RAISE EXCEPTION 'invalid access level: %', quote_nullable(level)
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Levels are reader, writer and admin.';
	END IF;
	-- Also keeps PUBLIC out, which GRANT would take for a role of that name.
	IF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = role) THEN
		RAISE EXCEPTION 'role % does not exist', quote_nullable(role)
			USING ERRCODE = 'undefined_object';
	END IF;
	-- A lower level than before takes away what the higher one gave.
	PERFORM tradekeep.revoke_access(role);
	PERFORM tradekeep.apply_access(role, level);
	INSERT INTO tradekeep.access VALUES (role, level);
END
$$;
COMMENT ON FUNCTION tradekeep.grant_access(name, text) IS
'opens tradekeep to a role: reader looks, writer also claims and stores, admin also configures and clears everything.
Remembered, and granted again after updates. For the owner of the extension; an unknown level raises 22023, an unknown role 42704.';

REVOKE ALL ON ALL TABLES IN SCHEMA tradekeep FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA tradekeep FROM PUBLIC;
REVOKE ALL ON TYPE tradekeep.timeframe, tradekeep.scope_name, tradekeep.key_name,
	tradekeep.signal_direction, tradekeep.signal_price FROM PUBLIC;

