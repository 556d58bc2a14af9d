# On a standby signals and leases can be looked at; what writes says clearly why not. Once promoted it
# goes on where the primary was.

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
SELECT tradekeep.claim_signal('BTC', 'LONG', 100), tradekeep.set_scope('sliding', '1 h', 'sliding');
SELECT tradekeep.claim('sliding', 'k'), tradekeep.claim_lease('work', 'k', '1 h', '1 h');
INSERT INTO tradekeep.signal (symbol, direction, price, signal_id, sent_at, expires_at, sweep_after)
	SELECT 'BTC', 'LONG', 50, 0, now() - interval '2 d', now() - interval '1 d', now() - interval '1 d';
SQL
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', "SELECT tradekeep.claim_signal('ETH', 'SHORT', 10)");
$primary->wait_for_catchup($standby);

for my $call (
	"claim_signal('BTC', 'LONG', 100)", "claim_signals('[]')",
	"clear_signals('BTC')", "claim('sliding', 'k')",
	"claim_lease('work', 'j', '1 h', '1 h')", "extend_lease('work', 'k', 1, '1 h')",
	"complete('work', 'k', 1)", "release('work', 'k', 1)",
	"set_scope('x', '1 h')", "should_process_candles('{A}', '1m')",
	"claim_publish_many('{A}', '2026-01-05 10:00Z')")
{
	my ($status, $output, $error) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT tradekeep.$call", on_error_stop => 0);
	like($error, qr/ERROR:  25006: cannot execute tradekeep\.\w+\(\) on a standby.*HINT/s, "$call is refused");
}
is($standby->safe_psql('postgres', 'SELECT symbol, direction, price FROM tradekeep.live_signals ORDER BY 1'),
	"BTC|LONG|100\nETH|SHORT|10", 'live_signals works');
is($standby->safe_psql('postgres', "SELECT state FROM tradekeep.live_claims ORDER BY 1"), "claimed\nleased", 'live_claims too');
is($standby->safe_psql('postgres', "SELECT tradekeep.claimed('work', 'k'), live FROM tradekeep.signal_stats()"), 't|2', 'so do the others');

$primary->stop;
$standby->promote;
is($standby->safe_psql('postgres', "SELECT claimed, signal_id FROM tradekeep.claim_signal('BTC', 'LONG', 100.01)"),
	'f|1', 'promoted, it knows the signals');
is($standby->safe_psql('postgres', "SELECT claimed, signal_id > 2 FROM tradekeep.claim_signal('BTC', 'LONG', 200)"),
	't|t', 'and grants new ones, with higher ids');
is($standby->safe_psql('postgres', "SELECT tradekeep.claim_lease('work', 'k', '1 h', '1 h') IS NULL, tradekeep.claim_lease('work', 'j', '1 h', '1 h') > 1"),
	't|t', 'leases and their tokens go on');
is($standby->safe_psql('postgres', "SELECT tradekeep.complete('work', 'k', 1)"), 't', 'and the holder completes its own');

$standby->stop;
done_testing();
