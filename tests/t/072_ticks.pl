# Ticks into candles on a server: real trades in any order, sessions that send the same at once, a crash
# in the middle, and the sweeper. Whatever happens, candles are what their ticks make, bit for bit.

use strict;
use warnings;

use FindBin;
use IO::Uncompress::Gunzip qw(gunzip);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('ticks');
# Nothing else writes, and the sweeper comes when it is called.
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
checkpoint_timeout = '1h'
bgwriter_lru_maxpages = 0
wal_level = minimal
max_wal_senders = 0
max_connections = 40
deadlock_timeout = '10ms'
fsync = on
tradekeep.sweep = off
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION tradekeep;
-- 4,000 ticks of ten hours; a fifth share a millisecond with another, and ids are of all kinds.
CREATE TABLE feed AS
	SELECT i AS n, 1704448800000 + (i * 7919 % 3200) * 11003 AS ms,
		CASE i % 4 WHEN 0 THEN (9007199254740992 + i / 2)::text WHEN 1 THEN i::text WHEN 2 THEN '00' || i ELSE 'x' || md5(i::text) END AS id,
		100 + ((i * 104729) % 1000) / 7.0::float8 AS price, ((i * 31) % 97) / 13.0::float8 AS amount
	FROM generate_series(1, 4000) AS i;
CREATE INDEX ON feed (ms);
-- Up to 60 ticks of a stretch of time, in any order.
CREATE FUNCTION slice(start int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_array(ms, id, price, amount) ORDER BY random())
	FROM (SELECT * FROM feed WHERE ms >= 1704448800000 + start * 11003 ORDER BY ms LIMIT 60) AS f $$;
CREATE FUNCTION bits(c tradekeep.candle) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', c.timeframe, c.ts, float8send(c.open), float8send(c.high), float8send(c.low), float8send(c.close), float8send(c.volume), c.closed, c.sources) $$;
CREATE FUNCTION candles_of(symbol text) RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(bits(c), ';' ORDER BY timeframe, ts)) FROM tradekeep.candle AS c WHERE c.symbol = candles_of.symbol $$;
-- The same out of what is stored of ticks, by plain SQL.
CREATE FUNCTION recomputed(symbol text, timeframes tradekeep.timeframe[]) RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(bits(row(recomputed.symbol, tf, start, open, high, low, close, volume, closed, sources)::tradekeep.candle), ';' ORDER BY tf, start))
	FROM (
		SELECT tf, start, (array_agg(price ORDER BY ts, number, id))[1] AS open, max(price) AS high, min(price) AS low,
			(array_agg(price ORDER BY ts DESC, number DESC, id DESC))[1] AS close, sum(amount ORDER BY ts, number, id) AS volume,
			tradekeep.candle_end(tf, start) <= max(max(ts)) OVER (PARTITION BY tf) AS closed, count(*)::int AS sources
		FROM (SELECT timeframe AS tf, tradekeep.candle_start(timeframe, ts) AS start, ts, id::text COLLATE "C" AS id, CASE WHEN id ~ '^[0-9]+$' THEN id::numeric ELSE 'NaN' END AS number, price, amount
			FROM tradekeep.tick AS t WHERE t.symbol = recomputed.symbol AND t.timeframe = ANY (timeframes)) AS t
		GROUP BY tf, start) AS c $$;
SQL

SKIP:
{
	my $file = ($ENV{TRADEKEEP_SHARED} || "$FindBin::Bin/../../../shared") . '/data/ticks-xrp-eth.ccxt.json.gz';
	skip 'the real trades of ../shared/data are not here', 1 unless -e $file;
	my $json;
	gunzip($file => \$json) or die "could not read $file";
	$json =~ s/\s+//g;
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE trades AS SELECT n, (t ->> 0)::bigint AS ms, t ->> 1 AS id, jsonb_build_array(t -> 0, t -> 1, t -> 4, t -> 5) AS tick
FROM jsonb_array_elements('$json') WITH ORDINALITY AS a(t, n);
SQL
	my $send = sub
	{
		my ($symbol, $order, $size, $times) = @_;
		return $node->safe_psql('postgres', <<"SQL");
SELECT sum(inserted), sum(known), sum(late) FROM (
	SELECT jsonb_agg(tick ORDER BY r) AS ticks FROM (SELECT tick, row_number() OVER (ORDER BY $order) AS r FROM trades, generate_series(1, $times) AS time) AS t
	GROUP BY (r - 1) / $size ORDER BY (r - 1) / $size) AS p, LATERAL tradekeep.upsert_ticks('$symbol', '1m', ticks)
SQL
	};
	is($send->('FORWARD', 'n', 500, 1), '12477|0|0', 'real trades, 500 at a time');
	is($send->('BACKWARD', 'n DESC', 1000, 1), '12477|0|0', 'backwards');
	is($send->('RANDOM', 'md5(n::text)', 2000, 1), '12477|0|0', 'shuffled');
	is($send->('TWICE', 'md5(n::text || time)', 25000, 2), '12477|12477|0', 'shuffled, twice, at once');
	is($send->('FORWARD', 'md5(n::text)', 5000, 1), '0|12477|0', 'once more');
	is($node->safe_psql('postgres', "SELECT count(DISTINCT candles_of(s)), bool_and(candles_of(s) = recomputed(s, '{1m}')) FROM unnest('{FORWARD,BACKWARD,RANDOM,TWICE}'::text[]) AS s"),
		'1|t', 'come to the same candles, which plain SQL makes of them too');
	is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*) FROM tradekeep.candle AS c JOIN (
	SELECT date_trunc('minute', to_timestamp(ms / 1000.0), 'UTC') AS ts, (array_agg((tick ->> 2)::float8 ORDER BY ms, id::numeric))[1] AS open,
		(array_agg((tick ->> 2)::float8 ORDER BY ms DESC, id::numeric DESC))[1] AS close, count(*) AS n FROM trades GROUP BY 1) AS t USING (ts)
