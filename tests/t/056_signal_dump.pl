# Signals, the ways in which claims end, and the sequences survive dump and restore, in any format.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('signal_dump');
# What is expired is looked at, too.
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION tradekeep;
SELECT tradekeep.claim_signal('BTC', 'LONG', 100 * 1.01 ^ i, data => to_jsonb(i)) FROM generate_series(1, 100) AS i;
SELECT tradekeep.claim_signal('BTC', 'SHORT', 5e-324), tradekeep.claim_signal('BTC', 'SHORT', 1.7976931348623157e308),
	tradekeep.claim_signal('BTC', 'SHORT', 0.1::float8 + 0.2::float8, 0);
INSERT INTO tradekeep.signal (symbol, direction, price, signal_id, sent_at, expires_at, sweep_after)
	SELECT 'OLD', 'LONG', 50, 0, now() - interval '2 d', now() - interval '1 d', now() - interval '1 d';
SELECT tradekeep.set_scope('sliding', '1 h', 'sliding'), tradekeep.set_scope('daily', NULL, 'candle', '1d'),
	tradekeep.set_scope('signal', '2 h');
SELECT tradekeep.claim('sliding', 'k', at => now() - interval '30 min');
SELECT tradekeep.claim_lease('work', 'done', '1 h', '1 d') AS token \gset
SELECT tradekeep.complete('work', 'done', :token, '{"id": 7}');
SELECT tradekeep.claim_lease('work', 'held', '1 h', '1 d');
-- The highest of each are gone from the tables, so that only the sequences know them.
SELECT tradekeep.claim_lease('work', 'released', '1 h', '1 d') AS token \gset
SELECT tradekeep.release('work', 'released', :token);
SELECT tradekeep.claim_signal('CLEARED', 'LONG', 1);
SELECT tradekeep.clear_signals('CLEARED');
SQL
my $rows = <<'SQL';
SELECT md5(string_agg(s::text, ';' ORDER BY signal_id)) FROM tradekeep.signal AS s
UNION ALL SELECT md5(string_agg(c::text, ';' ORDER BY scope, key)) FROM tradekeep.claim AS c
UNION ALL SELECT md5(string_agg(s::text, ';' ORDER BY scope)) FROM tradekeep.scope AS s
SQL
my $before = $node->safe_psql('postgres', $rows);
my $highest_id = $node->safe_psql('postgres', 'SELECT last_value FROM tradekeep.signal_id');
my $highest_token = $node->safe_psql('postgres', 'SELECT last_value FROM tradekeep.lease_token');

for my $format ('custom', 'plain')
{
	my $file = "$tmp/dump.$format";
	$node->safe_psql('postgres', "CREATE DATABASE $format");
	$node->command_ok([ 'pg_dump', "--format=$format", '-f', $file, '-d', $node->connstr('postgres') ], "$format: dump");
	$node->command_ok(
		$format eq 'plain' ? [ 'psql', '-Xqv', 'ON_ERROR_STOP=1', '-d', $node->connstr($format), '-f', $file ]
		: [ 'pg_restore', '-e', '-d', $node->connstr($format), $file ],
		"$format: restore");
	is($node->safe_psql($format, $rows), $before, "$format: every row is as it was");
	is($node->safe_psql($format, "SELECT count(*) FROM tradekeep.live_signals AS s, tradekeep.claim_signal(symbol, direction, s.price, 0) AS c WHERE c.claimed OR c.signal_id <> s.signal_id"),
		'0', "$format: every live signal is a duplicate of itself");
	is($node->safe_psql($format, "SELECT claimed, signal_id > $highest_id FROM tradekeep.claim_signal('OLD', 'LONG', 50)"),
		't|t', "$format: an expired one is not, and ids go on");
	is($node->safe_psql($format, "SELECT tradekeep.claim_lease('work', 'released', '1 h', '1 d') > $highest_token"),
		't', "$format: so do tokens");
	is($node->safe_psql($format, "SELECT tradekeep.claim_lease('work', 'held', '1 h', '1 d') IS NULL, original FROM tradekeep.claim_or_get('work', 'done', '1 d')"),
		't|{"id": 7}', "$format: leases hold, results too");
	is($node->safe_psql($format, "SELECT tradekeep.claim('sliding', 'k')"), 'f', "$format: a sliding claim holds");
	is($node->safe_psql($format, "SELECT expires_at > now() + interval '50 min' FROM tradekeep.claim WHERE key = 'k'"), 't', "$format: and slides");
	is($node->safe_psql($format, "SELECT expires_at = date_trunc('day', '2026-01-05 10:00Z'::timestamptz, 'UTC') + interval '24 h' FROM tradekeep.claim_or_get('daily', 'k', at => '2026-01-05 10:00Z')"),
		't', "$format: a candle scope ends with the candle");
	is($node->safe_psql($format, "SELECT extract(epoch FROM expires_at - sent_at) FROM tradekeep.claim_signal('TTL', 'LONG', 1, ttl => NULL)"),
		'7200.000000', "$format: the ttl of signals is what was set");
}

$node->stop;
done_testing();
