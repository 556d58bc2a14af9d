# What caches are told: notifications, versions and epochs, on a primary and on a standby, and how far
# spools were taken over.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('remember', allows_streaming => 1);
$node->append_conf('postgresql.conf', "max_prepared_transactions = 2\nmax_connections = 50");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');

# What a listener gets while somebody else runs $sql, which must not have double quotes.
sub notifications
{
	my ($sql) = @_;
	my $other = join ' ', 'psql -XAtq -o /dev/null -d', "'" . $node->connstr('postgres') =~ s/'//gr . "'", "-c \"$sql\"";
	my $heard = $node->safe_psql('postgres', "LISTEN tradekeep_release;\n\\! $other\nSELECT");
	my @payloads = $heard =~ /with payload "(.*?)" received/gs;
	return join '|', @payloads;
}

my $three = "SELECT tradekeep.claim_many('s', '{a,b,c}', '1 h'), tradekeep.claim('t', 'a', '1 h')";
$node->safe_psql('postgres', $three);
is(notifications("SELECT tradekeep.release('s', 'a'), tradekeep.release('s', 'b'), tradekeep.release('t', 'a'), tradekeep.release('s', 'none')"),
	"claim:s\na|claim:s\nb|claim:t\na", 'a listener hears what is released, key by key');
is(notifications("SELECT tradekeep.claim_lease('s', 'work', '1 h', '1 h'), tradekeep.release('s', 'work', (SELECT last_value FROM tradekeep.lease_token))"),
	"claim:s\nwork", 'a lease that is given back, too');
is(notifications("SELECT tradekeep.clear_claims('s'), tradekeep.clear_claims('s')"), 'claim:s', 'a scope that is cleared, without its keys');
is(notifications("$three; SELECT tradekeep.clear_claims(), tradekeep.clear_signals()"), 'claim', 'all of them; signals only when there are some');
is(notifications("SELECT tradekeep.claim_signal('BTC', 'LONG', 5); SELECT tradekeep.clear_signals('BTC')"), 'signal', 'signals');
is(notifications("SELECT tradekeep.set_scope('s', '1 h'), tradekeep.set_scope('s', NULL)"), 'claim:s', 'a scope that ends otherwise');
is(notifications('SELECT tradekeep.forget_cached()'), 'claim|signal', 'and what is to be forgotten');
$node->safe_psql('postgres', $three);
is(notifications("BEGIN; SELECT tradekeep.release('s', 'a'); ROLLBACK; BEGIN; SAVEPOINT s; SELECT tradekeep.release('s', 'a'); ROLLBACK TO s; COMMIT"),
	'', 'but not what is rolled back');
is(notifications("SELECT tradekeep.release('t', 'a'), tradekeep.claim('t', 'a', '1 h'), tradekeep.release('t', 'a')"),
	"claim:t\na", 'and nothing twice in a transaction');
is($node->safe_psql('postgres', "SELECT tradekeep.claim(repeat('s', 63), repeat('k', 512), '1 h')"), 't', 'a claim as long as can be');
is(notifications("SELECT tradekeep.release(repeat('s', 63), repeat('k', 512))"), 'claim:' . 's' x 63 . "\n" . 'k' x 512, 'is heard of whole');

my ($status, $out, $err) =
  $node->psql('postgres', "\\set VERBOSITY sqlstate\nBEGIN; SELECT tradekeep.release('s', 'a'); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'");
like($err, qr/ERROR:  0A000/, 'a release cannot be prepared');
is($node->safe_psql('postgres', "SELECT tradekeep.claimed('s', 'a')"), 't', 'and nothing is released then');

# What is remembered under the version and epoch of now is live: many sessions claim, compare and
# release. What cache_state() sees is never older than what claimed() does.
$node->safe_psql('postgres', 'SELECT tradekeep.clear_claims(), tradekeep.forget_cached()');
append_to_file("$tmp/cache.sql", <<'SQL');
\set key random(1, 4)
SELECT version, epoch, (expires_at IS NOT NULL)::int AS remembered FROM tradekeep.claim_to_remember('race', ':key', '1 h') \gset
SELECT 1 / (NOT (:remembered = 1 AND versions[1] = :version AND epoch = :epoch AND NOT tradekeep.claimed('race', ':key')))::int
FROM tradekeep.cache_state('{race}');
SQL
append_to_file("$tmp/release.sql", "\\set key random(1, 4)\nSELECT tradekeep.release('race', ':key');\n");
append_to_file("$tmp/twice.sql", <<'SQL');
\set key random(1, 4)
BEGIN;
SELECT tradekeep.claim('race', ':key', '1 h'), tradekeep.claim('other', ':client_id', '1 h');
SAVEPOINT s;
SELECT tradekeep.release('race', ':key');
ROLLBACK TO s;
SELECT tradekeep.release('other', ':client_id');
COMMIT;
SQL

sub race
{
	my ($name, @options) = @_;
	$node->command_checks_all(
		[ 'pgbench', '-n', '-c', 8, @options, '-f', "$tmp/cache.sql\@6", '-f', "$tmp/release.sql\@3", '-f', "$tmp/twice.sql\@1", $node->connstr('postgres') ],
		0, [qr/number of failed transactions: 0 /], [qr/^((?!ERROR|aborted).)*$/s], $name);
	return;
}
race('what is remembered as of now is live', '-t', 1000);
race('and when sessions come and go', '-C', '-t', 100);
cmp_ok($node->safe_psql('postgres', "SELECT sum(n) FROM tradekeep.cache_version WHERE subject = 'claim:race'"), '>', 500, 'much was released');

