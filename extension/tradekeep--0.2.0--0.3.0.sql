\echo Use "ALTER EXTENSION tradekeep UPDATE TO '0.3.0'" to load this file. \quit

-- 0.2.0 to 0.3.0: the room rollup. What changed stands here as it is in the rooms, in their order.

-- Derived candles are written again and again, in place where their page has room.
ALTER TABLE tradekeep.candle SET (fillfactor = 90);

CREATE OR REPLACE FUNCTION tradekeep.upsert_ticks(symbol text, timeframe tradekeep.timeframe, ticks jsonb,
	grace interval DEFAULT '1 hour',
	OUT inserted bigint, OUT known bigint, OUT late bigint, OUT candles bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_ticks_json' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_ticks(text, tradekeep.timeframe, jsonb, interval) IS
'stores public trades, [[ms, id, price, amount], ...] or ccxt''s trade objects, and makes their candles from all that are stored: open and close by time and id, all-digit ids as numbers; closed once a later candle has a tick. The order, the splitting and the repetition of a stream make no difference.
inserted: ticks that are new; known: that were sent before; late: left out, because their candle''s ticks are gone; candles: how many were written. Ticks stay until grace (1 ms to 100 years) after the end of their candle, or after now if that is later. A supplied candle stays as it is.
Anything else than such an array raises TK006; a timeframe that a rollup makes, TK011; an id 1 to 512 bytes, else TK002; times from 1900 to 2200, else TK004; a finite price, amount >= 0, else TK005. All ticks or none.';

CREATE OR REPLACE FUNCTION tradekeep.set_candle_retention(timeframe tradekeep.timeframe, keep interval) RETURNS void
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
'lets the sweeper delete candles of a timeframe that began keep or more ago, months by the calendar in UTC, but for those that rollups still need; null keeps them for ever. keep: a millisecond to 100 years, else TK003. For the level admin';

-- In key order, as everything that touches many candles.
CREATE OR REPLACE FUNCTION tradekeep.cleanup_old_candles(keep interval, timeframe tradekeep.timeframe DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET tradekeep.retention = on
AS $$
DECLARE
	cutoff timestamptz;
	deleted bigint;
BEGIN
	PERFORM tradekeep.check_keep(keep);
	cutoff := (statement_timestamp() AT TIME ZONE 'UTC' - keep) AT TIME ZONE 'UTC';
	WITH old AS MATERIALIZED (
		SELECT c.ctid AS id FROM ONLY tradekeep.candle AS c
		LEFT JOIN (SELECT r.source, tradekeep.retention_end(r.source, cutoff) AS ts
			FROM tradekeep.rollup AS r GROUP BY r.source) AS needed ON needed.source = c.timeframe
		WHERE c.ts <= cutoff AND c.ts < coalesce(needed.ts, 'infinity')
			AND (cleanup_old_candles.timeframe IS NULL OR c.timeframe = cleanup_old_candles.timeframe)
		ORDER BY c.symbol, c.timeframe, c.ts
		FOR UPDATE OF c)
	DELETE FROM ONLY tradekeep.candle AS c WHERE c.ctid = ANY (ARRAY(SELECT id FROM old));
	GET DIAGNOSTICS deleted = ROW_COUNT;
	RETURN deleted;
END
$$;
COMMENT ON FUNCTION tradekeep.cleanup_old_candles(interval, tradekeep.timeframe) IS
'deletes the candles of a timeframe, or of all, that began keep or more ago, but for those that rollups still need, in one transaction, and returns how many; what was derived from them stays. keep: a millisecond to 100 years, else TK003. For the level admin';

-- rollup: aggregates that make candles, and timeframes derived from finer ones

CREATE TYPE tradekeep.ohlcv AS (open double precision, high double precision, low double precision,
	close double precision, volume double precision, vwap double precision, count bigint);
COMMENT ON TYPE tradekeep.ohlcv IS
'what candlestick() gives; vwap is the volume-weighted average price (null without volume), count the number of rows';

CREATE FUNCTION tradekeep.candlestick_tick(internal, timestamptz, double precision, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_tick' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_tick(internal, timestamptz, double precision, double precision) IS
'adds a tick to a state of candlestick()';

CREATE FUNCTION tradekeep.candlestick_tick(internal, timestamptz, double precision, double precision, text) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_tick' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_tick(internal, timestamptz, double precision, double precision, text) IS
'adds a tick with an id to a state of candlestick()';

CREATE FUNCTION tradekeep.candlestick_candle(internal, timestamptz, double precision, double precision,
	double precision, double precision, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_candle' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_candle(internal, timestamptz, double precision, double precision,
	double precision, double precision, double precision) IS 'adds a candle to a state of candlestick()';

CREATE FUNCTION tradekeep.candlestick_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_combine(internal, internal) IS 'makes one state of candlestick() of two';

CREATE FUNCTION tradekeep.candlestick_serialize(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_serialize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_serialize(internal) IS 'a state of candlestick() for another process';

CREATE FUNCTION tradekeep.candlestick_deserialize(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_deserialize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_deserialize(bytea, internal) IS 'a state of candlestick() from another process';

CREATE FUNCTION tradekeep.candlestick_final(internal) RETURNS tradekeep.ohlcv
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_final(internal) IS 'the bar of a state of candlestick()';

CREATE FUNCTION tradekeep.candlestick_tick_enter(internal, timestamptz, double precision, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_tick_enter' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_tick_enter(internal, timestamptz, double precision, double precision) IS
'adds a tick to a frame of candlestick()';

CREATE FUNCTION tradekeep.candlestick_tick_enter(internal, timestamptz, double precision, double precision, text) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_tick_enter' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_tick_enter(internal, timestamptz, double precision, double precision, text) IS
'adds a tick with an id to a frame of candlestick()';

CREATE FUNCTION tradekeep.candlestick_candle_enter(internal, timestamptz, double precision, double precision,
	double precision, double precision, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_candle_enter' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_candle_enter(internal, timestamptz, double precision, double precision,
	double precision, double precision, double precision) IS 'adds a candle to a frame of candlestick()';

CREATE FUNCTION tradekeep.candlestick_tick_leave(internal, timestamptz, double precision, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_tick_leave' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_tick_leave(internal, timestamptz, double precision, double precision) IS
'takes the oldest tick from a frame of candlestick()';

CREATE FUNCTION tradekeep.candlestick_tick_leave(internal, timestamptz, double precision, double precision, text) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_tick_leave' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_tick_leave(internal, timestamptz, double precision, double precision, text) IS
'takes the oldest tick with an id from a frame of candlestick()';

CREATE FUNCTION tradekeep.candlestick_candle_leave(internal, timestamptz, double precision, double precision,
	double precision, double precision, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_candle_leave' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_candle_leave(internal, timestamptz, double precision, double precision,
	double precision, double precision, double precision) IS 'takes the oldest candle from a frame of candlestick()';

CREATE FUNCTION tradekeep.candlestick_window_final(internal) RETURNS tradekeep.ohlcv
	AS 'MODULE_PATHNAME', 'tradekeep_candlestick_window_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.candlestick_window_final(internal) IS 'the bar of a frame of candlestick()';

CREATE AGGREGATE tradekeep.candlestick(ts timestamptz, price double precision, amount double precision) (
	SFUNC = tradekeep.candlestick_tick, STYPE = internal, SSPACE = 88,
	FINALFUNC = tradekeep.candlestick_final, COMBINEFUNC = tradekeep.candlestick_combine,
	SERIALFUNC = tradekeep.candlestick_serialize, DESERIALFUNC = tradekeep.candlestick_deserialize,
	MSFUNC = tradekeep.candlestick_tick_enter, MINVFUNC = tradekeep.candlestick_tick_leave, MSTYPE = internal,
	MFINALFUNC = tradekeep.candlestick_window_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE tradekeep.candlestick(timestamptz, double precision, double precision) IS
'the bar of ticks in any order: open and close by time, of equal times by price. Rows whose time or price is null do not count, an amount that is null is none; NaN is greater than every number, as in max()';

CREATE AGGREGATE tradekeep.candlestick(ts timestamptz, price double precision, amount double precision, id text) (
	SFUNC = tradekeep.candlestick_tick, STYPE = internal, SSPACE = 136,
	FINALFUNC = tradekeep.candlestick_final, COMBINEFUNC = tradekeep.candlestick_combine,
	SERIALFUNC = tradekeep.candlestick_serialize, DESERIALFUNC = tradekeep.candlestick_deserialize,
	MSFUNC = tradekeep.candlestick_tick_enter, MINVFUNC = tradekeep.candlestick_tick_leave, MSTYPE = internal,
	MFINALFUNC = tradekeep.candlestick_window_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE tradekeep.candlestick(timestamptz, double precision, double precision, text) IS
'the bar of ticks with ids: of equal times the id decides, all-digit ones as numbers, others bytewise; null comes first';

CREATE AGGREGATE tradekeep.candlestick(ts timestamptz, open double precision, high double precision,
	low double precision, close double precision, volume double precision) (
	SFUNC = tradekeep.candlestick_candle, STYPE = internal, SSPACE = 88,
	FINALFUNC = tradekeep.candlestick_final, COMBINEFUNC = tradekeep.candlestick_combine,
	SERIALFUNC = tradekeep.candlestick_serialize, DESERIALFUNC = tradekeep.candlestick_deserialize,
	MSFUNC = tradekeep.candlestick_candle_enter, MINVFUNC = tradekeep.candlestick_candle_leave, MSTYPE = internal,
	MFINALFUNC = tradekeep.candlestick_window_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE tradekeep.candlestick(timestamptz, double precision, double precision, double precision,
	double precision, double precision) IS
'the bar of candles in any order; its vwap takes (high + low + close) / 3 for the price of each. Rows with a null but in volume do not count; NaN is greater than every number, as in max()';

CREATE FUNCTION tradekeep.timeframe_divides(source tradekeep.timeframe, target tradekeep.timeframe) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_timeframe_divides' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.timeframe_divides(tradekeep.timeframe, tradekeep.timeframe) IS
'true when every candle of target is made of whole candles of source, a finer timeframe';

CREATE TABLE tradekeep.rollup (
	target tradekeep.timeframe NOT NULL PRIMARY KEY,
	source tradekeep.timeframe NOT NULL,
	grace interval NOT NULL DEFAULT '0',
	-- Of fixed length.
	CONSTRAINT rollup_grace CHECK (grace BETWEEN interval '0' AND interval '36525 days'
		AND extract(year FROM grace) = 0 AND extract(month FROM grace) = 0),
	CONSTRAINT rollup_divides CHECK (tradekeep.timeframe_divides(source, target))
) USING heap;
COMMENT ON TABLE tradekeep.rollup IS 'which timeframe is derived from which; see add_rollup()';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.rollup', '');

CREATE TABLE tradekeep.candle_horizon (
	symbol text COLLATE "C" NOT NULL,
	timeframe tradekeep.timeframe NOT NULL,
	horizon timestamptz NOT NULL,
	late bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (symbol, timeframe)
) USING heap;
COMMENT ON TABLE tradekeep.candle_horizon IS
'candles of a symbol and timeframe that begin before the horizon may be gone by retention: what was derived from them is frozen, and such that come later are left out (late: how often)';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle_horizon', '');

CREATE TABLE tradekeep.rollup_build (
	target tradekeep.timeframe NOT NULL PRIMARY KEY,
	since timestamptz NOT NULL DEFAULT '-infinity',
	symbol text COLLATE "C" NOT NULL DEFAULT ''
) USING heap;
COMMENT ON TABLE tradekeep.rollup_build IS
'rollups whose history is being built: done is what lies before since, and of the stretch that begins there all symbols up to symbol';

-- Candles of rollups are derived again, but for those whose sources are gone.
SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle',
	'WHERE sources IS NULL OR NOT EXISTS (SELECT FROM tradekeep.rollup AS r WHERE r.target = timeframe) OR EXISTS (SELECT FROM tradekeep.rollup AS r JOIN tradekeep.candle_horizon AS h ON h.timeframe IN (r.source, r.target) WHERE r.target = candle.timeframe AND h.symbol = candle.symbol AND candle.ts < h.horizon)');

-- A horizon that comes from elsewhere, by a restore, is news: what was derived meanwhile before it, and behind
-- the horizon that was known, was made of candles that came too late. Others write horizons with
-- tradekeep.retention on.
CREATE FUNCTION tradekeep.receive_horizon() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	made tid[];
BEGIN
	IF TG_LEVEL = 'STATEMENT' THEN
		LOCK TABLE tradekeep.candle IN SHARE ROW EXCLUSIVE MODE;
		RETURN NULL;
	END IF;
	SELECT array_agg(c.ctid) INTO made
	FROM tradekeep.rollup AS r JOIN ONLY tradekeep.candle AS c ON c.timeframe = r.target
	WHERE NEW.timeframe IN (r.source, r.target) AND c.symbol = NEW.symbol AND c.sources IS NOT NULL
		AND c.ts < NEW.horizon AND NOT EXISTS (
			SELECT FROM tradekeep.candle_horizon AS h
			WHERE h.symbol = NEW.symbol AND h.timeframe IN (r.source, r.target) AND c.ts < h.horizon);
	PERFORM set_config('tradekeep.retention', 'on', true);
	INSERT INTO tradekeep.candle_horizon AS h VALUES (NEW.symbol, NEW.timeframe, NEW.horizon, NEW.late)
		ON CONFLICT ON CONSTRAINT candle_horizon_pkey
		DO UPDATE SET horizon = greatest(h.horizon, excluded.horizon), late = greatest(h.late, excluded.late);
	PERFORM set_config('tradekeep.retention', 'off', true);
	DELETE FROM ONLY tradekeep.candle AS c WHERE c.ctid = ANY (made);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION tradekeep.receive_horizon() IS 'merges a horizon from elsewhere with the one that is there';

CREATE TRIGGER receive_horizons BEFORE INSERT ON tradekeep.candle_horizon
	FOR EACH STATEMENT WHEN (current_setting('tradekeep.retention', true)::boolean IS NOT TRUE)
	EXECUTE FUNCTION tradekeep.receive_horizon();
CREATE TRIGGER receive_horizon BEFORE INSERT ON tradekeep.candle_horizon
	FOR EACH ROW WHEN (current_setting('tradekeep.retention', true)::boolean IS NOT TRUE)
	EXECUTE FUNCTION tradekeep.receive_horizon();

CREATE FUNCTION tradekeep.keep_frozen(target tradekeep.timeframe, symbols text[], starts timestamptz[],
	closed boolean[], sources integer[]) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp SET tradekeep.retention = on
BEGIN ATOMIC
	INSERT INTO tradekeep.candle_horizon AS h (symbol, timeframe, horizon)
	SELECT g.symbol, r.source, max(tradekeep.candle_end(r.target, g.ts))
	FROM tradekeep.rollup AS r, unnest(symbols, starts, closed, sources) AS g(symbol, ts, closed, sources)
	WHERE r.target = keep_frozen.target AND (g.closed OR g.sources > (
		SELECT count(*) FROM tradekeep.candle AS c
		WHERE c.symbol = g.symbol AND c.timeframe = r.source
			AND c.ts >= g.ts AND c.ts < tradekeep.candle_end(r.target, g.ts)))
	GROUP BY g.symbol, r.source
	ORDER BY g.symbol
	ON CONFLICT (symbol, timeframe) DO UPDATE SET horizon = greatest(h.horizon, excluded.horizon);
END;
COMMENT ON FUNCTION tradekeep.keep_frozen(tradekeep.timeframe, text[], timestamptz[], boolean[], integer[]) IS
'moves the horizons behind derived candles that come from elsewhere, and are closed or have more sources than are there: they were dumped because these are gone';

CREATE FUNCTION tradekeep.roll_candles() RETURNS trigger
	AS 'MODULE_PATHNAME', 'tradekeep_roll_candles' LANGUAGE C;
COMMENT ON FUNCTION tradekeep.roll_candles() IS 'collects the candles that a statement changed; what follows from them is derived when it is over';

CREATE FUNCTION tradekeep.forget_horizons() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM tradekeep.candle_horizon;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION tradekeep.forget_horizons() IS 'where no candle is left, none is frozen';

CREATE FUNCTION tradekeep.derive_candles(target tradekeep.timeframe, symbol text, since timestamptz, until timestamptz,
	OUT sources bigint, OUT written bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_derive_candles' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.derive_candles(tradekeep.timeframe, text, timestamptz, timestamptz) IS
'derives the candles of a rollup again that start in the one of since or later, and before until: from how many source candles, and how many were written. Times are infinite, or from 1900 to 2200, else TK004; TK011 when there is no such rollup';

-- Only while there are rollups do statements on candles pay for them.
CREATE FUNCTION tradekeep.rollups_armed() RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM pg_catalog.pg_trigger AS t
	WHERE t.tgrelid = 'tradekeep.candle'::regclass AND t.tgname = 'roll_inserted');
COMMENT ON FUNCTION tradekeep.rollups_armed() IS 'true while there are triggers that derive candles';

CREATE FUNCTION tradekeep.make_rollup_triggers() RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE TRIGGER roll_inserted AFTER INSERT ON tradekeep.candle
		REFERENCING NEW TABLE AS arrived
		FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.roll_candles();
	CREATE TRIGGER roll_updated AFTER UPDATE ON tradekeep.candle
		REFERENCING OLD TABLE AS gone NEW TABLE AS arrived
		FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.roll_candles();
	CREATE TRIGGER roll_deleted AFTER DELETE ON tradekeep.candle
		REFERENCING OLD TABLE AS gone
		FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.roll_candles();
	CREATE TRIGGER roll_truncated AFTER TRUNCATE ON tradekeep.candle
		FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.forget_horizons();
END
$$;
COMMENT ON FUNCTION tradekeep.make_rollup_triggers() IS 'makes the triggers that derive candles';

-- Writers wait until a change of the rollups is committed, and so none of them misses it.
CREATE FUNCTION tradekeep.arm_rollups() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF TG_WHEN = 'BEFORE' THEN
		LOCK TABLE tradekeep.candle IN SHARE ROW EXCLUSIVE MODE;
		IF TG_OP = 'INSERT' AND NOT tradekeep.rollups_armed() THEN
			PERFORM tradekeep.make_rollup_triggers();
		ELSIF TG_OP = 'TRUNCATE' THEN
			DELETE FROM tradekeep.rollup;
		END IF;
	ELSIF tradekeep.rollups_armed() AND NOT EXISTS (SELECT FROM tradekeep.rollup) THEN
		DROP TRIGGER roll_inserted ON tradekeep.candle;
		DROP TRIGGER roll_updated ON tradekeep.candle;
		DROP TRIGGER roll_deleted ON tradekeep.candle;
		DROP TRIGGER roll_truncated ON tradekeep.candle;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION tradekeep.arm_rollups() IS 'makes the triggers that derive candles, while there is something to derive';

CREATE TRIGGER arm_rollups BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON tradekeep.rollup
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.arm_rollups();

CREATE FUNCTION tradekeep.refuse_rollup_change() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION 'the target of a rollup cannot be changed'
		USING ERRCODE = 'TK011', HINT = 'Drop it, and add another one.';
END
$$;
COMMENT ON FUNCTION tradekeep.refuse_rollup_change() IS 'the candles of the old target would be left behind';

CREATE TRIGGER refuse_change BEFORE UPDATE ON tradekeep.rollup
	FOR EACH ROW WHEN (NEW.target <> OLD.target)
	EXECUTE FUNCTION tradekeep.refuse_rollup_change();

-- What stays of a rollup that goes is frozen. Its candles would be derived again if they went first.
CREATE FUNCTION tradekeep.delete_derived() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM tradekeep.rollup_build AS b USING gone AS g WHERE b.target = g.target;
	DELETE FROM ONLY tradekeep.candle AS c
	USING gone AS g
	WHERE c.timeframe = g.target AND c.sources IS NOT NULL AND NOT EXISTS (
		SELECT FROM tradekeep.candle_horizon AS h
		WHERE h.symbol = c.symbol AND h.timeframe IN (g.source, g.target) AND c.ts < h.horizon);
	DELETE FROM tradekeep.candle_horizon AS h
	WHERE NOT EXISTS (SELECT FROM tradekeep.rollup AS r WHERE h.timeframe IN (r.source, r.target));
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION tradekeep.delete_derived() IS 'deletes what was derived by rollups that go, but for frozen candles';

CREATE TRIGGER delete_derived AFTER DELETE ON tradekeep.rollup REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.delete_derived();

CREATE TRIGGER disarm_rollups AFTER INSERT OR DELETE OR TRUNCATE ON tradekeep.rollup
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.arm_rollups();

-- One descent of the index for each.
CREATE FUNCTION tradekeep.candle_symbols() RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp ROWS 100
BEGIN ATOMIC
	WITH RECURSIVE symbols(symbol) AS (
		(SELECT c.symbol FROM tradekeep.candle AS c ORDER BY c.symbol LIMIT 1)
		UNION ALL
		SELECT (SELECT c.symbol FROM tradekeep.candle AS c WHERE c.symbol > s.symbol ORDER BY c.symbol LIMIT 1)
		FROM symbols AS s WHERE s.symbol IS NOT NULL)
	SELECT s.symbol FROM symbols AS s WHERE s.symbol IS NOT NULL;
END;
COMMENT ON FUNCTION tradekeep.candle_symbols() IS 'the symbols that have candles';

CREATE FUNCTION tradekeep.next_candle(timeframes tradekeep.timeframe[], since timestamptz) RETURNS timestamptz
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT min(c.ts)
	FROM tradekeep.candle_symbols() AS s(symbol)
	CROSS JOIN unnest(timeframes) AS t(timeframe)
	CROSS JOIN LATERAL (
		SELECT c.ts FROM tradekeep.candle AS c
		WHERE c.symbol = s.symbol COLLATE "C" AND c.timeframe = t.timeframe AND c.ts >= since
		ORDER BY c.ts LIMIT 1) AS c;
END;
COMMENT ON FUNCTION tradekeep.next_candle(tradekeep.timeframe[], timestamptz) IS
'start of the first candle of these timeframes at since or later, of all symbols';

CREATE FUNCTION tradekeep.next_symbol(timeframes tradekeep.timeframe[], symbol text, since timestamptz, until timestamptz)
	RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH RECURSIVE visited(symbol, found) AS (
		SELECT next_symbol.symbol COLLATE "C", false
		UNION ALL
		SELECT n.symbol, EXISTS (
			SELECT FROM unnest(timeframes) AS t(timeframe) JOIN tradekeep.candle AS c ON c.timeframe = t.timeframe
			WHERE c.symbol = n.symbol AND c.ts >= since AND c.ts < until)
		FROM visited AS v
		CROSS JOIN LATERAL (
			SELECT c.symbol FROM tradekeep.candle AS c WHERE c.symbol > v.symbol ORDER BY c.symbol LIMIT 1) AS n
		WHERE NOT v.found)
	SELECT v.symbol FROM visited AS v WHERE v.found;
END;
COMMENT ON FUNCTION tradekeep.next_symbol(tradekeep.timeframe[], text, timestamptz, timestamptz) IS
'the first symbol behind one that has candles of these timeframes from since on and before until';

-- By stretches of time and not symbol by symbol: what came together lies together on disk.
CREATE FUNCTION tradekeep.continue_build(target tradekeep.timeframe, max_sources bigint) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	build tradekeep.rollup_build;
	timeframes tradekeep.timeframe[];
	stretch interval;
	until timestamptz;
	budget bigint := max_sources;
BEGIN
	-- Before the row of rollup_build, as who adds and drops rollups.
	LOCK TABLE tradekeep.candle IN ROW EXCLUSIVE MODE;
	SELECT * INTO build FROM tradekeep.rollup_build AS b WHERE b.target = continue_build.target FOR UPDATE;
	SELECT ARRAY[r.source, r.target], make_interval(secs => 100000 * extract(epoch FROM r.source::interval)::double precision)
	INTO timeframes, stretch
	FROM tradekeep.rollup AS r WHERE r.target = build.target;
	WHILE build.since IS NOT NULL AND budget > 0 LOOP
		until := greatest(build.since, '1900-01-01Z') + stretch;
		until := CASE WHEN until < '2199-01-01Z' THEN tradekeep.candle_end(build.target, until) ELSE 'infinity' END;
		build.symbol := CASE WHEN isfinite(build.since)
			THEN tradekeep.next_symbol(timeframes, build.symbol, build.since, until) END;
		IF build.symbol IS NOT NULL THEN
			-- Locks are counted too.
			budget := budget - greatest(500, (tradekeep.derive_candles(build.target, build.symbol, build.since, until)).sources);
		ELSE
			build.symbol := '';
			build.since := tradekeep.next_candle(timeframes,
				CASE WHEN isfinite(build.since) THEN until ELSE build.since END);
		END IF;
	END LOOP;
	IF build.since IS NULL THEN
		DELETE FROM tradekeep.rollup_build AS b WHERE b.target = continue_build.target;
		RETURN true;
	END IF;
	UPDATE tradekeep.rollup_build AS b SET since = build.since, symbol = build.symbol WHERE b.target = build.target;
	RETURN false;
END
$$;
COMMENT ON FUNCTION tradekeep.continue_build(tradekeep.timeframe, bigint) IS
'builds more of the history of a rollup, from about max_sources source candles; true when it is complete';

-- Derived candles that are there before their rollup were dumped, or left by drop_rollup(), because their sources
-- are gone. That has to be seen for all new rollups before any of them is built, which makes candles of the others too.
CREATE FUNCTION tradekeep.build_rollups() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	one tradekeep.timeframe;
BEGIN
	IF TG_OP = 'INSERT' THEN
		PERFORM tradekeep.keep_frozen(a.target, array_agg(c.symbol), array_agg(c.ts), array_agg(c.closed), array_agg(c.sources))
		FROM tradekeep.candle_symbols() AS s(symbol)
		CROSS JOIN added AS a
		CROSS JOIN LATERAL (SELECT * FROM tradekeep.candle AS c
			WHERE c.symbol = s.symbol COLLATE "C" AND c.timeframe = a.target AND c.sources IS NOT NULL) AS c
		GROUP BY a.target;
	END IF;
	FOR one IN
		SELECT a.target FROM added AS a
		WHERE NOT EXISTS (SELECT FROM tradekeep.rollup_build AS b WHERE b.target = a.target)
		ORDER BY a.target
	LOOP
		INSERT INTO tradekeep.rollup_build (target) VALUES (one);
		PERFORM tradekeep.continue_build(one, 9223372036854775807);
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION tradekeep.build_rollups() IS
'builds the history of rollups that come by a restore or a plain statement, unless they are marked to be built later';

CREATE TRIGGER build_inserted AFTER INSERT ON tradekeep.rollup REFERENCING NEW TABLE AS added
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.build_rollups();
CREATE TRIGGER build_updated AFTER UPDATE ON tradekeep.rollup REFERENCING NEW TABLE AS added
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.build_rollups();

CREATE FUNCTION tradekeep.add_rollup(source tradekeep.timeframe, target tradekeep.timeframe,
	grace interval DEFAULT '0') RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	known tradekeep.rollup;
BEGIN
	IF source IS NULL OR target IS NULL OR grace IS NULL THEN
		RAISE EXCEPTION 'source, target and grace must not be null' USING ERRCODE = 'null_value_not_allowed';
	ELSIF NOT tradekeep.timeframe_divides(source, target) THEN
		RAISE EXCEPTION 'cannot derive % candles from % candles', target, source
			USING ERRCODE = 'TK011', HINT = 'A candle has to consist of whole candles of a finer timeframe; weeks and months consist of days.';
	ELSIF grace NOT BETWEEN interval '0' AND interval '36525 days'
		OR extract(year FROM grace) <> 0 OR extract(month FROM grace) <> 0 THEN
		RAISE EXCEPTION 'grace %', grace USING ERRCODE = 'TK003', HINT = 'It is from 0 to 36525 days, without months.';
	END IF;
	LOCK TABLE tradekeep.candle IN SHARE ROW EXCLUSIVE MODE;
	IF EXISTS (SELECT FROM tradekeep.tick AS t WHERE t.timeframe = target) THEN
		RAISE EXCEPTION '% candles are made from ticks', target USING ERRCODE = 'TK011';
	END IF;
	SELECT * INTO known FROM tradekeep.rollup AS r WHERE r.target = add_rollup.target;
	IF known.source <> source THEN
		RAISE EXCEPTION '% candles are derived from % candles already', target, known.source
			USING ERRCODE = 'TK011', HINT = format('SELECT tradekeep.drop_rollup(%L) first.', target);
	ELSIF known.grace = grace THEN
		RETURN NOT EXISTS (SELECT FROM tradekeep.rollup_build AS b WHERE b.target = add_rollup.target);
	END IF;
	INSERT INTO tradekeep.rollup_build AS b (target) VALUES (target)
		ON CONFLICT ON CONSTRAINT rollup_build_pkey DO UPDATE SET since = '-infinity', symbol = '';
	IF known.target IS NULL THEN
		INSERT INTO tradekeep.rollup (source, target, grace) VALUES (source, target, grace);
	ELSE
		UPDATE tradekeep.rollup AS r SET grace = add_rollup.grace WHERE r.target = add_rollup.target;
	END IF;
	IF tradekeep.continue_build(target, 200000) THEN
		RETURN true;
	END IF;
	RAISE NOTICE 'candles that are stored already are not all in the % candles yet', target
		USING HINT = format('CALL tradekeep.rebuild_rollups(%L) builds them, beside the writers.', target);
	RETURN false;
END
$$;
COMMENT ON FUNCTION tradekeep.add_rollup(tradekeep.timeframe, tradekeep.timeframe, interval) IS
'derives the candles of target from those of source, from now on with every write, and from what is stored: true when that is done, false when it is more than about 200,000 candles and rebuild_rollups() has to go on.
A derived candle is closed when all its sources are there and closed, or when a closed source candle behind it ends grace or more after it (0 to 36525 days, without months, else TK003). Supplied candles stay. A target that does not consist of whole candles of source, or is derived from another timeframe or from ticks already, raises TK011. For the level admin';

CREATE FUNCTION tradekeep.drop_rollup(target tradekeep.timeframe) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	dependent tradekeep.timeframe;
BEGIN
	LOCK TABLE tradekeep.candle IN SHARE ROW EXCLUSIVE MODE;
	SELECT r.target INTO dependent FROM tradekeep.rollup AS r WHERE r.source = drop_rollup.target ORDER BY r.target LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '% candles are derived from % candles', dependent, target
			USING ERRCODE = 'dependent_objects_still_exist', HINT = format('SELECT tradekeep.drop_rollup(%L) first.', dependent);
	END IF;
	DELETE FROM tradekeep.rollup AS r WHERE r.target = drop_rollup.target;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION tradekeep.drop_rollup(tradekeep.timeframe) IS
'stops deriving candles of target and deletes those that were derived, but for frozen ones; false when there is no such rollup. 2BP01 while others are derived from it. For the level admin';

CREATE PROCEDURE tradekeep.rebuild_rollups(target tradekeep.timeframe DEFAULT NULL)
	LANGUAGE plpgsql
AS $$
DECLARE
	one tradekeep.rollup;
	progress tradekeep.rollup_build;
	told timestamptz;
	done boolean;
BEGIN
	COMMIT;
	-- A restore without triggers did not make them.
	IF NOT tradekeep.rollups_armed() AND EXISTS (SELECT FROM tradekeep.rollup) THEN
		PERFORM tradekeep.make_rollup_triggers();
		COMMIT;
	END IF;
	IF target IS NOT NULL AND NOT EXISTS (SELECT FROM tradekeep.rollup AS r
			WHERE r.target OPERATOR(pg_catalog.=) rebuild_rollups.target) THEN
		RAISE EXCEPTION 'no rollup makes % candles', target USING ERRCODE = 'TK011';
	END IF;
	FOR one IN
		SELECT * FROM tradekeep.rollup AS r
		WHERE rebuild_rollups.target IS NULL OR r.target OPERATOR(pg_catalog.=) rebuild_rollups.target
		ORDER BY r.target
	LOOP
		LOCK TABLE tradekeep.candle IN ROW EXCLUSIVE MODE;
		INSERT INTO tradekeep.rollup_build (target) VALUES (one.target) ON CONFLICT DO NOTHING;
		LOOP
			done := tradekeep.continue_build(one.target, 100000);
			SELECT * INTO progress FROM tradekeep.rollup_build AS b WHERE b.target OPERATOR(pg_catalog.=) one.target;
			COMMIT;
			EXIT WHEN done;
			IF progress.since IS DISTINCT FROM told THEN
				RAISE NOTICE '% from %: at %', one.target, one.source, progress.since;
				told := progress.since;
			END IF;
		END LOOP;
		RAISE NOTICE '% from %: done', one.target, one.source;
	END LOOP;
END
$$;
COMMENT ON PROCEDURE tradekeep.rebuild_rollups(tradekeep.timeframe) IS
'derives the candles of a rollup again, or of all, and writes what differs; goes on where add_rollup() left off. Commits after every 100,000 source candles, so that it holds up no writer for long: not inside a transaction block (2D000). For the level admin';

CREATE FUNCTION tradekeep.verify_rollups(OUT symbol text, OUT timeframe tradekeep.timeframe, OUT ts timestamptz,
	OUT problem text, OUT stored tradekeep.candle, OUT expected tradekeep.candle)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	WITH made AS (
		SELECT r.target, r.source, c.symbol, tradekeep.candle_start(r.target, c.ts) AS ts,
			make_interval(secs => greatest(extract(epoch FROM r.grace) - extract(epoch FROM r.source::interval), 0)::double precision) AS delay,
			tradekeep.candlestick(c.ts, c.open, c.high, c.low, c.close, c.volume) AS bar,
			count(*) FILTER (WHERE c.closed) AS closed
		FROM tradekeep.rollup AS r JOIN tradekeep.candle AS c ON c.timeframe = r.source
		GROUP BY r.target, r.source, r.grace, c.symbol, tradekeep.candle_start(r.target, c.ts)),
	newest AS (
		SELECT c.symbol, c.timeframe, max(c.ts) AS ts
		FROM tradekeep.candle AS c
		WHERE c.closed AND c.timeframe IN (SELECT r.source FROM tradekeep.rollup AS r)
		GROUP BY c.symbol, c.timeframe),
	expected AS (
		SELECT m.symbol, m.target AS timeframe, m.ts, (m.bar).open, (m.bar).high, (m.bar).low, (m.bar).close,
			(m.bar).volume, m.closed = tradekeep.count_candles(m.source, m.ts, tradekeep.candle_end(m.target, m.ts))
				OR coalesce(n.ts - m.delay >= tradekeep.candle_end(m.target, m.ts), false) AS closed,
			(m.bar).count::integer AS sources
		FROM made AS m LEFT JOIN newest AS n ON n.symbol = m.symbol AND n.timeframe = m.source
		WHERE m.ts >= timestamptz '1900-01-01 00:00+00'),
	stored AS (
		SELECT c.* FROM tradekeep.candle AS c
		WHERE c.timeframe IN (SELECT r.target FROM tradekeep.rollup AS r))
	SELECT coalesce(s.symbol, e.symbol), coalesce(s.timeframe, e.timeframe), coalesce(s.ts, e.ts),
		CASE WHEN s.symbol IS NULL THEN 'missing' WHEN e.symbol IS NULL THEN 'without sources' ELSE 'differs' END,
		CASE WHEN s.symbol IS NOT NULL THEN ROW(s.*)::tradekeep.candle END,
		CASE WHEN e.symbol IS NOT NULL THEN ROW(e.*)::tradekeep.candle END
	FROM stored AS s
	FULL JOIN expected AS e ON e.symbol = s.symbol AND e.timeframe = s.timeframe AND e.ts = s.ts
	WHERE (s.symbol IS NULL OR e.symbol IS NULL AND s.sources IS NOT NULL
			OR s.sources IS NOT NULL AND ((s.open, s.high, s.low, s.close, s.closed, s.sources)
				IS DISTINCT FROM (e.open, e.high, e.low, e.close, e.closed, e.sources)
				OR abs(s.volume - e.volume) > 1e-12 * greatest(s.volume, e.volume)))
		AND NOT EXISTS (
			SELECT FROM tradekeep.rollup AS r JOIN tradekeep.candle_horizon AS h ON h.timeframe IN (r.source, r.target)
			WHERE r.target = coalesce(s.timeframe, e.timeframe) AND h.symbol = coalesce(s.symbol, e.symbol)
				AND coalesce(s.ts, e.ts) < h.horizon)
	ORDER BY 1, 2, 3;
END;
COMMENT ON FUNCTION tradekeep.verify_rollups() IS
'derived candles that are not what follows from the candles that are stored, up to the horizons of retention; no row when all is well. Reads all candles of the sources. Open, high, low and close compare exactly, volume to 1e-12';

CREATE VIEW tradekeep.rollup_status AS
	SELECT r.target, r.source, r.grace, b.target IS NULL AS built, b.symbol AS build_symbol, b.since AS build_since,
		(SELECT max(h.horizon) FROM tradekeep.candle_horizon AS h WHERE h.timeframe = r.source) AS horizon,
		coalesce((SELECT sum(h.late) FROM tradekeep.candle_horizon AS h WHERE h.timeframe = r.source), 0) AS late
	FROM tradekeep.rollup AS r
	LEFT JOIN tradekeep.rollup_build AS b ON b.target = r.target;
COMMENT ON VIEW tradekeep.rollup_status IS
'a row a rollup: whether its history is built (else how far); before which time sources are gone by retention, at the latest, and how many came after that and were left out';

-- A candle stays while one that is derived from it is not old enough as a whole, or not built yet.
CREATE FUNCTION tradekeep.retention_end(timeframe tradekeep.timeframe, cutoff timestamptz) RETURNS timestamptz
	LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT CASE WHEN bool_or(b.target IS NOT NULL) THEN '-infinity'
		ELSE coalesce(min(tradekeep.candle_start(r.target, cutoff)), 'infinity') END
	FROM tradekeep.rollup AS r LEFT JOIN tradekeep.rollup_build AS b ON b.target = r.target
	WHERE r.source = retention_end.timeframe);
COMMENT ON FUNCTION tradekeep.retention_end(tradekeep.timeframe, timestamptz) IS
'candles that began before this time are not needed for rollups any more, where all that began before cutoff may go';

CREATE OR REPLACE FUNCTION tradekeep.doctor(OUT check_name text, OUT status text, OUT detail text, OUT remedy text)
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
		('rollups', NOT EXISTS (SELECT FROM tradekeep.rollup_build)
				AND (tradekeep.rollups_armed() OR NOT EXISTS (SELECT FROM tradekeep.rollup)),
			'warning',
			format('%s rollups, all built', (SELECT count(*) FROM tradekeep.rollup)),
			CASE WHEN NOT tradekeep.rollups_armed() THEN 'the triggers that derive candles are missing'
				ELSE (SELECT format('the history of %s candles is not built', string_agg(b.target::text, ', ' ORDER BY b.target))
					FROM tradekeep.rollup_build AS b) END,
			'CALL tradekeep.rebuild_rollups()'),
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

-- What reads is STABLE or IMMUTABLE, what writes is VOLATILE; only the exceptions have names.
CREATE OR REPLACE VIEW tradekeep.function_access AS
	SELECT p.oid::regprocedure AS function,
		CASE
			WHEN p.proname IN ('grant_access', 'revoke_access', 'apply_access', 'type_names',
				'keep_newest_candle', 'wake_sweeper',
				'arm_candle_notify', 'send_candle_notes', 'notify_closed_candles',
				'receive_horizon', 'roll_candles', 'forget_horizons', 'arm_rollups', 'build_rollups',
				'refuse_rollup_change', 'delete_derived') THEN 'owner'
			WHEN p.proname IN ('set_scope', 'reset_stats', 'set_candle_retention', 'cleanup_old_candles',
				'notify_candles', 'add_rollup', 'drop_rollup', 'rebuild_rollups', 'continue_build',
				'derive_candles', 'keep_frozen', 'make_rollup_triggers') THEN 'admin'
			WHEN p.provolatile = 'v' THEN 'writer'
			ELSE 'reader'
		END AS level
	FROM pg_catalog.pg_proc AS p
	WHERE p.pronamespace = 'tradekeep'::regnamespace;
COMMENT ON VIEW tradekeep.function_access IS 'the lowest level that may call each function';

CREATE OR REPLACE FUNCTION tradekeep.apply_access(role name, level text) RETURNS void
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
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON tradekeep.scope, tradekeep.candle_retention, tradekeep.candle_notify, tradekeep.rollup, tradekeep.rollup_build, tradekeep.candle_horizon TO %I',
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

REVOKE ALL ON ALL TABLES IN SCHEMA tradekeep FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA tradekeep FROM PUBLIC;

-- A role that was granted access may be gone.
SELECT tradekeep.apply_access(a.role, a.level)
FROM tradekeep.access AS a
JOIN pg_catalog.pg_roles AS r ON r.rolname OPERATOR(pg_catalog.=) a.role;
