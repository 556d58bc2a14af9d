# kill -9 of the postmaster under a load of signals: what was acknowledged is kept, and no two live
# ones are near each other afterwards.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $sessions = 8;
my $rounds = 3;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('signal_crash');
# What is expired is looked at, too.
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');

# All sessions claim the same prices, each in an order of its own, and write down what they hear.
my $prices = 6000;
for my $session (1 .. $sessions)
{
	my $sql = '';
	for my $i (1 .. $prices)
	{
		my $n = ($i * (2 * $session + 1)) % $prices;
		my $price = 100 * 1.0003**($n % 1000) + $session / 1000;
		my $symbol = 'S' . int($n / 1000);
		$sql .= $n % 7
		  ? "SELECT claimed, signal_id FROM tradekeep.claim_signal('$symbol', 'LONG', $price);\n"
		  : "SELECT claimed, signal_id FROM tradekeep.claim_signals("
		  . "'[{\"symbol\": \"$symbol\", \"direction\": \"LONG\", \"entry_price\": $price},"
		  . " {\"symbol\": \"S0\", \"direction\": \"SHORT\", \"entry_price\": $price}]');\n";
	}
	append_to_file("$tmp/session$session.sql", $sql);
}

sub run_sessions
{
	my ($round) = @_;
	return map {
		IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', "$tmp/session$_.sql" ],
			'>', "$tmp/answers$round.$_", '2>', '/dev/null')
	} 1 .. $sessions;
}

for my $round (1 .. $rounds)
{
	my @handles = run_sessions($round);
	my $floor = 500 * $round;
	$node->poll_query_until('postgres', "SELECT count(*) > $floor FROM tradekeep.signal")
	  or die 'the sessions stand still';
	Tradekeep::crash($node);
	$_->finish for @handles;
	$node->start;
}
$_->finish for run_sessions('last');

my %granted;
my $lines = 0;
for my $file (glob "$tmp/answers*")
{
	# The last line may have been cut off.
	for my $line (slurp_file($file) =~ /^(.*)\n/mg)
	{
		$lines++;
		$granted{$1}++ if $line =~ /^t\|(\d+)$/;
	}
}
my @twice = grep { $granted{$_} > 1 } keys %granted;
is(scalar @twice, 0, 'no id was given twice') or diag "@twice";
my %stored = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT signal_id FROM tradekeep.signal');
my @missing = grep { !$stored{$_} } keys %granted;
is(scalar @missing, 0, 'no acknowledged signal is missing') or diag "@missing";
cmp_ok(scalar keys %granted, '>', 500 * $rounds / 2, 'many grants were heard of');
cmp_ok($lines, '>', 2 * keys %granted, 'and many duplicates');
is($node->safe_psql('postgres', <<'SQL'), '0', 'no two signals are near each other');
SELECT count(*) FROM tradekeep.signal AS q JOIN tradekeep.signal AS p USING (symbol, direction)
WHERE p.signal_id > q.signal_id AND abs(p.price - q.price) <= 0.0005 * q.price
SQL

$node->stop;
done_testing();
