# Tables under the sweeper: some fail and are mended, change or vanish, are many, are dumped and restored, or
# live in a database with settings of its own mind.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('tables');
$node->append_conf('postgresql.conf', "tradekeep.sweep_interval = '100ms'");
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', "SET client_min_messages = warning;\n$sql");
}

sub soon
{
	my ($sql, $name, $database) = @_;
	ok($node->poll_query_until($database // 'postgres', "SELECT $sql"), $name);
	return;
}

sub status
{
	my ($columns, $relation) = @_;
	return sql("SELECT $columns FROM tradekeep.sweep_status WHERE relation = '$relation'::regclass");
}

# A round over everything has passed when this one is empty again.
sub round
{
	my ($database) = @_;
	sql("INSERT INTO marker VALUES ('2000-01-01')", $database);
	$node->poll_query_until($database // 'postgres', 'SELECT count(*) = 0 FROM marker') or die 'the sweeper does not come round';
	return;
}

my $marker = "CREATE TABLE marker (ts timestamptz PRIMARY KEY); SELECT tradekeep.set_ttl('marker', 'ts');";
sql("CREATE EXTENSION tradekeep; $marker");

# A trigger that raises.
sql(<<'SQL');
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = 'TT001'; END $$;
CREATE TABLE broken (ts timestamptz PRIMARY KEY);
CREATE TRIGGER fail BEFORE DELETE ON broken FOR EACH ROW EXECUTE FUNCTION fail();
INSERT INTO broken VALUES ('2000-01-01');
CREATE TABLE healthy (ts timestamptz PRIMARY KEY);
INSERT INTO healthy VALUES ('2000-01-01'), (now() + interval '1 hour');
SELECT tradekeep.set_ttl('broken', 'ts'), tradekeep.set_ttl('healthy', 'ts');
SQL
soon('count(*) = 1 FROM healthy', 'a healthy table beside a broken one is swept');
soon("failures >= 2 FROM tradekeep.sweep_state WHERE relation = 'broken'::regclass", 'the broken one is tried again');
is(status("last_sqlstate, last_error, rows, next_run - last_error_at >= 2 ^ (failures - 1) * interval '1 second'", 'broken'),
	'TT001|no|0|t', 'its error is recorded, and it backs off');
is(sql("SELECT count(*) > 0 FROM (SELECT started_at - lag(started_at) OVER (ORDER BY started_at) AS gap FROM tradekeep.sweep_history WHERE relation = 'broken'::regclass) AS h"
		. " WHERE gap < '1 second'"), 'f', 'never sooner than it says');
is(sql("SELECT status FROM tradekeep.doctor() WHERE check_name = 'sweep'"), 'warning', 'the doctor knows');
is(sql("SELECT count(*) FROM tradekeep.sweep_status WHERE failures > 0"), '1', 'no other fails');
sql("INSERT INTO healthy VALUES ('2000-01-01')");
soon('count(*) = 1 FROM healthy', 'the others go on');
sql('DROP TRIGGER fail ON broken');
soon('count(*) = 0 FROM broken', 'mended, it is swept');
soon("failures = 0 AND last_sqlstate = 'TT001' FROM tradekeep.sweep_status WHERE relation = 'broken'::regclass", 'and that is forgotten, but for the last error');
is(sql("SELECT status FROM tradekeep.doctor() WHERE check_name = 'sweep'"), 'ok', 'the doctor is content');
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /could not sweep table public\.broken/g), 1, 'the log says it once');

# Columns and tables that change.
sql(<<'SQL');
CREATE TABLE renamed (id int, ts timestamptz);
CREATE INDEX ON renamed (ts);
CREATE TABLE robbed (id int, ts timestamptz);
CREATE TABLE retyped (ts timestamptz PRIMARY KEY);
CREATE TABLE moved (ts timestamptz PRIMARY KEY);
SELECT tradekeep.set_ttl('renamed', 'ts'), tradekeep.set_ttl('robbed', 'ts'), tradekeep.set_ttl('retyped', 'ts'), tradekeep.set_ttl('moved', 'ts');
SQL
sql(<<'SQL');
ALTER TABLE renamed RENAME COLUMN ts TO at;
INSERT INTO renamed VALUES (1, '2000-01-01');
ALTER TABLE robbed DROP COLUMN ts;
ALTER TABLE retyped ALTER COLUMN ts TYPE text;
CREATE SCHEMA elsewhere;
BEGIN;
ALTER TABLE moved RENAME TO "Moved ""there""";
ALTER TABLE "Moved ""there""" SET SCHEMA elsewhere;
INSERT INTO elsewhere."Moved ""there""" VALUES ('2000-01-01');
COMMIT;
SQL
soon('count(*) = 0 FROM elsewhere."Moved ""there"""', 'a table that is renamed and moved keeps its policy');
soon("count(*) = 3 FROM tradekeep.sweep_state WHERE failures > 0", 'columns that are gone are noticed');
is(status('last_sqlstate', 'renamed') . ' ' . status('last_sqlstate', 'robbed') . ' ' . status('last_sqlstate', 'retyped'),
	'42703 42703 42804', 'for what they are');
is(sql('SELECT count(*) FROM renamed'), '1', 'and nothing is deleted by another');
sql('ALTER TABLE renamed RENAME COLUMN at TO ts');
soon('count(*) = 0 FROM renamed', 'back again, it is swept');
sql("ALTER TABLE retyped ALTER COLUMN ts TYPE date USING ts::date; INSERT INTO retyped VALUES ('2000-01-01')");
soon('count(*) = 0 FROM retyped', 'of another type that will do, too');
sql('DROP INDEX renamed_ts_idx; INSERT INTO renamed VALUES (2, \'2000-01-01\')');
soon('count(*) = 0 FROM renamed', 'without its index as well');

# A table that is dropped takes everything along; the next of its name starts anew.
my $old = sql("SELECT 'healthy'::regclass::oid");
sql("DROP TABLE healthy, robbed; CREATE TABLE healthy (ts timestamptz PRIMARY KEY); INSERT INTO healthy VALUES ('2000-01-01')");
for my $table ('ttl_policy', 'sweep_state', 'sweep_history')
{
	soon("count(*) = 0 FROM tradekeep.$table WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = relation)", "$table forgets what was dropped");
}
round();
is(sql('SELECT count(*) FROM healthy'), '1', 'a new table of an old name has no policy');
is(sql("SELECT count(*) FROM tradekeep.sweep_status WHERE relation IN ('healthy'::regclass, $old)"), '0', 'nor any past');
# Rolled back, it stays what it was.
sql("SELECT tradekeep.set_ttl('healthy', 'ts'); BEGIN; DROP TABLE healthy; ROLLBACK");
soon('count(*) = 0 FROM healthy', 'one that was not dropped after all is swept');

# 200 policies.
$node->safe_psql('postgres', 'CREATE DATABASE many');
sql(<<'SQL', 'many');
CREATE EXTENSION tradekeep;
DO $$
BEGIN
	FOR i IN 1 .. 200 LOOP
		EXECUTE format('CREATE TABLE t%s (ts timestamptz PRIMARY KEY)', i);
		EXECUTE format('INSERT INTO t%s VALUES (''2000-01-01''), (now() + interval ''1 hour'')', i);
		PERFORM tradekeep.set_ttl(format('t%s', i), 'ts');
	END LOOP;
	-- And one that is partitioned.
	CREATE TABLE p (ts timestamptz, n int) PARTITION BY RANGE (ts);
	CREATE INDEX ON p (ts);
	CREATE TABLE p_old PARTITION OF p FOR VALUES FROM ('2000-01-01') TO ('2001-01-01');
	CREATE TABLE p_new PARTITION OF p FOR VALUES FROM ('2001-01-01') TO (MAXVALUE);
	INSERT INTO p VALUES ('2000-02-02', 1), ('2001-02-02', 2);
	PERFORM tradekeep.set_ttl('p', 'ts');
END
$$;
CREATE FUNCTION counted(OUT expired bigint, OUT live bigint) LANGUAGE plpgsql AS $$
DECLARE
	here record;
BEGIN
	expired := 0;
	live := 0;
	FOR i IN 1 .. 200 LOOP
		EXECUTE format('SELECT count(*) FILTER (WHERE ts < now()) AS expired, count(*) FILTER (WHERE ts > now()) AS live FROM t%s', i) INTO here;
		expired := expired + here.expired;
		live := live + here.live;
	END LOOP;
END
$$;
SQL
soon('expired = 0 FROM counted()', '200 tables are swept', 'many');
is(sql('SELECT live FROM counted()', 'many'), '200', 'and no row too many');
soon("to_regclass('p_old') IS NULL", 'a partition is dropped', 'many');
is(sql('SELECT string_agg(n::text, \',\') FROM p', 'many'), '2', 'and the one that has no end is not');
soon('count(*) = 201 AND bool_and(last_run IS NOT NULL AND failures = 0) FROM tradekeep.sweep_status WHERE relation::text !~ \'^tradekeep\'', 'the status knows them all', 'many');

# Settings that a database may have for reasons of its own.
$node->safe_psql('postgres', 'CREATE DATABASE odd');
sql("CREATE EXTENSION tradekeep; $marker INSERT INTO marker VALUES ('2000-01-01')", 'odd');
sql(<<'SQL', 'odd');
CREATE ROLE nobody;
SELECT tradekeep.set_ttl('marker', 'ts');
ALTER DATABASE odd SET default_transaction_read_only = on;
ALTER DATABASE odd SET default_transaction_isolation = 'serializable';
ALTER DATABASE odd SET default_transaction_deferrable = on;
ALTER DATABASE odd SET statement_timeout = 1;
ALTER DATABASE odd SET lock_timeout = 1;
ALTER DATABASE odd SET idle_in_transaction_session_timeout = 1;
ALTER DATABASE odd SET session_replication_role = replica;
ALTER DATABASE odd SET row_security = off;
ALTER DATABASE odd SET search_path = '';
ALTER DATABASE odd SET role = nobody;
ALTER DATABASE odd SET timezone = 'Pacific/Kiritimati';
ALTER DATABASE odd SET datestyle = 'SQL, DMY';
ALTER DATABASE odd SET intervalstyle = 'sql_standard';
ALTER DATABASE odd SET quote_all_identifiers = on;
ALTER DATABASE odd SET transform_null_equals = on;
ALTER DATABASE odd SET standard_conforming_strings = off;
ALTER DATABASE odd SET enable_indexscan = off;
ALTER DATABASE odd SET enable_indexonlyscan = off;
ALTER DATABASE odd SET client_min_messages = error;
ALTER DATABASE odd SET synchronous_commit = on;
SQL
# The worker that is there has the old ones: with it gone, the next has the new.
{
	local $ENV{PGOPTIONS} = join ' ', map { "-c $_" } 'default_transaction_read_only=off', 'statement_timeout=0', 'lock_timeout=0', 'search_path=public', 'role=none',
	  'idle_in_transaction_session_timeout=0', 'default_transaction_isolation=read\ committed';
	my $gone = sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'tradekeep sweeper' AND datname = 'odd'", 'odd');
	sql("INSERT INTO marker VALUES ('2000-01-01'), ('2000-01-02') ON CONFLICT DO NOTHING", 'odd');
	soon('count(*) = 0 FROM marker', 'a database with odd settings is swept', 'odd');
	sql("INSERT INTO marker VALUES ('2000-01-01'), (now() + interval '1 minute')", 'odd');
	soon('count(*) = 1 FROM marker', 'and a row is as old as in any time zone', 'odd');
	is(sql('SELECT count(*) FROM tradekeep.sweep_state WHERE failures > 0', 'odd'), '0', 'without a failure');
}

# Dump and restore. What is expired stays there while nothing is swept.
$node->safe_psql('postgres', 'CREATE DATABASE source');
sql("CREATE EXTENSION tradekeep; $marker", 'source');
round('source');
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->reload;
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'tradekeep sweeper'");
sql(<<'SQL', 'source');
CREATE SCHEMA "Odd ""Schema""";
CREATE TABLE "Odd ""Schema"""."select" ("a""b" timestamptz PRIMARY KEY);
CREATE TABLE epochs (symbol text, ms bigint);
CREATE TABLE paused (ts timestamptz PRIMARY KEY);
CREATE TABLE dropped (ts timestamptz PRIMARY KEY);
CREATE TABLE p (ts timestamptz) PARTITION BY RANGE (ts);
CREATE TABLE p_old PARTITION OF p FOR VALUES FROM ('2000-01-01') TO ('2001-01-01');
INSERT INTO "Odd ""Schema"""."select" VALUES ('2000-01-01'), (now() + interval '1 hour');
INSERT INTO epochs SELECT 'BTC', extract(epoch FROM timestamptz '2020-01-01') * 1000 + n FROM generate_series(1, 5) AS n;
INSERT INTO paused VALUES ('2000-01-01');
INSERT INTO p VALUES ('2000-01-01');
SELECT tradekeep.set_ttl('"Odd ""Schema"""."select"', 'a"b', '0'), tradekeep.set_ttl('paused', 'ts', '1 month 2 days'), tradekeep.pause_ttl('paused'),
	tradekeep.set_ttl('epochs', 'ms', '1 year', 17, 'ms', 2, '{symbol}', false, 18, '19 ms', '150 ms'),
	tradekeep.set_ttl('dropped', 'ts'), tradekeep.set_ttl('p', 'ts'),
	tradekeep.set_ttl('tradekeep.claim', 'sweep_after', batch_size => 7), tradekeep.pause_ttl('tradekeep.signal');
DROP TABLE dropped;
SQL
my $orphans = 'SELECT count(*) FROM tradekeep.ttl_policy WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = relation)';
is(sql($orphans, 'source'), '1', 'the policy of a table that was dropped is there for the moment');
my $policies = <<'SQL';
SELECT relation, column_name, keep, unit, keep_rows, key_columns, batch_size, rate_limit, lock_timeout, sweep_interval, paused
FROM tradekeep.effective_ttl_policy ORDER BY relation::text COLLATE "C"
SQL
my $expected = sql($policies, 'source');
like($expected, qr/^epochs\|ms\|1 year\|ms\|2\|\{symbol\}\|17\|18\|00:00:00\.019\|00:00:00\.15\|f$/m, 'there is much to keep');
like($expected, qr/^tradekeep\.signal\|.*\|t$/m, 'a built-in policy is paused');
for my $format ('plain', 'custom')
{
	my $file = "$tmp/sweep.$format";

	$node->command_ok([ 'pg_dump', '-F', $format, '-f', $file, '-d', $node->connstr('source') ], "$format: dump");
	# Another table first, so that no table has the Oid that it had.
	$node->safe_psql('postgres', "CREATE DATABASE $format");
	$node->command_ok(
		$format eq 'plain'
		? [ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr($format) ]
		: [ 'pg_restore', '-e', '-d', $node->connstr($format), $file ],
		"$format: restore");
	is(sql($policies, $format), $expected, "$format: every policy is as before");
	isnt(sql("SELECT 'epochs'::regclass::oid", $format), sql("SELECT 'epochs'::regclass::oid", 'source'), "$format: under another number");
	is(sql($orphans, $format), '0', "$format: that of a table that is gone is not among them");
	is(sql('SELECT (SELECT count(*) FROM tradekeep.sweep_state) + (SELECT count(*) FROM tradekeep.sweep_history)', $format), '0', "$format: nor what happened elsewhere");
}
$node->append_conf('postgresql.conf', 'tradekeep.sweep = on');
$node->reload;
for my $database ('source', 'plain', 'custom')
{
	soon('count(*) = 1 FROM "Odd ""Schema"""."select"', "$database: swept", $database);
	soon('count(*) = 2 FROM epochs', "$database: swept by count", $database);
	soon("to_regclass('p_old') IS NULL", "$database: a partition is dropped", $database);
	is(sql('SELECT count(*) FROM paused', $database), '1', "$database: what is paused is not");
}
soon($orphans =~ s/^SELECT count\(\*\)/count(*) = 0/r, 'source: the orphan is gone', 'source');

$node->stop;
done_testing();
