# What users put in survives dump and restore: claims live and expired, settings, candles, grants.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('dump');
# What is expired is looked at, too.
$node->append_conf('postgresql.conf', 'tradekeep.sweep = off');
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE bot; CREATE ROLE "Odd Role"');
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION tradekeep;
SELECT tradekeep.claim('s', 'live', '1 h', '{"order": 7}');
SELECT tradekeep.claim('s', 'replayed', '1 h', at => '2026-01-01 00:00Z');
SELECT tradekeep.claim('s', 'ünï"code''s \ key', '1 h');
SELECT tradekeep.set_scope('candle', '3 h');
SELECT tradekeep.set_scope('own', '15 min');
SELECT tradekeep.upsert_candle('BTC', tf, tradekeep.candle_start(tf, '2026-01-05 10:15Z'), 0.1, 0.3, 0.1, 0.2, 1e-10, tf < '1d')
FROM unnest('{1s,1m,4h,1d,3d,1w,1M}'::tradekeep.timeframe[]) AS tf;
SELECT tradekeep.grant_access('bot', 'writer');
SELECT tradekeep.grant_access('Odd Role', 'reader');
SQL

my $rows = <<'SQL';
SELECT md5(string_agg(c::text, ';' ORDER BY scope, key)) FROM tradekeep.claim AS c
UNION ALL SELECT md5(string_agg(s::text, ';' ORDER BY scope)) FROM tradekeep.scope AS s
UNION ALL SELECT md5(string_agg(c::text, ';' ORDER BY timeframe)) FROM tradekeep.candle AS c
UNION ALL SELECT md5(string_agg(a::text, ';' ORDER BY role)) FROM tradekeep.access AS a
SQL
my $grants = <<'SQL';
SELECT grantee, object, privilege FROM (
	SELECT a.grantee::regrole::text AS grantee, c.oid::regclass::text AS object, a.privilege_type AS privilege
	FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.relnamespace = 'tradekeep'::regnamespace
	UNION ALL
	SELECT a.grantee::regrole::text, p.oid::regprocedure::text, a.privilege_type
	FROM pg_proc AS p, aclexplode(p.proacl) AS a WHERE p.pronamespace = 'tradekeep'::regnamespace) AS g
ORDER BY 1, 2, 3
SQL
my $rows_before = $node->safe_psql('postgres', $rows);
my $grants_before = $node->safe_psql('postgres', $grants);
like($grants_before, qr/bot\|tradekeep\.claim\|INSERT/, 'there are grants to keep');

for my $format ('plain', 'custom', 'directory')
{
	my $file = "$tmp/dump.$format";

	$node->command_ok([ 'pg_dump', '-F', $format, '-f', $file, '-d', $node->connstr('postgres') ], "$format: dump");
	$node->safe_psql('postgres', "CREATE DATABASE $format");
	$node->command_ok(
		$format eq 'plain'
		? [ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr($format) ]
		: [ 'pg_restore', '-e', '-d', $node->connstr($format), $file ],
		"$format: restore");
	is($node->safe_psql($format, $rows), $rows_before, "$format: every row is as before");
	is($node->safe_psql($format, $grants), $grants_before, "$format: every grant is as before");
	is($node->safe_psql($format, "SELECT tradekeep.claim_many('s', ARRAY['live', E'\\u00fcn\\u00ef\"code''s \\\\ key', 'new'], '1 h')"),
		'{f,f,t}', "$format: what was claimed stays claimed");
	is( $node->safe_psql($format,
			"SELECT tradekeep.should_process_candle('X', '1m', '2026-01-01 00:00:10Z');"
			  . " SELECT expires_at = '2026-01-01 03:01:00Z' FROM tradekeep.claim WHERE key LIKE 'X:%'"),
		"t\nt", "$format: a built-in scope that was changed stays changed");
	is($node->safe_psql($format, "SET ROLE bot; SELECT tradekeep.claim('own', 'k')"), 't', "$format: the bot goes on");
}

$node->stop;
done_testing();
