# The extension takes its schema for itself: what others put there beforehand stops it.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('hostile');
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN; GRANT CREATE ON DATABASE postgres TO mallory');

sub sqlstate
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql");
	return $err =~ /ERROR:  (\w+)/ ? $1 : 'none';
}

is(sqlstate('SET ROLE mallory; CREATE EXTENSION tradekeep'), '42501', 'an ordinary role cannot create it');

$node->safe_psql('postgres', 'CREATE SCHEMA tradekeep AUTHORIZATION mallory');
is(sqlstate('CREATE EXTENSION tradekeep'), '42P06', 'nor can anybody in a schema of theirs');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_extension WHERE extname = 'tradekeep'"), '0', 'nothing is left behind');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_operator WHERE oprleft::regtype::text ~ 'timeframe'"), '0', 'no operator either');
$node->safe_psql('postgres', 'DROP SCHEMA tradekeep');

# A superuser's schema is as good as none, as long as it is empty and nobody else creates in it.
$node->safe_psql('postgres', 'CREATE SCHEMA tradekeep; CREATE TABLE tradekeep.claim (scope text, key text)');
is(sqlstate('CREATE EXTENSION tradekeep'), '42P06', 'a table in the way');
$node->safe_psql('postgres', 'DROP TABLE tradekeep.claim');
$node->safe_psql('postgres', "CREATE FUNCTION tradekeep.timeframe_in(cstring) RETURNS text LANGUAGE internal IMMUTABLE AS 'textin'");
is(sqlstate('CREATE EXTENSION tradekeep'), '42P06', 'a function in the way');
$node->safe_psql('postgres', 'DROP FUNCTION tradekeep.timeframe_in(cstring); GRANT CREATE ON SCHEMA tradekeep TO mallory');
is(sqlstate('CREATE EXTENSION tradekeep'), '42P06', 'a role that creates in it');
$node->safe_psql('postgres', 'REVOKE CREATE ON SCHEMA tradekeep FROM mallory');

# What stands in the installer's search_path is not used.
$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA trap;
CREATE FUNCTION trap.sprung(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.sprung);
CREATE FUNCTION trap.octet_length(text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION trap.pg_extension_config_dump(regclass, text) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE DOMAIN trap.text AS pg_catalog.text CHECK (false);
SQL
is(sqlstate('SET search_path = trap, pg_catalog, public; CREATE EXTENSION tradekeep'), 'none', 'created in spite of the search_path');
is($node->safe_psql('postgres', "SELECT tradekeep.claim('s', 'k', '1 hour')"), 't', 'and it works');
is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*) FROM pg_depend JOIN pg_namespace AS n ON refclassid = 'pg_namespace'::regclass AND refobjid = n.oid
WHERE n.nspname = 'trap' AND deptype = 'n' AND objid IN (SELECT oid FROM pg_class WHERE relnamespace = 'tradekeep'::regnamespace)
SQL
	'0', 'without anything of the trap');

# It stays where it is, and others get nothing into it.
is(sqlstate('ALTER EXTENSION tradekeep SET SCHEMA public'), '0A000', 'it cannot move');
is(sqlstate('SET ROLE mallory; CREATE TABLE tradekeep.mine ()'), '42501', 'mallory has no place in it');
is(sqlstate("SET ROLE mallory; SELECT tradekeep.claim('s', 'k', '1 hour')"), '42501', 'nor a say');
is(sqlstate('SET ROLE mallory; CREATE TRIGGER mine BEFORE INSERT ON tradekeep.claim EXECUTE FUNCTION suppress_redundant_updates_trigger()'),
	'42501', 'nor a trigger');

$node->stop;
done_testing();
