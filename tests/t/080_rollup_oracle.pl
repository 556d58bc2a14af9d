# Rollups against a reference in straight SQL: after thousands of random statements of all kinds, in several shapes of
# rollups, what is stored is what the rows that nobody derived come to, and verify_rollups() finds nothing.
# The seed is printed; TRADEKEEP_SEED repeats a run, or makes another one.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use RollupOracle;
use Test::More;
use Tradekeep;

my $seed = $ENV{TRADEKEEP_SEED} || 20260105;
my $tmp = PostgreSQL::Test::Utils::tempdir();
my $data = ($ENV{TRADEKEEP_SHARED} || "$FindBin::Bin/../../../shared") . '/data';
my $node = Tradekeep::new_node('oracle');
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
jit = off
log_statement = none
tradekeep.sweep = off
CONF
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION tradekeep;\n$RollupOracle::sql");
note "seed $seed";

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int rand @_ ]; }

my %step = ('1m' => 60, '5m' => 300, '15m' => 900, '30m' => 1800, '1h' => 3600, '4h' => 14400, '12h' => 43200, '1d' => 86400, '3d' => 259200, '1w' => 604800);

# The start of the candle that a time lies in, in seconds.
sub grid
{
	my ($timeframe, $time) = @_;
	my $from = $timeframe eq '1w' ? 4 * 86400 : 0;    # a Monday
	return $time - ($time - $from) % $step{$timeframe} if $timeframe ne '1M';
	return $time - ((gmtime $time)[3] - 1) * 86400 - $time % 86400;
}
sub stamp { return strftime('%Y-%m-%d %H:%M:%S+00', gmtime $_[0]); }

# What the statements of a shape are about.
my ($base, @targets, @symbols, @places, $width);
sub symbol { return pick(@symbols); }
sub timeframe { return chance(0.7) ? $base : pick(@targets); }
sub place { return pick(@places) + $step{$base} * int rand($width); }

# Bars of a symbol and timeframe, one after the other or with holes; mostly closed.
sub bars
{
	my ($symbol, $timeframe, $n) = @_;
	my $time = grid($timeframe, place());
	my $closed = chance(0.85);
	my @bars;
	for (1 .. $n)
	{
		my ($low, $open, $close, $high) = (sort { $a <=> $b } map { 90 + int(rand 140) / 7 } 1 .. 4)[ 0, chance(0.5) ? (1, 2) : (2, 1), 3 ];
		push @bars, [ $symbol, $timeframe, $time, $open, $high, $low, $close, int(rand 1000) / 13, $closed && chance(0.97) ? 't' : 'f' ];
		$time = grid($timeframe, $time + ($timeframe eq '1M' ? 32 * 86400 : $step{$timeframe} * (chance(0.9) ? 1 : 2 + int rand 9)));
	}
	return @bars;
}
sub values_of { return join ', ', map { my ($symbol, $timeframe, $time, @rest) = @$_; "('$symbol', '$timeframe', '" . stamp($time) . "', " . join(', ', @rest[ 0 .. 4 ]) . ", '$rest[5]')" } @_; }
sub some { return bars(symbol(), timeframe(), 1 + int rand(chance(0.3) ? 40 : 4)); }
sub mixed { return map { some() } 1 .. 1 + int rand 3; }

# A batch has a key once, but for functions.
sub distinct { my %seen; return grep { !$seen{"$_->[0] $_->[1] $_->[2]"}++ } @_; }

# Some rows of a series, or of everything.
sub where
{
	my ($timeframe) = @_;
	my $from = grid($timeframe, place());
	return sprintf "timeframe = '%s' AND symbol = '%s' AND ts >= '%s' AND ts < '%s'", $timeframe, symbol(), stamp($from), stamp($from + ($step{$timeframe} || 31 * 86400) * (1 + int rand 20))
	  if chance(0.8);
	return sprintf "timeframe = '%s' AND abs(hashtext(symbol || ts)) %% %d = %d", $timeframe, map { $_, int rand $_ } 5 + int rand 20;
}

