# Eight sessions write few symbols in overlapping periods, by all kinds of statements and at each isolation level: what is derived
# is what the reference makes of the sources, at any moment, and single statements never meet in a deadlock. Rollups come and go
# and are built anew beside them.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use RollupOracle;
use Test::More;
use Tradekeep;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $node = Tradekeep::new_node('race');
# Rows of a series are locked in the order of the index, as the functions do it.
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
jit = off
max_connections = 40
deadlock_timeout = '10ms'
enable_seqscan = off
enable_bitmapscan = off
log_statement = none
tradekeep.sweep = off
CONF
$node->start;
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION tradekeep;
$RollupOracle::sql
SELECT tradekeep.add_rollup('1m', '5m'), tradekeep.add_rollup('5m', '15m', '20 min'), tradekeep.add_rollup('15m', '1h'), tradekeep.add_rollup('1m', '30m', '3 min');
CREATE FUNCTION at(minute int) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS \$\$ SELECT '2026-01-31 22:00Z'::timestamptz + minute * interval '1 min' \$\$;
-- Bars as ccxt has them: so many, from a minute on.
CREATE FUNCTION bars(minute int, step int, n int, v int) RETURNS jsonb LANGUAGE sql AS \$\$
	SELECT jsonb_agg(jsonb_build_array(extract(epoch FROM at(i)) * 1000, 10 + v * i % 7, 20 + v * i % 13, 5 - i % 3, 6 + v % 4, v / 7.0::float8))
	FROM generate_series(minute - minute % step, minute - minute % step + step * (n - 1), step) AS i \$\$;
CREATE FUNCTION rows(symbols text[], timeframes text[], minute int, n int, v int, OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT ignored bigint) LANGUAGE sql AS \$\$
	SELECT u.* FROM (SELECT array_agg(s ORDER BY random()) AS s, array_agg(f::tradekeep.timeframe ORDER BY random()) AS f, count(*)::int AS n FROM unnest(symbols) AS s, unnest(timeframes) AS f, generate_series(1, n)) AS a,
		LATERAL (SELECT array_agg(tradekeep.candle_start(f[i], at(minute + i % 30)) ORDER BY i) AS ts FROM generate_series(1, a.n) AS i) AS t,
		tradekeep.upsert_candles(s, f, ts, array_fill(10, ARRAY[a.n]), array_fill(20 + v % 13, ARRAY[a.n]), array_fill(5, ARRAY[a.n]), array_fill(6, ARRAY[a.n]), array_fill(v, ARRAY[a.n]), array_fill(v % 3 > 0, ARRAY[a.n])) AS u \$\$;
SQL

my $draw = "\\set s random(1, 3)\n\\set m random(0, 180)\n\\set n random(1, 40)\n\\set v random(1, 100)\n";
my $series = "symbol = 'S' || :s AND ts >= at(:m) AND ts < at(:m + :n)";
my %single = (
	sources => "SELECT tradekeep.upsert_candles('S' || :s, '1m', bars(:m, 1, :n, :v), :v % 4 > 0);\n",
	newest => "SELECT tradekeep.upsert_candle('S' || :s, '1m', at(:m), 10, 20, 5, 6, :v, :v % 3 > 0);\n",
	supplied => "SELECT tradekeep.upsert_candles('S' || :s, '5m', bars(:m, 5, :n / 5 + 1, :v), :v % 4 > 0);\n",
	hours => "SELECT tradekeep.upsert_candles('S' || :s, '1h', bars(:m, 60, 2, :v), :v % 4 > 0);\n",
	mixed => "SELECT rows('{S3,S1,S2}', '{5m,1m,15m}', :m, :n / 4 + 1, :v);\n",
	insert => "INSERT INTO tradekeep.candle SELECT 'S' || s, '1m', at(i), 10, 20, 5, 6, :v, :v % 4 > 0 FROM generate_series(1, :s) AS s, generate_series(:m, :m + :n) AS i ORDER BY 1, 3 ON CONFLICT DO NOTHING;\n",
	replace => "INSERT INTO tradekeep.candle SELECT 'S' || s, '1m', at(i), 10, 20, 5, 6, :v, :v % 4 > 0 FROM generate_series(1, :s) AS s, generate_series(:m, :m + :n) AS i ORDER BY 1, 3\n"
	  . "ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume, closed = excluded.closed;\n",
	correct => "UPDATE tradekeep.candle SET volume = volume + :v, closed = true WHERE timeframe = '1m' AND $series;\n",
	delete => "DELETE FROM tradekeep.candle WHERE timeframe = '1m' AND $series;\n");