WHERE c.symbol = 'FORWARD' AND (c.open, c.close, c.sources) IS DISTINCT FROM (t.open, t.close, t.n::int)
SQL
		'0', 'open and close go by time and id');
	$node->safe_psql('postgres', 'TRUNCATE tradekeep.tick, tradekeep.candle');
}

# Ticks that come again write nothing. What counts is the last of two equal looks, in one session.
my $again = <<'SQL';
SELECT pg_current_wal_insert_lsn() AS lsn, pg_snapshot_xmax(pg_current_snapshot()) AS xid \gset
BEGIN;
SELECT inserted, known, late, candles FROM tradekeep.upsert_ticks('QUIET', '1m', slice(0));
SELECT pg_current_xact_id_if_assigned() IS NULL;
COMMIT;
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), :'lsn');
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint - :xid;
SQL
is($node->safe_psql('postgres', "SELECT inserted FROM tradekeep.upsert_ticks('QUIET', '1m', slice(0))"), '60', 'sixty ticks are new');
$node->safe_psql('postgres', 'VACUUM tradekeep.tick, tradekeep.candle; CHECKPOINT');
is(join(' ', (split /\n/, $node->safe_psql('postgres', $again . $again))[4 .. 7]),
	'0|60|0|0 t 0 0', 'and write nothing when they come again: no transaction id, no WAL');

# Many sessions send overlapping stretches of one stream, and some roll back.
sub script
{
	my ($name, $sql) = @_;
	append_to_file("$tmp/$name", $sql);
	return "$tmp/$name";
}
sub pgbench
{
	my (@arguments) = @_;
	return ('pgbench', '-n', '-h', $node->host, '-p', $node->port, @arguments, 'postgres');
}
for my $level ('read committed', 'repeatable read', 'serializable')
{
	my $symbol = $level =~ s/ /_/gr;
	my $send = "\\set a random(0, 250)\n\\set b random(0, 250)\nBEGIN ISOLATION LEVEL $level;\n";
	my @scripts = (
		script("one-$symbol", "${send}SELECT tradekeep.upsert_ticks('$symbol', '1m', slice(:a));\nCOMMIT;\n") . '@10',
		script("two-$symbol", "${send}SELECT tradekeep.upsert_ticks('$symbol', '1m', slice(:a));\nSELECT tradekeep.upsert_ticks('$symbol', '1h', slice(:b));\nCOMMIT;\n") . '@4',
		script("long-$symbol", "${send}SELECT tradekeep.upsert_ticks('$symbol', '1h', slice(:a));\nCOMMIT;\n") . '@4',
		script("back-$symbol", "${send}SELECT tradekeep.upsert_ticks('$symbol', '1m', slice(:a));\nROLLBACK;\n") . '@2');
	$node->command_ok([ pgbench('-c', 8, '-j', 2, '-t', 40, '--max-tries=1000', map { ('-f', $_) } @scripts) ], "8 sessions send the same ticks at $level");
	is($node->safe_psql('postgres', "SELECT min(n) > 200 FROM (SELECT count(*) AS n FROM tradekeep.tick WHERE symbol = '$symbol' GROUP BY timeframe) AS t"), 't', 'many of them got through');
	is($node->safe_psql('postgres', "SELECT candles_of('$symbol') = recomputed('$symbol', '{1m,1h}')"), 't', "candles are what the ticks make at $level");
	my $single = "single_$symbol";
	$node->command_ok(
		[
			pgbench('-c', 8, '-j', 2, '-t', 30, '--max-tries=1000',
				'-f', script("single-$symbol", "${send}SELECT tradekeep.upsert_ticks('$single', '5m', slice(:a));\nSELECT tradekeep.upsert_ticks('$single', '5m', slice(:b));\nCOMMIT;\n") . '@5',
				'-f', script("undone-$symbol", "${send}SELECT tradekeep.upsert_ticks('$single', '5m', slice(:a));\nROLLBACK;\n") . '@1')
		],
		"8 sessions, two stretches a transaction, at $level");
	is($node->safe_psql('postgres', "SELECT candles_of('$single') = recomputed('$single', '{5m}')"), 't', 'candles are what the ticks make');
}
is($node->safe_psql('postgres', 'SELECT sum(deadlocks) FROM pg_stat_database'), '0', 'no deadlock');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'none in the log');

