# What runs because a table is swept (triggers, row policies, functions in indexes and partition keys)
# runs as the table's owner and gains nothing, in the sweeper as in a superuser's CALL: nor does it keep
# the tables of others from being swept, nor leave anything behind in the session.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('attack');
$node->append_conf('postgresql.conf', "tradekeep.sweep_interval = '100ms'\nlog_statement = none");
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

# SQLSTATEs of errors, and of warnings, of a session of some role.
sub states
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql", on_error_stop => 0,
		extra_params => [ '-U', $role ]);
	return join ' ', $err =~ /(?:ERROR|WARNING):  (\w+)/g;
}

# The tests look at everything as a superuser whom nothing of mallory's can trick.
sql('CREATE ROLE tester LOGIN SUPERUSER; ALTER ROLE tester SET search_path = public');
$ENV{PGUSER} = 'tester';
sql(<<'SQL');
CREATE ROLE mallory LOGIN;
CREATE ROLE alice LOGIN;
CREATE EXTENSION tradekeep;
SELECT tradekeep.grant_access('mallory', 'writer'), tradekeep.grant_access('alice', 'writer');
CREATE SCHEMA m AUTHORIZATION mallory;
CREATE SCHEMA a AUTHORIZATION alice;
GRANT USAGE ON SCHEMA m TO PUBLIC;
GRANT USAGE ON SCHEMA a TO mallory;
GRANT CREATE ON SCHEMA public TO mallory;
CREATE TABLE public.secret (word text);
INSERT INTO secret VALUES ('xyzzy');
-- What was tried where, as whom, and what came of it.
CREATE TABLE public.log (place text, what text, who text, result text);
GRANT SELECT, INSERT ON log TO PUBLIC;
SQL

# A trigger that goes on when it is cancelled, in a database of its own, where it has time until the end.
sql('CREATE DATABASE held');
sql(<<'SQL', 'held');
CREATE EXTENSION tradekeep;
SELECT tradekeep.grant_access('mallory', 'writer');
CREATE SCHEMA m AUTHORIZATION mallory;
BEGIN;
SET LOCAL ROLE mallory;
CREATE TABLE m.stubborn (ts timestamptz PRIMARY KEY);
INSERT INTO m.stubborn VALUES ('2000-01-01');
CREATE FUNCTION m.stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		BEGIN
			PERFORM pg_sleep(100000);
		EXCEPTION WHEN query_canceled OR OTHERS THEN NULL;
		END;
	END LOOP;
END
$$;
CREATE TRIGGER stay BEFORE DELETE ON m.stubborn FOR EACH ROW EXECUTE FUNCTION m.stay();
SELECT tradekeep.set_ttl('m.stubborn', 'ts');
RESET ROLE;
-- After it, also in the order in which they are swept.
CREATE TABLE neighbour (ts timestamptz PRIMARY KEY);
INSERT INTO neighbour VALUES ('2000-01-01');
SELECT tradekeep.set_ttl('neighbour', 'ts');
COMMIT;
SQL

