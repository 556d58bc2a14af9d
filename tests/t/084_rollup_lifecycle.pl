# Rollups where the world around them changes: extensions that come and go, databases, settings, roles,
# triggers of others, replication, transactions that are prepared.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('rollup_lifecycle', allows_streaming => 'logical');
$node->append_conf('postgresql.conf', <<'CONF');
tradekeep.sweep = off
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
	my ($sql, $server, $database) = @_;
	my ($status, $out, $err) = ($server // $node)->psql($database // 'postgres', "\\set VERBOSITY sqlstate\n$sql", on_error_stop => 1);
	return $err =~ /ERROR:  (\w+)/ ? $1 : 'none';
}

# Minutes of a symbol in SQL, and what is derived of them in short.
sub minutes
{
	my ($symbol, $first, $last, $price) = @_;
	return "INSERT INTO tradekeep.candle (symbol, timeframe, ts, open, high, low, close, volume)"
	  . " SELECT '$symbol', '1m', timestamptz '2026-01-01 00:00Z' + m * interval '1 min', $price, $price, $price, $price, 1"
	  . " FROM generate_series($first, $last) AS m;\n";
}

sub derived
{
	my ($symbol) = @_;
	return "SELECT string_agg(concat_ws(' ', timeframe, to_char(ts AT TIME ZONE 'UTC', 'HH24:MI'), high, volume, sources, closed), ', ' ORDER BY timeframe, ts)"
	  . " FROM tradekeep.candle WHERE symbol = '$symbol' AND sources IS NOT NULL;\n";
}

my $verify = "SELECT count(*) FROM tradekeep.verify_rollups();\n";
my $rollups = "SELECT tradekeep.add_rollup('1m', '5m') \\g /dev/null\nSELECT tradekeep.add_rollup('5m', '15m') \\g /dev/null\n";
my $base = "CREATE EXTENSION tradekeep;\n$rollups";

sql($base);
is(sql(minutes('first', 0, 6, 1) . derived('first') . $verify),
	"5m 00:00 1 5 5 t, 5m 00:05 1 2 2 f, 15m 00:00 1 7 2 f\n0", 'candles are derived');

# The session itself and another one turn everything over; plans, Oids and triggers are new after it.
my @upheavals = (
	'REINDEX TABLE tradekeep.candle', 'VACUUM FULL tradekeep.candle', 'VACUUM FULL tradekeep.rollup; VACUUM FULL tradekeep.candle_horizon',
	'ALTER TABLE tradekeep.candle ADD COLUMN note text', 'ALTER TABLE tradekeep.candle_horizon ADD COLUMN note text', 'TRUNCATE tradekeep.candle',
	"SELECT tradekeep.drop_rollup('15m') \\g /dev/null\nSELECT tradekeep.drop_rollup('5m') \\g /dev/null\n$rollups",
	"DROP EXTENSION tradekeep CASCADE; $base", "BEGIN; DROP EXTENSION tradekeep CASCADE; $base COMMIT");
