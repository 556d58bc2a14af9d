# Statistics of trades across kill -9 and on a standby: after recovery they are what the trades come to, whether trades were being
# written or settled; settling goes on where it was. A standby has the same at any moment, and promoted it goes on.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use TradeOracle;
use Tradekeep;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $node = Tradekeep::new_node('crash', allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
jit = off
max_connections = 30
max_prepared_transactions = 10
deadlock_timeout = '10ms'
restart_after_crash = on
log_statement = none
tradekeep.sweep_interval = '100ms'
CONF
$node->start;
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION tradekeep;
$TradeOracle::sql
CREATE FUNCTION at(n int) RETURNS timestamptz LANGUAGE sql AS \$\$
	SELECT CASE n % 3 WHEN 0 THEN '2025-01-30 12:00Z'::timestamptz + n * interval '7 min' WHEN 1 THEN '2025-03-01Z'::timestamptz + n * interval '3 h' ELSE clock_timestamp() END \$\$;
CREATE FUNCTION put(first int, n int, v int) RETURNS void LANGUAGE sql AS \$\$
	INSERT INTO tradekeep.trade (bot, trade_id, strategy, symbol, side, closed_at, pnl)
	SELECT 'b' || i % 3, i::text, 's' || i % 2, 'S' || v % 4, 'LONG', at(i + v), v % 7 - 3 FROM generate_series(first, first + n - 1) AS i ORDER BY i % 3, i::text COLLATE "C"
	ON CONFLICT (bot, trade_id) DO UPDATE SET pnl = excluded.pnl, closed_at = excluded.closed_at, symbol = excluded.symbol, exit_price = NULL, pnl_ratio = NULL, opened_at = NULL \$\$;
SQL

sub scalar_of { return $node->safe_psql('postgres', $_[0]); }
sub wrong { return $_[0]->safe_psql('postgres', "SELECT setseed(0.5) \\g /dev/null\nSELECT * FROM reference.wrong(15)"); }
sub await { $node->poll_query_until('postgres', $_[0]) or die "never came true: $_[0]"; return; }
# The server has come back by itself.
sub await_server
{
	my ($since) = @_;
	usleep(10_000) until slurp_file($node->logfile, $since) =~ /database system is ready to accept connections/;
	return;
}
sub script
{
	my ($name, $sql) = @_;
	append_to_file("$tmp/$name.sql", $sql) unless -e "$tmp/$name.sql";
	return ('-f', "$tmp/$name.sql");
}
sub pgbench
{
	my ($server, @options) = @_;
	return [ 'pgbench', '-n', '-j', 2, '--max-tries=1000', '-h', $server->host, '-p', $server->port, @options, 'postgres' ];
}

my $draw = "\\set i random(1, 200)\n\\set n random(1, 20)\n\\set v random(0, 1000)\n";
my @load = (
	script('put', "${draw}SELECT put(:i, :n, :v);\n"),
	script('earn', "${draw}UPDATE tradekeep.trade SET pnl = pnl + 1, closed_at = at(:v), opened_at = NULL WHERE pnl IS NOT NULL AND trade_id = :i::text;\n"),
	script('delete', "${draw}DELETE FROM tradekeep.trade WHERE trade_id = :i::text;\n"),
	script('add', "${draw}SELECT tradekeep.add_trade(:i::text, 's1', 'S1', 'LONG', 1, 100, 100 + :v % 9, closed_at => at(:v), bot => 'c', replace => true);\n"),
	script('transaction', "${draw}BEGIN;\nSELECT put(:i, :n, :v);\nSAVEPOINT a;\nSELECT put(:i + 5, :n, :v + 1);\nROLLBACK TO a;\nSELECT tradekeep.add_trade(:i::text, 's1', 'S1', 'LONG', 1, 100, 100 + :v % 9, closed_at => at(:v), bot => 'd', replace => true);\nCOMMIT;\n"),
	script('settle', "CALL tradekeep.settle_trades();\n"),
	script('rebuild', "\\set r random(1, 10)\n\\if :r = 1\nSELECT tradekeep.rebuild_trade_stats();\n\\endif\nSELECT 1;\n"));

for my $round (1 .. 3)
{
	my $who = $round % 2 ? 'the postmaster' : 'a backend';
	my $since = -s $node->logfile;
	my ($out, $errors) = ('', '');
	# What was written before the last crash, and something new.
	my $before = scalar_of("SELECT pg_current_wal_insert_lsn()");
	my $writers = IPC::Run::start(pgbench($node, '-c', 6, '-t', 1_000_000, @load), '<', \undef, '>', \$out, '2>', \$errors);
	await("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$before') > 2000000 AND EXISTS (SELECT FROM tradekeep.trade_span)");
	if ($who eq 'the postmaster')
	{
		Tradekeep::crash($node);
		$writers->finish;
		$node->start;
	}
	else
	{
		kill 'KILL', scalar_of("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY query ~ 'settle|rebuild' AND state = 'active' DESC LIMIT 1");
		$writers->finish;
		await_server($since);
	}
	is(wrong($node), '', "$who killed in the middle of writes, round $round: statistics are exact");
	cmp_ok(scalar_of('SELECT count(pnl) FROM tradekeep.trade'), '>', 0, "$who killed: of trades that are there");
}

# Settling is killed while it waits, with some months done.
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->restart;
my $months = "SELECT string_agg(DISTINCT to_char(first AT TIME ZONE 'UTC', 'YYYY-MM'), ' ') FROM tradekeep.trade_mark";
my $summed = "SELECT count(*) FROM tradekeep.trade_span WHERE dimension = '' AND span = 'm'";
my %settle = ('CALL tradekeep.settle_trades()' => '2024-03 2024-04 2024-05 2024-06', "SELECT tradekeep.settle_trade_stats('2024-03-01')" => '2024-01 2024-02 2024-03 2024-04 2024-05 2024-06',
	'SELECT tradekeep.rebuild_trade_stats()' => '2024-01 2024-02 2024-03 2024-04 2024-05 2024-06');
for my $how ('postmaster', 'backend', 'terminated', 'canceled')
{
	for my $call ($how =~ /ed$/ ? 'CALL tradekeep.settle_trades()' : sort keys %settle)
	{
		my $name = "$call $how";
		scalar_of(<<'SQL');
TRUNCATE tradekeep.trade;
INSERT INTO tradekeep.trade (trade_id, bot, strategy, symbol, side, closed_at, pnl)
SELECT n, 'b' || n % 2, 's' || n % 3, 'S' || n % 5, 'LONG', '2024-01-01Z'::timestamptz + n * interval '6 h', n % 7 - 3 FROM generate_series(0, 4 * 182 - 1) AS n;
CALL tradekeep.settle_trades();
UPDATE tradekeep.trade SET pnl = pnl + 5, symbol = 'S9' WHERE extract(day FROM closed_at AT TIME ZONE 'UTC') IN (3, 9, 20) AND trade_id::int % 2 = 0;
SQL
		is(scalar_of($months), '2024-01 2024-02 2024-03 2024-04 2024-05 2024-06', "$name: all months are marked");
		my $holder = $node->background_psql('postgres');
		$holder->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM tradekeep.trade_span WHERE span = 'd' AND start = '2024-03-09' FOR UPDATE) AS s");
		my ($out, $errors) = ('', '');
		my $settling = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $call ], '<', \undef, '>', \$out, '2>', \$errors);
		await("SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'tradekeep.(settle|rebuild)_trade' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()");
		my $pid = scalar_of("SELECT pid FROM pg_stat_activity WHERE query ~ 'tradekeep.(settle|rebuild)_trade' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()");
		is(wrong($node), '', "$name: statistics are exact while it waits");
		my $since = -s $node->logfile;
		if ($how eq 'postmaster')
		{
			Tradekeep::crash($node);
			$settling->finish;
			$node->start;
		}
		elsif ($how eq 'backend')
		{
			kill 'KILL', $pid;
			$settling->finish;
			await_server($since);
		}
		else
		{
			scalar_of($how eq 'canceled' ? "SELECT pg_cancel_backend($pid)" : "SELECT pg_terminate_backend($pid)");
			$settling->finish;
		}
		isnt($settling->result(0), 0, "$name: it did not get to its end");
		eval { $holder->quit };
		is(scalar_of($months), $settle{$call}, "$name: what was not done is marked");
		is(wrong($node), '', "$name: statistics are exact");
		is(scalar_of("CALL tradekeep.settle_trades(); $months; $summed"), "\n6", "$name: settling goes on");
		is(wrong($node), '', "$name: to the end");
	}
}

