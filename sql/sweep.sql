-- sweep: how long rows live, and what CALL sweep() takes away

-- A policy that is made here is paused at once, where a sweeper might otherwise come first; who names
-- the table sweeps it all the same.
SET timezone = 'UTC';
SET datestyle = 'ISO';
\set VERBOSITY sqlstate
\pset null (null)
CREATE ROLE regress_tk_owner;
CREATE ROLE regress_tk_other;
CREATE SCHEMA ttl AUTHORIZATION regress_tk_owner;
SELECT tradekeep.grant_access('regress_tk_owner', 'writer'), tradekeep.grant_access('regress_tk_other', 'writer');
GRANT USAGE ON SCHEMA ttl TO regress_tk_other;
SET search_path = ttl, tradekeep;
SET ROLE regress_tk_owner;
CREATE FUNCTION ttl.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN coalesce(answer, 'null');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
-- The rows of a table that stand this far from now, in hours.
CREATE FUNCTION ttl.left_over(relation regclass, column_name name DEFAULT 'ts') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SELECT string_agg(round(extract(epoch FROM %I - now()) / 3600)::text, '','' ORDER BY %1$I) FROM %s', column_name, relation) INTO answer;
	RETURN answer;
END
$$;

-- What a policy may not say.
CREATE TABLE t (id int, ts timestamptz, gone int, at timestamp, on_day date, s bigint, ms bigint, word text,
	number int, list timestamptz[], clock time, money numeric, doc json);
ALTER TABLE t DROP COLUMN gone;
CREATE INDEX ON t (ts);
CREATE TABLE parted (k int, ts timestamptz) PARTITION BY LIST (k);
CREATE VIEW a_view AS SELECT * FROM t;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM t;
CREATE SEQUENCE a_sequence;
CREATE TYPE a_type AS (ts timestamptz);
CREATE DOMAIN moment AS timestamptz;
CREATE TABLE of_domain (ts moment);
CREATE TEMP TABLE a_temp (ts timestamptz);
INSERT INTO t (ts, at, on_day, s, ms) VALUES (now(), now(), now(), extract(epoch FROM now()), extract(epoch FROM now()) * 1000);
RESET ROLE;
CREATE FOREIGN DATA WRAPPER regress_tk_wrapper;
CREATE SERVER regress_tk_server FOREIGN DATA WRAPPER regress_tk_wrapper;
CREATE FOREIGN TABLE a_foreign (ts timestamptz) SERVER regress_tk_server;
ALTER FOREIGN TABLE a_foreign OWNER TO regress_tk_owner;
SET ROLE regress_tk_owner;
SELECT arguments, attempt(format('SELECT set_ttl(%s)', arguments)) AS outcome
FROM unnest(ARRAY[
	$$NULL, 'ts'$$, $$'none', 'ts'$$, $$4294967295, 'ts'$$, $$'t', NULL$$,
	$$'t', 'ts', NULL$$, $$'t', 'ts', '-1 second'$$, $$'t', 'ts', '1 month -1 day'$$, $$'t', 'ts', '-1 month 40 days'$$,
	$$'t', 'ts', '102 years'$$, $$'t', 'ts', '36525 days 1 second'$$,
	$$'a_view', 'ts'$$, $$'a_matview', 'ts'$$, $$'a_temp', 'ts'$$, $$'a_foreign', 'ts'$$, $$'a_sequence', 'last_value'$$,
	$$'t_ts_idx', 'ts'$$, $$'a_type', 'ts'$$,
	$$'t', 'none'$$, $$'t', ''$$, $$'t', 'TS'$$, $$'t', 'ctid'$$, $$'t', 'xmin'$$, $$'t', 'tableoid'$$, $$'t', '........pg.dropped.3........'$$,
	$$'t', 'word'$$, $$'t', 'number'$$, $$'t', 'list'$$, $$'t', 'clock'$$, $$'t', 'money'$$, $$'of_domain', 'ts'$$,
	$$'t', 'ts', unit => 's'$$, $$'t', 'on_day', unit => 'ms'$$, $$'t', 'at', unit => 's'$$, $$'t', 's'$$, $$'t', 's', unit => ''$$,
	$$'t', 's', unit => 'S'$$, $$'t', 's', unit => 'us'$$, $$'t', 's', unit => 'ms'$$, $$'t', 'ms', unit => 's'$$,
	$$'t', 'ts', keep_rows => 0$$, $$'t', 'ts', keep_rows => -1$$, $$'t', 'ts', key_columns => '{id}'$$, $$'t', 'ts', key_columns => '{}'$$,
	$$'t', 'ts', keep_rows => 1, key_columns => '{id,NULL}'$$, $$'t', 'ts', keep_rows => 1, key_columns => '{none}'$$,
	$$'t', 'ts', keep_rows => 1, key_columns => '{xmin}'$$, $$'t', 'ts', keep_rows => 1, key_columns => '{doc}'$$, $$'parted', 'ts', keep_rows => 1$$,
	$$'t', 'ts', batch_size => 0$$, $$'t', 'ts', batch_size => -1$$, $$'t', 'ts', batch_size => 1000001$$,
	$$'t', 'ts', rate_limit => -1$$, $$'t', 'ts', rate_limit => 100000001$$,
	$$'t', 'ts', lock_timeout => '0'$$, $$'t', 'ts', lock_timeout => '-1 s'$$, $$'t', 'ts', lock_timeout => '1 day 1 ms'$$,
	$$'t', 'ts', lock_timeout => '1 us'$$,
	$$'t', 'ts', sweep_interval => '0'$$, $$'t', 'ts', sweep_interval => '-1 s'$$, $$'t', 'ts', sweep_interval => '1 month'$$]) AS arguments;
SELECT count(*) AS nothing_was_kept FROM ttl_policy;
-- Only who owns a table says how long its rows live: not who may write to it, nor who may grant.
GRANT ALL ON ttl.t TO regress_tk_other WITH GRANT OPTION;
SET ROLE regress_tk_other;
SELECT call, attempt(format('SELECT %s', call)) AS outcome
FROM unnest(ARRAY[$$set_ttl('t', 'ts')$$, $$drop_ttl('t')$$, $$pause_ttl('t')$$, $$preview_ttl('t')$$,
	$$set_ttl('tradekeep.claim', 'sweep_after')$$, $$pause_ttl('tradekeep.claim')$$, $$drop_ttl('tradekeep.claim')$$,
	$$set_ttl('pg_class', 'relname')$$]) AS call;
