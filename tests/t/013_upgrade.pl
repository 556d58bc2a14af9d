# An updated database is what a fresh one is: the same objects with the same definitions, comments
# and privileges; and what was in it stays, sweeping begins by itself, and the old SQL works with
# the new library until then.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('upgrade');
$node->append_conf('postgresql.conf', "tradekeep.sweep_interval = '100ms'");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE reader; CREATE ROLE writer; CREATE ROLE admin; CREATE ROLE gone');

# All that defines an object of the extension, as text.
my $fingerprint = <<'SQL';
SET search_path = pg_catalog;
WITH access AS (
	SELECT 'pg_class'::regclass AS catalog, c.oid, a.grantee, a.privilege_type FROM pg_class AS c, aclexplode(c.relacl) AS a
	UNION ALL SELECT 'pg_proc'::regclass, p.oid, a.grantee, a.privilege_type
	FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
	UNION ALL SELECT 'pg_type'::regclass, t.oid, a.grantee, a.privilege_type
	FROM pg_type AS t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) AS a
	WHERE t.typtype <> 'c' AND t.typelem = 0),
member AS (
	SELECT d.classid, d.objid, i.type || ' ' || i.identity AS name
	FROM pg_depend AS d, pg_identify_object(d.classid, d.objid, 0) AS i
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'tradekeep'))
SELECT name, 'comment', obj_description(objid, classid::regclass::name) FROM member
UNION ALL SELECT name, 'access', coalesce(a.grantee::regrole::text, '') || ' ' || a.privilege_type
FROM member JOIN access AS a ON a.catalog = classid AND a.oid = objid
UNION ALL SELECT name, 'function', CASE WHEN p.prokind = 'a' THEN '' ELSE pg_get_functiondef(objid) END
FROM member JOIN pg_proc AS p ON classid = 'pg_proc'::regclass AND p.oid = objid
UNION ALL SELECT name, 'view', pg_get_viewdef(objid) FROM member JOIN pg_class AS c ON c.oid = objid AND c.relkind = 'v'
UNION ALL SELECT name, 'options', c.relkind::text || c.relpersistence::text || c.reloptions::text
FROM member JOIN pg_class AS c ON classid = 'pg_class'::regclass AND c.oid = objid
UNION ALL SELECT name, 'column ' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attnum,
	pg_get_expr(f.adbin, f.adrelid), a.attcollation::regcollation, col_description(a.attrelid, a.attnum))
FROM member JOIN pg_attribute AS a ON classid = 'pg_class'::regclass AND a.attrelid = objid AND a.attnum > 0
LEFT JOIN pg_attrdef AS f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
UNION ALL SELECT name, 'constraint ' || c.conname, pg_get_constraintdef(c.oid)
FROM member JOIN pg_constraint AS c ON objid IN (c.conrelid, c.contypid)
UNION ALL SELECT name, 'index', pg_get_indexdef(i.indexrelid)
FROM member JOIN pg_index AS i ON classid = 'pg_class'::regclass AND i.indrelid = objid
UNION ALL SELECT name, 'trigger ' || t.tgname, pg_get_triggerdef(t.oid) || t.tgenabled::text
FROM member JOIN pg_trigger AS t ON classid = 'pg_class'::regclass AND t.tgrelid = objid AND NOT t.tgisinternal
UNION ALL SELECT 'extension', 'configuration', c.config::regclass::text || coalesce(c.filter, '')
FROM pg_extension AS e, unnest(e.extconfig, e.extcondition) AS c(config, filter) WHERE e.extname = 'tradekeep'
UNION ALL SELECT 'extension', 'version', extversion FROM pg_extension WHERE extname = 'tradekeep'
ORDER BY 1, 2, 3
SQL

my $grants = join ';', map { "SELECT tradekeep.grant_access('$_', '$_')" } qw(reader writer admin);
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(fresh updated);
$node->safe_psql('fresh', "CREATE EXTENSION tradekeep; $grants");

$node->safe_psql('updated', "CREATE EXTENSION tradekeep VERSION '0.1.0'; $grants");
$node->safe_psql('updated', <<'SQL');
SELECT tradekeep.grant_access('gone', 'reader');
DROP OWNED BY gone;
SELECT tradekeep.claim('s', 'kept', '1 day', '{"order": 7}'), tradekeep.claim('s', 'expired', '1 min', at => '2026-01-01Z');
UPDATE tradekeep.claim SET sweep_after = expires_at WHERE key = 'expired';
SELECT tradekeep.upsert_candle('BTC', '1m', '2026-01-05Z', 1, 1, 1, 1, 1);
SQL
$node->safe_psql('postgres', 'DROP ROLE gone');
is($node->safe_psql('updated', "SELECT tradekeep.claim('s', 'kept', '1 day'), (tradekeep.claim_signal('BTC', 'LONG', 5)).claimed"),
	'f|t', 'the old SQL works with the new library');
is($node->safe_psql('updated', "SELECT status FROM tradekeep.doctor() WHERE check_name = 'versions'"), 'warning', 'and doctor() tells');

