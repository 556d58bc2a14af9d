
# Bots among falling servers: starts a PostgreSQL, a Redis, a proxy before each and the bots, breaks
# them, and reads what the bots wrote down.
package Chaos;

use strict;
use warnings;

use File::Copy qw(copy);
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Tradekeep;
use Time::HiRes qw(sleep time);

# Where client/Makefile puts bot and proxy; null where they were not built.
our $programs = $ENV{TRADEKEEP_CHAOS};

sub new
{
	my ($class) = @_;
	my $self = bless { bots => {}, logs => [], dir => PostgreSQL::Test::Utils::tempdir_short() }, $class;

	$self->{node} = Tradekeep::new_node('chaos');
	$self->{node}->append_conf('postgresql.conf', 'restart_after_crash = off');
	$self->{node}->start;
	$self->{node}->safe_psql('postgres', 'CREATE EXTENSION tradekeep');
	mkdir "$self->{dir}/$_" for qw(redis spool);
	$self->start_redis;
	$self->{db_proxy} = $self->start_proxy($self->{node}->host . '/.s.PGSQL.' . $self->{node}->port);
	$self->{redis_proxy} = $self->start_proxy("$self->{dir}/redis/socket");
	return $self;
}

# Waits until a condition holds.
sub await
{
	my ($what, $condition) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($condition->())
	{
		die "$what: not within $PostgreSQL::Test::Utils::timeout_default s" if time > $end;
		sleep 0.01;
	}
	return;
}

sub start_proxy
{
	my ($self, $target) = @_;
	my %proxy = (port => PostgreSQL::Test::Cluster::get_free_port(), in => '', out => '');

	$proxy{run} = IPC::Run::start([ "$programs/proxy", $proxy{port}, $target ], '<', \$proxy{in}, '>', \$proxy{out});
	$proxy{run}->pump until $proxy{out} =~ /ready/;
	return \%proxy;
}

sub tell_proxy
{
	my ($proxy, $command) = @_;

	$proxy->{out} = '';
	$proxy->{in} = "$command\n";
	$proxy->{run}->pump until $proxy->{out} =~ /done/;
	return;
}

sub redis_cli
{
	my ($self, @command) = @_;
	my $out = '';

	IPC::Run::run([ 'redis-cli', '-s', "$self->{dir}/redis/socket", @command ], '>', \$out, '2>', '/dev/null');
	chomp $out;
	return $out;
}

sub start_redis
{
	my ($self) = @_;

	unlink "$self->{dir}/redis/socket";
	$self->{redis_log} = '';
	$self->{redis} = IPC::Run::start(
		[
			'redis-server', '--port', 0, '--unixsocket', "$self->{dir}/redis/socket",
			'--dir', "$self->{dir}/redis", '--save', '', '--appendonly', 'no'
		],
		'>', \$self->{redis_log}, '2>&1');
	await('redis', sub { $self->redis_cli('PING') eq 'PONG' });
	return;
}

sub kill_redis
{
	my ($self) = @_;

	$self->{redis}->kill_kill(grace => 0);
	return;
}

sub signal_redis
{
	my ($self, $signal) = @_;

	kill $signal, $self->{redis}->{KIDS}[0]{PID};
	return;
}

# The copy that a restart finds: none, an old one, or that of this moment.
sub save_redis
{
	my ($self, $name) = @_;

	$self->redis_cli('SAVE');
	copy("$self->{dir}/redis/dump.rdb", "$self->{dir}/redis/$name") or die "no dump: $!";
	return;
}

sub restart_redis
{
	my ($self, $name) = @_;

	unlink "$self->{dir}/redis/dump.rdb";
	copy("$self->{dir}/redis/$name", "$self->{dir}/redis/dump.rdb") if $name && -e "$self->{dir}/redis/$name";
	$self->start_redis;
	return;
}

sub signal_postgres
{
	my ($self, $signal) = @_;
	my $postmaster = $self->{node}->{_pid};

	kill $signal, $postmaster, split /\s+/, `pgrep -P $postmaster`;
	return;
}

# After kill -9 of the postmaster its sessions may take a moment to notice.
sub restart_postgres
{
	my ($self) = @_;

	await('postgres', sub { $self->{node}->start(fail_ok => 1) });
	return;
}

sub environment
{
	my ($self) = @_;
	my $user = $ENV{PGUSER} || getpwuid($>);

	return (
		DATABASE_URL => "postgresql://$user\@127.0.0.1:$self->{db_proxy}{port}/postgres",
		REDIS_URL => "redis://127.0.0.1:$self->{redis_proxy}{port}",
		TRADEKEEP_SPOOL => "$self->{dir}/spool");
}

sub start_bot
{
	my ($self, $name, $seed) = @_;
	my $log = "$PostgreSQL::Test::Utils::tmp_check/$name." . @{ $self->{logs} } . '.log';
	local %ENV = (%ENV, $self->environment);

	push @{ $self->{logs} }, $log;
	$self->{bots}{$name} = IPC::Run::start([ "$programs/bot", $name, $log, $seed ]);
	await($name, sub { -e $log });
	return;
}

sub kill_bot
{
	my ($self, $name) = @_;

	$self->{bots}{$name}->kill_kill(grace => 0);
	return;
}

# Ends the bots in peace; true when each took its whole spool into the database.
sub finish_bots
{
	my ($self) = @_;
	my $good = 1;

	$_->signal('TERM') for values %{ $self->{bots} };
	$good &= $_->finish for values %{ $self->{bots} };
	return $good;
}

# What the command has left to do, and says.
sub replay
{
	my ($self) = @_;
	my $out;
	local %ENV = (%ENV, $self->environment);

	my $good = IPC::Run::run([ 'tradekeep', 'replay', "$self->{dir}/spool" ], '>', \$out, '2>&1');
	return ($good, $out);
}

sub stop
{
	my ($self) = @_;

	$_->{run}->kill_kill(grace => 0) for $self->{db_proxy}, $self->{redis_proxy};
	$self->kill_redis;
	$self->{node}->stop('fast');
	return;
}

# Every call of every bot, and every warning. A bot that was killed has no answer to its last call.
sub read_logs
{
	my ($self) = @_;
	my (@calls, @messages);

	for my $log (@{ $self->{logs} })
	{
		my $open;
		for my $line (split /\n/, slurp_file($log))
		{
			my ($kind, $time, @rest) = split /\t/, $line;
			if ($kind eq 'B')
			{
				$open = { log => $log, start => $time };
				@$open{qw(call what scope key price)} = @rest;
				push @calls, $open;
			}
			elsif ($kind eq 'E')
			{
				@$open{qw(end verdict tier degraded spooled error)} = ($time, @rest[ 1 .. 5 ]);
			}
			elsif ($kind eq 'L')
			{
				push @messages, $rest[1] // '';
			}
		}
	}
	return (\@calls, \@messages);
}

1;
