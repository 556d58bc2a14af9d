# Trades and their statistics where the world around them changes: extensions that come and go, databases, roles and row security,
# names that others use, triggers of others, replication, transactions that are prepared, no library preloaded.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use TradeOracle;
use Tradekeep;

my $node = Tradekeep::new_node('trade_lifecycle', allows_streaming => 'logical');
$node->append_conf('postgresql.conf', <<'CONF');
tradekeep.sweep = off
jit = off
max_prepared_transactions = 5
max_logical_replication_workers = 4
CONF
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', "SET client_min_messages = error;\n$sql");
}

sub sqlstate
{
	my ($sql, $database) = @_;
	my ($status, $out, $err) = $node->psql($database // 'postgres', "\\set VERBOSITY sqlstate\n$sql", on_error_stop => 1);
	return $err =~ /ERROR:  (\w+)/ ? $1 : 'none';
}
sub as
{
	my ($role, $sql) = @_;
	return sqlstate("SET ROLE $role;\n$sql;\n");
}

# Trades of a bot in SQL: so many, a day apart, from the end of 2024 on; and what there is of them.
sub trades
{
	my ($bot, $n, $pnl) = @_;
	return "INSERT INTO tradekeep.trade (bot, trade_id, strategy, symbol, side, closed_at, pnl) SELECT '$bot', n, 's' || n % 2, 'S' || n % 3, 'LONG', timestamptz '2024-12-20 12:00Z' + n * interval '1 day', $pnl FROM generate_series(1, $n) AS n;\n";
}
sub stats { my ($bot) = @_; return "SELECT trades, wins, total_pnl, max_drawdown FROM tradekeep.trade_stats(bot => '$bot', at => '2025-06-01Z');\n"; }
my $settle = "CALL tradekeep.settle_trades();\n";
my $wrong = "SELECT setseed(0.3) \\g /dev/null\nSELECT * FROM reference.wrong(12);\n";

sql("CREATE EXTENSION tradekeep;\n$TradeOracle::sql");
is(sql(trades('first', 30, 'n') . stats('first') . $settle . stats('first') . $wrong), "30|30|465|0\n30|30|465|0", 'trades have statistics');

# The session itself and another one turn everything over; plans, Oids and triggers are new after it.
my @upheavals = (
	'REINDEX TABLE tradekeep.trade', 'VACUUM FULL tradekeep.trade', 'VACUUM FULL tradekeep.trade_mark; VACUUM FULL tradekeep.trade_span', 'CLUSTER tradekeep.trade USING trade_pkey', 'ALTER TABLE tradekeep.trade ADD COLUMN note text',
	'ALTER TABLE tradekeep.trade_mark ADD COLUMN note text', 'ALTER TABLE tradekeep.trade_span ADD COLUMN note text', 'TRUNCATE tradekeep.trade', 'DO $$BEGIN PERFORM tradekeep.rebuild_trade_stats(); END$$',
	'DROP EXTENSION tradekeep CASCADE; CREATE EXTENSION tradekeep', 'BEGIN; DROP EXTENSION tradekeep CASCADE; CREATE EXTENSION tradekeep; COMMIT');
for my $who ('itself', 'another')
{
	my $script = '';
	for my $i (0 .. $#upheavals)
	{
		(my $upheaval = "$upheavals[$i];\n") =~ s/; /;\n/g;
		if ($who eq 'another')
		{
			my $file = "$PostgreSQL::Test::Utils::tmp_check/trade_upheaval$i.sql";
			append_to_file($file, $upheaval);
			$upheaval = sprintf "\\! psql -XAtq -v ON_ERROR_STOP=1 -d \"%s\" -f \"%s\"\n", $node->connstr('postgres'), $file;
		}
		my $bot = "$who$i";
		$script .= $upheaval . trades($bot, 15, 'n') . $settle . "UPDATE tradekeep.trade SET pnl = -1 WHERE bot = '$bot' AND trade_id = '15';\nSELECT tradekeep.add_trade('x', 's', 'X', 'LONG', 1, 1, bot => '$bot'), tradekeep.close_trade('x', 2, '2024-12-31Z', bot => '$bot') \\g /dev/null\n"
		  . stats($bot) . $settle . stats($bot) . "SELECT count(*) FROM tradekeep.verify_trade_stats();\n";
	}
	my @answers = split /\n/, sql($script);
	is(join(' ', @answers[ 3 * $_ .. 3 * $_ + 2 ]), '16|15|105|1 16|15|105|1 0', "$who: $upheavals[$_]") for 0 .. $#upheavals;
}
# The reference went with the extension.
sql("DROP SCHEMA reference CASCADE;\n$TradeOracle::sql");

# Who uses it holds it, and is told when it is gone.
my $user = $node->background_psql('postgres', on_error_stop => 0);
$user->query_safe("BEGIN; SELECT tradekeep.add_trade('held', 's', 'X', 'LONG', 1, 1, 2, closed_at => '2025-01-01Z'); SELECT tradekeep.trade_stats()");
is(sqlstate("SET lock_timeout = 100;\nDROP EXTENSION tradekeep CASCADE"), '55P03', 'the extension in use is not dropped');
$user->query_safe('COMMIT');
sql('DROP EXTENSION tradekeep CASCADE');
like($user->query("\\set VERBOSITY sqlstate\nSELECT tradekeep.add_trade('gone', 's', 'X', 'LONG', 1, 1)") . $user->{stderr}, qr/3F000|42883/, 'and is gone when it is');
$user->{stderr} = '';
sql("CREATE EXTENSION tradekeep;\nDROP SCHEMA reference CASCADE;\n$TradeOracle::sql");
is($user->query_safe("SELECT tradekeep.add_trade('again', 's', 'X', 'LONG', 1, 1, 2, closed_at => '2025-01-01Z'); SELECT trades FROM tradekeep.trade_stats()"), "t\n1", 'and comes again');
$user->quit;

# Of the triggers of others: what they make of a row counts, what they refuse does not.
sql('TRUNCATE tradekeep.trade;' . trades('trigger', 40, 'n % 5 - 2') . $settle);
sql(<<'SQL');
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE NEW.trade_id
		WHEN 'refused' THEN RETURN NULL;
		WHEN 'moved' THEN NEW.closed_at := NEW.closed_at - interval '45 days'; NEW.pnl := 1000;
		WHEN 'doubled' THEN INSERT INTO tradekeep.trade (bot, trade_id, symbol, side, closed_at, pnl) VALUES ('trigger', 'double ' || NEW.bot, 'D', 'LONG', NEW.closed_at - interval '1 month', NEW.pnl);
		ELSE
	END CASE;
	RETURN NEW;
END $$;
CREATE TRIGGER change BEFORE INSERT OR UPDATE ON tradekeep.trade FOR EACH ROW EXECUTE FUNCTION change();
SQL
my $new = "INSERT INTO tradekeep.trade (bot, trade_id, symbol, side, closed_at, pnl) VALUES ('trigger', '%s', 'D', 'LONG', '2025-01-20 13:00Z', 7);\n";
is(sql(sprintf($new, $_) . $wrong . $settle . $wrong), '', "a trigger of others: $_") for qw(refused moved doubled);
is(sql("UPDATE tradekeep.trade SET trade_id = 'moved' || 1 WHERE trade_id = 'moved'; UPDATE tradekeep.trade SET trade_id = 'doubled', bot = 'b' WHERE trade_id = '7';\n$wrong"), '', 'a trigger of others: of updates');
# They ask for statistics while the statement that fired them goes on, and get those of the trades that they see.
sql(<<'SQL');
DROP TRIGGER change ON tradekeep.trade;
CREATE TABLE found (who text, wrong text);
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO found SELECT concat_ws(' ', TG_NAME, TG_OP, TG_WHEN, TG_LEVEL), reference.wrong(NULL, NULL, NULL, NULL, NULL, '2025-06-01Z');
	RETURN NULL;
END $$;
CREATE TRIGGER a_look AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tradekeep.trade FOR EACH STATEMENT EXECUTE FUNCTION look();
CREATE TRIGGER z_look AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tradekeep.trade FOR EACH STATEMENT EXECUTE FUNCTION look();
CREATE TRIGGER row_look AFTER INSERT OR UPDATE OR DELETE ON tradekeep.trade FOR EACH ROW EXECUTE FUNCTION look();
CREATE CONSTRAINT TRIGGER late_look AFTER INSERT OR UPDATE OR DELETE ON tradekeep.trade DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
SQL
sql(sprintf($new, 'looked') . $settle . "UPDATE tradekeep.trade SET pnl = 3 WHERE trade_id = 'looked';\n$settle" . "DELETE FROM tradekeep.trade WHERE trade_id = 'looked';\n$settle");
is(sql("SELECT DISTINCT who FROM found WHERE wrong IS NOT NULL ORDER BY 1"), '', 'triggers of others see statistics that are exact');
is(sql('SELECT count(*) FROM found'), '12', 'all of them looked');
sql('DROP FUNCTION look CASCADE; DROP FUNCTION change; DROP TABLE found');

# One transaction: a cursor keeps to its snapshot, functions to theirs, and plans stay right.
is(sql('TRUNCATE tradekeep.trade;' . trades('cursor', 40, 1) . $settle . <<'SQL'), "40\n39\n39", 'a cursor has what was there when it was opened');
BEGIN;
DECLARE c CURSOR FOR SELECT trades FROM tradekeep.trade_stats(at => '2025-06-01Z');
DELETE FROM tradekeep.trade WHERE trade_id = '3';
FETCH c;
SELECT trades FROM tradekeep.trade_stats(at => '2025-06-01Z');
CALL tradekeep.settle_trades();
SELECT trades FROM tradekeep.trade_stats(at => '2025-06-01Z');
COMMIT;
SQL
is(sql(<<'SQL' . $wrong), "39\n40", 'a statement does not see what it writes itself');
WITH n AS (INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl) VALUES ('cte', 'X', 'LONG', '2024-12-25Z', 1) RETURNING 1) SELECT trades FROM n, tradekeep.trade_stats(at => '2025-06-01Z');
SELECT trades FROM tradekeep.trade_stats(at => '2025-06-01Z');
SQL
# What was taken back left no mark, and what comes after it does.
my $again = "INSERT INTO tradekeep.trade (bot, trade_id, symbol, side, closed_at, pnl) VALUES ('again', '%s', 'A', 'LONG', '2024-12-28Z', 5);\n";
for my $way ("SAVEPOINT a;\n%sROLLBACK TO a;\n%s", "SAVEPOINT a;\n%sROLLBACK TO a;\nRELEASE a;\n%s", "SAVEPOINT a;\nSAVEPOINT b;\n%sRELEASE b;\nROLLBACK TO a;\n%s", "%sSAVEPOINT a;\n${settle}ROLLBACK TO a;\n%s", "%sSAVEPOINT a;\n${settle}RELEASE a;\n%s",
	"SAVEPOINT a;\n%sRELEASE a;\nSAVEPOINT b;\n${settle}ROLLBACK TO b;\n%s", "%sSAVEPOINT a;\nTRUNCATE tradekeep.trade;\nROLLBACK TO a;\n%s", "%sTRUNCATE tradekeep.trade;\n%s")
{
	my $transaction = sprintf $way, sprintf($again, 'one'), sprintf($again, 'two');
	is(sql("BEGIN;\n${transaction}${wrong}COMMIT;\n$wrong$settle$wrong" . "DELETE FROM tradekeep.trade WHERE bot = 'again'"), '', 'one after the other: ' . join ' ', $transaction =~ /^(?:[A-Z]+ TO|[A-Z]+) (?:\w+)(?=;)|^(?:INSERT|CALL|TRUNCATE)/mg);
}
sql('TRUNCATE tradekeep.trade;' . trades('cursor', 40, 1) . sprintf($again, 'X') =~ s/'A'/'X'/r . $settle);
is(sql("SET plan_cache_mode = force_generic_plan;\nPREPARE s AS SELECT trades FROM tradekeep.trade_stats(symbol => \$1, at => \$2);\nEXECUTE s('X', '2025-06-01Z');\nEXECUTE s('S1', '2025-06-01Z');\nDELETE FROM tradekeep.trade WHERE symbol = 'X';\nEXECUTE s('X', '2025-06-01Z');\n"), "1\n14\n0", 'prepared statements');

# Names that others use.
sql(<<'SQL');
CREATE SCHEMA trap;
CREATE FUNCTION trap.sprung(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.sprung(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.sprung(numeric, numeric) RETURNS numeric LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.sprung_too(numeric, numeric) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
DO $$
DECLARE
	operator text;
	type text;
BEGIN
	FOREACH operator IN ARRAY '{=,<>,<,<=,>,>=}'::text[] LOOP
		FOREACH type IN ARRAY '{text,timestamptz}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = %s, RIGHTARG = %2$s, FUNCTION = trap.sprung)', operator, type);
		END LOOP;
		EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = trap.sprung_too)', operator);
	END LOOP;
	FOREACH operator IN ARRAY '{+,-,*,/}'::text[] LOOP
		EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = trap.sprung)', operator);
	END LOOP;
