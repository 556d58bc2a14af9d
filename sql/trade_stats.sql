-- trade_stats: the metrics, by examples and against an independent recomputation, settled or not

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET extra_float_digits = 0;
SET client_min_messages = warning;
SET jit = off;
\set VERBOSITY sqlstate
\pset format unaligned

CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN coalesce(answer, 'null');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
-- A closed trade of one unit, opened an hour before.
CREATE FUNCTION pg_temp.trade(id text, closed_at timestamptz, pnl numeric, symbol text DEFAULT 'BTC',
	strategy text DEFAULT 's', bot text DEFAULT 'b') RETURNS boolean LANGUAGE sql AS
'INSERT INTO tradekeep.trade (bot, trade_id, strategy, symbol, side, opened_at, closed_at, pnl)
VALUES (bot, id, strategy, symbol, ''LONG'', closed_at - interval ''1 h'', closed_at, pnl) RETURNING true';

-- The definitions, straightforwardly: from the trades alone, and none of the code under test.
CREATE FUNCTION pg_temp.oracle(period interval, symbol text, strategy text, bot text, balance numeric, at timestamptz) RETURNS jsonb LANGUAGE sql AS $$
WITH bounds AS (
	SELECT (oracle.at AT TIME ZONE 'UTC' - oracle.period) AT TIME ZONE 'UTC' AS after),
kept AS (
	SELECT t.*, (t.closed_at AT TIME ZONE 'UTC')::date AS day,
		sum(t.pnl) OVER (ORDER BY t.closed_at, t.bot COLLATE "C", t.trade_id COLLATE "C" ROWS UNBOUNDED PRECEDING) AS running,
		row_number() OVER (ORDER BY t.closed_at, t.bot COLLATE "C", t.trade_id COLLATE "C") AS n
	FROM tradekeep.trade AS t, bounds AS b
	WHERE t.pnl IS NOT NULL AND t.closed_at <= oracle.at AND (b.after IS NULL OR t.closed_at > b.after)
		AND (oracle.symbol IS NULL OR t.symbol = oracle.symbol) AND (oracle.strategy IS NULL OR t.strategy = oracle.strategy)
		AND (oracle.bot IS NULL OR t.bot = oracle.bot)),
walk AS (SELECT *, greatest(0, max(running) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING)) AS high FROM kept),
fall AS (SELECT high - running AS drawdown, high FROM walk ORDER BY high - running DESC, n LIMIT 1),
calendar AS (
	SELECT d::date AS day FROM bounds AS b, generate_series(
		date_trunc('day', coalesce(b.after + interval '1 microsecond', (SELECT min(closed_at) FROM kept)) AT TIME ZONE 'UTC'),
		date_trunc('day', oracle.at AT TIME ZONE 'UTC'), interval '1 day') AS d),
daily AS (SELECT c.day, coalesce((SELECT sum(k.pnl) FROM kept AS k WHERE k.day = c.day), 0) AS pnl FROM calendar AS c),
d AS (SELECT avg(pnl) AS mean, stddev_samp(pnl) AS deviation, sqrt(sum(least(pnl, 0) ^ 2) / count(*)) AS downside, count(*) AS days FROM daily),
t AS (SELECT count(*) AS n, count(*) FILTER (WHERE pnl > 0) AS w, count(*) FILTER (WHERE pnl < 0) AS l, sum(pnl) AS total,
	coalesce(sum(pnl) FILTER (WHERE pnl > 0), 0) AS profit, coalesce(sum(pnl) FILTER (WHERE pnl < 0), 0) AS loss,
	avg(pnl) FILTER (WHERE pnl > 0) AS win, avg(pnl) FILTER (WHERE pnl < 0) AS lose, avg(pnl) AS mean,
	stddev_samp(pnl) AS deviation, max(pnl) AS best, min(pnl) AS worst,
	justify_hours(round(avg(extract(epoch FROM closed_at) - extract(epoch FROM opened_at)) * 1000000) * interval '1 us') AS holding FROM kept)
