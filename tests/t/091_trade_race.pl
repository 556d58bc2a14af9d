# Eight sessions write trades by all kinds of statements and at each isolation level, and settle meanwhile: what a snapshot shows of
# the statistics is what it shows of the trades, at any moment; single statements never meet in a deadlock; and of those who add
# or close the same trade at the same time one is told so.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use TradeOracle;
use Tradekeep;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $node = Tradekeep::new_node('race');
# Rows are locked in the order of the index.
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
jit = off
max_connections = 40
max_prepared_transactions = 20
deadlock_timeout = '10ms'
enable_seqscan = off
enable_bitmapscan = off
log_statement = none
tradekeep.sweep = off
CONF
$node->start;
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION tradekeep;
$TradeOracle::sql
CREATE TABLE wrong (what text);
-- Closed in the course of some months, around the end of one, and just now.
CREATE FUNCTION at(n int) RETURNS timestamptz LANGUAGE sql AS \$\$
	SELECT CASE n % 4 WHEN 0 THEN '2025-01-30 12:00Z'::timestamptz + n * interval '7 min' WHEN 1 THEN '2025-03-01Z'::timestamptz + n * interval '9 h' WHEN 2 THEN clock_timestamp() ELSE '2025-02-01Z' END \$\$;
CREATE FUNCTION put(first int, n int, v int) RETURNS void LANGUAGE sql AS \$\$
	INSERT INTO tradekeep.trade (bot, trade_id, strategy, symbol, side, closed_at, pnl)
	SELECT 'b' || i % 3, i::text, CASE WHEN i % 5 > 0 THEN 's' || i % 2 END, 'S' || v % 4, 'LONG', at(i + v), v % 7 - 3 FROM generate_series(first, first + n - 1) AS i ORDER BY i % 3, i::text COLLATE "C"
	ON CONFLICT (bot, trade_id) DO UPDATE SET pnl = excluded.pnl, closed_at = excluded.closed_at, symbol = excluded.symbol, exit_price = NULL, pnl_ratio = NULL, opened_at = NULL \$\$;
-- Others may have closed it, or it was never there.
CREATE FUNCTION quietly(call text) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN EXECUTE call; EXCEPTION WHEN SQLSTATE 'TK010' OR SQLSTATE 'P0002' THEN NULL; END \$\$;
SQL

my $draw = "\\set i random(1, 150)\n\\set n random(1, 12)\n\\set v random(0, 1000)\n";
my $key = "bot = 'b' || :i % 3 AND trade_id = :i::text";
my %single = (
	put => "SELECT put(:i, :n, :v);\n",
	add => "SELECT tradekeep.add_trade(:i::text, 's1', 'S1', 'LONG', 1, 100, 100 + :v % 9, closed_at => at(:v), bot => 'b' || :i % 3, replace => true);\n",
	open => "SELECT tradekeep.add_trade((:i + 1000)::text, 's0', 'S2', 'SHORT', 1, 100, opened_at => '2025-01-01Z', replace => true);\n",
	json => "SELECT tradekeep.add_trade(jsonb_build_object('trade_id', :i + 2000, 'symbol', 'S3', 'side', 'LONG', 'closed_at', at(:v), 'pnl', :v % 5 - 2), true);\n",
	close => "SELECT quietly(\$\$SELECT tradekeep.close_trade('\$\$ || :i + 1000 || \$\$', 95 + \$\$ || :v % 9 || \$\$, at(\$\$ || :v || \$\$))\$\$);\n",
	earn => "UPDATE tradekeep.trade SET pnl = pnl + 1 - :v % 3 WHERE $key AND pnl IS NOT NULL;\n",
	move => "UPDATE tradekeep.trade SET opened_at = NULL, closed_at = at(:v) WHERE $key AND pnl IS NOT NULL;\n",
	reopen => "UPDATE tradekeep.trade SET closed_at = NULL, pnl = NULL, exit_price = NULL, pnl_ratio = NULL, exit_reason = NULL WHERE $key;\n",
	rename => "UPDATE tradekeep.trade SET symbol = 'S' || :v % 4, strategy = 's' || :v % 2 WHERE $key;\n",
	merge => "MERGE INTO tradekeep.trade AS t USING (VALUES ('b' || :i % 3, :i::text)) AS n(bot, id) ON t.bot = n.bot AND t.trade_id = n.id WHEN MATCHED AND :v % 2 = 0 THEN DELETE WHEN MATCHED AND t.pnl IS NOT NULL THEN UPDATE SET pnl = -t.pnl;\n",
	delete => "DELETE FROM tradekeep.trade WHERE $key;\n");
