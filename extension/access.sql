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
				'arm_candle_notify', 'send_candle_notes', 'notify_closed_candles',
				'receive_horizon', 'roll_candles', 'forget_horizons', 'arm_rollups', 'build_rollups',
				'refuse_rollup_change', 'delete_derived', 'mark_trades', 'enable_trade_triggers') THEN 'owner'
			WHEN p.proname IN ('set_scope', 'reset_stats', 'set_candle_retention', 'cleanup_old_candles',
				'notify_candles', 'add_rollup', 'drop_rollup', 'rebuild_rollups', 'continue_build',
				'derive_candles', 'keep_frozen', 'make_rollup_triggers', 'rebuild_trade_stats') THEN 'admin'
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
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON tradekeep.claim, tradekeep.signal, tradekeep.candle, tradekeep.tick,
			tradekeep.trade, tradekeep.symbol_lock, tradekeep.replay TO %I', role);
		EXECUTE format('GRANT INSERT, UPDATE ON tradekeep.cache_version TO %I', role);
		EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA tradekeep TO %I', role);
	END IF;
	IF rank >= 3 THEN
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON tradekeep.scope, tradekeep.candle_retention, tradekeep.candle_notify, tradekeep.rollup, tradekeep.rollup_build, tradekeep.candle_horizon TO %I',
			role);
		EXECUTE format('GRANT TRUNCATE ON tradekeep.claim, tradekeep.signal, tradekeep.candle, tradekeep.tick,
			tradekeep.trade TO %I', role);
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
	tradekeep.signal_direction, tradekeep.signal_price, tradekeep.label, tradekeep.figure,
	tradekeep.positive_figure, tradekeep.trade_time, tradekeep.lock_side FROM PUBLIC;

