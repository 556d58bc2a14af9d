# Dump and restore with rollups on, in every format and in every order of the tables: what was supplied
# and what is frozen comes back as it was, everything else is derived again, and nothing is there twice.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $node = Tradekeep::new_node('rollup_dump');
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', "SET client_min_messages = error;\n$sql");
}

sql(<<'SQL');
CREATE EXTENSION tradekeep;
SELECT tradekeep.add_rollup('15m', '1h', '10 min'), tradekeep.add_rollup('1m', '15m'), tradekeep.add_rollup('1h', '1d');
CREATE FUNCTION minutes(symbol text, first int, last int, price float8) RETURNS void LANGUAGE sql AS $$
	INSERT INTO tradekeep.candle (symbol, timeframe, ts, open, high, low, close, volume, closed)
	SELECT symbol, '1m', timestamptz '2026-01-01 00:00Z' + m * interval '1 min',
		price + m % 7, price + 9, price - m % 5, price + m % 3, 0.1 * (m % 11), m <> last
	FROM generate_series(first, last) AS m
$$;
CREATE FUNCTION sweep_minutes(name text, until int) RETURNS void LANGUAGE sql SET tradekeep.retention = on AS $$
	DELETE FROM tradekeep.candle AS c
	WHERE c.symbol = name AND c.timeframe = '1m' AND c.ts < timestamptz '2026-01-01 00:00Z' + until * interval '1 min'
$$;
-- All there, with a gap.
SELECT minutes('plain', 0, 1000, 10), minutes('plain', 1100, 3000, 20);
-- Swept for a while, a correction behind the horizon, and one before it, which is late.
SELECT minutes('swept', 0, 2000, 30), sweep_minutes('swept', 1440), minutes('swept', 100, 103, 1);
UPDATE tradekeep.candle SET high = 1000 WHERE symbol = 'swept' AND timeframe = '1m' AND ts = '2026-01-02 01:00Z';
-- Swept and sent again as a whole, with other prices: all of that is late.
SELECT minutes('again', 0, 200, 50), sweep_minutes('again', 180), minutes('again', 0, 179, 1);
-- Nothing is left of it, sources and derived alike; then comes what is late.
SELECT minutes('gone', 0, 200, 60), sweep_minutes('gone', 1000);
BEGIN;
SET LOCAL tradekeep.retention = on;
DELETE FROM tradekeep.candle WHERE symbol = 'gone';
COMMIT;
SELECT minutes('gone', 30, 45, 1);
-- Nothing but what is derived is left.
SELECT minutes('frozen', 0, 2999, 70), sweep_minutes('frozen', 10000);
-- Supplied bars in a target, beside derived ones and where there is no source.
SELECT minutes('supplied', 0, 300, 80);
SELECT tradekeep.upsert_candle('supplied', '15m', '2026-01-01 01:00Z', 1, 2, 0.5, 1.5, 7),
	tradekeep.upsert_candle('supplied', '15m', '2026-01-03 01:00Z', 1, 2, 0.5, 1.5, 7, false),
	tradekeep.upsert_candle('supplied', '1h', '2026-01-01 02:00Z', 1, 2, 0.5, 1.5, 7);
-- Sources made from ticks.
SELECT tradekeep.upsert_ticks('ticks', '1m', jsonb_agg(jsonb_build_array(1767225600000 + 7000 * n, n, 100 + n % 13, 0.1)), '50 years')
FROM generate_series(1, 900) AS n;
-- A rollup of which the history is not built yet.
INSERT INTO tradekeep.rollup_build (target) VALUES ('4h');
INSERT INTO tradekeep.rollup VALUES ('4h', '1h');
SQL
is(sql('SELECT count(*) FROM tradekeep.candle_horizon WHERE late > 0'), '3', 'some candles were late');
is(sql("SELECT count(*) FROM tradekeep.candle WHERE timeframe = '4h'"), '0', 'a rollup waits to be built');
is(sql("SELECT count(*) FROM tradekeep.verify_rollups() WHERE timeframe <> '4h'"), '0', 'the others are right');

# A line for each series: so one sees at once which came back in another way.
my $candles = <<'SQL';
SELECT symbol, timeframe, sources IS NULL, count(*), sum(sources), md5(string_agg(c::text, ';' ORDER BY ts))
FROM tradekeep.candle AS c WHERE timeframe <> '4h' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
SQL
my $settings = <<'SQL';
SELECT * FROM tradekeep.rollup ORDER BY target;
SELECT symbol, timeframe, horizon FROM tradekeep.candle_horizon ORDER BY symbol, timeframe;
SELECT symbol, timeframe FROM tradekeep.candle_horizon WHERE late > 0 ORDER BY symbol, timeframe;
SQL
my $candles_before = sql($candles);
my $settings_before = sql($settings);
like($candles_before, qr/^supplied\|15m\|f\|.*\nsupplied\|15m\|t\|2\|/m, 'supplied and derived bars stand side by side');
like($candles_before, qr/^frozen\|15m\|/m, 'there are frozen ones');
unlike($candles_before, qr/^frozen\|1m|^gone\|15m/m, 'of which the sources are gone');

