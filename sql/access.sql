-- access: nothing for PUBLIC, and three levels to open it

SET timezone = 'UTC';
SET datestyle = 'ISO';
\set VERBOSITY sqlstate

-- Nothing of the extension is granted to PUBLIC: no schema, table, view, sequence, function or type.
WITH granted AS (
	SELECT 'schema' AS kind, nspname::text AS name, nspacl AS acl, nspowner AS owner, 'n'::"char" AS class FROM pg_namespace WHERE nspname = 'tradekeep'
	UNION ALL
	SELECT 'relation', oid::regclass::text, relacl, relowner, CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END
	FROM pg_class WHERE relnamespace = 'tradekeep'::regnamespace AND relkind IN ('r', 'v', 'm', 'S', 'p', 'f')
	UNION ALL
	SELECT 'column', attrelid::regclass || '.' || attname, attacl, NULL, NULL
	FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'tradekeep'::regnamespace)
	UNION ALL
	SELECT 'function', oid::regprocedure::text, proacl, proowner, 'f' FROM pg_proc WHERE pronamespace = 'tradekeep'::regnamespace
	UNION ALL
	SELECT 'type', oid::regtype::text, typacl, typowner, 'T' FROM pg_type
	WHERE typnamespace = 'tradekeep'::regnamespace AND typelem = 0 AND typrelid = 0)
SELECT kind, count(DISTINCT name) > 0 OR kind = 'column' AS any,
	string_agg(name, ', ') FILTER (WHERE granted_to_public) AS public
FROM (SELECT kind, name, acl.grantee = 0 AS granted_to_public
	FROM granted LEFT JOIN LATERAL aclexplode(coalesce(granted.acl, acldefault(class, owner))) AS acl ON true) AS grants
GROUP BY kind ORDER BY kind;
-- Nor is there anything of it outside of its schema but operators.
SELECT classid::regclass AS catalog, count(*) > 0 AS any
FROM pg_depend AS d CROSS JOIN LATERAL pg_identify_object(classid, objid, objsubid) AS o
WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'tradekeep') AND deptype = 'e' AND o.schema IS DISTINCT FROM 'tradekeep'
GROUP BY classid ORDER BY classid::regclass::text;
-- What runs with another's rights would need a search_path of its own.
SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'tradekeep'::regnamespace AND prosecdef ORDER BY proname;
-- A procedure that commits cannot have one: its text is qualified.
SELECT proname FROM pg_proc JOIN pg_language AS l ON l.oid = prolang
WHERE pronamespace = 'tradekeep'::regnamespace AND (lanname NOT IN ('c', 'internal') AND NOT (lanname = 'sql' AND prosqlbody IS NOT NULL))
	AND (proconfig IS NULL OR NOT 'search_path=pg_catalog, pg_temp' = ANY (proconfig)) ORDER BY 1;

-- What level each function asks for.
SELECT level, string_agg(name, ' ' ORDER BY name) AS functions
FROM (SELECT DISTINCT level, proname AS name FROM tradekeep.function_access JOIN pg_proc ON oid = function
	WHERE prorettype <> 'trigger'::regtype AND proname !~ '^timeframe_') AS f
GROUP BY level ORDER BY level;

-- Every table can be published, and its rows updated and deleted nevertheless.
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'tradekeep'::regnamespace AND c.relkind = 'r' AND c.relreplident <> 'f'
	AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary);
CREATE ROLE regress_tk_nobody;
CREATE ROLE regress_tk_reader;
CREATE ROLE regress_tk_writer;
CREATE ROLE regress_tk_admin;
SELECT tradekeep.grant_access('regress_tk_reader', 'reader'), tradekeep.grant_access('regress_tk_writer', 'writer'),
	tradekeep.grant_access('regress_tk_admin', 'admin');
