# Candles on a server: real messages in every order come to the same table, real gaps are found, a
# reader sees its own snapshot, a standby reads, a dump keeps everything, and who listens is told.

use strict;
use warnings;

use FindBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $data = ($ENV{TRADEKEEP_SHARED} || "$FindBin::Bin/../../../shared") . '/data';
my $node = Tradekeep::new_node('orders', allows_streaming => 1);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep; CREATE TABLE feed (file text, n serial, message jsonb)');

# Reads a file, a message a line, into feed; false when it is not there.
sub load
{
	my ($name) = @_;
	my $number = 0;
	return 0 unless -e "$data/$name";
	my $lines = slurp_file("$data/$name");
	$lines =~ s/\s+//g if $name =~ /\.json$/;
	$node->safe_psql('postgres', "COPY feed (file, message) FROM stdin WITH (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02');\n"
		  . join('', map { "$name\x01$_\n" } grep { /\S/ } split /\n/, $lines)
		  . "\\.\n");
	return 1;
}

# All that is stored, under whatever name.
sub table
{
	return $node->safe_psql('postgres', <<'SQL');
SELECT count(*), count(*) FILTER (WHERE closed), md5(string_agg(c::text, ';' ORDER BY symbol, timeframe, ts)) FROM tradekeep.candle AS c;
SQL
}

SKIP:
{
	my $name = 'klines-binance-futures.ws.jsonl';
	skip 'the real messages of ../shared/data are not here', 1 unless load($name) && load('klines-bybit.ws.jsonl');

	# Of each bar the final message, else the fullest partial one.
	my $expected = $node->safe_psql('postgres', <<'SQL');
SELECT count(*), count(*) FILTER (WHERE closed), md5(string_agg(row(symbol, timeframe, ts, open, high, low, close, volume, closed, NULL::int)::text, ';' ORDER BY symbol, timeframe, ts))
FROM (
	SELECT DISTINCT ON (symbol, timeframe, ts) k ->> 's' AS symbol, (k ->> 'i')::tradekeep.timeframe AS timeframe, to_timestamp((k ->> 't')::numeric / 1000) AS ts,
		(k ->> 'o')::float8 AS open, (k ->> 'h')::float8 AS high, (k ->> 'l')::float8 AS low, (k ->> 'c')::float8 AS close, (k ->> 'v')::float8 AS volume, (k ->> 'x')::boolean AS closed
	FROM feed, LATERAL (SELECT message #> '{data,k}') AS m(k) WHERE file LIKE '%futures%'
	ORDER BY 1, 2, 3, closed DESC, volume DESC) AS bar;
SQL
	like($expected, qr/^\d+\|4\|/, 'four of the real bars are final');
	for my $order ('n', 'n DESC', 'md5(n::text)', "md5(n || 'other')")
	{
		for my $way ('one by one', 'ten at a time', 'at once', 'each twice', 'all, and all again')
		{
			my $size = { 'one by one' => 1, 'ten at a time' => 10 }->{$way} || 1000;
			my $times = $way eq 'each twice' ? 2 : 1;
			my $send = <<"SQL";
SELECT sum(inserted) + sum(updated) + sum(unchanged) + sum(ignored) FROM (
	SELECT array_agg(message ORDER BY r) AS messages FROM (
		SELECT message, row_number() OVER (ORDER BY $order, time) AS r FROM feed, generate_series(1, $times) AS time WHERE file = '$name') AS f
	GROUP BY (r - 1) / $size ORDER BY (r - 1) / $size) AS m, LATERAL tradekeep.ingest_klines(messages)
SQL
			$node->safe_psql('postgres', 'TRUNCATE tradekeep.candle');
			is($node->safe_psql('postgres', $send), 67 * $times, "$order, $way: each message counts");
			$node->safe_psql('postgres', $send) if $way =~ /again/;
			is(table(), $expected, "$order, $way: the same table");
		}
	}
	$node->safe_psql('postgres', 'TRUNCATE tradekeep.candle');
	is($node->safe_psql('postgres', "SELECT sum(inserted) FROM feed, tradekeep.ingest_kline(message) WHERE file LIKE '%bybit%'"), '1', "Bybit's message is one bar");
	is($node->safe_psql('postgres', "SET timezone = 'UTC'; SELECT * FROM tradekeep.candle"),
		'BTCUSDT|5m|2022-12-29 14:40:00+00|16649.5|16677|16608|16677|2.081|f|', 'with all of its numbers, not confirmed');
	$node->safe_psql('postgres', 'TRUNCATE tradekeep.candle');
}

SKIP:
{
	skip 'the real candles of ../shared/data are not here', 1 unless load('candles-btc-1m.ccxt.json');
	is($node->safe_psql('postgres', "SELECT inserted FROM feed, tradekeep.ingest_kline(message, 'BTC', '1m') WHERE file LIKE 'candles%'"),
		'13681', 'a file of ccxt, taken as one message');
	is($node->safe_psql('postgres', "SELECT count(*), sum(missing) FROM tradekeep.candle_gaps('BTC', '1m')"), '538|717', 'its gaps are found');
	is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*) FROM (
	SELECT gap_start, gap_end, missing FROM tradekeep.candle_gaps('BTC', '1m')
	EXCEPT
	SELECT previous + interval '1 min', ts, extract(epoch FROM ts - previous)::int / 60 - 1
	FROM (SELECT ts, lag(ts) OVER (ORDER BY ts) AS previous FROM tradekeep.candle WHERE symbol = 'BTC') AS t WHERE ts - previous > interval '1 min') AS other;
SQL
		'0', 'where the window function finds them');
	is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*), count(*) FILTER (WHERE filled), count(*) FILTER (WHERE ts - previous = interval '1 min') FROM (SELECT *, lag(ts) OVER (ORDER BY ts) AS previous FROM tradekeep.candles_filled('BTC', '1m')) AS f;
