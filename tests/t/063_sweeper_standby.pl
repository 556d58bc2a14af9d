# A standby has no sweeper and can be asked about it; promoted, it sweeps by itself.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $primary = Tradekeep::new_node('primary', allows_streaming => 1);
$primary->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
log_statement = none
tradekeep.sweep_interval = '100ms'
CONF
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION tradekeep;
CREATE TABLE event (id int PRIMARY KEY, expires_at timestamptz);
SELECT tradekeep.set_ttl('event', 'expires_at', create_index => true);
SQL
$primary->poll_query_until('postgres', 'SELECT count(*) >= 3 FROM tradekeep.sweep_state') or die 'the primary does not sweep';
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;

# The primary leaves expired rows.
$primary->safe_psql('postgres', "ALTER SYSTEM SET tradekeep.sweep = off");
$primary->safe_psql('postgres', 'SELECT pg_reload_conf()');
$primary->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'tradekeep sweeper'")
  or die 'the primary goes on';
$primary->safe_psql('postgres', <<'SQL');
SELECT tradekeep.claim('s', 'expired', '1 ms'), tradekeep.claim('s', 'live', '1 day');
INSERT INTO event VALUES (1, now() - interval '1 hour'), (2, 'infinity');
SQL
$primary->wait_for_catchup($standby);

sub ask { return $standby->safe_psql('postgres', $_[0]); }

is(ask("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'tradekeep'"), '0', 'a standby has no launcher and no worker');
is(ask('SELECT tradekeep.sweeper_running()'), 'f', 'and sweeper_running() says so');
is(ask("SELECT status FROM tradekeep.doctor() WHERE check_name = 'sweeper'"), 'ok', 'which doctor() finds right');
is(ask("SELECT count(*) FROM tradekeep.sweep_status WHERE last_run IS NOT NULL AND relation::text ~ 'event|claim|signal'"), '3', 'sweep_status works');
is(ask("SELECT indexed, expired_rows > 0, lag >= '1 hour', failures FROM tradekeep.sweep_status WHERE relation = 'event'::regclass"),
	't|t|t|0', 'and knows the backlog');
is(ask("SELECT tradekeep.preview_ttl('event')"), '1', 'preview_ttl() counts');
for my $call ('CALL tradekeep.sweep()', "CALL tradekeep.sweep('event')", "SELECT tradekeep.set_ttl('event', 'expires_at')",
	"SELECT tradekeep.pause_ttl('event')", "SELECT tradekeep.drop_ttl('event')")
{
	my ($status, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\n$call", on_error_stop => 0);
	like($err, qr/ERROR:  25006: cannot execute tradekeep\.\w+\(\) on a standby.*HINT/s, "$call is refused");
}
is(ask('SELECT count(*) FROM event'), '2', 'nothing is swept');

$primary->stop;
$standby->promote;
$standby->poll_query_until('postgres',
	"SELECT NOT EXISTS (SELECT FROM event WHERE id = 1) AND NOT EXISTS (SELECT FROM tradekeep.claim WHERE key = 'expired')")
  or die 'promoted, it does not sweep';
pass('promoted, it sweeps by itself');
is(ask('SELECT tradekeep.sweeper_running()'), 't', 'by a launcher of its own');
is(ask("SELECT (SELECT array_agg(id) FROM event), (SELECT array_agg(key) FROM tradekeep.claim)"), '{2}|{live}', 'and takes no live row');
is( ask("SELECT status FROM tradekeep.doctor() WHERE check_name = 'sweeper'"), 'ok', 'doctor() is content');

$standby->stop;
done_testing();
