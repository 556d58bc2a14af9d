
# A node of PostgreSQL::Test::Cluster that finds the staged extension and preloads it.
package Tradekeep;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;

# Arguments after the name are those of the node's init. TRADEKEEP_SETTINGS comes from the test
# runner; without it the installed extension is tested.
sub new_node
{
	my ($name, %init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(%init);
	$node->append_conf('postgresql.conf',
		$ENV{TRADEKEEP_SETTINGS} || "shared_preload_libraries = 'tradekeep'");
	return $node;
}

1;
