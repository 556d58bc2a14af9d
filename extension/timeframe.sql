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