# Whatever mallory's code can do at all, it tries.
sql(<<'SQL');
SET SESSION AUTHORIZATION mallory;
CREATE FUNCTION m.statements() RETURNS text[] LANGUAGE sql AS $f$ SELECT ARRAY[
	'ALTER ROLE mallory SUPERUSER', 'CREATE ROLE by_mallory SUPERUSER', 'GRANT postgres TO mallory', 'GRANT alice TO mallory',
	'GRANT pg_execute_server_program TO mallory', 'ALTER DATABASE postgres SET work_mem = 123', 'ALTER ROLE postgres SET role = mallory',
	'SET ROLE postgres', 'SET LOCAL ROLE postgres', 'SET ROLE NONE', 'RESET ROLE', 'SET SESSION AUTHORIZATION postgres',
	'SET SESSION AUTHORIZATION DEFAULT', 'RESET SESSION AUTHORIZATION',
	$$SELECT set_config('role', 'postgres', false)$$, $$SELECT set_config('session_authorization', 'postgres', false)$$,
	$$SET session_replication_role = replica$$, $$SET tradekeep.sweep_lock_timeout = '1h'$$, $$ALTER SYSTEM SET work_mem = 123$$,
	$$COPY (SELECT 1) TO PROGRAM 'true'$$, $$COPY public.log FROM PROGRAM 'true'$$, $$SELECT pg_read_file('PG_VERSION')$$, $$SELECT lo_import('/etc/passwd')$$,
	'TABLE pg_authid', 'TABLE public.secret', 'TABLE a.private', 'DELETE FROM a.private', 'DROP TABLE a.private', 'LOCK TABLE public.secret',
	$$UPDATE tradekeep.ttl_policy SET keep = '0'$$, 'DELETE FROM tradekeep.sweep_state', $$SELECT tradekeep.set_ttl('a.private', 'ts')$$,
	$$SELECT tradekeep.grant_access('mallory', 'admin')$$, 'CALL tradekeep.sweep()', 'CREATE TABLE tradekeep.mine ()',
	'CREATE TEMP TABLE left_behind ()', 'CREATE TEMP VIEW left_behind AS SELECT 1', 'DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1',
	'PREPARE left_behind AS SELECT 1', 'DEALLOCATE ALL', 'DISCARD ALL', 'DISCARD PLANS', 'LISTEN left_behind', 'UNLISTEN *', 'LOAD ''tradekeep_other''',
	'CREATE FUNCTION m.c() RETURNS int LANGUAGE c AS ''none''', 'CREATE EXTENSION file_fdw', 'ALTER FUNCTION m.statements() OWNER TO postgres',
	'CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION m.event()', 'ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT ALL ON TABLES TO mallory',
	'SELECT pg_terminate_backend(pg_backend_pid())', 'SELECT pg_cancel_backend(pg_backend_pid())', 'SELECT pg_reload_conf()',
	'COMMIT', 'ROLLBACK', 'SAVEPOINT s'] $f$;