RESET ROLE;
SELECT call, attempt(format('SELECT %s', call)) AS outcome
FROM unnest(ARRAY[$$set_ttl('pg_class', 'relname')$$, $$set_ttl('pg_stat_activity', 'query_start')$$,
	$$set_ttl('tradekeep.claim', 'expires_at')$$, $$set_ttl('tradekeep.claim', 'claimed_at')$$, $$set_ttl('tradekeep.signal', 'sent_at')$$,
	$$set_ttl('tradekeep.claim', 'sweep_after', keep_rows => 5)$$, $$set_ttl('tradekeep.claim', 'sweep_after', unit => 's')$$]) AS call;
-- Nor does anybody write policies, or what became of them, past these functions.
SELECT role, relname, string_agg(privilege, ' ') AS privileges
FROM unnest('{regress_tk_owner,regress_tk_other}'::text[]) AS role, unnest('{ttl_policy,sweep_state,sweep_history}'::text[]) AS relname,
	unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
WHERE has_table_privilege(role, 'tradekeep.' || relname, privilege) GROUP BY 1, 2;
SET ROLE regress_tk_owner;
-- A table without a policy has nothing to pause, to preview or to sweep; dropping none is no error.
SELECT attempt($$SELECT pause_ttl('t')$$) AS pause, attempt($$SELECT preview_ttl('t')$$) AS preview, drop_ttl('t') AS dropped;
CALL sweep('t');
CALL sweep('a_view');
CALL sweep('none');

-- The bounds themselves.
BEGIN;
SELECT set_ttl('t', 'ts', '100 years', 1000000, rate_limit => 100000000, lock_timeout => '1 ms', sweep_interval => '1 day');
SELECT pause_ttl('t');
COMMIT;
SELECT set_ttl('t', 'ts', batch_size => 1, rate_limit => 0, lock_timeout => '1 day', sweep_interval => '1 ms');
TABLE ttl_policy;
-- A new policy replaces the whole of the old one, and is as paused as that was.
SELECT set_ttl('t', 'ms', '1 month 2 days 03:04:05', unit => 'ms');
TABLE ttl_policy;
\set VERBOSITY default
-- Without an index each look reads the whole table: who sets a policy is told, and given the command, or has it made.
SELECT set_ttl('t', 's', unit => 's');
SELECT set_ttl('t', 'on_day', keep_rows => 10, key_columns => '{word,number}');
SELECT set_ttl('t', 'on_day', keep_rows => 10, key_columns => '{word,number}', create_index => true);
SELECT set_ttl('t', 'on_day', keep_rows => 10, key_columns => '{word,number}', create_index => true);
-- Only a btree that begins with the columns, and knows all rows, is of use.
CREATE TABLE indexed (a int, ts timestamptz);
CREATE INDEX ON indexed (ts) WHERE a > 0;
CREATE INDEX ON indexed (a, ts);
CREATE INDEX ON indexed (a) INCLUDE (ts);
CREATE INDEX ON indexed USING brin (ts);
CREATE INDEX ON indexed ((a + 0), ts);
BEGIN;
SELECT set_ttl('indexed', 'ts');
SELECT pause_ttl('indexed');
COMMIT;
CREATE INDEX ON indexed (ts DESC, a);
SELECT set_ttl('indexed', 'ts');
SELECT set_ttl('indexed', 'ts', keep_rows => 1, key_columns => '{a}');
CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (1);
BEGIN;
SELECT set_ttl('parted', 'ts');
SELECT pause_ttl('parted');
COMMIT;
SELECT set_ttl('parted', 'ts', create_index => true);
SELECT indexrelid::regclass FROM pg_index WHERE indrelid IN ('parted'::regclass, 'part_1'::regclass) ORDER BY 1;
\set VERBOSITY sqlstate
SELECT drop_ttl('t'), drop_ttl('t') AS again, drop_ttl('indexed') AS indexed, drop_ttl('parted') AS parted;
DROP TABLE indexed, parted;

-- Times of every kind, seen by their age in UTC, whatever the session's time zone. What is expired to the
-- very instant goes, what is not stays; '-infinity' is long ago, 'infinity' and null never come.
CREATE TABLE kinds (n int, ts timestamptz, at timestamp, on_day date, s bigint, ms bigint);
INSERT INTO kinds (n, ts) SELECT h, now() + h * interval '1 hour' FROM unnest('{-100,-49,-47,-25,-23,-1,1,100}'::int[]) AS h;
INSERT INTO kinds VALUES (1001, '-infinity'), (1002, 'infinity'), (1003, NULL);
UPDATE kinds SET at = ts AT TIME ZONE 'UTC', on_day = (ts AT TIME ZONE 'UTC')::date;
UPDATE kinds SET s = CASE n WHEN 1001 THEN -9223372036854775808 WHEN 1002 THEN 9223372036854775807 ELSE floor(extract(epoch FROM ts)) END WHERE n <> 1003;
UPDATE kinds SET ms = CASE WHEN n IN (1001, 1002) THEN s ELSE floor(extract(epoch FROM ts) * 1000) END;
CREATE TABLE outcomes (zone text, column_name text, keep text, previewed bigint, swept bigint, remaining text, over bigint[]);
-- Days that are over; at midnight more than just before.
CREATE FUNCTION days_over(keep interval) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM ttl.kinds WHERE on_day + interval '1 day' <= clock_timestamp() AT TIME ZONE 'UTC' - keep
$$;
CREATE PROCEDURE check_kinds() LANGUAGE plpgsql AS $$
DECLARE
	kind text; the_zone text; the_keep interval; rows_seen bigint; over bigint[];
