# The sweeper works by itself: it starts wherever the extension is, shows what it does, follows its
# settings, takes no live row, and keeps the log and the WAL quiet. Where it has no process, CALL
# sweep() does the same.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('sweeper');
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
log_statement = none
log_checkpoints = off
checkpoint_timeout = '1d'
max_wal_size = '4GB'
tradekeep.sweep_interval = '100ms'
CONF
$node->start;
my $log_begin = -s $node->logfile;

sub sql
{
	my ($database, $query) = @_;
	return $node->safe_psql($database, $query);
}

# A test goes on when something is so, never when time has passed.
sub await
{
	my ($database, $query) = @_;
	$node->poll_query_until($database, $query) or die "never came true in $database: $query";
	return;
}

sub new_log
{
	my ($offset) = @_;
	return slurp_file($node->logfile, $offset);
}

sub configure
{
	my (%settings) = @_;
	sql('postgres', "ALTER SYSTEM SET $_ = '$settings{$_}'") for sort keys %settings;
	sql('postgres', 'SELECT pg_reload_conf()');
	return;
}

# The launcher looks round so many times; each look moves its state_change.
sub launcher_rounds
{
	my ($rounds) = @_;
	my $launcher = "FROM pg_stat_activity WHERE backend_type = 'tradekeep sweep launcher'";
	for (1 .. $rounds)
	{
		my $last = sql('postgres', "SELECT coalesce(max(state_change), '-infinity') $launcher");
		await('postgres', "SELECT count(*) = 1 $launcher AND state_change > '$last'");
	}
	return;
}

# Transactions in a database, of which the test itself makes none meanwhile.
sub commits
{
	my ($database) = @_;
	return sql('postgres', "SELECT xact_commit FROM pg_stat_database WHERE datname = '$database'");
}

sub sweeper_commits
{
	my ($database, $number) = @_;
	my $goal = commits($database) + $number;
	await('postgres', "SELECT xact_commit >= $goal FROM pg_stat_database WHERE datname = '$database'");
	return;
}

my $workers = "FROM pg_stat_activity WHERE backend_type = 'tradekeep sweeper'";

# One expired row of each kind, and one that lives.
my $fill = <<'SQL';
SELECT tradekeep.claim('s', 'expired', '1 ms'), tradekeep.claim('s', 'live', '1 day');
SELECT tradekeep.claim_signal('OLD', 'LONG', 1, ttl => '1 ms'), tradekeep.claim_signal('NEW', 'LONG', 1);
INSERT INTO event VALUES (1, now() - interval '1 s'), (2, now() + interval '1 day'), (3, NULL);
SQL
my $make = <<"SQL";
CREATE EXTENSION tradekeep;
CREATE TABLE event (id int, expires_at timestamptz);
SELECT tradekeep.set_ttl('event', 'expires_at', create_index => true);
$fill
SQL
my $swept = <<'SQL';
SELECT NOT EXISTS (SELECT FROM tradekeep.claim WHERE key = 'expired')
	AND NOT EXISTS (SELECT FROM tradekeep.signal WHERE symbol = 'OLD')
	AND NOT EXISTS (SELECT FROM event WHERE id = 1)
SQL
my $alive = <<'SQL';
SELECT (SELECT count(*) FROM tradekeep.claim WHERE key = 'live'), (SELECT count(*) FROM tradekeep.signal WHERE symbol = 'NEW'),
	(SELECT array_agg(id ORDER BY id) FROM event)
SQL

# A server that has no extension anywhere. A function of the library, called from outside of the
# extension, makes the sweeper look again and again.
sql('postgres', "CREATE DATABASE $_") for qw(one two three late plain pattern);
sql('postgres', 'CREATE DATABASE closed ALLOW_CONNECTIONS false');
sql('plain', <<'SQL');
CREATE FUNCTION wake() RETURNS void AS 'tradekeep', 'tradekeep_wake_sweeper' LANGUAGE C;
CREATE TABLE event (id int, expires_at timestamptz DEFAULT now() - interval '1 day');
INSERT INTO event VALUES (1);
SQL
launcher_rounds(2);
for (1 .. 3)
{
	my $before = commits('one');
	sql('plain', 'SELECT wake()');
	await('postgres', "SELECT xact_commit > $before FROM pg_stat_database WHERE datname = 'one'");
}
is(new_log($log_begin), '', 'without the extension anywhere, the log is quiet');

