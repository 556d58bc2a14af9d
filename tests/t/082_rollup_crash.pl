# Rollups across kill -9, on a standby, and beside the sweeper: after recovery what is derived is what the sources make, a rebuild goes
# on where it was, and what retention froze never changes again, whatever comes late.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RollupOracle;
use Test::More;
use Time::HiRes qw(usleep);
use Tradekeep;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $node = Tradekeep::new_node('crash', allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
jit = off
max_connections = 30
deadlock_timeout = '10ms'
restart_after_crash = on
log_statement = none
tradekeep.sweep_interval = '100ms'
tradekeep.sweep_rate_limit = 0
CONF
$node->start;
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION tradekeep;
$RollupOracle::sql
SELECT tradekeep.add_rollup('1m', '5m'), tradekeep.add_rollup('5m', '15m', '10 min'), tradekeep.add_rollup('1m', '1h');
-- So many minutes before the end of the hour in which the test began.
CREATE TABLE start AS SELECT date_trunc('hour', now(), 'UTC') + interval '59 min' AS at;
CREATE FUNCTION ago(minutes int) RETURNS timestamptz LANGUAGE sql STABLE AS \$\$ SELECT at - minutes * interval '1 min' FROM start \$\$;
CREATE FUNCTION store(symbols text[], oldest int, n int, v int) RETURNS bigint LANGUAGE sql AS \$\$
	SELECT inserted + updated FROM (SELECT array_agg(s) AS s, array_agg('1m'::tradekeep.timeframe) AS f, array_agg(ago(oldest - i)) AS t,
		array_agg(10 + i % 3) AS o, array_agg(20 + v % 17) AS h, array_agg(5 - v % 3) AS l, array_agg(v / 7.0) AS v FROM unnest(symbols) AS s, generate_series(0, n - 1) AS i) AS a,
		LATERAL tradekeep.upsert_candles(s, f, t, o::float8[], h::float8[], l::float8[], o::float8[], v::float8[]) \$\$;
SQL

sub wrong { return $_[0]->safe_psql('postgres', 'SELECT * FROM reference.wrong() LIMIT 5'); }
sub await { $node->poll_query_until('postgres', $_[0]) or die "never came true: $_[0]"; return; }
sub script
{
	my ($name, $sql) = @_;
	append_to_file("$tmp/$name.sql", $sql) unless -e "$tmp/$name.sql";
	return ('-f', "$tmp/$name.sql");
}
sub weigh { my ($option, $file) = script($_[0], $_[1]); return ($option, "$file\@$_[2]"); }
sub pgbench
{
	my (@options) = @_;
	return ('pgbench', '-n', '-j', 2, '--max-tries=1000', '-h', $node->host, '-p', $node->port, @options, 'postgres');
}
# Writers that go on until the server is gone.
sub writers
{
	my ($out, $errors) = ('', '');
	return IPC::Run::start([ pgbench('-c', 6, '-t', 1_000_000, @_) ], '<', \undef, '>', \$out, '2>', \$errors);
}
# The server has come back by itself.
sub await_server
{
	my ($since) = @_;
	usleep(10_000) until slurp_file($node->logfile, $since) =~ /database system is ready to accept connections/;
	return;
}

my $draw = "\\set s random(1, 4)\n\\set m random(0, 300)\n\\set n random(1, 60)\n\\set v random(1, 1000)\n";
my @load = (
	script('store', "${draw}SELECT store(ARRAY['A', 'S' || :s], :m, :n, :v);\n"),
	script('correct', "${draw}UPDATE tradekeep.candle SET volume = volume + :v WHERE symbol = 'S' || :s AND timeframe = '1m' AND ts BETWEEN ago(:m) AND ago(:m - :n);\n"),
	script('delete', "${draw}DELETE FROM tradekeep.candle WHERE symbol = 'S' || :s AND timeframe = '1m' AND ts BETWEEN ago(:m) AND ago(:m - :n / 4);\n"),
	script('transaction', "${draw}BEGIN;\nSELECT store(ARRAY['S' || :s], :m, :n, :v);\nSELECT tradekeep.upsert_candle('S' || :s, '5m', tradekeep.candle_start('5m', ago(:m)), 1, 2, 1, 2, :v);\nCOMMIT;\n"));

for my $round (1 .. 3)
{
	my $before = $node->safe_psql('postgres', 'SELECT coalesce(sum(volume), 0) FROM tradekeep.candle');
	my $writers = writers(@load);
	await("SELECT xact_commit > 300 FROM pg_stat_database WHERE datname = 'postgres'") if $round == 1;
	await("SELECT sum(volume) <> $before AND count(*) > 300 FROM tradekeep.candle");
	if ($round < 3)
	{
		Tradekeep::crash($node);
		$writers->finish;
		$node->start;
	}
	else
	{
		my $since = -s $node->logfile;
		kill 'KILL', $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY state LIMIT 1");
		$writers->finish;
		await_server($since);
	}
	is(wrong($node), '', ($round < 3 ? 'the postmaster' : 'a backend') . " killed in the middle of writes, round $round: all is as it has to be");
}

# A rebuild is killed while it waits, with a part done.
$node->safe_psql('postgres', <<'SQL');
TRUNCATE tradekeep.candle;
SELECT tradekeep.drop_rollup('15m'), tradekeep.drop_rollup('5m'), tradekeep.drop_rollup('1h');
INSERT INTO tradekeep.candle SELECT 'H' || s, '1m', '2025-01-01Z'::timestamptz + i * interval '1 min', 10, 20 + i % 7, 5 - i % 11, 11, i % 13 FROM generate_series(1, 5) AS s, generate_series(1, 43000) AS i WHERE i % 97 > 0;
SQL
my $status = "SELECT built, build_symbol, build_since FROM tradekeep.rollup_status WHERE target = '15m'";
is($node->safe_psql('postgres', "SET client_min_messages = warning; SELECT tradekeep.add_rollup('1m', '15m'), tradekeep.add_rollup('15m', '4h')"), 'f|t', 'a history that is too long to be built at once');
my $begun = $node->safe_psql('postgres', $status);
like($begun, qr/^f\|H5\|2025-/, 'is built up to somewhere');
my $again = "UPDATE tradekeep.rollup_build SET symbol = '', since = '-infinity'";
for my $what ('the postmaster', 'the backend')
{
	# Somebody writes the fourth of five symbols and does not commit.
	$node->safe_psql('postgres', $again);
	my $writer = $node->background_psql('postgres');
	$writer->query_safe("BEGIN; SELECT tradekeep.upsert_candle('H4', '1m', '2025-01-02 00:05Z', 1, 99, 1, 1, 1)");
	my ($out, $errors) = ('', '');
	my $rebuild = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'CALL tradekeep.rebuild_rollups()' ], '<', \undef, '>', \$out, '2>', \$errors);
	usleep(10_000)
	  until !$rebuild->pumpable || $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^CALL' AND wait_event_type = 'Lock' AND wait_event = 'advisory'");
	my $progress = $node->safe_psql('postgres', $status);
	like($progress, qr/^f\|H[23]\|2025-/, "$what killed: the rebuild has come to the middle");
	my $since = -s $node->logfile;
	if ($what eq 'the postmaster')
	{
		Tradekeep::crash($node);
		$rebuild->finish;
		$node->start;
	}
	else
	{
		kill 'KILL', $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE query ~ '^CALL'");
		$rebuild->finish;
		await_server($since);
	}
	eval { $writer->quit };
	is($node->safe_psql('postgres', $status), $progress, "$what killed: it knows how far it was");
	# What is not built yet is missing, and no more than that.
	is($node->safe_psql('postgres', "SELECT count(*) FROM tradekeep.verify_rollups() WHERE problem <> 'missing' AND timeframe = '15m'"), '0', "$what killed: nothing that is there is wrong");
	is($node->safe_psql('postgres', "SELECT tradekeep.upsert_candle('H5', '1m', '2025-01-02 00:05Z', 1, 98, 1, 1, length('$what'))"), 'updated', "$what killed: writers go on");
	my ($code, undef, $notices) = $node->psql('postgres', 'CALL tradekeep.rebuild_rollups()');
	is($code, 0, "$what killed: the rebuild goes on");
	like($notices, qr/NOTICE:  15m from 1m: done/, "$what killed: to the end");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM tradekeep.verify_rollups()'), '0', "$what killed: until all is well");
	$node->safe_psql('postgres', "INSERT INTO tradekeep.rollup_build VALUES ('15m')");
}
is(wrong($node), '', 'and is as it has to be');


