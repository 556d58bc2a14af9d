# What the statistics of trades have to come to, in straight SQL over the trades alone: with days and a calendar of its
# own, in numeric with many digits, and none of our functions.
package TradeOracle;

use strict;
use warnings;

our $sql = <<'SQL';
CREATE SCHEMA reference;
CREATE TYPE reference.item AS (closed_at timestamptz, opened_at timestamptz, bot text, trade_id text, symbol text, pnl numeric);
CREATE FUNCTION reference.day(at timestamptz) RETURNS date LANGUAGE sql STABLE AS $$ SELECT (at AT TIME ZONE 'UTC')::date $$;
-- To 130 digits behind the point; nothing by nothing is null.
CREATE FUNCTION reference.over(a numeric, b numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT round(a, 130) / nullif(b, 0) $$;

-- The metrics of some trades over the days from one to another. Ratios that no double holds are null; calmar is left out where it is close to that.
CREATE FUNCTION reference.measure(items reference.item[], since date, until date, balance numeric) RETURNS jsonb LANGUAGE sql STABLE AS $$
WITH walk AS MATERIALIZED (
	SELECT i.*, row_number() OVER w AS n, sum(i.pnl) OVER w AS sum
	FROM unnest(items) AS i WINDOW w AS (ORDER BY i.closed_at, i.bot COLLATE "C", i.trade_id COLLATE "C" ROWS UNBOUNDED PRECEDING)),
-- The highest sum so far, that of nothing included.
heights AS (SELECT *, greatest(0, max(sum) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING)) AS height FROM walk),
fall AS (SELECT height - sum AS drawdown, coalesce(balance + height, 0) AS peak FROM heights ORDER BY height - sum DESC, n LIMIT 1),
-- Days without trades add nothing to any sum, but they count.
daily AS (SELECT sum(pnl) AS pnl FROM walk GROUP BY reference.day(closed_at)),
d AS (SELECT (until - since + 1)::numeric AS days, sum(pnl) AS sum, sum(pnl * pnl) AS squares, coalesce(sum(pnl * pnl) FILTER (WHERE pnl < 0), 0) AS losses FROM daily),
t AS (
	SELECT count(*)::numeric AS n, count(*) FILTER (WHERE pnl > 0)::numeric AS w, count(*) FILTER (WHERE pnl < 0)::numeric AS l, sum(pnl) AS total, sum(pnl * pnl) AS squares,
		coalesce(sum(pnl) FILTER (WHERE pnl > 0), 0) AS won, coalesce(sum(pnl) FILTER (WHERE pnl < 0), 0) AS lost, max(pnl) AS best, min(pnl) AS worst,
		round(avg(extract(epoch FROM closed_at) - extract(epoch FROM opened_at)), 6) AS holding
	FROM walk),
averages AS (SELECT reference.over(won, w) AS win, reference.over(lost, l) AS loss FROM t),
spreads AS (
	SELECT CASE WHEN days > 1 AND days * d.squares > d.sum * d.sum THEN sqrt(reference.over(days * d.squares - d.sum * d.sum, days * (days - 1))) END AS of_days,
		sqrt(nullif(reference.over(d.losses, days), 0)) AS of_losses,
		CASE WHEN n > 1 AND n * t.squares > total * total THEN sqrt(reference.over(n * t.squares - total * total, n * (n - 1))) END AS of_trades
	FROM t, d),
growth AS (SELECT round(ln(round(balance + total, 130) / balance) * 365 / days, 120) AS exponent FROM t, d WHERE balance + total > 0),
year AS (SELECT exponent, CASE WHEN exponent < 709 THEN reference.over((exp(exponent) - 1) * peak, drawdown) END AS calmar FROM growth LEFT JOIN fall ON true)
SELECT jsonb_build_object('trades', n, 'wins', w, 'losses', l, 'draws', n - w - l, 'win_rate', reference.over(w, n),
	'total_pnl', total, 'gross_profit', CASE WHEN n > 0 THEN won END, 'gross_loss', CASE WHEN n > 0 THEN lost END, 'profit_factor', reference.over(won, -lost),
	'average_win', win, 'average_loss', loss, 'payoff_ratio', reference.over(win, -loss),
	'expectancy', CASE WHEN n > 0 THEN reference.over(w, n) * coalesce(win, 0) + reference.over(l, n) * coalesce(loss, 0) END,
	'expectancy_ratio', (1 + reference.over(win, -loss)) * reference.over(w, n) - 1, 'best', best, 'worst', worst,
	'max_drawdown', drawdown, 'max_drawdown_ratio', CASE WHEN balance IS NOT NULL THEN reference.over(drawdown, peak) END,
	'sharpe', reference.over(reference.over(total, days), of_days) * sqrt(round(365, 130)), 'sortino', reference.over(reference.over(total, days), of_losses) * sqrt(round(365, 130)),
	'sqn', sqrt(round(n, 130)) * reference.over(reference.over(total, n), of_trades), 'average_holding', holding)
	|| CASE WHEN exponent BETWEEN 709 AND 712 OR abs(calmar) > 1e307 THEN '{}' ELSE jsonb_build_object('calmar', calmar) END
	|| jsonb_build_object('top_symbols', (
		SELECT jsonb_agg(jsonb_build_object('symbol', s.symbol, 'pnl', s.pnl) ORDER BY s.pnl DESC, s.symbol COLLATE "C")
		FROM (SELECT symbol, sum(pnl) AS pnl FROM walk GROUP BY symbol ORDER BY 2 DESC, symbol COLLATE "C" LIMIT 5) AS s))