END
$$;
CREATE FUNCTION trap.sum(numeric) RETURNS numeric LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.min(timestamptz) RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.trim_scale(numeric) RETURNS numeric LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.octet_length(text) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE TABLE trap.trade (LIKE tradekeep.trade);
CREATE TABLE trap.trade_mark (LIKE tradekeep.trade_mark);
CREATE TABLE trap.trade_span (LIKE tradekeep.trade_span);
CREATE TABLE trap.symbol_lock (LIKE tradekeep.symbol_lock);
SQL
my $calls = <<'SQL';
SELECT tradekeep.add_trade('t1', 's', 'X', 'LONG', 1, 100, 110, closed_at => '2025-01-05Z', bot => 'trap');
SELECT tradekeep.add_trade('t1', 's', 'X', 'LONG', 1, 100, 110, closed_at => '2025-01-05Z', bot => 'trap');
SELECT tradekeep.add_trade('t1', 's', 'X', 'LONG', 1, 100, 120, closed_at => '2025-01-05Z', bot => 'trap', replace => true);
SELECT tradekeep.add_trade('{"trade_id": "t2", "symbol": "X", "side": "LONG", "quantity": 1, "entry_price": 5, "bot": "trap"}');
SELECT tradekeep.close_trade('t2', 7, '2025-01-06Z', bot => 'trap');
SELECT count(*) FROM tradekeep.open_trades();
SELECT tradekeep.trade_stats(), tradekeep.trade_stats('1 year', 'X', 's', 'trap', 1000), tradekeep.trade_report('1 year', starting_balance => 100);
SELECT count(*) FROM tradekeep.stats_by('symbol'), tradekeep.stats_by('hour', '1 year') AS hour, tradekeep.top_symbols(), tradekeep.daily_pnl(), tradekeep.equity_curve(5), tradekeep.trade_stats_cache, tradekeep.verify_trade_stats();
SELECT tradekeep.settle_trade_stats(), tradekeep.rebuild_trade_stats();
CALL tradekeep.settle_trades();
SELECT tradekeep.trade_stats(), count(*) FROM tradekeep.verify_trade_stats();
SELECT tradekeep.lock_symbol('BTC', 'LONG', '2150-01-01Z'), tradekeep.symbol_locked('BTC'), tradekeep.unlock_symbol('BTC'), count(*) FROM tradekeep.live_symbol_locks;
SELECT tradekeep.trade_summary(closed_at, trade_id, pnl) FROM tradekeep.trade;
SELECT tradekeep.calculate_pnl('LONG', 1, 2, 3);
SQL
is(sqlstate("SET search_path = trap, pg_catalog, pg_temp;\n$calls"), 'none', 'a hostile search_path');
is(sql(stats('trap') . 'SELECT (SELECT count(*) FROM trap.trade) + (SELECT count(*) FROM trap.trade_mark) + (SELECT count(*) FROM trap.trade_span);' . $wrong), "2|2|22|0\n0", 'changes nothing');
is(sqlstate("CREATE TEMP TABLE trade (LIKE tradekeep.trade);\nCREATE TEMP TABLE trade_mark (LIKE tradekeep.trade_mark);\nCREATE TEMP TABLE trade_span (LIKE tradekeep.trade_span);\nCREATE TEMP TABLE symbol_lock (LIKE tradekeep.symbol_lock);\n"
	  . "CREATE TEMP TABLE arrived (LIKE tradekeep.trade);\nDELETE FROM tradekeep.trade WHERE bot = 'trap';\n$calls" . "DO \$\$BEGIN ASSERT (SELECT count(*) = 0 FROM pg_temp.trade) AND (SELECT count(*) = 0 FROM pg_temp.trade_mark); END\$\$;"), 'none', 'temporary tables of the same names');