# A standby has the same, and promoted it goes on.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', "TRUNCATE tradekeep.candle, tradekeep.rollup, tradekeep.rollup_build; SELECT tradekeep.add_rollup('1m', '5m'), tradekeep.add_rollup('5m', '15m', '10 min'), tradekeep.add_rollup('1m', '1h')");
$node->command_ok([ pgbench('-c', 6, '-t', 40, @load) ], 'writers beside a standby');
$node->wait_for_catchup($standby);
my $rows = "SELECT count(*), md5(string_agg(c::text, ',' ORDER BY symbol, timeframe, ts)) FROM tradekeep.candle AS c";
is(wrong($standby), '', 'on the standby all is as it has to be');
is($standby->safe_psql('postgres', $rows), $node->safe_psql('postgres', $rows), 'and the same as on the primary');
for my $call ("SELECT tradekeep.add_rollup('1m', '30m')", "SELECT tradekeep.drop_rollup('5m')", 'CALL tradekeep.rebuild_rollups()')
{
	my (undef, undef, $error) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\n$call", on_error_stop => 0);
	like($error, qr/ERROR:  25006/, "on a standby: $call is refused");
}
$standby->promote;
is($standby->safe_psql('postgres', "SELECT store('{A,B}', 30, 20, 5)") > 0, 1, 'promoted, it takes candles');
is(wrong($standby), '', 'and derives them');
$standby->stop;

