# Leases as a model has them: many workers take short leases on the same keys, extend, complete and
# release them, die in the middle, and go on after their lease ran out; the server is restarted and
# killed meanwhile. No key is completed twice, and tokens grow with every grant.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $workers = 10;
my $keys = 400;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('lease');
# What is expired is looked at, too.
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->append_conf('postgresql.conf', "max_connections = 40\nrestart_after_crash = off");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION tradekeep;

-- What was answered, written in the same transaction, and so under the lock of the key's row: on each
-- key, place is the order in which things happened.
CREATE TABLE event (place bigserial, what text, key int, token bigint);

-- One step of a worker that holds `token` on `its_key`, or nothing; returns what it holds then.
CREATE FUNCTION step(INOUT its_key int, INOUT token bigint, keys int, result jsonb) LANGUAGE plpgsql AS $$
DECLARE
	dice float8 := random();
BEGIN
	IF token IS NULL THEN
		-- All of them crowd on the first keys that are not done yet.
		SELECT 1 + count(*) + floor(random() * 5) INTO its_key FROM event WHERE what = 'completed';
		token := tradekeep.claim_lease('work', its_key::text, interval '1 ms' * (1 + floor(random() * 12)), '1 day');
		INSERT INTO event (what, key, token) SELECT 'granted', its_key, step.token WHERE step.token IS NOT NULL;
	ELSIF dice < 0.4 THEN
		PERFORM tradekeep.extend_lease('work', its_key::text, token, interval '1 ms' * (1 + floor(random() * 12)));
		INSERT INTO event (what, key, token) VALUES ('extended', its_key, step.token);
	ELSIF dice < 0.75 THEN
		IF tradekeep.complete('work', its_key::text, token, result) THEN
			INSERT INTO event (what, key, token) VALUES ('completed', its_key, step.token);
		ELSIF NOT EXISTS (SELECT FROM event AS e WHERE (e.what, e.key, e.token) = ('completed', its_key, step.token)) THEN
			INSERT INTO event (what, key, token) VALUES ('completed by nobody', its_key, step.token);
		END IF;
		IF random() < 0.7 THEN	-- else it asks again
			token := NULL;
		END IF;
	ELSIF dice < 0.9 THEN
		IF tradekeep.release('work', its_key::text, token) THEN
			INSERT INTO event (what, key, token) VALUES ('released', its_key, step.token);
		END IF;
		token := NULL;
	ELSIF dice < 0.93 THEN
		-- It dies, sometimes with something done that is not committed.
		IF random() < 0.5 THEN
			PERFORM tradekeep.extend_lease('work', its_key::text, token, '1 day');
		END IF;
		PERFORM pg_terminate_backend(pg_backend_pid());
	END IF;
EXCEPTION WHEN SQLSTATE 'TK008' THEN
	token := NULL;
END
$$;

CREATE PROCEDURE work(keys int) LANGUAGE plpgsql AS $$
DECLARE
	its_key int;
	token bigint;
BEGIN
	WHILE (SELECT count(*) < keys FROM event WHERE what = 'completed') LOOP
		SELECT * INTO its_key, token FROM step(its_key, token, keys, to_jsonb(token));
		COMMIT;
	END LOOP;
END
$$;
SQL

# Each worker begins anew after it died; after two minutes it gives up.
my $loop = 'for i in $(seq 10000); do psql -XAtq -d "$0" -c "CALL work($1)" && exit 0; done; exit 1';

sub work
{
	my ($until, $disturb) = @_;
	my @handles = map {
		IPC::Run::start([ 'bash', '-c', $loop, $node->connstr('postgres'), $until ],
			'>', '/dev/null', '2>', '/dev/null', IPC::Run::timeout(120))
	} 1 .. $workers;
	if ($disturb)
	{
		my $floor = $until - $keys / 8;
		$node->poll_query_until('postgres', "SELECT count(*) > $floor FROM event WHERE what = 'completed'")
		  or die 'the workers stand still';
		$disturb->();
	}
	$_->finish for @handles;
	return;
}

my %checks = (
	'no key was completed twice' => "SELECT key FROM event WHERE what = 'completed' GROUP BY key HAVING count(*) > 1",
	'tokens grow with every grant' =>
	  "SELECT * FROM (SELECT key, token, lag(token) OVER (PARTITION BY key ORDER BY place) AS before FROM event WHERE what = 'granted') AS t WHERE token <= before",
	'no token was granted twice' => "SELECT token FROM event WHERE what = 'granted' GROUP BY token HAVING count(*) > 1",
	'only the last to be granted acts' =>
	  "SELECT * FROM event AS e WHERE token <> (SELECT token FROM event AS g WHERE g.key = e.key AND g.what = 'granted' AND g.place <= e.place ORDER BY place DESC LIMIT 1)",
	'nothing happens after completion, nor by a released token' =>
	  "SELECT * FROM event AS e JOIN event AS l USING (key) WHERE l.place > e.place AND (e.what = 'completed' OR e.what = 'released' AND e.token = l.token)",
	'who hears that it completed before did' => "SELECT * FROM event WHERE what = 'completed by nobody'",
	'the result is that of who completed it' =>
	  "SELECT * FROM event AS e LEFT JOIN tradekeep.live_claims AS c ON c.key = e.key::text WHERE e.what = 'completed' AND (c.state, c.token, c.data) IS DISTINCT FROM ('completed', e.token, to_jsonb(e.token))");

sub check
{
	my ($when) = @_;
	is($node->safe_psql('postgres', "SELECT count(*) FROM ($checks{$_}) AS wrong"), '0', "$when: $_") for sort keys %checks;
	return;
}

work($keys / 4, sub { $node->restart });
check('after a restart');
work($keys / 2, sub { Tradekeep::crash($node); $node->start });
check('after a crash');
work($keys, undef);
check('in the end');

is( $node->safe_psql('postgres', "SELECT what, count(*) > 50 FROM event WHERE what <> 'extended' GROUP BY 1 ORDER BY 1"),
	"completed|t\ngranted|t\nreleased|t",
	'much was going on');
cmp_ok(
	$node->safe_psql('postgres', "SELECT count(*) FROM event WHERE what = 'granted'"),
	'>', $keys + $node->safe_psql('postgres', "SELECT count(*) FROM event WHERE what = 'released'"),
	'leases were taken over');

# In a restored database tokens go on where they were, and what was completed stays so.
$node->safe_psql('postgres', "SELECT tradekeep.claim_lease('work', 'held', '1 hour', '1 day')");
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$tmp/dump", '-d', $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), "$tmp/dump" ], 'restore');
is( $node->safe_psql('restored', <<'SQL'), '0|t|t', 'leases survive dump and restore');
SELECT (SELECT count(*) FROM event, tradekeep.claim_lease('work', key::text, '1 h', '1 h') AS again WHERE what = 'completed' AND again IS NOT NULL),
	tradekeep.claim_lease('work', 'held', '1 h', '1 h') IS NULL,
	tradekeep.claim_lease('work', 'new', '1 h', '1 h') > (SELECT max(token) FROM tradekeep.claim)
SQL
is($node->safe_psql('restored', "SELECT tradekeep.complete('work', 'held', token, '1') FROM tradekeep.claim WHERE key = 'held'"),
	't', 'and their holders complete them there');

$node->stop;
done_testing();
