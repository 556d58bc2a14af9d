\echo Use "CREATE EXTENSION tradekeep" to load this file. \quit

-- The schema is ours alone: in one that others own, or may create in, objects of theirs could stand in
-- for ours. CREATE EXTENSION has just made it, or found it.
DO $$
DECLARE
	owner name;
BEGIN
	SELECT r.rolname INTO owner
	FROM pg_catalog.pg_namespace AS n
	JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
	WHERE n.nspname OPERATOR(pg_catalog.=) 'tradekeep'
		AND (NOT r.rolsuper
			OR EXISTS (SELECT FROM pg_catalog.aclexplode(n.nspacl) AS a
				WHERE a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
					AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner)
			OR EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace OPERATOR(pg_catalog.=) n.oid)
			OR EXISTS (SELECT FROM pg_catalog.pg_type AS t WHERE t.typnamespace OPERATOR(pg_catalog.=) n.oid)
			OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.pronamespace OPERATOR(pg_catalog.=) n.oid)
			OR EXISTS (SELECT FROM pg_catalog.pg_operator AS o WHERE o.oprnamespace OPERATOR(pg_catalog.=) n.oid));
	IF FOUND THEN
		RAISE EXCEPTION 'schema tradekeep exists and belongs to "%"', owner
			USING ERRCODE = 'duplicate_schema',
			DETAIL = 'It has to be empty, of a superuser, and closed to others.',
			HINT = 'Drop or rename that schema first.';
	END IF;
END
$$;