# The server is killed while a stream comes in; afterwards it is sent again.
my $stream = script('stream', <<'SQL');
SELECT tradekeep.upsert_ticks('CRASH', '1m', slice(:client_id * 400 + n * 10)) FROM generate_series(0, 60) AS n;
\set a random(0, 3199)
SELECT tradekeep.upsert_ticks('CRASH', '1m', slice(:a));
SQL
my ($out, $err) = ('', '');
my $bots = IPC::Run::start([ pgbench('-c', 6, '-j', 2, '-t', 100000, '-f', $stream) ], '<', \undef, '>', \$out, '2>', \$err);
ok($node->poll_query_until('postgres', "SELECT count(*) >= 600 FROM tradekeep.tick WHERE symbol = 'CRASH'"), 'a stream comes in');
Tradekeep::crash($node);
$bots->finish;
$node->start;
is($node->safe_psql('postgres', "SELECT candles_of('CRASH') = recomputed('CRASH', '{1m}')"), 't', 'after a crash the candles are what the ticks make');
$node->safe_psql('postgres', "SELECT tradekeep.upsert_ticks('$_', '1m', (SELECT jsonb_agg(jsonb_build_array(ms, id, price, amount) ORDER BY random()) FROM feed))") for qw(CRASH WHOLE);
is($node->safe_psql('postgres', "SELECT candles_of('CRASH') = candles_of('WHOLE'), count(*) FROM tradekeep.tick WHERE symbol = 'CRASH'"), 't|4000', 'sent again it is as if nothing had been');

# The sweeper takes ticks whose grace is over, and only those; what comes for their candles then is late.
my $ticks = "(SELECT jsonb_agg(jsonb_build_array(ms, id, price, amount)) FROM feed WHERE n % 10 = 0)";
$node->safe_psql('postgres', "TRUNCATE tradekeep.tick, tradekeep.candle");
is($node->safe_psql('postgres', "SELECT inserted, candles > 100 FROM tradekeep.upsert_ticks('SWEPT', '1m', $ticks, '1 ms')"), '400|t', 'with a short grace');
is($node->safe_psql('postgres', "SELECT inserted FROM tradekeep.upsert_ticks('STAYS', '1m', $ticks, '1 hour')"), '400', 'and with a long one');
ok($node->poll_query_until('postgres', "SELECT bool_and(sweep_after < clock_timestamp()) FROM tradekeep.tick WHERE symbol = 'SWEPT'"), 'the short one is over');
is($node->safe_psql('postgres', "SELECT tradekeep.preview_ttl('tradekeep.tick')"), '400', 'what would go is known');
my $made = $node->safe_psql('postgres', "SELECT candles_of('SWEPT')");
$node->safe_psql('postgres', "CALL tradekeep.sweep('tradekeep.tick')");
is($node->safe_psql('postgres', 'SELECT symbol, count(*) FROM tradekeep.tick GROUP BY 1'), 'STAYS|400', 'and goes');
is($node->safe_psql('postgres', "SELECT inserted, known, late, candles FROM tradekeep.upsert_ticks('SWEPT', '1m', $ticks)"), '0|0|400|0', 'all are late then');
is($node->safe_psql('postgres', "SELECT inserted, known, late FROM tradekeep.upsert_ticks('STAYS', '1m', $ticks)"), '0|400|0', 'those of the others are known');
is($node->safe_psql('postgres', "SELECT candles_of('SWEPT')"), $made, 'no candle is another');
# New candles go on.
is($node->safe_psql('postgres', "SELECT inserted, late, candles FROM tradekeep.upsert_ticks('SWEPT', '1m', '[[1704600000000, 1, 1, 1]]')"), '1|0|2', 'a later tick makes a new one and closes the last');

$node->stop;
done_testing();
