# Exactly once for batches too: many sessions claim overlapping ones at each isolation level, where half
# of the keys are expired and some sessions roll back.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $keys = 400;
my $rounds = 3;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('batches');
$node->append_conf('postgresql.conf', 'max_connections = 40');
$node->start;
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION tradekeep;
CREATE TABLE won (key text);
CREATE FUNCTION claim_some() RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE
	keys text[] := ARRAY(SELECT (random() * $keys)::int::text FROM generate_series(1, 30));
BEGIN
	INSERT INTO won SELECT key FROM unnest(keys, tradekeep.claim_many('batch', keys, '1 hour')) AS t(key, mine) WHERE mine;
END
\$\$;
SQL

for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	my $name = lc $level =~ s/ /_/r;
	my $failed = 0;
	my $granted = '';
	append_to_file("$tmp/batch_${name}_$_.sql", "BEGIN ISOLATION LEVEL $level;\nSELECT claim_some();\n$_;\n") for qw(COMMIT ROLLBACK);
	for my $round (1 .. $rounds)
	{
		$node->safe_psql('postgres', <<"SQL");
TRUNCATE won, tradekeep.claim;
INSERT INTO tradekeep.claim (scope, key, claimed_at, expires_at, sweep_after)
	SELECT 'batch', i, '2026-01-01Z', '2026-01-02Z', '2026-01-02Z' FROM generate_series(0, $keys, 2) AS i;
SQL
		$failed += !run_log(
			[
				'pgbench', '-n', '-c', 12, '-j', 2, '-t', 10, '--max-tries=1000', '-h', $node->host, '-p', $node->port,
				'-f', "$tmp/batch_${name}_COMMIT.sql\@4", '-f', "$tmp/batch_${name}_ROLLBACK.sql\@1", 'postgres'
			],
			'>', '/dev/null');
		$granted .= $node->safe_psql('postgres', <<'SQL');
SELECT concat(count(*) - count(DISTINCT key), ' ',
	count(DISTINCT key) - (SELECT count(*) FROM tradekeep.claim WHERE expires_at > now()), ' ') FROM won;
SQL
	}
	is($failed, 0, "$level: no call fails for good");
	is($granted, '0 0 ' x $rounds, "$level: each key that is claimed was granted once");
}
is($node->safe_psql('postgres', 'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()'),
	'0', 'without a deadlock');

$node->stop;
done_testing();