SELECT jsonb_build_object('trades', n, 'wins', w, 'losses', l, 'draws', n - w - l, 'win_rate', w::float8 / nullif(n, 0),
	'total_pnl', total, 'gross_profit', CASE WHEN n > 0 THEN profit END, 'gross_loss', CASE WHEN n > 0 THEN loss END,
	'profit_factor', profit / nullif(-loss, 0), 'average_win', win, 'average_loss', lose, 'payoff_ratio', win / -lose,
	'expectancy', CASE WHEN n > 0 THEN w::numeric / n * coalesce(win, 0) - l::numeric / n * coalesce(-lose, 0) END,
	'expectancy_ratio', (1 + win / -lose) * w / n - 1, 'best', best, 'worst', worst, 'max_drawdown', f.drawdown,
	'max_drawdown_ratio', f.drawdown / (balance + f.high), 'sharpe', d.mean / nullif(d.deviation, 0) * sqrt(365.0),
	'sortino', CASE WHEN n > 0 THEN d.mean / nullif(d.downside, 0) * sqrt(365.0) END,
	'calmar', CASE WHEN balance + total > 0 AND f.drawdown > 0 AND ln((balance + total) / balance) * 365 / d.days < 700 THEN
		(((balance + total) / balance)::float8 ^ (365.0 / d.days)::float8 - 1) / (f.drawdown / (balance + f.high))::float8 END,
	'sqn', sqrt(n::numeric) * t.mean / nullif(t.deviation, 0), 'average_holding', holding,
	'top_symbols', (SELECT jsonb_agg(jsonb_build_object('symbol', s.symbol, 'pnl', s.pnl) ORDER BY s.pnl DESC, s.symbol COLLATE "C")
		FROM (SELECT k.symbol, sum(k.pnl) AS pnl FROM kept AS k GROUP BY k.symbol ORDER BY 2 DESC, k.symbol COLLATE "C" LIMIT 5) AS s))
FROM t LEFT JOIN fall AS f ON true CROSS JOIN d
$$;
-- The metrics that differ from it: counts, sums and extremes at all, quotients by more than 1e-9.
CREATE FUNCTION pg_temp.differences(period interval, symbol text, strategy text, bot text, balance numeric, at timestamptz) RETURNS text LANGUAGE sql AS $$
SELECT string_agg(format('%s: %s for %s', k, s -> k, o -> k), ', ' ORDER BY k)
FROM (SELECT to_jsonb(tradekeep.trade_stats(period, symbol, strategy, bot, balance, at)) AS s,
		pg_temp.oracle(period, symbol, strategy, bot, balance, at) AS o) AS both_,
	LATERAL (SELECT jsonb_object_keys(s) AS k UNION SELECT jsonb_object_keys(o)) AS keys
WHERE s -> k IS DISTINCT FROM o -> k AND NOT coalesce(jsonb_typeof(s -> k) = 'number' AND jsonb_typeof(o -> k) = 'number'
	AND k NOT IN ('trades', 'wins', 'losses', 'draws', 'total_pnl', 'gross_profit', 'gross_loss', 'best', 'worst', 'max_drawdown')
	AND abs((s ->> k)::numeric - (o ->> k)::numeric) <= 1e-9 * (1e-12 + abs((o ->> k)::numeric)), false)
$$;
-- All of them, at times within, at the edges of, and behind what is stored; with every filter and combination.
CREATE FUNCTION pg_temp.compare(every int DEFAULT 13, which int DEFAULT 0, OUT asked bigint, OUT different bigint, OUT example text) LANGUAGE sql AS $$
SELECT count(*), count(d.d), min(format('%s %s %s %s %s %s: ', q.period, q.symbol, q.strategy, q.bot, q.balance, q.at) || d.d)
FROM (
	SELECT p.period, f.*, b.balance, a.at, row_number() OVER () AS r
	FROM unnest('{NULL,1 us,1 h,1 day,7 days,30 days,1 month,1 year}'::interval[]) AS p(period),
		(VALUES (NULL, NULL, NULL), ('BTC', NULL, NULL), (NULL, 's1', NULL), (NULL, NULL, 'b2'), ('ETH', 's2', NULL),
			('ETH', NULL, 'b1'), (NULL, 's1', 'b1'), ('BTC', 's2', 'b2'), ('none', NULL, NULL)) AS f(symbol, strategy, bot),
		unnest('{NULL,1000,0.01}'::numeric[]) AS b(balance),
		(SELECT unnest(ARRAY[max(closed_at), max(closed_at) - interval '1 us', min(closed_at), min(closed_at) - interval '1 s',
			max(closed_at) + interval '40 days', date_trunc('month', max(closed_at)), date_trunc('day', max(closed_at)) - interval '1 us',
			percentile_disc(0.3) WITHIN GROUP (ORDER BY closed_at), percentile_disc(0.6) WITHIN GROUP (ORDER BY closed_at)]) AS at FROM tradekeep.trade) AS a
	WHERE a.at IS NOT NULL) AS q,
	LATERAL pg_temp.differences(q.period, q.symbol, q.strategy, q.bot, q.balance, q.at) AS d(d)
