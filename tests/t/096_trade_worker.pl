# The sweeper's worker settles trades by itself: at its rounds, and at once when many were touched. It
# vacuums the marks, gives way to whoever locks the trades, and lets nobody wait for it.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('worker');
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
tradekeep.sweep_interval = '1d'
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');

sub sql
{
	my ($query, $database) = @_;
	return $node->safe_psql($database || 'postgres', $query);
}

sub await
{
	my ($query, $name) = @_;
	return ok($node->poll_query_until('postgres', $query), $name);
}

# A day's trades from a number on, each in a transaction of its own.
sub add_trades
{
	my ($first, $last) = @_;
	sql("DO \$\$ BEGIN FOR n IN $first .. $last LOOP INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl)"
		  . " VALUES (n, 'BTC', 'LONG', '2026-01-05Z'::timestamptz + n * interval '1 s', n); COMMIT; END LOOP; END \$\$");
	return;
}

my $unmarked = 'SELECT NOT EXISTS (SELECT FROM tradekeep.trade_mark)';

# The first round begins when the extension is there. From then on the next one is a day away.
await("SELECT EXISTS (SELECT FROM tradekeep.sweep_state) AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'tradekeep sweeper')",
	'the first round is over');

add_trades(1, 150);
is(sql('SELECT count(*) FROM tradekeep.trade_mark'), '150', 'a few wait for the next round');
add_trades(151, 250);
await($unmarked, 'many are settled at once');
is(sql('SELECT trades, total_pnl FROM tradekeep.trade_stats()'), '250|31375', 'and exactly');
is(sql('SELECT sum(trades) FROM tradekeep.trade_span WHERE dimension = \'\' AND span = \'m\''), '250', 'from a summary');

# One statement may leave as many marks.
sql("INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl) SELECT 'd' || n, 'BTC', 'LONG', '2020-01-01Z'::timestamptz + n * interval '1 day', 1 FROM generate_series(1, 400) AS n");
await($unmarked, 'so is an import');

# Dead marks are taken away before anybody has to read over them.
add_trades(251, 260);
sql('ALTER SYSTEM SET tradekeep.sweep_interval = \'100ms\'; SELECT pg_reload_conf()');
await($unmarked, 'a round settles what is left');
add_trades(1000, 13000);
await("SELECT vacuum_count > 0 FROM pg_stat_user_tables WHERE relname = 'trade_mark'", 'marks are vacuumed');
await($unmarked, 'while all are settled');
is(sql('SELECT count(*) FROM tradekeep.verify_trade_stats()'), '0', 'every summary is right');

# Whoever has the trades locked is not waited for, and the rest is swept meanwhile.
my $holder = $node->background_psql('postgres', on_error_stop => 1);
$holder->query_safe('BEGIN; LOCK TABLE tradekeep.trade');
sql("SELECT tradekeep.claim('s', 'gone', '1 min', at => '2026-01-01Z'); UPDATE tradekeep.claim SET sweep_after = expires_at");
await('SELECT NOT EXISTS (SELECT FROM tradekeep.claim)', 'a locked ledger keeps nobody from sweeping');
is(sql("SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE a.backend_type LIKE 'tradekeep%' AND NOT l.granted"),
	'0', 'and the worker does not wait');
$holder->query_safe('COMMIT');

# Nor for who is settling by hand.
$holder->query_safe('BEGIN; SELECT tradekeep.settle_trade_stats()');
add_trades(20000, 20010);
sql("SELECT tradekeep.claim('s', 'gone', '1 min', at => '2026-01-01Z'); UPDATE tradekeep.claim SET sweep_after = expires_at");
await('SELECT NOT EXISTS (SELECT FROM tradekeep.claim)', 'nor does who settles by hand');
isnt(sql('SELECT count(*) FROM tradekeep.trade_mark'), '0', 'of two the worker goes home');
$holder->query_safe('COMMIT');
await($unmarked, 'and comes again');

