# Counters of claims in shared memory: what is counted when, for whom, and for how long.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('counters');
# What is expired is looked at, too.
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->append_conf('postgresql.conf', "max_prepared_transactions = 2\nrestart_after_crash = on");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION tradekeep');

# What a script leaves in the counters of a scope: claimed, released, duplicates, errors.
sub counts
{
	my ($scope, $script, $database) = @_;
	$node->psql($database // 'postgres', $script, on_error_stop => 0) if $script;
	return $node->safe_psql($database // 'postgres',
		"SELECT claimed, released, duplicates_prevented, errors FROM tradekeep.claim_stats() WHERE scope = '$scope'");
}

is($node->safe_psql('postgres', 'SELECT count(*) FROM tradekeep.claim_stats()'), '0', 'nothing is counted yet');
is($node->safe_psql('postgres', 'SELECT * FROM tradekeep.signal_stats()'), '0|0|0|', 'nor of signals');

# When.
is( $node->safe_psql('postgres', <<'SQL') =~ s/\n/ /gr, 't 0|0 f 0|1 1|1', 'a claim counts when it commits, a duplicate at once');
BEGIN;
SELECT tradekeep.claim('when', 'a', '1 h');
SELECT claimed, duplicates_prevented FROM tradekeep.claim_stats() WHERE scope = 'when';
SELECT tradekeep.claim('when', 'a', '1 h');
SELECT claimed, duplicates_prevented FROM tradekeep.claim_stats() WHERE scope = 'when';
COMMIT;
SELECT claimed, duplicates_prevented FROM tradekeep.claim_stats() WHERE scope = 'when';
SQL
is( counts('back', <<'SQL'), '0|0|1|1', 'rolled back, a claim never counts; duplicates and errors stay');
BEGIN;
SELECT tradekeep.claim('back', 'a', '1 h');
SELECT tradekeep.claim('back', 'a', '1 h');
SELECT tradekeep.release('back', 'a');
SELECT tradekeep.claim('back', 'b', '-1 h');
ROLLBACK;
SQL
is( counts('sub', <<'SQL'), '4|1|0|0', 'a rollback to a savepoint takes its part along');
BEGIN;
SELECT tradekeep.claim('sub', 'a', '1 h');
SAVEPOINT one;
SELECT tradekeep.claim('sub', 'b', '1 h'), tradekeep.release('sub', 'a');
SAVEPOINT two;
SELECT tradekeep.claim('sub', 'c', '1 h');
RELEASE two;
ROLLBACK TO one;
SELECT tradekeep.claim('sub', 'd', '1 h');
SAVEPOINT three;
SELECT tradekeep.claim('sub', 'e', '1 h');
SAVEPOINT four;
SELECT tradekeep.claim('sub', 'f', '1 h'), tradekeep.release('sub', 'd');
RELEASE three;
COMMIT;
SQL
is( counts('loop', <<'SQL'), '150|50|0|0', 'so does an exception, however many there are');
DO $$
BEGIN
	FOR i IN 1 .. 200 LOOP
		BEGIN
			PERFORM tradekeep.claim('loop', i::text, '1 h');
			IF i % 4 = 0 THEN
				PERFORM tradekeep.claim('scope ' || i % 40, i::text, '1 h');
				RAISE division_by_zero;
			END IF;
			IF i % 4 = 1 THEN
				PERFORM tradekeep.release('loop', i::text);
			END IF;
		EXCEPTION WHEN division_by_zero THEN
		END;
	END LOOP;
END
$$;
SQL
is( $node->safe_psql('postgres', "SELECT sum(claimed) FROM tradekeep.claim_stats() WHERE scope LIKE 'scope %'"),
	'0', 'in every scope that was touched');
is(counts('two', "BEGIN; SELECT tradekeep.claim('two', 'a', '1 h'); PREPARE TRANSACTION 'two'"),
	'1|0|0|0', 'what is prepared counts');
is(counts('two', "ROLLBACK PREPARED 'two'"), '1|0|0|0', 'whatever becomes of it');

# What.
is( counts('what', <<'SQL'), '8|4|5|3', 'every function counts');
SELECT tradekeep.claim_many('what', '{a,b,c,a}', '1 h');
SELECT tradekeep.claim_or_get('what', 'a', '1 h');
SELECT tradekeep.claim_or_get('what', 'd', '1 h');
SELECT tradekeep.release('what', 'a'), tradekeep.release('what', 'a');
SELECT tradekeep.clear_claims('what', '[bc]');
SELECT tradekeep.claim_lease('what', 'l', '1 h', '1 h');
SELECT tradekeep.claim_lease('what', 'l', '1 h', '1 h');
SELECT tradekeep.complete('what', 'l', 0);
SELECT tradekeep.release('what', 'l', 0);
SELECT tradekeep.claim_lease('what', 'm', '1 h', '1 h') AS token \gset
SELECT tradekeep.release('what', 'm', :token);
SELECT tradekeep.claim('what', 'a', '0');
SELECT tradekeep.claim_many('what', '{a,NULL}');
SELECT tradekeep.set_scope('what', '1 h', 'sliding');
SELECT tradekeep.claim('what', 's'), tradekeep.claim('what', 's'), tradekeep.claim_many('what', '{s,t}');
SQL
is(counts('what', "SELECT tradekeep.claimed('what', 's'), count(*) FROM tradekeep.live_claims"), '8|4|5|3', 'but those that only look');
is( counts('candle', <<'SQL'), '3|0|2|1', 'candles count in their scope');
SELECT tradekeep.should_process_candle('A', '1m', '2026-01-05 10:00Z');
SELECT tradekeep.should_process_candles('{A,B,C,B}', '1m', '2026-01-05 10:00Z');
SELECT tradekeep.should_process_candles('{D}', '1m', '2026-01-05 10:00Z', '0', '-1 h');
SELECT tradekeep.should_process_candles('{D}', '15m', '2026-01-05 10:14Z');
SQL
is( counts('publish', <<'SQL'), '2|0|2|1', 'so do publications');
SELECT tradekeep.claim_publish('A', '2026-01-05 10:00Z'), tradekeep.claim_publish_many('{A,B,B}', '2026-01-05 10:00Z');
SELECT tradekeep.claim_publish('A', 'infinity');
SQL
$node->psql('postgres', <<'SQL', on_error_stop => 0);
SELECT tradekeep.claim_signal('A', 'LONG', 1), tradekeep.claim_signal('A', 'LONG', 1), tradekeep.claim_signal('A', 'SHORT', 1);
SELECT tradekeep.claim_signals('[{"symbol": "A", "direction": "LONG", "entry_price": 1},
	{"symbol": "B", "direction": "LONG", "entry_price": 1}, {"symbol": "B", "direction": "LONG", "entry_price": 1}]');
SELECT tradekeep.claim_signal('A', 'UP', 1);
SELECT tradekeep.clear_signals('B');
BEGIN;
SELECT tradekeep.claim_signal('A', 'LONG', 2), tradekeep.claim_signal('A', 'LONG', 2);
ROLLBACK;
SQL
is($node->safe_psql('postgres', 'SELECT live, claimed_total, duplicates_prevented, round(duplicate_rate::numeric, 4) FROM tradekeep.signal_stats()'),
	'2|3|4|0.5714', 'signals are counted apart');
is($node->safe_psql('postgres', 'SELECT released, errors FROM tradekeep.counters() WHERE scope IS NULL'),
	'1|1', 'with those cleared and refused');
is($node->safe_psql('postgres', "SELECT duplicate_rate FROM tradekeep.claim_stats() WHERE scope IN ('candle', 'two') ORDER BY 1"),
	"0\n0.4", 'the rate is the share of all answers');

# How exactly.
append_to_file("$tmp/load", <<'SQL');
\set key random(1, 300)
SELECT tradekeep.claim('load', :key::text, '1 h');
SELECT tradekeep.claim_signal('S' || :key, 'LONG', 1);
SQL
$node->safe_psql('other', 'SELECT tradekeep.reset_stats()');
$node->command_ok(
	[ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 200, '-h', $node->host, '-p', $node->port, '-f', "$tmp/load", 'other' ],
	'8 sessions count at once');
is(counts('load', '', 'other'), join("|", $node->safe_psql('other', 'SELECT count(*) FROM tradekeep.claim'), 0,
		1600 - $node->safe_psql('other', 'SELECT count(*) FROM tradekeep.claim'), 0), 'and none is lost');
is( $node->safe_psql('other', 'SELECT claimed_total = live, claimed_total + duplicates_prevented FROM tradekeep.signal_stats()'),
	't|1600', 'nor of signals');

# Whose.
is($node->safe_psql('other', "SELECT count(*) FROM tradekeep.claim_stats() WHERE scope <> 'load'"), '0', 'a database sees its own');
my $before = $node->safe_psql('postgres', 'SELECT * FROM tradekeep.claim_stats()');
$node->safe_psql('other', 'SELECT tradekeep.reset_stats()');
is(counts('load', '', 'other'), '0|0|0|0', 'and sets back its own');
is($node->safe_psql('postgres', 'SELECT * FROM tradekeep.claim_stats()'), $before, 'and no other');

# For how long.
$node->restart;
is($node->safe_psql('postgres', 'SELECT * FROM tradekeep.claim_stats()'), $before, 'a clean restart keeps them');
ok(!-e $node->data_dir . '/pg_stat/tradekeep.stat', 'the file is gone once it is read');
is(counts('what', "SELECT tradekeep.claim('what', 's')"), '8|4|6|3', 'they go on');
Tradekeep::crash($node);
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM tradekeep.claim_stats()'), '0', 'after a crash they begin anew');
is(counts('what', "SELECT tradekeep.claim('what', 's')"), '0|0|1|0', 'and count');
my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
kill 9, $pid;
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM tradekeep.claim_stats()")
  or die 'the counters outlived a crash';
is(counts('what', "SELECT tradekeep.claim('what', 's')"), '0|0|1|0', 'so it is when only a process crashed');

for my $broken ('', 'x' x 3, 'x' x 5000, "\x01\x00\x6b\x74" . "\xff" x 4, "\x01\x00\x6b\x74\x05\x00\x00\x00" . "\x00" x 150)
{
	$node->stop;
	open my $file, '>:raw', $node->data_dir . '/pg_stat/tradekeep.stat' or die "could not write the file: $!";
	print $file $broken;
	close $file;
	$node->start;
	is(counts('what', "SELECT tradekeep.claim('what', 's')"), '0|0|1|0', 'a broken file of ' . length($broken) . ' bytes does no harm');
}

# How many.
$node->safe_psql('postgres', 'SELECT tradekeep.reset_stats()');
$node->safe_psql('postgres', "SELECT tradekeep.claim('many ' || i, 'k', '1 h') FROM generate_series(1, 300) AS i");
is($node->safe_psql('postgres', 'SELECT sum(claimed), count(*) BETWEEN 190 AND 193 FROM tradekeep.claim_stats()'),
	'300|t', '300 scopes are all counted');
is($node->safe_psql('postgres', "SELECT claimed > 100 FROM tradekeep.claim_stats() WHERE scope = '(other)'"), 't', 'the last of them together');
$node->safe_psql('postgres', "SELECT tradekeep.claim('many 300', 'j', '1 h'), tradekeep.claim('many 1', 'j', '1 h')");
is(counts('many 1', ''), '2|0|0|0', 'the first ones still apart');
is($node->safe_psql('other', "SELECT (tradekeep.claim_signal('full', 'LONG', 1)).claimed"), 't', 'signals find a place');
is($node->safe_psql('other', 'SELECT claimed_total FROM tradekeep.signal_stats()'), '1', 'and are counted');

# Without preload there is nothing, and that is not 0.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is($node->safe_psql('postgres', 'SELECT * FROM tradekeep.claim_stats()'), '|||||', 'not preloaded, claim_stats() is null');
is($node->safe_psql('postgres', 'SELECT * FROM tradekeep.signal_stats()'), '2|||', 'and signal_stats() knows what is live');
is($node->safe_psql('postgres', "SELECT tradekeep.reset_stats(), tradekeep.claim('plain', 'k', '1 h')"), '|t', 'all else works');
is($node->safe_psql('postgres', "SELECT status, detail ~ 'nothing is counted', remedy ~ 'shared_preload_libraries' FROM tradekeep.doctor() WHERE check_name = 'preload'"),
	'warning|t|t', 'and doctor() says why');

$node->stop;
done_testing();
