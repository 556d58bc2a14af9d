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
