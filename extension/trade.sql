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