SQL
		'14398|717|14397', 'filled, there are none');
	is($node->safe_psql('postgres', 'SELECT candles, missing FROM tradekeep.candle_stats()'), '13681|717', 'candle_stats() says the same');
	is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*) FROM generate_series('2017-11-04 20:30Z'::timestamptz, '2017-11-15 02:00Z', '3 h') AS since, LATERAL (SELECT since + interval '7 h' AS until) AS u,
	LATERAL (SELECT coalesce(sum(missing), 0) AS missing FROM tradekeep.candle_gaps('BTC', '1m', since, until)) AS g,
	LATERAL (SELECT count(*) AS stored FROM tradekeep.candles('BTC', '1m', since, until)) AS c
WHERE missing + stored <> 420;
SQL
		'0', 'what is missing and what is stored add up in any window');
	$node->safe_psql('postgres', 'TRUNCATE tradekeep.candle');
}

# A reader with a snapshot of its own sees that, whatever is stored meanwhile.
$node->safe_psql('postgres', "SELECT tradekeep.upsert_candle('SNAP', '1m', t, 1, 1, 1, 1, 1) FROM unnest('{2024-01-01 00:00Z,2024-01-01 00:09Z}'::timestamptz[]) AS t");
my $look = "SELECT sum(missing), (SELECT count(*) FROM tradekeep.candles_filled('SNAP', '1m') WHERE filled), (SELECT sum(missing) FROM tradekeep.candle_stats()) FROM tradekeep.candle_gaps('SNAP', '1m')";
my $between = "\\! psql -XqAt -h " . $node->host . ' -p ' . $node->port
  . " -d postgres -c \"SELECT tradekeep.upsert_candle('SNAP', '1m', '2024-01-01 00:05Z', 1, 1, 1, 1, 1)\"";
