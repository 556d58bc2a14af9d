-- As many bars as :bars, in this database, in the order in which they come from an exchange: a
-- minute of all 20 symbols, and then the next. One of a thousand is missing.

CREATE EXTENSION tradekeep;

INSERT INTO tradekeep.candle (symbol, timeframe, ts, open, high, low, close, volume)
	SELECT 'COIN' || i % 20, '1m', timestamptz '2020-01-01 00:00+00' + i / 20 * interval '1 minute',
		price, price + 3.7, price - 2.9, price + 1.25, 10 + i % 97 / 8.0
	FROM generate_series(0, :bars - 1) AS i,
		round((40000 + 5000 * sin(i / 199980.0))::numeric, 2) AS price
	WHERE hashint4(i) % 1000 <> 0;

-- One of the symbols by itself.
CREATE TABLE peer_symbol (LIKE tradekeep.candle, PRIMARY KEY (ts));
INSERT INTO peer_symbol SELECT * FROM tradekeep.candle WHERE symbol = 'COIN7' ORDER BY ts;

VACUUM ANALYZE;
