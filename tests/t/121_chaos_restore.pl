# A database that is restored from an old copy has forgotten claims. Neither memory nor Redis, nor a
# bot that went through it all, may know better: what they would answer from is gone.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Chaos;

plan skip_all => 'bot and proxy were not built' unless $Chaos::programs;

my $chaos = Chaos->new;
my $node = $chaos->{node};

# A bot that claims what it is told to.
my %asker = (in => '', out => '');
{
	local %ENV = (%ENV, $chaos->environment);
	$asker{run} = IPC::Run::start([ "$Chaos::programs/ask" ], '<', \$asker{in}, '>', \$asker{out});
}

sub ask
{
	my ($key) = @_;
	$asker{out} = '';
	$asker{in} = "claim restore $key\n";
	$asker{run}->pump until $asker{out} =~ /\n/;
	chomp $asker{out};
	return $asker{out};
}

is(ask('before'), 'claimed by postgres', 'a claim');
is(ask('before'), 'duplicate by memory', 'is remembered');

$node->stop('fast');
my $copy = PostgreSQL::Test::Utils::tempdir();
system_or_bail('cp', '-a', $node->data_dir, "$copy/data");
$node->start;
Chaos::await('the bot', sub { ask('after') !~ /^unavailable/ });
is((split / /, ask('after'))[0], 'duplicate', 'one after the copy is remembered too');
like($chaos->redis_cli('GET', 'tradekeep:claim:restore:after'), qr/^tk1:/, 'also by Redis');

$node->stop('immediate');
system_or_bail('rm', '-rf', $node->data_dir);
system_or_bail('cp', '-a', "$copy/data", $node->data_dir);
$node->start;
my $answer;
Chaos::await('the bot', sub { ($answer = ask('after')) !~ /^unavailable/ });
is($answer, 'claimed by postgres', 'a restored database decides for itself');
is($node->safe_psql('postgres', q{SELECT string_agg(key, ' ' ORDER BY key) FROM tradekeep.claim}), 'after before', 'and has both');
is((split / /, ask('before'))[0], 'duplicate', 'what the copy had is a duplicate still');

$asker{in} = "quit\n";
$asker{run}->finish;
$chaos->stop;
done_testing();
