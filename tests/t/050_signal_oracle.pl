# claim_signal() and claim_signals() against an oracle that compares each signal with all that were
# sent before it: random and adversarial prices, and real ones.

use strict;
use warnings;

use FindBin;
use IO::Uncompress::Gunzip qw(gunzip);
use JSON::PP;
use List::Util qw(shuffle);
use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $data = ($ENV{TRADEKEEP_SHARED} || "$FindBin::Bin/../../../shared") . '/data';
my $node = Tradekeep::new_node('signal_oracle');
# What is expired is looked at, too.
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION tradekeep;
CREATE TABLE input (n int, batch int, symbol text, direction text, price float8, tolerance float8, ttl int, at int);
CREATE TABLE answer (n int, claimed boolean, signal_id bigint, price float8, sent_at timestamptz, expires_at timestamptz);
CREATE FUNCTION clock(at int) RETURNS timestamptz LANGUAGE sql IMMUTABLE
	AS $$ SELECT timestamptz '2026-01-01 00:00Z' + at * interval '1 s' $$;
SQL

my $one_by_one = <<'SQL';
INSERT INTO answer
SELECT i.n, a.*
FROM (SELECT * FROM input ORDER BY n OFFSET 0) AS i,
	LATERAL tradekeep.claim_signal(symbol, lower(direction), price, tolerance, ttl * interval '1 s', at => clock(at)) AS a
SQL

# Prices come as numbers and as strings.
my $in_batches = <<'SQL';
INSERT INTO answer
SELECT a.*
FROM (SELECT tolerance, ttl, at, array_agg(n ORDER BY n) AS numbers, jsonb_agg(jsonb_build_object('symbol', symbol,
		'direction', direction, 'entry_price', CASE n % 2 WHEN 0 THEN to_jsonb(price) ELSE to_jsonb(price::text) END) ORDER BY n) AS signals
	FROM input GROUP BY batch, tolerance, ttl, at ORDER BY batch OFFSET 0) AS i,
	LATERAL ROWS FROM (unnest(numbers), tradekeep.claim_signals(signals, tolerance, ttl * interval '1 s', clock(at))) AS a
SQL

# The nearest live one within tolerance; of equally near ones the one sent first. Above twice the
# price the difference rounds, and the smaller of two is the nearer.
sub find_original
{
	my ($sent, $signal) = @_;
	my ($price, $tolerance, $at) = @{$signal}{qw(price tolerance at)};
	my ($nearest, $nearest_distance);
	for my $other (@$sent)
	{
		my $distance = abs($price - $other->{price});
		next if $distance > $tolerance * $other->{price} || $other->{end} <= $at;
		next if $nearest && $distance > $nearest_distance;
		next if $nearest && $distance == $nearest_distance
		  && !($nearest->{price} > 2 * $price && $other->{price} < $nearest->{price});
		($nearest, $nearest_distance) = ($other, $distance);
	}
	return $nearest;
}

