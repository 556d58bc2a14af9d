-- trade: the ledger: adding and closing trades once, what they earn, and locks on symbols

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET client_min_messages = warning;
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
TRUNCATE trade;

-- What a trade earns: long and short, leverage, fees; decimal and exact, also of floats.
SELECT calculate_pnl('LONG', 100.5, 110.25, 2) AS long, calculate_pnl('short', 100.5, 110.25, 2) AS short, calculate_pnl('Long', 100.5, 110.25, 2, 3, 0.75) AS leverage,
	calculate_pnl('LONG', 100, 100, 2.0, fee => 0.1) AS fee, calculate_pnl('LONG', 1.0, 1.000000000000000001, 1000000000000000000.000000000000000001) AS digits;
SELECT calculate_pnl('LONG', 1::float8, 1.1::float8, 1::float8) AS float, pg_typeof(calculate_pnl('LONG', 1, 2, 3)) AS integers, pg_typeof(calculate_pnl('LONG', '1', '2', '3')) AS literals,
	pg_typeof(calculate_pnl('LONG', 1, 2.5, 3)) AS decimals, pg_typeof(calculate_pnl('LONG', 1::float8, 2.5, 3)) AS mixed, calculate_pnl('LONG', NULL, 2.5, 3) AS nothing;
SELECT q, pg_temp.outcome('SELECT tradekeep.calculate_pnl(' || q || ')') AS outcome
FROM unnest(ARRAY['''LONG'', 1, ''NaN''::numeric, 1', '''LONG'', 1, ''NaN''::float8, 1', '''LONG'', 1, ''Infinity''::float8, 1', '''LONG'', 1, ''-inf''::numeric, 1', '''LONG'', 1, 2.5, 0', '''LONG'', 1, 2.5, -1',
	'''LONG'', 1, 2.5, 1, 0', '''up'', 1, 2.5, 1', '''LONG'', 1, 1e100, 1', '''LONG'', 1, 9.9e99, 1', '''LONG'', 1, 1e-101, 1']) AS q;

-- A trade is added once. The same again is nothing; other figures are refused, unless they are to replace it.
SELECT add_trade('1', 'trend', 'BTC/USDT', 'long', 0.5, 100, 110, 2, 1, '2026-01-05 09:00Z', '2026-01-05 10:00Z', exit_reason => 'roi', data => '{"a": 1}', bot => 'b');
SELECT * FROM trade;
SELECT add_trade('1', 'trend', 'BTC/USDT', 'LONG', 0.50, 100.0, 110, 2, 1, '2026-01-05 09:00Z', '2026-01-05 10:00Z', exit_reason => 'roi', data => '{"a":1}', bot => 'b') AS same;
CREATE TEMP TABLE variants (changed text);
INSERT INTO variants VALUES ('strategy => ''other'''), ('strategy => NULL'), ('symbol => ''ETH/USDT'''), ('side => ''SHORT'''), ('quantity => 0.6'), ('entry_price => 101'), ('exit_price => 111'), ('leverage => 3'), ('fee => 2'), ('opened_at => ''2026-01-05 09:30Z'''),
	('opened_at => NULL'), ('closed_at => ''2026-01-05 10:30Z'''), ('exit_reason => ''stop'''), ('data => ''{}'''), ('data => NULL'), ('pnl => 12'), ('pnl_ratio => 0.5'), ('exit_price => NULL, pnl => 9'), ('closed_at => NULL, exit_price => NULL, exit_reason => NULL'),
	('bot => ''c'''), ('trade_id => ''2''');
CREATE FUNCTION pg_temp.variant(changed text, replace boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	arguments text;
BEGIN
	SELECT string_agg(name || ' => ' || value, ', ') INTO arguments
	FROM (VALUES ('trade_id', '''1'''), ('strategy', '''trend'''), ('symbol', '''BTC/USDT'''), ('side', '''LONG'''), ('quantity', '0.5'), ('entry_price', '100'), ('exit_price', '110'), ('leverage', '2'), ('fee', '1'),
		('opened_at', '''2026-01-05 09:00Z'''), ('closed_at', '''2026-01-05 10:00Z'''), ('exit_reason', '''roi'''), ('data', '''{"a": 1}'''), ('bot', '''b''')) AS v(name, value)
	WHERE changed NOT LIKE name || ' =>%' AND changed NOT LIKE '%, ' || name || ' =>%';
	RETURN pg_temp.outcome(format('SELECT tradekeep.add_trade(%s, %s, replace => %L)', arguments, changed, replace));
END
$$;
SELECT changed, pg_temp.variant(changed, false) AS added FROM variants;
DELETE FROM trade WHERE (bot, trade_id) <> ('b', '1');
SELECT changed, pg_temp.variant(changed, true) AS replaced, pg_temp.variant(changed, true) AS again, pg_temp.variant('fee => 1', true) AS back FROM variants;
SELECT trade_id, bot, pnl, pnl_ratio, data FROM trade ORDER BY bot, trade_id;
-- What is the same writes nothing: no transaction id is taken.
BEGIN;
SELECT add_trade('1', 'trend', 'BTC/USDT', 'LONG', 0.5, 100, 110, 2, 1, '2026-01-05 09:00Z', '2026-01-05 10:00Z', exit_reason => 'roi', data => '{"a": 1}', bot => 'b') AS same, pg_current_xact_id_if_assigned() AS xid;
SELECT add_trade('1', 'trend', 'BTC/USDT', 'LONG', 0.5, 100, 110, 2, 1, '2026-01-05 09:00Z', '2026-01-05 10:00Z', exit_reason => 'roi', data => '{"a": 1}', bot => 'b', replace => true) AS same, pg_current_xact_id_if_assigned() AS xid;
COMMIT;

-- As psql, drivers and JSON give it: integers, decimals, strings, floats, a mixture.
TRUNCATE trade;
SELECT add_trade('int', NULL, 'BTC', 'LONG', 2, 100, 110, closed_at => '2026-01-05Z'), add_trade('dec', NULL, 'BTC', 'LONG', 2.0, 100.0, 110.0, closed_at => '2026-01-05Z'),
	add_trade('text', NULL, 'BTC', 'LONG', '2', '100', '110', closed_at => '2026-01-05Z'), add_trade('float', NULL, 'BTC', 'LONG', 2::float8, 0.1::float8 + 0.2::float8, 1e-5::float8, closed_at => '2026-01-05Z'),
	add_trade('mixed', NULL, 'BTC', 'LONG', 2, 100.5, '110'::float8, closed_at => '2026-01-05Z'), add_trade('pnl', NULL, 'BTC', 'LONG', NULL, NULL, closed_at => '2026-01-05Z', pnl => 5),
	add_trade('exact', NULL, 'BTC', 'LONG', NULL, NULL, closed_at => '2026-01-05Z', pnl => 1000000000000000000.000000000000000001), add_trade('open', NULL, 'BTC', 'LONG', NULL, NULL),
	add_trade('{"trade_id": "json", "symbol": "BTC", "side": "short", "quantity": "2", "entry_price": 0.3, "exit_price": "0.1", "closed_at": "2026-01-05T00:00:00Z", "data": {"x": null}, "strategy": null}');
SELECT trade_id, quantity, entry_price, exit_price, pnl, pnl_ratio, data FROM trade ORDER BY trade_id;
SELECT add_trade(to_jsonb(t) - 'data') FROM trade AS t WHERE trade_id <> 'json';
PREPARE untyped AS SELECT add_trade($1, $2, $3, $4, $5, $6, $7, closed_at => $8);
EXECUTE untyped('int', NULL, 'BTC', 'LONG', 2, 100, 110, '2026-01-05Z');
SELECT q, pg_temp.outcome(format('SELECT tradekeep.add_trade(%L::jsonb)', q)) AS outcome
FROM unnest(ARRAY['[]', '1', 'null', '{}', '{"trade_id": "x"}', '{"trade_id": "x", "symbol": "BTC"}', '{"trade_id": "x", "symbol": "BTC", "side": "LONG"}', '{"trade_id": "y", "symbol": "BTC", "side": "LONG", "closedat": "2026-01-05Z"}',
	'{"trade_id": "y", "symbol": "BTC", "side": "LONG", "quantity": "many"}', '{"trade_id": "y", "symbol": "BTC", "side": "LONG", "closed_at": "soon"}', '{"trade_id": "y", "symbol": "BTC", "side": "LONG", "closed_at": "2026-13-05"}', '{"trade_id": "y", "symbol": "BTC", "side": "LONG", "closed_at": "now"}',
	'{"trade_id": "y", "symbol": ["BTC"], "side": "LONG"}', '{"trade_id": true, "symbol": "BTC", "side": "LONG"}', '{"trade_id": "y", "symbol": "BTC", "side": "LONG", "quantity": {}}', '{"trade_id": "y", "symbol": "BTC", "side": "LONG", "quantity": "NaN"}']) AS q;

-- Refused, with nothing written.
SELECT q, pg_temp.outcome('SELECT tradekeep.add_trade(' || q || ')') AS outcome
FROM unnest(ARRAY[$$NULL, NULL, 'BTC', 'LONG', 1, 1$$, $$'', NULL, 'BTC', 'LONG', 1, 1$$, $$repeat('x', 513), NULL, 'BTC', 'LONG', 1, 1$$, $$'x', NULL, NULL, 'LONG', 1, 1$$, $$'x', NULL, repeat('x', 10000000), 'LONG', 1, 1$$,
	$$'x', repeat('s', 513), 'BTC', 'LONG', 1, 1$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, bot => repeat('s', 513)$$, $$'x', NULL, 'BTC', NULL, 1, 1$$, $$'x', NULL, 'BTC', 'BUY', 1, 1$$, $$'x', NULL, 'BTC', 'LONG', 0, 1$$, $$'x', NULL, 'BTC', 'LONG', -1.5, 1$$,
	$$'x', NULL, 'BTC', 'LONG', 'NaN'::numeric, 1$$, $$'x', NULL, 'BTC', 'LONG', 1, 'Infinity'::float8$$, $$'x', NULL, 'BTC', 'LONG', 1, 1e100$$, $$'x', NULL, 'BTC', 'LONG', 1, 1e-101$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, leverage => 0$$,
	$$'x', NULL, 'BTC', 'LONG', 1, 1, fee => 'NaN'$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, closed_at => '2026-01-05Z', pnl => 'NaN'$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, closed_at => '2026-01-05Z', pnl => '-Infinity'$$,
	$$'x', NULL, 'BTC', 'LONG', 1, 1, 2$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, pnl => 2$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, pnl_ratio => 2$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, exit_reason => 'roi'$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, closed_at => '2026-01-05Z'$$,
	$$'x', NULL, 'BTC', 'LONG', NULL, 1, 2, closed_at => '2026-01-05Z'$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, 2, closed_at => '2026-01-05Z', opened_at => '2026-01-05 00:00:00.000001Z'$$, $$'x', NULL, 'BTC', 'LONG', 1, 1, 2, closed_at => 'infinity'$$,
	$$'x', NULL, 'BTC', 'LONG', 1, 1, opened_at => '30000-01-01Z'$$, $$'x', NULL, 'BTC', 'LONG', 9e99, 9e99, 1, closed_at => '2026-01-05Z'$$]) AS q;
SELECT count(*) FROM trade WHERE trade_id = 'x';
-- The table refuses the same from INSERT, UPDATE and COPY.
CREATE FUNCTION pg_temp.set(assignment text) RETURNS text LANGUAGE sql AS
$$SELECT pg_temp.outcome('UPDATE tradekeep.trade SET ' || assignment || ' WHERE trade_id = ''int'' RETURNING true')$$;
SELECT a, pg_temp.set(a) AS outcome FROM unnest(ARRAY['pnl = ''NaN''', 'pnl = ''Infinity''', 'pnl = 1e100', 'pnl = NULL', 'closed_at = NULL', 'closed_at = NULL, pnl = NULL', 'closed_at = NULL, pnl = NULL, pnl_ratio = NULL', 'closed_at = ''infinity''', 'opened_at = ''2026-01-06Z''',
	'side = ''long''', 'side = NULL', 'quantity = 0', 'leverage = -1', 'fee = ''NaN''', 'fee = NULL', 'trade_id = ''''', 'symbol = NULL', 'bot = NULL', 'bot = repeat(''x'', 513)', 'entry_price = ''NaN''', 'entry_price = -37.63']) AS a;
SELECT pg_temp.outcome('INSERT INTO tradekeep.trade (trade_id, symbol, side) VALUES (''dec'', ''BTC'', ''LONG'')') AS known;
\copy trade (trade_id, symbol, side, closed_at, pnl) from stdin
copied	BTC	LONG	2026-01-05 00:00:00+00	-0.000000000000000001
\.
\copy trade (trade_id, symbol, side, closed_at, pnl) from stdin
refused	BTC	LONG	2026-01-05 00:00:00+00	NaN
\.
SELECT bot, trade_id, leverage, fee, pnl FROM trade WHERE trade_id IN ('copied', 'refused');

-- Closing. Twice the same is once; a trade added open and closed since is still the same to who adds it open again.
TRUNCATE trade;
SELECT add_trade('1', 's', 'BTC', 'SHORT', 2, 100, opened_at => '2026-01-05Z', fee => 0.5), add_trade('2', 's', 'ETH', 'LONG', 1, 10, opened_at => '2026-01-04Z', bot => 'b'), add_trade('3', 's', 'ETH', 'LONG', NULL, 10, opened_at => '2026-01-06Z');
SELECT bot, trade_id FROM open_trades();
SELECT bot, trade_id FROM open_trades('b');
SELECT (trade_stats()).trades;
SELECT q, pg_temp.outcome('SELECT tradekeep.close_trade(' || q || ')') AS outcome
FROM unnest(ARRAY[$$'1', NULL$$, $$'1', 'NaN'::float8$$, $$'1', 90, '2026-01-04Z'$$, $$'1', 90, 'infinity'$$, $$'1', 90, fee => 'inf'$$, $$'1', 90, exit_reason => repeat('x', 513)$$, $$'', 90$$, $$NULL, 90$$, $$'9', 90$$, $$'1', 90, bot => 'b'$$, $$'3', 90$$,
	$$'1', 90, '2026-01-07Z', exit_reason => 'roi'$$, $$'1', 90, '2026-01-07Z', exit_reason => 'roi'$$, $$'1', 90.0$$, $$'1', 90, fee => 0.5$$, $$'1', 91, '2026-01-07Z', exit_reason => 'roi'$$, $$'1', 90, '2026-01-08Z'$$, $$'1', 90, fee => 1$$, $$'1', 90, exit_reason => 'stop'$$,
	$$'2', 11.5, fee => 0.25, bot => 'b'$$, $$'2', 11.5, fee => 0.25, bot => 'b'$$]) AS q;
SELECT bot, trade_id, exit_price, fee, closed_at BETWEEN now() - interval '1 h' AND clock_timestamp() AS now, pnl, pnl_ratio, exit_reason FROM trade ORDER BY 1, 2;
SELECT add_trade('1', 's', 'BTC', 'SHORT', 2, 100, opened_at => '2026-01-05Z', fee => 0.5) AS same, pg_temp.outcome('SELECT tradekeep.add_trade(''1'', ''s'', ''BTC'', ''SHORT'', 2, 101, opened_at => ''2026-01-05Z'')') AS other;
SELECT bot, trade_id FROM open_trades();
-- At REPEATABLE READ they see what is committed, as a key does.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT add_trade('4', 's', 'BTC', 'LONG', 2, 100), close_trade('4', 101, '2026-01-09Z');
SELECT trades, total_pnl FROM trade_stats('1 day', at => '2026-01-09Z');
ROLLBACK;
BEGIN READ ONLY;
SAVEPOINT a;
SELECT add_trade('4', 's', 'BTC', 'LONG', 2, 100);
ROLLBACK TO a;
SELECT close_trade('3', 1);
ROLLBACK;

-- Marks: one for each day with closed trades that a statement touched.
TRUNCATE trade;
-- In a subtransaction of its own, as what one has marked it does not mark again.
CREATE FUNCTION pg_temp.marks(statement text) RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM tradekeep.trade_mark;
	BEGIN
		EXECUTE statement;
	EXCEPTION WHEN division_by_zero THEN
		RAISE;
	END;
	RETURN QUERY SELECT m.first FROM tradekeep.trade_mark AS m ORDER BY m.first;
END
$$;
SELECT s, ARRAY(SELECT pg_temp.marks(s)) AS marks FROM unnest(ARRAY[
	'INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl) SELECT n, ''BTC'', ''LONG'', ''2026-01-05Z''::timestamptz + n * interval ''9 h'', n FROM generate_series(1, 5) AS n',
	'INSERT INTO tradekeep.trade (trade_id, symbol, side) VALUES (''open'', ''BTC'', ''LONG'')', 'UPDATE tradekeep.trade SET quantity = 1 WHERE trade_id = ''open''', 'UPDATE tradekeep.trade SET pnl = 1 WHERE false', 'DELETE FROM tradekeep.trade WHERE trade_id = ''open''',
	'UPDATE tradekeep.trade SET closed_at = ''2026-01-01 23:59:59.999999Z'' WHERE trade_id = ''5''', 'DELETE FROM tradekeep.trade WHERE trade_id IN (''1'', ''2'')',
	'INSERT INTO tradekeep.trade (trade_id, symbol, side, closed_at, pnl) VALUES (''6'', ''BTC'', ''LONG'', ''1999-12-31 23:59:59Z'', 1), (''3'', ''BTC'', ''LONG'', ''1900-01-01Z'', 1) ON CONFLICT (bot, trade_id) DO UPDATE SET closed_at = excluded.closed_at',
	'WITH gone AS (DELETE FROM tradekeep.trade RETURNING *) SELECT * FROM gone']) AS s;
-- Times in JSON are UTC, whatever the session's zone.
BEGIN;
SET LOCAL TimeZone = 'Asia/Tokyo';
SELECT add_trade('{"trade_id": "utc", "symbol": "BTC", "side": "LONG", "opened_at": "2026-01-05 10:00"}'), (SELECT opened_at FROM open_trades() WHERE trade_id = 'utc') AS before;
SELECT opened_at = '2026-01-05 10:00Z' AS utc FROM open_trades() WHERE trade_id = 'utc';
ROLLBACK;
-- A trade is closed by its key, also where the planner was told that next to none are open.
BEGIN;
TRUNCATE trade;
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl) SELECT n, 'BTC', 'LONG', '2026-01-05Z', 1 FROM generate_series(1, 2000) AS n;
ANALYZE trade;
SELECT count(add_trade('o' || n, NULL, 'BTC', 'LONG', 1, 100)) FROM generate_series(1, 200) AS n;
SELECT pg_stat_get_xact_numscans('trade_closed_at_idx'::regclass) AS scans \gset
SELECT close_trade('o7', 110, '2026-01-06Z');
SELECT pg_stat_get_xact_numscans('trade_closed_at_idx'::regclass) - :scans AS by_closed_at;
-- A ratio has the digits that a figure has.
SELECT add_trade('ratio', NULL, 'BTC', 'LONG', 1e45, 3e45, 3e45, fee => 1e-30, closed_at => '2026-01-06Z'), add_trade('later', NULL, 'BTC', 'LONG', 1e45, 3e45, fee => 1e-30);
SELECT close_trade('later', 3e45::numeric, '2026-01-06Z'), (SELECT pnl_ratio FROM trade WHERE trade_id = 'ratio') AS ratio;
ROLLBACK;
-- A transaction leaves the mark of a day once, unless an earlier trade is touched, or it was rolled back.
TRUNCATE tradekeep.trade;
BEGIN;
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl) VALUES ('1', 'BTC', 'LONG', '2026-01-05 12:00Z', 1);
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl) VALUES ('2', 'BTC', 'LONG', '2026-01-05 13:00Z', 1);
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl) VALUES ('3', 'BTC', 'LONG', '2026-01-05 11:00Z', 1);
SAVEPOINT s;
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl) VALUES ('4', 'BTC', 'LONG', '2026-01-06Z', 1);
ROLLBACK TO s;
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl) VALUES ('5', 'BTC', 'LONG', '2026-01-06Z', 1);
SELECT first FROM trade_mark ORDER BY first;
SELECT settle_trade_stats() AS settled, (SELECT count(*) FROM trade_mark) AS marks;
DELETE FROM trade WHERE trade_id = '2';
SELECT first FROM trade_mark ORDER BY first;
SELECT trades, total_pnl FROM trade_stats(at => '2026-02-01Z');
TRUNCATE trade;
SELECT (SELECT count(*) FROM trade_mark) AS marks, (SELECT count(*) FROM trade_span) AS spans;
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl) VALUES ('6', 'BTC', 'LONG', '2026-01-06Z', 1);
SELECT first FROM trade_mark;
ROLLBACK;
-- What logical replication applies fires the trigger for rows.
BEGIN;
SET LOCAL session_replication_role = replica;
ALTER TABLE trade DISABLE TRIGGER mark_inserted;
INSERT INTO trade (trade_id, symbol, side, closed_at, pnl) VALUES ('1', 'BTC', 'LONG', '2026-01-05 12:00Z', 1), ('2', 'BTC', 'LONG', '2026-01-06Z', 1), ('3', 'BTC', 'LONG', NULL, NULL);
ALTER TABLE trade DISABLE TRIGGER mark_updated;
UPDATE trade SET closed_at = '2026-01-07Z' WHERE trade_id = '1';
SELECT first FROM trade_mark ORDER BY first;
ROLLBACK;
SELECT pg_temp.outcome('CREATE TABLE pg_temp.mine (a int); CREATE TRIGGER t AFTER INSERT ON pg_temp.mine FOR EACH STATEMENT EXECUTE FUNCTION tradekeep.mark_trades(); INSERT INTO pg_temp.mine VALUES (1)') AS elsewhere;

