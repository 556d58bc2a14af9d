-- As many trades as :trades, closed over ten years until now, in their order: of 50 symbols, 5 bots
-- and 3 strategies; settled. And what they are compared with: a bare table, and the definitions of
-- docs/trades.md in plain SQL.

CREATE EXTENSION tradekeep;

-- Trades first to last, from 0 on, of so many that end with the newest.
CREATE FUNCTION made_trades(first bigint, last bigint, trades bigint, newest timestamptz)
	RETURNS SETOF tradekeep.trade LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT 'B' || abs(hashint8extended(i, 1) % 5), 'T' || i,
		(ARRAY['range', 'scalp', 'trend'])[1 + abs(hashint8extended(i, 2) % 3)],
		'COIN' || abs(hashint8extended(i, 3) % 50), CASE direction WHEN 1 THEN 'LONG' ELSE 'SHORT' END,
		quantity, entry, entry + direction * gain, 1, fee,
		closed_at - abs(hashint8extended(i, 5) % 86400) * interval '1 second', closed_at,
		gain * quantity - fee, round((gain * quantity - fee) / (entry * quantity), 8),
		CASE WHEN gain > 0 THEN 'roi' ELSE 'stop_loss' END, NULL::jsonb
	FROM generate_series(first, last) AS i
	CROSS JOIN LATERAL (
		SELECT 1 - 2 * abs(hashint8extended(i, 4) % 2)::int AS direction,
			round((100 + 50 * sin(i / 5000.0))::numeric, 2) AS entry,
			(hashint8extended(i, 6) % 200 + 5) * 0.01 AS gain,
			(1 + abs(hashint8extended(i, 7) % 1000)) * 0.01 AS quantity, 0.02 AS fee,
			newest - (trades - 1 - i) * (315576000000000 / trades) * interval '1 microsecond' AS closed_at
		OFFSET 0) AS made; -- each figure is reckoned once
END;

-- A year at a time of ten million.
SELECT now() - interval '1 second' AS newest \gset
SELECT format('INSERT INTO tradekeep.trade SELECT * FROM made_trades(%s, %s, %s, %L)', first,
		least(first + 999999, :trades - 1), :trades, :'newest')
	FROM generate_series(0, :trades - 1, 1000000) AS first \gexec
ANALYZE tradekeep.trade;
CALL tradekeep.settle_trades();

-- The same columns, constraints and indexes, without triggers, and the newest of the trades.
CREATE TABLE peer_trade (LIKE tradekeep.trade INCLUDING ALL);
INSERT INTO peer_trade
	SELECT * FROM (SELECT * FROM tradekeep.trade ORDER BY closed_at DESC LIMIT 100000) AS t
	ORDER BY closed_at;

-- trade_stats(starting_balance => 1000000, at => now()).
CREATE VIEW recomputed AS
	WITH daily AS (
		SELECT count(*) AS days, avg(pnl) AS mean, stddev_samp(pnl) AS spread,
			sqrt(sum(least(pnl, 0) ^ 2) / count(*)) AS downside
		FROM (
			SELECT day, coalesce(sum(pnl), 0) AS pnl
			FROM (SELECT min(closed_at) AS first FROM tradekeep.trade) AS f,
				generate_series(date_trunc('day', first AT TIME ZONE 'UTC'), now() AT TIME ZONE 'UTC',
					interval '1 day') AS day
			LEFT JOIN (
				SELECT date_trunc('day', closed_at AT TIME ZONE 'UTC') AS day, sum(pnl) AS pnl
				FROM tradekeep.trade WHERE closed_at <= now() GROUP BY 1) AS t USING (day)
			GROUP BY 1) AS days),
	fall AS (
		SELECT peak - balance AS depth, peak
		FROM (
			SELECT closed_at, bot, trade_id, balance, greatest(1000000, max(balance)
				OVER (ORDER BY closed_at, bot, trade_id ROWS UNBOUNDED PRECEDING)) AS peak
			FROM (
				SELECT closed_at, bot, trade_id, 1000000 + sum(pnl)
					OVER (ORDER BY closed_at, bot, trade_id ROWS UNBOUNDED PRECEDING) AS balance
				FROM tradekeep.trade WHERE closed_at <= now()) AS b) AS p
		ORDER BY peak - balance DESC, closed_at, bot, trade_id LIMIT 1),
	top AS (
		SELECT jsonb_agg(jsonb_build_object('symbol', symbol, 'pnl', pnl) ORDER BY pnl DESC, symbol) AS symbols
		FROM (
			SELECT symbol, sum(pnl) AS pnl FROM tradekeep.trade WHERE closed_at <= now()
			GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5) AS s),
	figures AS (
		SELECT count(*) AS n, count(*) FILTER (WHERE pnl > 0) AS wins,
			count(*) FILTER (WHERE pnl < 0) AS losses, sum(pnl) AS total,
			sum(pnl) FILTER (WHERE pnl > 0) AS profit, sum(pnl) FILTER (WHERE pnl < 0) AS loss,
			max(pnl) AS best, min(pnl) AS worst, stddev_samp(pnl) AS spread,
			avg(closed_at - opened_at) AS holding
		FROM tradekeep.trade WHERE closed_at <= now())
	SELECT n AS trades, wins, losses, n - wins - losses AS draws, wins::float8 / n AS win_rate,
		total AS total_pnl, profit AS gross_profit, loss AS gross_loss,
		(profit / -loss)::float8 AS profit_factor, profit / wins AS average_win,
		loss / losses AS average_loss, (profit / wins / (-loss / losses))::float8 AS payoff_ratio,
		total / n AS expectancy,
		((1 + profit / wins / (-loss / losses)) * wins / n - 1)::float8 AS expectancy_ratio,
		best, worst, depth AS max_drawdown, (depth / peak)::float8 AS max_drawdown_ratio,
		(mean / daily.spread * sqrt(365.0))::float8 AS sharpe,
		(mean / downside * sqrt(365.0))::float8 AS sortino,
		(((1 + total / 1000000) ^ (365.0 / days) - 1) / (depth / peak))::float8 AS calmar,
		(sqrt(n::numeric) * total / n / figures.spread)::float8 AS sqn,
		holding AS average_holding, symbols AS top_symbols
	FROM figures, daily, fall, top;

VACUUM ANALYZE;