WHERE q.r % every = which % every
$$;

-- Until nothing is left to settle, also when the background is at it just now.
CREATE PROCEDURE pg_temp.settle() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		CALL tradekeep.settle_trades();
		EXIT WHEN NOT EXISTS (SELECT FROM tradekeep.trade_mark);
	END LOOP;
END
$$;
TRUNCATE trade;

-- No trades, one, and two.
SELECT * FROM trade_stats(at => '2026-01-10Z');
SELECT * FROM trade_stats('7 days', 'BTC', 's', 'b', 1000, '2026-01-10Z');
SELECT pg_temp.trade('1', '2026-01-05 10:00Z', 10);
\x on
SELECT * FROM trade_stats(starting_balance => 100, at => '2026-01-10Z');
SELECT pg_temp.trade('2', '2026-01-07 10:00Z', -4, 'ETH');
SELECT * FROM trade_stats(starting_balance => 100, at => '2026-01-10Z');
CALL pg_temp.settle();
SELECT * FROM trade_stats(starting_balance => 100, at => '2026-01-10Z');
\x off
SELECT * FROM verify_trade_stats();
SELECT * FROM pg_temp.compare();

-- All wins, all losses, all draws, equal ones.
CREATE TEMP TABLE series (name text, pnl numeric[]);
INSERT INTO series VALUES ('wins', '{1,2,3}'), ('losses', '{-1,-2,-3}'), ('draws', '{0,0}'), ('equal wins', '{5,5,5}'), ('equal losses', '{-5,-5}'),
	('win and draw', '{1,0}'), ('down and up', '{-10,20}'), ('twice as deep', '{10,-5,5,-5,8}'), ('first of equal', '{100,-10,90,-10}'),
	('tiny and huge', '{0.000000000000000001,1000000000000000000,-0.000000000000000001,-1000000000000000000,0.000000000000000001}'),
	('to zero', '{-100}'), ('below zero', '{-150,20}');
CREATE FUNCTION pg_temp.show(pnl numeric[], settled boolean) RETURNS SETOF trade_metrics LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE tradekeep.trade;
	PERFORM pg_temp.trade(n::text, '2026-01-05Z'::timestamptz + n * interval '9 h', p) FROM unnest(pnl) WITH ORDINALITY AS t(p, n);
	IF settled THEN
		CALL tradekeep.settle_trades();
	END IF;
	RETURN QUERY SELECT * FROM tradekeep.trade_stats(starting_balance => 100, at => '2026-01-07 12:00Z');
END
$$;
\x on
SELECT name, s.* FROM series, pg_temp.show(pnl, false) AS s;
\x off
SELECT count(DISTINCT (name, s.s)::text) AS different, count(DISTINCT name) AS series FROM series, unnest('{f,t}'::bool[]) AS settled, LATERAL (SELECT s FROM pg_temp.show(pnl, settled) AS s) AS s;

-- The window is (at - period, at], to the microsecond; months go by the calendar in UTC, whatever the session thinks.
TRUNCATE trade;
SELECT pg_temp.trade(t::text, t, 1) FROM unnest('{2026-02-28 00:00:00.000000Z,2026-02-28 00:00:00.000001Z,2026-03-07 23:59:59.999999Z,2026-03-08 00:00:00Z,2026-03-31 00:00:00Z,2026-03-31 00:00:00.000001Z}'::timestamptz[]) AS t;
SET timezone = 'America/New_York';
SELECT period, settled, (trade_stats(period, at => '2026-03-31Z')).trades, (trade_stats(period, at => '2026-03-31 00:00:00.000001Z')).trades AS later,
	(trade_stats(period, at => '2026-03-30 23:59:59.999999Z')).trades AS earlier
FROM unnest('{1 month,31 days,23 days,1 us,00:00:00.000002}'::interval[]) AS period, unnest('{f}'::bool[]) AS settled;
CALL pg_temp.settle();
SELECT period, (trade_stats(period, at => '2026-03-31Z')).trades, (trade_stats(period, at => '2026-03-31 00:00:00.000001Z')).trades AS later,
	(trade_stats(period, at => '2026-03-30 23:59:59.999999Z')).trades AS earlier