for my $who ('itself', 'another')
{
	my $script = '';
	for my $i (0 .. $#upheavals)
	{
		(my $upheaval = "$upheavals[$i];\n") =~ s/; /;\n/g;
		if ($who eq 'another')
		{
			my $file = "$PostgreSQL::Test::Utils::tmp_check/rollup_upheaval$i.sql";
			append_to_file($file, $upheaval);
			$upheaval = sprintf "\\! psql -XAtq -v ON_ERROR_STOP=1 -d \"%s\" -f \"%s\"\n", $node->connstr('postgres'), $file;
		}
		$script .= $upheaval . minutes("$who$i", 0, 4, 1) . "UPDATE tradekeep.candle SET high = 3 WHERE symbol = '$who$i' AND timeframe = '1m';\n"
		  . "DELETE FROM tradekeep.candle WHERE symbol = '$who$i' AND timeframe = '15m';\n" . derived("$who$i") . $verify;
	}
	my @answers = split /\n/, sql($script);
	is("$answers[2 * $_] $answers[2 * $_ + 1]", '5m 00:00 3 5 5 t, 15m 00:00 3 5 1 f 0', "$who: $upheavals[$_]") for 0 .. $#upheavals;
}
is(sql("SELECT count(*) FROM pg_trigger WHERE tgname ~ '^roll_'"), '4', 'the triggers are there');
sql("SELECT tradekeep.drop_rollup('15m'), tradekeep.drop_rollup('5m')");
is(sql("SELECT count(*) FROM pg_trigger WHERE tgname ~ '^roll_'"), '0', 'and go with the last rollup');
sql($rollups);

# Another database has nothing to do with them.
$node->safe_psql('postgres', 'CREATE DATABASE other');
sql('CREATE EXTENSION tradekeep', 'other');
is(sql(minutes('x', 0, 4, 1) . 'SELECT count(*) FROM tradekeep.candle', 'other'), '5', 'another database derives nothing');
is(sql("SELECT tradekeep.add_rollup('1m', '1h');" . derived('x'), 'other'), "t\n1h 00:00 1 5 5 f", 'or something else');

# Reads are reads.
my %writes = (
	"SELECT tradekeep.add_rollup('1m', '1h')" => 1, "SELECT tradekeep.drop_rollup('15m')" => 1,
	"SELECT tradekeep.derive_candles('5m', 'first', '-infinity', 'infinity')" => 1, 'CALL tradekeep.rebuild_rollups()' => 1,
	"SELECT tradekeep.cleanup_old_candles('1 d')" => 1, "DELETE FROM tradekeep.candle" => 1,
	"SELECT tradekeep.verify_rollups()" => 0, "SELECT * FROM tradekeep.rollup_status" => 0,
	"SELECT tradekeep.candlestick(ts, open, high, low, close, volume) FROM tradekeep.candle" => 0);
is(sqlstate("SET default_transaction_read_only = on;\n$_"), $writes{$_} ? '25006' : 'none', "read only: $_") for sort keys %writes;
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('rollup_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
sql(minutes('standby', 0, 4, 1));
$node->wait_for_catchup($standby);
is(sqlstate($_, $standby), $writes{$_} ? '25006' : 'none', "standby: $_") for sort keys %writes;
is($standby->safe_psql('postgres', derived('standby') . $verify), "5m 00:00 1 5 5 t, 15m 00:00 1 5 1 f\n0", 'standby: what is derived is there');
$standby->promote;
is($standby->safe_psql('postgres', minutes('standby', 5, 9, 2) . derived('standby') . $verify),
	"5m 00:00 1 5 5 t, 5m 00:05 2 5 5 t, 15m 00:00 2 10 2 f\n0", 'promoted, it goes on deriving');
$standby->stop;

# What stands in the caller's search_path is not used.
sql(<<'SQL');
CREATE SCHEMA trap;
CREATE FUNCTION trap.sprung(tradekeep.timeframe, tradekeep.timeframe) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.sprung(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.sprung(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
DO $$
DECLARE
	operator text;
	type text;
BEGIN
	FOREACH operator IN ARRAY '{=,<>,<,<=,>,>=}'::text[] LOOP
		FOREACH type IN ARRAY '{tradekeep.timeframe,text,timestamptz}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = %s, RIGHTARG = %2$s, FUNCTION = trap.sprung)', operator, type);
		END LOOP;
	END LOOP;
END
$$;
CREATE FUNCTION trap.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.greatest(timestamptz, timestamptz) RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;

SQL
sql(<<'SQL');
CREATE TABLE trap.candle (LIKE tradekeep.candle);
CREATE TABLE trap.rollup (LIKE tradekeep.rollup);
SQL
my $path = "SET search_path = trap, pg_catalog, pg_temp;\n";
is(sqlstate($path . minutes('trap', 0, 9, 1)
	  . "UPDATE tradekeep.candle SET high = 4, close = 4 WHERE tradekeep.candle_start('1h', ts) IS NOT NULL;\n"
	  . "SELECT tradekeep.add_rollup('15m', '1h');\nSELECT tradekeep.drop_rollup('1h');\nCALL tradekeep.rebuild_rollups();\nCALL tradekeep.rebuild_rollups('5m');\n"
	  . "SELECT tradekeep.verify_rollups();\nSELECT * FROM tradekeep.rollup_status;\nSELECT tradekeep.cleanup_old_candles('20 years');\n"
	  . "SET tradekeep.retention = on;\nDELETE FROM tradekeep.candle WHERE ctid IS NOT NULL AND volume IS NULL;\nRESET tradekeep.retention;"), 'none', 'a hostile search_path');
is(sql(derived('trap') . $verify . 'SELECT count(*) FROM trap.candle'), "5m 00:00 4 5 5 t, 5m 00:05 4 5 5 t, 15m 00:00 4 10 2 f\n0\n0", 'changes nothing');
# Operators that a session cannot get around in plain SQL are only in its own statements.
is(sqlstate("CREATE TEMP TABLE rollup (LIKE tradekeep.rollup);\nCREATE TEMP TABLE candle (LIKE tradekeep.candle);\nCREATE TEMP TABLE arrived (LIKE tradekeep.candle);\n"
	  . minutes('temp', 0, 9, 1) . "DO \$\$BEGIN ASSERT (SELECT count(*) = 2 FROM tradekeep.candle WHERE symbol = 'temp' AND timeframe = '5m'); END\$\$;"), 'none', 'temporary tables of the same names');

# Roles: readers with one right on candles each.
sql(<<'SQL');
CREATE ROLE inserter LOGIN; CREATE ROLE updater LOGIN; CREATE ROLE deleter LOGIN; CREATE ROLE writer LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE admin LOGIN;
SELECT tradekeep.grant_access(r, 'reader') FROM unnest('{inserter,updater,deleter}'::name[]) AS r;
GRANT INSERT ON tradekeep.candle TO inserter;
GRANT UPDATE ON tradekeep.candle TO updater;
GRANT DELETE ON tradekeep.candle TO deleter;
SELECT tradekeep.grant_access('writer', 'writer'), tradekeep.grant_access('reader', 'reader'), tradekeep.grant_access('admin', 'admin');
SQL
sub as
{
	my ($role, $sql) = @_;
	return sqlstate("SET ROLE $role;\n$sql");
}
is(as('inserter', minutes('roles', 0, 6, 1)), 'none', 'who may only insert');
is(as('updater', "UPDATE tradekeep.candle SET high = 7, close = 7 WHERE symbol = 'roles' AND timeframe = '1m';"), 'none', 'only update');
is(sql(derived('roles') . $verify), "5m 00:00 7 5 5 t, 5m 00:05 7 2 2 f, 15m 00:00 7 7 2 f\n0", 'and all is derived');
is(as('deleter', "DELETE FROM tradekeep.candle WHERE symbol = 'roles' AND timeframe = '1m' AND ts >= '2026-01-01 00:05Z';"), 'none', 'only delete');
is(sql(derived('roles') . $verify), '5m 00:00 7 5 5 t, 15m 00:00 7 5 1 f' . "\n0", 'a derived candle without sources goes');
is(as('updater', "UPDATE tradekeep.candle SET ts = ts + interval '1 h' WHERE symbol = 'roles' AND timeframe = '1m';"), 'none', 'candles move');
is(sql(derived('roles') . $verify), '5m 01:00 7 5 5 t, 15m 01:00 7 5 1 f' . "\n0", 'and the derived ones with them');
is(as('writer', "SELECT tradekeep.upsert_candles('roles', '1m', '[[1767225600000, 1, 2, 1, 2, 3]]');"), 'none', 'a writer');
for my $call ("add_rollup('1m', '1h')", "drop_rollup('15m')", "derive_candles('5m', 'x', '-infinity', 'infinity')", "continue_build('5m', 1)", "keep_frozen('5m', '{a}', '{2026-01-01Z}', '{t}', '{1}')",
	"cleanup_old_candles('1 d')")
{
	is(as('writer', "SELECT tradekeep.$call;"), '42501', "a writer may not $call");
}
is(as('writer', $_), '42501', "nor $_") for 'CALL tradekeep.rebuild_rollups();', "INSERT INTO tradekeep.rollup VALUES ('1h', '5m');", 'DELETE FROM tradekeep.candle_horizon;',
  'TRUNCATE tradekeep.candle;', "INSERT INTO tradekeep.rollup_build (target) VALUES ('1h');";
is(as('reader', $_), 'none', "a reader may $_") for 'SELECT tradekeep.verify_rollups();', 'SELECT * FROM tradekeep.rollup_status;',
  "SELECT tradekeep.candlestick(ts, open, volume) FROM tradekeep.candle;";
is(as('admin', "SELECT tradekeep.add_rollup('1m', '1h'), tradekeep.drop_rollup('1h');\nCALL tradekeep.rebuild_rollups();\nSELECT tradekeep.add_rollup('1m', '1h', '1 min');"
	  . "SELECT tradekeep.cleanup_old_candles('50 years');\nINSERT INTO tradekeep.rollup VALUES ('4h', '1h');\nUPDATE tradekeep.rollup SET grace = '1 h' WHERE target = '4h';\nDELETE FROM tradekeep.rollup WHERE target = '4h';\n"
	  . "SELECT tradekeep.drop_rollup('1h');\nTRUNCATE tradekeep.candle;"), 'none', 'an admin may all of it');

# Rows that a writer must not see or touch are derived from all the same.
sql(<<'SQL');
ALTER TABLE tradekeep.candle ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tradekeep.candle TO writer USING (symbol = 'rls' AND sources IS NULL);
SQL
is(as('writer', minutes('rls', 0, 4, 1)), 'none', 'row level security lets own rows in');
is(as('writer', minutes('not', 0, 4, 1)), '42501', 'and no others');
is(as('writer', "UPDATE tradekeep.candle SET high = 5;\nDELETE FROM tradekeep.candle WHERE timeframe > '1m';"), 'none', 'what it hides cannot be changed');
is(sql(derived('rls') . $verify), "5m 00:00 5 5 5 t, 15m 00:00 5 5 1 f\n0", 'and is derived');
sql('DROP POLICY own ON tradekeep.candle; ALTER TABLE tradekeep.candle DISABLE ROW LEVEL SECURITY');

# A transaction that is prepared keeps its candles, and its place in the queue.
sql("BEGIN;\n" . minutes('prepared', 0, 4, 1) . "PREPARE TRANSACTION 'rollups'");
is(sql(derived('prepared')), '', 'prepared: nothing is to be seen');
is(sqlstate("SET lock_timeout = 100;\n" . minutes('prepared', 5, 5, 1)), '55P03', 'prepared: the next one waits');
$node->restart;
is(sqlstate("SET lock_timeout = 100;\n" . minutes('prepared', 5, 5, 1)), '55P03', 'prepared: even after a restart');
sql("COMMIT PREPARED 'rollups'");
is(sql(minutes('prepared', 5, 5, 1) . derived('prepared') . $verify), "5m 00:00 1 5 5 t, 5m 00:05 1 1 1 f, 15m 00:00 1 6 2 f\n0", 'prepared: then it goes on');

# An error in the middle of a cascade leaves nothing behind in the session.
sql(<<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = 'TT001'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON tradekeep.candle FOR EACH ROW WHEN (NEW.timeframe = '15m' AND NEW.symbol = 'refused') EXECUTE FUNCTION refuse();
SQL
(my $insert = minutes('refused', 0, 4, 1)) =~ s/\n//;
is(sql("DO \$\$BEGIN $insert EXCEPTION WHEN SQLSTATE 'TT001' THEN NULL; END\$\$;\n"
	  . minutes('after', 0, 4, 1) . "DELETE FROM tradekeep.candle WHERE symbol = 'after' AND timeframe > '1m';\n" . derived('after') . derived('refused') . "SHOW search_path;\nSELECT current_user = session_user;\n" . $verify),
	"5m 00:00 1 5 5 t, 15m 00:00 1 5 1 f\n\n\"\$user\", public\nt\n0", 'a statement that failed is forgotten');
is(sqlstate(minutes('refused', 0, 4, 1)), 'TT001', 'who wrote it gets the error');

# What a trigger of others does to derived candles while these are written does not stand; when it never ends,
# the statement does.
sql(<<'SQL');
DROP TRIGGER refuse ON tradekeep.candle;
CREATE SEQUENCE meddled;
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('public.meddled') <= current_setting('test.meddle')::int THEN
		DELETE FROM tradekeep.candle WHERE symbol = 'meddled' AND timeframe = '5m' AND ts = '2026-01-01 00:00Z';
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER meddle AFTER INSERT ON tradekeep.candle FOR EACH ROW WHEN (NEW.timeframe = '5m' AND NEW.symbol = 'meddled') EXECUTE FUNCTION meddle();
SQL
is(sql("SET test.meddle = 5;\n" . minutes('meddled', 0, 9, 1) . derived('meddled') . $verify),
	"5m 00:00 1 5 5 t, 5m 00:05 1 5 5 t, 15m 00:00 1 10 2 f\n0", 'a meddling trigger');
unlike(sqlstate("SET statement_timeout = '10s';\nSET test.meddle = 1000000;\nDELETE FROM tradekeep.candle WHERE symbol = 'meddled';\n" . minutes('meddled', 0, 9, 1)),
	qr/^(57014|none)$/, 'one that does not cease is stopped');
sql('DROP TRIGGER meddle ON tradekeep.candle');

# Replication brings derived candles along; there they are not derived again, and later writes there are.
$node->safe_psql('postgres', 'CREATE DATABASE subscriber');
sql("$base CREATE TABLE marker (n int PRIMARY KEY)", 'subscriber');
sql("CREATE TABLE marker (n int PRIMARY KEY);\nTRUNCATE tradekeep.candle;\n" . minutes('early', 0, 6, 1)
	  . "CREATE PUBLICATION candles FOR TABLE tradekeep.candle, tradekeep.candle_horizon, marker;\nSELECT pg_create_logical_replication_slot('candles', 'pgoutput')");
sql(sprintf("CREATE SUBSCRIPTION candles CONNECTION '%s' PUBLICATION candles WITH (create_slot = false, slot_name = 'candles')", $node->connstr('postgres') =~ s/'/''/gr), 'subscriber');
sql(minutes('late', 0, 29, 1) . "UPDATE tradekeep.candle SET high = 9 WHERE symbol = 'early' AND timeframe = '1m';\n"
	  . "DELETE FROM tradekeep.candle WHERE symbol = 'late' AND timeframe = '1m' AND ts < '2026-01-01 00:03Z';\n"
	  . "SELECT tradekeep.upsert_candle('late', '5m', '2026-01-01 00:20Z', 1, 20, 1, 1, 1);\n"
	  . "SET tradekeep.retention = on;\nDELETE FROM tradekeep.candle WHERE symbol = 'late' AND timeframe = '1m' AND ts < '2026-01-01 00:10Z';\nINSERT INTO marker VALUES (1)");
ok($node->poll_query_until('subscriber', 'SELECT count(*) = 1 FROM marker'), 'replication goes on');
my $all = "SELECT * FROM tradekeep.candle ORDER BY symbol, timeframe, ts;\nSELECT symbol, timeframe, horizon FROM tradekeep.candle_horizon;\n";
ok($node->poll_query_until('subscriber', "SELECT count(*) = 3 FROM pg_subscription_rel WHERE srsubstate = 'r'"), 'every table is in step');
is(sql($all, 'subscriber'), sql($all), 'every candle is as it is there');
is(sql($verify, 'subscriber'), '0', 'and follows from the others');
sql('DROP SUBSCRIPTION candles', 'subscriber');
is(sql(minutes('late', 30, 34, 6) . derived('late') =~ s/AND sources/AND ts >= '2026-01-01 00:30Z' AND sources/r . $verify, 'subscriber'),
	"5m 00:30 6 5 5 t, 15m 00:30 6 5 1 f\n0", 'what is written there is derived there');

# Without the library preloaded, a session that sets retention first loads it in the middle of the statement.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
sql("TRUNCATE tradekeep.candle;\n" . minutes('bare', 0, 9, 1));
is(sql(derived('bare') . $verify), "5m 00:00 1 5 5 t, 5m 00:05 1 5 5 t, 15m 00:00 1 10 2 f\n0", 'not preloaded: derived');
sql("SET tradekeep.retention = on;\nDELETE FROM tradekeep.candle WHERE symbol = 'bare' AND timeframe = '1m' AND ts < '2026-01-01 00:05Z'");
is(sql(derived('bare') . $verify), "5m 00:00 1 5 5 t, 5m 00:05 1 5 5 t, 15m 00:00 1 10 2 f\n0", 'not preloaded: retention is no deletion');
is(sql("SET ROLE admin;\nSELECT tradekeep.cleanup_old_candles('1 min', '1m')"), '5', 'not preloaded: nor by an admin');
is(sql(derived('bare') . $verify), "5m 00:00 1 5 5 t, 5m 00:05 1 5 5 t, 15m 00:00 1 10 2 f\n0", 'not preloaded: what was derived stays');
sql(minutes('bare', 10, 10, 1) . "DELETE FROM tradekeep.candle WHERE symbol = 'bare' AND ts = '2026-01-01 00:10Z'");
is(sql(derived('bare') . $verify), "5m 00:00 1 5 5 t, 5m 00:05 1 5 5 t, 15m 00:00 1 10 2 f\n0", 'not preloaded: and a deletion is one');

$node->stop;
done_testing();
