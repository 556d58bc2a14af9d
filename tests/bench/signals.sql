-- Live signals in this database, and the same for the peers.

CREATE EXTENSION tradekeep;
CREATE EXTENSION btree_gist;

INSERT INTO tradekeep.signal (symbol, direction, price, signal_id, sent_at, expires_at, sweep_after)
	SELECT 'S' || s, d, exp(0.0011 * p), nextval('tradekeep.signal_id'), now(), now() + '1 day', now() + '1 day'
	FROM generate_series(1, :symbols) AS s, unnest('{LONG,SHORT}'::text[]) AS d, generate_series(1, :prices) AS p;

-- Two bands overlap when the prices in their middle are near each other. Nothing in it expires.
CREATE TYPE float8range AS RANGE (SUBTYPE = float8);
CREATE TABLE peer_band (symbol text, direction text, band float8range,
	EXCLUDE USING gist (symbol WITH =, direction WITH =, band WITH &&));

CREATE TABLE peer_signal (symbol text, direction text, price float8, sent_at timestamptz, expires_at timestamptz);
CREATE INDEX ON peer_signal (symbol, direction, price);

CREATE FUNCTION peer_claim_signal(of_symbol text, of_direction text, entry_price float8) RETURNS boolean
	LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended(of_symbol || of_direction, 0));
	IF EXISTS (SELECT FROM peer_signal WHERE symbol = of_symbol AND direction = of_direction
		AND price BETWEEN entry_price / 1.0005 AND entry_price / 0.9995 AND expires_at > clock_timestamp()) THEN
		RETURN false;
	END IF;
	INSERT INTO peer_signal VALUES (of_symbol, of_direction, entry_price, clock_timestamp(), clock_timestamp() + '24 hours');
	RETURN true;
END
$$;

-- Batches of 1,000 signals: those below 0 are duplicates of all kinds, those from 0 on are new.
CREATE TABLE signal_batch (id int PRIMARY KEY, signals text);

SELECT :symbols = 100 AS middle \gset
\if :middle
INSERT INTO peer_band SELECT symbol, direction, float8range(price * 0.99975, price * 1.00025) FROM tradekeep.signal;
INSERT INTO peer_signal SELECT symbol, direction, price, sent_at, expires_at FROM tradekeep.signal;
INSERT INTO signal_batch
	SELECT -b, jsonb_agg(jsonb_build_object('symbol', 'S' || 1 + floor(random() * :symbols), 'direction', 'LONG',
		'entry_price', exp(0.0011 * floor(1 + random() * :prices)) * (1 + 0.0008 * (random() - 0.5))))
	FROM generate_series(1, 100) AS b, generate_series(1, 1000) GROUP BY b;
INSERT INTO signal_batch
	SELECT b, jsonb_agg(jsonb_build_object('symbol', format('B%s:%s', b, i % 100), 'direction', 'LONG',
		'entry_price', exp(0.0011 * i)))
	FROM generate_series(0, :new_batches) AS b, generate_series(1, 1000) AS i GROUP BY b;
\endif

VACUUM ANALYZE;