FROM unnest('{1 month,31 days,23 days,1 us,00:00:00.000002}'::interval[]) AS period;
SELECT * FROM daily_pnl('2026-03-07', '2026-03-10');
SELECT value, trades FROM stats_by('hour');
SELECT value, trades FROM stats_by('weekday');
SET timezone = 'UTC';
SELECT * FROM pg_temp.compare();
SELECT period, pg_temp.outcome(format('SELECT (tradekeep.trade_stats(%L, at => ''2026-03-31Z'')).trades', period)) AS outcome
FROM unnest('{0,-1 day,1 us,126 years,127 years,178000000 years}'::interval[]) AS period;
SELECT q, pg_temp.outcome('SELECT (tradekeep.trade_stats(' || q || ')).trades') AS outcome
FROM unnest(ARRAY['starting_balance => 0', 'starting_balance => -1', 'starting_balance => ''NaN''', 'starting_balance => ''inf''', 'at => ''infinity''', 'at => ''2200-01-01Z''',
	'at => ''1899-12-31Z''']) AS q;
SELECT pg_temp.outcome('SELECT count(*) FROM tradekeep.stats_by(''colour'')') AS colour, pg_temp.outcome('SELECT count(*) FROM tradekeep.stats_by(NULL)') AS nothing;

-- Equal times go by bot and trade_id, bytewise: the order decides the drawdown.
TRUNCATE trade;
SELECT pg_temp.trade(id, '2026-01-05Z', pnl, bot => bot) FROM (VALUES ('B', 'a', 10), ('a', 'a', -10), ('Z', 'B', -3), ('10', 'a', -7), ('9', 'a', 5)) AS v(id, bot, pnl);
SELECT max_drawdown, max_drawdown_ratio FROM trade_stats(starting_balance => 10, at => '2026-01-06Z');
CALL pg_temp.settle();
SELECT max_drawdown, max_drawdown_ratio FROM trade_stats(starting_balance => 10, at => '2026-01-06Z');
SELECT * FROM pg_temp.compare();

-- Some hundred trades at random over half a year; by function, plain SQL and COPY they all come to the same. A seed makes them the same each time.
TRUNCATE trade;
SELECT setseed(0.42);
CREATE TEMP TABLE drawn AS
SELECT 'b' || ceil(random() * 3) AS bot, i::text AS trade_id, (ARRAY['s1', 's2', NULL])[ceil(random() * 3)] AS strategy,
	(ARRAY['BTC', 'ETH', 'SOL', 'XRP', 'ADA', 'DOT', 'btc'])[ceil(random() * 7)] AS symbol, (ARRAY['LONG', 'SHORT'])[ceil(random() * 2)] AS side,
	round(random()::numeric * 10 + 0.1, 3) AS quantity, 100 AS entry_price, random() < 0.05 AS open, random() * interval '3 days' AS held,
	date_trunc('hour', '2025-07-20Z'::timestamptz + random() * interval '180 days') + (CASE WHEN random() < 0.5 THEN 0 ELSE random() END) * interval '1 h' AS closed_at,
	round((random() * 200 - 95)::numeric, (random() * 6)::int) * (random() > 0.1)::int AS pnl,
	(ARRAY['roi', 'stop', NULL])[ceil(random() * 3)] AS exit_reason
FROM generate_series(1, 400) AS i;
INSERT INTO trade SELECT bot, trade_id, strategy, symbol, side, quantity, entry_price, NULL, 1, 0, closed_at - held, CASE WHEN NOT open THEN closed_at END, CASE WHEN NOT open THEN pnl END, NULL,
	CASE WHEN NOT open THEN exit_reason END FROM drawn WHERE trade_id::int <= 200;
SELECT count(add_trade(trade_id, strategy, symbol, side, quantity, entry_price, opened_at => closed_at - held, closed_at => CASE WHEN NOT open THEN closed_at END, pnl => CASE WHEN NOT open THEN pnl END,
	exit_reason => CASE WHEN NOT open THEN exit_reason END, bot => bot)) FROM drawn WHERE trade_id::int > 200;