# It starts by itself. A database without the extension is looked at once a minute: that is how long
# this would take if nobody woke the launcher.
my $began = sql('postgres', 'SELECT clock_timestamp()');
sub in_time
{
	my ($since) = @_;
	return sql('postgres', "SELECT clock_timestamp() - '$since' < '50 s'");
}
sql($_, $make) for qw(one two three);
await($_, $swept) for qw(one two three);
is(in_time($began), 't', 'it starts by itself in three databases, and at once');
is(sql($_, $alive), '1|1|{2,3}', "$_: what lives stays") for qw(one two three);

# The extension is created while a worker, which cannot see that yet, looks for it, however long that takes.
sql('postgres', "ALTER DATABASE late SET tradekeep.sweep_lock_timeout = '1min'");
my $late = $node->background_psql('late');
$late->query_safe('BEGIN; LOCK TABLE pg_extension IN ACCESS EXCLUSIVE MODE');
sql('one', 'SELECT tradekeep.wake_sweeper()');
await('postgres', "SELECT count(*) = 1 $workers AND datname = 'late' AND wait_event_type = 'Lock'");
$late->query_safe("CREATE EXTENSION tradekeep; SELECT tradekeep.claim('s', 'expired', '1 ms'); COMMIT");
$late->quit;
$began = sql('postgres', 'SELECT clock_timestamp()');
await('late', 'SELECT count(*) = 0 FROM tradekeep.claim');
is(in_time($began), 't', 'so it is when a worker looked for the extension too early');

# Others are left alone.
sql('pattern', $make);
await('pattern', $swept);
sql('postgres', 'ALTER DATABASE pattern IS_TEMPLATE true');
launcher_rounds(2);
await('postgres', "SELECT count(*) = 0 $workers AND datname = 'pattern'");
sql('pattern', $fill);
sql('one', $fill);
await('one', $swept);
launcher_rounds(3);
is(sql('pattern', 'SELECT count(*) FROM event WHERE id = 1'), '1', 'a template is left alone');
is(sql('plain', 'SELECT count(*) FROM event'), '1', 'so is a database without the extension');
is(new_log($log_begin), '', 'the log is quiet still');

# What it shows. The trigger stops a batch at row 5, until the test lets it go.
sql('one', <<'SQL');
CREATE TABLE slow (id int PRIMARY KEY, expires_at timestamptz);
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN IF OLD.id = 5 THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN OLD; END';
CREATE TRIGGER gate BEFORE DELETE ON slow FOR EACH ROW EXECUTE FUNCTION gate();
SELECT tradekeep.set_ttl('slow', 'expires_at', batch_size => 2, create_index => true, lock_timeout => '1 min');
SQL
my $gate = $node->background_psql('one');
$gate->query_safe('SELECT pg_advisory_lock(1)');
sql('one', "INSERT INTO slow SELECT i, now() - interval '1 h' + i * interval '1 s' FROM generate_series(1, 6) AS i");
await('postgres', "SELECT count(*) = 1 $workers AND datname = 'one' AND state = 'active' AND query = 'sweeping public.slow: 4 rows'");
pass('pg_stat_activity shows a worker, and how far it is');
is( sql('postgres', "SELECT count(*), count(datname) FROM pg_stat_activity WHERE backend_type = 'tradekeep sweep launcher'"),
	'1|0', 'and one launcher, in no database');
is(sql('one', 'SELECT array_agg(id ORDER BY id) FROM slow'), '{5,6}', 'what was swept before is committed');
sql('two', $fill);
await('two', $swept);
pass('while one database waits, another is swept');
$gate->query_safe('SELECT pg_advisory_unlock(1)');
await('one', 'SELECT count(*) = 0 FROM slow');
$gate->quit;