is($node->safe_psql('postgres', "BEGIN ISOLATION LEVEL REPEATABLE READ;\n$look;\n$between\n$look;\nCOMMIT;\n$look;"),
	"8|8|8\ninserted\n8|8|8\n7|7|7", 'in REPEATABLE READ the gap stays until the transaction ends');

# Who listens is told what closed.
sub notes
{
	my ($script) = @_;
	my $output = $node->safe_psql('postgres', "LISTEN tradekeep_candle;\n$script;\nSELECT 1;\n");
	my @notes;
	while ($output =~ /notification "tradekeep_candle" with payload "(.*)" received from/g)
	{
		my $note = decode_json($1);
		push @notes, "$note->{timeframe} $note->{ts} @{ $note->{symbols} }";
		cmp_ok(length $1, '<', 8000, 'a payload has room') if length $1 > 4000;
	}
	return join "\n", sort @notes;
}
sub bars
{
	my ($closed, @bars) = @_;
	my @columns = map { my $i = $_; "'{" . join(',', map { $_->[$i] } @bars) . "}'" } 0 .. 2;
	my $ones = "'{" . join(',', map { $_->[3] || 1 } @bars) . "}'";
	return "SELECT tradekeep.upsert_candles($columns[0], $columns[1], $columns[2], $ones, $ones, $ones, $ones, $ones, array_fill($closed, ARRAY[" . @bars . ']))';
}
is(notes(bars('true', [ 'A', '1m', '2024-01-01Z' ])), '', 'nobody is told before it is asked for');
$node->safe_psql('postgres', "SELECT tradekeep.notify_candles('1m'), tradekeep.notify_candles('1h')");
is( notes(
		bars('true', [ 'B', '1m', '2024-01-01 00:01Z' ], [ 'A', '1m', '2024-01-01 00:01Z' ], [ 'A', '1m', '2024-01-01 00:02Z' ],
			[ 'C', '1m', '2024-01-01 00:02Z' ], [ 'A', '5m', '2024-01-01Z' ], [ 'A', '1h', '2024-01-01Z' ])),
	"1h 2024-01-01T00:00:00Z A\n1m 2024-01-01T00:01:00Z B\n1m 2024-01-01T00:02:00Z A C",
	'a note for a timeframe and a start, of each symbol the newest');
is(notes(bars('false', [ 'A', '1m', '2024-01-01 00:03Z' ], [ 'B', '1m', '2024-01-01 00:03Z' ])), '', 'a partial bar is none');
is(notes(bars('false', [ 'A', '1m', '2024-01-01 00:03Z', 2 ], [ 'B', '1m', '2024-01-01 00:03Z', 2 ])), '', 'nor one that grows');
is(notes(bars('true', [ 'A', '1m', '2024-01-01 00:03Z', 2 ], [ 'B', '1m', '2024-01-01 00:03Z', 2 ])),
	'1m 2024-01-01T00:03:00Z A B', 'it is when it closes');
is(notes(bars('true', [ 'A', '1m', '2024-01-01 00:03Z', 2 ])), '', 'not when it comes again');
is(notes(bars('true', [ 'A', '1m', '2024-01-01 00:03Z', 3 ])), '', 'nor when it is corrected');
is(notes("INSERT INTO tradekeep.candle VALUES ('A', '1m', '2024-01-01 00:04Z', 1, 1, 1, 1, 1, false); UPDATE tradekeep.candle SET closed = true WHERE NOT closed"),
	'1m 2024-01-01T00:04:00Z A', 'by plain SQL too');
is(notes("COPY tradekeep.candle (symbol, timeframe, ts, open, high, low, close, volume) FROM stdin;\nA\t1m\t2024-01-01 00:05Z\t1\t1\t1\t1\t1\nB\t1m\t2024-01-01 00:05Z\t1\t1\t1\t1\t1\n\\.\n"),
	'1m 2024-01-01T00:05:00Z A B', 'and by COPY');