# Rows in any order: these may meet each other in a deadlock.
my %several = (
	symbol => "UPDATE tradekeep.trade SET pnl = -pnl WHERE symbol = 'S' || :v % 4 AND pnl IS NOT NULL AND closed_at < '2025-02-01Z';\n",
	day => "DELETE FROM tradekeep.trade WHERE closed_at >= at(:v) - interval '6 h' AND closed_at < at(:v);\n",
	exchange => "WITH gone AS (DELETE FROM tradekeep.trade WHERE $key RETURNING *) INSERT INTO tradekeep.trade SELECT bot, trade_id, strategy, 'S9', side, 1, 1, NULL, 1, 0, NULL, at(:v), 1 FROM gone ON CONFLICT DO NOTHING;\n",
	both => "WITH a AS (UPDATE tradekeep.trade SET pnl = pnl + 1 WHERE $key AND pnl IS NOT NULL RETURNING 1), b AS (DELETE FROM tradekeep.trade WHERE bot = '' AND trade_id = (:v + 2000)::text RETURNING 1) INSERT INTO tradekeep.trade (bot, trade_id, symbol, side, closed_at, pnl) VALUES ('c', :i::text, 'S5', 'LONG', at(:v), 1) ON CONFLICT DO NOTHING;\n");
my %settle = (
	settle => "CALL tradekeep.settle_trades();\n",
	settle_month => "SELECT tradekeep.settle_trade_stats('2025-02-01');\n",
	rebuild => "SELECT tradekeep.rebuild_trade_stats();\n");
# One snapshot of several statements, and one statement.
my %read = (
	snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ;\nINSERT INTO wrong SELECT a FROM reference.ask(3) AS a;\nINSERT INTO wrong SELECT 'verify ' || v FROM tradekeep.verify_trade_stats() AS v;\nCOMMIT;\n",
	statement => "INSERT INTO wrong SELECT w FROM (SELECT reference.period() AS p, reference.filter('symbol', 0.5) AS s, reference.filter('bot', 0.2) AS b, reference.moment() AS t OFFSET 0) AS q, reference.wrong(q.p, q.s, NULL, q.b, 1000, q.t) AS w WHERE w IS NOT NULL;\n",
	days => "INSERT INTO wrong SELECT reference.wrong_days(NULL, '2025-06-01', 0);\n",
	verify => "INSERT INTO wrong SELECT 'verify ' || v FROM tradekeep.verify_trade_stats() AS v;\n");

