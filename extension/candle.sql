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
) USING heap WITH (fillfactor = 90);
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


CREATE TYPE tradekeep.filled_candle AS (symbol text, timeframe tradekeep.timeframe, ts timestamptz,
	open double precision, high double precision, low double precision, close double precision,
	volume double precision, closed boolean, filled boolean);
COMMENT ON TYPE tradekeep.filled_candle IS 'a row of candles_filled()';

CREATE FUNCTION tradekeep.candles_filled(symbol text, timeframe tradekeep.timeframe,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS SETOF tradekeep.filled_candle
	AS 'MODULE_PATHNAME', 'tradekeep_candles_filled' LANGUAGE C STABLE PARALLEL SAFE ROWS 1000;
COMMENT ON FUNCTION tradekeep.candles_filled(text, tradekeep.timeframe, timestamptz, timestamptz) IS
'candles(), and for each that is missing in between a bar without volume at the last close, filled = true; also before the first, at the close of the last one before since, and behind the last until the candle that is open now, if there is an until';

CREATE FUNCTION tradekeep.candle_gaps(symbol text, timeframe tradekeep.timeframe,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	OUT gap_start timestamptz, OUT gap_end timestamptz, OUT missing bigint) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'tradekeep_candle_gaps' LANGUAGE C STABLE PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION tradekeep.candle_gaps(text, tradekeep.timeframe, timestamptz, timestamptz) IS
'what is missing: from the start of the first missing candle to the start of the next one that is stored, and how many. Between the first and the last stored bar, or from since and until, as far as these are given; the candle that is open now is not missing yet';

CREATE FUNCTION tradekeep.count_candles(timeframe tradekeep.timeframe, since timestamptz, until timestamptz)
	RETURNS bigint AS 'MODULE_PATHNAME', 'tradekeep_count_candles'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.count_candles(tradekeep.timeframe, timestamptz, timestamptz) IS
'how many candles of a timeframe start at since or later and before until; times from 1900 to 2200, else TK004';

-- One descent of the index for each symbol and timeframe, and one pass to count.
CREATE FUNCTION tradekeep.candle_stats(OUT symbol text, OUT timeframe tradekeep.timeframe,
	OUT candles bigint, OUT first timestamptz, OUT last timestamptz, OUT missing bigint, OUT bytes bigint)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	SELECT s.symbol, s.timeframe, s.candles, s.first, s.last,
		tradekeep.count_candles(s.timeframe, s.first, s.last) + 1 - s.candles,
		(pg_total_relation_size('tradekeep.candle'::regclass) * s.candles / sum(s.candles) OVER ())::bigint
	FROM (
		SELECT c.symbol, c.timeframe, count(*) AS candles, min(c.ts) AS first, max(c.ts) AS last
		FROM tradekeep.candle AS c
		GROUP BY c.symbol, c.timeframe) AS s
	ORDER BY s.symbol, s.timeframe;
END;
COMMENT ON FUNCTION tradekeep.candle_stats() IS
'per symbol and timeframe: bars stored, the first and the last start, how many are missing between them, and their share of the table''s size. Counts every bar';

CREATE FUNCTION tradekeep.storage_stats(OUT relation regclass, OUT rows_estimate bigint, OUT dead_rows bigint,
	OUT table_bytes bigint, OUT index_bytes bigint, OUT total_bytes bigint, OUT last_vacuum timestamptz)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 20
BEGIN ATOMIC
	SELECT c.oid::regclass, greatest(c.reltuples, 0)::bigint, pg_stat_get_dead_tuples(c.oid),
		pg_table_size(c.oid), pg_indexes_size(c.oid), pg_total_relation_size(c.oid),
		greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid))
	FROM pg_catalog.pg_class AS c
	WHERE c.relnamespace = 'tradekeep'::regnamespace AND c.relkind = 'r'
	ORDER BY pg_total_relation_size(c.oid) DESC, c.relname;
END;
COMMENT ON FUNCTION tradekeep.storage_stats() IS
'the tables of tradekeep, largest first: rows by the last vacuum or analyze, dead rows, bytes with TOAST, of the indexes, and of all, and when it was vacuumed last';

