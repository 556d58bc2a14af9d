\echo Use "ALTER EXTENSION tradekeep UPDATE TO '0.4.0'" to load this file. \quit

-- 0.3.0 to 0.4.0: the rooms trade and trade_stats. What changed stands here as it is in the rooms, in their order.

-- trade: the ledger, and locks that all bots share

CREATE DOMAIN tradekeep.label AS text COLLATE "C" CHECK (octet_length(VALUE) <= 512);
COMMENT ON DOMAIN tradekeep.label IS 'name of a bot, a strategy or a reason: up to 512 bytes, may be empty';
-- NaN and infinity are above any bound.
CREATE DOMAIN tradekeep.figure AS numeric CHECK (abs(VALUE) < 1e100 AND scale(VALUE) <= 100);
COMMENT ON DOMAIN tradekeep.figure IS 'amount of money, price or ratio: finite, up to 100 digits before and behind the point';
CREATE DOMAIN tradekeep.positive_figure AS numeric CHECK (VALUE > 0 AND VALUE < 1e100 AND scale(VALUE) <= 100);
COMMENT ON DOMAIN tradekeep.positive_figure IS 'figure above 0';
CREATE DOMAIN tradekeep.trade_time AS timestamptz CHECK (VALUE >= '1900-01-01 00:00:00+00' AND VALUE < '2200-01-01 00:00:00+00');
COMMENT ON DOMAIN tradekeep.trade_time IS 'time from 1900 on and before 2200';

CREATE TABLE tradekeep.trade (
	bot tradekeep.label NOT NULL DEFAULT '',
	trade_id tradekeep.key_name NOT NULL,
	strategy tradekeep.label,
	symbol tradekeep.key_name NOT NULL,
	side tradekeep.signal_direction NOT NULL,
	quantity tradekeep.positive_figure,
	entry_price tradekeep.figure,
	exit_price tradekeep.figure,
	leverage tradekeep.positive_figure NOT NULL DEFAULT 1,
	fee tradekeep.figure NOT NULL DEFAULT 0,
	opened_at tradekeep.trade_time,
	closed_at tradekeep.trade_time,
	pnl tradekeep.figure,
	pnl_ratio tradekeep.figure,
	exit_reason tradekeep.label,
	data jsonb,
	PRIMARY KEY (bot, trade_id),
	CONSTRAINT trade_closed CHECK ((closed_at IS NULL) = (pnl IS NULL)
		AND (closed_at IS NOT NULL OR num_nonnulls(exit_price, pnl_ratio, exit_reason) = 0)
		AND closed_at >= opened_at IS NOT FALSE)
) USING heap;
COMMENT ON TABLE tradekeep.trade IS
'trades: open without closed_at and pnl, closed with both; only closed ones are in the statistics';
COMMENT ON COLUMN tradekeep.trade.quantity IS 'units of the base currency that the stake alone pays for, without leverage';
COMMENT ON COLUMN tradekeep.trade.fee IS 'sum of all fees, in the currency of pnl; negative for a rebate';
COMMENT ON COLUMN tradekeep.trade.pnl IS 'what the trade earned, fees deducted';
COMMENT ON COLUMN tradekeep.trade.pnl_ratio IS 'pnl by the stake, 0.05 is 5 %';

-- Also finds the open ones, whose closed_at is null.
CREATE INDEX trade_closed_at_idx ON tradekeep.trade (closed_at);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.trade', '');

CREATE FUNCTION tradekeep.calculate_pnl(side text, entry_price numeric, exit_price numeric, quantity numeric,
	leverage numeric DEFAULT 1, fee numeric DEFAULT 0) RETURNS numeric
	AS 'MODULE_PATHNAME', 'tradekeep_calculate_pnl' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.calculate_pnl(text, numeric, numeric, numeric, numeric, numeric) IS
'(exit_price - entry_price) * quantity * leverage - fee of a LONG, (entry_price - exit_price) * quantity * leverage - fee of a SHORT, exactly.
side in any case; quantity and leverage above 0; all finite, up to 100 digits before and behind the point; else TK009.';

CREATE FUNCTION tradekeep.calculate_pnl(side text, entry_price double precision, exit_price double precision,
	quantity double precision, leverage double precision DEFAULT 1, fee double precision DEFAULT 0)
	RETURNS double precision
	AS 'MODULE_PATHNAME', 'tradekeep_calculate_pnl_float8' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.calculate_pnl(text, double precision, double precision, double precision,
	double precision, double precision) IS
'calculate_pnl() for floats, which count with the 15 decimal digits that they have';

CREATE FUNCTION tradekeep.add_trade(trade_id text, strategy text, symbol text, side text,
	quantity numeric, entry_price numeric, exit_price numeric DEFAULT NULL, leverage numeric DEFAULT 1,
	fee numeric DEFAULT 0, opened_at timestamptz DEFAULT NULL, closed_at timestamptz DEFAULT NULL,
	pnl numeric DEFAULT NULL, pnl_ratio numeric DEFAULT NULL, exit_reason text DEFAULT NULL,
	data jsonb DEFAULT NULL, bot text DEFAULT '', replace boolean DEFAULT false) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_add_trade' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.add_trade(text, text, text, text, numeric, numeric, numeric, numeric, numeric,
	timestamptz, timestamptz, numeric, numeric, text, jsonb, text, boolean) IS
'stores a trade, open without closed_at, closed with it: true, or false when the same trade is stored already (nothing is written). One that is stored with other figures is refused with TK010, or with replace corrected, and opened again if it is open now. Without replace, a trade that was added open and closed since is the same to one added open again.
pnl null is calculate_pnl() of the figures, and pnl_ratio then pnl by entry_price * quantity.
trade_id and symbol 1 to 512 bytes, strategy, exit_reason and bot up to 512, else TK002; times from 1900 to 2200, else TK004; side LONG or SHORT in any case, quantity and leverage above 0, all finite with up to 100 digits before and behind the point, closed_at not before opened_at, without closed_at no exit_price, pnl, pnl_ratio or exit_reason, with it a pnl or what it is reckoned from, else TK009.
Waits while another transaction adds a trade of this key.';

CREATE FUNCTION tradekeep.add_trade(trade_id text, strategy text, symbol text, side text,
	quantity double precision, entry_price double precision, exit_price double precision DEFAULT NULL,
	leverage double precision DEFAULT 1, fee double precision DEFAULT 0, opened_at timestamptz DEFAULT NULL,
	closed_at timestamptz DEFAULT NULL, pnl double precision DEFAULT NULL,
	pnl_ratio double precision DEFAULT NULL, exit_reason text DEFAULT NULL, data jsonb DEFAULT NULL,
	bot text DEFAULT '', replace boolean DEFAULT false) RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_add_trade_float8' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.add_trade(text, text, text, text, double precision, double precision,
	double precision, double precision, double precision, timestamptz, timestamptz, double precision,
	double precision, text, jsonb, text, boolean) IS
'add_trade() for floats, which are stored with the 15 decimal digits that they have';

CREATE FUNCTION tradekeep.close_trade(trade_id text, exit_price numeric, closed_at timestamptz DEFAULT NULL,
	fee numeric DEFAULT NULL, exit_reason text DEFAULT NULL, bot text DEFAULT '') RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_close_trade' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.close_trade(text, numeric, timestamptz, numeric, text, text) IS