# What is dated later today stays marked until then.
my $settled = 'SELECT NOT EXISTS (SELECT FROM tradekeep.trade_mark WHERE first < now())';

# A trade that a bot with a clock ahead closed later today waits until then, and keeps nobody awake.
sub sweeper_rounds
{
	for (1 .. $_[0])
	{
		sql("SELECT tradekeep.claim('s', 'gone', '1 min', at => '2026-01-01Z'); UPDATE tradekeep.claim SET sweep_after = expires_at");
		$node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM tradekeep.claim)') or die;
	}
	return;
}
sql("INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl) VALUES ('early', 'BTC', 'LONG', (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '23:59:59.999999') AT TIME ZONE 'UTC', 1)");
sweeper_rounds(1);
my $settled_at = sql('SELECT settled_at FROM tradekeep.trade_settling');
sweeper_rounds(3);
is(sql('SELECT settled_at FROM tradekeep.trade_settling'), $settled_at, 'what is closed later today is not settled again and again');
is(sql("SELECT trades FROM tradekeep.trade_stats(at => now() + interval '1 day') EXCEPT SELECT count(*) FROM tradekeep.trade"), '', 'and counts');
sql("DELETE FROM tradekeep.trade WHERE trade_id = 'early'");

# Nor is one waited for who works on the summaries.
$holder->query_safe('BEGIN; LOCK TABLE tradekeep.trade_span IN SHARE MODE');
sql('ALTER SYSTEM SET tradekeep.sweep_lock_timeout = \'10ms\'; SELECT pg_reload_conf()');
add_trades(25000, 25010);
sweeper_rounds(3);
isnt(sql('SELECT count(*) FROM tradekeep.trade_mark WHERE first < now()'), '0', 'locked summaries keep nobody from sweeping');
$holder->query_safe('COMMIT');
$holder->quit;
await($settled, 'and are settled in the end');

# What fails is told, and the rest goes on.
sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'not this one'; END \$\$; CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON tradekeep.trade_span FOR EACH ROW EXECUTE FUNCTION refuse()");
add_trades(26000, 26010);
sweeper_rounds(3);
like(slurp_file($node->logfile), qr/LOG:  could not settle trades: not this one/, 'a failure is logged');
sql('DROP TRIGGER refuse ON tradekeep.trade_span');
await($settled, 'and mended later');

# Symbols are free when their locks are over, and the rows go.
sql("INSERT INTO tradekeep.symbol_lock (symbol, side, until) VALUES ('BTC', '*', now() - interval '1 s'), ('ETH', '*', now() + interval '1 h')");
sql('CALL tradekeep.sweep(\'tradekeep.symbol_lock\')');
is(sql("SELECT string_agg(symbol, ',') FROM tradekeep.symbol_lock"), 'ETH', 'locks that are over are swept');

# Databases are told apart; where sweeping is off nothing is settled, and everything is right.
sql('CREATE DATABASE other');
sql('CREATE EXTENSION tradekeep', 'other');
sql("INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl) VALUES ('1', 'BTC', 'LONG', '2026-01-05Z', 5)", 'other');
ok($node->poll_query_until('other', $unmarked), 'every database is settled');
is(sql('SELECT total_pnl FROM tradekeep.trade_stats()', 'other'), '5', 'with its own trades');
sql('ALTER SYSTEM SET tradekeep.sweep = off; SELECT pg_reload_conf()');
await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'tradekeep sweeper')", 'the sweeper stops');
add_trades(30000, 30300);
is(sql('SELECT count(*) FROM tradekeep.trade_mark WHERE first < now()'), '301', 'marks stay');
is(sql("SELECT trades FROM tradekeep.trade_stats(at => '2026-02-01Z')"),
	sql("SELECT count(*) FROM tradekeep.trade WHERE closed_at <= '2026-02-01Z'"), 'and statistics are right');

unlike(slurp_file($node->logfile), qr/\b(ERROR|FATAL|PANIC)\b.*(trade_|settl)/, 'the log has no word of trouble');
$node->stop;
done_testing();