CREATE TABLE tradekeep.tick (
	symbol tradekeep.key_name NOT NULL,
	timeframe tradekeep.timeframe NOT NULL,
	ts timestamptz NOT NULL,
	id tradekeep.key_name NOT NULL,
	price double precision NOT NULL,
	amount double precision NOT NULL,
	sweep_after timestamptz NOT NULL,
	PRIMARY KEY (symbol, timeframe, ts, id),
	CHECK (price > '-Infinity' AND price < 'Infinity' AND amount >= 0 AND amount < 'Infinity'
		AND sweep_after >= ts AND sweep_after < 'infinity')
) USING heap;
COMMENT ON TABLE tradekeep.tick IS
'public trades of which upsert_ticks() makes candles of a timeframe; they go once their candle is over and its grace has passed';
COMMENT ON COLUMN tradekeep.tick.sweep_after IS
'when the sweeper may take the row: grace after the later of the end of its candle and the time of writing';

CREATE INDEX tick_sweep_after_idx ON tradekeep.tick (sweep_after);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.tick', '');

CREATE FUNCTION tradekeep.upsert_ticks(symbol text, timeframe tradekeep.timeframe, ticks jsonb,
	grace interval DEFAULT '1 hour',
	OUT inserted bigint, OUT known bigint, OUT late bigint, OUT candles bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_ticks_json' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_ticks(text, tradekeep.timeframe, jsonb, interval) IS
'stores public trades, [[ms, id, price, amount], ...] or ccxt''s trade objects, and makes their candles from all that are stored: open and close by time and id, all-digit ids as numbers; closed once a later candle has a tick. The order, the splitting and the repetition of a stream make no difference.
inserted: ticks that are new; known: that were sent before; late: left out, because their candle''s ticks are gone; candles: how many were written. Ticks stay until grace (1 ms to 100 years) after the end of their candle, or after now if that is later. A supplied candle stays as it is.
Anything else than such an array raises TK006; a timeframe that a rollup makes, TK011; an id 1 to 512 bytes, else TK002; times from 1900 to 2200, else TK004; a finite price, amount >= 0, else TK005. All ticks or none.';

CREATE FUNCTION tradekeep.upsert_ticks(symbol text, timeframe tradekeep.timeframe, ts timestamptz[], id text[],
	price double precision[], amount double precision[], grace interval DEFAULT '1 hour',
	OUT inserted bigint, OUT known bigint, OUT late bigint, OUT candles bigint)
	AS 'MODULE_PATHNAME', 'tradekeep_upsert_ticks_arrays' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.upsert_ticks(text, tradekeep.timeframe, timestamptz[], text[], double precision[],
	double precision[], interval) IS
'upsert_ticks() for ticks given as columns; arrays of different lengths and null elements raise TK006';

CREATE SEQUENCE tradekeep.correction_id;
COMMENT ON SEQUENCE tradekeep.correction_id IS 'numbers of corrections, which only grow';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.correction_id', '');

CREATE TABLE tradekeep.candle_correction (
	correction_id bigint NOT NULL PRIMARY KEY DEFAULT nextval('tradekeep.correction_id'),
	corrected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	symbol text COLLATE "C" NOT NULL,
	timeframe tradekeep.timeframe NOT NULL,
	ts timestamptz NOT NULL,
	old_open double precision NOT NULL,
	old_high double precision NOT NULL,
	old_low double precision NOT NULL,
	old_close double precision NOT NULL,
	old_volume double precision NOT NULL,
	new_open double precision NOT NULL,
	new_high double precision NOT NULL,
	new_low double precision NOT NULL,
	new_close double precision NOT NULL,
	new_volume double precision NOT NULL
) USING heap;
COMMENT ON TABLE tradekeep.candle_correction IS
'final bars that were replaced by other final bars, as they were and as they are; the sweeper keeps the newest 10,000';

CREATE INDEX candle_correction_corrected_at_idx ON tradekeep.candle_correction (corrected_at);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle_correction', '');

CREATE FUNCTION tradekeep.check_keep(keep interval) RETURNS void
	AS 'MODULE_PATHNAME', 'tradekeep_check_keep' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.check_keep(interval) IS
'raises TK003 unless keep is from a millisecond to 100 years';

CREATE TABLE tradekeep.candle_retention (
	timeframe tradekeep.timeframe NOT NULL PRIMARY KEY,
	keep interval NOT NULL CHECK (keep > interval '0')
) USING heap;
COMMENT ON TABLE tradekeep.candle_retention IS 'what set_candle_retention() was told';

SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle_retention', '');

CREATE FUNCTION tradekeep.set_candle_retention(timeframe tradekeep.timeframe, keep interval) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF timeframe IS NULL THEN
		RAISE EXCEPTION 'timeframe must not be null' USING ERRCODE = 'null_value_not_allowed';
	ELSIF keep IS NULL THEN
		DELETE FROM tradekeep.candle_retention AS r WHERE r.timeframe = set_candle_retention.timeframe;
		RETURN;
	END IF;
	PERFORM tradekeep.check_keep(keep);
	INSERT INTO tradekeep.candle_retention VALUES (timeframe, keep)
		ON CONFLICT ON CONSTRAINT candle_retention_pkey DO UPDATE SET keep = excluded.keep;
END
$$;
COMMENT ON FUNCTION tradekeep.set_candle_retention(tradekeep.timeframe, interval) IS
'lets the sweeper delete candles of a timeframe that began keep or more ago, months by the calendar in UTC, but for those that rollups still need; null keeps them for ever. keep: a millisecond to 100 years, else TK003. For the level admin';

-- In key order, as everything that touches many candles.
CREATE FUNCTION tradekeep.cleanup_old_candles(keep interval, timeframe tradekeep.timeframe DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET tradekeep.retention = on
AS $$
DECLARE
	cutoff timestamptz;
	deleted bigint;
BEGIN
	PERFORM tradekeep.check_keep(keep);
	cutoff := (statement_timestamp() AT TIME ZONE 'UTC' - keep) AT TIME ZONE 'UTC';
	WITH old AS MATERIALIZED (
		SELECT c.ctid AS id FROM ONLY tradekeep.candle AS c
		LEFT JOIN (SELECT r.source, tradekeep.retention_end(r.source, cutoff) AS ts
			FROM tradekeep.rollup AS r GROUP BY r.source) AS needed ON needed.source = c.timeframe
		WHERE c.ts <= cutoff AND c.ts < coalesce(needed.ts, 'infinity')
			AND (cleanup_old_candles.timeframe IS NULL OR c.timeframe = cleanup_old_candles.timeframe)
		ORDER BY c.symbol, c.timeframe, c.ts
		FOR UPDATE OF c)
	DELETE FROM ONLY tradekeep.candle AS c WHERE c.ctid = ANY (ARRAY(SELECT id FROM old));
	GET DIAGNOSTICS deleted = ROW_COUNT;
	RETURN deleted;
END
$$;
COMMENT ON FUNCTION tradekeep.cleanup_old_candles(interval, tradekeep.timeframe) IS
'deletes the candles of a timeframe, or of all, that began keep or more ago, but for those that rollups still need, in one transaction, and returns how many; what was derived from them stays. keep: a millisecond to 100 years, else TK003. For the level admin';

CREATE TABLE tradekeep.candle_notify (
	timeframe tradekeep.timeframe NOT NULL PRIMARY KEY
) USING heap;
COMMENT ON TABLE tradekeep.candle_notify IS 'the timeframes of which NOTIFY tells the closing of candles';

-- Only while a timeframe stands there do statements pay for the triggers: even a disabled one would make
-- every statement keep a copy of its rows.
CREATE FUNCTION tradekeep.arm_candle_notify() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	armed CONSTANT boolean := EXISTS (SELECT FROM pg_trigger AS t
		WHERE t.tgrelid = 'tradekeep.candle'::regclass AND t.tgname = 'notify_inserted');
	wanted CONSTANT boolean := EXISTS (SELECT FROM tradekeep.candle_notify);
BEGIN
	IF armed AND NOT wanted THEN
		DROP TRIGGER notify_inserted ON tradekeep.candle;
		DROP TRIGGER notify_updated ON tradekeep.candle;
	ELSIF wanted AND NOT armed THEN
		CREATE TRIGGER notify_inserted AFTER INSERT ON tradekeep.candle
			REFERENCING NEW TABLE AS arrived
			FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.notify_closed_candles();
		CREATE TRIGGER notify_updated AFTER UPDATE ON tradekeep.candle
			REFERENCING OLD TABLE AS replaced NEW TABLE AS arrived
			FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.notify_closed_candles();
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION tradekeep.arm_candle_notify() IS 'makes the triggers that notify, while there is something to notify of';

CREATE TRIGGER arm_candle_notify AFTER INSERT OR DELETE OR TRUNCATE ON tradekeep.candle_notify
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.arm_candle_notify();

SELECT pg_catalog.pg_extension_config_dump('tradekeep.candle_notify', '');

-- Whoever arms or disarms locks this table first, and candle after it.
CREATE FUNCTION tradekeep.notify_candles(timeframe tradekeep.timeframe, enabled boolean DEFAULT true) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF timeframe IS NULL OR enabled IS NULL THEN
		RAISE EXCEPTION 'timeframe and enabled must not be null' USING ERRCODE = 'null_value_not_allowed';
	ELSIF EXISTS (SELECT FROM tradekeep.candle_notify AS n WHERE n.timeframe = notify_candles.timeframe) = enabled THEN
		RETURN;
	END IF;
	LOCK TABLE tradekeep.candle_notify IN SHARE ROW EXCLUSIVE MODE;
	IF enabled THEN
		INSERT INTO tradekeep.candle_notify VALUES (timeframe) ON CONFLICT DO NOTHING;
	ELSE
		DELETE FROM tradekeep.candle_notify AS n WHERE n.timeframe = notify_candles.timeframe;
	END IF;
END
$$;
COMMENT ON FUNCTION tradekeep.notify_candles(tradekeep.timeframe, boolean) IS
'sends NOTIFY tradekeep_candle when candles of a timeframe close, or no longer: {"timeframe": "1m", "ts": start, "symbols": [...]}, of each symbol the newest that a statement closed. For the level admin';

-- A payload has room for 8,000 bytes; a symbol in JSON takes up to 3,074 of them.
CREATE FUNCTION tradekeep.send_candle_notes(symbols text[], timeframes tradekeep.timeframe[], starts timestamptz[]) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT pg_notify('tradekeep_candle', json_build_object('timeframe', chunk.timeframe,
		'ts', to_char(chunk.ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'symbols', chunk.symbols)::text)
	FROM (
		SELECT s.timeframe, s.ts, json_agg(s.symbol ORDER BY s.symbol) AS symbols
		FROM (
			SELECT n.symbol, n.timeframe, n.ts, sum(octet_length(to_json(n.symbol)::text) + 2)
				OVER (PARTITION BY n.timeframe, n.ts ORDER BY n.symbol) / 4000 AS part
			FROM unnest(symbols, timeframes, starts) AS n(symbol, timeframe, ts)) AS s
		GROUP BY s.timeframe, s.ts, s.part) AS chunk;
END;
COMMENT ON FUNCTION tradekeep.send_candle_notes(text[], tradekeep.timeframe[], timestamptz[]) IS
'sends what notify_candles() promises of these candles';

CREATE FUNCTION tradekeep.notify_closed_candles() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		PERFORM tradekeep.send_candle_notes(array_agg(c.symbol), array_agg(c.timeframe), array_agg(c.ts))
		FROM (
			SELECT a.symbol, a.timeframe, max(a.ts) AS ts
			FROM arrived AS a JOIN tradekeep.candle_notify AS n ON n.timeframe = a.timeframe
			WHERE a.closed
			GROUP BY a.symbol, a.timeframe) AS c;
	ELSE
		PERFORM tradekeep.send_candle_notes(array_agg(c.symbol), array_agg(c.timeframe), array_agg(c.ts))
		FROM (
			SELECT a.symbol, a.timeframe, max(a.ts) AS ts
			FROM arrived AS a JOIN tradekeep.candle_notify AS n ON n.timeframe = a.timeframe
			JOIN replaced AS r ON r.symbol = a.symbol AND r.timeframe = a.timeframe AND r.ts = a.ts
			WHERE a.closed AND NOT r.closed
			GROUP BY a.symbol, a.timeframe) AS c;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION tradekeep.notify_closed_candles() IS 'notifies of the candles that a statement closed';