is(notes("SELECT tradekeep.upsert_ticks('T', '1m', '[[1704067200000, 1, 1, 1], [1704067260000, 2, 1, 1]]')"), '1m 2024-01-01T00:00:00Z T', 'and out of ticks');
is(notes('BEGIN;' . bars('true', [ 'A', '1m', '2024-01-01 00:06Z' ]) . ';ROLLBACK'), '', 'not if it is rolled back');
is(notes('BEGIN;' . bars('true', [ 'A', '1m', '2024-01-01 00:06Z' ]) . ';' . bars('true', [ 'B', '1m', '2024-01-01 00:06Z' ]) . ';COMMIT'),
	"1m 2024-01-01T00:06:00Z A\n1m 2024-01-01T00:06:00Z B", 'a note for a statement');
is( join(' ', sort map { (split / /, $_, 3)[2] } split /\n/, notes(bars('true', [ 'A', '1m', '2024-01-01 00:06Z' ], [ 'A', '1m', '2024-01-01 00:07Z' ], [ 'B', '1m', '2024-01-01 00:07Z' ]))),
	'A B', 'what was tried and undone is not told twice');
is( join(' ', sort map { (split / /, $_, 3)[2] } split /\n/, notes("INSERT INTO tradekeep.candle VALUES ('OPEN', '1m', '2024-01-01 00:08Z', 1, 1, 1, 1, 1, false);" . bars('true', [ 'OPEN', '1m', '2024-01-01 00:08Z' ], [ 'ZNEW', '1m', '2024-01-01 00:08Z' ]))),
	'OPEN ZNEW', 'in a batch of both, those that are new and those that close');
for my $length (6, 60, 512)
{
	my @symbols = map { sprintf "%0${length}d", $_ } 1 .. 300;
	my $notes = notes(bars('true', map { [ $_, '1m', "2024-01-02 00:00:00Z" ] } @symbols));
	is(join(' ', sort map { my (undef, undef, @names) = split / /; @names } split /\n/, $notes), "@symbols", "300 symbols of $length bytes are told of, each once");
}
is( join(' ', sort map { my (undef, undef, @names) = split / /; map { /^(\d)/ } @names }
		  split /\n/, notes("INSERT INTO tradekeep.candle SELECT rpad(i::text, 512, E'\\x01'), '1m', '2024-01-03Z', 1, 1, 1, 1, 1 FROM generate_series(1, 9) AS i")),
	'1 2 3 4 5 6 7 8 9', 'symbols that take most of the room in JSON are told of too');
is(notes("INSERT INTO tradekeep.candle VALUES (E'\"\\u00dc\\\\', '1m', '2024-01-03Z', 1, 1, 1, 1, 1)"), "1m 2024-01-03T00:00:00Z \"\xdc\\", 'and odd ones');
$node->safe_psql('postgres', "SELECT tradekeep.notify_candles('1h', false)");
is(notes(bars('true', [ 'A', '1h', '2024-01-05Z' ], [ 'A', '1m', '2024-01-05Z' ])), '1m 2024-01-05T00:00:00Z A', 'a timeframe can be left out again');