# What others have locked waits for another round; it depends on them whether it goes.
my $holder = $node->background_psql('two');
sql('two', "SELECT tradekeep.pause_ttl('event')");
sql('two', 'INSERT INTO event VALUES (10, now()), (11, now()), (12, now())');
$holder->query_safe("BEGIN; UPDATE event SET expires_at = 'infinity' WHERE id IN (10, 11)");
sql('two', "SELECT tradekeep.pause_ttl('event', false)");
await('two', 'SELECT count(*) = 0 FROM event WHERE id = 12');
is(sql('two', 'SELECT count(*) FROM event WHERE id IN (10, 11)'), '2', 'rows that are being extended are skipped');
$holder->query_safe('COMMIT');
sweeper_commits('two', 50);
is(sql('two', 'SELECT count(*) FROM event WHERE id IN (10, 11)'), '2', 'extended, they stay');
$holder->query_safe("BEGIN; UPDATE event SET expires_at = now() WHERE id = 10; COMMIT");
await('two', 'SELECT count(*) = 0 FROM event WHERE id = 10');
$holder->quit;

# Settings, without a restart.
configure('tradekeep.sweep' => 'off');
await('postgres', "SELECT count(*) = 0 $workers");
sql($_, $fill) for qw(one two);
launcher_rounds(5);
is(sql($_, "SELECT count(*) FROM tradekeep.claim WHERE key = 'expired'"), '1', "$_: off, nothing is swept") for qw(one two);
is(sql('one', "SELECT status FROM tradekeep.doctor() WHERE check_name = 'sweeper'"), 'warning', 'and doctor() says so');
configure('tradekeep.sweep' => 'on');
await($_, $swept) for qw(one two);
is(sql('one', "SELECT status FROM tradekeep.doctor() WHERE check_name = 'sweeper'"), 'ok', 'on again, all is swept');

configure('tradekeep.sweep_interval' => '1d');
await('postgres', "SELECT count(*) = 0 $workers");
sql($_, $fill) for qw(one two);
configure('tradekeep.sweep_interval' => '100ms');
await($_, $swept) for qw(one two);
pass('a shorter interval takes effect when it is set');

sql('three', <<'SQL');
ALTER DATABASE three SET tradekeep.sweep_batch_size = 7;
CREATE TABLE counted (id int PRIMARY KEY, expires_at timestamptz);
CREATE TABLE gone (id int, transaction xid8);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO public.gone VALUES (OLD.id, pg_current_xact_id()); RETURN NULL; END';
CREATE TRIGGER note AFTER DELETE ON counted FOR EACH ROW EXECUTE FUNCTION note();
SQL
# A setting of a database is for those who connect later.
await('postgres', "SELECT count(*) = 0 $workers AND datname = 'three' AND backend_start < '"
	  . sql('postgres', 'SELECT clock_timestamp()') . "'");
sql('three', <<'SQL');
INSERT INTO counted SELECT i, now() - interval '1 h' + i * interval '1 s' FROM generate_series(1, 70) AS i;
SELECT tradekeep.set_ttl('counted', 'expires_at', create_index => true);
SQL
await('three', 'SELECT count(*) = 0 FROM counted');
is( sql('three', 'SELECT count(*), min(n), max(n) FROM (SELECT count(*) AS n FROM gone GROUP BY transaction) AS g'),
	'10|7|7', 'a database has a batch size of its own');
is(sql('three', 'SELECT bool_and(id = place) FROM (SELECT id, row_number() OVER (ORDER BY transaction, id) AS place FROM gone) AS g'),
	't', 'the oldest rows go first');
sql('three', 'ALTER DATABASE three RESET tradekeep.sweep_batch_size');

# Log: with ten policies more, quiet through many rounds.
sql('two', <<'SQL');
DO $$
BEGIN
	FOR i IN 1 .. 10 LOOP
		EXECUTE format('CREATE TABLE t%s (expires_at timestamptz)', i);
		PERFORM tradekeep.set_ttl('t' || i, 'expires_at', create_index => true);
	END LOOP;
END
$$;
SQL
my $offset = -s $node->logfile;
sweeper_commits('two', 500);
is(new_log($offset), '', 'ten policies and 500 transactions of the sweeper leave nothing in the log');

