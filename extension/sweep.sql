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
		('tradekeep.symbol_lock'::regclass, 'until', NULL, interval '1 min'),
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

