# Whatever ends the sweeper in the middle of a batch, it comes back and finishes: no live row is
# lost, no row is swept twice, and the policies and their state are there.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('faults');
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
log_statement = none
restart_after_crash = on
max_prepared_transactions = 1
tradekeep.sweep_interval = '250ms'
CONF
$node->start;

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub await
{
	my ($query) = @_;
	$node->poll_query_until('postgres', $query) or die "never came true: $query";
	return;
}

# A row whose id ends with 45 stops its batch for as long as the gate is held: the gate is a prepared
# transaction, which no crash opens. What is deleted leaves a row in `gone`.
sql(<<'SQL');
CREATE EXTENSION tradekeep;
CREATE TABLE event (id int PRIMARY KEY, expires_at timestamptz);
CREATE TABLE gone (id int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.id % 100 = 45 THEN
		PERFORM pg_advisory_xact_lock(1);
	END IF;
	INSERT INTO public.gone VALUES (OLD.id);
	RETURN OLD;
END
$$;
CREATE TRIGGER note BEFORE DELETE ON event FOR EACH ROW EXECUTE FUNCTION note();
SELECT tradekeep.set_ttl('event', 'expires_at', batch_size => 10, create_index => true, lock_timeout => '1 min');
SQL

my $rounds = 0;
my $launchers = "FROM pg_stat_activity WHERE backend_type = 'tradekeep sweep launcher'";
my $waiting = "FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";

# Each round has 80 rows that are expired, the oldest first by id, 10 that expire one day and 10
# that never do. Returns the worker that stands in the fifth batch.
sub stop_in_batch
{
	sql("BEGIN; SELECT pg_advisory_xact_lock(1); PREPARE TRANSACTION 'gate'");
	sql(<<"SQL");
INSERT INTO event SELECT $rounds * 100 + i, CASE WHEN i <= 80 THEN now() - interval '1 h' + i * interval '1 s'
	WHEN i <= 90 THEN now() + interval '1 day' END FROM generate_series(1, 100) AS i;
SQL
	$rounds++;
	await("SELECT count(*) = 1 $waiting");
	return sql("SELECT pid $waiting");
}

sub finishes
{
	my ($name) = @_;
	sql("ROLLBACK PREPARED 'gate'");
	await('SELECT count(*) = 0 FROM event WHERE expires_at < now()');
	await('SELECT tradekeep.sweeper_running()');
	is(sql('SELECT count(*) FROM event'), 20 * $rounds, "$name: no live row is lost");
	is(sql('SELECT count(*), count(DISTINCT id), bool_and((id - 1) % 100 < 80) FROM gone'),
		80 * $rounds . '|' . 80 * $rounds . '|t', "$name: each expired row went once");
	is(sql("SELECT count(*) $launchers"), '1', "$name: one launcher runs");
	return;
}

# A worker that failed rests for some seconds, unless the interval becomes shorter.
sub shorten_interval
{
	my ($interval) = @_;
	sql("ALTER SYSTEM SET tradekeep.sweep_interval = '$interval'");
	sql('SELECT pg_reload_conf()');
	return;
}

sub signal_worker
{
	my ($function, $name, $interval) = @_;
	my $worker = stop_in_batch();
	is(sql("SELECT $function($worker)"), 't', "$name the worker");
	await("SELECT count(*) = 0 $waiting AND pid = $worker");
	shorten_interval($interval);
	finishes($name);
	return;
}

signal_worker('pg_cancel_backend', 'cancel', '200ms');
is(sql("SELECT last_sqlstate FROM tradekeep.sweep_status WHERE relation = 'event'::regclass"), '57014', 'which is written down');
signal_worker('pg_terminate_backend', 'terminate', '150ms');

# Without its launcher the worker goes on; the next launcher starts others.
my $launcher = sql("SELECT pid $launchers");
stop_in_batch();
sql("SELECT pg_terminate_backend($launcher)");
await("SELECT count(*) = 0 $launchers AND pid = $launcher");
finishes('terminate the launcher');
stop_in_batch();
finishes('under the next one');

# The server restarts by itself when a process is killed.
my $worker = stop_in_batch();
my $offset = -s $node->logfile;
kill 9, $worker;
await("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $worker");
like(slurp_file($node->logfile, $offset),
	qr/tradekeep sweeper" \(PID $worker\) was terminated by signal 9/, 'kill -9 of the worker crashes the server');
finishes('kill -9 of the worker');

stop_in_batch();
Tradekeep::crash($node);
$node->start;
finishes('kill -9 of the postmaster');

stop_in_batch();
$node->stop('immediate');
$node->start;
finishes('stop immediate');

stop_in_batch();
$node->restart;
finishes('restart');

# The policy and its state have come through.
is(sql("SELECT count(*), min(batch_size) FROM tradekeep.ttl_policy"), '1|10', 'the policy is there');
is(sql("SELECT failures, total_rows BETWEEN 70 AND $rounds * 80 FROM tradekeep.sweep_status WHERE relation = 'event'::regclass"),
	'0|t', 'so is how the sweeping went');
is(scalar(() = slurp_file($node->logfile) =~ /PANIC|TRAP/g), 0, 'nothing panicked');

# What goes wrong in every round, outside of any table, must not fill the log: here, that a part of the
# extension is missing.
$offset = -s $node->logfile;
sql('ALTER TABLE tradekeep.sweep_state RENAME COLUMN relation TO lost');
for (1 .. 12)
{
	my $last = sql("SELECT max(state_change) $launchers");
	await("SELECT count(*) = 1 $launchers AND state_change > '$last'");
}
my $errors = () = slurp_file($node->logfile, $offset) =~ /\] ERROR/g;
cmp_ok($errors, '>', 0, 'a round that cannot be made is told');
cmp_ok($errors, '<', 6, 'and not at every interval');
sql('ALTER TABLE tradekeep.sweep_state RENAME COLUMN lost TO relation');
shorten_interval('100ms');
stop_in_batch();
finishes('repaired');

$node->stop;
done_testing();
