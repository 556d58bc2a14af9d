# What the client remembers, through restarts, on a standby and behind a pooler.

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use Tradekeep;

plan skip_all => 'the client to talk to was not built' unless $ENV{TRADEKEEP_CHAOS};

my $node = Tradekeep::new_node('primary', allows_streaming => 1);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');

# A client, and a function to talk to it.
sub open_client
{
	my ($url) = @_;
	my ($in, $out) = ('', '');
	local $ENV{DATABASE_URL} = $url;
	my $client = IPC::Run::start([ "$ENV{TRADEKEEP_CHAOS}/ask" ], '<', \$in, '>', \$out, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return sub {
		my ($words) = @_;
		$in .= "$words\n";
		return $client->finish if $words eq 'quit';
		$client->pump until $out =~ s/^(.*)\n//;
		return $1;
	};
}

# Asks until the answer comes; the last one.
sub await
{
	my ($client, $words, $expected) = @_;
	my $said;
	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$said = $client->($words);
		last if $said eq $expected;
		usleep(10_000);
	}
	return $said;
}

my $client = open_client($node->connstr('postgres'));
is($client->('claim restart a'), 'claimed by postgres', 'a claim');
is($client->('claim restart a'), 'duplicate by memory', 'is remembered');
like($client->('metrics'), qr/"listening":true/, 'the client listens');

# Somebody releases it while the server is all but gone, and nobody hears of it.
$node->restart;
$node->safe_psql('postgres', q{SELECT tradekeep.release('restart', 'a')});
is(await($client, 'claim restart a', 'claimed by postgres'), 'claimed by postgres', 'a restart ends what is remembered');
$node->restart;
is(await($client, 'claim restart a', 'duplicate by postgres'), 'duplicate by postgres', 'even where nothing was released');
is($client->('claim restart a'), 'duplicate by memory', 'and then memory is good again');
Tradekeep::crash($node);
$node->start;
is(await($client, 'claim restart a', 'duplicate by postgres'), 'duplicate by postgres', 'so does a crash');

# A standby decides nothing, and nothing that is remembered counts there.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
my $reader = open_client($standby->connstr('postgres'));
is($reader->('claim restart a'), 'refused by none 25006', 'a standby refuses claims');
is($reader->('resync'), '0', 'it can be asked what was released');
like($reader->('metrics'), qr/"listening":false/, 'but not listened to');
$reader->('quit');
$standby->stop;

# Behind a pooler nobody is heard: what is known grows old.
SKIP:
{
	skip 'pgbouncer is not installed', 5 unless Tradekeep::pgbouncer();
	my ($pooler, $connection) = Tradekeep::start_pooler($node);
	my $pooled = open_client($connection);
	is(await($pooled, 'claim pooled a', 'claimed by postgres'), 'claimed by postgres', 'a claim through the pooler');
	is($pooled->('claim pooled a'), 'duplicate by memory', 'is remembered');
	like($pooled->('metrics'), qr/"listening":false/, 'though nobody listens');
	$node->safe_psql('postgres', q{SELECT tradekeep.release('pooled', 'a')});
	is(await($pooled, 'claim pooled a', 'claimed by postgres'), 'claimed by postgres', 'a release is noticed');
	$pooled->('release pooled a');
	is($pooled->('claim pooled a'), 'claimed by postgres', 'one of its own at once');
	$pooled->('quit');
	$pooler->signal('TERM');
	$pooler->finish;
}

$client->('quit');
$node->stop;
done_testing();