my $columns = 'symbol, timeframe, ts, open, high, low, close, volume, closed';
my $replace = 'ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume, closed = excluded.closed, sources = NULL';
my %statements = (
	upsert => [ 6, sub { return 'SELECT tradekeep.upsert_candle' . values_of(bars(symbol(), timeframe(), 1)); } ],
	json => [ 8, sub {
		my @bars = some();
		my $all = $bars[0][8];
		return "SELECT tradekeep.upsert_candles('$bars[0][0]', '$bars[0][1]', '[" . join(', ', map { my (undef, undef, $time, @rest) = @$_; '[' . join(', ', 1000 * $time, @rest[ 0 .. 4 ]) . ']' } @bars) . "]', '$all')";
	} ],
	arrays => [ 6, sub {
		my @bars = sort { rand() <=> 0.5 } mixed();
		return "SELECT tradekeep.upsert_candles(array_agg(s), array_agg(f::tradekeep.timeframe), array_agg(t::timestamptz), array_agg(o), array_agg(h), array_agg(l), array_agg(c), array_agg(v), array_agg(closed::boolean))"
		  . ' FROM (VALUES ' . values_of(@bars) . ') AS b(s, f, t, o, h, l, c, v, closed)';
	} ],
	insert => [ 4, sub { return "INSERT INTO tradekeep.candle ($columns) VALUES " . values_of(distinct(mixed())) . ' ON CONFLICT DO NOTHING'; } ],
	plain => [ 2, sub { return "INSERT INTO tradekeep.candle ($columns) VALUES " . values_of(some()); } ],
	replace => [ 3, sub { return "INSERT INTO tradekeep.candle ($columns) VALUES " . values_of(distinct(mixed())) . " $replace"; } ],
	copy => [ 4, sub {
		my @bars = distinct(mixed());
		return "COPY tradekeep.candle ($columns) FROM stdin;\n" . join('', map { my @bar = @$_; $bar[2] = stamp($bar[2]); join("\t", @bar) . "\n" } @bars) . "\\.\n";
	} ],
	merge => [ 3, sub {
		return "MERGE INTO tradekeep.candle AS c USING (VALUES " . values_of(distinct(mixed())) . ") AS n($columns) ON (c.symbol = n.symbol AND c.timeframe = n.timeframe::tradekeep.timeframe AND c.ts = n.ts::timestamptz)"
		  . " WHEN MATCHED AND n.volume < 10 THEN DELETE WHEN MATCHED THEN UPDATE SET open = n.open, high = n.high, low = n.low, close = n.close, volume = n.volume, closed = n.closed::boolean, sources = NULL"
		  . " WHEN NOT MATCHED THEN INSERT ($columns) VALUES (n.symbol, n.timeframe::tradekeep.timeframe, n.ts::timestamptz, n.open, n.high, n.low, n.close, n.volume, n.closed::boolean)";
	} ],
	correct => [ 5, sub { return 'UPDATE tradekeep.candle SET high = high + 1, close = low, volume = volume * 1.1 WHERE ' . where(timeframe()); } ],
	close => [ 4, sub { return 'UPDATE tradekeep.candle SET closed = true WHERE NOT closed AND ' . where(timeframe()); } ],
	delete => [ 5, sub { return 'DELETE FROM tradekeep.candle WHERE ' . where($base); } ],
	unsupply => [ 3, sub { return 'DELETE FROM tradekeep.candle WHERE ' . where(pick(@targets)); } ],
	newest => [ 2, sub { return sprintf "DELETE FROM tradekeep.candle WHERE (symbol, timeframe, ts) IN (SELECT symbol, timeframe, ts FROM tradekeep.candle WHERE symbol = '%s' AND timeframe = '%s' ORDER BY ts DESC LIMIT %d)", symbol(), timeframe(), 1 + int rand 5; } ],
	tamper => [ 3, sub { return 'UPDATE tradekeep.candle SET ' . pick('close = high', 'sources = sources + 1', 'closed = NOT closed', 'volume = 0') . ' WHERE sources IS NOT NULL AND ' . where(pick(@targets)); } ],
	adopt => [ 1, sub { return 'UPDATE tradekeep.candle SET sources = NULL WHERE ' . where(pick(@targets)); } ],
	move => [ 3, sub { my $timeframe = timeframe(); return sprintf "UPDATE tradekeep.candle SET ts = %s WHERE %s", $timeframe eq '1M' ? "(ts AT TIME ZONE 'UTC' + interval '4 months') AT TIME ZONE 'UTC'" : sprintf("ts + %d * interval '%d s'", pick(-30, 7, 90), $step{$timeframe}), where($timeframe); } ],
	rename => [ 2, sub { return sprintf "UPDATE tradekeep.candle SET symbol = '%s' WHERE %s", symbol(), where(timeframe()); } ],
	regrid => [ 2, sub { my ($from, $to) = chance(0.5) ? ($base, $targets[0]) : ($targets[0], $base); return sprintf "UPDATE tradekeep.candle SET timeframe = '%s' WHERE ts = reference.start('%s', '%d s', ts) AND %s", $to, $to, $step{$to}, where($from); } ],
	exchange => [ 2, sub { return 'WITH gone AS (DELETE FROM tradekeep.candle WHERE ' . where($base) . " RETURNING *) INSERT INTO tradekeep.candle SELECT '" . symbol() . "', timeframe, ts, close, high, low, open, volume, closed, NULL FROM gone ON CONFLICT DO NOTHING"; } ],
	both => [ 2, sub { return 'WITH changed AS (UPDATE tradekeep.candle SET volume = volume + 1 WHERE ' . where(timeframe()) . ' RETURNING 1), gone AS (DELETE FROM tradekeep.candle WHERE ' . where($base) . " RETURNING 1) INSERT INTO tradekeep.candle ($columns) VALUES " . values_of(distinct(mixed())) . ' ON CONFLICT DO NOTHING'; } ],
	block => [ 1, sub { return "DO \$\$ BEGIN " . statement(1) . "; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero OR unique_violation THEN NULL; END \$\$"; } ],
	clear => [ 0.1, sub { return sprintf "DELETE FROM tradekeep.candle WHERE symbol = '%s'", symbol(); } ]);
