
# A node of PostgreSQL::Test::Cluster that finds the staged extension and preloads it.
package Tradekeep;

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
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

# PgBouncer, or nothing where there is none.
sub pgbouncer
{
	my ($found) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
	return $found;
}

# Starts it before a node, in transaction mode with three sessions; its process, and how to connect.
sub start_pooler
{
	my ($node) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $port = $node->port;
	my $user = $node->safe_psql('postgres', 'SELECT current_user');

	append_to_file("$dir/users.txt", "\"$user\" \"\"\n");
	append_to_file("$dir/pgbouncer.ini", <<"INI");
[databases]
postgres = host=@{[ $node->host ]} port=$port dbname=postgres
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users.txt
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
logfile = $PostgreSQL::Test::Utils::log_path/pgbouncer.log
INI
	my $pooler = IPC::Run::start([ pgbouncer(), '-q', "$dir/pgbouncer.ini" ], '>', \my $out, '2>&1');
	return ($pooler, "host=$dir port=$port user=$user dbname=postgres");
}

1;