is(sql($wrong), '', 'neither do they');

# Roles.
sql(<<'SQL');
CREATE ROLE nobody LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE writer LOGIN; CREATE ROLE admin LOGIN; CREATE ROLE inserter LOGIN; CREATE ROLE updater LOGIN; CREATE ROLE deleter LOGIN;
SELECT tradekeep.grant_access(r, r::text) FROM unnest('{reader,writer,admin}'::name[]) AS r;
SELECT tradekeep.grant_access(r, 'reader') FROM unnest('{inserter,updater,deleter}'::name[]) AS r;
GRANT INSERT (bot, trade_id, strategy, symbol, side, closed_at, pnl) ON tradekeep.trade TO inserter;
GRANT UPDATE (pnl) ON tradekeep.trade TO updater;
GRANT DELETE ON tradekeep.trade TO deleter;
SQL
my %level = (
	'SELECT tradekeep.trade_stats()' => 1, "SELECT tradekeep.stats_by('symbol')" => 1, 'SELECT tradekeep.top_symbols()' => 1, 'SELECT tradekeep.daily_pnl()' => 1, 'SELECT tradekeep.equity_curve()' => 1, 'SELECT tradekeep.trade_report()' => 1,
	'SELECT * FROM tradekeep.trade_stats_cache' => 1, 'SELECT tradekeep.verify_trade_stats()' => 1, 'SELECT tradekeep.open_trades()' => 1, "SELECT tradekeep.symbol_locked('X')" => 1, 'SELECT * FROM tradekeep.live_symbol_locks' => 1,
	"SELECT tradekeep.calculate_pnl('LONG', 1, 2, 3)" => 1, 'SELECT tradekeep.trade_summary(closed_at, trade_id, pnl) FROM tradekeep.trade' => 1, 'SELECT count(*) FROM tradekeep.trade' => 1,
	"SELECT tradekeep.add_trade('r', 's', 'X', 'LONG', 1, 1, 2, closed_at => '2025-01-01Z', replace => true)" => 2, "SELECT tradekeep.add_trade('{\"trade_id\": \"j\", \"symbol\": \"X\", \"side\": \"LONG\"}')" => 2, "SELECT tradekeep.close_trade('j', 1) FROM tradekeep.trade WHERE false" => 2,
	'SELECT tradekeep.settle_trade_stats()' => 2, 'CALL tradekeep.settle_trades()' => 2, "SELECT tradekeep.lock_symbol('X', NULL, '2150-01-01Z')" => 2, "SELECT tradekeep.unlock_symbol('X')" => 2, "DELETE FROM tradekeep.trade WHERE trade_id = 'r'" => 2,
	'UPDATE tradekeep.trade SET pnl = pnl + 1' => 2, 'DELETE FROM tradekeep.symbol_lock' => 2, 'SELECT tradekeep.rebuild_trade_stats()' => 3, 'TRUNCATE tradekeep.trade' => 3,
	# Nobody's.
	'DELETE FROM tradekeep.trade_mark' => 4, 'INSERT INTO tradekeep.trade_mark VALUES (now())' => 4, 'DELETE FROM tradekeep.trade_span' => 4, 'UPDATE tradekeep.trade_span SET wins = 0' => 4, 'TRUNCATE tradekeep.trade_span' => 4,
	'ALTER TABLE tradekeep.trade DISABLE TRIGGER mark_inserted' => 4, 'TRUNCATE tradekeep.trade_mark' => 4,
	'CREATE TRIGGER mine AFTER INSERT ON tradekeep.trade FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.mark_trades()' => 4);
