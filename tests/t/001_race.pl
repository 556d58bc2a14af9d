# Exactly once: many sessions claim the same keys at each isolation level, some roll back.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $keys = 150;
my $node = Tradekeep::new_node('race');
$node->append_conf('postgresql.conf', 'max_connections = 40');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');
$node->safe_psql('postgres', 'CREATE TABLE won (level text, key integer)');

# A claim and the row that says who won it, in one transaction.
sub script
{
	my ($level, $ending) = @_;
	my $name = $level =~ s/ /_/gr;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/${name}_$ending.sql";
	open my $handle, '>', $file or die "could not write $file: $!";
	print $handle <<"SQL";
\\set key random(1, $keys)
BEGIN ISOLATION LEVEL $level;
INSERT INTO won SELECT '$level', :key WHERE tradekeep.claim('$level', :key::text, '1 hour');
$ending;
SQL
	close $handle;
	return $file;
}

for my $level ('read committed', 'repeatable read', 'serializable')
{
	my @scripts = ('-f', script($level, 'COMMIT') . '@4', '-f', script($level, 'ROLLBACK') . '@1');
	$node->command_ok(
		[
			'pgbench', '-n', '-c', 12, '-j', 2, '-t', 150, '--max-tries=1000', '-h', $node->host, '-p',
			$node->port, @scripts, 'postgres'
		],
		"12 sessions claim $keys keys at $level");
	is( $node->safe_psql('postgres',
			"SELECT count(*) FROM (SELECT key FROM won WHERE level = '$level' GROUP BY key HAVING count(*) > 1) AS twice"
		),
		'0',
		"no key was granted twice at $level");
	is( $node->safe_psql('postgres', "SELECT count(*) FROM won WHERE level = '$level'"),
		$node->safe_psql('postgres', "SELECT count(*) FROM tradekeep.claim WHERE scope = '$level'"),
		"every claim was granted to somebody at $level");
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM won WHERE level = '$level'"),
		'>', $keys / 2, "most keys were claimed at $level");
}

# Expired claims are taken over by one of many, too.
$node->safe_psql('postgres', <<'SQL');
INSERT INTO tradekeep.claim (scope, key, claimed_at, expires_at, sweep_after)
SELECT 'expired', i::text, now() - interval '2 h', now() - interval '1 h', now() - interval '1 h'
FROM generate_series(1, 100) AS i;
SQL
my $takeover = "$PostgreSQL::Test::Utils::tmp_check/takeover.sql";
append_to_file($takeover, <<'SQL');
\set key random(1, 100)
INSERT INTO won SELECT 'expired', :key WHERE tradekeep.claim('expired', :key::text, '1 hour');
SQL
$node->command_ok(
	[
		'pgbench', '-n', '-c', 12, '-j', 2, '-t', 200, '-h', $node->host, '-p', $node->port, '-f', $takeover,
		'postgres'
	],
	'12 sessions take over expired claims');
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT key) FROM won WHERE level = 'expired'"),
	'100|100', 'each was taken over once');

$node->stop;
done_testing();
