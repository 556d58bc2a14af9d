# A duplicate, and a candle that is unchanged, write nothing: no WAL, no transaction id, no tuple.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

# Nothing else writes: no autovacuum, no checkpoint, no statistics that make anybody vacuum.
my $node = Tradekeep::new_node('quiet');
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
checkpoint_timeout = '1h'
bgwriter_lru_maxpages = 0
wal_level = minimal
max_wal_senders = 0
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');

my $bars = '[[1767225600000, 1, 2, 0.5, 1, 10], [1767225660000, 1, 2, 0.5, 1, 10]]';
my $arrays =
  "ARRAY['A','B'], ARRAY['1m','1m']::tradekeep.timeframe[], ARRAY['2026-01-01 00:00Z','2026-01-01 00:00Z']::timestamptz[],"
  . " ARRAY[1,1], ARRAY[2,2], ARRAY[0.5,0.5], ARRAY[1,1], ARRAY[10,10]";
my %calls = (
	'claim' => "SELECT tradekeep.claim('s', 'one', '1 hour')",
	'claim with the ttl of its scope' => "SELECT tradekeep.claim('signal', 'two')",
	'claim_or_get' => "SELECT claimed FROM tradekeep.claim_or_get('s', 'got', '1 hour', '{\"a\": 1}')",
	'claim_many' =>
	  "SELECT true = ANY (tradekeep.claim_many('s', ARRAY(SELECT i::text FROM generate_series(1, 500) AS i), '1 hour'))",
	'should_process_candle' => "SELECT tradekeep.should_process_candle('BTC', '15m', '2026-01-01 10:15:10Z', ttl => '100 years')",
	'should_process_candles' =>
	  "SELECT true = ANY (tradekeep.should_process_candles('{ETH,SOL}', '15m', '2026-01-01 10:15:10Z', ttl => '100 years'))",
	'claim_publish' => "SELECT tradekeep.claim_publish('BTC', '2026-01-01 10:15Z')",
	'claim_publish_many' => "SELECT true = ANY (tradekeep.claim_publish_many('{ETH,SOL}', '2026-01-01 10:15Z'))",
	'claim_lease' => "SELECT tradekeep.claim_lease('s', 'leased', '1 hour', '1 hour') IS NOT NULL",
	'claim_signal' => "SELECT claimed FROM tradekeep.claim_signal('BTC', 'LONG', 100)",
	'claim_to_remember' => "SELECT claimed FROM tradekeep.claim_to_remember('s', 'remembered', '1 hour')",
	'claim_signal_to_remember' => "SELECT claimed FROM tradekeep.claim_signal_to_remember('BTC', 'SHORT', 100)",
	'claim_signals' =>
	  "SELECT bool_or(claimed) FROM tradekeep.claim_signals('[{\"symbol\": \"ETH\", \"direction\": \"LONG\", \"entry_price\": 5}]')",
	'upsert_candle' =>
	  "SELECT tradekeep.upsert_candle('BTC', '1m', '2026-01-01 00:00Z', 1, 2, 0.5, 1, 10) <> 'unchanged'",
	'upsert_candles, JSON' => "SELECT inserted + updated > 0 FROM tradekeep.upsert_candles('XRP', '1m', '$bars')",
	'upsert_candles, arrays' => "SELECT inserted + updated > 0 FROM tradekeep.upsert_candles($arrays)",
);

for my $name (sort keys %calls)
{
	my $call = $calls{$name};

	is($node->safe_psql('postgres', $call), 't', "$name: new at first");
	# Hint bits and pruning are any reader's: let them happen before, in the catalogs too. What
	# counts is the last of two equal looks, in one session, so that nothing comes between.
	$node->safe_psql('postgres', "$call; VACUUM tradekeep.claim, tradekeep.signal, tradekeep.candle; CHECKPOINT");
	my $look = <<"SQL";
SELECT pg_current_wal_insert_lsn() AS lsn, pg_snapshot_xmax(pg_current_snapshot()) AS xid \\gset
BEGIN;
SELECT string_agg(a::text, ',') FROM ($call) AS t(a);
SELECT pg_current_xact_id_if_assigned() IS NULL;
COMMIT;
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), :'lsn');
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint - :xid;
SQL
	my ($answers, $xids, $lsn, $next) = (split /\n/, $node->safe_psql('postgres', $look . $look))[4 .. 7];
	is($answers, 'false', "$name: a duplicate afterwards");
	is($xids, 't', "$name: without a transaction id of its own");
	is($lsn, '0', "$name: without WAL");
	is($next, '0', "$name: and the counter of transaction ids stands still");
}
is( $node->safe_psql('postgres',
		"SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = 'tradekeep'"),
	'0', 'no dead tuple anywhere');

$node->stop;
done_testing();
