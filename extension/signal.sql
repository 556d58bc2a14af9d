-- signal: near-duplicate claims, by symbol, direction and price

CREATE DOMAIN tradekeep.signal_direction AS text COLLATE "C" CHECK (VALUE IN ('LONG', 'SHORT'));
COMMENT ON DOMAIN tradekeep.signal_direction IS 'LONG or SHORT';
CREATE DOMAIN tradekeep.signal_price AS double precision CHECK (VALUE > 0 AND VALUE < 'Infinity');
COMMENT ON DOMAIN tradekeep.signal_price IS 'price: finite and above 0';

CREATE TABLE tradekeep.signal (
	symbol tradekeep.key_name NOT NULL,
	direction tradekeep.signal_direction NOT NULL,
	price tradekeep.signal_price NOT NULL,
	signal_id bigint NOT NULL,
	sent_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	sweep_after timestamptz NOT NULL,
	data jsonb,
	PRIMARY KEY (symbol, direction, price, signal_id),
	CHECK (sent_at < expires_at AND expires_at <= sweep_after AND sweep_after < 'infinity')
) USING heap;
COMMENT ON TABLE tradekeep.signal IS
'signals that were sent, live while expires_at lies in the future; expired rows count as absent and wait for the sweeper';
COMMENT ON COLUMN tradekeep.signal.sweep_after IS
'when the sweeper may take the row: the later of expires_at and the time of writing + ttl';

CREATE INDEX signal_sweep_after_idx ON tradekeep.signal (sweep_after);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.signal', '');

CREATE SEQUENCE tradekeep.signal_id;
COMMENT ON SEQUENCE tradekeep.signal_id IS 'numbers of signals, which only grow';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.signal_id', '');

CREATE VIEW tradekeep.live_signals AS
	SELECT symbol, direction, price, signal_id, sent_at, expires_at,
		expires_at - statement_timestamp() AS remaining, data
	FROM tradekeep.signal
	WHERE expires_at > statement_timestamp() AND sweep_after > statement_timestamp();
COMMENT ON VIEW tradekeep.live_signals IS 'signals that are live now';

CREATE FUNCTION tradekeep.claim_signal(symbol text, direction text, entry_price double precision,
	tolerance double precision DEFAULT 0.0005, ttl interval DEFAULT '24 hours', data jsonb DEFAULT NULL,
	at timestamptz DEFAULT NULL,
	OUT claimed boolean, OUT signal_id bigint, OUT price double precision, OUT sent_at timestamptz,
	OUT expires_at timestamptz)
	AS 'MODULE_PATHNAME', 'tradekeep_claim_signal' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_signal(text, text, double precision, double precision, interval, jsonb, timestamptz) IS
'claims a signal unless a live one of the same symbol and direction has a price q with |entry_price - q| <= tolerance * q; of a duplicate, the nearest such original is returned.
symbol 1 to 512 bytes, else TK002; direction LONG or SHORT in any case, entry_price finite and above 0, tolerance a fraction from 0 to below 1, else TK007; ttl as claim(), null for the ttl of scope signal; at as claim().
A duplicate writes nothing and takes no lock. What is new waits while another transaction holds an uncommitted signal of the same symbol and direction.';

CREATE FUNCTION tradekeep.claim_signals(signals jsonb, tolerance double precision DEFAULT 0.0005,
	ttl interval DEFAULT '24 hours', at timestamptz DEFAULT NULL,
	OUT claimed boolean, OUT signal_id bigint, OUT price double precision, OUT sent_at timestamptz,
	OUT expires_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'tradekeep_claim_signals' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.claim_signals(jsonb, double precision, interval, timestamptz) IS
'claim_signal() for [{"symbol": ..., "direction": ..., "entry_price": ..., "data": ...}, ...], in order and also against each other; a row a signal, in input order.
Overlapping batches wait for each other and never deadlock. Anything but an array of such objects raises TK006; else errors as claim_signal(). One bad signal refuses the whole batch.';

CREATE FUNCTION tradekeep.clear_signals(symbol text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'tradekeep_clear_signals' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.clear_signals(text) IS
'forgets the signals of a symbol; returns how many were live. Without a symbol it clears all, for the level admin only (42501)';