my @roles = qw(nobody reader writer admin);
for my $call (sort { $level{$a} <=> $level{$b} || $a cmp $b } keys %level)
{
	is(join(' ', map { as($_, $call) } @roles), join(' ', map { $_ >= $level{$call} ? 'none' : '42501' } 0 .. 3), $call);
}
sql('TRUNCATE tradekeep.trade');
is(as('inserter', trades('roles', 30, 'n % 4 - 1') =~ s/;\n\z//r), 'none', 'who may only insert');
is(sql(stats('roles') . $settle . $wrong), '30|15|15|1', 'leaves marks, as all do');
is(as('updater', 'UPDATE tradekeep.trade SET pnl = pnl - 1'), 'none', 'who may only update');
is(as('deleter', "DELETE FROM tradekeep.trade WHERE closed_at < '2024-12-25Z'"), 'none', 'who may only delete');
is(sql("SET ROLE writer;\n$settle" . stats('roles')), '26|6|-13|13', 'a writer settles');
is(sql($wrong), '', 'statistics are exact for the owner');

# Row security: who sees some of the trades has the statistics of these, settled or not.
sql(<<'SQL' . trades('mine', 40, 'n % 3 - 1') . trades('other', 40, 'n') . $settle . "UPDATE tradekeep.trade SET pnl = pnl + 2 WHERE trade_id = '20'");
ALTER TABLE tradekeep.trade ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tradekeep.trade TO reader, writer USING (bot = 'mine');
GRANT USAGE ON SCHEMA reference TO reader, writer;
SQL
for my $again ('marked', 'settled')
{
	for my $role ('reader', 'writer')
	{
		is(sql("SET ROLE $role;\n" . $wrong =~ s/wrong\(12\)/ask(20)/r), '', "row security: statistics of what a $role sees, $again");
		is(sql("SET ROLE $role;\nSELECT trades, total_pnl FROM tradekeep.trade_stats(at => '2025-06-01Z'); SELECT sum(trades), sum(pnl) FROM tradekeep.daily_pnl(); SELECT string_agg(value, ',') FROM tradekeep.stats_by('bot'); SELECT sum(trades) FROM tradekeep.top_symbols()"), "40|2\n40|2\nmine\n40", "row security: and no others, $again ($role)");
	}
	is(sql($wrong), '', "row security: the owner sees all, $again");
	sql($settle);
}
is(as('writer', "INSERT INTO tradekeep.trade (bot, trade_id, symbol, side, closed_at, pnl) VALUES ('other', 'no', 'X', 'LONG', '2025-01-01Z', 1)"), '42501', 'row security: a writer has no say in others');
is(as('writer', 'UPDATE tradekeep.trade SET pnl = pnl + 1'), 'none', 'row security: but in what he sees');
is(sql($wrong . "SET ROLE writer;\n$settle" . "RESET ROLE;\n$wrong"), '', 'row security: he settles all');
sql('ALTER TABLE tradekeep.trade FORCE ROW LEVEL SECURITY');
is(sql("UPDATE tradekeep.trade SET pnl = pnl + 1;\n$settle$wrong"), '', 'row security: forced upon the owner');
sql('ALTER TABLE tradekeep.trade NO FORCE ROW LEVEL SECURITY; ALTER TABLE tradekeep.trade DISABLE ROW LEVEL SECURITY; DROP POLICY own ON tradekeep.trade');
is(sql("SET ROLE reader;\n" . $wrong), '', 'without it a reader sees all');

# A transaction that is prepared.
sql('TRUNCATE tradekeep.trade;' . trades('prepared', 30, 1) . $settle);
sql("BEGIN;\nUPDATE tradekeep.trade SET pnl = 5, closed_at = closed_at - interval '40 days' WHERE trade_id = '17';\nSAVEPOINT a;\nDELETE FROM tradekeep.trade;\nROLLBACK TO a;\nPREPARE TRANSACTION 'trades'");
is(sql(stats('prepared') . $settle . $wrong), '30|30|30|0', 'prepared: nothing is to be seen');
$node->restart;
is(sql($settle . $wrong . "COMMIT PREPARED 'trades';\n" . stats('prepared') . $wrong . $settle . $wrong), '30|30|34|0', 'prepared: after a restart it is');
sql("UPDATE tradekeep.trade SET pnl = 7 WHERE trade_id IN ('3', '5');\nBEGIN;\n${settle}PREPARE TRANSACTION 'settled'");
is(sqlstate("SET lock_timeout = 100;\n$settle"), '55P03', 'prepared: who settles keeps others from it');
is(sql("SET lock_timeout = '1s';\nUPDATE tradekeep.trade SET pnl = 8 WHERE trade_id = '4';\n" . stats('prepared') . $wrong), '30|30|53|0', 'prepared: and nobody from writing and reading');
is(sql("COMMIT PREPARED 'settled';\n$wrong$settle$wrong"), '', 'prepared: then it is settled');
sql("DELETE FROM tradekeep.trade WHERE trade_id = '9';\nBEGIN;\n${settle}PREPARE TRANSACTION 'settled'");
is(sql("ROLLBACK PREPARED 'settled';\n$wrong$settle$wrong"), '', 'prepared: or is not');
is(sqlstate("BEGIN;\nTRUNCATE tradekeep.trade;\nPREPARE TRANSACTION 'truncated'"), 'none', 'prepared: TRUNCATE');
is(sqlstate("SET lock_timeout = 100;\nSELECT tradekeep.trade_stats()"), '55P03', 'prepared: holds all up');
is(sql("ROLLBACK PREPARED 'truncated';\n$wrong"), '', 'prepared: taken back');

# Another database has nothing to do with it.
$node->safe_psql('postgres', 'CREATE DATABASE other');
is(sql("CREATE EXTENSION tradekeep;\n" . stats('prepared') . trades('other', 3, 1) . $settle . stats('other'), 'other'), "0|0||\n3|3|3|0", 'another database has trades of its own');
is(sql(stats('other') . $wrong), '0|0||', 'which nobody else has');

# In the role of a replica and by replication. What is there and what comes later is marked by who receives it.
sql("SET session_replication_role = replica;\nUPDATE tradekeep.trade SET pnl = pnl + 1 WHERE trade_id > '2';\nDELETE FROM tradekeep.trade WHERE trade_id = '11';\n" . trades('role', 5, 2));
is(sql($wrong . $settle . $wrong), '', 'in the role of a replica: exact');
$node->safe_psql('postgres', 'CREATE DATABASE subscriber');
sql("CREATE EXTENSION tradekeep;\n$TradeOracle::sql;\nCREATE TABLE marker (n int PRIMARY KEY)", 'subscriber');
sql("CREATE TABLE marker (n int PRIMARY KEY);\nTRUNCATE tradekeep.trade;\n" . trades('early', 40, 'n % 7 - 3')
	  . "CREATE PUBLICATION trades FOR TABLE tradekeep.trade, tradekeep.symbol_lock, marker;\nSELECT pg_create_logical_replication_slot('trades', 'pgoutput')");
sql(sprintf("CREATE SUBSCRIPTION trades CONNECTION '%s' PUBLICATION trades WITH (create_slot = false, slot_name = 'trades')", $node->connstr('postgres') =~ s/'/''/gr), 'subscriber');
my $marker = 0;
sub in_step
{
	my ($name) = @_;
	++$marker;
	sql("INSERT INTO marker VALUES ($marker)");
	ok($node->poll_query_until('subscriber', "SELECT count(*) = 1 FROM marker WHERE n = $marker"), "replication: $name");
	is(sql($wrong, 'subscriber'), '', "replication: $name: statistics are exact");
	is(sql("SELECT * FROM tradekeep.trade ORDER BY bot, trade_id; SELECT * FROM tradekeep.trade_stats(at => '2025-06-01Z'); SELECT symbol FROM tradekeep.symbol_lock", 'subscriber'),
		sql("SELECT * FROM tradekeep.trade ORDER BY bot, trade_id; SELECT * FROM tradekeep.trade_stats(at => '2025-06-01Z'); SELECT symbol FROM tradekeep.symbol_lock"), "replication: $name: and the same");
	return;
}
ok($node->poll_query_until('subscriber', "SELECT count(*) = 3 FROM pg_subscription_rel WHERE srsubstate = 'r'"), 'replication: every table is in step');
in_step('what was there');
sql($settle, 'subscriber');
sql(trades('late', 30, 'n') . "SELECT tradekeep.lock_symbol('BTC', NULL, '2150-01-01Z')");
in_step('new trades');
sql($settle, 'subscriber');
sql("UPDATE tradekeep.trade SET pnl = pnl + 3 WHERE trade_id IN ('3', '4');\nUPDATE tradekeep.trade SET closed_at = closed_at - interval '3 days', symbol = 'moved' WHERE trade_id = '12';\nUPDATE tradekeep.trade SET trade_id = 'renamed' WHERE trade_id = '13' AND bot = 'late';\n"
	  . "UPDATE tradekeep.trade SET closed_at = NULL, pnl = NULL WHERE trade_id = '21' AND bot = 'early'");
in_step('changed ones');
sql($settle, 'subscriber');
sql("DELETE FROM tradekeep.trade WHERE trade_id IN ('1', '20', '30');\nBEGIN;\nDELETE FROM tradekeep.trade;\nROLLBACK");
in_step('deleted ones');
sql($settle, 'subscriber');
sql("TRUNCATE tradekeep.trade;\n" . trades('after', 10, 1));
in_step('TRUNCATE');
sql('ALTER SUBSCRIPTION trades SET (streaming = on, binary = true)', 'subscriber');
sql($settle, 'subscriber');
sql(trades('many', 20000, 'n % 9 - 4') =~ s/1 day/1 min/r);
in_step('many in one transaction');
sql('DROP SUBSCRIPTION trades', 'subscriber');
sql('TRUNCATE tradekeep.trade');

# Without the library preloaded all is the same, but for the worker.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is(sql(trades('bare', 40, 'n % 5 - 2') . $wrong . $settle . $wrong . "UPDATE tradekeep.trade SET pnl = -pnl WHERE trade_id > '3';\nDELETE FROM tradekeep.trade WHERE trade_id = '30';\n$wrong$settle$wrong"), '', 'not preloaded: statistics are exact');
is(sql("SELECT tradekeep.lock_symbol('BTC', NULL, '2160-01-01Z'), tradekeep.symbol_locked('BTC')"), 't|t', 'not preloaded: locks hold');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'and the server is well');

$node->stop;
done_testing();