-- Locks on symbols: of two, the later until wins; expired is absent at once.
SELECT lock_symbol('BTC', 'long', now() + interval '1 h', 'cooldown') AS first, lock_symbol('BTC', 'LONG', now() + interval '30 min') AS shorter, lock_symbol('BTC', 'LONG', now() + interval '1 h') AS equal,
	lock_symbol('BTC', 'LONG', now() + interval '2 h', 'stop') AS longer, lock_symbol('ETH', NULL, now() + interval '1 h') AS both_sides, lock_symbol('SOL', '*', now() - interval '1 s') AS past;
SELECT symbol, side, remaining > '0' AS remaining, reason FROM live_symbol_locks ORDER BY symbol;
SELECT s, d, symbol_locked(s, d), symbol_locked(s, d, now() + interval '90 min') AS later, symbol_locked(s, d, now() + interval '3 h') AS at_last
FROM unnest('{BTC,ETH,SOL}'::text[]) AS s, unnest('{LONG,short,*,NULL}'::text[]) AS d;
UPDATE symbol_lock SET until = now() - interval '1 s' WHERE symbol = 'BTC';
SELECT symbol_locked('BTC') AS locked, unlock_symbol('BTC') AS unlocked, lock_symbol('BTC', 'SHORT', now() + interval '1 min') AS again, (SELECT string_agg(symbol, ',' ORDER BY symbol) FROM live_symbol_locks) AS live;
SELECT unlock_symbol('ETH', 'LONG') AS side, unlock_symbol('ETH') AS both_sides, unlock_symbol('ETH') AS again, symbol_locked('ETH');
BEGIN;
SELECT lock_symbol('*', NULL, now() + interval '1 h'), symbol_locked('anything', 'SHORT');
ROLLBACK;
SELECT symbol_locked('anything');
SELECT q, pg_temp.outcome('SELECT tradekeep.' || q) AS outcome
FROM unnest(ARRAY[$$lock_symbol(NULL, NULL, now())$$, $$lock_symbol('', NULL, now())$$, $$lock_symbol(repeat('x', 513), NULL, now())$$, $$lock_symbol('BTC', 'BUY', now())$$, $$lock_symbol('BTC', NULL, NULL)$$, $$lock_symbol('BTC', NULL, 'infinity')$$,
	$$lock_symbol('BTC', NULL, now() + interval '1 h', repeat('x', 513))$$, $$symbol_locked('BTC', '')$$, $$unlock_symbol(NULL)$$]) AS q;
SET search_path = pg_catalog;
SELECT pg_temp.outcome('INSERT INTO tradekeep.symbol_lock VALUES (''BTC'', ''BOTH'', now(), now())') AS side, pg_temp.outcome('INSERT INTO tradekeep.symbol_lock VALUES ('''', ''*'', now(), now())') AS symbol;
TRUNCATE tradekeep.symbol_lock, tradekeep.trade;
