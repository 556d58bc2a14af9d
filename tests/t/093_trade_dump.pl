# Dump and restore of trades, in every format: trades and locks come back as they were, and their statistics are exact right away, settled
# or not at the time of the dump. Neither marks nor summaries are dumped.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use TradeOracle;
use Tradekeep;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $node = Tradekeep::new_node('trade_dump');
$node->append_conf('postgresql.conf', "tradekeep.sweep = off\njit = off");
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', "SET client_min_messages = error;\n$sql");
}

sql(<<"SQL");
CREATE EXTENSION tradekeep;
$TradeOracle::sql
SQL
sql(<<'SQL');
INSERT INTO tradekeep.trade (trade_id, bot, strategy, symbol, side, quantity, entry_price, fee, opened_at, closed_at, pnl, pnl_ratio, exit_reason, data)
SELECT n, (ARRAY['', 'a', 'B'])[1 + n % 3], (ARRAY[NULL, '', 's'])[1 + n % 3], 'S' || n % 11, (ARRAY['LONG', 'SHORT'])[1 + n % 2], n, 1.5, 0.25, CASE WHEN n % 4 > 0 THEN t - interval '1 h' END, t, (n * 7919 % 41 - 20) / 3.0, 0.1,
	CASE WHEN n % 5 > 0 THEN E'a\tb\\c"\n' END, CASE WHEN n % 7 = 0 THEN '{"a": [1, "\u00e4"]}'::jsonb END
FROM generate_series(1, 3000) AS n, LATERAL (SELECT '2024-11-01Z'::timestamptz + n * interval '31 min' AS t) AS t;
INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl) VALUES ('first', 'X', 'LONG', '2024-06-30 23:59:59.999999Z', 1e-18), ('last', 'X', 'LONG', '2025-12-31 23:59:59.999999Z', 1e18), ('huge', 'X', 'LONG', '2024-11-05Z', 9.9e99), ('back', 'X', 'LONG', '2024-11-05Z', -9.9e99);
SELECT tradekeep.add_trade('open', 's', 'Y', 'LONG', 1, 100, opened_at => '2024-11-01Z');
SELECT tradekeep.lock_symbol('BTC', 'LONG', '2150-01-01Z', 'reason'), tradekeep.lock_symbol('*', NULL, '2140-01-01Z');
INSERT INTO tradekeep.symbol_lock VALUES ('over', '*', '2020-01-01Z', '2020-01-02Z');
-- Settled, but for some.
CALL tradekeep.settle_trades();
UPDATE tradekeep.trade SET pnl = pnl + 1 WHERE trade_id IN ('100', '900');
DELETE FROM tradekeep.trade WHERE trade_id = '1500';
SQL
is(sql('SELECT (SELECT count(*) FROM tradekeep.trade_mark), (SELECT count(*) FROM tradekeep.trade_span) > 500'), '3|t', 'some trades are settled, and some are marked');
my $rows = "SELECT count(*), md5(string_agg(t::text, ';' ORDER BY bot, trade_id)) FROM tradekeep.trade AS t;\nSELECT * FROM tradekeep.symbol_lock ORDER BY symbol;\nSELECT * FROM tradekeep.trade_stats(starting_balance => 1000, at => '2025-02-01Z');\n"
  . "SELECT * FROM tradekeep.stats_by('symbol', at => '2025-02-01Z');\n";
my $before = sql($rows);
like($before, qr/^BTC\|LONG\|.*\n?^over\|/ms, 'and some symbols are locked');
my $wrong = "SELECT setseed(0.3) \\g /dev/null\nSELECT * FROM reference.ask(25);\nSELECT * FROM tradekeep.verify_trade_stats();\n";

# After a restore everything is there, and goes on.
sub check
{
	my ($database, $name) = @_;
	is(sql($rows, $database), $before, "$name: trades, locks and figures are as they were");
	is(sql($wrong, $database), '', "$name: statistics are exact");
	is(sql("CALL tradekeep.settle_trades(); SELECT count(*) FROM tradekeep.trade_mark", $database), '0', "$name: they can be settled");
	is(sql($wrong, $database), '', "$name: and are exact then");
	is(sql($rows, $database), $before, "$name: and the same");
	sql("INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl) VALUES ('new', 'X', 'LONG', '2024-11-05 12:00Z', -5); UPDATE tradekeep.trade SET closed_at = closed_at + interval '40 days' WHERE trade_id = '77'; DELETE FROM tradekeep.trade WHERE trade_id = '78'", $database);
	is(sql($wrong, $database), '', "$name: what is written now counts");
	# By a session that others' triggers do not see.
	sql("SET session_replication_role = replica;\nUPDATE tradekeep.trade SET pnl = pnl + 7 WHERE trade_id IN ('600', '601')", $database);
	is(sql($wrong, $database), '', "$name: in the role of a replica, too");
	return;
}

