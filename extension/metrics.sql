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
	-- Trades are locked first, as TRUNCATE does.
	WITH locked AS (SELECT FROM tradekeep.trade)
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
		('trade triggers', NOT EXISTS (SELECT FROM tradekeep.wrong_trade_triggers()), 'error',
			'every change of trades is marked',
			(SELECT format('triggers of tradekeep.trade are not enabled as they have to be: %s', string_agg(w.name, ', '))
				FROM tradekeep.wrong_trade_triggers() AS w),
			'SELECT tradekeep.rebuild_trade_stats() as the owner of the extension'),
		('trade statistics', (SELECT count(*) <= 10000 AND count(DISTINCT (m.first AT TIME ZONE 'UTC')::date) <= 31
				FROM tradekeep.trade_mark AS m),
			'warning',
			'trades are settled',
			(SELECT format('trades of %s days are not settled: statistics are right, and slow to read',
				count(DISTINCT (m.first AT TIME ZONE 'UTC')::date)) FROM tradekeep.trade_mark AS m),
			'CALL tradekeep.settle_trades(), which also tells what is in its way'),
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

