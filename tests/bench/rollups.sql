-- For a copy of the database "bars": the hours of its bars, as plain SQL makes them, and what else
-- the rows about rollups need.

-- Without it the planner takes every row for a group of its own, and no hash of partial groups.
CREATE STATISTICS hours (ndistinct) ON symbol, (tradekeep.candle_start('1h', ts)),
	(date_bin('1 hour', ts, timestamptz '2000-01-01 00:00+00')) FROM tradekeep.candle;
ANALYZE tradekeep.candle;

CREATE TABLE hour (LIKE tradekeep.candle, PRIMARY KEY (symbol, timeframe, ts));
INSERT INTO hour
	SELECT symbol, '1h', h.ts, open, high, low, close, volume,
		sources = 60 OR h.ts + interval '1 hour' <= newest, sources
	FROM (
		SELECT symbol, date_bin('1 hour', ts, timestamptz '2000-01-01 00:00+00') AS ts,
			(array_agg(open ORDER BY ts))[1] AS open, max(high) AS high, min(low) AS low,
			(array_agg(close ORDER BY ts DESC))[1] AS close, sum(volume) AS volume,
			count(*) AS sources
		FROM tradekeep.candle GROUP BY 1, 2) AS h
	JOIN (SELECT symbol, max(ts) AS newest FROM tradekeep.candle GROUP BY 1) AS n USING (symbol);

CREATE TABLE peer_hour (LIKE tradekeep.candle, PRIMARY KEY (symbol, timeframe, ts));

-- Corrections of bars anywhere, 1,000 a batch, all of different bars.
CREATE TABLE change AS
	SELECT i / 1000 + 1 AS batch, array_agg(symbol) AS symbol, array_agg(timeframe) AS timeframe,
		array_agg(ts) AS ts, array_agg(open) AS open, array_agg(high + 1) AS high,
		array_agg(low) AS low, array_agg(close) AS close, array_agg(volume + 0.125) AS volume
	FROM (
		SELECT row_number() OVER () - 1 AS i, c.*
		FROM (SELECT * FROM tradekeep.candle ORDER BY random() LIMIT 1000 * :batches) AS c) AS numbered
	GROUP BY 1;
ALTER TABLE change ADD PRIMARY KEY (batch);

VACUUM ANALYZE;