$node->safe_psql('updated', 'ALTER EXTENSION tradekeep UPDATE');
my @fresh = split /\n/, $node->safe_psql('fresh', $fingerprint);
my @updated = split /\n/, $node->safe_psql('updated', $fingerprint);
cmp_ok(scalar @fresh, '>', 500, 'a fresh database has much to compare');
is_deeply(\@updated, \@fresh, 'and an updated one is the same');
is($node->safe_psql('updated', "SELECT status FROM tradekeep.doctor() WHERE check_name = 'versions'"), 'ok', 'doctor() is content');

# From versions between, with what only those had; and rollups of what was there.
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(recent rolled);
$node->safe_psql('recent', "CREATE EXTENSION tradekeep VERSION '0.2.0'; $grants");
$node->safe_psql('recent', <<'SQL');
SELECT tradekeep.upsert_candle('BTC', '1m', '2026-01-05Z', 1, 1, 1, 1, 1), tradekeep.upsert_ticks('BTC', '1m', '[[1767571260000, "1", 2, 3]]');
SELECT tradekeep.set_candle_retention('1m', '100 years'), tradekeep.cleanup_old_candles('90 years');
ALTER EXTENSION tradekeep UPDATE;
SQL
is($node->safe_psql('recent', $fingerprint), join("\n", @fresh), 'so is one that comes from 0.2.0');
is($node->safe_psql('recent', "SELECT tradekeep.add_rollup('1m', '5m'); SELECT sources, high, volume FROM tradekeep.candle WHERE timeframe = '5m'"),
	"t\n2|2|4", 'and what was there is rolled up');

$node->safe_psql('rolled', "CREATE EXTENSION tradekeep VERSION '0.3.0'; $grants");
$node->safe_psql('rolled', "SELECT tradekeep.add_rollup('1m', '5m'), tradekeep.upsert_candle('BTC', '1m', '2026-01-05Z', 1, 1, 1, 1, 1)");
$node->safe_psql('rolled', 'ALTER EXTENSION tradekeep UPDATE');
is($node->safe_psql('rolled', "SELECT tradekeep.upsert_candle('BTC', '1m', '2026-01-05 00:01Z', 1, 3, 1, 1, 1); SELECT sources, high FROM tradekeep.candle WHERE timeframe = '5m'"),
	"inserted\n2|3", 'one from 0.3.0 rolls up as before');
is($node->safe_psql('rolled', "SELECT tradekeep.drop_rollup('5m'); $fingerprint"), "t\n" . join("\n", @fresh), 'and is the same');
# The library comes before the SQL: until the update, caches are told of nothing.
$node->safe_psql('postgres', 'CREATE DATABASE released');
$node->safe_psql('released', "CREATE EXTENSION tradekeep VERSION '0.4.0'; $grants");
my $release = <<'SQL';
SET ROLE admin;
SELECT count(*) FILTER (WHERE tradekeep.claim('s', k, '1 h')), (SELECT claimed FROM tradekeep.claim_signal('BTC', 'LONG', 5)) FROM unnest('{a,b,c}'::text[]) AS k;
SELECT tradekeep.release('s', 'a'), tradekeep.release('s', 'd', tradekeep.claim_lease('s', 'd', '1 h', '1 h')), tradekeep.clear_claims('s', 'b'),
	tradekeep.clear_claims(), tradekeep.clear_signals(), tradekeep.set_scope('s', '1 h'), tradekeep.set_scope('s', NULL);
SQL
is($node->safe_psql('released', "$release RESET ROLE; ALTER EXTENSION tradekeep UPDATE; $release SELECT subject, n FROM tradekeep.cache_version ORDER BY subject"),
	"3|t\nt|t|1|1|1||\n3|t\nt|t|1|1|1||\nclaim|1\nclaim:s|2\nsignal|1", 'and in one session before and after the update, when caches are told');
is($node->safe_psql('released', $fingerprint), join("\n", @fresh), 'one from 0.4.0 is the same, too');

is($node->safe_psql('updated', "SET ROLE writer; SELECT tradekeep.add_trade('1', 's', 'BTC', 'LONG', 1, 100, 110, closed_at => '2026-01-05Z'); SELECT total_pnl FROM tradekeep.trade_stats()"),
	"t\n10", 'trades are kept and reckoned');

ok($node->poll_query_until('updated', "SELECT NOT EXISTS (SELECT FROM tradekeep.claim WHERE key = 'expired')"),
	'sweeping begins by itself');
is($node->safe_psql('updated', "SELECT tradekeep.claim('s', 'kept', '1 day'), (SELECT data FROM tradekeep.claim WHERE key = 'kept'), (SELECT count(*) FROM tradekeep.candle)"),
	'f|{"order": 7}|1', 'what was there is there');
is($node->safe_psql('updated', "SET ROLE reader; SELECT count(*) > 0 FROM tradekeep.sweep_status"), 't', 'a reader reads what is new');

$node->stop;
done_testing();
