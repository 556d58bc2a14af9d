# Claims that end in milliseconds, claimed again by many sessions while the sweeper takes the expired
# ones away: at no moment has a key two owners, and nobody gets an error.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('sweep_race');
$node->append_conf('postgresql.conf', <<'CONF');
tradekeep.sweep_interval = '100ms'
tradekeep.sweep_batch_size = 2
tradekeep.sweep_rate_limit = 0
autovacuum_naptime = '1s'
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION tradekeep;
CREATE TABLE grant_log (kind text, key text, claimed_at timestamptz, expires_at timestamptz);
SQL

# What was granted is logged in the same transaction. Prices of a signal are far apart or the same.
my %loads = (
	claim => <<'SQL',
\set key random(1, 30)
\set ttl random(5, 60)
INSERT INTO grant_log SELECT 'claim', :key, claimed_at, expires_at
FROM tradekeep.claim_or_get('race', :key::text, :ttl * interval '1 ms') WHERE claimed;
SQL
	signal => <<'SQL',
\set price random(1, 15) * 100
\set ttl random(5, 60)
INSERT INTO grant_log SELECT 'signal', :price, sent_at, expires_at
FROM tradekeep.claim_signal('race', 'LONG', :price, ttl => :ttl * interval '1 ms') WHERE claimed;
SQL
);
for my $load (qw(claim signal))
{
	$node->pgbench('-n -c 4 -j 2 -t 800', 0, [qr/actually processed: 3200\/3200/], [qr/^$/],
		"$load without an error", { $load => $loads{$load} });
}

my $granted = $node->safe_psql('postgres', 'SELECT count(*) FROM grant_log');
cmp_ok($granted, '>', 100, "$granted grants");
is($node->safe_psql('postgres', <<'SQL'), '', 'no two of them at once');
SELECT * FROM (
	SELECT kind, key, claimed_at, max(expires_at) OVER (PARTITION BY kind, key ORDER BY claimed_at
		ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS taken_until FROM grant_log) AS g
WHERE claimed_at < taken_until
SQL
ok( $node->poll_query_until('postgres', <<'SQL'), 'and nothing of it stays');
SELECT NOT EXISTS (SELECT FROM tradekeep.claim) AND NOT EXISTS (SELECT FROM tradekeep.signal)
	AND (SELECT bool_and(total_rows > 0 AND last_error IS NULL) FROM tradekeep.sweep_status
		WHERE relation::text ~ 'claim|signal')
SQL

$node->stop;
done_testing();
