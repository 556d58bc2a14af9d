
# A node of PostgreSQL::Test::Cluster that finds the staged extension and preloads it.
package Tradekeep;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use Time::HiRes qw(usleep);

# Arguments after the name are those of the node's init. TRADEKEEP_SETTINGS comes from the test
# runner; without it the installed extension is tested.
sub new_node
{
	my ($name, %init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	# Keys of any script, and the same order everywhere.
	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ], %init);
	$node->append_conf('postgresql.conf',
		$ENV{TRADEKEEP_SETTINGS} || "shared_preload_libraries = 'tradekeep'");
	return $node;
}

# Kills the postmaster and waits until it is gone: the next start wants its place.
sub crash
{
	my ($node) = @_;
	my $pid = $node->{_pid};

	$node->kill9;
	usleep(10_000) while kill 0, $pid;
	return;
}

1;
