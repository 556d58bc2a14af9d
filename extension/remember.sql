-- remember: what caches in front of the database may remember

-- Of this database as it is now: a restored one begins anew, under another epoch. Rows must never shrink or go.
-- With much room in a page the old versions of a row soon go, and nobody has to step over them.
CREATE TABLE tradekeep.cache_version (
	subject text COLLATE "C" NOT NULL,
	slot integer NOT NULL,
	n bigint NOT NULL,
	PRIMARY KEY (subject, slot)
) USING heap WITH (fillfactor = 10);
COMMENT ON TABLE tradekeep.cache_version IS
'how often something was released: claim:SCOPE, claim (all scopes) or signal; the version of a subject is the sum of n';
COMMENT ON COLUMN tradekeep.cache_version.slot IS 'which of those that release at the same time adds to the row';

CREATE FUNCTION tradekeep.claim_to_remember(scope text, key text, ttl interval DEFAULT NULL,
	OUT claimed boolean, OUT expires_at timestamptz, OUT version bigint, OUT epoch bigint, OUT clock timestamptz)
	AS 'MODULE_PATHNAME', 'tradekeep_claim_to_remember' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_to_remember(text, text, interval) IS
'claim(), and what a cache needs: until expires_at, "duplicate" is a right answer as long as cache_state() says the same epoch, and the same version of the scope.
expires_at is null when nothing may be remembered: the claim slides, is a lease at work, or is asked for in a transaction block. clock: the server''s, before it looked. Errors as claim().';

CREATE FUNCTION tradekeep.should_process_candle_to_remember(instrument text, timeframe tradekeep.timeframe,
	at timestamptz DEFAULT NULL, drift interval DEFAULT '60 s', ttl interval DEFAULT NULL,
	OUT claimed boolean, OUT expires_at timestamptz, OUT version bigint, OUT epoch bigint, OUT clock timestamptz)
	AS 'MODULE_PATHNAME', 'tradekeep_should_process_candle_to_remember' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.should_process_candle_to_remember(text, tradekeep.timeframe, timestamptz, interval, interval) IS
'should_process_candle(), and what a cache needs, as claim_to_remember(); expires_at is null, too, when the drift is over';

CREATE FUNCTION tradekeep.claim_publish_to_remember(instrument text, candle_start timestamptz,
	ttl interval DEFAULT NULL,
	OUT claimed boolean, OUT expires_at timestamptz, OUT version bigint, OUT epoch bigint, OUT clock timestamptz)
	AS 'MODULE_PATHNAME', 'tradekeep_claim_publish_to_remember' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_publish_to_remember(text, timestamptz, interval) IS
'claim_publish(), and what a cache needs, as claim_to_remember()';

CREATE FUNCTION tradekeep.claim_signal_to_remember(symbol text, direction text, entry_price double precision,
	tolerance double precision DEFAULT 0.0005, ttl interval DEFAULT '24 hours', data jsonb DEFAULT NULL,
	OUT claimed boolean, OUT signal_id bigint, OUT price double precision, OUT sent_at timestamptz,
	OUT expires_at timestamptz, OUT version bigint, OUT epoch bigint, OUT clock timestamptz)
	AS 'MODULE_PATHNAME', 'tradekeep_claim_signal_to_remember' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_signal_to_remember(text, text, double precision, double precision, interval, jsonb) IS
'claim_signal(), and what a cache needs, as claim_to_remember(), by the version of the signals; a signal may be remembered once its transaction has committed';

CREATE FUNCTION tradekeep.cache_state(scopes text[], OUT epoch bigint, OUT clock timestamptz,
	OUT versions bigint[], OUT signal_version bigint, OUT ttls bigint[], OUT backend integer, OUT standby boolean)
	AS 'MODULE_PATHNAME', 'tradekeep_cache_state' LANGUAGE C STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.cache_state(text[]) IS
'what caches compare with: the epoch (of server, its start, database and extension), the server''s clock, the versions of the scopes'' claims and of the signals, the scopes'' ttl in milliseconds (null: none), the backend''s process id (as in notifications of tradekeep_release), and whether this is a standby.
versions and ttls are aligned with scopes. A scope of more than 63 bytes raises TK001, an empty one or a null TK002, no array or a nested one TK006.';

CREATE FUNCTION tradekeep.forget_cached(scope text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_forget_cached' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.forget_cached(text) IS
'makes every client forget the claims of a scope; of the scope signal, the signals too. For after DELETE, UPDATE or TRUNCATE by hand, in the same transaction.
Without a scope all claims and signals, for the level admin only (42501). scope 1 to 63 bytes, else TK001.';

CREATE TABLE tradekeep.replay (
	spool uuid NOT NULL PRIMARY KEY,
	position bigint NOT NULL CHECK (position >= 0),
	updated_at timestamptz NOT NULL
) USING heap;
COMMENT ON TABLE tradekeep.replay IS
'how far the spools of clients, written while the database was away, were taken over';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.replay', '');

-- Takes the row's lock by writing it, so that the next who asks waits.
CREATE FUNCTION tradekeep.replay_position(spool uuid) RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	INSERT INTO tradekeep.replay AS r (spool, position, updated_at)
	VALUES (replay_position.spool, 0, statement_timestamp())
	ON CONFLICT (spool) DO UPDATE SET updated_at = excluded.updated_at
	RETURNING r.position;
END;
COMMENT ON FUNCTION tradekeep.replay_position(uuid) IS
'how many records of a spool were taken over; 0 for one that is not known. Until the end of the transaction others who ask for the same spool wait. A null raises 23502.';

CREATE FUNCTION tradekeep.advance_replay(spool uuid, reached bigint) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	INSERT INTO tradekeep.replay AS r (spool, position, updated_at)
	VALUES (advance_replay.spool, advance_replay.reached, statement_timestamp())
	ON CONFLICT (spool) DO UPDATE SET position = greatest(r.position, excluded.position), updated_at = excluded.updated_at;
END;
COMMENT ON FUNCTION tradekeep.advance_replay(uuid, bigint) IS
'says that the records of a spool up to this number were taken over, in the transaction that did it; it never goes back. A null raises 23502, a negative number 23514.';

CREATE FUNCTION tradekeep.end_replay(spool uuid) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	DELETE FROM tradekeep.replay AS r WHERE r.spool = end_replay.spool;
END;
COMMENT ON FUNCTION tradekeep.end_replay(uuid) IS
'forgets a spool: for when all of it was taken over, and its file is gone';