# Runs the calls and goes through their answers in order.
sub check
{
	my ($name, $sql, @signals) = @_;
	my $lines = '';
	my $n = 0;
	$lines .= sprintf "%d\t%d\t%s\t%s\t%.17g\t%.17g\t%d\t%d\n", $n++, $_->{batch} // 0,
	  @{$_}{qw(symbol direction price tolerance ttl at)}
	  for @signals;
	unlink "$tmp/input";
	append_to_file("$tmp/input", $lines);
	$node->safe_psql('postgres', "TRUNCATE input, answer, tradekeep.signal; COPY input FROM '$tmp/input'; ANALYZE input; $sql");

	my (%sent, @wrong);
	my $duplicates = 0;
	my @answers = split /\n/, $node->safe_psql('postgres', 'SELECT claimed, signal_id FROM answer ORDER BY n');
	for my $i (0 .. $#signals)
	{
		my $signal = $signals[$i];
		my $sent = $sent{"$signal->{symbol} $signal->{direction}"} //= [];
		my $original = find_original($sent, $signal);
		my ($claimed, $id) = split /\|/, $answers[$i] // 'none|0';
		push @wrong, sprintf('signal %d, %.17g, tolerance %.17g: %s %d, should be %s', $i, @{$signal}{qw(price tolerance)},
			$claimed, $id, $original ? "f $original->{id}" : 't')
		  if $claimed ne ($original ? 'f' : 't') || $original && $id != $original->{id};
		$duplicates++ if $original;
		push @$sent, { %$signal, id => $id, end => $signal->{at} + $signal->{ttl} } if $claimed eq 't';
	}
	is(scalar @wrong, 0, sprintf '%s: %d answers, %d duplicates', $name, scalar @signals, $duplicates)
	  or diag join "\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ];
	is($node->safe_psql('postgres', <<'SQL'), '0', "$name: each answer tells what is stored");
SELECT count(*) FROM answer AS a LEFT JOIN tradekeep.signal AS s USING (signal_id)
WHERE (a.price, a.sent_at, a.expires_at) IS DISTINCT FROM (s.price, s.sent_at, s.expires_at)
SQL
}

# The double that lies so many steps above this one.
sub step
{
	my ($price, $steps) = @_;
	return unpack('d', pack('q', unpack('q', pack('d', $price)) + $steps));
}

# A price at the edge of the tolerance of another, or a few bits beside it.
sub edge_price
{
	my ($price, $tolerance) = @_;
	my @edges = (
		$price, $price * (1 + $tolerance), $price * (1 - $tolerance), $price / (1 + $tolerance),
		$price / (1 - $tolerance), $price + $tolerance * $price, $price * (1 + 2 * $tolerance));
	return step($edges[ rand @edges ], int(rand 7) - 3);
}

my %random_price = (
	ordinary => sub { 100 + rand 20 },
	whole    => sub { 1 + int rand 300 },
	tiny     => sub { 1e-8 * (1 + rand) },
	denormal => sub { step(0, 1 + int rand 4000) },
	smallest => sub { step(2.2250738585072014e-308, int(rand 4000) - 2000) },
	huge     => sub { 1.7e308 + rand 9e306 },
	any      => sub { exp(rand(1400) - 700) });
my @tolerances = (0, 5e-324, 1e-16, 0.0005, 0.3, 0.999999, 1 - 2**-53);

# Signals of a symbol. Mostly the clock stands or goes on, and sometimes it goes back.
sub random_signals
{
	my ($symbol, $kind, $usual_tolerance, $count) = @_;
	my ($at, @signals) = (100000);
	while (@signals < $count)
	{
		my $tolerance = rand() < 0.8 ? $usual_tolerance : $tolerances[ rand @tolerances ];
		my $price = @signals && rand() < 0.8 ? edge_price($signals[ rand @signals ]->{price}, $tolerance) : $random_price{$kind}->();
		next unless $price > 0 && $price < 9**9**9;
		$at += rand() < 0.1 ? int(rand 200) - 60 : int rand 2;
		push @signals,
		  {
			symbol    => $symbol,
			direction => rand() < 0.5 ? 'LONG' : 'SHORT',
			price     => $price,
			tolerance => $tolerance,
			ttl       => 1 + int rand 1000,
			at        => $at
		  };
	}
	return @signals;
}

srand(20260105);
for my $kind (sort keys %random_price)
{
	my $n = 0;
	check("$kind prices", $one_by_one, map { random_signals('S' . $n++, $kind, $_, 2100) } @tolerances);
}

# In batches of many symbols, each at one time and with one tolerance.
my @batched;
for my $batch (1 .. 150)
{
	my $tolerance = $tolerances[ $batch % @tolerances ];
	my $at = 100000 + 100 * $batch + int rand 300;
	my $ttl = 100 + int rand 3000;
	my @signals = map { random_signals("S$_", (sort keys %random_price)[$_], $tolerance, 20) } 0 .. 6;
	for my $signal (shuffle @signals)
	{
		# Half of them lie beside something that an earlier batch sent.
		my $near = @batched ? $batched[ rand @batched ] : $signal;
		my $price = rand() < 0.5 ? edge_price($near->{price}, $tolerance) : 0;
		($signal->{symbol}, $signal->{price}) = ($near->{symbol}, $price) if $price > 0 && $price < 9**9**9;
		push @batched, { %$signal, batch => $batch, tolerance => $tolerance, at => $at, ttl => $ttl };
	}
}
check('batches', $in_batches, @batched);

SKIP:
{
	skip 'the real prices of ../shared/data are not here', 6 unless -e "$data/ticks-xrp-eth.ccxt.json.gz";
	my $json;
	gunzip("$data/ticks-xrp-eth.ccxt.json.gz" => \$json) or die 'could not unpack the ticks';
	my $n = 0;
	my @ticks = map {
		{
			symbol => 'XRP/ETH', direction => uc($_->[3]) eq 'BUY' ? 'LONG' : 'SHORT', price => $_->[4], tolerance => 0.0005,
			ttl => 7200, at => int($_->[0] / 1000) - 1570000000, batch => int($n++ / 100)
		}
	} @{ decode_json($json) };
	check('XRP/ETH trades', $one_by_one, @ticks);
	my %at;
	$_->{at} = $at{ $_->{batch} } //= $_->{at} for @ticks;
	check('XRP/ETH trades in batches', $in_batches, @ticks);
	check('BTC closes', $one_by_one,
		map { { symbol => 'BTC', direction => 'LONG', price => $_->[4], tolerance => 0.0005, ttl => 86400, at => $_->[0] / 1000 - 1509000000 } }
		  @{ decode_json(slurp_file("$data/candles-btc-1m.ccxt.json")) });
}

$node->stop;
done_testing();