'closes an open trade with calculate_pnl() of its figures: true, or false when it was closed before with the same ones (nothing is written; what is null is not compared); with others TK010.
closed_at null for now, else from 1900 to 2200, else TK004; fee: sum of all fees, null for what is stored; exit_price and fee as add_trade(), and quantity and entry_price stored, else TK009; a pnl of more than 100 digits before or behind the point raises 23514, an unknown trade P0002.';

CREATE FUNCTION tradekeep.close_trade(trade_id text, exit_price double precision,
	closed_at timestamptz DEFAULT NULL, fee double precision DEFAULT NULL, exit_reason text DEFAULT NULL,
	bot text DEFAULT '') RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_close_trade_float8' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.close_trade(text, double precision, timestamptz, double precision, text, text) IS
'close_trade() for floats, which are stored with the 15 decimal digits that they have';

CREATE FUNCTION tradekeep.add_trade(trade jsonb, replace boolean DEFAULT false) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS $$
DECLARE
	unknown text;
BEGIN
	IF jsonb_typeof(trade) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION 'trade is not a JSON object' USING ERRCODE = 'TK006';
	END IF;
	SELECT k INTO unknown FROM jsonb_object_keys(trade) AS k
	WHERE k NOT IN (SELECT attname FROM pg_attribute WHERE attrelid = 'tradekeep.trade'::regclass AND attnum > 0)
	ORDER BY k LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'a trade has no "%"', left(unknown, 64)
			USING ERRCODE = 'TK009', HINT = 'Keys are the columns of tradekeep.trade; put others under data.';
	END IF;
	-- Text of anything would do for the casts below, and 'now' for a time.
	SELECT key INTO unknown FROM jsonb_each(trade)
	WHERE key <> 'data' AND (jsonb_typeof(value) NOT IN ('string', 'number', 'null')
		OR key IN ('opened_at', 'closed_at') AND value #>> '{}' !~ '^\d')
	ORDER BY key LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '% is no %', unknown, CASE WHEN unknown IN ('opened_at', 'closed_at') THEN 'time' ELSE 'string or number' END
			USING ERRCODE = 'TK009', HINT = 'Times are text, as in ISO 8601, and UTC unless they say otherwise.';
	END IF;
	RETURN tradekeep.add_trade((trade ->> 'trade_id'), trade ->> 'strategy', trade ->> 'symbol', trade ->> 'side',
		(trade ->> 'quantity')::numeric, (trade ->> 'entry_price')::numeric, (trade ->> 'exit_price')::numeric,
		(trade ->> 'leverage')::numeric, (trade ->> 'fee')::numeric, (trade ->> 'opened_at')::timestamptz,
		(trade ->> 'closed_at')::timestamptz, (trade ->> 'pnl')::numeric, (trade ->> 'pnl_ratio')::numeric,
		trade ->> 'exit_reason', nullif(trade -> 'data', 'null'), trade ->> 'bot', replace);
END
$$;
COMMENT ON FUNCTION tradekeep.add_trade(jsonb, boolean) IS
'add_trade() for an object whose keys are columns of tradekeep.trade; numbers may be strings, times are text, and UTC unless they say otherwise. Anything but an object raises TK006, an unknown key or a member of another type TK009, a number or time that is none 22P02, 22003, 22007 or 22008; else errors as add_trade()';

CREATE FUNCTION tradekeep.open_trades(bot text DEFAULT NULL) RETURNS SETOF tradekeep.trade
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	SELECT * FROM tradekeep.trade AS t
	WHERE t.closed_at IS NULL AND (open_trades.bot IS NULL OR t.bot = open_trades.bot)
	ORDER BY t.opened_at, t.bot, t.trade_id;
END;
COMMENT ON FUNCTION tradekeep.open_trades(text) IS 'trades that are open, of a bot or of all, the one opened first first';

CREATE DOMAIN tradekeep.lock_side AS text COLLATE "C" CHECK (VALUE IN ('LONG', 'SHORT', '*'));
COMMENT ON DOMAIN tradekeep.lock_side IS 'LONG, SHORT, or * for both';

CREATE TABLE tradekeep.symbol_lock (
	symbol tradekeep.key_name NOT NULL,
	side tradekeep.lock_side NOT NULL,
	locked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	until timestamptz NOT NULL CHECK (until >= '1900-01-01 00:00:00+00' AND until < '2200-01-01 00:00:00+00'),
	reason tradekeep.label,
	PRIMARY KEY (symbol, side)
) USING heap;
COMMENT ON TABLE tradekeep.symbol_lock IS
'symbols that no bot may enter until a time; symbol * is any. Expired rows count as absent and wait for the sweeper';

CREATE INDEX symbol_lock_until_idx ON tradekeep.symbol_lock (until);

SELECT pg_catalog.pg_extension_config_dump('tradekeep.symbol_lock', '');

CREATE VIEW tradekeep.live_symbol_locks AS
	SELECT symbol, side, locked_at, until, until - statement_timestamp() AS remaining, reason
	FROM tradekeep.symbol_lock
	WHERE until > statement_timestamp();
COMMENT ON VIEW tradekeep.live_symbol_locks IS 'locks on symbols that are live now';

CREATE FUNCTION tradekeep.checked_lock_side(symbol text, side text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF symbol IS NULL OR octet_length(symbol) NOT BETWEEN 1 AND 512 THEN
		RAISE EXCEPTION 'symbol has % bytes', coalesce(octet_length(symbol), 0)
			USING ERRCODE = 'TK002', HINT = 'It has 1 to 512 bytes; * stands for any symbol.';
	ELSIF upper(coalesce(side, '*')) NOT IN ('LONG', 'SHORT', '*') THEN
		RAISE EXCEPTION 'invalid side: %', quote_literal(left(side, 64))
			USING ERRCODE = 'TK009', HINT = 'It is LONG, SHORT, or * for both.';
	END IF;
	RETURN upper(coalesce(side, '*'));
END
$$;
COMMENT ON FUNCTION tradekeep.checked_lock_side(text, text) IS
'a side as locks have it: LONG, SHORT or *, in upper case; raises TK002 for a bad symbol and TK009 for a bad side';

CREATE FUNCTION tradekeep.lock_symbol(symbol text, side text, until timestamptz, reason text DEFAULT NULL)
	RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	checked CONSTANT text := tradekeep.checked_lock_side(symbol, side);
BEGIN
	IF current_setting('transaction_read_only')::boolean THEN
		RAISE EXCEPTION 'cannot execute tradekeep.lock_symbol() in a read-only transaction' USING ERRCODE = '25006';
	ELSIF until IS NULL OR until < '1900-01-01 00:00:00+00' OR until >= '2200-01-01 00:00:00+00' THEN
		RAISE EXCEPTION 'until is out of range: %', coalesce(until::text, 'null')
			USING ERRCODE = 'TK004', HINT = 'It lies before the year 2200.';
	ELSIF octet_length(reason) > 512 THEN
		RAISE EXCEPTION 'reason has % bytes', octet_length(reason)
			USING ERRCODE = 'TK002', HINT = 'It has up to 512 bytes.';
	ELSIF until <= clock_timestamp() OR EXISTS (SELECT FROM tradekeep.symbol_lock AS l
			WHERE l.symbol = lock_symbol.symbol COLLATE "C" AND l.side = checked COLLATE "C" AND l.until >= lock_symbol.until) THEN
		RETURN false;
	END IF;
	INSERT INTO tradekeep.symbol_lock AS l (symbol, side, until, reason)
	VALUES (lock_symbol.symbol, checked, lock_symbol.until, lock_symbol.reason)
	ON CONFLICT ON CONSTRAINT symbol_lock_pkey DO UPDATE
	SET locked_at = excluded.locked_at, until = excluded.until, reason = excluded.reason
	WHERE l.until < excluded.until;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION tradekeep.lock_symbol(text, text, timestamptz, text) IS
'keeps all bots out of a symbol (* for any) on a side (LONG, SHORT, null or * for both) until a time, for a reason. Of two locks of one symbol and side the later until wins: true when this one does, false when it is over already or one is stored that lasts as long.
symbol 1 to 512 bytes and reason up to 512, else TK002; side in any case, else TK009; until from 1900 to 2200, else TK004. Goes with its transaction when that is rolled back.';

CREATE FUNCTION tradekeep.unlock_symbol(symbol text, side text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	checked CONSTANT text := tradekeep.checked_lock_side(symbol, side);
	live bigint;
BEGIN
	WITH gone AS (
		DELETE FROM tradekeep.symbol_lock AS l
		WHERE l.symbol = unlock_symbol.symbol COLLATE "C" AND (checked = '*' OR l.side = checked COLLATE "C")
		RETURNING l.until)
	SELECT count(*) INTO live FROM gone AS g WHERE g.until > clock_timestamp();
	RETURN live > 0;
END
$$;
COMMENT ON FUNCTION tradekeep.unlock_symbol(text, text) IS
'ends the lock of a symbol on a side, or with null or * all locks of that symbol; false when none was live. A lock on * is another one than that of a side, and ends only by itself. Errors as lock_symbol()';

CREATE FUNCTION tradekeep.symbol_locked(symbol text, side text DEFAULT NULL, at timestamptz DEFAULT NULL)
	RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	checked CONSTANT text := tradekeep.checked_lock_side(symbol, side);
BEGIN
	RETURN EXISTS (SELECT FROM tradekeep.symbol_lock AS l
		WHERE l.symbol IN (symbol_locked.symbol COLLATE "C", '*') AND (checked = '*' OR l.side IN (checked COLLATE "C", '*'))
			AND l.until > coalesce(at, clock_timestamp()));
END
$$;
COMMENT ON FUNCTION tradekeep.symbol_locked(text, text, timestamptz) IS
'true when a live lock keeps bots out of a symbol on a side, be it a lock of that side, of both, or of any symbol; with null or * as side, when either is locked. at null for now. Errors as lock_symbol(); also on a standby';

-- trade_stats: statistics of closed trades, materialized

CREATE TABLE tradekeep.trade_mark (
	first timestamptz NOT NULL
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- Where it is published, against all advice, rows of it can still go; so with those below.
ALTER TABLE tradekeep.trade_mark REPLICA IDENTITY FULL;
COMMENT ON TABLE tradekeep.trade_mark IS
'a row for each transaction and UTC day whose closed trades it touched, or some: the earliest closed_at of them. Settling turns them into summaries';

CREATE TABLE tradekeep.trade_span (
	dimension text COLLATE "C" NOT NULL,
	value text COLLATE "C",
	span "char" NOT NULL,
	start timestamp NOT NULL,
	trades bigint NOT NULL,
	wins bigint NOT NULL,
	losses bigint NOT NULL,
	held bigint NOT NULL,
	first_at timestamptz NOT NULL,
	last_at timestamptz NOT NULL,
	total numeric NOT NULL,
	profit numeric NOT NULL,
	loss numeric NOT NULL,
	squares numeric NOT NULL,
	best numeric NOT NULL,
	worst numeric NOT NULL,
	peak numeric NOT NULL,
	low numeric NOT NULL,
	drawdown numeric NOT NULL,
	drawdown_peak numeric NOT NULL,
	holding numeric NOT NULL,
	day_squares numeric NOT NULL,
	day_loss_squares numeric NOT NULL,
	symbols text[],
	symbol_pnl numeric[],
	UNIQUE NULLS NOT DISTINCT (dimension, value, span, start)
) USING heap WITH (fillfactor = 80);
ALTER TABLE tradekeep.trade_span REPLICA IDENTITY FULL;
COMMENT ON TABLE tradekeep.trade_span IS
'summaries of the closed trades of a UTC day (span d) or a month that is over (m): of all (dimension and value empty), and of each symbol, strategy (null: without one) and bot; and of all in the parts of a day that has many (p). A day''s holds up to the last_at of all trades, unless a mark lies at or before it';
COMMENT ON COLUMN tradekeep.trade_span.start IS 'in UTC; of a part, its first closed_at';
COMMENT ON COLUMN tradekeep.trade_span.peak IS 'highest sum of pnl since the start, at least 0; low: the lowest, at most 0';
COMMENT ON COLUMN tradekeep.trade_span.drawdown_peak IS 'the sum of pnl from which the drawdown fell';
COMMENT ON COLUMN tradekeep.trade_span.holding IS 'microseconds from opened_at to closed_at, of the held trades that have both';
COMMENT ON COLUMN tradekeep.trade_span.day_squares IS 'of a month: squares of the sums of its days; day_loss_squares: of those below 0';

CREATE INDEX trade_span_start_idx ON tradekeep.trade_span (span, start);

CREATE TABLE tradekeep.trade_settling (
	settled_at timestamptz NOT NULL,
	lag bigint NOT NULL
) USING heap WITH (fillfactor = 10);
ALTER TABLE tradekeep.trade_settling REPLICA IDENTITY FULL;
COMMENT ON TABLE tradekeep.trade_settling IS
'one row: when trades were last settled, and how many microseconds back of today they are left alone, as trades of then may still come';
INSERT INTO tradekeep.trade_settling VALUES ('-infinity', 50000);

CREATE FUNCTION tradekeep.mark_trades() RETURNS trigger
	AS 'MODULE_PATHNAME', 'tradekeep_mark_trades' LANGUAGE C;
COMMENT ON FUNCTION tradekeep.mark_trades() IS 'leaves a mark for each day of which a statement touched closed trades';

CREATE TRIGGER mark_begun BEFORE INSERT OR UPDATE OR DELETE ON tradekeep.trade
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.mark_trades();
CREATE TRIGGER mark_inserted AFTER INSERT ON tradekeep.trade REFERENCING NEW TABLE AS arrived
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.mark_trades();
CREATE TRIGGER mark_updated AFTER UPDATE ON tradekeep.trade REFERENCING OLD TABLE AS replaced NEW TABLE AS arrived
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.mark_trades();
CREATE TRIGGER mark_deleted AFTER DELETE ON tradekeep.trade REFERENCING OLD TABLE AS replaced
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.mark_trades();
CREATE TRIGGER mark_truncated AFTER TRUNCATE ON tradekeep.trade
	FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.mark_trades();
-- For what logical replication applies, row by row.
CREATE TRIGGER mark_replicated AFTER INSERT OR UPDATE OR DELETE ON tradekeep.trade
	FOR EACH ROW EXECUTE FUNCTION tradekeep.mark_trades();
ALTER TABLE tradekeep.trade ENABLE ALWAYS TRIGGER mark_begun;
ALTER TABLE tradekeep.trade ENABLE ALWAYS TRIGGER mark_inserted;
ALTER TABLE tradekeep.trade ENABLE ALWAYS TRIGGER mark_updated;
ALTER TABLE tradekeep.trade ENABLE ALWAYS TRIGGER mark_deleted;
ALTER TABLE tradekeep.trade ENABLE ALWAYS TRIGGER mark_truncated;
ALTER TABLE tradekeep.trade ENABLE REPLICA TRIGGER mark_replicated;

CREATE TYPE tradekeep.trade_metrics AS (
	trades bigint, wins bigint, losses bigint, draws bigint, win_rate double precision,
	total_pnl numeric, gross_profit numeric, gross_loss numeric, profit_factor double precision,
	average_win numeric, average_loss numeric, payoff_ratio double precision,
	expectancy numeric, expectancy_ratio double precision, best numeric, worst numeric,
	max_drawdown numeric, max_drawdown_ratio double precision,
	sharpe double precision, sortino double precision, calmar double precision, sqn double precision,
	average_holding interval, top_symbols jsonb);
COMMENT ON TYPE tradekeep.trade_metrics IS
'a row of trade_stats(): money is numeric and exact, ratios are double precision; what the trades do not define is null. gross_loss, average_loss and worst are negative where trades lost';

CREATE FUNCTION tradekeep.trade_stats(period interval DEFAULT NULL, symbol text DEFAULT NULL,
	strategy text DEFAULT NULL, bot text DEFAULT NULL, starting_balance numeric DEFAULT NULL,
	at timestamptz DEFAULT NULL) RETURNS tradekeep.trade_metrics
	AS 'MODULE_PATHNAME', 'tradekeep_trade_stats' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION tradekeep.trade_stats(interval, text, text, text, numeric, timestamptz) IS
'metrics of the trades closed after at - period until at, months by the calendar in UTC, period null for all time; of a symbol, a strategy, a bot, or any combination, null for any. Always one row; without trades it has zeros and nulls.
starting_balance: when the window opens, above 0, else TK009; without it max_drawdown_ratio and calmar are null. period above 0 and not reaching behind 1900, else TK003; at null for now, else from 1900 to 2200, else TK004.
Days are UTC days of closed_at, a year has 365. top_symbols: [{"symbol": ..., "pnl": ...}, ...], the best five by pnl. Formulas: docs/trade_stats.md. Also on a standby.';

CREATE FUNCTION tradekeep.stats_by(dimension text, period interval DEFAULT NULL, symbol text DEFAULT NULL,
	strategy text DEFAULT NULL, bot text DEFAULT NULL, starting_balance numeric DEFAULT NULL,
	at timestamptz DEFAULT NULL,
	OUT value text, OUT trades bigint, OUT wins bigint, OUT losses bigint, OUT draws bigint,
	OUT win_rate double precision, OUT total_pnl numeric, OUT gross_profit numeric, OUT gross_loss numeric,
	OUT profit_factor double precision, OUT average_win numeric, OUT average_loss numeric,
	OUT payoff_ratio double precision, OUT expectancy numeric, OUT expectancy_ratio double precision,
	OUT best numeric, OUT worst numeric, OUT max_drawdown numeric, OUT max_drawdown_ratio double precision,
	OUT sharpe double precision, OUT sortino double precision, OUT calmar double precision,
	OUT sqn double precision, OUT average_holding interval, OUT top_symbols jsonb)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'tradekeep_stats_by' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION tradekeep.stats_by(text, interval, text, text, text, numeric, timestamptz) IS
'trade_stats() for each value of a dimension: symbol, strategy, bot, side, exit_reason, weekday (1 is Monday) or hour (00 to 23) of closed_at in UTC; else 22023. A row a value that has trades in the window, in order; the trades without a value last, as null.
By symbol, strategy or bot without another filter it reads summaries, else every trade of the window.';

-- The aggregate of any query.
CREATE FUNCTION tradekeep.trade_summary_step(state internal, closed_at timestamptz, trade_id text, pnl numeric)
	RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_trade_summary_step' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION tradekeep.trade_summary_combine(state internal, other internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_trade_summary_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION tradekeep.trade_summary_serialize(state internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'tradekeep_trade_summary_serialize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION tradekeep.trade_summary_deserialize(state bytea, dummy internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'tradekeep_trade_summary_deserialize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION tradekeep.trade_summary_final(state internal) RETURNS tradekeep.trade_metrics
	AS 'MODULE_PATHNAME', 'tradekeep_trade_summary_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tradekeep.trade_summary_step(internal, timestamptz, text, numeric) IS 'of trade_summary()';
COMMENT ON FUNCTION tradekeep.trade_summary_combine(internal, internal) IS 'of trade_summary()';
COMMENT ON FUNCTION tradekeep.trade_summary_serialize(internal) IS 'of trade_summary()';
COMMENT ON FUNCTION tradekeep.trade_summary_deserialize(bytea, internal) IS 'of trade_summary()';
COMMENT ON FUNCTION tradekeep.trade_summary_final(internal) IS 'of trade_summary()';
CREATE AGGREGATE tradekeep.trade_summary(closed_at timestamptz, trade_id text, pnl numeric) (
	SFUNC = tradekeep.trade_summary_step, STYPE = internal, FINALFUNC = tradekeep.trade_summary_final,
	COMBINEFUNC = tradekeep.trade_summary_combine, SERIALFUNC = tradekeep.trade_summary_serialize,
	DESERIALFUNC = tradekeep.trade_summary_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE tradekeep.trade_summary(timestamptz, text, numeric) IS
'the metrics of trade_stats() over the rows of any query, in the order of (closed_at, trade_id) however they come, over the calendar days from the first to the last; what needs a balance, symbols or opened_at is null. Keeps all rows in memory, some 100 bytes each, up to 1 GB in a parallel worker; rows with a null closed_at or pnl are left out.
closed_at from 1900 to 2200, else TK004; a pnl that is not finite raises TK009, one whose square is beyond numeric 22003.';

CREATE VIEW tradekeep.trade_stats_cache AS
	SELECT p.period, s.*
	FROM (VALUES (1, 'all_time', NULL::interval), (2, '7d', interval '7 days'), (3, '30d', interval '30 days'))
		AS p(n, period, length)
	CROSS JOIN LATERAL tradekeep.trade_stats(p.length) AS s
	ORDER BY p.n;
COMMENT ON VIEW tradekeep.trade_stats_cache IS
'trade_stats() of all time, of 7 days and of 30 days: a row each, never stale';

CREATE FUNCTION tradekeep.top_symbols(period interval DEFAULT NULL, n bigint DEFAULT 5,
	strategy text DEFAULT NULL, bot text DEFAULT NULL, at timestamptz DEFAULT NULL,
	OUT symbol text, OUT trades bigint, OUT pnl numeric) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 5
BEGIN ATOMIC
	SELECT s.value, s.trades, s.total_pnl
	FROM tradekeep.stats_by('symbol', period, NULL, strategy, bot, NULL, at) AS s
	ORDER BY s.total_pnl DESC, s.value COLLATE "C"
	LIMIT n;
END;
COMMENT ON FUNCTION tradekeep.top_symbols(interval, bigint, text, text, timestamptz) IS
'the n symbols that earned most in a window as trade_stats() has it, of a strategy, a bot, or all. Errors as trade_stats()';

CREATE FUNCTION tradekeep.trades_are_unfinished() RETURNS boolean
	AS 'MODULE_PATHNAME', 'tradekeep_trades_are_unfinished' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION tradekeep.trades_are_unfinished() IS
'true while a statement of this transaction is changing trades, in a trigger for instance: they are not marked yet';

CREATE FUNCTION tradekeep.traded_days(since date, until date, OUT day date, OUT trades bigint, OUT pnl numeric)
	RETURNS SETOF record LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 365
	-- Plans here cost less than to compile them.
	SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	first CONSTANT timestamptz := coalesce(since::timestamp AT TIME ZONE 'UTC', '-infinity');
	behind CONSTANT timestamptz := coalesce(until::timestamp AT TIME ZONE 'UTC', 'infinity');
BEGIN
	-- Locks the trades first, as TRUNCATE does.
	PERFORM FROM tradekeep.trade LIMIT 0;
	IF row_security_active('tradekeep.trade') OR tradekeep.trades_are_unfinished() THEN
		RETURN QUERY
		SELECT (t.closed_at AT TIME ZONE 'UTC')::date, count(*), sum(t.pnl)
		FROM tradekeep.trade AS t WHERE t.closed_at >= first AND t.closed_at < behind GROUP BY 1;
		RETURN;
	END IF;
	-- In one statement and so under one snapshot.
	RETURN QUERY
	WITH marked AS MATERIALIZED (
		SELECT DISTINCT (m.first AT TIME ZONE 'UTC')::date AS day FROM tradekeep.trade_mark AS m
		WHERE m.first >= first AND m.first < behind)
	SELECT s.start::date, s.trades, s.total
	FROM tradekeep.trade_span AS s
	LEFT JOIN marked AS m ON m.day = s.start::date
	WHERE s.dimension = '' AND s.value = '' AND s.span = 'd' AND m.day IS NULL
		AND s.start >= first AT TIME ZONE 'UTC' AND s.start < behind AT TIME ZONE 'UTC'
	UNION ALL
	SELECT m.day, t.trades, t.pnl
	FROM marked AS m
	CROSS JOIN LATERAL (
		SELECT count(*) AS trades, sum(t.pnl) AS pnl FROM tradekeep.trade AS t
		WHERE t.closed_at >= m.day::timestamp AT TIME ZONE 'UTC'
			AND t.closed_at < (m.day + 1)::timestamp AT TIME ZONE 'UTC') AS t
	WHERE t.trades > 0;
END
$$;
COMMENT ON FUNCTION tradekeep.traded_days(date, date) IS
'number and pnl of the trades of each UTC day that has any, from since on and before until, null for any; from summaries, but for marked days, and while policies hide trades';

CREATE FUNCTION tradekeep.daily_pnl(since date DEFAULT NULL, until date DEFAULT NULL,
	OUT day date, OUT trades bigint, OUT pnl numeric) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 365
BEGIN ATOMIC
	WITH traded AS MATERIALIZED (SELECT * FROM tradekeep.traded_days(since, until)),
	bounds AS (
		SELECT coalesce(since, min(t.day)) AS first, coalesce(until - 1, max(t.day)) AS last FROM traded AS t)
	SELECT b.first + n.n, coalesce(t.trades, 0), coalesce(t.pnl, 0)
	FROM bounds AS b
	CROSS JOIN LATERAL generate_series(0, b.last - b.first) AS n(n)
	LEFT JOIN traded AS t ON t.day = b.first + n.n
	ORDER BY 1;
END;
COMMENT ON FUNCTION tradekeep.daily_pnl(date, date) IS
'pnl of each UTC day from since on and before until, days without trades as 0; null: from the first day with trades, to the last';

CREATE FUNCTION tradekeep.equity_curve(starting_balance numeric DEFAULT 0, since date DEFAULT NULL,
	until date DEFAULT NULL, OUT day date, OUT pnl numeric, OUT balance numeric) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 365
BEGIN ATOMIC
	SELECT d.day, d.pnl, starting_balance + sum(d.pnl) OVER (ORDER BY d.day)
	FROM tradekeep.daily_pnl(since, until) AS d
	ORDER BY d.day;
END;
COMMENT ON FUNCTION tradekeep.equity_curve(numeric, date, date) IS
'daily_pnl(), and the balance at the end of each day, from starting_balance at the beginning of the first';

CREATE FUNCTION tradekeep.settle_trade_stats(from_day date DEFAULT NULL) RETURNS date
	AS 'MODULE_PATHNAME', 'tradekeep_settle_trade_stats' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.settle_trade_stats(date) IS
'settles the first month with marks from a day on, null for any, in the current transaction, and returns its first day; null when there is none. Of today what is younger than trades lately came late, a twentieth of a second or more, stays marked.
It is only for speed: statistics are right without it. With the library preloaded it is done in the background. Waits while somebody else is settling.';

CREATE PROCEDURE tradekeep.settle_trades()
	AS 'MODULE_PATHNAME', 'tradekeep_settle_trades' LANGUAGE C;
COMMENT ON PROCEDURE tradekeep.settle_trades() IS
'settle_trade_stats() of each month with marks; commits after each, unless inside a transaction block';

CREATE FUNCTION tradekeep.wrong_trade_triggers() RETURNS TABLE (name name, wanted text) LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT w.name, w.wanted
	FROM (VALUES (name 'mark_begun', 'ALWAYS'), ('mark_inserted', 'ALWAYS'), ('mark_updated', 'ALWAYS'), ('mark_deleted', 'ALWAYS'),
		('mark_truncated', 'ALWAYS'), ('mark_replicated', 'REPLICA')) AS w(name, wanted)
	WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
		WHERE t.tgrelid = 'tradekeep.trade'::regclass AND t.tgname = w.name AND t.tgenabled = left(w.wanted, 1)::"char");
END;
COMMENT ON FUNCTION tradekeep.wrong_trade_triggers() IS 'triggers of tradekeep.trade that are not enabled as they have to be, and how';

CREATE FUNCTION tradekeep.enable_trade_triggers() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wrong record;
BEGIN
	FOR wrong IN SELECT * FROM tradekeep.wrong_trade_triggers() LOOP
		EXECUTE format('ALTER TABLE tradekeep.trade ENABLE %s TRIGGER %I', wrong.wanted, wrong.name);
	END LOOP;
END
$$;
COMMENT ON FUNCTION tradekeep.enable_trade_triggers() IS 'enables the triggers of tradekeep.trade as they have to be';

CREATE FUNCTION tradekeep.rebuild_trade_stats() RETURNS bigint
	AS 'MODULE_PATHNAME', 'tradekeep_rebuild_trade_stats' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tradekeep.rebuild_trade_stats() IS
'enables the triggers that mark trades, makes all summaries anew, in one transaction, and returns the number of months; for what changed without triggers (pg_restore --disable-triggers). For the level admin. Waits for who is settling';

-- The definitions once more, in plain SQL and month by month, so that memory does not grow with the years.
CREATE FUNCTION tradekeep.verify_trade_stats(since date DEFAULT NULL, until date DEFAULT NULL, OUT what text, OUT day date, OUT dimension text, OUT value text,
	OUT stored text, OUT recomputed text) RETURNS SETOF record
	LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	-- The planner cannot know how many rows each step gives; what it cannot do without counts as costly enough for jit.
	SET enable_nestloop = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	month date;
BEGIN
	FOR month IN
		SELECT m::date
		FROM (
			SELECT least(min((t.closed_at AT TIME ZONE 'UTC')::date), (SELECT min(start)::date FROM tradekeep.trade_span)) AS first,
				greatest(max((t.closed_at AT TIME ZONE 'UTC')::date), (SELECT max(start)::date FROM tradekeep.trade_span)) AS last
			FROM tradekeep.trade AS t) AS bounds,
			generate_series(date_trunc('month', greatest(first, since)::timestamp), least(last, until - 1)::timestamp,
				interval '1 month') AS m
	LOOP
		RETURN QUERY
		WITH header AS MATERIALIZED (
			SELECT s.span, s.start, s.last_at FROM tradekeep.trade_span AS s
			WHERE s.dimension = '' AND s.value = '' AND s.start >= month AND s.start < (month + interval '1 month')),
		mark AS MATERIALIZED (
			SELECT (m.first AT TIME ZONE 'UTC')::date AS day, min(m.first) AS first FROM tradekeep.trade_mark AS m
			WHERE m.first >= month::timestamp AT TIME ZONE 'UTC' AND m.first < (month + interval '1 month') AT TIME ZONE 'UTC'
			GROUP BY 1),
		-- The days that have to be summed up, before when, and where their parts begin.
		valid AS MATERIALIZED (
			SELECT month + n AS day, CASE WHEN m.day IS NULL THEN 'infinity' ELSE h.last_at + interval '1 microsecond' END AS before,
				(SELECT array_agg(p.start ORDER BY p.start) FROM header AS p WHERE p.span = 'p' AND p.start::date = month + n) AS parts
			FROM generate_series(0, 30) AS n
			LEFT JOIN header AS h ON h.span = 'd' AND h.start = month + n
			LEFT JOIN mark AS m ON m.day = month + n
			WHERE month + n < (month + interval '1 month') AND (m.day IS NULL OR m.first > h.last_at)),
		summed AS MATERIALIZED (
			SELECT h.start FROM header AS h WHERE h.span = 'm' AND NOT EXISTS (SELECT FROM mark)),
		trade AS MATERIALIZED (
			SELECT d.dimension, d.value, s.span, s.start, v.day, t.closed_at, t.bot, t.trade_id, t.symbol, t.pnl,
				extract(epoch FROM t.closed_at) * 1000000 - extract(epoch FROM t.opened_at) * 1000000 AS holding,
				sum(t.pnl) OVER (PARTITION BY d.dimension, d.value, s.span, s.start
					ORDER BY t.closed_at, t.bot, t.trade_id ROWS UNBOUNDED PRECEDING) AS balance
			FROM tradekeep.trade AS t
			JOIN valid AS v ON v.day = (t.closed_at AT TIME ZONE 'UTC')::date
			CROSS JOIN LATERAL (VALUES ('', quote_literal('')), ('symbol', quote_literal(t.symbol)),
				('strategy', quote_nullable(t.strategy)), ('bot', quote_literal(t.bot))) AS d(dimension, value)
			CROSS JOIN LATERAL (VALUES ('d'::"char", v.day::timestamp), ('m', (SELECT m.start FROM summed AS m)),
				('p', v.parts[greatest(1, width_bucket(t.closed_at AT TIME ZONE 'UTC', v.parts))])) AS s(span, start)
			WHERE t.closed_at >= month::timestamp AT TIME ZONE 'UTC' AND t.closed_at < (month + interval '1 month') AT TIME ZONE 'UTC'
				AND t.closed_at < v.before AND s.start IS NOT NULL AND (s.span <> 'p' OR d.dimension = '')),
		walk AS MATERIALIZED (
			SELECT t.*, greatest(0, max(t.balance) OVER (PARTITION BY t.dimension, t.value, t.span, t.start
				ORDER BY t.closed_at, t.bot, t.trade_id ROWS UNBOUNDED PRECEDING)) AS high
			FROM trade AS t),
		days AS (
			SELECT d.dimension, d.value, d.span, d.start, sum(d.pnl * d.pnl) AS squares,
				coalesce(sum(d.pnl * d.pnl) FILTER (WHERE d.pnl < 0), 0) AS loss_squares
			FROM (
				SELECT t.dimension, t.value, t.span, t.start, sum(t.pnl) AS pnl
				FROM trade AS t WHERE t.span = 'm' GROUP BY 1, 2, 3, 4, t.day) AS d
			GROUP BY 1, 2, 3, 4),
		symbols AS (
			SELECT s.dimension, s.value, s.span, s.start, jsonb_object_agg(s.symbol, s.pnl) AS symbols
			FROM (
				SELECT t.dimension, t.value, t.span, t.start, t.symbol, sum(t.pnl) AS pnl
				FROM trade AS t WHERE t.dimension <> 'symbol' GROUP BY 1, 2, 3, 4, 5) AS s
			GROUP BY 1, 2, 3, 4),
		peaks AS (
			SELECT DISTINCT ON (w.dimension, w.value, w.span, w.start) w.dimension, w.value, w.span, w.start,
				CASE WHEN w.high = w.balance THEN 0 ELSE w.high END AS drawdown_peak
			FROM walk AS w
			ORDER BY w.dimension, w.value, w.span, w.start, w.high - w.balance DESC, w.closed_at, w.bot, w.trade_id),
		sums AS (
			SELECT w.dimension, w.value, w.span, w.start, count(*) AS trades, count(*) FILTER (WHERE w.pnl > 0) AS wins,
				count(*) FILTER (WHERE w.pnl < 0) AS losses, count(w.holding) AS held,
				min(w.closed_at) AS first_at, max(w.closed_at) AS last_at, sum(w.pnl) AS total,
				coalesce(sum(w.pnl) FILTER (WHERE w.pnl > 0), 0) AS profit,
				coalesce(sum(w.pnl) FILTER (WHERE w.pnl < 0), 0) AS loss, sum(w.pnl * w.pnl) AS squares,
				max(w.pnl) AS best, min(w.pnl) AS worst, greatest(0, max(w.balance)) AS peak,
				least(0, min(w.balance)) AS low, max(w.high - w.balance) AS drawdown,
				coalesce(sum(w.holding), 0) AS holding
			FROM walk AS w GROUP BY 1, 2, 3, 4),
		made AS (
			SELECT f.dimension, f.value, f.span, f.start, to_jsonb(f) || jsonb_build_object(
				'drawdown_peak', p.drawdown_peak, 'day_squares', coalesce(d.squares, 0),
				'day_loss_squares', coalesce(d.loss_squares, 0), 'symbols', s.symbols) AS figures
			FROM sums AS f
			JOIN peaks AS p USING (dimension, value, span, start)
			LEFT JOIN days AS d USING (dimension, value, span, start)
			LEFT JOIN symbols AS s USING (dimension, value, span, start)),
		kept AS (
			SELECT s.dimension, quote_nullable(s.value) AS value, s.span, s.start, to_jsonb(s) || jsonb_build_object('symbols',
				(SELECT jsonb_object_agg(u.symbol, u.pnl) FROM unnest(s.symbols, s.symbol_pnl) AS u(symbol, pnl))) AS figures
			FROM tradekeep.trade_span AS s
			WHERE s.start >= month AND s.start < (month + interval '1 month') AND CASE s.span
				WHEN 'm' THEN s.start IN (SELECT m.start FROM summed AS m) ELSE s.start::date IN (SELECT v.day FROM valid AS v) END)
		SELECT f.what, start::date, dimension, value, f.stored, f.recomputed
		FROM kept FULL JOIN made USING (dimension, value, span, start)
		CROSS JOIN LATERAL (
			SELECT CASE span WHEN 'm' THEN 'month' WHEN 'p' THEN 'part' ELSE 'day' END AS what,
				kept.figures ->> 'trades' AS stored, made.figures ->> 'trades' AS recomputed
			WHERE kept IS NULL OR made IS NULL
			UNION ALL
			SELECT CASE span WHEN 'm' THEN 'month ' WHEN 'p' THEN 'part ' ELSE 'day ' END || k.key, (kept.figures -> k.key)::text, k.value::text
			FROM jsonb_each(made.figures) AS k
			WHERE kept.figures IS NOT NULL AND k.key NOT IN ('dimension', 'value', 'span', 'start')
				AND kept.figures -> k.key IS DISTINCT FROM k.value) AS f(what, stored, recomputed);
	END LOOP;
END
$$;
COMMENT ON FUNCTION tradekeep.verify_trade_stats(date, date) IS
'what in the summaries of the months of since (null: the first) to the day before until (null: the last) differs from a recomputation of the trades: no row when all is well. what: day, month or part of a day, and which figure, none when one side is missing (then with the number of trades); value: quoted, or NULL. Days that are marked are made from their trades anyway, and left out. Reads every trade of these months, some thousands a second';

CREATE FUNCTION tradekeep.trade_report(period interval DEFAULT NULL, symbol text DEFAULT NULL,
	strategy text DEFAULT NULL, bot text DEFAULT NULL, starting_balance numeric DEFAULT NULL,
	at timestamptz DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	s CONSTANT tradekeep.trade_metrics := tradekeep.trade_stats(period, symbol, strategy, bot, starting_balance, at);
	title CONSTANT text := concat_ws(', ', 'Trades', coalesce('last ' || period, 'all time'), symbol, strategy, bot);
BEGIN
	IF s.trades = 0 THEN
		RETURN title || E'\nnone';
	END IF;
	RETURN concat_ws(E'\n', title,
		format('%s %s: %s won, %s lost, %s even (%s %% won)', s.trades, CASE s.trades WHEN 1 THEN 'trade' ELSE 'trades' END, s.wins, s.losses, s.draws,
			round(100 * s.wins::numeric / s.trades, 1)),
		format('Net %s: %s won, %s lost', trim_scale(round(s.total_pnl, 8)), trim_scale(round(s.gross_profit, 8)),
			trim_scale(round(s.gross_loss, 8))),
		'Profit factor ' || round(s.profit_factor::numeric, 2),
		format('Expectancy %s a trade, best %s, worst %s', trim_scale(round(s.expectancy, 8)),
			trim_scale(round(s.best, 8)), trim_scale(round(s.worst, 8))),
		format('Max drawdown %s%s', trim_scale(round(s.max_drawdown, 8)),
			' (' || round(100 * s.max_drawdown_ratio::numeric, 2) || ' %)'),
		nullif(concat_ws(', ', 'Sharpe ' || round(s.sharpe::numeric, 2), 'Sortino ' || round(s.sortino::numeric, 2),
			'Calmar ' || round(s.calmar::numeric, 2), 'SQN ' || round(s.sqn::numeric, 2)), ''),
		'Average holding ' || date_trunc('second', s.average_holding),
		'Best: ' || (SELECT string_agg(format('%s %s', e ->> 'symbol', trim_scale(round((e ->> 'pnl')::numeric, 8))), ', ' ORDER BY n)
			FROM jsonb_array_elements(s.top_symbols) WITH ORDINALITY AS t(e, n)));
END
$$;
COMMENT ON FUNCTION tradekeep.trade_report(interval, text, text, text, numeric, timestamptz) IS
'trade_stats() in a few lines of text for a chat message, money with up to 8 decimals. Arguments and errors as there';

-- When rows of ours expire is built in; a row of ttl_policy only overrides how they are swept.
CREATE OR REPLACE VIEW tradekeep.effective_ttl_policy AS
	SELECT coalesce(p.relation, b.relation) AS relation, coalesce(b.column_name, p.column_name) AS column_name,
		coalesce(p.keep, interval '0') AS keep, p.unit, coalesce(b.keep_rows, p.keep_rows) AS keep_rows,
		p.key_columns, p.batch_size, p.rate_limit, p.lock_timeout,
		coalesce(p.sweep_interval, b.sweep_interval) AS sweep_interval, coalesce(p.paused, false) AS paused,
		b.relation IS NOT NULL AND b.relation = 'tradekeep.candle'::regclass AS candle_retention
	FROM (
		SELECT p.* FROM tradekeep.ttl_policy AS p
		WHERE EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = p.relation)) AS p
	FULL JOIN (VALUES
		('tradekeep.claim'::regclass, name 'sweep_after', NULL::bigint, NULL::interval),
		('tradekeep.signal'::regclass, 'sweep_after', NULL, NULL),
		('tradekeep.tick'::regclass, 'sweep_after', NULL, NULL),
		('tradekeep.candle_correction'::regclass, 'corrected_at', 10000, interval '1 min'),
		('tradekeep.symbol_lock'::regclass, 'until', NULL, interval '1 min'),
		('tradekeep.candle'::regclass, 'ts', NULL, interval '1 min')
	) AS b(relation, column_name, keep_rows, sweep_interval) ON b.relation = p.relation
	WHERE coalesce(p.relation, b.relation) <> 'tradekeep.candle'::regclass
		OR EXISTS (SELECT FROM tradekeep.candle_retention);
COMMENT ON VIEW tradekeep.effective_ttl_policy IS
'the policies that the sweeper applies: those of set_ttl(), and what is built in for the tables of tradekeep; for candles, by set_candle_retention()';

CREATE OR REPLACE FUNCTION tradekeep.doctor(OUT check_name text, OUT status text, OUT detail text, OUT remedy text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	-- Trades are locked first, as TRUNCATE does.
	WITH locked AS (SELECT FROM tradekeep.trade)
	SELECT c.check_name,
		CASE WHEN c.passed THEN 'ok' ELSE c.severity END,
		CASE WHEN c.passed THEN c.good ELSE c.bad END,
		CASE WHEN NOT c.passed THEN c.remedy END
	FROM tradekeep.health() AS h,
	LATERAL (VALUES
		('versions', h.extension_version = h.library_version, 'warning',
			format('extension and library are %s', h.library_version),
			format('the extension is %s, the library %s', h.extension_version, h.library_version),
			'ALTER EXTENSION tradekeep UPDATE, then let sessions reconnect'),
		('preload', h.preloaded, 'warning',
			'the library is preloaded',
			'the library is not preloaded: nothing is counted, and expired rows are not swept by themselves',
			'add tradekeep to shared_preload_libraries and restart the server'),
		('server', NOT h.standby, 'warning',
			'this is a primary',
			'this is a standby: reading functions work, writing ones raise 25006',
			'connect bots that claim to the primary'),
		('synchronous_commit', h.synchronous_commit <> 'off', 'error',
			format('synchronous_commit is %s', h.synchronous_commit),
			'synchronous_commit is off: after a crash, claims of the last moments are granted again',
			'SET synchronous_commit = on where bots claim: ALTER ROLE ... SET synchronous_commit = on'),
		('fsync', current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean, 'error',
			'fsync and full_page_writes are on',
			'fsync or full_page_writes is off: a crash of the machine may lose anything',
			'set fsync = on and full_page_writes = on in postgresql.conf'),
		('sweeper', NOT h.preloaded OR h.standby
				OR tradekeep.sweeper_running() AND current_setting('tradekeep.sweep', true)::boolean IS NOT FALSE,
			'warning',
			CASE WHEN tradekeep.sweeper_running() THEN 'the sweeper is at work'
				ELSE 'the sweeper runs on a primary with the library preloaded' END,
			'the sweeper does not run, or tradekeep.sweep is off: expired rows stay',
			'set tradekeep.sweep = on, and max_worker_processes 3 higher than others need'),
		('sweep', NOT EXISTS (SELECT FROM tradekeep.sweep_state AS s WHERE s.failures > 0), 'warning',
			'no table failed to be swept',
			(SELECT format('%s of the tables with a ttl cannot be swept', count(*))
				FROM tradekeep.sweep_state AS s WHERE s.failures > 0),
			'SELECT * FROM tradekeep.sweep_status WHERE failures > 0'),
		('rollups', NOT EXISTS (SELECT FROM tradekeep.rollup_build)
				AND (tradekeep.rollups_armed() OR NOT EXISTS (SELECT FROM tradekeep.rollup)),
			'warning',
			format('%s rollups, all built', (SELECT count(*) FROM tradekeep.rollup)),
			CASE WHEN NOT tradekeep.rollups_armed() THEN 'the triggers that derive candles are missing'
				ELSE (SELECT format('the history of %s candles is not built', string_agg(b.target::text, ', ' ORDER BY b.target))
					FROM tradekeep.rollup_build AS b) END,
			'CALL tradekeep.rebuild_rollups()'),
		('trade triggers', NOT EXISTS (SELECT FROM tradekeep.wrong_trade_triggers()), 'error',
			'every change of trades is marked',
			(SELECT format('triggers of tradekeep.trade are not enabled as they have to be: %s', string_agg(w.name, ', '))
				FROM tradekeep.wrong_trade_triggers() AS w),
			'SELECT tradekeep.rebuild_trade_stats() as the owner of the extension'),
		('trade statistics', (SELECT count(*) <= 10000 AND count(DISTINCT (m.first AT TIME ZONE 'UTC')::date) <= 31
				FROM tradekeep.trade_mark AS m),
			'warning',
			'trades are settled',
			(SELECT format('trades of %s days are not settled: statistics are right, and slow to read',
				count(DISTINCT (m.first AT TIME ZONE 'UTC')::date)) FROM tradekeep.trade_mark AS m),
			'CALL tradekeep.settle_trades(), which also tells what is in its way'),
		('role', has_table_privilege('tradekeep.claim'::regclass, 'INSERT')
			AND has_function_privilege('tradekeep.claim'::regproc, 'EXECUTE'),
			'warning',
			format('%s may claim', current_user),
			format('%s may read, not claim', current_user),
			format('SELECT tradekeep.grant_access(%L, ''writer'') as the owner of the extension', current_user))
	) AS c(check_name, passed, severity, good, bad, remedy);
END;
COMMENT ON FUNCTION tradekeep.doctor() IS
'checks the installation as the current role sees it: a row a check, status ok, warning or error, and what to do about it';

-- What reads is STABLE or IMMUTABLE, what writes is VOLATILE; only the exceptions have names.
CREATE OR REPLACE VIEW tradekeep.function_access AS
	SELECT p.oid::regprocedure AS function,
		CASE
			WHEN p.proname IN ('grant_access', 'revoke_access', 'apply_access', 'type_names',
				'keep_newest_candle', 'wake_sweeper',
				'arm_candle_notify', 'send_candle_notes', 'notify_closed_candles',
				'receive_horizon', 'roll_candles', 'forget_horizons', 'arm_rollups', 'build_rollups',
				'refuse_rollup_change', 'delete_derived', 'mark_trades', 'enable_trade_triggers') THEN 'owner'
			WHEN p.proname IN ('set_scope', 'reset_stats', 'set_candle_retention', 'cleanup_old_candles',
				'notify_candles', 'add_rollup', 'drop_rollup', 'rebuild_rollups', 'continue_build',
				'derive_candles', 'keep_frozen', 'make_rollup_triggers', 'rebuild_trade_stats') THEN 'admin'
			WHEN p.provolatile = 'v' THEN 'writer'
			ELSE 'reader'
		END AS level
	FROM pg_catalog.pg_proc AS p
	WHERE p.pronamespace = 'tradekeep'::regnamespace;
COMMENT ON VIEW tradekeep.function_access IS 'the lowest level that may call each function';

CREATE OR REPLACE FUNCTION tradekeep.apply_access(role name, level text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	levels CONSTANT text[] := '{reader,writer,admin}';
	rank CONSTANT integer := array_position(levels, level);
	callable record;
BEGIN
	EXECUTE format('GRANT USAGE ON SCHEMA tradekeep TO %I', role);
	EXECUTE format('GRANT USAGE ON TYPE %s TO %I', tradekeep.type_names(), role);
	EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA tradekeep TO %I', role);
	IF rank >= 2 THEN
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON tradekeep.claim, tradekeep.signal, tradekeep.candle, tradekeep.tick,
			tradekeep.trade, tradekeep.symbol_lock TO %I', role);
		EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA tradekeep TO %I', role);
	END IF;
	IF rank >= 3 THEN
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON tradekeep.scope, tradekeep.candle_retention, tradekeep.candle_notify, tradekeep.rollup, tradekeep.rollup_build, tradekeep.candle_horizon TO %I',
			role);
		EXECUTE format('GRANT TRUNCATE ON tradekeep.claim, tradekeep.signal, tradekeep.candle, tradekeep.tick,
			tradekeep.trade TO %I', role);
	END IF;
	FOR callable IN
		SELECT f.function FROM tradekeep.function_access AS f
		WHERE f.level = ANY (levels[:rank])
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', callable.function, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION tradekeep.apply_access(name, text) IS
'grants a role all that a level may do, without remembering it; update scripts call it for every row of tradekeep.access';

REVOKE ALL ON ALL TABLES IN SCHEMA tradekeep FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA tradekeep FROM PUBLIC;
REVOKE ALL ON TYPE tradekeep.timeframe, tradekeep.scope_name, tradekeep.key_name,
	tradekeep.signal_direction, tradekeep.signal_price, tradekeep.label, tradekeep.figure,
	tradekeep.positive_figure, tradekeep.trade_time, tradekeep.lock_side FROM PUBLIC;

-- A role that was granted access may be gone.
SELECT tradekeep.apply_access(a.role, a.level)
FROM tradekeep.access AS a
JOIN pg_catalog.pg_roles AS r ON r.rolname OPERATOR(pg_catalog.=) a.role;