FROM t CROSS JOIN d CROSS JOIN averages CROSS JOIN spreads LEFT JOIN fall ON true LEFT JOIN year ON true
$$;

-- The last time before a window; months by the calendar in UTC.
CREATE FUNCTION reference.before(period interval, at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT (at AT TIME ZONE 'UTC' - period) AT TIME ZONE 'UTC' $$;
-- Closed trades of a window, with what a dimension calls them.
CREATE FUNCTION reference.kept(dimension text, period interval, symbol text, strategy text, bot text, at timestamptz, OUT value text, OUT item reference.item) RETURNS SETOF record LANGUAGE sql STABLE AS $$
	SELECT CASE kept.dimension WHEN 'symbol' THEN t.symbol WHEN 'strategy' THEN t.strategy WHEN 'bot' THEN t.bot WHEN 'side' THEN t.side WHEN 'exit_reason' THEN t.exit_reason
			WHEN 'weekday' THEN to_char(t.closed_at AT TIME ZONE 'UTC', 'ID') WHEN 'hour' THEN to_char(t.closed_at AT TIME ZONE 'UTC', 'HH24') END,
		ROW(t.closed_at, t.opened_at, t.bot, t.trade_id, t.symbol, t.pnl)::reference.item
	FROM tradekeep.trade AS t
	WHERE t.closed_at IS NOT NULL AND t.closed_at <= kept.at AND (kept.period IS NULL OR t.closed_at > reference.before(kept.period, kept.at))
		AND (kept.symbol IS NULL OR t.symbol = kept.symbol) AND (kept.strategy IS NULL OR t.strategy = kept.strategy) AND (kept.bot IS NULL OR t.bot = kept.bot)
$$;
CREATE FUNCTION reference.stats_by(dimension text, period interval, symbol text, strategy text, bot text, balance numeric, at timestamptz, OUT value text, OUT figures jsonb) RETURNS SETOF record LANGUAGE sql STABLE AS $$
	SELECT k.value, reference.measure(array_agg(k.item), coalesce(reference.day(reference.before(period, at) + interval '1 microsecond'), min(reference.day((k.item).closed_at))), reference.day(at), balance)
	FROM reference.kept(dimension, period, symbol, strategy, bot, at) AS k GROUP BY k.value
$$;
CREATE FUNCTION reference.stats(period interval, symbol text, strategy text, bot text, balance numeric, at timestamptz) RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT s.figures FROM reference.stats_by('', period, symbol, strategy, bot, balance, at) AS s), reference.measure('{}', NULL, NULL, balance))
$$;