# A dump keeps ticks, corrections, retention and who is told of what.
$node->safe_psql('postgres', <<'SQL');
SELECT tradekeep.upsert_ticks('T', '1m', '[[1704067260001, "00900719925474099312", 0.1, 1e-10], [1704067320000, "ü\"''\\", 3, 1]]');
SELECT tradekeep.upsert_candle('A', '1m', '2024-01-01 00:06Z', 1, 1, 1, 1, v) FROM generate_series(2, 9) AS v;
SELECT tradekeep.set_candle_retention('1s', '1 month 3 days'), tradekeep.set_candle_retention('1M', '90 years');
SQL
my $rows = <<'SQL';
SELECT md5(string_agg(t::text, ';' ORDER BY symbol, ts, id)) FROM tradekeep.tick AS t
UNION ALL SELECT md5(string_agg(c::text, ';' ORDER BY correction_id)) FROM tradekeep.candle_correction AS c
UNION ALL SELECT string_agg(r::text, ';' ORDER BY timeframe) FROM tradekeep.candle_retention AS r
UNION ALL SELECT string_agg(n::text, ';' ORDER BY timeframe) FROM tradekeep.candle_notify AS n
UNION ALL SELECT md5(string_agg(c::text, ';' ORDER BY symbol, timeframe, ts)) FROM tradekeep.candle AS c
UNION ALL SELECT count(*)::text FROM pg_trigger WHERE tgenabled = 'O' AND tgrelid = 'tradekeep.candle'::regclass AND tgname ~ '^notify'
SQL
my $before = $node->safe_psql('postgres', $rows);
like($before, qr/\(1s,"1 mon 3 days"\);\(1M,"90 years"\)\n\(1m\)\n\w+\n2$/, 'there is something to keep');
for my $format ('plain', 'custom')
{
	$node->command_ok([ 'pg_dump', '-F', $format, '-f', "$tmp/dump.$format", '-d', $node->connstr('postgres') ], "$format: dump");
	$node->safe_psql('postgres', "CREATE DATABASE $format");
	$node->command_ok(
		$format eq 'plain'
		? [ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', "$tmp/dump.$format", '-d', $node->connstr($format) ]
		: [ 'pg_restore', '-e', '-d', $node->connstr($format), "$tmp/dump.$format" ],
		"$format: restore");
	is($node->safe_psql($format, $rows), $before, "$format: every row is as before, and the triggers are armed");
	is($node->safe_psql($format, "SELECT tradekeep.upsert_candle('A', '1m', '2024-01-01 00:06Z', 1, 1, 1, 1, 10); SELECT new_volume FROM tradekeep.candle_correction ORDER BY correction_id DESC LIMIT 1"),
		"updated\n10", "$format: the next correction is the newest");
	is($node->safe_psql($format, "SELECT known, late FROM tradekeep.upsert_ticks('T', '1m', '[[1704067260001, \"00900719925474099312\", 0.1, 1e-10]]')"), '1|0', "$format: ticks are known");
	like($node->safe_psql($format, "LISTEN tradekeep_candle; SELECT tradekeep.upsert_candle('N', '1m', '2024-02-01Z', 1, 1, 1, 1, 1)"), qr/notification/, "$format: and it tells");
	is($node->safe_psql($format, "SELECT tradekeep.notify_candles('1m', false); SELECT count(*) FROM pg_trigger WHERE tgrelid = 'tradekeep.candle'::regclass AND tgname ~ '^notify'"),
		"\n0", "$format: until it is told not to");
}

# A standby reads, and says why it does not write.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('orders_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
for my $query (
	"SELECT * FROM tradekeep.candle_gaps('A', '1m', '2024-01-01Z', '2024-01-01 01:00Z')",
	"SELECT * FROM tradekeep.candles_filled('A', '1m', '2024-01-01Z', '2024-01-01 01:00Z')",
	'SELECT symbol, timeframe, candles, first, last, missing FROM tradekeep.candle_stats()',
	"SELECT tradekeep.count_candles('1m', '2024-01-01Z', '2024-01-02Z')",
	'SELECT count(*) FROM tradekeep.storage_stats()',
	'SELECT count(*) FROM tradekeep.candle_correction')
{
	is($standby->safe_psql('postgres', $query), $node->safe_psql('postgres', $query), "on a standby: $query");
}
for my $call ("ingest_kline('[]')", "ingest_klines('{}')", "upsert_ticks('A', '1m', '[]')", "upsert_ticks('A', '1m', '{}', '{}', '{}', '{}')",
	"set_candle_retention('1m', '1 h')", "cleanup_old_candles('1 h')", "notify_candles('5m')")
{
	my ($status, $output, $error) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT tradekeep.$call", on_error_stop => 0);
	like($error, qr/ERROR:  25006/, "on a standby $call is refused");
}

$standby->stop;
$node->stop;
done_testing();
