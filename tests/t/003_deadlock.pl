# Batches that overlap in any order wait for each other, and none dies.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('deadlock');
$node->append_conf('postgresql.conf', "deadlock_timeout = '10ms'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');

sub hammer
{
	my ($name, $sql) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";
	my $count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
	my $before = $node->safe_psql('postgres', $count);
	my $log = -s $node->logfile;
	append_to_file($file, $sql);
	$node->command_ok(
		[ 'pgbench', '-n', '-c', 10, '-j', 2, '-t', 120, '-h', $node->host, '-p', $node->port, '-f', $file, 'postgres' ],
		"$name: no call fails");
	is($node->safe_psql('postgres', $count), $before, "$name: no deadlock");
	ok(slurp_file($node->logfile, $log) !~ /ERROR:/, "$name: no error in the log");
}

# The claims are so short that inserts, take-overs and duplicates mix.
hammer('claim_many', <<'SQL');
SELECT tradekeep.claim_many('batch', ARRAY(SELECT (random() * 300)::integer::text FROM generate_series(1, 60)),
	interval '1 ms' * (1 + random() * 30));
SQL

# A sliding scope adds rows that are extended.
$node->safe_psql('postgres', "SELECT tradekeep.set_scope('sliding', '20 ms', 'sliding')");
hammer('sliding', <<'SQL');
SELECT tradekeep.claim_many('sliding', ARRAY(SELECT (random() * 300)::integer::text FROM generate_series(1, 60)));
SQL

hammer('upsert_candles', <<'SQL');
SELECT tradekeep.upsert_candles(array_agg('S' || s), array_agg('1m'::tradekeep.timeframe),
	array_agg('2026-01-01 00:00Z'::timestamptz + interval '1 min' * m), array_agg(10), array_agg(20 + v), array_agg(5),
	array_agg(11), array_agg(v), array_agg(v > 95))
FROM (SELECT (random() * 5)::integer AS s, (random() * 40)::integer AS m, random() * 100 AS v
	FROM generate_series(1, 60)) AS bars;
SQL

# Clearing by pattern meets batches.
hammer('clear_claims', <<'SQL');
SELECT tradekeep.clear_claims('batch', '*' || (random() * 9)::integer);
SELECT tradekeep.claim_many('batch', ARRAY(SELECT (random() * 300)::integer::text FROM generate_series(1, 60)), '1 hour');
SQL

$node->stop;
done_testing();
