# Databases and extensions come and go under the sweeper: it is in nobody's way, copies are swept as
# their originals are, and what holds it up in one database does not matter to another.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('databases');
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
log_statement = none
tradekeep.sweep_interval = '100ms'
CONF
$node->start;

sub sql
{
	my ($database, $query) = @_;
	return $node->safe_psql($database, $query);
}

sub await
{
	my ($database, $query) = @_;
	$node->poll_query_until($database, $query) or die "never came true in $database: $query";
	return;
}

# What a command of the administrator says to stderr: nothing, when the sweeper is not in its way.
sub complaint
{
	my ($command) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $command);
	return $err;
}

my $workers = "FROM pg_stat_activity WHERE backend_type = 'tradekeep sweeper'";

sub await_worker
{
	my ($database) = @_;
	await('postgres', "SELECT count(*) = 1 $workers AND datname = '$database'");
	return;
}

# A database with more to sweep than this test has time for: 100 rows a second, 20000 rows.
my $backlog = <<'SQL';
CREATE EXTENSION tradekeep;
CREATE TABLE event (id int PRIMARY KEY, expires_at timestamptz);
INSERT INTO event SELECT i, now() - interval '1 day' + i * interval '1 ms' FROM generate_series(1, 20000) AS i;
SELECT tradekeep.set_ttl('event', 'expires_at', batch_size => 10, rate_limit => 100, create_index => true);
SQL
my $rows = 'SELECT count(*) FROM event';

sub await_progress
{
	my ($database) = @_;
	my $before = sql($database, $rows);
	await($database, "SELECT count(*) < $before FROM event");
	return;
}

# Copies of a database that is being swept.
sql('postgres', 'CREATE DATABASE stock');
sql('stock', $backlog);
for my $copy (qw(first second))
{
	await_worker('stock');
	is(complaint("CREATE DATABASE $copy TEMPLATE stock"), '', "a database that is being swept is copied: $copy");
}
await_progress($_) for qw(first second stock);
pass('all three are swept, by two workers');

# Dropped while they are swept, and made anew.
await_worker('first');
is(complaint('DROP DATABASE first'), '', 'a database that is being swept is dropped');
await_worker('second');
is(complaint('DROP DATABASE second WITH (FORCE)'), '', 'or dropped by force');
await_progress('stock');
sql('postgres', 'CREATE DATABASE first');
sql('first', $backlog);
await_progress('first');
pass('a new one of an old name is swept');
is(complaint('DROP DATABASE first'), '', 'and dropped');

# A low rate keeps the sweeper waiting; not where it is in the way.
sql('postgres', 'CREATE DATABASE slow');
sql('slow', $backlog =~ s/batch_size => 10, rate_limit => 100/batch_size => 1000, rate_limit => 2/r);
await_progress('slow');
is(complaint('DROP DATABASE slow'), '', 'a database whose rate is used up is dropped');
sql('postgres', 'DROP DATABASE IF EXISTS slow WITH (FORCE)');

# Who holds tables of ours in as many databases as there are workers does not stop the others.
sql('stock', 'TRUNCATE event; ALTER TABLE event DROP CONSTRAINT event_pkey');
my @held = qw(held also_held);
sql('postgres', "CREATE DATABASE $_ TEMPLATE stock") for @held;
my @holders = map { $node->background_psql($_) } @held;
$_->query_safe('BEGIN; LOCK TABLE tradekeep.ttl_policy, tradekeep.sweep_state IN ACCESS EXCLUSIVE MODE') for @holders;
await('postgres', "SELECT count(*) = 1 $workers AND datname = '$_' AND wait_event_type = 'Lock'") for @held;
sql('stock', 'INSERT INTO event VALUES (1, now())');
await('stock', 'SELECT count(*) = 0 FROM event');
pass('a database is swept while others are held');
$_->quit for @holders;
sql($_, 'INSERT INTO event VALUES (1, now())') for @held;
await($_, 'SELECT count(*) = 0 FROM event') for @held;
pass('and so are these when they are let go');

# The extension is dropped in the middle of a batch.
sql('stock', <<'SQL');
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN OLD; END';
CREATE TRIGGER gate BEFORE DELETE ON event FOR EACH ROW EXECUTE FUNCTION gate();
SELECT tradekeep.set_ttl('event', 'expires_at', batch_size => 10, lock_timeout => '1 min');
SQL
my $offset = -s $node->logfile;
my $gate = $node->background_psql('stock');
$gate->query_safe('SELECT pg_advisory_lock(1)');
sql('stock', 'INSERT INTO event VALUES (1, now())');
await('postgres', "SELECT count(*) = 1 $workers AND datname = 'stock' AND wait_event = 'advisory'");
sql('stock', 'SET client_min_messages = error; DROP EXTENSION tradekeep CASCADE');
$gate->query_safe('SELECT pg_advisory_unlock(1)');
await('postgres', "SELECT count(*) = 0 $workers AND datname = 'stock'");
unlike(slurp_file($node->logfile, $offset), qr/ERROR|FATAL|exit code/, 'without its extension a worker ends quietly');
$gate->quit;

# And created again, and again.
my $renew = <<'SQL';
SET client_min_messages = error;
DROP EXTENSION IF EXISTS tradekeep CASCADE;
CREATE EXTENSION tradekeep;
SELECT tradekeep.set_ttl('event', 'expires_at');
INSERT INTO event VALUES (1, now()), (2, 'infinity');
SQL
for my $round (1 .. 8)
{
	sql('stock', $renew);
	await('stock', 'SELECT count(*) = 0 FROM event WHERE id = 1') if $round % 2;
}
await('stock', 'SELECT count(*) = 0 FROM event WHERE id = 1');
is(sql('stock', "$rows WHERE id = 2"), '8', 'the extension is dropped and created again and again, and the sweeping goes on');
unlike(slurp_file($node->logfile, $offset), qr/ERROR|FATAL|exit code/, 'without a word in the log');

# What was renamed is what it was.
await_worker('stock');
await('postgres', "SELECT count(*) = 0 $workers AND datname = 'stock'");
is(complaint('ALTER DATABASE stock RENAME TO renamed'), '', 'a database is renamed');
sql('renamed', 'INSERT INTO event VALUES (1, now())');
await('renamed', 'SELECT count(*) = 0 FROM event WHERE id = 1');
pass('and swept');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
