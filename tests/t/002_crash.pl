# Exactly once across kill -9 of the postmaster: no acknowledged claim is missing afterwards, and
# none is granted again.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $sessions = 8;
my $rounds = 3;
my $keys = 4000;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('crash');
$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');

# Each session claims all keys in an order of its own, and writes down every answer it hears.
for my $session (1 .. $sessions)
{
	my $sql = '';
	for my $i (1 .. $keys)
	{
		my $key = ($i * (2 * $session + 1)) % $keys;
		$sql .= "SELECT $key, tradekeep.claim('crash', '$key', '1 hour');\n";
	}
	append_to_file("$tmp/session$session.sql", $sql);
}

sub run_sessions
{
	my ($round) = @_;
	my @handles;
	for my $session (1 .. $sessions)
	{
		push @handles,
		  IPC::Run::start(
			[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', "$tmp/session$session.sql" ],
			'>', "$tmp/answers$round.$session", '2>', '/dev/null');
	}
	return @handles;
}

for my $round (1 .. $rounds)
{
	my @handles = run_sessions($round);
	my $floor = $round * $keys / ($rounds + 2);
	$node->poll_query_until('postgres', "SELECT count(*) > $floor FROM tradekeep.claim")
	  or die 'the sessions stand still';
	Tradekeep::crash($node);
	$_->finish for @handles;
	$node->start;
}
$_->finish for run_sessions('last');

my %granted;
my $acknowledged = 0;
for my $file (glob "$tmp/answers*")
{
	for my $line (split /\n/, slurp_file($file))
	{
		next unless $line =~ /^(\d+)\|t$/;
		$granted{$1}++;
		$acknowledged++;
	}
}
my @twice = grep { $granted{$_} > 1 } keys %granted;
is(scalar @twice, 0, 'no key was granted twice') or diag "@twice";

my %stored = map { $_ => 1 }
  split /\n/, $node->safe_psql('postgres', "SELECT key FROM tradekeep.claim WHERE scope = 'crash'");
my @missing = grep { !$stored{$_} } keys %granted;
is(scalar @missing, 0, 'no acknowledged claim is missing') or diag "@missing";
is(scalar keys %stored, $keys, 'in the end every key is claimed');
cmp_ok($acknowledged, '>', $keys / 2, 'and most grants were heard of');

$node->stop;
done_testing();