my $now_built = <<'SQL';
SELECT count(*), (SELECT count(*) FROM tradekeep.rollup_build), EXISTS (SELECT FROM tradekeep.candle WHERE timeframe = '4h' AND symbol = 'plain')
FROM tradekeep.verify_rollups()
SQL
my $go_on = <<'SQL';
INSERT INTO tradekeep.candle SELECT 'new', '1m', timestamptz '2026-02-01 00:00Z' + m * interval '1 min', 1, 1, 1, 1, 1 FROM generate_series(0, 14) AS m;
SELECT timeframe, sources, closed FROM tradekeep.candle WHERE symbol = 'new' AND timeframe > '1m' AND volume = 15 ORDER BY timeframe;
UPDATE tradekeep.candle SET high = 5000 WHERE symbol IN ('again', 'swept') AND timeframe = '1m' AND ts < '2026-01-01 02:00Z';
SELECT max(high) < 1000 FROM tradekeep.candle WHERE symbol IN ('again', 'swept') AND timeframe > '1m' AND ts < '2026-01-01 02:00Z';
UPDATE tradekeep.candle SET high = 6000 WHERE symbol = 'swept' AND timeframe = '1m' AND ts = '2026-01-02 06:40Z';
SELECT string_agg(timeframe || ' ' || high, ' ' ORDER BY timeframe) FROM tradekeep.candle WHERE symbol = 'swept' AND timeframe > '1m' AND high > 5000;
SELECT count(*) FROM tradekeep.verify_rollups();
SQL
my $gone_on = "15m|15|t\n1h|1|f\n4h|1|f\n1d|1|f\nt\n15m 6000 1h 6000 4h 6000 1d 6000\n0";

# After a restore everything is there, and rollups go on working: new candles, late ones, corrections.
sub check
{
	my ($database, $name) = @_;
	my ($candles_after, $settings_after, $built) = split /-\n/, sql("$candles;\\qecho -\n$settings\\qecho -\n$now_built", $database);

	is("$candles_after", "$candles_before\n", "$name: every candle is as it was");
	is($settings_after, "$settings_before\n", "$name: rollups and horizons too");
	is($built, '0|0|t', "$name: all follows from what is stored, what waited is built");
	is(sql($go_on, $database), $gone_on, "$name: rollups go on");
	return;
}

sub dump_to
{
	my ($file, $database, @options) = @_;
	$node->command_ok([ 'pg_dump', @options, '-f', $file, '-d', $node->connstr($database) ], "$database: pg_dump @options");
	return $file;
}

my $databases = 0;

sub new_database
{
	my ($extension) = @_;
	my $name = 'restored' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE template0");
	$node->safe_psql($name, 'CREATE EXTENSION tradekeep') if $extension;
	return $name;
}

sub restore
{
	my ($name, $file, %how) = @_;
	my $database = new_database($how{extension});
	my @command = $file =~ /plain/ ? ('psql', '-XqAtv', 'ON_ERROR_STOP=1', '-f', $file) : ('pg_restore', '-e', $file);

	$node->command_ok([ @command, @{ $how{options} // [] }, '-d', $node->connstr($database) ], "$name: restore");
	check($database, $name) unless $how{unchecked};
	return $database;
}

my $plain = dump_to("$tmp/plain.sql", 'postgres');
my $custom = dump_to("$tmp/all.custom", 'postgres', '-Fc');
my $restored = restore('plain', $plain);
restore('custom with two jobs', $custom, options => [ '-j', '2' ]);
restore('custom in one transaction', $custom, options => ['--single-transaction']);

# The tables in any order: the sources, what is derived of what, and what of it is frozen.
my ($list) = run_command([ 'pg_restore', '-l', $custom ]);
my @lines = split /\n/, $list;
my %data = map { /TABLE DATA tradekeep (candle|rollup|candle_horizon) / ? ($1 => $_) : () } @lines;
is(join(' ', sort keys %data), 'candle candle_horizon rollup', 'all three have data in the dump');
for my $order ('candle rollup candle_horizon', 'candle candle_horizon rollup', 'rollup candle candle_horizon',
	'rollup candle_horizon candle', 'candle_horizon candle rollup', 'candle_horizon rollup candle')
{
	my @tables = @data{ split / /, $order };
	(my $file = "$tmp/$order.list") =~ tr/ /-/;
	append_to_file($file, join '', map { ($_ =~ /TABLE DATA tradekeep (?:candle|rollup|candle_horizon) / ? shift @tables : $_) . "\n" } @lines);
	restore($order, $custom, options => [ '-L', $file ]);
}

# Into a database that has the extension.
restore('data only', $custom, extension => 1, options => ['--data-only']);

# Without triggers nothing is derived; then one call does it.
my $bare = restore('without triggers', $custom, extension => 1, unchecked => 1, options => [ '--data-only', '--disable-triggers' ]);
is(sql('SELECT count(*) > 0 FROM tradekeep.verify_rollups()', $bare), 't', 'without triggers: derived candles are missing');
is(sql($settings, $bare), $settings_before, 'without triggers: horizons are not');
sql('CALL tradekeep.rebuild_rollups()', $bare);
check($bare, 'without triggers, rebuilt');

# A dump of what was restored is as good.
my $second = restore('second', dump_to("$tmp/second.plain", $restored), unchecked => 1);
is(sql($candles, $second), sql($candles, $restored), 'a second dump makes no difference');
is(sql($settings, $second), sql($settings, $restored), 'for horizons neither');

$node->stop;
done_testing();
