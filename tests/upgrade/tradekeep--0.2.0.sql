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

CREATE FUNCTION tradekeep.ingest_kline(message jsonb, symbol text DEFAULT NULL,
	timeframe tradekeep.timeframe DEFAULT NULL, at timestamptz DEFAULT NULL,
	OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT ignored bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_ingest_kline' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.ingest_kline(jsonb, text, tradekeep.timeframe, timestamptz) IS
'upsert_candle() for the bars of one message as it came: a kline of Binance''s websocket (bare or in the envelope of a combined stream) or its REST rows, of Bybit v5''s websocket or a REST page, or ccxt''s [[ms, open, high, low, close, volume], ...]; all bars or none.
symbol: under which they are stored, null for the message''s own; timeframe: of rows that do not say it. A websocket''s flag says whether a bar is closed; a row of a page is closed when its candle was over at the time the page was made: at, else what the page says, else now.
Other shapes, and an interval other than timeframe, raise TK006; else errors as upsert_candle(), with the number of the bar.';

CREATE FUNCTION tradekeep.ingest_klines(messages jsonb[], symbol text DEFAULT NULL,
	timeframe tradekeep.timeframe DEFAULT NULL, at timestamptz DEFAULT NULL,
	OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT ignored bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_ingest_klines' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.ingest_klines(jsonb[], text, tradekeep.timeframe, timestamptz) IS
'ingest_kline() of many messages at once; all bars or none';

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


CREATE TYPE tradekeep.filled_candle AS (symbol text, timeframe tradekeep.timeframe, ts timestamptz,
	open double precision, high double precision, low double precision, close double precision,
	volume double precision, closed boolean, filled boolean);
COMMENT ON TYPE tradekeep.filled_candle IS 'a row of candles_filled()';

CREATE FUNCTION tradekeep.candles_filled(symbol text, timeframe tradekeep.timeframe,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS SETOF tradekeep.filled_candle
	AS 'MODULE_PATHNAME', 'tradekeep_candles_filled' LANGUAGE C STABLE PARALLEL SAFE ROWS 1000;
COMMENT ON FUNCTION tradekeep.candles_filled(text, tradekeep.timeframe, timestamptz, timestamptz) IS
'candles(), and for each that is missing in between a bar without volume at the last close, filled = true; also before the first, at the close of the last one before since, and behind the last until the candle that is open now, if there is an until';

CREATE FUNCTION tradekeep.candle_gaps(symbol text, timeframe tradekeep.timeframe,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	OUT gap_start timestamptz, OUT gap_end timestamptz, OUT missing bigint) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'tradekeep_candle_gaps' LANGUAGE C STABLE PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION tradekeep.candle_gaps(text, tradekeep.timeframe, timestamptz, timestamptz) IS
'what is missing: from the start of the first missing candle to the start of the next one that is stored, and how many. Between the first and the last stored bar, or from since and until, as far as these are given; the candle that is open now is not missing yet';

CREATE FUNCTION tradekeep.count_candles(timeframe tradekeep.timeframe, since timestamptz, until timestamptz)
	RETURNS bigint AS 'MODULE_PATHNAME', 'tradekeep_count_candles'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.count_candles(tradekeep.timeframe, timestamptz, timestamptz) IS
'how many candles of a timeframe start at since or later and before until; times from 1900 to 2200, else TK004';

-- One descent of the index for each symbol and timeframe, and one pass to count.
CREATE FUNCTION tradekeep.candle_stats(OUT symbol text, OUT timeframe tradekeep.timeframe,
	OUT candles bigint, OUT first timestamptz, OUT last timestamptz, OUT missing bigint, OUT bytes bigint)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	SELECT s.symbol, s.timeframe, s.candles, s.first, s.last,
		tradekeep.count_candles(s.timeframe, s.first, s.last) + 1 - s.candles,
		(pg_total_relation_size('tradekeep.candle'::regclass) * s.candles / sum(s.candles) OVER ())::bigint
	FROM (
		SELECT c.symbol, c.timeframe, count(*) AS candles, min(c.ts) AS first, max(c.ts) AS last
		FROM tradekeep.candle AS c
		GROUP BY c.symbol, c.timeframe) AS s
	ORDER BY s.symbol, s.timeframe;
END;
COMMENT ON FUNCTION tradekeep.candle_stats() IS
'per symbol and timeframe: bars stored, the first and the last start, how many are missing between them, and their share of the table''s size. Counts every bar';

CREATE FUNCTION tradekeep.storage_stats(OUT relation regclass, OUT rows_estimate bigint, OUT dead_rows bigint,
	OUT table_bytes bigint, OUT index_bytes bigint, OUT total_bytes bigint, OUT last_vacuum timestamptz)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 20
BEGIN ATOMIC
	SELECT c.oid::regclass, greatest(c.reltuples, 0)::bigint, pg_stat_get_dead_tuples(c.oid),
		pg_table_size(c.oid), pg_indexes_size(c.oid), pg_total_relation_size(c.oid),
		greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid))
	FROM pg_catalog.pg_class AS c
	WHERE c.relnamespace = 'tradekeep'::regnamespace AND c.relkind = 'r'
	ORDER BY pg_total_relation_size(c.oid) DESC, c.relname;
END;
COMMENT ON FUNCTION tradekeep.storage_stats() IS
'the tables of tradekeep, largest first: rows by the last vacuum or analyze, dead rows, bytes with TOAST, of the indexes, and of all, and when it was vacuumed last';

CREATE TABLE tradekeep.tick (
	symbol tradekeep.key_name NOT NULL,
	timeframe tradekeep.timeframe NOT NULL,
	ts timestamptz NOT NULL,
	id tradekeep.key_name NOT NULL,
	price double precision NOT NULL,
	amount double precision NOT NULL,
	sweep_after timestamptz NOT NULL,
	PRIMARY KEY (symbol, timeframe, ts, id),
	CHECK (price > '-Infinity' AND price < 'Infinity' AND amount >= 0 AND amount < 'Infinity'
		AND sweep_after >= ts AND sweep_after < 'infinity')
) USING heap;
COMMENT ON TABLE tradekeep.tick IS
'public trades of which upsert_ticks() makes candles of a timeframe; they go once their candle is over and its grace has passed';
COMMENT ON COLUMN tradekeep.tick.sweep_after IS
'when the sweeper may take the row: grace after the later of the end of its candle and the time of writing';

CREATE INDEX tick_sweep_after_idx ON tradekeep.tick (sweep_after);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.tick', '');

CREATE FUNCTION tradekeep.upsert_ticks(symbol text, timeframe tradekeep.timeframe, ticks jsonb,
	grace interval DEFAULT '1 hour',
	OUT inserted bigint, OUT known bigint, OUT late bigint, OUT candles bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_ticks_json' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_ticks(text, tradekeep.timeframe, jsonb, interval) IS
'stores public trades, [[ms, id, price, amount], ...] or ccxt''s trade objects, and makes their candles from all that are stored: open and close by time and id, all-digit ids as numbers; closed once a later candle has a tick. The order, the splitting and the repetition of a stream make no difference.
inserted: ticks that are new; known: that were sent before; late: left out, because their candle''s ticks are gone; candles: how many were written. Ticks stay until grace (1 ms to 100 years) after the end of their candle, or after now if that is later. A supplied candle stays as it is.
Anything else than such an array raises TK006; an id 1 to 512 bytes, else TK002; times from 1900 to 2200, else TK004; a finite price, amount >= 0, else TK005. All ticks or none.';

CREATE FUNCTION tradekeep.upsert_ticks(symbol text, timeframe tradekeep.timeframe, ts timestamptz[], id text[],
	price double precision[], amount double precision[], grace interval DEFAULT '1 hour',
	OUT inserted bigint, OUT known bigint, OUT late bigint, OUT candles bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_ticks_arrays' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_ticks(text, tradekeep.timeframe, timestamptz[], text[], double precision[],
	double precision[], interval) IS
'upsert_ticks() for ticks given as columns; arrays of different lengths and null elements raise TK006';

CREATE SEQUENCE tradekeep.correction_id;
COMMENT ON SEQUENCE tradekeep.correction_id IS 'numbers of corrections, which only grow';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.correction_id', '');

CREATE TABLE tradekeep.candle_correction (
	correction_id bigint NOT NULL PRIMARY KEY DEFAULT nextval('tradekeep.correction_id'),
	corrected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	symbol text COLLATE "C" NOT NULL,
	timeframe tradekeep.timeframe NOT NULL,
	ts timestamptz NOT NULL,
	old_open double precision NOT NULL,
	old_high double precision NOT NULL,
	old_low double precision NOT NULL,
	old_close double precision NOT NULL,
	old_volume double precision NOT NULL,
	new_open double precision NOT NULL,
	new_high double precision NOT NULL,
	new_low double precision NOT NULL,
	new_close double precision NOT NULL,
	new_volume double precision NOT NULL
) USING heap;
COMMENT ON TABLE tradekeep.candle_correction IS
'final bars that were replaced by other final bars, as they were and as they are; the sweeper keeps the newest 10,000';

CREATE INDEX candle_correction_corrected_at_idx ON tradekeep.candle_correction (corrected_at);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle_correction', '');

CREATE FUNCTION tradekeep.check_keep(keep interval) RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_check_keep' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.check_keep(interval) IS
'raises TK003 unless keep is from a millisecond to 100 years';

CREATE TABLE tradekeep.candle_retention (
	timeframe tradekeep.timeframe NOT NULL PRIMARY KEY,
	keep interval NOT NULL CHECK (keep > interval '0')
) USING heap;
COMMENT ON TABLE tradekeep.candle_retention IS 'what set_candle_retention() was told';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle_retention', '');

CREATE FUNCTION tradekeep.set_candle_retention(timeframe tradekeep.timeframe, keep interval) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF timeframe IS NULL THEN
		RAISE EXCEPTION 'timeframe must not be null' USING ERRCODE = 'null_value_not_allowed';
	ELSIF keep IS NULL THEN
		DELETE FROM tradekeep.candle_retention AS r WHERE r.timeframe = set_candle_retention.timeframe;
		RETURN;
	END IF;
	PERFORM tradekeep.check_keep(keep);
	INSERT INTO tradekeep.candle_retention VALUES (timeframe, keep)
		ON CONFLICT ON CONSTRAINT candle_retention_pkey DO UPDATE SET keep = excluded.keep;
END
$$;
COMMENT ON FUNCTION tradekeep.set_candle_retention(tradekeep.timeframe, interval) IS
'lets the sweeper delete candles of a timeframe that began keep or more ago, months by the calendar in UTC; null keeps them for ever. keep: a millisecond to 100 years, else TK003. For the level admin';

-- In key order, as everything that touches many candles.
CREATE FUNCTION tradekeep.cleanup_old_candles(keep interval, timeframe tradekeep.timeframe DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	cutoff timestamptz;
	deleted bigint;
BEGIN
	PERFORM tradekeep.check_keep(keep);
	cutoff := (statement_timestamp() AT TIME ZONE 'UTC' - keep) AT TIME ZONE 'UTC';
	WITH old AS MATERIALIZED (
		SELECT c.ctid AS id FROM tradekeep.candle AS c
		WHERE c.ts <= cutoff AND (cleanup_old_candles.timeframe IS NULL OR c.timeframe = cleanup_old_candles.timeframe)
		ORDER BY c.symbol, c.timeframe, c.ts
		FOR UPDATE)
	DELETE FROM tradekeep.candle AS c WHERE c.ctid = ANY (ARRAY(SELECT id FROM old));
	GET DIAGNOSTICS deleted = ROW_COUNT;
	RETURN deleted;
END
$$;
COMMENT ON FUNCTION tradekeep.cleanup_old_candles(interval, tradekeep.timeframe) IS
'deletes the candles of a timeframe, or of all, that began keep or more ago, in one transaction, and returns how many. keep: a millisecond to 100 years, else TK003. For the level admin';

CREATE TABLE tradekeep.candle_notify (
	timeframe tradekeep.timeframe NOT NULL PRIMARY KEY
) USING heap;
COMMENT ON TABLE tradekeep.candle_notify IS 'the timeframes of which NOTIFY tells the closing of candles';

-- Only while a timeframe stands there do statements pay for the triggers: even a disabled one would make
-- every statement keep a copy of its rows.
CREATE FUNCTION tradekeep.arm_candle_notify() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	armed CONSTANT boolean := EXISTS (SELECT FROM pg_trigger AS t
		WHERE t.tgrelid = 'tradekeep.candle'::regclass AND t.tgname = 'notify_inserted');
	wanted CONSTANT boolean := EXISTS (SELECT FROM tradekeep.candle_notify);
BEGIN
	IF armed AND NOT wanted THEN
		DROP TRIGGER notify_inserted ON tradekeep.candle;
		DROP TRIGGER notify_updated ON tradekeep.candle;
	ELSIF wanted AND NOT armed THEN
		CREATE TRIGGER notify_inserted AFTER INSERT ON tradekeep.candle
			REFERENCING NEW TABLE AS arrived
			FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.notify_closed_candles();
		CREATE TRIGGER notify_updated AFTER UPDATE ON tradekeep.candle
			REFERENCING OLD TABLE AS replaced NEW TABLE AS arrived
			FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.notify_closed_candles();
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION tradekeep.arm_candle_notify() IS 'makes the triggers that notify, while there is something to notify of';

CREATE TRIGGER arm_candle_notify AFTER INSERT OR DELETE OR TRUNCATE ON tradekeep.candle_notify
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.arm_candle_notify();

SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle_notify', '');

-- Whoever arms or disarms locks this table first, and candle after it.
CREATE FUNCTION tradekeep.notify_candles(timeframe tradekeep.timeframe, enabled boolean DEFAULT true) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF timeframe IS NULL OR enabled IS NULL THEN
		RAISE EXCEPTION 'timeframe and enabled must not be null' USING ERRCODE = 'null_value_not_allowed';
	ELSIF EXISTS (SELECT FROM tradekeep.candle_notify AS n WHERE n.timeframe = notify_candles.timeframe) = enabled THEN
		RETURN;
	END IF;
	LOCK TABLE tradekeep.candle_notify IN SHARE ROW EXCLUSIVE MODE;
	IF enabled THEN
		INSERT INTO tradekeep.candle_notify VALUES (timeframe) ON CONFLICT DO NOTHING;
	ELSE
		DELETE FROM tradekeep.candle_notify AS n WHERE n.timeframe = notify_candles.timeframe;
	END IF;
END
$$;
COMMENT ON FUNCTION tradekeep.notify_candles(tradekeep.timeframe, boolean) IS
'sends NOTIFY tradekeep_candle when candles of a timeframe close, or no longer: {"timeframe": "1m", "ts": start, "symbols": [...]}, of each symbol the newest that a statement closed. For the level admin';

-- A payload has room for 8,000 bytes; a symbol in JSON takes up to 3,074 of them.
CREATE FUNCTION tradekeep.send_candle_notes(symbols text[], timeframes tradekeep.timeframe[], starts timestamptz[]) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT pg_notify('tradekeep_candle', json_build_object('timeframe', chunk.timeframe,
		'ts', to_char(chunk.ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'symbols', chunk.symbols)::text)
	FROM (
		SELECT s.timeframe, s.ts, json_agg(s.symbol ORDER BY s.symbol) AS symbols
		FROM (
			SELECT n.symbol, n.timeframe, n.ts, sum(octet_length(to_json(n.symbol)::text) + 2)
				OVER (PARTITION BY n.timeframe, n.ts ORDER BY n.symbol) / 4000 AS part
			FROM unnest(symbols, timeframes, starts) AS n(symbol, timeframe, ts)) AS s
		GROUP BY s.timeframe, s.ts, s.part) AS chunk;
END;
COMMENT ON FUNCTION tradekeep.send_candle_notes(text[], tradekeep.timeframe[], timestamptz[]) IS
'sends what notify_candles() promises of these candles';

CREATE FUNCTION tradekeep.notify_closed_candles() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		PERFORM tradekeep.send_candle_notes(array_agg(c.symbol), array_agg(c.timeframe), array_agg(c.ts))
		FROM (
			SELECT a.symbol, a.timeframe, max(a.ts) AS ts
			FROM arrived AS a JOIN tradekeep.candle_notify AS n ON n.timeframe = a.timeframe
			WHERE a.closed
			GROUP BY a.symbol, a.timeframe) AS c;
	ELSE
		PERFORM tradekeep.send_candle_notes(array_agg(c.symbol), array_agg(c.timeframe), array_agg(c.ts))
		FROM (
			SELECT a.symbol, a.timeframe, max(a.ts) AS ts
			FROM arrived AS a JOIN tradekeep.candle_notify AS n ON n.timeframe = a.timeframe
			JOIN replaced AS r ON r.symbol = a.symbol AND r.timeframe = a.timeframe AND r.ts = a.ts
			WHERE a.closed AND NOT r.closed
			GROUP BY a.symbol, a.timeframe) AS c;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION tradekeep.notify_closed_candles() IS 'notifies of the candles that a statement closed';
-- sweep: TTL policies, and how the sweeper fares with them

CREATE TABLE tradekeep.ttl_policy (
	relation regclass NOT NULL PRIMARY KEY,
	column_name name NOT NULL,
	keep interval NOT NULL DEFAULT '0' CHECK (keep >= interval '0'),
	unit text COLLATE "C" CHECK (unit IN ('s', 'ms')),
	keep_rows bigint CHECK (keep_rows > 0),
	key_columns name[],
	batch_size integer CHECK (batch_size BETWEEN 1 AND 1000000),
	rate_limit integer CHECK (rate_limit BETWEEN 0 AND 100000000),
	lock_timeout interval CHECK (lock_timeout BETWEEN interval '1 ms' AND interval '1 day'),
	sweep_interval interval CHECK (sweep_interval BETWEEN interval '1 ms' AND interval '1 day'),
	paused boolean NOT NULL DEFAULT false
) USING heap;
COMMENT ON TABLE tradekeep.ttl_policy IS
'what set_ttl() was told; null stands for the setting of that name. Claims and signals have policies without a row here';

-- Dumps have names: the number of a table that is gone would be another table's one day.
SELECT pg_catalog.pg_extension_config_dump('tradekeep.ttl_policy',
	'WHERE EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = relation)');

-- When rows of ours expire is built in; a row of ttl_policy only overrides how they are swept.
CREATE VIEW tradekeep.effective_ttl_policy AS
	SELECT coalesce(p.relation, b.relation) AS relation, coalesce(b.column_name, p.column_name) AS column_name,
		coalesce(p.keep, interval '0') AS keep, p.unit, coalesce(b.keep_rows, p.keep_rows) AS keep_rows,
		p.key_columns, p.batch_size, p.rate_limit, p.lock_timeout,
		coalesce(p.sweep_interval, b.sweep_interval) AS sweep_interval, coalesce(p.paused, false) AS paused,
		b.relation IS NOT NULL AND b.relation = 'tradekeep.candle'::regclass AS candle_retention
	FROM (
		SELECT p.* FROM tradekeep.ttl_policy AS p
		WHERE EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = p.relation)) AS p
	FULL JOIN (VALUES
		('tradekeep.claim'::regclass, name 'sweep_after', NULL::bigint, NULL::interval),
		('tradekeep.signal'::regclass, 'sweep_after', NULL, NULL),
		('tradekeep.tick'::regclass, 'sweep_after', NULL, NULL),
		('tradekeep.candle_correction'::regclass, 'corrected_at', 10000, interval '1 min'),
		('tradekeep.candle'::regclass, 'ts', NULL, interval '1 min')
	) AS b(relation, column_name, keep_rows, sweep_interval) ON b.relation = p.relation
	WHERE coalesce(p.relation, b.relation) <> 'tradekeep.candle'::regclass
		OR EXISTS (SELECT FROM tradekeep.candle_retention);
COMMENT ON VIEW tradekeep.effective_ttl_policy IS
'the policies that the sweeper applies: those of set_ttl(), and what is built in for the tables of tradekeep; for candles, by set_candle_retention()';

CREATE TABLE tradekeep.sweep_state (
	relation regclass NOT NULL PRIMARY KEY,
	last_run timestamptz NOT NULL,
	duration interval NOT NULL,
	rows bigint NOT NULL,
	partitions bigint NOT NULL,
	total_rows bigint NOT NULL,
	total_partitions bigint NOT NULL,
	runs bigint NOT NULL,
	failures integer NOT NULL,
	next_run timestamptz,
	batch_size integer,
	changes bigint,
	last_error text,
	last_sqlstate text,
	last_error_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE tradekeep.sweep_state IS
'how the last run over each table went; sweep_status shows it';

CREATE TABLE tradekeep.sweep_history (
	relation regclass NOT NULL,
	slot integer NOT NULL,
	started_at timestamptz NOT NULL,
	duration interval NOT NULL,
	rows bigint NOT NULL,
	partitions bigint NOT NULL,
	sqlstate text,
	error text,
	PRIMARY KEY (relation, slot)
) WITH (fillfactor = 50);
COMMENT ON TABLE tradekeep.sweep_history IS
'the last 20 runs over each table that swept something or failed';

CREATE FUNCTION tradekeep.set_ttl(relation regclass, column_name name, keep interval DEFAULT '0',
	batch_size integer DEFAULT NULL, unit text DEFAULT NULL, keep_rows bigint DEFAULT NULL,
	key_columns name[] DEFAULT NULL, create_index boolean DEFAULT false,
	rate_limit integer DEFAULT NULL, lock_timeout interval DEFAULT NULL,
	sweep_interval interval DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_set_ttl' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.set_ttl(regclass, name, interval, integer, text, bigint, name[], boolean,
	integer, interval, interval) IS
'lets the sweeper delete the rows of a table whose column lies keep or more in the past; replaces an earlier policy. For the owner of the table, else 42501.
relation: an ordinary or partitioned table, else 42809; column_name: a timestamptz, a timestamp (read as UTC), a date (over at its end in UTC), or a bigint epoch with unit s or ms, else 42804; null never expires. keep: 0 to 100 years, else TK003; months by the calendar.
keep_rows: at least so many newest rows stay, of each value of key_columns. A table partitioned by range of the column alone loses whole partitions instead of rows.
batch_size (rows), rate_limit (rows a second, 0 for any), lock_timeout and sweep_interval (up to a day) override the settings of these names. create_index makes the index that each look wants; without it, a notice tells the command.';

CREATE FUNCTION tradekeep.drop_ttl(relation regclass) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_drop_ttl' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.drop_ttl(regclass) IS
'takes back set_ttl() and pause_ttl(); false when there was nothing to take back. Claims and signals return to what is built in. For the owner of the table';

CREATE FUNCTION tradekeep.pause_ttl(relation regclass, paused boolean DEFAULT true) RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_pause_ttl' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.pause_ttl(regclass, boolean) IS
'stops the sweeping of a table, or lets it go on (paused false). For the owner of the table; 42704 when it has no ttl';

CREATE FUNCTION tradekeep.preview_ttl(relation regclass) RETURNS bigint
	AS 'MODULE_PATHNAME', 'tradekeep_preview_ttl' LANGUAGE C STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.preview_ttl(regclass) IS
'how many rows a sweep would delete now, counted. For the owner of the table; 42704 when it has no ttl';

CREATE FUNCTION tradekeep.ttl_backlog(relation regclass, OUT expired_rows bigint, OUT oldest timestamptz,
	OUT indexed boolean)
	AS 'MODULE_PATHNAME', 'tradekeep_ttl_backlog' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.ttl_backlog(regclass) IS
'expired rows of a table as the planner estimates them (0 is exact), the oldest of them, and whether the index for it is there; nulls where that is not cheap to say (by count, without an index, behind a lock), or not safe: where row policies bind the owner, or in a session with temporary tables on a table of somebody else';

CREATE PROCEDURE tradekeep.sweep(relation regclass DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'tradekeep_sweep' LANGUAGE C;
COMMENT ON PROCEDURE tradekeep.sweep(regclass) IS
'sweeps what is expired, of one table or of all that have a ttl, and commits after each batch: not inside a transaction block (25001). Passes over tables of others; 42501 when one is named. Each table is swept with the rights of its owner; what fails is recorded and told as a warning, for one table as an error.';

CREATE VIEW tradekeep.sweep_status AS
	SELECT p.relation, p.column_name, p.keep, p.keep_rows, p.paused, b.indexed, b.expired_rows,
		CASE WHEN b.oldest > '-infinity' THEN statement_timestamp() - p.keep - b.oldest END AS lag,
		s.last_run, s.duration, s.rows, s.partitions, coalesce(s.total_rows, 0) AS total_rows,
		coalesce(s.total_partitions, 0) AS total_partitions, s.next_run,
		coalesce(s.failures, 0) AS failures, s.last_error, s.last_sqlstate, s.last_error_at
	FROM tradekeep.effective_ttl_policy AS p
	LEFT JOIN tradekeep.sweep_state AS s ON s.relation = p.relation
	CROSS JOIN LATERAL tradekeep.ttl_backlog(p.relation) AS b;
COMMENT ON VIEW tradekeep.sweep_status IS
'a row a policy: the backlog as ttl_backlog() has it and for how long its oldest row has waited (lag); the last run (within a minute, when nothing was to be done), its duration and what it took away; when a table that failed is tried again (next_run), failures in a row, and the last error';

CREATE FUNCTION tradekeep.sweeper_running() RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_sweeper_running' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION tradekeep.sweeper_running() IS
'true while the launcher of the sweeper runs, which starts with a preloaded library on a primary';

CREATE FUNCTION tradekeep.wake_sweeper() RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_wake_sweeper' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.wake_sweeper() IS
'makes the sweeper look at databases without tradekeep again once the transaction commits';

SELECT tradekeep.wake_sweeper();

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
		('sweeper', NOT h.preloaded OR h.standby
				OR tradekeep.sweeper_running() AND current_setting('tradekeep.sweep', true)::boolean IS NOT FALSE,
			'warning',
			CASE WHEN tradekeep.sweeper_running() THEN 'the sweeper is at work'
				ELSE 'the sweeper runs on a primary with the library preloaded' END,
			'the sweeper does not run, or tradekeep.sweep is off: expired rows stay',
			'set tradekeep.sweep = on, and max_worker_processes 3 higher than others need'),
		('sweep', NOT EXISTS (SELECT FROM tradekeep.sweep_state AS s WHERE s.failures > 0), 'warning',
			'no table failed to be swept',
			(SELECT format('%s of the tables with a ttl cannot be swept', count(*))
				FROM tradekeep.sweep_state AS s WHERE s.failures > 0),
			'SELECT * FROM tradekeep.sweep_status WHERE failures > 0'),
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
			WHEN p.proname IN ('grant_access', 'revoke_access', 'apply_access', 'type_names',
				'keep_newest_candle', 'wake_sweeper',
				'arm_candle_notify', 'send_candle_notes', 'notify_closed_candles') THEN 'owner'
			WHEN p.proname IN ('set_scope', 'reset_stats', 'set_candle_retention', 'cleanup_old_candles',
				'notify_candles') THEN 'admin'
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
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON tradekeep.claim, tradekeep.signal, tradekeep.candle, tradekeep.tick TO %I',
			role);
		EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA tradekeep TO %I', role);
	END IF;
	IF rank >= 3 THEN
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON tradekeep.scope, tradekeep.candle_retention, tradekeep.candle_notify TO %I',
			role);
		EXECUTE format('GRANT TRUNCATE ON tradekeep.claim, tradekeep.signal, tradekeep.candle, tradekeep.tick TO %I', role);
	END IF;
	FOR callable IN
		SELECT f.function FROM tradekeep.function_access AS f
		WHERE f.level = ANY (levels[:rank])
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', callable.function, role);
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
		EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA tradekeep FROM %I', role);
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

