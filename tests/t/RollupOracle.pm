
# What rollups have to come to, in straight SQL over the rows that nothing derived: with a calendar of its
# own, and none of our functions.
package RollupOracle;

use strict;
use warnings;

our $sql = <<'SQL';
CREATE SCHEMA reference;
CREATE TABLE reference.step (timeframe text PRIMARY KEY, step interval);
INSERT INTO reference.step VALUES ('1s', '1 s'), ('1m', '60 s'), ('3m', '3 min'), ('5m', '5 min'), ('15m', '15 min'), ('30m', '30 min'), ('1h', '60 min'),
	('4h', '4 h'), ('8h', '8 h'), ('12h', '12 h'), ('1d', '24 h'), ('3d', '72 h'), ('1w', '168 h'), ('1M', '744 h');
CREATE FUNCTION reference.start(timeframe text, step interval, ts timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	SELECT CASE timeframe WHEN '1M' THEN date_trunc('month', ts, 'UTC') WHEN '1w' THEN date_trunc('week', ts, 'UTC')
		ELSE date_bin(step, ts, '1970-01-01Z') END $$;
CREATE FUNCTION reference.finish(timeframe text, step interval, start timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	SELECT CASE timeframe WHEN '1M' THEN (start AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC' ELSE start + step END $$;

-- Candles of a target that begin before this time are frozen: what they were made of is gone.
CREATE VIEW reference.frozen AS
	SELECT r.target, h.symbol, max(h.horizon) AS horizon FROM tradekeep.rollup AS r JOIN tradekeep.candle_horizon AS h ON h.timeframe IN (r.source, r.target) GROUP BY 1, 2;

-- What nobody derived, or nobody can derive again.
CREATE VIEW reference.base AS
	SELECT c.* FROM tradekeep.candle AS c LEFT JOIN reference.frozen AS f ON f.target = c.timeframe AND f.symbol = c.symbol
	WHERE c.sources IS NULL OR c.timeframe NOT IN (SELECT target FROM tradekeep.rollup) OR c.ts < f.horizon;

-- Candles as they have to be derived: rollup by rollup, a source before what is made of it.
CREATE FUNCTION reference.derived() RETURNS SETOF tradekeep.candle LANGUAGE plpgsql AS $$
DECLARE
	made tradekeep.candle[] := '{}';
	one record;
BEGIN
	FOR one IN
		SELECT r.source, r.target, s.step AS short, t.step AS long, greatest(r.grace - s.step, '0') AS delay
		FROM tradekeep.rollup AS r JOIN reference.step AS s ON s.timeframe = r.source::text JOIN reference.step AS t ON t.timeframe = r.target::text
		ORDER BY t.step
	LOOP
		made := made || ARRAY(
			WITH bars AS MATERIALIZED (
				SELECT *, reference.start(one.target::text, one.long, ts) AS start
				FROM (SELECT * FROM reference.base WHERE timeframe = one.source UNION ALL SELECT * FROM unnest(made) WHERE timeframe = one.source) AS b),
			periods AS (
				SELECT symbol, start, reference.finish(one.target::text, one.long, start) AS finish, (array_agg(open ORDER BY ts))[1] AS open, max(high) AS high, min(low) AS low,
					(array_agg(close ORDER BY ts DESC))[1] AS close, sum(volume ORDER BY ts) AS volume, count(*) FILTER (WHERE closed) AS closed, count(*) AS sources
				FROM bars GROUP BY symbol, start),
			newest AS (SELECT symbol, max(ts) AS newest FROM bars WHERE closed GROUP BY symbol)
			SELECT ROW(symbol, one.target, start, open, high, low, close, volume,
				closed = extract(epoch FROM finish - start) / extract(epoch FROM one.short) OR coalesce(newest >= finish + one.delay, false), sources)::tradekeep.candle
			FROM periods LEFT JOIN newest USING (symbol) LEFT JOIN (SELECT symbol, horizon FROM reference.frozen WHERE target = one.target) AS f USING (symbol)
			WHERE start >= coalesce(horizon, '-infinity') AND (symbol, start) NOT IN (SELECT symbol, ts FROM reference.base WHERE timeframe = one.target));
	END LOOP;
	RETURN QUERY SELECT * FROM unnest(made);
END $$;

-- What is stored and should not be, and the other way round, and what verify_rollups() finds; no row when all is well.
CREATE FUNCTION reference.wrong() RETURNS SETOF text LANGUAGE sql SET timezone = 'UTC' AS $$
	SELECT concat_ws(' ', 'stored', s, 'expected', e)
	FROM (SELECT * FROM tradekeep.candle EXCEPT ALL SELECT * FROM reference.base) AS s FULL JOIN reference.derived() AS e USING (symbol, timeframe, ts)
	WHERE (s.open, s.high, s.low, s.close, s.volume, s.closed, s.sources) IS DISTINCT FROM (e.open, e.high, e.low, e.close, e.volume, e.closed, e.sources)
	UNION ALL
	SELECT concat_ws(' ', 'verify', v) FROM tradekeep.verify_rollups() AS v $$;
SQL

1;