sub dump_to
{
	my ($file, $database, @options) = @_;
	$node->command_ok([ 'pg_dump', @options, '-f', $file, '-d', $node->connstr($database) ], "$database: pg_dump @options");
	return $file;
}

my $databases = 0;

sub restore
{
	my ($name, $file, %how) = @_;
	my $database = 'restored' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	sql("CREATE EXTENSION tradekeep;\n" . ($how{oracle} ? $TradeOracle::sql : ''), $database) if $how{extension};
	my @command = $file =~ /plain|inserts/ ? ('psql', '-XqAtv', 'ON_ERROR_STOP=1', '-f', $file) : ('pg_restore', '-e', $file);
	$node->command_ok([ @command, @{ $how{options} // [] }, '-d', $node->connstr($database) ], "$name: restore");
	check($database, $name) unless $how{unchecked};
	return $database;
}

my $custom = dump_to("$tmp/all.custom", 'postgres', '-Fc');
my ($list) = run_command([ 'pg_restore', '-l', $custom ]);
is(join(' ', sort $list =~ /TABLE DATA tradekeep (trade\w*|symbol_lock) /g), 'symbol_lock trade', 'trades and locks are dumped, neither marks nor summaries');
my $restored = restore('plain', dump_to("$tmp/plain.sql", 'postgres'));
restore('custom with two jobs', $custom, options => [ '-j', '2' ]);
restore('custom in one transaction', $custom, options => ['--single-transaction']);
restore('a folder', dump_to("$tmp/folder", 'postgres', '-Fd', '-j', '2'), options => [ '-j', '2' ]);
restore('inserts', dump_to("$tmp/inserts.sql", 'postgres', '--inserts', '--rows-per-insert=100'));
restore('data only', $custom, extension => 1, oracle => 1, options => [ '--data-only', '-n', 'tradekeep' ]);

# Without triggers nothing is marked; then one call does it.
my $bare = restore('without triggers', $custom, extension => 1, oracle => 1, unchecked => 1, options => [ '--data-only', '--disable-triggers', '-n', 'tradekeep' ]);
is(sql('SELECT count(*) > 0 FROM tradekeep.verify_trade_stats()', $bare), 't', 'without triggers: it is found out');
is(sql('SELECT tradekeep.rebuild_trade_stats() > 3', $bare), 't', 'without triggers: built anew');
check($bare, 'without triggers, built anew');

# What is restored into trades that are there already counts with them.
my $more = restore('into others', $custom, extension => 1, oracle => 1, unchecked => 1, options => [ '--data-only', '-n', 'tradekeep' ]);
sql("CALL tradekeep.settle_trades(); UPDATE tradekeep.trade SET bot = 'other' || bot; CALL tradekeep.settle_trades(); DELETE FROM tradekeep.symbol_lock", $more);
$node->command_ok([ 'pg_restore', '-e', '--data-only', '-n', 'tradekeep', '-d', $node->connstr($more), $custom ], 'into others: once more');
is(sql($wrong, $more), '', 'into others: statistics are exact');
is(sql("SELECT count(DISTINCT bot) FROM tradekeep.trade", $more), '6', 'into others: of both');

# A dump of what was restored is as good.
my $second = restore('second', dump_to("$tmp/second.plain", $restored), unchecked => 1);
is(sql($rows, $second), sql($rows, $restored), 'a second dump makes no difference');

# A database made after another one has all of it.
$node->safe_psql('postgres', 'CREATE DATABASE twin TEMPLATE postgres');
is(sql('SELECT (SELECT count(*) FROM tradekeep.trade_mark), (SELECT count(*) FROM tradekeep.trade_span) > 500', 'twin'), '3|t', 'a twin has marks and summaries');
check('twin', 'a twin');
is(sql($rows), $before, 'and shares nothing');

$node->stop;
done_testing();
