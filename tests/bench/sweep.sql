-- A table for the sweeper, anew. Of its :rows rows every other one is expired; they expire in the
-- order in which they were stored (:layout is ordered), or in none (shuffled).

SELECT :'layout' = 'shuffled' AS shuffled \gset

DROP TABLE IF EXISTS expiring;
CREATE TABLE expiring AS
	SELECT i AS id, now() + CASE WHEN i % 2 = 0 THEN age - interval '25 hours'
		ELSE age + interval '1 hour' END AS expires_at, repeat('x', 50) AS payload
	FROM generate_series(bigint '1', :rows) AS i,
		LATERAL (SELECT interval '1 day' * CASE WHEN :'shuffled' THEN random() + 0 * i
			ELSE i::float8 / :rows END AS age) AS term;
SET maintenance_work_mem = '256MB';
ALTER TABLE expiring ADD PRIMARY KEY (id);
CREATE INDEX ON expiring (expires_at);

-- It waits until a row wants it; CALL tradekeep.sweep() works all the same.
BEGIN;
SELECT tradekeep.set_ttl('expiring', 'expires_at') \g /dev/null
SELECT tradekeep.pause_ttl('expiring') \g /dev/null
COMMIT;

VACUUM ANALYZE expiring;

-- What one does without the sweeper.
CREATE OR REPLACE PROCEDURE delete_by_ctid() LANGUAGE plpgsql AS $$
DECLARE
	deleted bigint;
BEGIN
	LOOP
		DELETE FROM expiring
			WHERE ctid = ANY (ARRAY(SELECT ctid FROM expiring WHERE expires_at < now() LIMIT 10000));
		GET DIAGNOSTICS deleted = ROW_COUNT;
		COMMIT;
		EXIT WHEN deleted = 0;
	END LOOP;
END
$$;
