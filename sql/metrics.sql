-- metrics: how the installation is doing

SET search_path = tradekeep, public;
\set VERBOSITY sqlstate

-- health() is one row about this session's server.
SELECT extension_version = library_version AS versions_agree,
	server_version = current_setting('server_version') AS server,
	preloaded = (current_setting('shared_preload_libraries') ~ '\mtradekeep\M') AS preload, standby, synchronous_commit,
	started_at = pg_postmaster_start_time() AS started, answered_at >= statement_timestamp() AS answered
FROM health();
SELECT (SELECT count(*) FROM health()) AS rows, extension_version = extversion AS version
FROM health(), pg_extension WHERE extname = 'tradekeep';

-- doctor() names its checks, and a remedy wherever one is not passed. Whether the library is preloaded
-- and the disk is trusted depends on the server this runs on.
SELECT check_name, CASE WHEN check_name NOT IN ('preload', 'fsync') THEN status END AS status,
	status IN ('ok', 'warning', 'error') AS known, detail <> '' AS said, (remedy IS NULL) = (status = 'ok') AS mended
FROM doctor();
-- The sweeper runs where the library is preloaded.
SELECT sweeper_running() = preloaded AS sweeper FROM health();
SELECT (status = 'ok') = preloaded AS preload FROM doctor(), health() WHERE check_name = 'preload';
SELECT (status = 'ok') = (current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean) AS fsync
FROM doctor() WHERE check_name = 'fsync';

-- A session that does not wait for its commits may lose what it claimed.
SET synchronous_commit = local;
SELECT synchronous_commit, status, detail FROM health(), doctor() WHERE check_name = 'synchronous_commit';
SET synchronous_commit = off;
SELECT synchronous_commit, status, detail, remedy FROM health(), doctor() WHERE check_name = 'synchronous_commit';
RESET synchronous_commit;
-- Trades that wait to be settled, and changes that nothing marks.
BEGIN;
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl) SELECT n, 'BTC', 'LONG', '2026-01-01Z'::timestamptz + n * interval '1 day', n FROM generate_series(1, 32) AS n;
ALTER TABLE trade DISABLE TRIGGER mark_updated;
SELECT check_name, status, detail, remedy FROM doctor() WHERE check_name LIKE 'trade%';
ROLLBACK;
-- What it says reaches clients of every encoding.
SET client_encoding = latin1;
SELECT count(*) > 0 AS readable FROM doctor();
RESET client_encoding;

-- A role that may look but not claim is told so, and how to ask; one that may claim is not.
CREATE ROLE "regress tk Reader";
CREATE ROLE regress_tk_writer;
SELECT grant_access('regress tk Reader', 'reader'), grant_access('regress_tk_writer', 'writer');
SET ROLE "regress tk Reader";
SELECT status, detail, remedy FROM tradekeep.doctor() WHERE check_name = 'role';
SELECT count(*) FROM tradekeep.health();
SET ROLE regress_tk_writer;
SELECT status, detail, remedy FROM tradekeep.doctor() WHERE check_name = 'role';
RESET ROLE;

-- Both look at nothing of the caller's.
CREATE TEMP TABLE pg_extension (extname name, extversion text);
INSERT INTO pg_extension VALUES ('tradekeep', '99');
SET search_path = pg_temp;
SELECT pg_catalog.count(*) FROM tradekeep.health() AS h WHERE h.extension_version OPERATOR(pg_catalog.=) '99';
SET search_path = tradekeep, public;
DROP TABLE pg_temp.pg_extension;

SELECT revoke_access('regress tk Reader'), revoke_access('regress_tk_writer');
DROP ROLE "regress tk Reader", regress_tk_writer;