SELECT count(*), count(pnl) AS closed FROM trade;
SELECT * FROM pg_temp.compare();
CALL pg_temp.settle();
SELECT * FROM pg_temp.compare();
SELECT * FROM verify_trade_stats();
-- Every column is changed, of settled trades; some go, some come late, some are added at the end of a settled day. Settled again after each, or not.
CREATE TEMP TABLE steps (n serial, statement text);
INSERT INTO steps (statement) VALUES
	('UPDATE trade SET pnl = pnl * -1.5 WHERE closed_at IS NOT NULL AND trade_id::int % 17 = 0'), ('UPDATE trade SET closed_at = closed_at + interval ''36 h'' WHERE trade_id::int % 19 = 0'),
	('UPDATE trade SET symbol = ''NEW'' WHERE trade_id::int % 23 = 0'), ('UPDATE trade SET strategy = ''s1'' WHERE trade_id::int % 29 = 0'), ('UPDATE trade SET bot = ''b2'' WHERE trade_id::int % 31 = 0'),
	('UPDATE trade SET trade_id = ''x'' || trade_id WHERE trade_id = ''37'''), ('UPDATE trade SET trade_id = ''37'' WHERE trade_id = ''x37'''), ('UPDATE trade SET opened_at = NULL WHERE trade_id::int % 41 = 0'),
	('UPDATE trade SET closed_at = NULL, pnl = NULL, exit_price = NULL, exit_reason = NULL WHERE trade_id::int % 43 = 0'), ('DELETE FROM trade WHERE trade_id::int % 13 = 0'),
	('DELETE FROM trade WHERE closed_at >= ''2025-09-10Z'' AND closed_at < ''2025-09-11Z'''), ('DELETE FROM trade WHERE closed_at < ''2025-09-01Z'''),
	('UPDATE trade SET closed_at = ''2025-08-15 12:00Z'', pnl = 77, opened_at = NULL WHERE trade_id::int = (SELECT min(trade_id::int) FROM trade WHERE closed_at IS NULL)'),
	('INSERT INTO trade SELECT ''b1'', 900 + n, ''s2'', ''ETH'', ''LONG'', 1, 1, 1, 1, 0, NULL, ''2025-10-03 23:00Z''::timestamptz + n * interval ''1 s'', n - 30, NULL, NULL, NULL FROM generate_series(1, 50) AS n'),
	('INSERT INTO trade SELECT ''b2'', 900 + n, ''s1'', ''BTC'', ''LONG'', 1, 1, 1, 1, 0, NULL, ''2026-01-20Z''::timestamptz + n * interval ''1 day'', 3 - n, NULL, NULL, NULL FROM generate_series(1, 9) AS n'),
	-- A day of many, three at a time; then more at its end, and some less in its middle.
	('INSERT INTO trade SELECT ''b1'', 2000 + n, ''s1'', (ARRAY[''BTC'', ''ETH'', ''SOL''])[1 + n % 3], ''LONG'', 1, 1, 1, 1, 0, NULL, ''2025-11-11 03:00Z''::timestamptz + n / 3 * interval ''31 s'', n % 11 - 5, NULL, NULL, NULL FROM generate_series(1, 1100) AS n'),
	('INSERT INTO trade SELECT ''b3'', 4000 + n, ''s2'', (ARRAY[''BTC'', ''ETH'', ''SOL''])[1 + n % 3], ''LONG'', 1, 1, 1, 1, 0, NULL, ''2025-11-11 22:00Z''::timestamptz + n * interval ''1 s'', 5 - n % 13, NULL, NULL, NULL FROM generate_series(1, 300) AS n'),
	('DELETE FROM trade WHERE trade_id::int BETWEEN 2400 AND 2403'), ('UPDATE trade SET pnl = 7 WHERE trade_id = ''2700''');
CREATE FUNCTION pg_temp.follow(settling text, OUT asked bigint, OUT different bigint, OUT wrong bigint, OUT example text) LANGUAGE plpgsql AS $$
DECLARE
	step record;
	found record;
BEGIN
	asked := 0; different := 0; wrong := 0;
	FOR step IN SELECT * FROM pg_temp.steps ORDER BY n LOOP
		EXECUTE step.statement;
		IF settling = 'all' OR settling = 'some' AND step.n % 3 = 0 THEN
			CALL tradekeep.settle_trades();
		ELSIF settling = 'one' THEN
			PERFORM tradekeep.settle_trade_stats('2025-09-01');
		END IF;
		SELECT * INTO found FROM pg_temp.compare(313, 7 * step.n);
		asked := asked + found.asked; different := different + found.different; example := coalesce(example, step.n || ' ' || found.example);
		IF step.n % 9 = 1 THEN
			wrong := wrong + (SELECT count(*) FROM tradekeep.verify_trade_stats());
		END IF;
	END LOOP;
