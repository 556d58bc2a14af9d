# Statistics of trades against a reference in straight SQL: after thousands of random statements of all kinds, settled at random
# moments or never, all figures are what the trades themselves come to, in the transaction that writes before it commits too, and
# verify_trade_stats() finds nothing. The seed is printed; TRADEKEEP_SEED repeats a run, or makes another one.

use strict;
use warnings;

use FindBin;
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use Test::More;
use TradeOracle;
use Tradekeep;

my $seed = $ENV{TRADEKEEP_SEED} || 20260105;
my $data = ($ENV{TRADEKEEP_SHARED} || "$FindBin::Bin/../../../shared") . '/data';
my $node = Tradekeep::new_node('oracle');
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
jit = off
log_statement = none
tradekeep.sweep = off
CONF
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION tradekeep;\n$TradeOracle::sql");
# Whether a call goes through, or with which error; what failed leaves nothing.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN answer;
EXCEPTION WHEN SQLSTATE 'TK010' OR SQLSTATE 'P0002' OR SQLSTATE 'TK009' OR division_by_zero OR unique_violation OR check_violation OR cardinality_violation THEN
	RETURN SQLSTATE;
END $$;
SQL
note "seed $seed";
srand $seed;

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int rand @_ ]; }
sub quote { return defined $_[0] ? "'$_[0]'" : 'NULL'; }

# Days that trades are closed on: some in a row, ends of months and years, a leap day, and those on which clocks change somewhere.
my @days = map { [ split /-/ ] } qw(2024-02-28 2024-02-29 2024-03-01 2024-03-09 2024-03-10 2024-03-30 2024-03-31 2024-04-01 2024-06-30 2024-07-01 2024-10-05 2024-10-06 2024-10-27 2024-11-02 2024-11-03
  2024-12-30 2024-12-31 2025-01-01 2025-01-02 2025-01-31 2025-02-01 2025-02-02 2025-02-03 2025-02-04 2025-02-27 2025-02-28 2025-03-01);
my @times = qw(00:00:00 00:00:00.000001 03:04:05.678901 12:00:00 12:00:00 12:00:00.000001 18:30:00 23:59:59.999999);
my @edges = ('1900-01-01 00:00:00+00', '1900-01-01 00:00:00.000001+00', '1900-01-31 23:59:59.999999+00', '1999-12-31 23:59:59.999999+00', '2000-01-01 00:00:00+00', '2199-12-31 00:00:00+00', '2199-12-31 23:59:59.999999+00');
my $wide;      # the whole time that there is
my $recent;    # around now, where settling stops

sub closed_at
{
	return pick(@edges) if $wide && chance(0.5);
	return strftime('%Y-%m-%d %H:%M:', gmtime $_) . sprintf('%09.6f+00', $_ % 60 + int(rand 1e6) / 1e6) for grep { $recent } time + pick(-int rand 6, int rand 30, -int rand 86400 * 40, int rand 200000);
	my $day = chance(0.5) ? $days[ 20 + int rand 4 ] : pick(@days);
	return sprintf '%s-%s-%s %s+00', @$day, chance(0.7) ? pick(@times) : sprintf('%02d:%02d:%02d.%06d', rand 24, rand 60, rand 60, rand 1e6);
}
sub pnl
{
	return pick('0', '0.00', '0.000000000000000001', '-0.000000000000000001', '1000000000000000000', '-1000000000000000000', '-0.1', '0.1') if chance(0.25);
	return int(rand 9) - 4 if chance(0.5);
	return sprintf '%.*f', int rand 9, rand(200) - 100;
}
my $last = 0;
sub id { return 't' . (1 + int rand 90); }
sub new_id { return 'n' . ++$last; }
sub bot { return pick('', '', 'a', 'B', 'b'); }
sub symbol { return pick('BTC/USDT', 'BTC/USDT', 'ETH/USDT', 'btc', 'SOL', 'XRP', "\xc3\xa4\xc3\x9f", 'ADA', 'DOT'); }
sub strategy { return pick(undef, '', 'trend', 'Trend', 'mean'); }
sub side { return pick('LONG', 'SHORT'); }
sub reason { return pick(undef, 'roi', 'stop', ''); }