# A standby shows the same at any moment, and writes nothing.
$node->append_conf('postgresql.conf', "tradekeep.sweep = on");
$node->restart;
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nmax_standby_streaming_delay = -1");
$standby->start;
my ($out, $errors) = ('', '');
my $writers = IPC::Run::start(pgbench($node, '-c', 4, '-t', 60, @load), '<', \undef, '>', \$out, '2>', \$errors);
$standby->command_ok(
	pgbench($standby, '-c', 2, '-t', 12, script('ask', "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1 / (count(*) = 0)::int FROM reference.ask(3);\nCOMMIT;\n"),
		script('verify', "SELECT 1 / (count(*) = 0)::int FROM tradekeep.verify_trade_stats();\n")),
	'a standby is exact at any moment');
$writers->finish;
is($writers->result(0), 0, 'beside writers') or diag $errors;
scalar_of("SELECT tradekeep.lock_symbol('BTC', NULL, '2150-01-01Z', 'standby'), tradekeep.add_trade('open', 's', 'BTC', 'LONG', 1, 100)");
$node->wait_for_catchup($standby);
is(wrong($standby), '', 'and when it has all of it');
# Each of them is asked as of one time, as both go on by the clock.
my $at = "at => '2026-12-01Z'";
for my $query ("tradekeep.trade_stats($at)", "tradekeep.trade_stats('90 days', 'S1', $at)", (map { "tradekeep.stats_by('$_', $at)" } qw(symbol strategy bot side exit_reason weekday hour)), "tradekeep.top_symbols($at)", 'tradekeep.daily_pnl()',
	'tradekeep.equity_curve(100)', "tradekeep.trade_report($at)", 'tradekeep.open_trades()', "tradekeep.symbol_locked('BTC')", "tradekeep.calculate_pnl('LONG', 1.0, 2.0, 3.0)", 'tradekeep.verify_trade_stats()',
	'(SELECT tradekeep.trade_summary(closed_at, trade_id, pnl) FROM tradekeep.trade) AS s', '(SELECT period FROM tradekeep.trade_stats_cache) AS c', '(SELECT symbol FROM tradekeep.live_symbol_locks) AS l')
{
	is($standby->safe_psql('postgres', "SELECT * FROM $query"), scalar_of("SELECT * FROM $query"), "standby: $query");
}
for my $call ("SELECT tradekeep.add_trade('1', 's', 'X', 'LONG', 1, 1)", "SELECT tradekeep.add_trade('open', 's', 'BTC', 'LONG', 1, 100)", q(SELECT tradekeep.add_trade('{"trade_id": "1", "symbol": "X", "side": "LONG"}')), "SELECT tradekeep.close_trade('open', 1)",
	'SELECT tradekeep.settle_trade_stats()', 'CALL tradekeep.settle_trades()', 'SELECT tradekeep.rebuild_trade_stats()', "SELECT tradekeep.lock_symbol('ETH', NULL, '2150-01-01Z')", "SELECT tradekeep.lock_symbol('BTC', NULL, '2140-01-01Z')",
	"SELECT tradekeep.unlock_symbol('BTC')", 'DELETE FROM tradekeep.trade', 'TRUNCATE tradekeep.trade')
{
	my (undef, undef, $error) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\n$call", on_error_stop => 0);
	like($error, qr/ERROR:  25006/, "standby: $call is refused");
}
$standby->promote;
is($standby->safe_psql('postgres', "SELECT put(1, 50, 7) \\g /dev/null\nCALL tradekeep.settle_trades();\nSELECT tradekeep.close_trade('open', 101)"), 't', 'promoted, it takes trades');
is(wrong($standby), '', 'and knows their statistics');
# A worker settles there, too; what is of the last moment stays.
$standby->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM tradekeep.trade_mark)") or fail('promoted, it settles');
is(wrong($standby), '', 'settled in the background, too');
unlike(slurp_file($_->logfile), qr/PANIC|TRAP|XX000/, $_->name . ' is well') for $node, $standby;

$standby->stop;
$node->stop;
done_testing();