# The sweeper at work beside writers, of whom some come late. Each period is complete before, and so is what is frozen of it.
$node->safe_psql('postgres', "TRUNCATE tradekeep.candle; SELECT store('{A,S1,S2,S3,S4}', 1439, 1440, 1)");
is($node->safe_psql('postgres', "SELECT count(*) FROM tradekeep.candle WHERE timeframe = '5m' AND symbol = 'A'"), 288, 'a day of minutes');
# Most of them write, and some clean up, just where the sweeper is.
my $front = "SELECT store(ARRAY[symbol], extract(epoch FROM start.at - horizon)::int / 60 - :back, :n, :v) FROM tradekeep.candle_horizon, start WHERE timeframe = '1m' AND symbol = 'S' || :s;\n";
my @late = (
	weigh('front', "\\set back random(-20, 70)\n\\set n random(1, 8)\n\\set s random(1, 4)\n\\set v random(2, 1000)\n$front", 20),
	weigh('late', "\\set a random(0, 1400)\n\\set n random(1, 30)\n\\set s random(1, 4)\n\\set v random(2, 1000)\nSELECT store(ARRAY['A', 'S' || :s], :a, least(:n, :a + 1), :v);\n", 5),
	weigh('old', "\\set s random(1, 4)\n\\set v random(2, 1000)\nBEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT store(ARRAY['S' || :s], 1439, 1440, :v);\nCOMMIT;\n", 1),
	weigh('cleanup', "SELECT tradekeep.cleanup_old_candles(now() - max(horizon) - interval '20 min', '1m') FROM tradekeep.candle_horizon WHERE timeframe = '1m';\n", 1));
my $frozen = <<'SQL';
SELECT c.symbol, c.timeframe, c.ts, c::text AS bar FROM tradekeep.candle AS c JOIN reference.frozen AS f ON f.target = c.timeframe AND f.symbol = c.symbol WHERE c.ts < f.horizon
SQL
$node->safe_psql('postgres', "SET client_min_messages = warning; SELECT tradekeep.set_ttl('tradekeep.candle', 'ts', sweep_interval => '100 ms', batch_size => 40, rate_limit => 1500, lock_timeout => '5 min')");
$node->safe_psql('postgres', "CREATE TABLE kept AS $frozen LIMIT 0");
for my $phase ([ '16 hours', '20 hours' ], [ '10 hours', '15 hours' ], [ '4 hours', '11 hours' ])
{
	my ($short, $long) = @$phase;
	$node->safe_psql('postgres', "SELECT tradekeep.set_candle_retention('1m', '$short'), tradekeep.set_candle_retention('5m', '$long')");
	await("SELECT EXISTS (SELECT FROM tradekeep.candle_horizon WHERE timeframe = '1m')");
	$node->command_ok([ pgbench('-c', 6, '-t', 70, @late) ], "$short of minutes and $long of 5 minutes: writers beside the sweeper");
	await("SELECT tradekeep.preview_ttl('tradekeep.candle') = 0");
	is(wrong($node), '', "$short: what is not frozen is as it has to be");
	is($node->safe_psql('postgres', "SELECT count(*) FROM kept AS k JOIN tradekeep.candle AS c USING (symbol, timeframe, ts) WHERE c::text <> k.bar"), '0', "$short: what was frozen has not changed");
	is($node->safe_psql('postgres', "SELECT count(*) FROM kept LEFT JOIN tradekeep.candle AS c USING (symbol, timeframe, ts) WHERE c.symbol IS NULL AND timeframe <> '5m'"), '0', "$short: nor gone");
	$node->safe_psql('postgres', "TRUNCATE kept; INSERT INTO kept $frozen");
	is($node->safe_psql('postgres', "SELECT count(*) > 50, count(*) FILTER (WHERE sources <> CASE timeframe WHEN '5m' THEN 5 WHEN '15m' THEN 3 ELSE 60 END) FROM tradekeep.candle JOIN kept USING (symbol, timeframe, ts)"),
		't|0', "$short: each of them is made of all of its sources");
	# Nothing is gone of an hour of which something is kept.
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT symbol, min(ts) AS first FROM tradekeep.candle WHERE timeframe = '1m' GROUP BY symbol) AS c WHERE first <> date_trunc('hour', first, 'UTC')"), '0', "$short: hours go as a whole");
}
is($node->safe_psql('postgres', "SELECT bool_and(late > 0), count(*) FROM tradekeep.candle_horizon WHERE timeframe = '1m'"), 't|5', 'what came late was counted');
is($node->safe_psql('postgres', 'SELECT count(*) FROM tradekeep.sweep_status WHERE last_error IS NOT NULL'), '0', 'the sweeper never failed');
is($node->safe_psql('postgres', "CALL tradekeep.rebuild_rollups(); SELECT count(*) FROM kept LEFT JOIN tradekeep.candle AS c USING (symbol, timeframe, ts) WHERE c::text IS DISTINCT FROM k.bar" =~ s/FROM kept/FROM kept AS k/r), '0', 'to build anew leaves what is frozen alone');

$node->stop;
done_testing();