-- In what figures differ: numbers exactly, averages and ratios by more than 1e-15 and 1e-12 of them; null when they do not.
CREATE FUNCTION reference.differences(actual jsonb, expected jsonb) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT string_agg(format('%s: %s for %s', k.key, a.value, left(k.value::text, 60)), ', ' ORDER BY k.key)
	FROM jsonb_each(expected) AS k
	CROSS JOIN LATERAL (SELECT CASE WHEN k.key = 'average_holding' AND actual ->> k.key IS NOT NULL THEN to_jsonb(extract(epoch FROM (actual ->> k.key)::interval)) ELSE actual -> k.key END AS value) AS a
	WHERE a.value IS DISTINCT FROM k.value
		AND (jsonb_typeof(a.value) IS DISTINCT FROM 'number' OR jsonb_typeof(k.value) IS DISTINCT FROM 'number'
			OR CASE WHEN k.key IN ('average_win', 'average_loss', 'expectancy') THEN abs((a.value #>> '{}')::numeric - (k.value #>> '{}')::numeric) > 1e-100 + 1e-15 * abs((k.value #>> '{}')::numeric)
				WHEN k.key IN ('win_rate', 'profit_factor', 'payoff_ratio', 'expectancy_ratio', 'max_drawdown_ratio', 'sharpe', 'sortino', 'calmar', 'sqn')
				THEN abs((a.value #>> '{}')::numeric - (k.value #>> '{}')::numeric) > 1e-100 + 1e-12 * abs((k.value #>> '{}')::numeric)
				ELSE true END)
$$;
CREATE FUNCTION reference.wrong(period interval, symbol text, strategy text, bot text, balance numeric, at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT format('trade_stats(%L, %L, %L, %L, %L, %L): %s', period, symbol, strategy, bot, balance, at, d)
	FROM reference.differences(to_jsonb(tradekeep.trade_stats(period, symbol, strategy, bot, balance, at)), reference.stats(period, symbol, strategy, bot, balance, at)) AS d WHERE d IS NOT NULL
$$;
CREATE FUNCTION reference.wrong_by(dimension text, period interval, symbol text, strategy text, bot text, balance numeric, at timestamptz) RETURNS SETOF text LANGUAGE sql STABLE AS $$
	SELECT format('stats_by(%L, %L, %L, %L, %L, %L, %L): %L %s', dimension, period, symbol, strategy, bot, balance, at, coalesce(s.value, r.value), d)
	FROM (SELECT value, to_jsonb(b) AS figures FROM tradekeep.stats_by(dimension, period, symbol, strategy, bot, balance, at) AS b) AS s
	FULL JOIN reference.stats_by(dimension, period, symbol, strategy, bot, balance, at) AS r ON coalesce('=' || r.value, '') = coalesce('=' || s.value, '')
	CROSS JOIN LATERAL (SELECT CASE WHEN s.figures IS NULL OR r.figures IS NULL THEN 'is on one side only' ELSE reference.differences(s.figures, r.figures) END) AS x(d)
	WHERE d IS NOT NULL
$$;
-- daily_pnl(), equity_curve() and top_symbols().
CREATE FUNCTION reference.days(since date, until date, balance numeric, OUT day date, OUT trades bigint, OUT pnl numeric, OUT balance_then numeric) RETURNS SETOF record LANGUAGE sql STABLE AS $$
	WITH closed AS (SELECT reference.day(t.closed_at) AS day, t.pnl FROM tradekeep.trade AS t WHERE t.pnl IS NOT NULL),
	inside AS (SELECT * FROM closed AS c WHERE (since IS NULL OR c.day >= since) AND (until IS NULL OR c.day < until)),
	calendar AS (SELECT d::date AS day FROM generate_series(coalesce(since, (SELECT min(i.day) FROM inside AS i))::timestamp, coalesce(until - 1, (SELECT max(i.day) FROM inside AS i))::timestamp, interval '1 day') AS d)
	SELECT c.day, count(i.pnl), coalesce(sum(i.pnl), 0), balance + sum(coalesce(sum(i.pnl), 0)) OVER (ORDER BY c.day) FROM calendar AS c LEFT JOIN inside AS i USING (day) GROUP BY 1
$$;
CREATE FUNCTION reference.wrong_days(since date, until date, balance numeric) RETURNS SETOF text LANGUAGE sql STABLE AS $$
	SELECT format('daily_pnl(%L, %L): %s', since, until, x) FROM (
		(SELECT d FROM tradekeep.daily_pnl(since, until) AS d EXCEPT ALL SELECT ROW(day, trades, pnl) FROM reference.days(since, until, balance))
		UNION ALL (SELECT ROW(day, trades, pnl) FROM reference.days(since, until, balance) EXCEPT ALL SELECT d FROM tradekeep.daily_pnl(since, until) AS d)) AS x
	UNION ALL
	SELECT format('equity_curve(%L, %L, %L): %s', balance, since, until, x) FROM (
		(SELECT e FROM tradekeep.equity_curve(balance, since, until) AS e EXCEPT ALL SELECT ROW(day, pnl, balance_then) FROM reference.days(since, until, balance))
		UNION ALL (SELECT ROW(day, pnl, balance_then) FROM reference.days(since, until, balance) EXCEPT ALL SELECT e FROM tradekeep.equity_curve(balance, since, until) AS e)) AS x
$$;
CREATE FUNCTION reference.wrong_top(period interval, n int, strategy text, bot text, at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT format('top_symbols(%L, %L, %L, %L, %L): %s for %s', period, n, strategy, bot, at, s, r)
	FROM (SELECT jsonb_agg(jsonb_build_array(symbol, trades, pnl)) AS s FROM tradekeep.top_symbols(period, n, strategy, bot, at)) AS s,
		(SELECT jsonb_agg(jsonb_build_array(x.symbol, x.trades, x.pnl) ORDER BY x.pnl DESC, x.symbol COLLATE "C") AS r
		FROM (SELECT (item).symbol, count(*) AS trades, sum((item).pnl) AS pnl FROM reference.kept('', period, NULL, strategy, bot, at) GROUP BY 1 ORDER BY 3 DESC, (item).symbol COLLATE "C" LIMIT n) AS x) AS r
	WHERE s IS DISTINCT FROM r
$$;

-- Times to ask at: of trades, a moment before and behind them, edges of days and months, and any.
CREATE FUNCTION reference.moment() RETURNS timestamptz LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
	one timestamptz;
	low timestamptz;
	high timestamptz;
BEGIN
	SELECT closed_at INTO one FROM tradekeep.trade WHERE closed_at IS NOT NULL ORDER BY random() LIMIT 1;
	SELECT min(closed_at), max(closed_at) INTO low, high FROM tradekeep.trade;
	one := coalesce(one, '2025-06-01');
	one := CASE floor(random() * 9) WHEN 0 THEN one WHEN 1 THEN one - interval '1 us' WHEN 2 THEN one + interval '1 us' WHEN 3 THEN date_trunc('day', one) WHEN 4 THEN date_trunc('day', one) - interval '1 us'
		WHEN 5 THEN date_trunc('month', one) - (floor(random() * 2) * interval '1 us') WHEN 6 THEN one + random() * interval '40 days' WHEN 7 THEN coalesce(low + random() * (high - low), one) ELSE coalesce(high, one) END;
	RETURN least(greatest(one, '1900-01-01'), '2199-12-31 23:59:59.999999');
END $$;
CREATE FUNCTION reference.period() RETURNS interval LANGUAGE sql AS $$
	SELECT (ARRAY[NULL, NULL, NULL, '1 us', '1 h', '24 h', '1 day', '2 days', '7 days', '30 days', '1 month', '2 months', '1 year', '5 days 03:04:05.000006', '13:00:00.000001'])[1 + floor(random() * 15)]::interval $$;
-- One of the values that a column has, or null, or none that it has.
CREATE FUNCTION reference.filter(name text, share float8) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	one text;
BEGIN
	IF random() > share THEN
		RETURN NULL;
	END IF;
	EXECUTE format('SELECT %I FROM tradekeep.trade ORDER BY random() LIMIT 1', name) INTO one;
	RETURN CASE WHEN random() < 0.03 THEN 'none' ELSE one END;
END $$;
-- Asks so many questions at random about a share of filters; what is answered wrongly, and no row when all is well.
CREATE FUNCTION reference.ask(questions int, share float8 DEFAULT 0.3) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	at timestamptz;
	since timestamptz;
	period interval;
	symbol text;
	strategy text;
	bot text;
	balance numeric;
BEGIN
	FOR i IN 1 .. questions LOOP
		at := reference.moment();
		-- A window that begins on an edge, too.
		since := reference.moment();
		period := CASE WHEN random() < 0.3 THEN nullif(greatest(at - since, '0'), '0') ELSE reference.period() END;
		CONTINUE WHEN reference.before(period, at) < '1900-01-01Z';
		symbol := reference.filter('symbol', share); strategy := reference.filter('strategy', share); bot := reference.filter('bot', share);
		balance := (ARRAY[NULL, 1000, 0.01, 1, 123456.789, 1e18])[1 + floor(random() * 6)];
		RETURN QUERY SELECT * FROM reference.wrong(period, symbol, strategy, bot, balance, at) AS w WHERE w IS NOT NULL;
		IF random() < 0.1 THEN
			RETURN QUERY SELECT 'trade_report(): ' || r FROM tradekeep.trade_report(period, symbol, strategy, bot, balance, at) AS r
			WHERE r NOT LIKE '%' || E'\n' || coalesce((SELECT count(*) || ' trade' FROM reference.kept('', period, symbol, strategy, bot, at) HAVING count(*) > 0), 'none') || '%';
			RETURN QUERY SELECT * FROM reference.wrong_by((ARRAY['symbol', 'strategy', 'bot', 'side', 'exit_reason', 'weekday', 'hour'])[1 + floor(random() * 7)], period, symbol, strategy, bot, balance, at);
			RETURN QUERY SELECT * FROM reference.wrong_top(period, 1 + floor(random() * 6)::int, strategy, bot, at) AS w WHERE w IS NOT NULL;
		ELSIF random() < 0.1 AND at - since BETWEEN '0' AND '2 years' THEN
			RETURN QUERY SELECT * FROM reference.wrong_days(CASE WHEN random() < 0.8 THEN reference.day(since) END, CASE WHEN random() < 0.8 THEN reference.day(at) END, coalesce(balance, 0));
		END IF;
	END LOOP;
END $$;
-- The same, and what verify_trade_stats() finds.
CREATE FUNCTION reference.wrong(questions int) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT * FROM reference.ask(questions) UNION ALL SELECT concat_ws(' ', 'verify', v) FROM tradekeep.verify_trade_stats() AS v
$$;
SQL

1;
