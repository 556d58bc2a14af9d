-- What both sides start from: a million live claims, the same keys in the peers' table, and the
-- same bars. driver.c knows these keys and bars too.

CREATE EXTENSION tradekeep;

-- A key is the start of a minute in ms, 13 digits.
INSERT INTO tradekeep.claim (scope, key, claimed_at, expires_at, sweep_after)
	SELECT 'signal', (1700000000000 + 60000 * i)::text, now(), expires_at, expires_at
	FROM generate_series(0::bigint, 999999) AS i, (SELECT now() + '1 day' AS expires_at) AS term;

CREATE TABLE peer_claim (key text PRIMARY KEY, expires_at timestamptz);
INSERT INTO peer_claim SELECT key, expires_at FROM tradekeep.claim;

CREATE FUNCTION insert_in_loop(keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	k text;
BEGIN
	FOREACH k IN ARRAY keys LOOP
		INSERT INTO peer_claim VALUES (k, now() + '24 hours') ON CONFLICT DO NOTHING;
	END LOOP;
END
$$;

-- Batches of 1,000 keys in no order. The keys above, each batch spread over all of them (0 to 999)
-- and each batch neighbours (1,000 to 1,999); from 2,000 on new neighbours.
CREATE TABLE batch (id int PRIMARY KEY, keys text[]);
ALTER TABLE batch ALTER COLUMN keys SET STORAGE EXTERNAL;
INSERT INTO batch
	SELECT i % 1000, array_agg((1700000000000 + 60000 * i)::text ORDER BY random())
	FROM generate_series(0::bigint, 999999) AS i GROUP BY 1;
INSERT INTO batch
	SELECT 1000 + i / 1000, array_agg((1700000000000 + 60000 * i)::text ORDER BY random())
	FROM generate_series(0::bigint, 999999) AS i GROUP BY 1;
INSERT INTO batch
	SELECT 2000 + i / 1000, array_agg('batch:' || 1000000000 + i ORDER BY random())
	FROM generate_series(0, 1000 * :new_batches - 1) AS i GROUP BY 1;

INSERT INTO tradekeep.candle (symbol, timeframe, ts, open, high, low, close, volume)
	SELECT format('COIN%s/USDT', to_char(i, 'FM00')), '1m',
		timestamptz '2023-11-14 22:13+00' + minute * interval '1 minute',
		100.25 + i, 101 + i, 99.5 + i, 100.5 + i, minute
	FROM generate_series(0, 999) AS minute, generate_series(0, 49) AS i;

-- The same columns, types and key, without checks and trigger.
CREATE TABLE peer_candle (LIKE tradekeep.candle INCLUDING DEFAULTS,
	PRIMARY KEY (symbol, timeframe, ts));
INSERT INTO peer_candle SELECT * FROM tradekeep.candle;

VACUUM ANALYZE;
