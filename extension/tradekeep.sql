\echo Use "CREATE EXTENSION tradekeep" to load this file. \quit

-- The schema is ours alone: in somebody else's, objects of theirs could stand in for ours.
DO $$
DECLARE
	owner name;
BEGIN
	SELECT r.rolname INTO owner
	FROM pg_catalog.pg_namespace AS n
	JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
	WHERE n.nspname OPERATOR(pg_catalog.=) 'tradekeep' AND NOT r.rolsuper;
	IF FOUND THEN
		RAISE EXCEPTION 'schema tradekeep exists and belongs to "%"', owner
			USING ERRCODE = 'duplicate_schema', HINT = 'Drop or rename that schema first.';
	END IF;
END
$$;