-- Each may call the functions of its level and of those below, and no other.
CREATE VIEW pg_temp.callable AS
	SELECT role, f.level, bool_and(has_function_privilege(role, f.function, 'EXECUTE')) AS may_all,
		bool_or(has_function_privilege(role, f.function, 'EXECUTE')) AS may_any
	FROM tradekeep.function_access AS f, unnest('{regress_tk_nobody,regress_tk_reader,regress_tk_writer,regress_tk_admin}'::text[]) WITH ORDINALITY AS r(role, n)
	GROUP BY n, role, f.level ORDER BY n, f.level;
TABLE pg_temp.callable;
-- And on tables and sequences.
CREATE VIEW pg_temp.usable AS
	SELECT c.relname, r.role, string_agg(left(p, 1), '' ORDER BY i) AS privileges
	FROM pg_class AS c,
		unnest('{regress_tk_nobody,regress_tk_reader,regress_tk_writer,regress_tk_admin}'::text[]) WITH ORDINALITY AS r(role, n),
		unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) WITH ORDINALITY AS t(p, i)
	WHERE relnamespace = 'tradekeep'::regnamespace AND relkind IN ('r', 'v') AND has_table_privilege(r.role, c.oid, p)
	GROUP BY c.relname, r.role, n ORDER BY c.relname, n;
TABLE pg_temp.usable;
SELECT relname, role, has_sequence_privilege(role, c.oid, 'USAGE') AS usage, has_sequence_privilege(role, c.oid, 'UPDATE') AS set
FROM pg_class AS c, unnest('{regress_tk_reader,regress_tk_writer,regress_tk_admin}'::text[]) AS role
WHERE relnamespace = 'tradekeep'::regnamespace AND relkind = 'S' ORDER BY 1, 2;