# Of a target the other way round: these may meet the writers of its sources in a deadlock.
my %contrary = (
	unsupply => "DELETE FROM tradekeep.candle WHERE timeframe = '5m' AND sources IS NULL AND $series;\n",
	tamper => "UPDATE tradekeep.candle SET close = low WHERE timeframe = '5m' AND sources IS NOT NULL AND $series;\n",
	shift => "UPDATE tradekeep.candle SET ts = ts + interval '4 hours' WHERE timeframe = '1m' AND symbol = 'S' || :s AND ts = at(:m) AND NOT EXISTS (SELECT FROM tradekeep.candle AS o WHERE o.symbol = 'S' || :s AND o.timeframe = '1m' AND o.ts = at(:m + 240));\n");
# As of any moment, nothing is wrong.
my $verify = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nSELECT 1 / (count(*) = 0)::int FROM tradekeep.verify_rollups();\nCOMMIT;\n";

sub script
{
	my ($name, $sql) = @_;
	append_to_file("$tmp/$name.sql", $sql) unless -e "$tmp/$name.sql";
	return ('-f', "$tmp/$name.sql");
}
sub pgbench
{
	my ($transactions, @scripts) = @_;
	return ('pgbench', '-n', '-c', 8, '-j', 2, '-t', $transactions, '--max-tries=10000', '-h', $node->host, '-p', $node->port, @scripts, 'postgres');
}
sub weigh { my ($option, $file) = script($_[0], $_[1]); return ($option, "$file\@$_[2]"); }
sub deadlocks { return $node->safe_psql('postgres', 'SELECT sum(deadlocks) FROM pg_stat_database'); }
sub wrong { return $node->safe_psql('postgres', 'SELECT * FROM reference.wrong() LIMIT 5'); }
sub clear { $node->safe_psql('postgres', 'TRUNCATE tradekeep.candle, tradekeep.candle_correction'); return; }

my @verify = weigh('verify', $verify, 2);
for my $level ('read committed', 'repeatable read', 'serializable')
{
	local $ENV{PGOPTIONS} = "-c default_transaction_isolation=" . $level =~ s/ /\\ /r;
	my $before = deadlocks();
	clear();
	$node->command_ok([ pgbench(60, @verify, map { weigh($_, $draw . $single{$_}, 3) } sort keys %single) ], "$level: single statements of eight sessions, and nothing is wrong at any moment");
	is(wrong(), '', "$level: all is as it has to be");
	is(deadlocks() - $before, 0, "$level: without a deadlock");

	# Several in a transaction, which may deadlock by themselves, and some are taken back.
	my @transactions;
	my %all = (%single, %contrary);
	for my $name (sort keys %all)
	{
		my $other = pick_other($name, sort keys %single);
		my $begin = "BEGIN ISOLATION LEVEL $level;\n";
		my $file = "$name-$level" =~ s/ /-/r;
		push @transactions, weigh("two-$file", "$draw$begin$all{$name}${draw}SAVEPOINT s;\n$single{$other}ROLLBACK TO s;\n$all{$name}COMMIT;\n", 2),
		  weigh("none-$file", "$draw$begin$all{$name}${draw}$single{$other}ROLLBACK;\n", 1);
	}
	$node->command_ok([ pgbench(12, @verify, @transactions) ], "$level: transactions of several statements");
	is(wrong(), '', "$level: all is as it has to be after them");
	cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM tradekeep.candle WHERE sources IS NOT NULL'), '>', 0, "$level: and there is something");
}

