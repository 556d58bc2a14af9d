-- candle: OHLCV bars

CREATE TABLE tradekeep.candle (
	symbol text COLLATE "C" NOT NULL,
	timeframe tradekeep.timeframe NOT NULL,
	ts timestamptz NOT NULL,
	open double precision NOT NULL,
	high double precision NOT NULL,
	low double precision NOT NULL,
	close double precision NOT NULL,
	volume double precision NOT NULL,
	closed boolean NOT NULL DEFAULT true,
	sources integer,
	PRIMARY KEY (symbol, timeframe, ts),
	CONSTRAINT candle_symbol CHECK (octet_length(symbol) BETWEEN 1 AND 512),
	CONSTRAINT candle_grid CHECK (ts = tradekeep.candle_start(timeframe, ts)),
	-- NaN sorts above infinity, so every comparison with an upper bound refuses it.
	CONSTRAINT candle_prices CHECK (low <= open AND low <= close AND open <= high AND close <= high
		AND low > '-Infinity' AND high < 'Infinity'),
	CONSTRAINT candle_volume CHECK (volume >= 0 AND volume < 'Infinity'),
	CONSTRAINT candle_sources CHECK (sources > 0)
) USING heap;
COMMENT ON TABLE tradekeep.candle IS
'one bar per symbol, timeframe and start; final once closed';
COMMENT ON COLUMN tradekeep.candle.ts IS 'start of the candle, on the UTC grid of its timeframe';
COMMENT ON COLUMN tradekeep.candle.sources IS
'null: supplied; else derived from so many finer candles';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle', '');

CREATE FUNCTION tradekeep.keep_newest_candle() RETURNS trigger
	AS 'MODULE_PATHNAME', 'tradekeep_keep_newest_candle' LANGUAGE C;
COMMENT ON FUNCTION tradekeep.keep_newest_candle() IS
'drops an update that would put a partial bar over a final or newer one, a derived over a supplied one, or nothing new';

CREATE TRIGGER keep_newest_candle BEFORE UPDATE ON tradekeep.candle
	FOR EACH ROW EXECUTE FUNCTION tradekeep.keep_newest_candle();
-- Also for what logical replication applies.
ALTER TABLE tradekeep.candle ENABLE ALWAYS TRIGGER keep_newest_candle;

CREATE FUNCTION tradekeep.upsert_candle(symbol text, timeframe tradekeep.timeframe, ts timestamptz,
	open double precision, high double precision, low double precision, close double precision,
	volume double precision, closed boolean DEFAULT true) RETURNS text
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_candle' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_candle(text, tradekeep.timeframe, timestamptz, double precision,
	double precision, double precision, double precision, double precision, boolean) IS
'stores a bar: inserted, updated, unchanged (nothing was written), or ignored: a partial bar after the final one, or one with a smaller volume, lower high or higher low than the partial stored.
symbol 1 to 512 bytes, else TK002; ts the start of a candle in UTC from 1900 to 2200, else TK004; finite low <= open, close <= high and volume >= 0, else TK005.';

CREATE FUNCTION tradekeep.upsert_candles(symbol text, timeframe tradekeep.timeframe, ohlcv jsonb,
	closed boolean DEFAULT true,
	OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT ignored bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_candles_json' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_candles(text, tradekeep.timeframe, jsonb, boolean) IS
'upsert_candle() for [[ms, open, high, low, close, volume], ...] as ccxt gives it, ms since 1970 UTC, numbers also as strings; all rows or none.
Anything but an array of six numbers a row raises TK006; else errors as upsert_candle(), with the number of the row.';

CREATE FUNCTION tradekeep.upsert_candles(symbol text[], timeframe tradekeep.timeframe[], ts timestamptz[],
	open double precision[], high double precision[], low double precision[], close double precision[],
	volume double precision[], closed boolean[] DEFAULT NULL,
	OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT ignored bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_candles_arrays' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_candles(text[], tradekeep.timeframe[], timestamptz[], double precision[],
	double precision[], double precision[], double precision[], double precision[], boolean[]) IS
'upsert_candle() for bars given as columns, closed null for all final; all rows or none. A bar that comes twice counts twice, in the order given.
Arrays of different lengths and null elements raise TK006; else errors as upsert_candle(), with the number of the row.';

CREATE FUNCTION tradekeep.ingest_kline(message jsonb, symbol text DEFAULT NULL,
	timeframe tradekeep.timeframe DEFAULT NULL, at timestamptz DEFAULT NULL,
	OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT ignored bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_ingest_kline' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.ingest_kline(jsonb, text, tradekeep.timeframe, timestamptz) IS
'upsert_candle() for the bars of one message as it came: a kline of Binance''s websocket (bare or in the envelope of a combined stream) or its REST rows, of Bybit v5''s websocket or a REST page, or ccxt''s [[ms, open, high, low, close, volume], ...]; all bars or none.
symbol: under which they are stored, null for the message''s own; timeframe: of rows that do not say it. A websocket''s flag says whether a bar is closed; a row of a page is closed when its candle was over at the time the page was made: at, else what the page says, else now.
Other shapes, and an interval other than timeframe, raise TK006; else errors as upsert_candle(), with the number of the bar.';

CREATE FUNCTION tradekeep.ingest_klines(messages jsonb[], symbol text DEFAULT NULL,
	timeframe tradekeep.timeframe DEFAULT NULL, at timestamptz DEFAULT NULL,
	OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT ignored bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_ingest_klines' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.ingest_klines(jsonb[], text, tradekeep.timeframe, timestamptz) IS
'ingest_kline() of many messages at once; all bars or none';

CREATE FUNCTION tradekeep.candles(symbol text, timeframe tradekeep.timeframe,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, max_rows bigint DEFAULT NULL)
	RETURNS SETOF tradekeep.candle LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT * FROM tradekeep.candle AS c
	WHERE c.symbol = candles.symbol AND c.timeframe = candles.timeframe
		AND c.ts >= coalesce(since, '-infinity') AND c.ts < coalesce(until, 'infinity')
	ORDER BY c.ts
	LIMIT max_rows;
END;
COMMENT ON FUNCTION tradekeep.candles(text, tradekeep.timeframe, timestamptz, timestamptz, bigint) IS
'stored bars that start at since or later and before until, oldest first; null for no bound. At most max_rows of them, the oldest';

CREATE FUNCTION tradekeep.latest_candles(symbol text, timeframe tradekeep.timeframe, n bigint)
	RETURNS SETOF tradekeep.candle LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	SELECT newest.* FROM (
		SELECT * FROM tradekeep.candle AS c
		WHERE c.symbol = latest_candles.symbol AND c.timeframe = latest_candles.timeframe
		ORDER BY c.ts DESC
		LIMIT n) AS newest
	ORDER BY newest.ts;
END;
COMMENT ON FUNCTION tradekeep.latest_candles(text, tradekeep.timeframe, bigint) IS
'the newest n stored bars, oldest first; the last one may still be open (closed = false)';