sub weigh
{
	my ($name, $sql, $weight) = @_;
	append_to_file("$tmp/$name.sql", $sql) unless -e "$tmp/$name.sql";
	return ('-f', "$tmp/$name.sql\@$weight");
}
sub pgbench
{
	my ($transactions, @scripts) = @_;
	return [ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', $transactions, '--max-tries=10000', '-h', $node->host, '-p', $node->port, @scripts, 'postgres' ];
}
sub deadlocks { return $node->safe_psql('postgres', 'SELECT sum(deadlocks) FROM pg_stat_database'); }
sub scalar_of { return $node->safe_psql('postgres', $_[0]); }
# What was found wrong meanwhile, or is now, settled and not.
sub wrong
{
	return scalar_of("SELECT left(what, 300) FROM wrong LIMIT 5;\nSELECT setseed(0.5) \\g /dev/null\nSELECT * FROM reference.wrong(15);\nCALL tradekeep.settle_trades();\nSELECT * FROM reference.wrong(15);\nTRUNCATE wrong");
}

my @settle = map { weigh($_, $settle{$_}, $_ eq 'rebuild' ? 1 : 4) } sort keys %settle;
my @read = map { weigh($_, $read{$_}, 3) } sort keys %read;
for my $level ('read committed', 'repeatable read', 'serializable')
{
	local $ENV{PGOPTIONS} = "-c default_transaction_isolation=" . $level =~ s/ /\\ /r;
	my $before = deadlocks();
	$node->command_ok(pgbench(60, @read, @settle, map { weigh($_, $draw . $single{$_}, 3) } sort keys %single), "$level: single statements of eight sessions, settled meanwhile");
	is(wrong(), '', "$level: nothing is wrong at any moment");
	is(deadlocks() - $before, 0, "$level: without a deadlock");

	my %all = (%single, %several);
	my @names = sort keys %all;
	my @transactions;
	for my $i (0 .. $#names)
	{
		my ($one, $other) = ($all{ $names[$i] }, $all{ $names[ ($i * 5 + 3) % @names ] });
		my $file = "$names[$i]-$level" =~ s/ /-/r;
		my $begin = "BEGIN ISOLATION LEVEL $level;\n";
		push @transactions, weigh("two-$file", "$draw$begin$one${draw}SAVEPOINT s;\n$other" . "ROLLBACK TO s;\nSELECT tradekeep.settle_trade_stats();\n${draw}$one" . "COMMIT;\n", 2),
		  weigh("none-$file", "$draw$begin$one${draw}$other" . "ROLLBACK;\n", 1),
		  # What is asked within belongs to the snapshot, too.
		  weigh("asked-$file", "$draw$begin$one" . "INSERT INTO wrong SELECT a FROM reference.ask(1) AS a;\nCOMMIT;\n", 1),
		  weigh("prepared-$file", "$draw$begin$one" . "PREPARE TRANSACTION 'p:client_id';\n" . ($i % 3 ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'p:client_id';\n", 1);
	}
	$node->command_ok(pgbench(40, @read, @settle, @transactions), "$level: transactions of several statements, some prepared, some taken back");
	is(wrong(), '', "$level: nothing is wrong after them");
	cmp_ok(scalar_of("SELECT count(*) FROM tradekeep.trade_span WHERE span = 'm' AND dimension = ''"), '>', 0, "$level: and there are summaries");
}

# The same trade from many sessions: who is told true, false, or TK010.
scalar_of(<<'SQL');
TRUNCATE tradekeep.trade;
CREATE TABLE told (id int, v int, answer text);
CREATE FUNCTION try(call text, id int, v int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	BEGIN
		EXECUTE call INTO answer;
	EXCEPTION WHEN SQLSTATE 'TK010' THEN
		answer := SQLSTATE;
	END;
	INSERT INTO told VALUES (id, v, answer);
END $$;
SQL
my $few = "\\set i random(1, 25)\n\\set v random(1, 2)\n";
my %same = (
	add => "SELECT try(\$\$SELECT tradekeep.add_trade('\$\$ || :i || \$\$', 's', 'X', 'LONG', 1, 100, 100 + \$\$ || :v || \$\$, closed_at => '2025-02-01Z')\$\$, :i, :v);\n",
	close => "SELECT try(\$\$SELECT tradekeep.close_trade('o\$\$ || :i || \$\$', 100 + \$\$ || :v || \$\$, '2025-02-02Z')\$\$, -:i, :v);\n");
for my $level ('read committed', 'repeatable read', 'serializable')
{
	local $ENV{PGOPTIONS} = "-c default_transaction_isolation=" . $level =~ s/ /\\ /r;
	my $before = deadlocks();
	scalar_of("TRUNCATE tradekeep.trade, told; SELECT tradekeep.add_trade('o' || n, 's', 'X', 'LONG', 1, 100) FROM generate_series(1, 25) AS n");
	$node->command_ok(pgbench(60, map { (weigh("same-$_", $few . $same{$_}, 4), weigh("not-$_", "${few}BEGIN;\n$same{$_}ROLLBACK;\n", 2)) } sort keys %same), "$level: the same trades from eight sessions");
	is(deadlocks() - $before, 0, "$level: the same trades: without a deadlock");
	# Of a few, all attempts may have failed with 40001.
	is(scalar_of("SELECT count(DISTINCT id) = count(*) FILTER (WHERE answer = 'true') AND count(DISTINCT id) > 40 FROM told"), 't', "$level: each is added and closed once");
	is(scalar_of("SELECT count(*) FROM (SELECT id FROM told GROUP BY id HAVING count(*) FILTER (WHERE answer = 'true') <> 1) AS x"), '0', "$level: and no other twice");
	is(scalar_of(<<'SQL'), '0', "$level: who came later is told whether it was the same");
SELECT count(*) FROM told JOIN tradekeep.trade AS t ON t.trade_id = CASE WHEN id < 0 THEN 'o' ELSE '' END || abs(id)
WHERE CASE WHEN t.pnl = v THEN answer NOT IN ('true', 'false') ELSE answer <> 'TK010' END
SQL
	is(scalar_of("SELECT count(*) FILTER (WHERE answer = 'false') > 0 AND count(*) FILTER (WHERE answer = 'TK010') > 0 FROM told"), 't', "$level: there were some of each");
	is(wrong(), '', "$level: the same trades: nothing is wrong");

	# Of locks on a symbol the one that lasts longest is there in the end.
	scalar_of('TRUNCATE told');
	$node->command_ok(
		pgbench(60, weigh('lock', "\\set i random(1, 3)\n\\set v random(1, 100000)\nINSERT INTO told SELECT :i, :v, tradekeep.lock_symbol('L' || :i, 'LONG', '2100-01-01Z'::timestamptz + :v * interval '1 s');\n", 3),
			weigh('lock-not', "\\set i random(1, 3)\nBEGIN;\nSELECT tradekeep.lock_symbol('L' || :i, 'LONG', '2150-01-01Z');\nROLLBACK;\n", 1),
			weigh('locked', "\\set i random(1, 3)\nSELECT 1 / (tradekeep.symbol_locked('L' || :i, at => '2160-01-01Z') IS FALSE)::int;\n", 1)),
		"$level: locks on few symbols");
	is(scalar_of("SELECT count(*) FROM tradekeep.symbol_lock AS l WHERE until <> (SELECT '2100-01-01Z'::timestamptz + max(v) * interval '1 s' FROM told WHERE 'L' || id = symbol AND answer = 'true')"), '0', "$level: the one that lasts longest stays");
	is(scalar_of("SELECT count(*), count(*) FILTER (WHERE until > '2140-01-01Z') FROM tradekeep.symbol_lock; TRUNCATE tradekeep.symbol_lock"), '3|0', "$level: and none that was taken back");
}

# TRUNCATE beside writers, readers, and who is settling, the worker among them: all of it is gone at once, and nobody dies.
{
	$node->append_conf('postgresql.conf', "tradekeep.sweep = on\ntradekeep.sweep_interval = '50ms'");
	$node->restart;
	my $before = deadlocks();
	my $reload = "BEGIN;\nTRUNCATE tradekeep.trade;\nSELECT put(1, 40, :v);\nCOMMIT;\n";
	my %look = (stats => 'SELECT tradekeep.trade_stats()', cache => 'SELECT * FROM tradekeep.trade_stats_cache', by => "SELECT * FROM tradekeep.stats_by('symbol')", days => 'SELECT * FROM tradekeep.daily_pnl()', curve => 'SELECT * FROM tradekeep.equity_curve()',
		report => 'SELECT tradekeep.trade_report()', top => 'SELECT * FROM tradekeep.top_symbols()', check => 'SELECT * FROM tradekeep.verify_trade_stats()');
	$node->command_ok(
		pgbench(100, @read, @settle, weigh('truncate', "TRUNCATE tradekeep.trade;\n", 5), weigh('reload', $draw . $reload, 5), weigh('truncate-not', "BEGIN;\nTRUNCATE tradekeep.trade;\nSELECT tradekeep.trade_stats();\nROLLBACK;\n", 2),
			(map { weigh("look-$_", "$look{$_};\n", 3) } sort keys %look),
			(map { weigh("old-$_", "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1;\n$look{$_};\nINSERT INTO wrong SELECT a FROM reference.ask(1) AS a;\nCOMMIT;\n", 1) } sort keys %look), map { weigh("$_", $draw . $single{$_}, 2) } sort keys %single),
		'TRUNCATE beside writers, readers and settling');
	is(wrong(), '', 'TRUNCATE: nothing is wrong at any moment');
	is(deadlocks() - $before, 0, 'TRUNCATE: without a deadlock');
	is(scalar_of("TRUNCATE tradekeep.trade; SELECT (tradekeep.trade_stats()).trades, (SELECT count(*) FROM tradekeep.trade_span), (SELECT count(*) FROM tradekeep.trade_mark)"), '0|0|0', 'TRUNCATE: nothing is left of what was truncated');
}
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'and the server is well');

$node->stop;
done_testing();