sub pick_other
{
	my ($name, @names) = @_;
	my $sum = 0;
	$sum += ord for split //, $name;
	return $names[ $sum % @names ];
}

# Batches of more series than there are locks for them, beside small ones and COPY into the same periods.
{
	my $before = deadlocks();
	clear();
	my $copies = "\\set VERBOSITY sqlstate\n" . join '', map {
		my $time = sprintf '2026-01-31 %02d:%02d:00+00', 22 + int($_ / 60), $_ % 60;
		"COPY tradekeep.candle (symbol, timeframe, ts, open, high, low, close, volume) FROM stdin;\n" . join('', map { "S$_\t1m\t$time\t10\t20\t5\t6\t1\n" } 1 .. 3) . "\\.\n"
	} 1 .. 119;
	my ($copied, $copy_errors) = ('', '');
	my $copy = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$copies, '>', \$copied, '2>', \$copy_errors);
	my $symbols = "'{" . join(',', map { "S$_" } 1 .. 120) . "}'";
	$node->command_ok(
		[
			pgbench(15, @verify, weigh('many', "${draw}SELECT rows($symbols, '{1m}', :m, 1, :v);\n", 2), weigh('many_mixed', "${draw}SELECT rows($symbols, '{1m,5m}', :m, 1, :v);\n", 1),
				weigh('few', "${draw}SELECT rows('{S2,S100,S77,S1}', '{1m}', :m, :n / 10 + 1, :v);\n", 4), map { weigh($_, $draw . $single{$_}, 1) } qw(sources supplied delete replace))
		],
		'batches of 120 symbols beside small ones');
	$copy->finish;
	is(join(' ', sort grep { !/23505/ } $copy_errors =~ /ERROR:\s+(\w+)/g), '', 'and beside COPY, which only fails for keys that exist');
	is(wrong(), '', 'all is as it has to be after them');
	is(deadlocks() - $before, 0, 'without a deadlock');
}

# Rollups are added, changed, dropped and built anew beside writers.
{
	my $before = deadlocks();
	clear();
	my $begin = -s $node->logfile;
	my ($out, $errors) = ('', '');
	my $writers = IPC::Run::start([ pgbench(60, map { weigh($_, $draw . $single{$_}, 1) } sort keys %single) ], '<', \undef, '>', \$out, '2>', \$errors);
	my $admin = "SET client_min_messages = warning;\n";
	for my $round (1 .. 8)
	{
		$admin .= join '', map { "$_;\n" } "SELECT tradekeep.add_rollup('15m', '4h', '$round min')", 'CALL tradekeep.rebuild_rollups()', "SELECT tradekeep.add_rollup('1m', '3m')", "SELECT tradekeep.drop_rollup('4h')",
		  "SELECT tradekeep.add_rollup('1m', '5m', '$round min')", "CALL tradekeep.rebuild_rollups('15m')", "SELECT tradekeep.drop_rollup('3m')", 'SELECT 1 / (count(*) = 0)::int FROM tradekeep.verify_rollups()';
	}
	my $second = "SET client_min_messages = warning;\n" . "CALL tradekeep.rebuild_rollups();\n" x 10;
	my ($other_out, $other_errors) = ('', '');
	my $other = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ], '<', \$second, '>', \$other_out, '2>', \$other_errors);
	my ($status, undef, $said) = $node->psql('postgres', $admin, on_error_stop => 1);
	is("$status $said", '0 ', 'rollups come and go beside writers');
	$other->finish;
	is($other->result(0) . $other_errors, '0', 'and are built anew by two at once');
	$writers->finish;
	is($writers->result(0), 0, 'no writer fails') or diag $errors;
	is(wrong(), '', 'all is as it has to be after them');
	is(deadlocks() - $before, 0, 'without a deadlock');
	is($node->safe_psql('postgres', "SELECT count(*) FROM tradekeep.candle WHERE sources IS NOT NULL AND timeframe IN ('3m', '4h')"), '0', 'nothing is left of what was dropped');
	unlike(slurp_file($node->logfile, $begin), qr/PANIC|TRAP|XX000/, 'and the server is well');
}

$node->stop;
done_testing();
