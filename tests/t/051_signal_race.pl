# Never two live signals within tolerance: many sessions claim at each isolation level, one at a time
# and in batches, small and large; some roll back. The table is searched for pairs afterwards.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('signal_race');
# What is expired is looked at, too.
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->append_conf('postgresql.conf', "max_connections = 40\ndeadlock_timeout = '10ms'");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION tradekeep;
CREATE TABLE won (signal_id bigint);
-- Signals of random symbols and prices, which come in random order.
CREATE FUNCTION batch(signals int, symbols int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('symbol', 'S' || (random() * symbols)::int,
		'direction', (ARRAY['LONG', 'SHORT'])[1 + round(random())::int], 'entry_price', 100 + random()))
	FROM generate_series(1, signals) $$;
SQL

my %load = (
	one => <<'SQL',
\set symbol random(1, 4)
\set price random(1, 1000000)
INSERT INTO won SELECT signal_id FROM tradekeep.claim_signal('S' || :symbol, 'LONG', 100 + :price / 1e6, ttl => :ttl) WHERE claimed;
SQL
	batch => <<'SQL',
INSERT INTO won SELECT signal_id FROM tradekeep.claim_signals(batch(10, 5), ttl => :ttl) WHERE claimed;
SQL
	large => <<'SQL');
INSERT INTO won SELECT signal_id FROM tradekeep.claim_signals(batch(600, 400), ttl => :ttl) WHERE claimed;
SQL

sub script
{
	my ($level, $load, $ending) = @_;
	my $file = "$tmp/$load-$ending-" . ($level =~ s/ /-/gr);
	append_to_file($file, "BEGIN ISOLATION LEVEL $level;\n$load{$load}$ending;\n");
	return $file;
}

# Grants of one symbol and direction have their ids in order, and each was checked against those that
# were live when it was sent.
my $pairs = <<'SQL';
SELECT count(*) FROM tradekeep.signal AS q JOIN tradekeep.signal AS p USING (symbol, direction)
WHERE p.signal_id > q.signal_id AND q.expires_at > p.sent_at AND abs(p.price - q.price) <= 0.0005 * q.price
SQL

for my $level ('read committed', 'repeatable read', 'serializable')
{
	# So long that nothing ends, and so short that much does.
	for my $ttl ('1 hour', '40 ms')
	{
		$node->safe_psql('postgres', 'TRUNCATE tradekeep.signal, won');
		my @scripts = map { ('-f', $_) } script($level, 'one', 'COMMIT') . '@20', script($level, 'one', 'ROLLBACK') . '@4',
		  script($level, 'batch', 'COMMIT') . '@10', script($level, 'batch', 'ROLLBACK') . '@2', script($level, 'large', 'COMMIT') . '@1';
		$node->command_ok(
			[
				'pgbench', '-n', '-c', 12, '-j', 2, '-t', 100, '--max-tries=1000', '-D', "ttl='$ttl'", '-h', $node->host,
				'-p', $node->port, @scripts, 'postgres'
			],
			"12 sessions at $level, ttl $ttl");
		is($node->safe_psql('postgres', $pairs), '0', 'no two of them are near each other');
		is( $node->safe_psql('postgres', 'SELECT count(*), bool_and(s.signal_id IS NOT NULL AND w.signal_id IS NOT NULL)'
				  . ' FROM won AS w FULL JOIN tradekeep.signal AS s USING (signal_id)') =~ s/^(\d+)\|/$1 > 100 ? 'many|' : "$1|"/er,
			'many|t',
			'what was granted is what is stored');
		unlink glob "$tmp/*-*-*";
	}
}
is($node->safe_psql('postgres', 'SELECT sum(deadlocks) FROM pg_stat_database'), '0', 'no deadlock');

# Batches alone, of the same few signals in any order.
append_to_file("$tmp/overlap", "SELECT count(*) FROM tradekeep.claim_signals(batch(40, 30), 0.0001, interval '1 ms' * (2 + random() * 30));\n");
$node->command_ok(
	[ 'pgbench', '-n', '-c', 12, '-j', 2, '-t', 100, '-h', $node->host, '-p', $node->port, '-f', "$tmp/overlap", 'postgres' ],
	'overlapping batches in random order');
is($node->safe_psql('postgres', 'SELECT sum(deadlocks) FROM pg_stat_database'), '0', 'no deadlock among them');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'none in the log');

$node->stop;
done_testing();