BEGIN
	CREATE TABLE probe (LIKE kinds);
	PERFORM set_ttl('probe', 'ts'), pause_ttl('probe');
	COMMIT;
	FOREACH the_zone IN ARRAY '{UTC,Pacific/Kiritimati,Pacific/Pago_Pago}'::text[] LOOP
		FOREACH kind IN ARRAY '{ts,at,on_day,s,ms}'::text[] LOOP
			FOREACH the_keep IN ARRAY '{00:00,1 day,2 days}'::interval[] LOOP
				PERFORM set_config('timezone', the_zone, false);
				TRUNCATE probe;
				-- The greatest epoch is to tell its unit, when the policy is set.
				INSERT INTO probe SELECT k.* FROM kinds AS k WHERE kind NOT IN ('s', 'ms') OR k.n <> 1002;
				PERFORM set_ttl('probe', kind::name, the_keep, unit => CASE WHEN kind IN ('s', 'ms') THEN kind END);
				IF kind IN ('s', 'ms') THEN
					INSERT INTO probe SELECT k.* FROM kinds AS k WHERE k.n = 1002;
				END IF;
				rows_seen := preview_ttl('probe');
				over := ARRAY[days_over(the_keep)];
				COMMIT;
				CALL sweep('probe');
				over := over || days_over(the_keep);
				INSERT INTO outcomes SELECT the_zone, kind, the_keep, rows_seen, (SELECT rows FROM sweep_status WHERE relation = 'probe'::regclass),
					(SELECT string_agg(p.n::text, ',' ORDER BY p.n) FROM probe AS p), over;
			END LOOP;
		END LOOP;
	END LOOP;
	DROP TABLE probe;
END
$$;
SET client_min_messages = warning;
CALL check_kinds();
RESET client_min_messages;
SET timezone = 'UTC';
SELECT column_name, keep, min(previewed) AS previewed, min(swept) AS swept, min(remaining) AS remaining, count(*) AS zones
FROM outcomes WHERE column_name <> 'on_day' GROUP BY 1, 2 HAVING min(remaining) = max(remaining) AND min(previewed) = max(previewed) AND min(swept) = max(swept)
ORDER BY 1, 2;
-- A date is over when its day is.
SELECT zone, keep, previewed <= swept AS as_previewed, swept = ANY (over) AS as_reckoned,
	remaining ~ '(^|,)1002,1003$' AS timeless, remaining !~ '1001' AS began
FROM outcomes WHERE column_name = 'on_day' ORDER BY 1, 2;
DROP TABLE kinds, outcomes;

-- Months are the calendar's, in UTC.
CREATE TABLE months (keep interval, expected boolean, ts timestamptz);
CREATE PROCEDURE check_months() LANGUAGE plpgsql AS $$
DECLARE
	the_keep interval;
BEGIN
	PERFORM set_ttl('months', 'ts'), pause_ttl('months');
	FOREACH the_keep IN ARRAY '{1 month,2 months,1 year 1 month,1 month 1 day 01:00,11 months,99 years 11 months}'::interval[] LOOP
		PERFORM set_ttl('months', 'ts', the_keep);
		INSERT INTO months SELECT the_keep, live, ((now() AT TIME ZONE 'UTC' - the_keep) AT TIME ZONE 'UTC') + CASE WHEN live THEN interval '1 hour' ELSE '0' END
		FROM unnest('{t,f}'::boolean[]) AS live;
		COMMIT;
		CALL sweep('months');
		UPDATE months SET ts = now();
	END LOOP;
END
$$;
SET timezone = 'America/New_York';
SET client_min_messages = warning;
CALL check_months();
RESET client_min_messages;
SET timezone = 'UTC';
SELECT keep, expected FROM months ORDER BY keep;
DROP TABLE months;

-- Names of every kind: reserved words, quotes, capitals, the names that a query might use itself.
RESET ROLE;
CREATE SCHEMA "Odd ""Schema""" AUTHORIZATION regress_tk_owner;
SET ROLE regress_tk_owner;
CREATE PROCEDURE check_names() LANGUAGE plpgsql AS $$
DECLARE
	the_name text; relation text; n bigint; by_count bigint;