END
$$;
BEGIN;
SELECT * FROM pg_temp.follow('none');
ROLLBACK;
BEGIN;
SELECT * FROM pg_temp.follow('one');
ROLLBACK;
BEGIN;
SELECT * FROM pg_temp.follow('some');
ROLLBACK;
SELECT * FROM pg_temp.follow('all');
-- Savepoints: what is rolled back leaves no mark, what is not does.
CALL pg_temp.settle();
BEGIN;
SELECT count(*) FROM trade_mark;
SAVEPOINT a;
SELECT pg_temp.trade('a', '2025-10-01Z', 1000);
SELECT count(*) FROM trade_mark;
SELECT * FROM pg_temp.compare(151);
ROLLBACK TO a;
SELECT count(*) FROM trade_mark;
SELECT pg_temp.trade('b', '2025-10-02Z', 1000);
SELECT count(*) FROM trade_mark;
SELECT * FROM pg_temp.compare(151);
COMMIT;
-- At REPEATABLE READ and in a transaction that may only read.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM pg_temp.compare(151);
CALL pg_temp.settle();
SELECT * FROM pg_temp.compare(151);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT * FROM pg_temp.compare(151);
SAVEPOINT a;
SELECT settle_trade_stats();
ROLLBACK TO a;
SELECT rebuild_trade_stats();
ROLLBACK;

-- By dimension: the same as with each value as a filter.
UPDATE trade SET pnl = pnl + 1 WHERE closed_at > '2025-12-01Z' AND trade_id::int % 2 = 0;
SELECT dimension, period, count(*) > 2 AS many, count(*) FILTER (WHERE to_jsonb(b) - 'value' - 'top_symbols' IS DISTINCT FROM to_jsonb(s) - 'top_symbols') AS different
FROM unnest('{symbol,strategy,bot}'::text[]) AS dimension, unnest('{NULL,45 days}'::interval[]) AS period, LATERAL stats_by(dimension, period, starting_balance => 5000, at => '2026-01-25Z') AS b,
	LATERAL trade_stats(period, CASE dimension WHEN 'symbol' THEN b.value END, CASE dimension WHEN 'strategy' THEN b.value END, CASE dimension WHEN 'bot' THEN b.value END, 5000, '2026-01-25Z') AS s
WHERE b.value IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2;
SELECT dimension, count(*), sum(b.trades) = (SELECT count(pnl) FROM trade) AS trades, sum(b.total_pnl) = (SELECT sum(pnl) FROM trade) AS total, bool_or(b.value IS NULL) AS without
FROM unnest('{symbol,bot,side,exit_reason,weekday,hour}'::text[]) AS dimension, LATERAL stats_by(dimension, at => '2027-01-01Z') AS b GROUP BY 1 ORDER BY 1;
SELECT s.value, s.trades, s.total_pnl = t.total AS total FROM stats_by('symbol', '60 days', bot => 'b1', at => '2026-01-01Z') AS s
FULL JOIN (SELECT symbol, sum(pnl) AS total FROM trade WHERE bot = 'b1' AND closed_at <= '2026-01-01Z' AND closed_at > '2025-11-02Z' GROUP BY 1) AS t ON t.symbol = s.value WHERE s.total_pnl IS DISTINCT FROM t.total;
SELECT (SELECT string_agg(symbol, ',') FROM top_symbols('60 days', 2, at => '2026-01-01Z')) = (SELECT string_agg(symbol, ',') FROM (SELECT symbol FROM trade
	WHERE closed_at <= '2026-01-01Z' AND closed_at > '2025-11-02Z' GROUP BY 1 ORDER BY sum(pnl) DESC LIMIT 2) AS t) AS top;
SELECT count(*), count(*) FILTER (WHERE d.pnl IS DISTINCT FROM coalesce(t.pnl, 0) OR d.trades IS DISTINCT FROM coalesce(t.trades, 0)) AS different, count(t.day) = count(*) FILTER (WHERE d.trades > 0) AS complete
FROM daily_pnl() AS d FULL JOIN (SELECT (closed_at AT TIME ZONE 'UTC')::date AS day, sum(pnl) AS pnl, count(*) AS trades FROM trade WHERE pnl IS NOT NULL GROUP BY 1) AS t USING (day);
SELECT (SELECT balance FROM equity_curve(100) ORDER BY day DESC LIMIT 1) = 100 + (SELECT sum(pnl) FROM trade) AS last, (SELECT count(*) FROM equity_curve(0, '2025-12-01', '2026-01-01')) AS december;
SELECT count(*) FROM daily_pnl('2030-01-01', '2030-01-01');
-- The public aggregate says the same, however its input comes, and alone or in parallel.
CREATE TABLE public.trade_copy AS SELECT * FROM trade WHERE bot = 'b1' ORDER BY md5(trade_id);
CREATE FUNCTION pg_temp.summary(OUT differs bigint, OUT what text) LANGUAGE sql AS $$
SELECT count(*), string_agg(k, ',' ORDER BY k) FROM (SELECT to_jsonb(trade_stats(bot => 'b1', at => (SELECT max(closed_at) FROM trade_copy))) AS s, (SELECT to_jsonb(trade_summary(closed_at, trade_id, pnl)) FROM trade_copy) AS a) AS x,
	LATERAL jsonb_object_keys(s) AS k WHERE s -> k IS DISTINCT FROM a -> k $$;
