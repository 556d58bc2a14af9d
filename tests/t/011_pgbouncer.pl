# Behind PgBouncer in transaction mode, where each transaction may be in another session.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

plan skip_all => 'pgbouncer is not installed' unless Tradekeep::pgbouncer();

my $node = Tradekeep::new_node('pooled');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep; CREATE TABLE won (key integer)');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$dir/claim.sql", <<'SQL');
\set key random(1, 300)
BEGIN;
INSERT INTO won SELECT :key WHERE tradekeep.claim('pooled', :key::text, '1 hour');
COMMIT;
SELECT tradekeep.claimed('pooled', :key::text);
SQL

my ($pooler, $pooled) = Tradekeep::start_pooler($node);
my $ready = 0;
for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	$ready = run_log([ 'psql', '-XqAt', '-d', $pooled, '-c', 'SELECT 1' ], '>', '/dev/null', '2>&1');
	last if $ready || !$pooler->pumpable;
	Time::HiRes::usleep(100_000);
}
ok($ready, 'the pooler answers');

command_ok([ 'pgbench', '-n', '-c', 20, '-j', 2, '-t', 50, '-f', "$dir/claim.sql", $pooled ], '20 clients claim through 3 sessions');
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT key) FROM won'), '0', 'no key was granted twice');
is( $node->safe_psql('postgres', 'SELECT count(*) FROM won'),
	$node->safe_psql('postgres', "SELECT count(*) FROM tradekeep.claim WHERE scope = 'pooled'"),
	'every claim was granted to somebody');
command_like([ 'psql', '-XqAt', '-d', $pooled, '-c', "SELECT tradekeep.upsert_candle('BTC', '1m', '2026-01-05Z', 1, 1, 1, 1, 1)" ],
	qr/^inserted$/, 'bars come through as well');

$pooler->signal('TERM');
$pooler->finish;
$node->stop;
done_testing();