# A table that always fails is told once, and keeps nobody.
sql('two', <<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not this one'; END$$;
CREATE TRIGGER refuse BEFORE DELETE ON t5 FOR EACH ROW EXECUTE FUNCTION refuse();
INSERT INTO t5 VALUES (now());
SQL
for my $failures (1 .. 4)
{
	await('two', "SELECT failures >= $failures FROM tradekeep.sweep_status WHERE relation = 't5'::regclass");
	sql('two', 'UPDATE tradekeep.sweep_state SET next_run = NULL');
}
is(join("\n", map { s/^.*\] //r } grep { /LOG|WARNING|ERROR|FATAL/ } split /\n/, new_log($offset)),
	'LOG:  could not sweep table public.t5: not this one', 'a table that fails again and again is told once');
sql('two', $fill);
await('two', $swept);
is(sql('two', "SELECT last_error, last_sqlstate FROM tradekeep.sweep_status WHERE relation = 't5'::regclass"),
	'not this one|P0001', 'sweep_status has the error; other tables are swept');
sql('two', 'DROP TRIGGER refuse ON t5; UPDATE tradekeep.sweep_state SET next_run = NULL');
await('two', "SELECT count(*) = 0 FROM t5");
await('two', "SELECT failures = 0 FROM tradekeep.sweep_status WHERE relation = 't5'::regclass");
sql('two', 'CREATE TRIGGER refuse BEFORE DELETE ON t5 FOR EACH ROW EXECUTE FUNCTION refuse(); INSERT INTO t5 VALUES (now())');
await('two', "SELECT failures > 0 FROM tradekeep.sweep_status WHERE relation = 't5'::regclass");
is(scalar(() = new_log($offset) =~ /could not sweep/g), 2, 'one that recovered and fails anew is told anew');
sql('two', 'DROP TABLE t5');

# WAL: a round with nothing to do writes none. Once a minute it is written down that there was one,
# and a checkpoint may come: so one of a few windows must be clean.
sub wal { return sql('postgres', "SELECT pg_current_wal_insert_lsn()"); }
configure('tradekeep.sweep_interval' => '500ms');
sql('postgres', 'CHECKPOINT');
my $clean = 0;
for (1 .. 8)
{
	my $begin = wal();
	my %rounds = map { $_ => commits($_) } qw(one two three);
	for my $database (sort keys %rounds)
	{
		# A round over two tables takes 8 transactions: three rounds and more.
		await('postgres', "SELECT xact_commit >= $rounds{$database} + 30 FROM pg_stat_database WHERE datname = '$database'");
	}
	$clean = wal() eq $begin;
	last if $clean;
}
ok($clean, 'rounds with nothing to do write no WAL');
configure('tradekeep.sweep_interval' => '100ms');

# Never a live row: rows that expired are extended while the sweeper takes them away, at the very
# place where it is. What an update says it extended must be there at the end, and nothing else.
sql('three', <<'SQL');
CREATE TABLE lease (id int PRIMARY KEY, expires_at timestamptz);
CREATE TABLE extended (id int);
INSERT INTO lease SELECT i, now() - interval '1 h' + i * interval '1 ms' FROM generate_series(1, 6000) AS i;
SELECT tradekeep.set_ttl('lease', 'expires_at', batch_size => 7, rate_limit => 3000, create_index => true);
SQL
append_to_file("$PostgreSQL::Test::Utils::tmp_check/extend", <<'SQL');
\set ahead random(0, 12)
WITH next AS (SELECT id FROM lease WHERE expires_at < now() ORDER BY expires_at OFFSET :ahead LIMIT 1),
	kept AS (UPDATE lease SET expires_at = 'infinity' WHERE id = (SELECT id FROM next) RETURNING id)
INSERT INTO extended SELECT id FROM kept;
SQL
$node->command_ok(
	[ 'pgbench', '-n', '-c', 4, '-j', 2, '-t', 600, '-h', $node->host, '-p', $node->port,
		'-f', "$PostgreSQL::Test::Utils::tmp_check/extend", 'three' ],
	'four sessions extend rows that are about to be swept');
await('three', "SELECT count(*) = 0 FROM lease WHERE expires_at < 'infinity'");
is(sql('three', 'SELECT count(*) FROM extended WHERE id NOT IN (SELECT id FROM lease)'), '0', 'every row that was extended is there');
is(sql('three', 'SELECT count(*) FROM lease WHERE id NOT IN (SELECT id FROM extended)'), '0', 'every other one is gone');
is(sql('three', 'SELECT count(*) BETWEEN 200 AND 5800 FROM extended'), 't', 'there are some hundreds of either');

# Background workers are used up: by the launcher alone.
$node->append_conf('postgresql.conf', "max_worker_processes = 1\nmax_logical_replication_workers = 0");
$node->restart;
$offset = $log_begin;
sql('one', $fill);
launcher_rounds(6);
is(scalar(() = new_log($offset) =~ /could not start a sweeper/g), 1, 'without a place for a worker there is one line in the log');
is(sql('one', "SELECT count(*) FROM tradekeep.claim WHERE key = 'expired'"), '1', 'and nothing is swept');
cmp_ok(sql('one', 'SELECT count(*) FROM tradekeep.doctor()'), '>', 5, 'doctor() works');
sql('one', 'CALL tradekeep.sweep()');
is(sql('one', $swept), 't', 'so does sweep()');

# Not even that one.
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
is(sql('one', "SELECT tradekeep.sweeper_running(), status, remedy ~ 'max_worker_processes' FROM tradekeep.doctor() WHERE check_name = 'sweeper'"),
	'f|warning|t', 'without any place doctor() says so');
sql('one', $fill);
sql('one', 'CALL tradekeep.sweep()');
is(sql('one', $swept), 't', 'and sweep() works');

# Without preload nothing is by itself, and sweep() does all of it.
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nshared_preload_libraries = ''");
$node->restart;
sql('one', $fill);
is(sql('one', "SELECT tradekeep.sweeper_running(), count(*) FROM pg_stat_activity WHERE backend_type ~ 'tradekeep'"),
	'f|0', 'without preload there is no sweeper');
is(sql('one', "SELECT status FROM tradekeep.doctor() WHERE check_name = 'preload'"), 'warning', 'and doctor() says so');
my $live = sql('one', $alive =~ s/array_agg.id ORDER BY id./count(*) FILTER (WHERE id > 1)/r);
is(sql('one', $swept), 'f', 'expired rows stay');
sql('one', 'CALL tradekeep.sweep()');
is(sql('one', $swept), 't', 'sweep() takes all of them');
is(sql('one', $alive =~ s/array_agg.id ORDER BY id./count(*)/r), $live, 'and no other');

my ($status, $out, $err) = $node->psql('one', "\\set VERBOSITY verbose\nBEGIN;\nCALL tradekeep.sweep();", on_error_stop => 0);
like($err, qr/ERROR:  25001: .*HINT/s, 'inside a transaction block it is refused, with a hint');

# Two at once: both are held in the middle of a batch, so each has rows that the other must leave.
sql('one', <<'SQL');
CREATE TABLE shared (id int PRIMARY KEY, expires_at timestamptz);
CREATE TABLE taken (id int, pid int);
CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN PERFORM pg_advisory_xact_lock_shared(2); INSERT INTO public.taken VALUES (OLD.id, pg_backend_pid()); RETURN OLD; END';
CREATE TRIGGER take BEFORE DELETE ON shared FOR EACH ROW EXECUTE FUNCTION take();
SELECT tradekeep.set_ttl('shared', 'expires_at', batch_size => 10, create_index => true, lock_timeout => '1 min');
INSERT INTO shared SELECT i, CASE WHEN i % 3 > 0 THEN now() - interval '1 h' + i * interval '1 ms' END FROM generate_series(1, 3000) AS i;
SQL
$gate = $node->background_psql('one');
$gate->query_safe('SELECT pg_advisory_lock(2)');
my @calls;
for my $isolation ('read committed', 'serializable')
{
	my $error = '';
	my $options = "-c default_transaction_isolation=" . $isolation =~ s/ /\\\\ /r;
	my $run = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('one') . " options='$options'", '-c', 'CALL tradekeep.sweep()' ],
		'>', '/dev/null', '2>', \$error);
	push @calls, [ $run, \$error, $isolation ];
}
await('one', "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
$gate->query_safe('SELECT pg_advisory_unlock(2)');
for my $call (@calls)
{
	my ($run, $error, $isolation) = @$call;
	ok($run->finish, "two sweeps at once: the one that is $isolation ends well");
	is($$error, '', 'without a word');
}
$gate->quit;
is(sql('one', 'SELECT count(*), count(expires_at) FROM shared'), '1000|0', 'all that is expired is gone, and no live row');
is(sql('one', 'SELECT count(*), count(DISTINCT id), count(DISTINCT pid) FROM taken'), '2000|2000|2', 'both took their part, no row twice');

$node->stop;
done_testing();