SELECT * FROM pg_temp.summary();
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT trade_summary(closed_at, trade_id, pnl) FROM trade_copy;
SELECT * FROM pg_temp.summary();
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SELECT (trade_summary(NULL, 'x', 1)).trades AS open, (SELECT (trade_summary(closed_at, trade_id, pnl)).trades FROM trade WHERE false) AS none;
SELECT pg_temp.outcome('SELECT (tradekeep.trade_summary(now(), ''x'', ''NaN'')).trades') AS nan, pg_temp.outcome('SELECT (tradekeep.trade_summary(''infinity'', ''x'', 1)).trades') AS infinity,
	pg_temp.outcome('SELECT tradekeep.trade_summary_final(NULL)') AS outside;
DROP TABLE public.trade_copy;

-- How far back today is left alone follows how late trades come: up to ten seconds, and slowly less from then on. (At midnight there is no
-- late trade of today.)
BEGIN;
TRUNCATE trade;
UPDATE trade_settling SET lag = 50000;
CREATE FUNCTION pg_temp.settle_trade(id text, ago interval) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl) VALUES (id, 'BTC', 'LONG', clock_timestamp() - ago, 1);
	PERFORM tradekeep.settle_trade_stats();
	RETURN (SELECT lag FROM tradekeep.trade_settling);
END
$$;
SELECT CASE WHEN (now() AT TIME ZONE 'UTC')::time NOT BETWEEN '00:02' AND '23:59:50' THEN true ELSE
	pg_temp.settle_trade('in order', '1 min') = 50000 AND pg_temp.settle_trade('late', '65 s') = 10000000
	AND pg_temp.settle_trade('once more', '30 s') / 10000 = 999 END AS follows;
SELECT CASE WHEN (now() AT TIME ZONE 'UTC')::time NOT BETWEEN '00:02' AND '23:59:50' THEN true ELSE pg_temp.settle_trade('young', '3 s') < 10000000
	END AS kept;
SELECT CASE WHEN (now() AT TIME ZONE 'UTC')::time NOT BETWEEN '00:02' AND '23:59:50' THEN true ELSE (SELECT count(*) FROM trade_mark) = 1
	AND (SELECT trades FROM trade_stats()) = 4 END AS waits;
ROLLBACK;

-- Trades without a strategy are a value of their own, settled or not, and another than an empty one.
BEGIN;
TRUNCATE trade;
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl, strategy) VALUES ('1', 'BTC', 'LONG', '2026-01-05Z', 1, NULL), ('2', 'BTC', 'LONG', '2026-01-05Z', 2, ''), ('3', 'BTC', 'LONG', '2026-01-06Z', 4, NULL);
SELECT value, trades, total_pnl FROM stats_by('strategy', at => '2026-02-01Z');
SELECT settle_trade_stats(), (SELECT count(*) FROM trade_mark) AS marks;
SELECT value, trades, total_pnl FROM stats_by('strategy', at => '2026-02-01Z');
SELECT total_pnl FROM trade_stats(strategy => '', at => '2026-02-01Z');
SELECT * FROM verify_trade_stats();
ROLLBACK;