# Each that releases is one more. None fails for another's sake, whatever the isolation level.
append_to_file("$tmp/count.sql", "\\set n :n + 1\nSELECT 1 / tradekeep.release('count', ':client_id :n')::int;\n");
$node->safe_psql('postgres', "SELECT tradekeep.claim_many('count', ARRAY(SELECT i || ' ' || n FROM generate_series(0, 7) AS i, generate_series(1, 50) AS n), '1 h')");
my ($all) = $node->safe_psql('postgres', "SELECT versions FROM tradekeep.cache_state('{count}')") =~ /(\d+)/;
$ENV{PGOPTIONS} = '-c default_transaction_isolation=serializable';
$node->command_checks_all([ 'pgbench', '-n', '-C', '-c', 8, '-t', 50, '-D', 'n=0', '-f', "$tmp/count.sql", $node->connstr('postgres') ],
	0, [qr/number of failed transactions: 0 /], [qr/^((?!ERROR|aborted).)*$/s], 'many release at once');
delete $ENV{PGOPTIONS};
is($node->safe_psql('postgres', "SELECT versions FROM tradekeep.cache_state('{count}')"), '{' . ($all + 400) . '}', 'and all of them count');

# An epoch is as long as a database, its extension and the server's run.
my @epochs;

sub epoch
{
	my ($database) = @_;
	return $node->safe_psql($database, "SELECT epoch FROM tradekeep.cache_state('{}')");
}

sub is_new_epoch
{
	my ($database, $name) = @_;
	my $epoch = epoch($database);
	ok(!(grep { $_ eq $epoch } @epochs), "$name: another epoch");
	push @epochs, $epoch;
	return;
}
is_new_epoch('postgres', 'at first');
my $state = "SELECT versions, signal_version FROM tradekeep.cache_state('{race,count,none}')";
my $before = $node->safe_psql('postgres', $state);
$node->safe_psql('postgres', "SELECT pg_reload_conf(); VACUUM FULL tradekeep.cache_version; REINDEX TABLE tradekeep.cache_version");
is(epoch('postgres'), $epochs[0], 'the same in the next session, and after maintenance');
is($node->safe_psql('postgres', "SELECT r.epoch FROM tradekeep.claim_signal_to_remember('BTC', 'LONG', 5) AS r"), $epochs[0], 'and with signals');
$node->restart;
is_new_epoch('postgres', 'after a restart');
my $spool = "'11111111-2222-3333-4444-555555555555'";
$node->safe_psql('postgres',
	"BEGIN; SELECT tradekeep.replay_position($spool), tradekeep.claim('spooled', 'a', '1 h'), tradekeep.advance_replay($spool, 7); COMMIT");
Tradekeep::crash($node);
$node->start;
is_new_epoch('postgres', 'after a crash');
$node->safe_psql('postgres', "ALTER SYSTEM SET restart_after_crash = on");
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
my $victim = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
kill 'KILL', $victim;
$node->poll_query_until('postgres', "SELECT pid <> $victim FROM pg_stat_activity WHERE backend_type = 'walwriter'")
  or die 'the server does not come back';
is_new_epoch('postgres', 'after a crash of less than the postmaster');
is($node->safe_psql('postgres', $state), $before, 'versions stay');
is($node->safe_psql('postgres', "SELECT tradekeep.replay_position($spool), tradekeep.claimed('spooled', 'a')"), '7|t',
	'and so does how far a spool was taken over');

$node->command_ok([ 'pg_dump', '-Fc', '-f', "$tmp/dump", '-d', $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), "$tmp/dump" ], 'restore');
is_new_epoch('restored', 'in a restored database');
is($node->safe_psql('restored', "SELECT tradekeep.replay_position($spool), tradekeep.claimed('spooled', 'a'), (SELECT count(*) FROM tradekeep.cache_version)"),
	'7|t|0', 'which knows of the spool, and begins with versions anew');
is($node->safe_psql('restored', "SELECT tradekeep.end_replay($spool); SELECT count(*) FROM tradekeep.replay"), "\n0", 'until it ends');

# In a live session, too.
my $anew = "SELECT epoch FROM tradekeep.cache_state('{}'); DROP EXTENSION tradekeep; CREATE EXTENSION tradekeep;";
my @anew = split /\n/, $node->safe_psql('restored', "$anew SELECT tradekeep.forget_cached('s'); SELECT versions FROM tradekeep.cache_state('{s}'); $anew");
is($anew[0], $epochs[-1], 'the old extension');
isnt($anew[3], $epochs[-1], 'another extension: another epoch');
is($anew[2], '{1}', 'and another version');

# A standby says what it knows, as one.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', "SELECT tradekeep.forget_cached()");
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $state), $node->safe_psql('postgres', $state), 'a standby knows the versions');
is($standby->safe_psql('postgres', "SELECT standby, epoch = $epochs[2], backend > 0, ttls FROM tradekeep.cache_state('{candle,s}')"),
	't|f|t|{3600000,NULL}', 'says that it is one, and is nobody else');
for my $call ("claim_to_remember('s', 'a', '1 h')", "should_process_candle_to_remember('BTC', '1m')",
	"claim_publish_to_remember('BTC', '2026-01-05Z')", "claim_signal_to_remember('BTC', 'LONG', 5)", "forget_cached('s')",
	"replay_position($spool)", "advance_replay($spool, 8)", "end_replay($spool)")
{
	($status, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT tradekeep.$call");
	like($err, qr/ERROR:  25006/, "$call is refused");
}
$node->stop;
$standby->promote;
is($standby->safe_psql('postgres', "SELECT s.standby, r.epoch = s.epoch, r.version = s.versions[1] FROM tradekeep.cache_state('{new}') AS s, tradekeep.claim_to_remember('new', 'k', '1 h') AS r"),
	'f|t|t', 'promoted, it is a primary');

$standby->stop;
done_testing();