BEGIN
	FOREACH the_name IN ARRAY ARRAY['select', 'a"b', 'CamelCase', 'with space', 'value', 'id', 'row', 'place', 't', 'r', 'expired', 'gone', 'surplus',
		'from', '''', '\', '%s', 'ünï', ';--', 'count', repeat('n', 63)] LOOP
		relation := format('"Odd ""Schema""".%I', the_name);
		EXECUTE format('CREATE TABLE %s (%I timestamptz, k int)', relation, the_name);
		EXECUTE format('INSERT INTO %s SELECT now() - h * interval ''1 hour'', h %% 2 FROM generate_series(-2, 5) AS h', relation);
		PERFORM set_ttl(relation, the_name::name, '2 hours', create_index => true), pause_ttl(relation);
		n := preview_ttl(relation);
		COMMIT;
		CALL sweep(relation);
		EXECUTE format('SELECT preview_ttl(%L) + abs(count(*) - 4) FROM %1$s', relation) INTO by_count;
		n := n + by_count;
		EXECUTE format('ALTER TABLE %s RENAME COLUMN k TO "k""%s"', relation, replace(left(the_name, 50), '"', '""'));
		EXECUTE format('ALTER TABLE %s ADD COLUMN k int DEFAULT 0', relation);
		PERFORM set_ttl(relation, the_name::name, keep_rows => 1, key_columns => ARRAY['k"' || left(the_name, 50), 'k']::name[], create_index => true);
		n := n * 10 + preview_ttl(relation);
		COMMIT;
		CALL sweep(relation);
		EXECUTE format('SELECT count(*) FROM %s', relation) INTO by_count;
		-- Of three keys one has a row behind the newest.
		IF n <> 41 OR by_count <> 3 THEN
			RAISE WARNING '%: % and %', the_name, n, by_count;
		END IF;
		EXECUTE format('DROP TABLE %s', relation);
	END LOOP;
END
$$;
SET client_min_messages = warning;
CALL check_names();
RESET client_min_messages;
RESET ROLE;
DROP SCHEMA "Odd ""Schema""";
SET ROLE regress_tk_owner;

-- Retention by count: so many rows of each key stay, exactly, the newest of them; of equals any. Null keys are a
-- key of their own; rows whose time is null are not counted and stay.
CREATE TABLE counted (k text, j int, ts timestamptz, n int);
INSERT INTO counted SELECT k, 0, now() - n * interval '1 hour', n FROM unnest('{a,b,NULL}'::text[]) AS k, generate_series(1, 10) AS n;
INSERT INTO counted SELECT 'ties', 0, now() - interval '1 day', n FROM generate_series(1, 10) AS n;
INSERT INTO counted SELECT 'few', 0, now() - interval '10 years' - n * interval '1 hour', n FROM generate_series(1, 2) AS n;
INSERT INTO counted SELECT 'timeless', 0, NULL, n FROM generate_series(1, 5) AS n;
INSERT INTO counted SELECT 'future', 0, now() + n * interval '1 day', n FROM generate_series(1, 5) AS n;
INSERT INTO counted SELECT 'forever', 0, 'infinity', n FROM generate_series(1, 5) AS n;
CREATE VIEW left_of_counted AS SELECT k, count(*), CASE WHEN k <> 'ties' OR k IS NULL THEN string_agg(n::text, ',' ORDER BY n) END AS n FROM counted GROUP BY k ORDER BY k;
SET client_min_messages = warning;
BEGIN;
SELECT set_ttl('counted', 'ts', keep_rows => 3, key_columns => '{k}', create_index => true);
SELECT pause_ttl('counted');
COMMIT;
SELECT preview_ttl('counted');
CALL sweep('counted');
TABLE left_of_counted;
SELECT preview_ttl('counted');
-- What comes in afterwards is counted at once, and so is what changes.
INSERT INTO counted VALUES ('a', 0, now() - interval '30 minutes', 0), ('few', 0, now(), 0), ('few', 0, now(), 3);
CALL sweep('counted');
SELECT * FROM left_of_counted WHERE k IN ('a', 'few');
UPDATE counted SET k = 'b' WHERE k = 'a' AND n = 0;
CALL sweep('counted');
SELECT * FROM left_of_counted WHERE k IN ('a', 'b');
-- Several keys, small batches.
UPDATE counted SET j = n % 2;
SELECT set_ttl('counted', 'ts', batch_size => 1, keep_rows => 1, key_columns => '{k,j}');
CALL sweep('counted');
SELECT k, j, count(*), CASE WHEN k <> 'ties' THEN max(n) END AS n FROM counted WHERE k IN ('a', 'b', 'timeless') GROUP BY k, j ORDER BY k, j;
-- No key: of the whole table.
SELECT set_ttl('counted', 'ts', keep_rows => 7);
SELECT preview_ttl('counted') = count(*) AS all_past FROM counted WHERE ts <= now();
CALL sweep('counted');
SELECT count(*), count(*) FILTER (WHERE ts IS NULL) AS timeless, count(*) FILTER (WHERE ts = 'infinity') AS forever,
	count(*) FILTER (WHERE ts > now() AND ts < 'infinity') AS future FROM counted;
-- With keep, a row goes when it is old and there are enough that are newer.
TRUNCATE counted;
INSERT INTO counted SELECT 'many', 0, now() - n * interval '1 hour', n FROM generate_series(1, 10) AS n;
INSERT INTO counted SELECT 'old', 0, now() - n * interval '1 year', n FROM generate_series(1, 10) AS n;
SELECT set_ttl('counted', 'ts', '5 hours 30 minutes', keep_rows => 3, key_columns => '{k}');
SELECT preview_ttl('counted');
CALL sweep('counted');
TABLE left_of_counted;
DROP TABLE counted CASCADE;

-- Partitioned by the column: partitions of which every possible row is expired are dropped, those
-- that may hold a younger row stay as they are, and only the default one is swept row by row.
CREATE TABLE p (ts timestamptz, n int) PARTITION BY RANGE (ts);
CREATE PROCEDURE add_partition(name text, since text, until text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE %I PARTITION OF p FOR VALUES FROM (%s) TO (%s)', name,
		coalesce(quote_literal(now() + since::interval), 'MINVALUE'), coalesce(quote_literal(now() + until::interval), 'MAXVALUE'));
END
$$;
BEGIN;
CALL add_partition('p_first', NULL, '-20 days');
CALL add_partition('p_gone', '-20 days', '-10 days');
CALL add_partition('p_half', '-10 days', '1 day');
CALL add_partition('p_empty', '2 days', '3 days');
CALL add_partition('p_last', '10 days', NULL);
COMMIT;
CREATE TABLE p_default PARTITION OF p DEFAULT;
INSERT INTO p SELECT now() + d * interval '1 day', d FROM unnest('{-30,-15,-5,0,5,15}'::int[]) AS d;
INSERT INTO p VALUES (NULL, NULL);
BEGIN;
SELECT set_ttl('p', 'ts', '2 days');
SELECT pause_ttl('p');
COMMIT;
SELECT preview_ttl('p');
CALL sweep('p');
SELECT rows, partitions, total_partitions, failures FROM sweep_status WHERE relation = 'p'::regclass;
SELECT tableoid::regclass, string_agg(n::text, ',' ORDER BY n) FROM p GROUP BY 1 ORDER BY 1;
SELECT count(*) AS partitions FROM pg_inherits WHERE inhparent = 'p'::regclass;
DROP TABLE p;
-- The default partition holds what has no other place, of any age; a detached one is none of ours.
CREATE TABLE p (ts timestamptz, n int) PARTITION BY RANGE (ts);
CREATE TABLE p_default PARTITION OF p DEFAULT;
CREATE TABLE p_old PARTITION OF p FOR VALUES FROM ('2000-01-01') TO ('2000-02-01');
INSERT INTO p SELECT now() + d * interval '1 day', d FROM generate_series(-5, 5) AS d;
INSERT INTO p VALUES ('2000-01-15');
ALTER TABLE p DETACH PARTITION p_old;
BEGIN;
SELECT set_ttl('p', 'ts', '2 days');
SELECT pause_ttl('p');
COMMIT;
CALL sweep('p');
SELECT rows, partitions, left_over('p'), (SELECT count(*) FROM p_old) AS detached FROM sweep_status WHERE relation = 'p'::regclass;
DROP TABLE p, p_old;
-- A partition on which something depends stays, and that is told.
CREATE TABLE p (ts timestamptz, n int) PARTITION BY RANGE (ts);
CREATE TABLE p_old PARTITION OF p FOR VALUES FROM ('2000-01-01') TO ('2000-02-01');
CREATE VIEW on_p AS SELECT * FROM p_old;
BEGIN;
SELECT set_ttl('p', 'ts');
SELECT pause_ttl('p');
COMMIT;
CALL sweep('p');
SELECT failures, last_sqlstate, last_error_at IS NOT NULL AS at FROM sweep_status WHERE relation = 'p'::regclass;
DROP VIEW on_p;
CALL sweep('p');
SELECT failures, last_sqlstate, partitions, to_regclass('p_old') FROM sweep_status WHERE relation = 'p'::regclass;
DROP TABLE p;
-- Lists of ranges, ranges by two columns, hashes.
CREATE TABLE tree (sym text, ts timestamptz, n int) PARTITION BY LIST (sym);
CREATE TABLE tree_a PARTITION OF tree FOR VALUES IN ('a') PARTITION BY RANGE (ts);
CREATE TABLE tree_a_old PARTITION OF tree_a FOR VALUES FROM ('2000-01-01') TO ('2000-02-01');
CREATE TABLE tree_a_new PARTITION OF tree_a FOR VALUES FROM ('2000-02-01') TO (MAXVALUE);
CREATE TABLE tree_b PARTITION OF tree FOR VALUES IN ('b');
CREATE TABLE tree_c PARTITION OF tree FOR VALUES IN ('c') PARTITION BY RANGE (ts, n);
CREATE TABLE tree_c_1 PARTITION OF tree_c FOR VALUES FROM ('1999-01-01', 0) TO ('2001-01-01', 0);
CREATE TABLE tree_c_2 PARTITION OF tree_c DEFAULT;
CREATE TABLE tree_d PARTITION OF tree DEFAULT PARTITION BY HASH (ts);
CREATE TABLE tree_d_1 PARTITION OF tree_d FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE tree_d_2 PARTITION OF tree_d FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO tree SELECT sym, ts, n FROM unnest('{a,b,c,d,e}'::text[]) AS sym,
	(VALUES ('2000-01-15'::timestamptz, 1), (now() - interval '1 hour', 2), (now() + interval '1 hour', 3)) AS v(ts, n);
BEGIN;
SELECT set_ttl('tree', 'ts', create_index => true);
SELECT pause_ttl('tree');
COMMIT;
SELECT preview_ttl('tree'), expired_rows > 0 AS waiting, indexed, lag > '20 years' AS late FROM sweep_status WHERE relation = 'tree'::regclass;
CALL sweep('tree');
SELECT rows, partitions FROM sweep_status WHERE relation = 'tree'::regclass;
SELECT sym, count(*), min(n), max(n) FROM tree GROUP BY 1 ORDER BY 1;
SELECT to_regclass('tree_a_old') AS old, to_regclass('tree_a_new') AS new;
DROP TABLE tree;
-- Ranges of lists, by the day.
CREATE TABLE tree (sym text, on_day date, n int) PARTITION BY RANGE (on_day);
CREATE TABLE tree_old PARTITION OF tree FOR VALUES FROM ('2000-01-01') TO ('2000-02-01') PARTITION BY LIST (sym);
CREATE TABLE tree_old_a PARTITION OF tree_old FOR VALUES IN ('a');
CREATE TABLE tree_old_b PARTITION OF tree_old DEFAULT;
SELECT today, today - 1 AS yesterday, today + 1 AS tomorrow FROM CAST(now() AT TIME ZONE 'UTC' AS date) AS today \gset
CREATE TABLE tree_yesterday PARTITION OF tree FOR VALUES FROM (:'yesterday') TO (:'today') PARTITION BY LIST (sym);
CREATE TABLE tree_today PARTITION OF tree FOR VALUES FROM (:'today') TO (:'tomorrow') PARTITION BY LIST (sym);
CREATE TABLE tree_yesterday_a PARTITION OF tree_yesterday DEFAULT;
CREATE TABLE tree_today_a PARTITION OF tree_today DEFAULT;
INSERT INTO tree SELECT sym, on_day, 1 FROM unnest('{a,b}'::text[]) AS sym, unnest(ARRAY['2000-01-15', :'yesterday', :'today']::date[]) AS on_day;
BEGIN;
SELECT set_ttl('tree', 'on_day');
SELECT pause_ttl('tree');
COMMIT;
SELECT preview_ttl('tree') AS previewed \gset
CALL sweep('tree');
SELECT count(*) FILTER (WHERE on_day < :'today') AS until_yesterday, to_regclass('tree_yesterday_a') AS yesterday,
	-- Unless it became yesterday meanwhile.
	count(*) = 2 AND :previewed = 4 OR :'today' < now() AT TIME ZONE 'UTC' - interval '1 day' AS today_stays FROM tree;
DROP TABLE tree;
-- By an expression: row by row. By an epoch: whole again.
CREATE TABLE tree (ms bigint, n int) PARTITION BY RANGE ((ms + 0));
CREATE TABLE tree_old PARTITION OF tree FOR VALUES FROM (0) TO (1000000000000);
CREATE TABLE tree_new PARTITION OF tree DEFAULT;
INSERT INTO tree SELECT extract(epoch FROM ts) * 1000 FROM unnest(ARRAY['2000-01-15', now() + interval '1 hour']::timestamptz[]) AS ts;
BEGIN;
SELECT set_ttl('tree', 'ms', unit => 'ms');
SELECT pause_ttl('tree');
COMMIT;
CALL sweep('tree');
SELECT rows, partitions, to_regclass('tree_old') AS stays FROM sweep_status WHERE relation = 'tree'::regclass;
DROP TABLE tree;
CREATE TABLE tree (ms bigint, n int) PARTITION BY RANGE (ms);
CREATE TABLE tree_old PARTITION OF tree FOR VALUES FROM (0) TO (1000000000000);
CREATE TABLE tree_new PARTITION OF tree FOR VALUES FROM (1000000000000) TO (99999999999999);
INSERT INTO tree VALUES (947894400000, 1), (1000000000000, 2);
BEGIN;
SELECT set_ttl('tree', 'ms', unit => 'ms');
SELECT pause_ttl('tree');
COMMIT;
CALL sweep('tree');
SELECT rows, partitions, to_regclass('tree_old') AS old, (SELECT count(*) FROM tree) AS left_over FROM sweep_status WHERE relation = 'tree'::regclass;
SELECT attempt($$SELECT preview_ttl('tree_new')$$) AS leaf_without_policy;
DROP TABLE tree;
-- A partition of another owner is left alone: triggers would run with other rights.
CREATE TABLE tree (k int, ts timestamptz) PARTITION BY LIST (k);
CREATE TABLE tree_other PARTITION OF tree FOR VALUES IN (1);
INSERT INTO tree VALUES (1, '2000-01-01');
BEGIN;
SELECT set_ttl('tree', 'ts');
SELECT pause_ttl('tree');
COMMIT;
RESET ROLE;
ALTER TABLE tree_other OWNER TO regress_tk_other;
CALL sweep('tree');
SELECT failures, last_sqlstate, (SELECT count(*) FROM tree) AS stays FROM sweep_status WHERE relation = 'tree'::regclass;
SET ROLE regress_tk_other;
SELECT attempt($$SELECT set_ttl('tree_other', 'ts')$$) AS not_by_its_owner_either;
SET ROLE regress_tk_owner;
DROP TABLE tree;

-- Children by the older kind of inheritance are tables of their own: not swept, not looked at, not in the backlog.
CREATE TABLE parent (ts timestamptz);
CREATE INDEX ON parent (ts);
CREATE TABLE child (n int) INHERITS (parent);
CREATE INDEX ON child (ts);
INSERT INTO parent VALUES (now() - interval '1 hour'), (now() + interval '1 hour');
INSERT INTO child VALUES (now() - interval '2 hours');
BEGIN;
SELECT set_ttl('parent', 'ts');
SELECT pause_ttl('parent');
COMMIT;
SELECT preview_ttl('parent');
CALL sweep('parent');
SELECT rows, expired_rows, lag, (SELECT count(*) FROM ONLY parent) AS parent, (SELECT count(*) FROM child) AS child
FROM sweep_status WHERE relation = 'parent'::regclass;
DROP TABLE parent CASCADE;

-- Foreign keys: what cascades goes too, what restricts is told and its batch stays; deferred ones are checked
-- before the batch is committed.
CREATE TABLE orders (id int PRIMARY KEY, ts timestamptz);
CREATE TABLE fills (id int);
CREATE PROCEDURE check_keys(definition text) LANGUAGE plpgsql AS $$
BEGIN
	ALTER TABLE fills DROP CONSTRAINT IF EXISTS fills_fkey;
	TRUNCATE orders, fills;
	INSERT INTO orders SELECT i, now() - interval '1 day' FROM generate_series(1, 10) AS i;
	INSERT INTO fills SELECT i FROM generate_series(6, 10) AS i;
	EXECUTE 'ALTER TABLE fills ADD CONSTRAINT fills_fkey FOREIGN KEY (id) REFERENCES orders ' || definition;
END
$$;
BEGIN;
SELECT set_ttl('orders', 'ts', batch_size => 3, create_index => true);
SELECT pause_ttl('orders');
COMMIT;
CREATE VIEW left_of_keys AS SELECT (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM fills) AS fills, (SELECT count(id) FROM fills) AS with_id,
	rows, failures, last_sqlstate FROM sweep_status WHERE relation = 'orders'::regclass;
CALL check_keys('ON DELETE CASCADE');
CALL sweep('orders');
TABLE left_of_keys;
CALL check_keys('ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED');
CALL sweep('orders');
TABLE left_of_keys;
CALL check_keys('ON DELETE NO ACTION');
CALL sweep('orders');
TABLE left_of_keys;
CALL check_keys('DEFERRABLE INITIALLY DEFERRED');
CALL sweep('orders');
TABLE left_of_keys;
DELETE FROM fills;
CALL sweep('orders');
TABLE left_of_keys;
DROP TABLE orders, fills CASCADE;

-- A foreign key by which a deletion would run what another role wrote is refused, whatever leads there; one that only
-- looks is not.
CREATE TABLE orders (id int PRIMARY KEY, ts timestamptz);
CREATE TABLE fills (id int PRIMARY KEY REFERENCES orders ON DELETE CASCADE);
INSERT INTO orders VALUES (1, '2000-01-01');
BEGIN;
SELECT set_ttl('orders', 'ts'), pause_ttl('orders');
COMMIT;
GRANT REFERENCES ON orders, fills TO regress_tk_other;
RESET ROLE;
CREATE TABLE ttl.others (id int REFERENCES fills ON DELETE SET NULL);
ALTER TABLE ttl.others OWNER TO regress_tk_other;
CALL sweep('orders');
ALTER TABLE ttl.others DROP CONSTRAINT others_id_fkey;
ALTER TABLE ttl.others ADD FOREIGN KEY (id) REFERENCES orders ON DELETE NO ACTION;
SET ROLE regress_tk_owner;
INSERT INTO fills VALUES (1);
CALL sweep('orders');
SELECT (SELECT count(*) FROM orders) AS orders, last_sqlstate, failures FROM sweep_status WHERE relation = 'orders'::regclass;
RESET ROLE;
DROP TABLE ttl.others;
SET ROLE regress_tk_owner;
DROP TABLE orders, fills CASCADE;

-- A row that a trigger keeps stays, and does not keep the sweeper; row security that is forced hides rows from it too.
CREATE TABLE guarded (id int, ts timestamptz);
CREATE INDEX ON guarded (ts);
INSERT INTO guarded SELECT i, now() - i * interval '1 hour' FROM generate_series(1, 10) AS i;
CREATE FUNCTION keep_odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN old.id % 2 = 0 THEN old END; END $$;
CREATE TRIGGER keep_odd BEFORE DELETE ON guarded FOR EACH ROW EXECUTE FUNCTION keep_odd();
BEGIN;
SELECT set_ttl('guarded', 'ts', batch_size => 2);
SELECT pause_ttl('guarded');
COMMIT;
CALL sweep('guarded');
SELECT string_agg(id::text, ',' ORDER BY id) FROM guarded;
DROP TRIGGER keep_odd ON guarded;
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY later ON guarded USING (id > 4);
CALL sweep('guarded');
ALTER TABLE guarded NO FORCE ROW LEVEL SECURITY;
SELECT string_agg(id::text, ',' ORDER BY id) FROM guarded;
CALL sweep('guarded');
SELECT count(*) FROM guarded;
DROP TABLE guarded;
DROP FUNCTION keep_odd;
-- A rule in the place of the deletion is told.
CREATE TABLE ruled (ts timestamptz);
CREATE RULE never AS ON DELETE TO ruled DO INSTEAD NOTHING;
INSERT INTO ruled VALUES ('2000-01-01');
BEGIN;
SELECT set_ttl('ruled', 'ts');
SELECT pause_ttl('ruled');
COMMIT;
CALL sweep('ruled');
SELECT failures, last_sqlstate, (SELECT count(*) FROM ruled) AS stays FROM sweep_status WHERE relation = 'ruled'::regclass;
DROP TABLE ruled;
RESET client_min_messages;

-- What becomes of it is written down: the last run, sums, errors with their SQLSTATE, and 20 runs that did something.
CREATE TABLE t2 (ts timestamptz, n int);
CREATE INDEX ON t2 (ts);
BEGIN;
SELECT set_ttl('t2', 'ts');
SELECT pause_ttl('t2');
COMMIT;
SELECT * FROM sweep_status WHERE relation = 't2'::regclass;
INSERT INTO t2 SELECT now() - interval '1 hour', 1 FROM generate_series(1, 5);
ANALYZE t2;
SELECT expired_rows = 5 AS estimate, lag BETWEEN '59 minutes' AND '61 minutes' AS lag, indexed, paused, last_run
FROM sweep_status WHERE relation = 't2'::regclass;
CALL sweep('t2');
SELECT expired_rows, lag, last_run > now() - interval '1 hour' AS ran, duration >= '0' AS took, rows, partitions, total_rows,
	total_partitions, next_run, failures, last_error, last_sqlstate, last_error_at
FROM sweep_status WHERE relation = 't2'::regclass;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one: %', repeat('x', 1000) USING ERRCODE = 'TT001'; END $$;
CREATE TRIGGER refuse BEFORE DELETE ON t2 FOR EACH ROW EXECUTE FUNCTION refuse();
INSERT INTO t2 VALUES (now() - interval '1 hour', 1);
CALL sweep('t2');
CALL sweep('t2');
SELECT failures, rows, total_rows, last_sqlstate, left(last_error, 16) AS said, octet_length(last_error) AS cut,
	last_error_at <= clock_timestamp() AS at, next_run > last_error_at AS backs_off
FROM sweep_status WHERE relation = 't2'::regclass;
SELECT status, detail FROM doctor() WHERE check_name = 'sweep';
DROP TRIGGER refuse ON t2;
CALL sweep('t2');
SELECT failures, rows, total_rows, next_run, last_sqlstate FROM sweep_status WHERE relation = 't2'::regclass;
SELECT status FROM doctor() WHERE check_name = 'sweep';
-- A run that finds nothing leaves no trace there.
CALL sweep('t2');
SELECT rows, sqlstate, left(error, 8) AS error FROM sweep_history WHERE relation = 't2'::regclass ORDER BY slot;
CREATE PROCEDURE many_runs() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 30 LOOP
		INSERT INTO t2 SELECT now() - interval '1 hour', 1 FROM generate_series(1, i);
		COMMIT;
		CALL sweep('t2');
	END LOOP;
END
$$;
CALL many_runs();
SELECT count(*), min(rows), max(rows), count(DISTINCT slot), count(sqlstate) FROM sweep_history WHERE relation = 't2'::regclass;
SELECT total_rows FROM sweep_status WHERE relation = 't2'::regclass;
-- Without an index, and by count, nothing cheap can be said about the backlog; preview_ttl() counts.
INSERT INTO t2 VALUES (now() - interval '1 hour', 1);
DROP INDEX t2_ts_idx;
SELECT indexed, expired_rows, lag, preview_ttl(relation) FROM sweep_status WHERE relation = 't2'::regclass;
CREATE INDEX ON t2 (ts);
SELECT set_ttl('t2', 'ts', keep_rows => 5);
SELECT indexed, expired_rows, lag, preview_ttl(relation) FROM sweep_status WHERE relation = 't2'::regclass;
-- A column that is gone, or changed its type.
ALTER TABLE t2 RENAME COLUMN ts TO renamed;
SELECT indexed, expired_rows, lag FROM sweep_status WHERE relation = 't2'::regclass;
SELECT attempt($$SELECT preview_ttl('t2')$$);
CALL sweep('t2');
ALTER TABLE t2 RENAME COLUMN renamed TO ts;
ALTER TABLE t2 ALTER COLUMN ts TYPE text;
CALL sweep('t2');
ALTER TABLE t2 ALTER COLUMN ts TYPE bigint USING 0;
CALL sweep('t2');
SELECT last_sqlstate FROM sweep_status WHERE relation = 't2'::regclass;
-- With the table goes its policy, and with it, at the next round, all that was written down.
SELECT 't2'::regclass::oid AS t2 \gset
DROP TABLE t2;
SELECT count(*) FROM sweep_status WHERE relation::oid = :t2;
CREATE TABLE t2 (ts timestamptz);
SELECT count(*) AS by_name FROM effective_ttl_policy WHERE relation = 't2'::regclass;
CALL sweep();
SELECT (SELECT count(*) FROM ttl_policy WHERE relation::oid = :t2) AS policies,
	(SELECT count(*) FROM sweep_state WHERE relation::oid = :t2) AS states,
	(SELECT count(*) FROM sweep_history WHERE relation::oid = :t2) AS history;

-- By hand nobody sweeps the tables of others: their triggers must not run in a session of his making.
CREATE TABLE mine (ts timestamptz);
INSERT INTO mine VALUES ('2000-01-01');
SET client_min_messages = warning;
BEGIN;
SELECT set_ttl('mine', 'ts'), pause_ttl('mine');
COMMIT;
GRANT ALL ON mine TO regress_tk_other;
SET ROLE regress_tk_other;
CALL sweep('mine');
CALL sweep('tradekeep.claim');
CALL sweep();
SELECT count(*) FROM mine;
SET ROLE regress_tk_owner;
SELECT failures FROM sweep_status WHERE relation = 'mine'::regclass;
-- Who has the owner's rights may.
RESET ROLE;
GRANT regress_tk_owner TO regress_tk_other;
SET ROLE regress_tk_other;
CALL sweep('mine');
SELECT count(*) FROM mine;
RESET ROLE;
REVOKE regress_tk_owner FROM regress_tk_other;
SET ROLE regress_tk_owner;
DROP TABLE mine;
RESET client_min_messages;

-- A round over all leaves out what is paused, goes on where one fails, and tells that.
CREATE TABLE good (ts timestamptz);
CREATE TABLE bad (ts timestamptz);
-- A sweeper that has one of these in hand at the moment has committed when we look.
CREATE PROCEDURE wait_for_sweeper() LANGUAGE plpgsql AS $$
BEGIN
	LOCK TABLE good, bad, paused;
	COMMIT;
END
$$;
CREATE TABLE paused (ts timestamptz);
SET client_min_messages = warning;
BEGIN;
SELECT set_ttl('paused', 'ts'), pause_ttl('paused', NULL);
SELECT set_ttl('good', 'ts'), set_ttl('bad', 'ts');
ALTER TABLE bad RENAME COLUMN ts TO renamed;
COMMIT;
INSERT INTO good VALUES ('2000-01-01');
INSERT INTO paused VALUES ('2000-01-01');
INSERT INTO bad VALUES ('2000-01-01');
CALL sweep();
CALL wait_for_sweeper();
SELECT (SELECT count(*) FROM good) AS good, (SELECT count(*) FROM bad) AS bad, (SELECT count(*) FROM paused) AS paused;
SELECT pause_ttl('paused', false);
SELECT drop_ttl('bad');
CALL sweep();
CALL wait_for_sweeper();
SELECT count(*) FROM paused;
SELECT relation, paused FROM ttl_policy ORDER BY relation::text COLLATE "C";
RESET client_min_messages;

-- It commits as it goes: in a transaction, a function, or a procedure with settings of its own it cannot.
BEGIN;
CALL sweep();
ROLLBACK;
CREATE FUNCTION in_function() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL tradekeep.sweep(); END $$;
SELECT in_function();
CREATE PROCEDURE with_settings() LANGUAGE plpgsql SET work_mem = '1MB' AS $$ BEGIN CALL tradekeep.sweep(); END $$;
CALL with_settings();
CREATE PROCEDURE as_definer() LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN CALL tradekeep.sweep(); END $$;
CALL as_definer();
-- Nor where nothing can be written.
SET default_transaction_read_only = on;
CALL sweep();
SELECT attempt($$SELECT set_ttl('good', 'ts')$$) AS set, attempt($$SELECT drop_ttl('good')$$) AS drop,
	attempt($$SELECT pause_ttl('good')$$) AS pause, attempt($$SELECT preview_ttl('good')$$) AS preview;
RESET default_transaction_read_only;
-- It may be called between other work, in a loop over a cursor, at any isolation level, and leaves all settings as they were.
SET default_transaction_isolation = serializable;
INSERT INTO good VALUES ('2000-01-01');
SET lock_timeout = '12345ms';
SET synchronous_commit = on;
DO $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT relation FROM tradekeep.ttl_policy ORDER BY relation LOOP
		CALL tradekeep.sweep(r.relation);
	END LOOP;
	COMMIT;
END
$$;
CALL sweep();
CALL wait_for_sweeper();
SELECT count(*), current_setting('lock_timeout') AS lock_timeout, current_setting('search_path') AS search_path, current_setting('row_security') AS row_security,
	current_setting('enable_seqscan') AS seqscan, current_setting('transaction_isolation') AS level, current_user, current_setting('synchronous_commit') AS synchronous
FROM good;
RESET default_transaction_isolation;
RESET lock_timeout;
RESET synchronous_commit;
-- A transaction takes back what it said.
BEGIN;
SELECT set_ttl('good', 'ts', '1 day'), drop_ttl('paused');
ROLLBACK;
SELECT relation, keep FROM ttl_policy ORDER BY relation::text COLLATE "C";

-- Claims and signals are swept from the start, by what they say themselves; their owner may only say how.
RESET ROLE;
SELECT relation, column_name, keep, paused FROM effective_ttl_policy WHERE relation::text !~ 'good|paused' ORDER BY relation::text COLLATE "C";
SET client_min_messages = warning;
BEGIN;
SELECT set_ttl('tradekeep.claim', 'sweep_after', '1 hour', batch_size => 7, sweep_interval => '1 minute'), pause_ttl('tradekeep.claim'), pause_ttl('tradekeep.signal');
COMMIT;
SELECT relation, column_name, keep, batch_size, sweep_interval, paused FROM effective_ttl_policy WHERE relation::text !~ 'good|paused' ORDER BY relation::text COLLATE "C";
INSERT INTO claim (scope, key, claimed_at, expires_at, sweep_after)
SELECT 'sweep', 'k' || i, now() - interval '1 day', at, at
FROM generate_series(1, 3) AS i, CAST(now() - i * interval '1 hour' + interval '30 min' AS timestamptz) AS at;
SELECT preview_ttl('tradekeep.claim') >= 2 AS some;
CALL sweep('tradekeep.claim');
SELECT key FROM claim WHERE scope = 'sweep';
-- One of the past that was just written is not expired for the sweeper.
SELECT claim('sweep', 'replayed', '1 hour', at => '2026-01-01Z'), (claim_signal('SWEEP', 'LONG', 5, ttl => '1 hour', at => '2026-01-01Z')).claimed;
SELECT set_ttl('tradekeep.claim', 'sweep_after');
CALL sweep('tradekeep.claim');
CALL sweep('tradekeep.signal');
SELECT (SELECT count(*) FROM claim WHERE key = 'replayed') AS claims, (SELECT count(*) FROM signal WHERE symbol = 'SWEEP') AS signals;
SELECT drop_ttl('tradekeep.claim'), drop_ttl('tradekeep.signal');
UPDATE claim SET sweep_after = now() - interval '1 s' WHERE scope = 'sweep';
UPDATE signal SET sweep_after = now() - interval '1 s' WHERE symbol = 'SWEEP';
CALL sweep();
BEGIN;
LOCK TABLE claim, signal;
SELECT (SELECT count(*) FROM claim WHERE scope = 'sweep') AS claims, (SELECT count(*) FROM signal WHERE symbol = 'SWEEP') AS signals;
COMMIT;
SELECT relation, column_name, keep, batch_size, paused FROM effective_ttl_policy WHERE relation::text !~ 'good|paused' ORDER BY relation::text COLLATE "C";

DROP SCHEMA ttl CASCADE;
DROP SERVER regress_tk_server CASCADE;
DROP FOREIGN DATA WRAPPER regress_tk_wrapper;
SELECT revoke_access('regress_tk_owner'), revoke_access('regress_tk_other');
DROP OWNED BY regress_tk_owner, regress_tk_other;
DROP ROLE regress_tk_owner, regress_tk_other;
CALL tradekeep.sweep('tradekeep.claim');
SELECT count(*) FROM tradekeep.ttl_policy;