CREATE FUNCTION m.event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION m.attack(place text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	statement text; result text;
BEGIN
	INSERT INTO public.log VALUES (place, 'ran', current_user);
	-- In a session of mallory's own there is nothing to gain.
	IF session_user = 'mallory' THEN
		RETURN true;
	END IF;
	FOREACH statement IN ARRAY m.statements() LOOP
		FOR i IN 1 .. 2 LOOP
			BEGIN
				EXECUTE statement;
				result := 'done';
			EXCEPTION WHEN OTHERS THEN
				result := SQLSTATE;
			END;
		END LOOP;
		INSERT INTO public.log VALUES (place, statement, current_user, result);
	END LOOP;
	RETURN true;
END
$$;
CREATE FUNCTION m.pure(place text, n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN n; END $$;
CREATE FUNCTION m.on_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM m.attack(coalesce(TG_ARGV[0], TG_NAME));
	RETURN coalesce(new, old);
END
$$;
CREATE FUNCTION m.defer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN old; END $$;
CREATE FUNCTION m.insert_deferred() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO m.later VALUES (old.ts); RETURN old; END $$;
CREATE FUNCTION m.change_settings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM m.attack('settings');
	PERFORM set_config(name, setting, is_local) FROM (VALUES ('search_path', 'm'), ('lock_timeout', '1h'), ('statement_timeout', '1h'), ('timezone', 'Asia/Tokyo'),
		('synchronous_commit', 'off'), ('row_security', 'off'), ('default_transaction_read_only', 'on'), ('transaction_read_only', 'on'), ('enable_indexscan', 'off'),
		('my.setting', 'mallory'), ('application_name', 'mallory'), ('work_mem', '64kB')) AS v(name, setting), unnest('{t,f}'::boolean[]) AS is_local;
	RETURN old;
END
$$;
CREATE FUNCTION m.recurse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN m.again(old); END $$;
CREATE TABLE m.recursive (ts timestamptz PRIMARY KEY);
CREATE FUNCTION m.again(m.recursive) RETURNS m.recursive LANGUAGE plpgsql AS $$ BEGIN RETURN m.again($1); END $$;
CREATE TRIGGER recurse BEFORE DELETE ON m.recursive FOR EACH ROW EXECUTE FUNCTION m.recurse();

CREATE TABLE m.triggers (ts timestamptz PRIMARY KEY);
CREATE TRIGGER before_row BEFORE DELETE ON m.triggers FOR EACH ROW EXECUTE FUNCTION m.on_trigger();
CREATE TRIGGER after_row AFTER DELETE ON m.triggers FOR EACH ROW EXECUTE FUNCTION m.on_trigger();
CREATE TRIGGER before_statement BEFORE DELETE ON m.triggers EXECUTE FUNCTION m.on_trigger();
CREATE TRIGGER after_statement AFTER DELETE ON m.triggers REFERENCING OLD TABLE AS gone EXECUTE FUNCTION m.on_trigger();
CREATE CONSTRAINT TRIGGER deferred AFTER DELETE ON m.triggers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION m.on_trigger();
CREATE TABLE m.defers (ts timestamptz PRIMARY KEY);
CREATE TRIGGER defer BEFORE DELETE ON m.defers FOR EACH ROW EXECUTE FUNCTION m.defer();
CREATE CONSTRAINT TRIGGER deferred AFTER DELETE ON m.defers DEFERRABLE FOR EACH ROW EXECUTE FUNCTION m.on_trigger('deferred again');
-- The same by a table that is not swept itself.
CREATE TABLE m.later (ts timestamptz);
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON m.later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION m.on_trigger('deferred elsewhere');
CREATE TABLE m.inserts (ts timestamptz PRIMARY KEY);
CREATE TRIGGER insert_deferred BEFORE DELETE ON m.inserts FOR EACH ROW EXECUTE FUNCTION m.insert_deferred();
CREATE TABLE m.settings (ts timestamptz PRIMARY KEY);
CREATE TRIGGER settings BEFORE DELETE ON m.settings FOR EACH ROW EXECUTE FUNCTION m.change_settings();
CREATE TABLE m.security (ts timestamptz PRIMARY KEY);
ALTER TABLE m.security ENABLE ROW LEVEL SECURITY;
ALTER TABLE m.security FORCE ROW LEVEL SECURITY;
CREATE POLICY policy ON m.security USING (m.attack('policy'));
CREATE TABLE m.indexed (ts timestamptz PRIMARY KEY);
CREATE TABLE m.ruled (ts timestamptz PRIMARY KEY);
CREATE RULE rule AS ON DELETE TO m.ruled DO ALSO SELECT m.attack('rule');
CREATE TABLE m.parted (ts timestamptz, k int) PARTITION BY LIST (k);
CREATE TABLE m.parted_default PARTITION OF m.parted DEFAULT;
CREATE INDEX ON m.parted (ts);
CREATE TRIGGER partition AFTER DELETE ON m.parted FOR EACH ROW EXECUTE FUNCTION m.on_trigger();
CREATE TABLE m.root (ts timestamptz, k int) PARTITION BY LIST (k);
CREATE INDEX ON m.root (ts);
CREATE TRIGGER attached BEFORE DELETE ON m.root FOR EACH ROW EXECUTE FUNCTION m.on_trigger();
CREATE TABLE m.handed_over (ts timestamptz PRIMARY KEY);
CREATE TRIGGER handed_over BEFORE DELETE ON m.handed_over FOR EACH ROW EXECUTE FUNCTION m.on_trigger();
CREATE TABLE m.drops_policy (ts timestamptz PRIMARY KEY);
CREATE FUNCTION m.drop_policy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM tradekeep.drop_ttl('m.drops_policy'); RETURN old; END $$;
CREATE TRIGGER drop_policy BEFORE DELETE ON m.drops_policy FOR EACH ROW EXECUTE FUNCTION m.drop_policy();
-- Errors of every colour.
CREATE FUNCTION m.fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = TG_ARGV[0], MESSAGE = '%s%n%d % ' || repeat('é', 10000), HINT = '%s%n', DETAIL = '%m', SCHEMA = '%s';
END
$$;
DO $$
DECLARE
	state text;
BEGIN
	FOREACH state IN ARRAY '{01000,02000,22012,25P02,40001,40P01,53200,54001,55P03,57014,57P01,57P02,57P03,P0004,XX000,ZZZZZ}'::text[] LOOP
		EXECUTE format('CREATE TABLE m.%I (ts timestamptz PRIMARY KEY)', 'error ' || state);
		EXECUTE format('CREATE TRIGGER fail BEFORE DELETE ON m.%I FOR EACH ROW EXECUTE FUNCTION m.fail(%L)', 'error ' || state, state);
	END LOOP;
END
$$;

-- Names that stand for something else in the search_path of the session, and of everybody.
CREATE FUNCTION m.trap(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM m.attack('operator'); RETURN true; END $$;
CREATE FUNCTION m.trap(tid, tid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM m.attack('operator'); RETURN true; END $$;
CREATE FUNCTION m.trap(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM m.attack('operator'); RETURN true; END $$;
CREATE OPERATOR m.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = m.trap);
CREATE OPERATOR m.>= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = m.trap);
CREATE OPERATOR m.= (LEFTARG = tid, RIGHTARG = tid, FUNCTION = m.trap);
CREATE OPERATOR m.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = m.trap);
CREATE OPERATOR public.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = m.trap);
CREATE OPERATOR public.= (LEFTARG = tid, RIGHTARG = tid, FUNCTION = m.trap);
CREATE FUNCTION m.count(bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM m.attack('function'); RETURN 0; END $$;
CREATE FUNCTION m.max(timestamptz) RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM m.attack('function'); RETURN NULL; END $$;

RESET SESSION AUTHORIZATION;
ALTER DATABASE postgres SET search_path = m, public, pg_catalog;
ALTER ROLE mallory SET search_path = m, public, pg_catalog;
ALTER ROLE postgres SET search_path = m, public, pg_catalog;

-- Partitions that a superuser attached to a hostile table, and a hostile one below another's table.
CREATE TABLE public.attached PARTITION OF m.root FOR VALUES IN (1);
INSERT INTO m.root VALUES ('2000-01-01', 1);
CREATE TABLE a.tree (ts timestamptz, k int) PARTITION BY LIST (k);
CREATE INDEX ON a.tree (ts);
ALTER TABLE a.tree OWNER TO alice;
CREATE TABLE a.tree_1 PARTITION OF a.tree FOR VALUES IN (1) PARTITION BY RANGE ((k + m.pure('partition key', 1)));
ALTER TABLE a.tree_1 OWNER TO mallory;
-- A hostile table that refers to another's.
CREATE TABLE public.referenced (id int PRIMARY KEY, ts timestamptz);
CREATE INDEX ON referenced (ts);
INSERT INTO referenced VALUES (1, '2000-01-01');
GRANT REFERENCES ON referenced TO mallory;
BEGIN;
SELECT tradekeep.set_ttl('referenced', 'ts', sweep_interval => '1 day'), tradekeep.pause_ttl('referenced');
COMMIT;
SET SESSION AUTHORIZATION mallory;
CREATE TABLE m.refers (id int REFERENCES public.referenced ON DELETE CASCADE);
CREATE TRIGGER cascade_before BEFORE DELETE ON m.refers FOR EACH ROW EXECUTE FUNCTION m.on_trigger();
CREATE TRIGGER cascade_after AFTER DELETE ON m.refers FOR EACH ROW EXECUTE FUNCTION m.on_trigger();
INSERT INTO m.refers VALUES (1);
RESET SESSION AUTHORIZATION;
-- Neighbours: harmless tables, named so that they come after the others, whatever the order.
CREATE TABLE a.neighbour (ts timestamptz PRIMARY KEY);
ALTER TABLE a.neighbour OWNER TO alice;
CREATE TABLE public.neighbour (ts timestamptz PRIMARY KEY);
CREATE TABLE a.private (ts timestamptz);
INSERT INTO a.private VALUES ('2000-01-01');
ALTER TABLE a.private OWNER TO alice;
SET SESSION AUTHORIZATION mallory;
-- A function that says it only computes may call one that does not.
CREATE OR REPLACE FUNCTION m.pure(place text, n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM m.attack(place); RETURN n; END $$;
CREATE INDEX ON m.indexed (ts, m.pure('index expression', 1)) WHERE m.pure('index predicate', 1) > 0;
INSERT INTO m.indexed VALUES ('2000-01-01');
INSERT INTO m.parted VALUES ('2000-01-01', 1);
RESET SESSION AUTHORIZATION;
TRUNCATE log;
SQL

# A row of 2000 for each table of mallory's that can be swept by itself, and for the neighbours.
my $fill = <<'SQL';
DO $$
DECLARE
	relation regclass;
BEGIN
	FOR relation IN SELECT c.oid FROM pg_class AS c WHERE relnamespace OPERATOR(pg_catalog.=) 'm'::regnamespace AND relkind = 'r'
		AND relname NOT IN ('indexed', 'parted_default', 'refers', 'later')
	LOOP
		EXECUTE format('INSERT INTO %s VALUES (''2000-01-01'') ON CONFLICT DO NOTHING', relation);
	END LOOP;
END
$$;
INSERT INTO a.neighbour VALUES ('2000-01-01');
INSERT INTO public.neighbour VALUES ('2000-01-01');
SQL

# Everything that must not change: roles, their memberships and settings, rights on what is not mallory's.
my $fingerprint = <<'SQL';
SELECT md5(string_agg(x, ';' ORDER BY x)) FROM (
	SELECT r::text FROM pg_authid AS r UNION ALL SELECT m::text FROM pg_auth_members AS m UNION ALL SELECT s::text FROM pg_db_role_setting AS s
	UNION ALL SELECT d::text FROM pg_default_acl AS d UNION ALL SELECT a::text FROM tradekeep.access AS a UNION ALL SELECT w FROM secret AS s(w)
	UNION ALL SELECT p::text FROM a.private AS p UNION ALL SELECT e.evtname::text FROM pg_event_trigger AS e UNION ALL SELECT extname::text FROM pg_extension
	UNION ALL SELECT concat(oid, relowner, relacl) FROM pg_class WHERE relkind = 'r'
	UNION ALL SELECT concat(oid, proowner, proacl, prosecdef) FROM pg_proc
	UNION ALL SELECT concat(oid, nspowner, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp') AS t(x)
SQL
my $expected_places = join ' ', 'after_row', 'after_statement', 'before_row', 'before_statement', 'deferred', 'deferred elsewhere', 'handed_over',
  'index expression', 'index predicate', 'partition', 'policy', 'settings';
my $failures = "SELECT relation, last_sqlstate FROM tradekeep.sweep_status WHERE failures > 0 ORDER BY relation::text COLLATE \"C\"";

# As whom did what run, and what was not refused.
sub check_log
{
	my ($by) = @_;
	is(sql("SELECT string_agg(DISTINCT place, ' ' ORDER BY place) FROM log WHERE what = 'ran'"), $expected_places, "$by: it all ran");
	is(sql('SELECT string_agg(DISTINCT who, \' \') FROM log'), 'mallory', "$by: as mallory, and nobody else");
	is(sql("SELECT place, what FROM log WHERE result = 'done' ORDER BY 1, 2"), '', "$by: and nothing of it was allowed");
	is(sql('SELECT count(DISTINCT what) - 1 = cardinality(m.statements()) FROM log'), 't', "$by: everything was tried");
	is(sql('SELECT (SELECT count(*) FROM a.neighbour) + (SELECT count(*) FROM public.neighbour)'), '0', "$by: the neighbours are swept");
	is(sql('SELECT count(*) FROM m.triggers'), '0', "$by: what lets itself be swept is swept");
	is( sql(<<'SQL'), 't', "$by: each error is its own table's");
SELECT bool_and(failures > 0 AND last_sqlstate = right(relation::text COLLATE "C", 6)::char(5) AND octet_length(last_error) BETWEEN 400 AND 500)
FROM tradekeep.sweep_status WHERE relation::text ~ 'error'
SQL
	is(sql("SELECT count(*) FROM tradekeep.sweep_status WHERE relation::text ~ 'error'"), '16', "$by: all of them");
	is( sql("$failures" =~ s/ORDER/AND relation::text !~ 'error' ORDER/r),
		"a.tree|42501\nm.defers|42501\nm.recursive|54001\nm.root|42501\nm.ruled|0A000\nreferenced|42501",
		"$by: what cannot be swept without danger is refused");
	is(sql('SELECT (SELECT count(*) FROM attached) + (SELECT count(*) FROM referenced) + (SELECT count(*) FROM m.refers)'), '3', "$by: and left alone");
	is(sql("SELECT count(*) FROM tradekeep.effective_ttl_policy WHERE relation = 'm.drops_policy'::regclass"), '0', "$by: a policy that drops itself is gone");
	sql('TRUNCATE log');
	return;
}

# The sweeper looks once, for a day is the interval that the policies say; new ones are due at once.
my $before = sql($fingerprint);
my $policies = <<'SQL';
DO $$
DECLARE
	relation regclass;
BEGIN
	SET LOCAL client_min_messages = warning;
	FOR relation IN SELECT c.oid FROM pg_class AS c WHERE relnamespace OPERATOR(pg_catalog.=) 'm'::regnamespace AND relkind IN ('r', 'p')
		AND relname NOT IN ('parted_default', 'refers', 'later')
	LOOP
		PERFORM tradekeep.set_ttl(relation, 'ts', sweep_interval => '1 day');
	END LOOP;
	PERFORM tradekeep.set_ttl('a.tree', 'ts', sweep_interval => '1 day'), tradekeep.pause_ttl('public.referenced', false),
		tradekeep.set_ttl('a.neighbour', 'ts', sweep_interval => '1 day'), tradekeep.set_ttl('public.neighbour', 'ts', sweep_interval => '1 day');
END
$$;
SQL
sql("BEGIN; $fill $policies TRUNCATE log; COMMIT");
$node->poll_query_until('postgres',
	'SELECT count(*) = 0 FROM tradekeep.effective_ttl_policy AS p WHERE NOT EXISTS (SELECT FROM tradekeep.sweep_state AS s WHERE s.relation = p.relation)'
	  . " AND p.relation <> 'm.drops_policy'::regclass")
  or die 'the sweeper does not come round';
check_log('sweeper');
is(sql($fingerprint), $before, 'sweeper: roles, rights and owners are what they were');

# The same by hand, in the session of a superuser, where there is more to spoil.
sql("$fill SET SESSION AUTHORIZATION mallory; INSERT INTO m.indexed VALUES ('2000-01-01'); INSERT INTO m.parted VALUES ('2000-01-01', 1)");
sql('TRUNCATE log');
my $session = <<'SQL';
SELECT string_agg(concat_ws('=', name, setting, source, reset_val), ';' ORDER BY name), current_user, session_user, pg_my_temp_schema(), pg_backend_pid(),
	(SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors), (SELECT string_agg(c, ' ') FROM pg_listening_channels() AS c),
	current_setting('my.setting', true), current_schemas(true)
FROM pg_settings
SQL
my ($status, $out, $err) = $node->psql('postgres', <<"SQL", on_error_stop => 0, extra_params => [ '-U', 'postgres' ]);
\\set VERBOSITY sqlstate
LOAD 'plpgsql';
SET lock_timeout = '54321ms';
SET timezone = 'America/New_York';
SET synchronous_commit = remote_write;
SET my.setting = 'mine';
PREPARE prepared AS SELECT 1;
LISTEN channel;
$session;
CALL tradekeep.sweep();
$session;
CREATE TEMP TABLE works ();
SQL
my ($session_before, $session_after) = split /\n/, $out;
my %known = map { $_ => 1 } split /[;|]/, $session_before;
is(join(' ', grep { !$known{$_} } split /[;|]/, $session_after), '', 'by hand: the session is what it was');
cmp_ok(scalar keys %known, '>', 300, 'by hand: as far as can be seen');
unlike($err, qr/ERROR/, 'by hand: no error ends it');
is(join(' ', sort $err =~ /WARNING:  (\w+)/g),
	join(' ', sort qw(01000 02000 22012 25P02 40001 40P01 53200 54001 55P03 57014 57P01 57P02 57P03 P0004 XX000 ZZZZZ),
		qw(42501 42501 54001 42501 42501 0A000)),
	'by hand: each failure is told');
check_log('by hand');
is(sql($fingerprint), $before, 'by hand: roles, rights and owners are what they were');
is(states('postgres', "CALL tradekeep.sweep('m.\"error 57014\"')"), '57014', 'by name: what says it was cancelled is an error like others');
is(sql("SELECT count(*) FROM tradekeep.sweep_status WHERE relation::text ~ 'error'"), '16', 'by name: it is still looked after');

# A table that has a new owner is swept as that one from the next look on.
sql("INSERT INTO m.handed_over VALUES ('2000-01-01'); ALTER TABLE m.handed_over OWNER TO alice; SELECT tradekeep.set_ttl('m.handed_over', 'ts')");
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM m.handed_over') or die 'the new owner is not swept';
is(sql("SELECT string_agg(DISTINCT who, ' ') FROM log WHERE place = 'handed_over'"), 'alice', 'sweeper: a new owner counts');
sql("TRUNCATE log; SELECT tradekeep.set_ttl('m.handed_over', 'ts', sweep_interval => '1 day')");
$node->poll_query_until('postgres', "SELECT next_run IS NOT NULL FROM tradekeep.sweep_state WHERE relation = 'm.handed_over'::regclass");
sql("ALTER TABLE m.handed_over OWNER TO mallory; INSERT INTO m.handed_over VALUES ('2000-01-01')");
states('postgres', "CALL tradekeep.sweep('m.handed_over')");
is(sql("SELECT string_agg(DISTINCT who, ' ') FROM log WHERE place = 'handed_over'"), 'mallory', 'by hand: and the one after that');

# The other way round: a hostile session, and code of alice's that names a table without its schema. In the session of
# mallory that would be a temporary one of his, with a trigger, or a view with a function.
sql(<<'SQL');
TRUNCATE log;
SET ROLE alice;
SET search_path = a;
CREATE TABLE a.trapped (ts timestamptz PRIMARY KEY);
INSERT INTO trapped VALUES ('2000-01-01');
CREATE FUNCTION a.audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (old.ts); RETURN NULL; END $$;
CREATE TRIGGER audit AFTER DELETE ON trapped FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TABLE a.looks (ts timestamptz PRIMARY KEY);
INSERT INTO looks VALUES ('2000-01-01');
CREATE TABLE a.lookup (x int);
INSERT INTO a.lookup VALUES (1);
CREATE FUNCTION a.look(int) RETURNS int IMMUTABLE LANGUAGE sql RETURN 1;
CREATE INDEX ON looks (ts) WHERE look(1) > 0;
-- From 17 on, CREATE INDEX itself pins the search_path.
CREATE OR REPLACE FUNCTION a.look(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT max(x) FROM lookup); END $$;
CREATE TABLE a.guarded (ts timestamptz PRIMARY KEY);
INSERT INTO guarded VALUES ('2000-01-01');
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
CREATE FUNCTION a.allowed() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT max(x) FROM lookup) > 0; END $$;
CREATE POLICY guarded ON guarded USING (allowed());
BEGIN;
SELECT tradekeep.set_ttl(t, 'ts'), tradekeep.pause_ttl(t) FROM unnest('{trapped,looks,guarded}'::regclass[]) AS t;
COMMIT;
SQL
my $trap = <<'SQL';
CREATE TEMP TABLE audit (ts timestamptz);
GRANT ALL ON audit TO PUBLIC;
CREATE TRIGGER sprung BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION m.on_trigger('temporary table');
CREATE OR REPLACE FUNCTION m.spring() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM m.attack('temporary view'); RETURN 1; END $$;
CREATE TEMP VIEW lookup AS SELECT m.spring() AS x;
GRANT ALL ON lookup TO PUBLIC;
SQL
is(states('mallory', "$trap CALL tradekeep.sweep('a.trapped'); CALL tradekeep.sweep('a.looks'); CALL tradekeep.sweep('a.guarded')"),
	'42501 42501 42501', 'a hostile session does not sweep the tables of others');
sql("SELECT tradekeep.pause_ttl(t, false), tradekeep.set_ttl(t, 'ts', sweep_interval => '1 day') FROM unnest('{a.trapped,a.looks,a.guarded}'::regclass[]) AS t");
$node->poll_query_until('postgres', 'SELECT count(*) = 3 FROM tradekeep.sweep_state WHERE relation IN (\'a.trapped\'::regclass, \'a.looks\'::regclass, \'a.guarded\'::regclass)')
  or die 'the sweeper does not come round';
my $states_before = sql('SELECT md5(string_agg(s::text, \';\' ORDER BY relation)) FROM tradekeep.sweep_state AS s WHERE relation::text ~ \'^a\'');
($status, $out, $err) = $node->psql('postgres', <<"SQL", on_error_stop => 0, extra_params => [ '-U', 'mallory' ]);
$trap
SET client_min_messages = error;
CALL tradekeep.sweep();
SELECT count(*) OPERATOR(pg_catalog.>) 20, count(lag) OPERATOR(pg_catalog.>) -1 FROM tradekeep.sweep_status;
SELECT count(tradekeep.ttl_backlog(relation)) OPERATOR(pg_catalog.>) 20 FROM tradekeep.effective_ttl_policy;
SQL
is("$out$err", "t|t\nt", 'it may look at all of them');
is(sql("SELECT string_agg(DISTINCT who, ' ') FROM log WHERE place ~ 'temporary'"), '', 'the traps are not sprung');
is(sql('SELECT md5(string_agg(s::text, \';\' ORDER BY relation)) FROM tradekeep.sweep_state AS s WHERE relation::text ~ \'^a\''), $states_before,
	'nor is anything recorded for others\' tables');

# A transaction that is left open keeps a policy and what is recorded for it, and nobody else.
my $open = $node->background_psql('postgres', on_error_stop => 0);
$open->query_safe("SET SESSION AUTHORIZATION mallory; BEGIN; SELECT tradekeep.set_ttl('m.triggers', 'ts')");
sql("INSERT INTO m.triggers VALUES ('2000-01-01'); INSERT INTO a.neighbour VALUES ('2000-01-01'); SELECT tradekeep.set_ttl('a.neighbour', 'ts')");
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM a.neighbour'), 'a transaction that is left open keeps nobody else waiting');
$open->query_safe('ROLLBACK');
$open->quit;

# By now the trigger that would not end was ended, with the process; others have their turn before it is tried again.
$node->poll_query_until('held', 'SELECT count(*) = 0 FROM neighbour') or diag('the neighbour is kept waiting');
is(sql('SELECT count(*) FROM neighbour', 'held'), '0', 'a trigger that goes on when cancelled does not hold the sweeper');
$node->poll_query_until('held', "SELECT failures > 0 FROM tradekeep.sweep_state WHERE relation = 'm.stubborn'::regclass");
is(sql("SELECT last_sqlstate, failures > 0, next_run IS NOT NULL, rows FROM tradekeep.sweep_status WHERE relation = 'm.stubborn'::regclass", 'held'),
	'57P01|t|t|0', 'what it did is recorded, and it waits');

$node->stop;
done_testing();
