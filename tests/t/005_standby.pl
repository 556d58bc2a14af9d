# On a standby what reads works, and what writes says clearly why it does not. Once promoted, the
# standby honours the claims of the primary.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $primary = Tradekeep::new_node('primary', allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION tradekeep;
SELECT tradekeep.claim('s', 'before', '1 h');
SELECT tradekeep.upsert_candle('BTC', '1m', '2026-01-01 00:00Z', 1, 2, 0.5, 1, 10);
SQL
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', "SELECT tradekeep.claim('s', 'after', '1 h')");
$primary->wait_for_catchup($standby);

my %reads = (
	"tradekeep.claimed('s', 'after')" => 't',
	"(SELECT count(*) FROM tradekeep.live_claims)" => '2',
	"(SELECT close FROM tradekeep.candles('BTC', '1m'))" => '1',
	"(SELECT close FROM tradekeep.latest_candles('BTC', '1m', 1))" => '1',
	"(SELECT standby FROM tradekeep.health())" => 't',
	"(SELECT status FROM tradekeep.doctor() WHERE check_name = 'server')" => 'warning',
);
is($standby->safe_psql('postgres', "SELECT $_"), $reads{$_}, "$_ works") for sort keys %reads;

for my $call (
	"claim('s', 'before', '1 h')", "claim('s', 'new', '1 h')", "claim_or_get('s', 'before', '1 h')",
	"claim_many('s', '{before}', '1 h')", "release('s', 'before')", "clear_claims('s')",
	"set_scope('s', '1 h')", "should_process_candle('BTC', '1m')", "claim_publish('BTC', '2026-01-01 00:00Z')",
	"upsert_candle('BTC', '1m', '2026-01-01 00:00Z', 1, 2, 0.5, 1, 10)", "upsert_candles('BTC', '1m', '[]')")
{
	my ($status, $output, $error) =
	  $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT tradekeep.$call", on_error_stop => 0);
	like($error, qr/ERROR:  25006: cannot execute tradekeep\.\w+\(\) on a standby.*HINT/s, "$call is refused");
}

$primary->stop;
$standby->promote;
is($standby->safe_psql('postgres', "SELECT tradekeep.claim_many('s', '{before,after,new}', '1 h')"),
	'{f,f,t}', 'promoted, it honours the claims of the primary, and grants new ones');
is($standby->safe_psql('postgres', "SELECT tradekeep.upsert_candle('BTC', '1m', '2026-01-01 00:00Z', 1, 2, 0.5, 1, 10)"),
	'unchanged', 'and knows its candles');

$standby->stop;
done_testing();