-- In practice.
CREATE FUNCTION public.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN coalesce(answer, 'null');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
-- A table of each one's own, to set policies for.
CREATE TABLE public.own_regress_tk_nobody (ts timestamptz PRIMARY KEY);
CREATE TABLE public.own_regress_tk_reader (LIKE public.own_regress_tk_nobody INCLUDING INDEXES);
CREATE TABLE public.own_regress_tk_writer (LIKE public.own_regress_tk_nobody INCLUDING INDEXES);
CREATE TABLE public.own_regress_tk_admin (LIKE public.own_regress_tk_nobody INCLUDING INDEXES);
ALTER TABLE public.own_regress_tk_nobody OWNER TO regress_tk_nobody;
ALTER TABLE public.own_regress_tk_reader OWNER TO regress_tk_reader;
ALTER TABLE public.own_regress_tk_writer OWNER TO regress_tk_writer;
ALTER TABLE public.own_regress_tk_admin OWNER TO regress_tk_admin;
CREATE TABLE public.attempts AS SELECT * FROM unnest(ARRAY[
	$$SELECT '1m'::tradekeep.timeframe$$,
	$$SELECT tradekeep.candle_start('1h', '2026-01-05Z') IS NOT NULL$$,
	$$SELECT tradekeep.claimed('access', 'k')$$,
	$$SELECT count(*) >= 0 FROM tradekeep.live_claims$$,
	$$SELECT count(*) >= 0 FROM tradekeep.candles('BTC', '1m')$$,
	$$SELECT count(*) FROM tradekeep.health()$$,
	$$SELECT count(*) > 0 FROM tradekeep.doctor()$$,
	$$SELECT tradekeep.claim('access', current_user::text, '1 h')$$,
	$$SELECT tradekeep.claim('access', current_user::text, '1 h')$$,
	$$SELECT claimed FROM tradekeep.claim_or_get('access', current_user::text, '1 h')$$,
	$$SELECT tradekeep.claim_many('access', ARRAY[current_user::text], '1 h')$$,
	$$SELECT tradekeep.release('access', current_user::text)$$,
	$$SELECT tradekeep.should_process_candle(current_user::text, '1m', '2026-01-05Z')$$,
	$$SELECT tradekeep.claim_publish(current_user::text, '2026-01-05Z')$$,
	$$SELECT tradekeep.clear_claims(pattern => current_user || '*') > 0$$,
	$$SELECT tradekeep.upsert_candle(current_user::text, '1m', '2026-01-05Z', 1, 1, 1, 1, 1)$$,
	$$SELECT inserted FROM tradekeep.upsert_candles(current_user::text, '1m', '[[0, 1, 1, 1, 1, 1]]')$$,
	$$SELECT tradekeep.upsert_candle(current_user::text, '1m', '2026-01-05Z', 1, 1, 1, 1, 2)$$,
	$$SELECT tradekeep.clear_claims() >= 0$$,
	$$SELECT tradekeep.set_scope('access', '1 h')$$,
	$$SELECT tradekeep.set_scope('access', NULL)$$,
	$$SELECT count(*) >= 2 FROM tradekeep.sweep_status$$,
	$$SELECT count(*) >= 2 FROM tradekeep.effective_ttl_policy$$,
	$$SELECT count(*) >= 0 FROM tradekeep.sweep_history$$,
	$$SELECT tradekeep.sweeper_running() = tradekeep.preloaded()$$,
	$$SELECT tradekeep.set_ttl(format('public.own_%s', current_user)::regclass, 'ts')$$,
	$$SELECT tradekeep.pause_ttl(format('public.own_%s', current_user)::regclass)$$,
	$$SELECT tradekeep.preview_ttl(format('public.own_%s', current_user)::regclass)$$,
	$$SELECT tradekeep.drop_ttl(format('public.own_%s', current_user)::regclass)$$,
	$$SELECT tradekeep.set_ttl('public.attempts', 'n')$$,
	$$SELECT tradekeep.pause_ttl('tradekeep.claim')$$,
	-- In the transaction of a SELECT, who may call it is told that it cannot.
	$$CALL tradekeep.sweep()$$,
	$$SELECT tradekeep.wake_sweeper()$$,
	$$INSERT INTO tradekeep.ttl_policy (relation, column_name) VALUES ('public.attempts', 'n')$$,
	$$DELETE FROM tradekeep.sweep_state$$,
	$$INSERT INTO tradekeep.access VALUES (current_user, 'admin')$$,
	$$SELECT tradekeep.grant_access(current_user, 'admin')$$,
	$$SELECT tradekeep.apply_access(current_user, 'admin')$$,
	$$SELECT tradekeep.revoke_access('regress_tk_reader')$$,
	$$CREATE TABLE tradekeep.mine ()$$,
	$$SET LOCAL session_replication_role = replica$$]) WITH ORDINALITY AS t(statement, n);
GRANT SELECT ON public.attempts TO PUBLIC;
CREATE TABLE public.outcomes (n bigint, role name, outcome text);
GRANT SELECT, INSERT ON public.outcomes TO PUBLIC;
SET ROLE regress_tk_nobody;
INSERT INTO public.outcomes SELECT n, current_user, public.attempt(statement) FROM public.attempts ORDER BY n;
SET ROLE regress_tk_reader;
INSERT INTO public.outcomes SELECT n, current_user, public.attempt(statement) FROM public.attempts ORDER BY n;
SET ROLE regress_tk_writer;
INSERT INTO public.outcomes SELECT n, current_user, public.attempt(statement) FROM public.attempts ORDER BY n;
SET ROLE regress_tk_admin;
INSERT INTO public.outcomes SELECT n, current_user, public.attempt(statement) FROM public.attempts ORDER BY n;
RESET ROLE;
SELECT statement, max(outcome) FILTER (WHERE role = 'regress_tk_nobody') AS nobody,
	max(outcome) FILTER (WHERE role = 'regress_tk_reader') AS reader,
	max(outcome) FILTER (WHERE role = 'regress_tk_writer') AS writer,
	max(outcome) FILTER (WHERE role = 'regress_tk_admin') AS admin
FROM public.attempts JOIN public.outcomes USING (n) GROUP BY n, statement ORDER BY n;

