-- The trades in :file, as ccxt gives them, in batches of 500 as a bot would send them: as text.

\set trades `cat :file`
CREATE TABLE real_tick AS
	SELECT number, to_timestamp((t ->> 0)::bigint / 1000.0) AS ts, t ->> 1 AS id, t ->> 4 AS price,
		(t ->> 5)::numeric AS amount
	FROM jsonb_array_elements(:'trades') WITH ORDINALITY AS e(t, number);
CREATE TABLE tick_batch (id int PRIMARY KEY, ticks text);
INSERT INTO tick_batch
	SELECT 1 + (number - 1) / 500, jsonb_agg(jsonb_build_array(
		(1000 * extract(epoch FROM ts))::bigint, id, price, amount::text) ORDER BY number)
	FROM real_tick GROUP BY 1;

-- What one does by hand: keep the ticks, and make the minutes that a batch touches anew from them.
CREATE TABLE peer_tick (symbol text COLLATE "C", ts timestamptz, id bigint, price float8,
	amount float8, PRIMARY KEY (symbol, ts, id));
CREATE FUNCTION peer_upsert_ticks(of_symbol text, of_timeframe tradekeep.timeframe, ticks jsonb)
	RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	since timestamptz;
	until timestamptz;
BEGIN
	SELECT date_trunc('minute', to_timestamp(min((t ->> 0)::bigint) / 1000.0)),
			date_trunc('minute', to_timestamp(max((t ->> 0)::bigint) / 1000.0)) + interval '1 minute'
		INTO since, until FROM jsonb_array_elements(ticks) AS t;
	INSERT INTO peer_tick
		SELECT of_symbol, to_timestamp((t ->> 0)::bigint / 1000.0), (t ->> 1)::bigint,
			(t ->> 2)::float8, (t ->> 3)::float8
		FROM jsonb_array_elements(ticks) AS t
		ON CONFLICT DO NOTHING;
	INSERT INTO peer_candle
		SELECT of_symbol, of_timeframe, date_trunc('minute', ts),
			(array_agg(price ORDER BY ts, id))[1], max(price), min(price),
			(array_agg(price ORDER BY ts DESC, id DESC))[1], sum(amount), true, count(*)
		FROM peer_tick WHERE symbol = of_symbol AND ts >= since AND ts < until
		GROUP BY 3
		ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET open = excluded.open,
			high = excluded.high, low = excluded.low, close = excluded.close,
			volume = excluded.volume, sources = excluded.sources;
END
$$;

VACUUM ANALYZE real_tick, tick_batch;
