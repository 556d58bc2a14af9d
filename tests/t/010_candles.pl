# Ten days of real one-minute bars: what comes in is what is stored, in whatever order and however often.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $file = ($ENV{TRADEKEEP_SHARED} || "$FindBin::Bin/../../../shared") . '/data/candles-btc-1m.ccxt.json';
plan skip_all => 'the real candles of ../shared/data are not here' unless -e $file;

my $node = Tradekeep::new_node('candles');
$node->start;
my $json = slurp_file($file);
$json =~ s/\s+//g;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep; CREATE TABLE feed (ohlcv jsonb)');
$node->safe_psql('postgres', "INSERT INTO feed VALUES ('$json')");

sub upsert
{
	my ($symbol, $rows, $order) = @_;
	return $node->safe_psql('postgres', <<"SQL");
SELECT u.* FROM (SELECT jsonb_agg(bar ORDER BY $order) AS bars FROM feed, jsonb_array_elements($rows) WITH ORDINALITY AS t(bar, n)) AS f,
	tradekeep.upsert_candles('$symbol', '1m', bars) AS u;
SQL
}

is(upsert('BTC', 'ohlcv', 'n'), '13681|0|0|0', 'all are new');
is(upsert('BTC', 'ohlcv', 'n'), '0|0|13681|0', 'and known when they come again');
is(upsert('BTC', 'ohlcv', 'md5(n::text)'), '0|0|13681|0', 'in any order');
is(upsert('SHUFFLED', 'ohlcv', 'md5(n::text)'), '13681|0|0|0', 'shuffled from the start');
is(upsert('TWICE', 'ohlcv || ohlcv', 'n DESC'), '13681|0|13681|0', 'and twice, backwards');

# Bars as partial first, then final, in batches that overlap.
for my $day (0 .. 9)
{
	my $bars = "(SELECT jsonb_agg(b ORDER BY i) FROM jsonb_array_elements(ohlcv) WITH ORDINALITY AS e(b, i) WHERE i BETWEEN $day * 1400 AND $day * 1400 + 1800)";
	$node->safe_psql('postgres', <<"SQL");
SELECT tradekeep.upsert_candles('GROWN', '1m', (SELECT jsonb_agg(jsonb_set(bar, '{5}', to_jsonb((bar ->> 5)::float8 / 2))) FROM jsonb_array_elements($bars) AS bar), false),
	tradekeep.upsert_candles('GROWN', '1m', $bars) FROM feed;
SQL
}

for my $symbol (qw(SHUFFLED TWICE GROWN))
{
	is( $node->safe_psql('postgres', <<"SQL"),
SELECT count(*), count(*) FILTER (WHERE row(a.open, a.high, a.low, a.close, a.volume, a.closed, a.sources)
	IS NOT DISTINCT FROM row(b.open, b.high, b.low, b.close, b.volume, b.closed, b.sources))
FROM tradekeep.candles('BTC', '1m') AS a FULL JOIN tradekeep.candles('$symbol', '1m') AS b USING (ts);
SQL
		'13681|13681', "$symbol comes to the same");
}

is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*) FROM feed, jsonb_array_elements(ohlcv) AS bar
JOIN tradekeep.candle AS c ON c.symbol = 'BTC' AND c.timeframe = '1m' AND c.ts = to_timestamp((bar ->> 0)::numeric / 1000)
WHERE row(c.open, c.high, c.low, c.close, c.volume) = row((bar ->> 1)::float8, (bar ->> 2)::float8, (bar ->> 3)::float8, (bar ->> 4)::float8, (bar ->> 5)::float8);
SQL
	'13681', 'each bar has its numbers to the last bit');
is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*), sum(minutes) FROM (SELECT extract(epoch FROM ts - lag(ts) OVER (ORDER BY ts))::int / 60 - 1 AS minutes
	FROM tradekeep.candles('BTC', '1m')) AS gap WHERE minutes > 0;
SQL
	'538|717', 'the gaps are where they were');
is( $node->safe_psql('postgres', "SELECT min(ts) AT TIME ZONE 'UTC', max(ts) AT TIME ZONE 'UTC' FROM tradekeep.candles('BTC', '1m')"),
	'2017-11-04 23:02:00|2017-11-14 22:59:00', 'from the first to the last');
is( $node->safe_psql('postgres', "SELECT count(*), min(ts) AT TIME ZONE 'UTC' FROM tradekeep.latest_candles('BTC', '1m', 60)"),
	$node->safe_psql('postgres', "SELECT count(*), min(ts) AT TIME ZONE 'UTC' FROM (SELECT ts FROM tradekeep.candle WHERE symbol = 'BTC' ORDER BY ts DESC LIMIT 60) AS t"),
	'the latest are the latest');

$node->stop;
done_testing();