SET ROLE regress_tk_writer;
CALL tradekeep.sweep();
RESET ROLE;
SELECT count(*) AS policies FROM tradekeep.ttl_policy;
DROP TABLE public.own_regress_tk_nobody, public.own_regress_tk_reader, public.own_regress_tk_writer, public.own_regress_tk_admin;

-- What was granted is remembered, and each level replaces the one before: downwards too.
SELECT * FROM tradekeep.access ORDER BY role;
SELECT tradekeep.grant_access('regress_tk_admin', 'reader'), tradekeep.grant_access('regress_tk_reader', 'writer');
SELECT * FROM tradekeep.access ORDER BY role;
SELECT * FROM pg_temp.callable WHERE role IN ('regress_tk_admin', 'regress_tk_reader');
SELECT relname, privileges FROM pg_temp.usable WHERE role = 'regress_tk_admin';
SELECT relname, privileges FROM pg_temp.usable WHERE role = 'regress_tk_reader';

-- revoke_access() takes it all back.
SELECT tradekeep.revoke_access('regress_tk_admin'), tradekeep.revoke_access('regress_tk_admin') AS again;
SELECT has_schema_privilege('regress_tk_admin', 'tradekeep', 'USAGE') AS schema, has_type_privilege('regress_tk_admin', 'tradekeep.timeframe', 'USAGE') AS type,
	has_function_privilege('regress_tk_admin', 'tradekeep.sweep(regclass)', 'EXECUTE') AS procedure;
SELECT count(*) FROM pg_temp.usable WHERE role = 'regress_tk_admin';
SELECT bool_or(may_any) AS may_any FROM pg_temp.callable WHERE role = 'regress_tk_admin';
SELECT * FROM tradekeep.access ORDER BY role;
DROP ROLE regress_tk_admin;

-- Names that need quotes, and an owner's own role.
CREATE ROLE "regress_tk ""Quoted"", 'role'; --";
SELECT tradekeep.grant_access('regress_tk "Quoted", ''role''; --', 'writer');
SET ROLE "regress_tk ""Quoted"", 'role'; --";
SELECT tradekeep.claim('access', 'quoted', '1 h');
RESET ROLE;
SELECT role FROM tradekeep.access WHERE role ~ 'Quoted';
SELECT tradekeep.revoke_access('regress_tk "Quoted", ''role''; --');
DROP ROLE "regress_tk ""Quoted"", 'role'; --";

-- What cannot be granted.
SELECT role, level, public.attempt(format('SELECT tradekeep.grant_access(%L, %L)', role, level))
FROM (VALUES ('regress_tk_reader', 'owner'), ('regress_tk_reader', ''), ('regress_tk_reader', 'Reader'), ('regress_tk_reader', NULL),
	('regress_tk_none', 'reader'), ('public', 'reader'), ('PUBLIC', 'reader'), ('', 'reader'), (NULL, 'reader'), ('current_user', 'reader')) AS t(role, level);
SELECT role, public.attempt(format('SELECT tradekeep.revoke_access(%L)', role)) FROM unnest('{regress_tk_none,"",public,NULL,regress_tk_nobody}'::text[]) AS role;
SELECT has_function_privilege('regress_tk_nobody', 'tradekeep.health()', 'EXECUTE') AS by_public;

-- A role that is dropped is forgotten when it is revoked; DROP ROLE itself leaves a row behind.
SELECT role, level FROM tradekeep.access ORDER BY role;
DROP ROLE regress_tk_writer;
DROP OWNED BY regress_tk_writer;
DROP ROLE regress_tk_writer;
SELECT tradekeep.revoke_access('regress_tk_writer') AS remembered, tradekeep.revoke_access('regress_tk_reader');
DROP ROLE regress_tk_nobody, regress_tk_reader;
SELECT count(*) FROM tradekeep.access;
DROP TABLE public.attempts, public.outcomes;
DROP FUNCTION public.attempt(text);
SELECT tradekeep.clear_claims() > 0 AS cleared;
DELETE FROM tradekeep.candle;