my @weighted = map { my ($name) = $_; ($name) x (10 * $statements{$name}[0]) } sort keys %statements;

# A statement; inside of a function, one that is no query of its own.
sub statement
{
	my ($inner) = @_;
	my $name;
	do { $name = pick(@weighted) } while $inner && $name =~ /^(upsert|json|arrays|copy|block)$/;
	my $sql = $statements{$name}[1]->();
	return $inner || $name eq 'copy' ? $sql : "$sql;\n";
}

# Statements that belong together, with some that are taken back.
sub transaction
{
	my $sql = 'BEGIN ISOLATION LEVEL ' . pick('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE') . ";\n";
	for (1 .. 1 + int rand 3)
	{
		$sql .= statement() . "SAVEPOINT s;\n" . statement() . pick('ROLLBACK TO s', 'ROLLBACK TO s', 'RELEASE s') . ";\n";
	}
	return $sql . pick(('COMMIT') x 4, 'ROLLBACK') . ";\n";
}

# Runs a script that may fail in places, by unique keys alone; what it says.
sub play
{
	my ($script, $what) = @_;
	my ($status, $output, $errors) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nSET client_min_messages = warning;\n$script", on_error_stop => 0);
	my %code;
	$code{$1}++ while $errors =~ /ERROR:\s+(\w+)/g;
	delete @code{ '23505', '25P02', '3B001' };    # the last two follow from the first in a transaction
	is(join(' ', sort keys %code), '', "$what: no error but of keys that exist") or diag $errors;
	$output =~ s/^(?!#).*\n?//mg;
	return $output;
}

sub check { return "SELECT '#$_[0] ' || w FROM reference.wrong() AS w LIMIT 3;\n"; }
sub wrong { return $node->safe_psql('postgres', 'SELECT * FROM reference.wrong() LIMIT 5'); }

# What was added, by target.
sub add_rollups { $node->safe_psql('postgres', "SET client_min_messages = warning; SELECT tradekeep.add_rollup('$_->[0]', '$_->[1]', '$_->[2]')") for @_; return; }
sub drop_rollups { $node->safe_psql('postgres', "SELECT tradekeep.drop_rollup('$_->[1]')") for reverse @_; return; }

my $minutes = [ map { $_ * 60 } 28481400, 28481640, 28486300 ];    # before a Monday and a new month (2024-02-25 22:00Z), and three days later
my @shapes = (
	{
		name => 'a chain', base => '1m', width => 260, places => $minutes, steps => 550, symbols => [ 'A', 'AA', 'B/T' ],
		rollups => [ [ '1m', '5m', '0' ], [ '5m', '15m', '0' ], [ '15m', '1h', '0' ], [ '1h', '1d', '0' ], [ '1d', '1w', '0' ] ]
	},
	{
		name => 'a star with grace', base => '1m', width => 200, places => $minutes, steps => 450, symbols => [ 'A', "\xc3\xbc" ],
		rollups => [ [ '1m', '5m', '0' ], [ '1m', '15m', '2 min 30 s' ], [ '1m', '1h', '40 min' ], [ '5m', '30m', '20 min' ] ]
	},
	{
		name => 'days', base => '1d', width => 150, places => [ 1703980800, 946684800, -315619200 ], steps => 450, symbols => [ 'A', 'B' ],
		rollups => [ [ '1d', '3d', '1 day' ], [ '1d', '1w', '0' ], [ '1d', '1M', '3 days' ] ]
	},
	{
		name => 'a chain with grace', base => '15m', width => 300, places => [ 1709164800 ], steps => 350, symbols => [ 'A', 'B', 'C' ],
		rollups => [ [ '15m', '1h', '10 min' ], [ '1h', '4h', '1 hour 1 min' ], [ '4h', '12h', '12 hours' ], [ '12h', '1d', '0' ], [ '1d', '1M', '36 hours' ] ]
	});

for my $shape (@shapes)
{
	my @rollups = @{ $shape->{rollups} };
	my $what = $shape->{name};
	srand($seed + length $what);
	($base, $width) = @$shape{qw(base width)};
	@targets = map { $_->[1] } @rollups;
	@symbols = @{ $shape->{symbols} };
	@places = @{ $shape->{places} };
	add_rollups(@rollups);

	my $script = '';
	for my $i (1 .. $shape->{steps})
	{
		$script .= "-- step $i\n" . (chance(0.15) ? transaction() : statement());
		$script .= check($i) if $i % 10 == 0 || $i < 20;
	}
	append_to_file("$tmp/$what.sql", $script);
	is(play($script, $what), '', "$what: after each of $shape->{steps} steps all is as it has to be (seed $seed)");
	like($node->safe_psql('postgres', 'SELECT count(*) FILTER (WHERE closed) > 20, count(*) FILTER (WHERE NOT closed) > 0, count(DISTINCT timeframe) FROM tradekeep.candle WHERE sources IS NOT NULL AND timeframe <> \'' . $base . '\''),
		qr/^t\|t\|${\ scalar @rollups}$/, "$what: and there is something");

	# The same out of nothing, in another order.
	drop_rollups(@rollups);
	is($node->safe_psql('postgres', "SELECT count(*) FROM tradekeep.candle WHERE sources IS NOT NULL AND timeframe <> '$base'"), '0', "$what: dropped, nothing derived is left");
	add_rollups(sort { rand() <=> 0.5 } @rollups);
	is(wrong(), '', "$what: added again, in any order");

	# What is broken behind their backs is found and mended, in any order.
	$node->safe_psql('postgres', <<'SQL');
SET session_replication_role = replica;
DELETE FROM tradekeep.candle WHERE sources IS NOT NULL AND abs(hashtext(symbol || ts)) % 3 = 0;
UPDATE tradekeep.candle SET close = low, sources = sources + 1, closed = NOT closed WHERE sources IS NOT NULL AND abs(hashtext(symbol || ts)) % 3 = 1;
SQL
	cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM tradekeep.verify_rollups()'), '>', 20, "$what: what is broken is found");
	$node->safe_psql('postgres', "SET client_min_messages = warning; CALL tradekeep.rebuild_rollups('$_')") for sort { rand() <=> 0.5 } @targets;
	is(wrong(), '', "$what: and built anew");
	$node->safe_psql('postgres', 'TRUNCATE tradekeep.candle');
	drop_rollups(@rollups);
}

SKIP:
{
	my $file = "$data/candles-btc-1m.ccxt.json";
	my $klines = "$data/klines-binance-futures.ws.jsonl";
	skip 'the real candles of ../shared/data are not here', 1 unless -e $file && -e $klines;
	my @rollups = ([ '1m', '5m', '0' ], [ '5m', '1h', '15 min' ], [ '1h', '4h', '0' ], [ '1m', '15m', '10 min' ], [ '4h', '1d', '0' ], [ '1d', '1w', '0' ], [ '1d', '1M', '0' ]);
	my $json = slurp_file($file) =~ s/\s+//gr;
	add_rollups(@rollups);
	$node->safe_psql('postgres', "CREATE TABLE feed (ohlcv jsonb); INSERT INTO feed VALUES ('$json')");
	is($node->safe_psql('postgres', "SELECT inserted FROM feed, tradekeep.ingest_kline(ohlcv, 'WHOLE', '1m')"), '13681', 'real bars at once');
	for my $order ('n DESC', 'md5(n::text)')
	{
		$node->safe_psql('postgres', <<"SQL");
SELECT tradekeep.upsert_candles('$order', '1m', bars) FROM (
	SELECT jsonb_agg(bar ORDER BY r) AS bars FROM (SELECT bar, row_number() OVER (ORDER BY $order) AS r FROM feed, jsonb_array_elements(ohlcv) WITH ORDINALITY AS t(bar, n)) AS b GROUP BY r / 700 ORDER BY r / 700) AS p
SQL
	}
	my $url = $node->connstr('postgres');
	IPC::Run::run([ 'tradekeep', 'import', 'candles', $file, '--symbol', 'IMPORTED', '--timeframe', '1m', '--url', $url ], '>', \my $out, '2>', \my $err);
	is($?, 0, 'real bars by the command') or diag $err;
	is( $node->safe_psql('postgres', "SELECT count(*), count(DISTINCT digest) FROM (SELECT md5(string_agg(concat_ws(' ', timeframe, ts, open, high, low, close, volume, closed, sources), ',' ORDER BY timeframe, ts)) AS digest FROM tradekeep.candle GROUP BY symbol) AS d"),
		'4|1', 'in any order, and whoever brings them, they come to the same');
	is(wrong(), '', 'which is what the reference makes of them');
	is($node->safe_psql('postgres', "SELECT count(*), sum(sources), bool_and(closed) FROM tradekeep.candle WHERE symbol = 'WHOLE' AND timeframe = '5m' AND ts < '2017-11-14 22:55Z'"), '2876|13676|t', 'holes in them included');

	$node->safe_psql('postgres', 'TRUNCATE tradekeep.candle');
	my $script = join '', map { "SELECT tradekeep.ingest_kline('$_');\n" . check('kline') } split /\n/, slurp_file($klines);
	is(play($script, 'messages'), '', 'real messages of open and closed bars, one by one');
	is($node->safe_psql('postgres', "SELECT count(*) FROM tradekeep.candle WHERE timeframe = '5m' AND sources IS NOT NULL"), '4', 'make a candle of each symbol');
}

$node->stop;
done_testing();