-- Where policies hide trades, all is told from those that are seen.
CREATE ROLE regress_tk_bot;
SELECT grant_access('regress_tk_bot', 'reader');
BEGIN;
TRUNCATE trade;
INSERT INTO trade (bot, trade_id, symbol, side, closed_at, pnl) VALUES ('mine', '1', 'BTC', 'LONG', '2026-01-05Z', 1), ('theirs', '2', 'ETH', 'LONG', '2026-01-05Z', 2), ('theirs', '3', 'ETH', 'LONG', '2026-01-06Z', 4);
SELECT settle_trade_stats();
ALTER TABLE trade ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON trade USING (bot = 'mine');
SET LOCAL ROLE regress_tk_bot;
SELECT trades, total_pnl, top_symbols FROM trade_stats(at => '2026-02-01Z');
SELECT value, trades FROM stats_by('bot', at => '2026-02-01Z');
SELECT * FROM daily_pnl();
RESET ROLE;
-- Nor do they need the summaries, and what is hidden is not there to be closed.
REVOKE SELECT ON trade_span, trade_mark FROM regress_tk_bot;
GRANT UPDATE ON trade TO regress_tk_bot;
GRANT EXECUTE ON FUNCTION close_trade(text, numeric, timestamptz, numeric, text, text) TO regress_tk_bot;
SET LOCAL ROLE regress_tk_bot;
SELECT trades FROM trade_stats(at => '2026-02-01Z');
SELECT * FROM daily_pnl();
SELECT pg_temp.outcome($$SELECT tradekeep.close_trade('1', 1.0, bot => 'mine')$$) AS mine, pg_temp.outcome($$SELECT tradekeep.close_trade('2', 1.0, bot => 'theirs')$$) AS theirs,
	pg_temp.outcome($$SELECT tradekeep.close_trade('9', 1.0, bot => 'theirs')$$) AS nobodys;
ROLLBACK;
SELECT revoke_access('regress_tk_bot');
DROP ROLE regress_tk_bot;

-- verify_trade_stats() sees what is wrong, rebuild_trade_stats() mends it.
CALL pg_temp.settle();
SELECT * FROM verify_trade_stats();
UPDATE trade_span SET wins = wins + 1 WHERE dimension = 'symbol' AND value = 'SOL' AND span = 'd' AND start = '2025-11-11';
UPDATE trade_span SET drawdown_peak = drawdown_peak + 1 WHERE dimension = '' AND span = 'm' AND start = '2025-11-01';
DELETE FROM trade_span WHERE dimension = 'bot' AND value = 'b1' AND span = 'd' AND start = '2025-10-04';
INSERT INTO trade_span SELECT dimension, 'never', span, start, trades, wins, losses, held, first_at, last_at, total, profit, loss, squares, best, worst, peak, low, drawdown, drawdown_peak, holding, day_squares, day_loss_squares, symbols, symbol_pnl
FROM trade_span WHERE dimension = 'bot' AND value = 'b2' AND span = 'd' AND start = '2025-10-05';
UPDATE trade_span SET total = total + 1 WHERE span = 'p' AND start = (SELECT max(start) FROM trade_span WHERE span = 'p');
SELECT what, day, dimension, value FROM verify_trade_stats() ORDER BY 1, 2, 3, 4;
-- So does what changes behind the triggers' back.
ALTER TABLE trade DISABLE TRIGGER USER;
DELETE FROM trade WHERE trade_id = (SELECT min(trade_id) FROM trade WHERE closed_at > '2025-12-01Z');
SELECT pg_temp.trade('back', '2024-01-01Z', 1);
ALTER TABLE trade ENABLE ALWAYS TRIGGER mark_inserted;
ALTER TABLE trade ENABLE ALWAYS TRIGGER mark_updated;
ALTER TABLE trade ENABLE ALWAYS TRIGGER mark_deleted;
ALTER TABLE trade ENABLE ALWAYS TRIGGER mark_truncated;
SELECT count(DISTINCT day) FROM verify_trade_stats() WHERE dimension = '';
SELECT rebuild_trade_stats() > 5 AS rebuilt;
SELECT * FROM verify_trade_stats();
SELECT * FROM pg_temp.compare(151);
-- Also for what is replicated; and TRUNCATE leaves nothing.
BEGIN;
SET LOCAL session_replication_role = replica;
SELECT pg_temp.trade('replicated', '2025-10-03Z', 1);
SELECT count(*) FROM trade_mark;
COMMIT;
BEGIN;
TRUNCATE trade;
SELECT (trade_stats()).trades, (SELECT count(*) FROM trade_span) AS spans;
ROLLBACK;
SELECT * FROM pg_temp.compare(151);
-- In chat.
SELECT trade_report('1 us', 'BTC', 's', 'b', at => '2026-01-01Z');
TRUNCATE trade;
SELECT pg_temp.trade('1', '2026-01-05 10:00Z', 12.50), pg_temp.trade('2', '2026-01-06 10:00Z', -2.5, 'ETH'), pg_temp.trade('3', '2026-01-07 10:00Z', 0);
\pset tuples_only on
SELECT trade_report('30 days', starting_balance => 1000, at => '2026-01-10Z');
SELECT trade_report(at => '2026-01-05 23:00Z');
\pset tuples_only off
SELECT period, trades FROM trade_stats_cache WHERE trades = 3 OR period <> 'all_time';
TRUNCATE trade;
