# Without preload everything works that works with it, and each database is a world of its own.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('plain');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(one two);
$node->safe_psql($_, 'CREATE EXTENSION tradekeep') for qw(one two);

is($node->safe_psql('one', 'SELECT preloaded FROM tradekeep.health()'), 'f', 'the library is not preloaded');
is($node->safe_psql('one', "SELECT status FROM tradekeep.doctor() WHERE check_name = 'preload'"), 'warning', 'and doctor() says so');
is($node->safe_psql('one', 'SELECT count(*), count(claimed) FROM tradekeep.claim_stats()'), '1|0', 'nothing is counted, not even 0');

# What a session loads by itself is not preloaded either, and settings of ours do not stop it.
is( $node->safe_psql('one', "SET tradekeep.anything = 'x'; LOAD 'tradekeep'; SELECT preloaded FROM tradekeep.health()"),
	'f', 'neither is what is loaded by hand');

is( $node->safe_psql($_, "SELECT tradekeep.claim('s', 'k', '1 day'), tradekeep.upsert_candle('BTC', '1m', '2026-01-05Z', 1, 1, 1, 1, 1)"),
	't|inserted', "$_: the first to claim gets it") for qw(one two);
$node->safe_psql('one', "SELECT tradekeep.set_scope('s', '1 hour')");
$node->safe_psql('two', "SELECT tradekeep.release('s', 'k')");
is($node->safe_psql('one', "SELECT tradekeep.claim('s', 'k')"), 'f', 'what two releases, one keeps');
my ($status, $out, $err) = $node->psql('two', "\\set VERBOSITY sqlstate\nSELECT tradekeep.claim('s', 'k')");
like($err, qr/TK003/, 'what one configures, two does not know');

# Neither waits for the other.
my $session = $node->background_psql('one');
$session->query_safe('BEGIN');
is($session->query_safe("SELECT tradekeep.claim('s', 'open', '1 day')"), 't', 'one claims and does not commit');
is($node->safe_psql('two', "SET statement_timeout = '60s'; SELECT tradekeep.claim('s', 'open', '1 day')"), 't', 'two claims the same');
$session->query_safe('COMMIT');
$session->quit;

# A database made from another has its claims, and goes its own way.
$node->safe_psql('postgres', 'CREATE DATABASE three TEMPLATE one');
is($node->safe_psql('three', "SELECT tradekeep.claim('s', 'k')"), 'f', 'a copy has the claims');
$node->safe_psql('three', 'DROP EXTENSION tradekeep CASCADE');
$node->restart;
is($node->safe_psql('one', "SELECT tradekeep.claim('s', 'k')"), 'f', 'after a restart claims hold');
$node->safe_psql('postgres', 'DROP DATABASE one');
is($node->safe_psql('two', "SELECT tradekeep.claim('s', 'open', '1 day')"), 'f', 'nor does dropping one matter to two');

$node->stop;
done_testing();
