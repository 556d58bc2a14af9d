\echo Use "ALTER EXTENSION tradekeep UPDATE TO '0.2.0'" to load this file. \quit

-- 0.1.0 to 0.2.0: the room sweep, and what other rooms know of it.

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

CREATE VIEW tradekeep.effective_ttl_policy AS
	SELECT p.relation, p.column_name, p.keep, p.unit, p.keep_rows, p.key_columns, p.batch_size,
		p.rate_limit, p.lock_timeout, p.sweep_interval, p.paused
	FROM tradekeep.ttl_policy AS p
	WHERE EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = p.relation)
	UNION ALL
	SELECT b.relation, 'sweep_after', interval '0', NULL, NULL, NULL, NULL, NULL, NULL, NULL, false
	FROM (VALUES ('tradekeep.claim'::regclass), ('tradekeep.signal'::regclass)) AS b(relation)
	WHERE NOT EXISTS (SELECT FROM tradekeep.ttl_policy AS p WHERE p.relation = b.relation);
COMMENT ON VIEW tradekeep.effective_ttl_policy IS
'the policies that the sweeper applies: those of set_ttl(), and those that are built in where none was set';

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

-- metrics: doctor() looks at the sweeper too

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
		('role', has_table_privilege('tradekeep.claim'::regclass, 'INSERT')
			AND has_function_privilege('tradekeep.claim'::regproc, 'EXECUTE'),
			'warning',
			format('%s may claim', current_user),
			format('%s may read, not claim', current_user),
			format('SELECT tradekeep.grant_access(%L, ''writer'') as the owner of the extension', current_user))
	) AS c(check_name, passed, severity, good, bad, remedy);
END;

-- access: the new functions, and routines that are procedures

CREATE OR REPLACE VIEW tradekeep.function_access AS
	SELECT p.oid::regprocedure AS function,
		CASE
			WHEN p.proname IN ('grant_access', 'revoke_access', 'apply_access', 'type_names',
				'keep_newest_candle', 'wake_sweeper') THEN 'owner'
			WHEN p.proname IN ('set_scope', 'reset_stats') THEN 'admin'
			WHEN p.provolatile = 'v' THEN 'writer'
			ELSE 'reader'
		END AS level
	FROM pg_catalog.pg_proc AS p
	WHERE p.pronamespace = 'tradekeep'::regnamespace;

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
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', callable.function, role);
	END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION tradekeep.revoke_access(role name) RETURNS boolean
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

REVOKE ALL ON ALL TABLES IN SCHEMA tradekeep FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA tradekeep FROM PUBLIC;

-- A role that was granted access may be gone.
SELECT tradekeep.apply_access(a.role, a.level)
FROM tradekeep.access AS a
JOIN pg_catalog.pg_roles AS r ON r.rolname OPERATOR(pg_catalog.=) a.role;