# A row in the order of these columns, each as SQL has it.
my $columns = 'bot, trade_id, strategy, symbol, side, quantity, entry_price, exit_price, leverage, fee, opened_at, closed_at, pnl, exit_reason';
sub row
{
	my ($id) = @_;
	my $closed = chance(0.9);
	my $closed_at = closed_at();
	my $opened = !chance(0.8) ? 'NULL' : $closed ? "greatest('1900-01-01Z', '$closed_at'::timestamptz - '" . pick('0', '1 us', '1 h', '3 days', '100 days 01:02:03.000004') . "'::interval)" : "'$closed_at'";
	return (quote(bot()), quote($id // id()), quote(strategy()), quote(symbol()), quote(side()), pick(1, 0.5, 3), pick(100, 99.5), $closed ? pick('NULL', 101) : 'NULL', pick(1, 3), pick(0, 0.25),
		$opened, $closed ? ("'$closed_at'", pnl(), quote(reason())) : ('NULL', 'NULL', 'NULL'));
}
sub values_of { return join ', ', map { '(' . join(', ', @$_) . ')' } @_; }
sub rows { my ($n, $id) = @_; return map { [ row($id && $id->()) ] } 1 .. $n; }
# Each key once.
sub distinct { my %seen; return grep { !$seen{"$_->[0] $_->[1]"}++ } @_; }
# So many, mostly few.
sub few { return 1 + int rand(chance(0.2) ? 25 : 3); }
sub where
{
	my $closed_at = closed_at();
	return pick("trade_id = '" . id() . "'", "trade_id = '" . id() . "'", "abs(hashtext(trade_id)) % 17 = " . int rand 17, "closed_at = (SELECT max(closed_at) FROM tradekeep.trade)", "closed_at = (SELECT min(closed_at) FROM tradekeep.trade)",
		"closed_at >= '$closed_at' AND closed_at < '$closed_at'::timestamptz + interval '1 day'", "symbol = '" . symbol() . "' AND closed_at >= '$closed_at' AND abs(hashtext(bot || trade_id)) % 5 = 0");
}
my $stamp = "greatest('1900-01-01Z', least('2199-12-31 23:59:59.999999Z', closed_at %s interval '%s'))";
sub moved { return sprintf $stamp, pick('+', '-'), pick('1 us', '1 h', '1 day', '40 days', '1 month', '1 year'); }
my $replaced = join ', ', map { "$_ = excluded.$_" } grep { !/^(bot|trade_id)$/ } split /, /, "$columns, pnl_ratio";

# For inside of a function, where the statement is a query and returns no more than a row.
my %inner = (
	insert => [ 8, sub { return "INSERT INTO tradekeep.trade ($columns) VALUES " . values_of(rows(few(), \&new_id)); } ],
	insert_or_not => [ 6, sub { return "INSERT INTO tradekeep.trade ($columns) VALUES " . values_of(rows(few())) . ' ON CONFLICT DO NOTHING'; } ],
	replace => [ 8, sub { return "INSERT INTO tradekeep.trade ($columns) VALUES " . values_of(distinct(rows(few()))) . " ON CONFLICT (bot, trade_id) DO UPDATE SET $replaced"; } ],
	replace_some => [ 2, sub { return "INSERT INTO tradekeep.trade ($columns) VALUES " . values_of(distinct(rows(few()))) . " ON CONFLICT (bot, trade_id) DO UPDATE SET pnl = excluded.pnl, closed_at = excluded.closed_at, exit_price = excluded.exit_price, exit_reason = excluded.exit_reason, pnl_ratio = NULL, opened_at = NULL WHERE trade.symbol <> excluded.symbol"; } ],
	earn => [ 6, sub { return 'UPDATE tradekeep.trade SET pnl = ' . pick('-pnl', 'pnl + 1', 'pnl * 1.5', pnl()) . ' WHERE pnl IS NOT NULL AND ' . where(); } ],
	move => [ 8, sub { return 'UPDATE tradekeep.trade SET opened_at = NULL, closed_at = ' . moved() . ' WHERE closed_at IS NOT NULL AND ' . where(); } ],
	move_to => [ 3, sub { return "UPDATE tradekeep.trade SET opened_at = NULL, closed_at = '" . closed_at() . "' WHERE closed_at IS NOT NULL AND " . where(); } ],
	rename => [ 3, sub { return "UPDATE tradekeep.trade SET symbol = '" . symbol() . "' WHERE " . where(); } ],
	strategy => [ 3, sub { return 'UPDATE tradekeep.trade SET strategy = ' . quote(strategy()) . ' WHERE ' . where(); } ],
	bot => [ 3, sub { my $bot = bot(); return "UPDATE tradekeep.trade AS t SET bot = '$bot' WHERE NOT EXISTS (SELECT FROM tradekeep.trade AS o WHERE o.bot = '$bot' AND o.trade_id = t.trade_id) AND trade_id = '" . id() . "' AND ctid = (SELECT min(ctid) FROM tradekeep.trade AS o WHERE o.trade_id = t.trade_id)"; } ],
	renumber => [ 3, sub { return "UPDATE tradekeep.trade SET trade_id = '" . new_id() . "' WHERE ctid = (SELECT ctid FROM tradekeep.trade ORDER BY hashtext(bot || trade_id || " . int(rand 1e6) . ') LIMIT 1)'; } ],
	others => [ 2, sub { return 'UPDATE tradekeep.trade SET ' . pick("side = 'LONG'", 'quantity = 7', 'entry_price = 3', 'exit_price = NULL', 'leverage = 2', 'fee = fee + 1', 'opened_at = NULL', 'pnl_ratio = NULL', 'exit_reason = NULL', q(data = '{"a": 1}')) . ' WHERE ' . where(); } ],
	hold => [ 2, sub { return "UPDATE tradekeep.trade SET opened_at = greatest('1900-01-01Z', closed_at - interval '" . pick('1 us', '1 day', '1 year') . "') WHERE " . where(); } ],
	reopen => [ 3, sub { return 'UPDATE tradekeep.trade SET closed_at = NULL, pnl = NULL, exit_price = NULL, pnl_ratio = NULL, exit_reason = NULL WHERE ' . where(); } ],
	close => [ 4, sub { return "UPDATE tradekeep.trade SET closed_at = '" . closed_at() . "', opened_at = NULL, pnl = " . pnl() . ' WHERE closed_at IS NULL' . (chance(0.5) ? '' : ' AND ' . where()); } ],
	delete => [ 5, sub { return 'DELETE FROM tradekeep.trade WHERE ' . where(); } ],
	exchange => [ 3, sub { return 'WITH gone AS (DELETE FROM tradekeep.trade WHERE closed_at IS NOT NULL AND ' . where() . " RETURNING *) INSERT INTO tradekeep.trade SELECT bot, trade_id || '-" . ++$last . "', strategy, symbol, side, quantity, entry_price, exit_price, leverage, fee, NULL, "
		  . moved() . ', -pnl, NULL, exit_reason FROM gone'; } ],
	both => [ 3, sub { return 'WITH changed AS (UPDATE tradekeep.trade SET pnl = pnl - 3 WHERE pnl IS NOT NULL AND ' . where() . ' RETURNING 1), gone AS (DELETE FROM tradekeep.trade WHERE ' . where() . " RETURNING 1) INSERT INTO tradekeep.trade ($columns) VALUES " . values_of(rows(few(), \&new_id)); } ],
	merge => [ 4, sub { return "MERGE INTO tradekeep.trade AS t USING (VALUES " . values_of(map { $_->[11] =~ s/('.*')/$1::timestamptz/; $_->[10] =~ s/^('[^']*')$/$1::timestamptz/; $_ } distinct(rows(few()))) . ") AS n($columns) ON t.bot = n.bot AND t.trade_id = n.trade_id"
		  . " WHEN MATCHED AND n.side = 'SHORT' THEN DELETE WHEN MATCHED AND n.pnl IS NOT NULL THEN UPDATE SET pnl = n.pnl::numeric, closed_at = n.closed_at::timestamptz, opened_at = NULL, symbol = n.symbol"
		  . " WHEN NOT MATCHED THEN INSERT (bot, trade_id, strategy, symbol, side, closed_at, pnl) VALUES (n.bot, n.trade_id, n.strategy, n.symbol, n.side, n.closed_at::timestamptz, n.pnl::numeric)"; } ]);
sub add
{
	my ($bot, $id, $strategy, $symbol, $side, $quantity, $entry, $exit, $leverage, $fee, $opened, $closed, $pnl, $reason) = row();
	return "SELECT tradekeep.add_trade($id, $strategy, $symbol, $side, $quantity, $entry, $exit, $leverage, $fee, $opened, $closed, " . ($exit eq 'NULL' || chance(0.5) ? $pnl : 'NULL') . ", NULL, $reason, NULL, $bot, " . (chance(0.5) ? 'true' : 'false') . ')';
}
my %outer = (
	copy => [ 6, sub {
		return "COPY tradekeep.trade (bot, trade_id, strategy, symbol, side, closed_at, pnl) FROM stdin;\n" . join('', map { join("\t", bot(), new_id(), strategy() // '\N', symbol(), side(), chance(0.9) ? (closed_at(), pnl()) : ('\N', '\N')) . "\n" } 1 .. few()) . "\\.\n";
	} ],
	add => [ 8, sub { return add(); } ],
	add_json => [ 3, sub { return sprintf q(SELECT try($t$SELECT tradekeep.add_trade('{"trade_id": "%s", "bot": "%s", "symbol": "%s", "side": "long", "closed_at": "%s", "pnl": "%s"}', %s)$t$)), id(), bot(), symbol(), closed_at(), pnl(), pick('true', 'false'); } ],
	close_trade => [ 5, sub { return sprintf "SELECT tradekeep.close_trade(trade_id, %s, %s, bot => bot) FROM (SELECT * FROM tradekeep.open_trades() WHERE quantity > 0 AND entry_price > 0 LIMIT 1) AS o", pick(90, 100, 123.5), "greatest(opened_at, '" . closed_at() . "')"; } ],
	failing => [ 3, sub { return "DO \$d\$ BEGIN " . inner() . "; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END \$d\$"; } ],
	halfway => [ 3, sub { return "DO \$d\$ BEGIN " . inner() . "; BEGIN " . inner() . "; PERFORM tradekeep.settle_trade_stats(); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; " . inner() . "; END \$d\$"; } ],
	clear => [ 0.05, sub { return 'TRUNCATE tradekeep.trade'; } ],
	empty => [ 0.05, sub { return 'DELETE FROM tradekeep.trade'; } ],
	settle => [ 8, sub { return 'SELECT tradekeep.settle_trade_stats()'; } ],
	settle_from => [ 4, sub { return "SELECT tradekeep.settle_trade_stats('" . substr(closed_at(), 0, 10) . "')"; } ],
	settle_all => [ 4, sub { return 'CALL tradekeep.settle_trades()'; } ],
	rebuild => [ 0.2, sub { return 'SELECT tradekeep.rebuild_trade_stats()'; } ]);
$outer{add}[1] = sub { return 'SELECT try($t$' . add() . '$t$)'; };
sub weighted { my (%of) = @_; return map { my ($name) = $_; ($name) x (20 * $of{$name}[0]) } sort keys %of; }
my %all = (%inner, %outer);
my @inner = weighted(%inner);
my @all = weighted(%all);
sub inner { return $inner{ pick(@inner) }[1]->(); }
sub statement
{
	my $sql = $all{ pick(@all) }[1]->();
	return $sql =~ /\\\.\n\z/ ? $sql : "$sql;\n";
}

# What is wrong is printed, all else goes nowhere.
my $n = 0;
sub ask { my ($questions) = @_; ++$n; return "\\o\nSELECT 'check $n: ' || a FROM reference.ask($questions) AS a;\n\\o /dev/null\n"; }
sub verify { ++$n; return "\\o\nSELECT 'check $n: ' || v FROM tradekeep.verify_trade_stats() AS v;\n\\o /dev/null\n"; }
sub transaction
{
	my $sql = 'BEGIN ISOLATION LEVEL ' . pick('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE') . ";\n";
	for (1 .. 1 + int rand 3)
	{
		$sql .= statement() . ask(1);
		$sql .= "SAVEPOINT s;\n" . statement() . ask(1) . (chance(0.2) && !$wide ? verify() : '') . pick('ROLLBACK TO s', 'RELEASE s') . ";\n" . ask(1) if chance(0.5);
	}
	return $sql . (chance(0.2) && !$wide ? verify() : '') . pick('COMMIT', 'COMMIT', 'ROLLBACK') . ";\n";
}

# Runs so many statements; what came out, which is nothing when all went well.
sub run
{
	my ($name, $steps, $zone) = @_;
	my $script = "SELECT setseed(0.5) \\g /dev/null\nSET timezone = '$zone';\nSET datestyle = 'German';\nSET intervalstyle = 'sql_standard';\n\\o /dev/null\n";
	for (1 .. $steps)
	{
		$script .= (chance(0.2) ? transaction() : statement()) . ask(1);
		$script .= verify() if $_ % ($wide ? 100 : 15) == 0;
	}
	(my $file = PostgreSQL::Test::Utils::tempdir() . "/$name.sql") =~ tr/ /_/;
	append_to_file($file, "$script\\o\nSELECT count(*), count(pnl), (SELECT count(*) FROM tradekeep.trade_span) > 0 FROM tradekeep.trade;\n" . verify());
	my ($status, $out, $err) = $node->psql('postgres', "\\i $file", on_error_stop => 1);
	is($err, '', "$name: $steps statements go through");
	my ($wrong, $left) = $out =~ /\A(.*?)^?(\d+\|\d+\|[tf])\z/ms;
	is($wrong // $out, '', "$name: nothing is wrong at any time");
	note "$name: trades, closed ones, summaries: $left";
	return;
}

run('Chatham', 450, 'Pacific/Chatham');
run('New York', 400, 'America/New_York');
$node->safe_psql('postgres', 'TRUNCATE tradekeep.trade');
run('UTC', 300, 'UTC');

# The aggregate, over the same trades in any order, alone and by parallel workers.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE copy AS SELECT * FROM tradekeep.trade ORDER BY random();
ALTER TABLE copy SET (parallel_workers = 4);
-- Equal times and equal ids have no order.
UPDATE copy SET trade_id = bot || '/' || trade_id;
ANALYZE copy;
-- By strategy, the figures that follow from three columns.
CREATE FUNCTION summaries(summary text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT format(''%%s: %%s'', strategy, d) FROM (
		SELECT t.strategy, to_jsonb(s.s) AS figures, reference.measure(t.items, t.since, t.until, NULL) || ''{"average_holding": null, "top_symbols": null}'' AS expected
		FROM (SELECT strategy, %s AS s FROM copy GROUP BY strategy) AS s
		JOIN (SELECT strategy, array_agg(ROW(closed_at, NULL, NULL, trade_id, NULL, pnl)::reference.item) FILTER (WHERE pnl IS NOT NULL) AS items,
			min(reference.day(closed_at)) AS since, max(reference.day(closed_at)) AS until FROM copy GROUP BY strategy) AS t
		ON t.strategy IS NOT DISTINCT FROM s.strategy) AS both_, reference.differences(figures, expected) AS d WHERE d IS NOT NULL', summary);
END $$;
SQL
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off;';
my $summary = 'tradekeep.trade_summary(closed_at, trade_id, pnl)';
is($node->safe_psql('postgres', "SELECT * FROM summaries('$summary')"), '', 'trade_summary(): the same figures, whatever the order');
is($node->safe_psql('postgres', "SELECT * FROM summaries('tradekeep.trade_summary(closed_at, trade_id, pnl ORDER BY pnl, random())')"), '', 'trade_summary(): in another order');
like($node->safe_psql('postgres', "$parallel EXPLAIN SELECT $summary FROM copy"), qr/Partial Aggregate/, 'trade_summary(): by parallel workers');
is($node->safe_psql('postgres', "$parallel SELECT $summary IS DISTINCT FROM (SELECT tradekeep.trade_summary(closed_at, trade_id, pnl ORDER BY trade_id) FROM copy) FROM copy"), 'f', 'trade_summary(): they say the same');

$node->safe_psql('postgres', 'TRUNCATE tradekeep.trade');
$recent = 1;
run('around now', 200, 'Europe/London');
$recent = 0;
$node->safe_psql('postgres', 'TRUNCATE tradekeep.trade');
$wide = 1;
run('three centuries', 150, 'Asia/Kathmandu');
$wide = 0;

# Days of many trades, several at a time, are kept in parts.
$node->safe_psql('postgres', <<'SQL');
TRUNCATE tradekeep.trade;
INSERT INTO tradekeep.trade (trade_id, bot, strategy, symbol, side, opened_at, closed_at, pnl)
SELECT n, 'b' || n % 2, 's' || n % 3, 'S' || n % 7, 'LONG', '2025-01-01Z', '2025-02-01Z'::timestamptz + n / 5 * interval '4 min', n * 7919 % 41 - 20 FROM generate_series(1, 2600) AS n;
SQL
run('many a day', 60, 'UTC');

# Few trades, and all of a kind.
my %series = (none => '{}', one => '{5}', 'one loss' => '{-5}', two => '{3,-1}', wins => '{1,2,3}', losses => '{-1,-2,-3}', draws => '{0,0,0}', equal => '{5,5,5,5}', 'equal losses' => '{-5,-5}', 'first of equal' => '{100,-10,90,-10,20,-10}',
	'tiny and huge' => '{1e-18,1e18,-1e-18,-1e18,1e-18}', extreme => '{9e40,1e-40,-9e40,-1e-40}', tiny => '{1e-40,-2e-40,5e-40}', 'nearly equal' => '{1000000000000000000,1000000000000000000.000000000000000001}', ruined => '{-1000}',
	'below zero' => '{-1500,20}', 'a hair above zero' => '{-999.999999999999999999,500,-500}');
for my $name (sort keys %series)
{
	my $script = "SELECT setseed(0.3) \\g /dev/null\n";
	for my $apart ('0', '1 us', '7 h', '40 days')
	{
		$script .= "TRUNCATE tradekeep.trade;\nINSERT INTO tradekeep.trade (trade_id, strategy, symbol, side, closed_at, pnl) SELECT n, CASE n WHEN 2 THEN NULL ELSE 's' END, 'S' || n % 2, 'LONG', '2025-02-27 23:59:59.999999Z'::timestamptz + n * interval '$apart', p"
		  . " FROM unnest('$series{$name}'::numeric[]) WITH ORDINALITY AS u(p, n);\nSELECT '$apart: ' || w FROM reference.wrong(12) AS w;\nCALL tradekeep.settle_trades();\nSELECT '$apart, settled: ' || w FROM reference.wrong(12) AS w;\n";
	}
	is($node->safe_psql('postgres', $script), '', $name);
}

# Trades as they were.
SKIP:
{
	my $file = "$data/trades-backtest.freqtrade.json";
	skip "no $file", 5 unless -e $file;
	(my $export = slurp_file($file)) =~ s/'/''/g;
	is($node->safe_psql('postgres', <<"SQL"), '179', 'real trades');
TRUNCATE tradekeep.trade;
WITH trade AS (SELECT * FROM jsonb_array_elements('$export'::jsonb -> 'trades') WITH ORDINALITY AS j(t, n))
SELECT count(*) FROM trade WHERE tradekeep.add_trade(n::text, NULL, t ->> 'pair', 'LONG', (t ->> 'amount')::numeric, (t ->> 'open_rate')::numeric, (t ->> 'close_rate')::numeric, 1, 0,
	(t ->> 'open_date')::timestamptz, (t ->> 'close_date')::timestamptz, (t ->> 'profit_abs')::numeric, (t ->> 'profit_ratio')::numeric, t ->> 'exit_reason');
SQL
	my $stated = 'SELECT abs(total_pnl / 0.0010419029856968845 - 1) < 1e-12, abs(profit_factor / 2.4223288739520954 - 1) < 1e-12, wins, draws, losses FROM tradekeep.trade_stats()';
	is($node->safe_psql('postgres', $stated), 't|t|170|0|9', 'have the figures that were stated');
	is($node->safe_psql('postgres', "SELECT setseed(0.1) \\g /dev/null\nSELECT * FROM reference.wrong(60);\nCALL tradekeep.settle_trades();\nSELECT * FROM reference.wrong(60);"), '', 'and those of the reference');
	is($node->safe_psql('postgres', $stated), 't|t|170|0|9', 'settled too');
	is($node->safe_psql('postgres', 'SELECT period, trades FROM tradekeep.trade_stats_cache'), "all_time|179\n7d|0\n30d|0", 'in the short table, too');
}

$node->stop;
done_testing();
