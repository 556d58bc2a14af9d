-- candle: raw messages of exchanges, as they came

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET extra_float_digits = 1;
\set VERBOSITY sqlstate
\pset format unaligned
TRUNCATE tick, candle, candle_correction;

-- What a message comes to: its bars, which are gone afterwards, or its SQLSTATE, and then nothing is stored.
CREATE FUNCTION pg_temp.bars() RETURNS text LANGUAGE sql AS $$
	WITH gone AS (DELETE FROM tradekeep.candle RETURNING *)
	SELECT coalesce(string_agg(format('%s %s %s o%s h%s l%s c%s v%s %s', symbol, timeframe,
		to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), open, high, low, close, volume,
		CASE WHEN closed THEN 'closed' ELSE 'open' END), '; ' ORDER BY symbol, timeframe, ts), 'nothing') FROM gone
$$;
CREATE FUNCTION pg_temp.ingested(message text, symbol text DEFAULT NULL, timeframe text DEFAULT NULL, at text DEFAULT NULL)
	RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM tradekeep.ingest_kline(message::jsonb, symbol, timeframe::tradekeep.timeframe, at::timestamptz);
	RETURN pg_temp.bars();
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || CASE WHEN EXISTS (SELECT FROM tradekeep.candle) THEN ', and stored' ELSE '' END;
END
$$;

-- Binance's websocket; 1767607200000 is 2026-01-05 10:00 UTC, a Monday.
CREATE FUNCTION pg_temp.binance(changes jsonb DEFAULT '{}', without text DEFAULT '') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('e', 'kline', 'E', 1767607230123, 's', 'BTCUSDT', 'k', ('{"t": 1767607200000, "T": 1767607259999,
		"s": "BTCUSDT", "i": "1m", "f": 100, "L": 200, "o": "0.0010", "c": "0.0020", "h": "0.0025", "l": "0.0005", "v": "1000",
		"n": 100, "x": false, "q": "1.0000", "V": "500", "Q": "0.500", "B": "123456"}'::jsonb || changes) - without)
$$;
SELECT what, pg_temp.ingested(message::text) FROM (VALUES
	('bare, open', pg_temp.binance()),
	('bare, closed', pg_temp.binance('{"x": true}')),
	('combined', jsonb_build_object('stream', 'btcusdt@kline_1m', 'data', pg_temp.binance('{"x": true}'))),
	('numbers as numbers', pg_temp.binance('{"o": 0.001, "h": 25e-4, "l": 5e-4, "c": 2E-3, "v": 1e3}')),
	('time as a string', pg_temp.binance('{"t": "1767607200000"}')),
	('microseconds', pg_temp.binance('{"t": 1767607200000000}')),
	('continuous contract', jsonb_build_object('e', 'continuous_kline', 'E', 1, 'ps', 'ETHUSDT', 'ct', 'PERPETUAL',
		'k', pg_temp.binance('{"i": "1d", "t": 1767571200000}', 's') -> 'k')),
	('both symbols', jsonb_build_object('ps', 'PAIR', 'k', pg_temp.binance() -> 'k')),
	('no more than is needed', '{"k": {"t": 0, "o": 1, "h": 1, "l": 1, "c": 1, "v": 0, "x": true, "s": "A", "i": "1s"}}')
) AS t(what, message);
SELECT i, pg_temp.ingested(pg_temp.binance(jsonb_build_object('i', i, 't',
	extract(epoch FROM candle_start(i::timeframe, '2024-02-29 13:37:11Z'))::bigint * 1000))::text)
FROM unnest('{1s,1m,3m,5m,15m,30m,1h,2h,4h,6h,8h,12h,1d,3d,1w,1M}'::text[]) AS i;
-- Whose symbol, whose timeframe.
SELECT pg_temp.ingested(pg_temp.binance()::text, 'BTC/USDT:USDT') AS given,
	pg_temp.ingested(pg_temp.binance('{}', 's')::text, 'GIVEN') AS given_alone,
	pg_temp.ingested(pg_temp.binance('{}', 's')::text) AS none,
	pg_temp.ingested(pg_temp.binance()::text, timeframe => '1m') AS same,
	pg_temp.ingested(pg_temp.binance()::text, timeframe => '5m') AS other,
	pg_temp.ingested(pg_temp.binance()::text, at => '2026-01-05 09:00Z') AS at_means_nothing;
SELECT flag, pg_temp.ingested(pg_temp.binance(format('{"x": %s}', flag)::jsonb)::text)
FROM unnest('{"null",0,1,"\"true\"","\"\"",[],"{}"}'::text[]) AS flag;
SELECT field, pg_temp.ingested(pg_temp.binance('{}', field)::text) AS missing,
	pg_temp.ingested(pg_temp.binance(jsonb_build_object(field, null))::text) AS nothing,
	pg_temp.ingested(pg_temp.binance(jsonb_build_object(field, '[1]'::jsonb))::text) AS a_list,
	pg_temp.ingested(pg_temp.binance(jsonb_build_object(field, true))::text) AS a_flag,
	pg_temp.ingested(pg_temp.binance(jsonb_build_object(field, ''))::text) AS empty
FROM unnest('{t,o,h,l,c,v,i}'::text[]) AS field;
SELECT number, pg_temp.ingested(pg_temp.binance(jsonb_build_object('v', number))::text) AS volume,
	pg_temp.ingested(pg_temp.binance(jsonb_build_object('t', number))::text) AS time
FROM unnest('{0x10,1e400,-1e400,1e-400,NaN,nan,Infinity,-inf,"",+,-,.,e5,1e,1.2.3,"1,5",1_000," 1","1 ","1\u0000",--1,-1,1e5}'::text[]) AS number;
SELECT what, regexp_replace(pg_temp.ingested(message::text), 'é{256}', 'éé...') FROM (VALUES
	('off the grid', pg_temp.binance('{"t": 1767607201000}')),
	('half a millisecond', pg_temp.binance('{"t": 1767607200000.5}')),
	('half a millisecond, in microseconds', pg_temp.binance('{"t": 1767607200000500}')),
	('seconds', pg_temp.binance('{"t": 1767607200}')),
	('a week on Tuesday', pg_temp.binance('{"i": "1w", "t": 1767657600000}')),
	('before 1900', pg_temp.binance('{"t": -3000000000000}')),
	('after 2200', pg_temp.binance('{"t": 7258118400000}')),
	('far out', pg_temp.binance('{"t": 1e300}')),
	('high below low', pg_temp.binance('{"h": "0.0001"}')),
	('close above', pg_temp.binance('{"c": "1"}')),
	('negative volume', pg_temp.binance('{"v": "-1"}')),
	('huge number', pg_temp.binance('{"v": 1e400}')),
	('unknown interval', pg_temp.binance('{"i": "7m"}')),
	('Bybit''s interval', pg_temp.binance('{"i": "1"}')),
	('512 bytes', jsonb_set(pg_temp.binance(jsonb_build_object('s', repeat('é', 256))), '{k,n}', '0')),
	('514 bytes', pg_temp.binance(jsonb_build_object('s', repeat('é', 257)))),
	('10 MB', pg_temp.binance(jsonb_build_object('s', repeat('x', 10485760)))),
	('empty symbol', pg_temp.binance('{"s": ""}')),
	('symbol a number', pg_temp.binance('{"s": 5}')),
	('k a list', '{"e": "kline", "k": [1, 2]}'),
	('k in a list', '[{"k": {}}]'),
	('another event', '{"e": "trade", "s": "BTCUSDT", "p": "1"}'),
	('answer to a subscription', '{"result": null, "id": 1}'),
	('twice in an envelope', jsonb_build_object('stream', 'a', 'data', jsonb_build_object('stream', 'b', 'data', pg_temp.binance()))),
	('envelope without stream', jsonb_build_object('data', pg_temp.binance())),
	('envelope of a list', jsonb_build_object('stream', 'a', 'data', jsonb_build_array(pg_temp.binance())))
) AS t(what, message);
SELECT pg_temp.ingested(pg_temp.binance()::text, '') AS empty, pg_temp.ingested(pg_temp.binance()::text, repeat('x', 513)) AS long,
	pg_temp.ingested(pg_temp.binance()::text, at => 'infinity') AS at_infinity, pg_temp.ingested(pg_temp.binance()::text, at => '30000-01-01') AS at_far,
	pg_temp.ingested(pg_temp.binance()::text, timeframe => '7m') AS timeframe;

-- Binance's REST rows: the timeframe is said by the closing time, which is a millisecond early.
CREATE FUNCTION pg_temp.binance_row(opening timestamptz, closing timestamptz, ms integer DEFAULT 1) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_array(extract(epoch FROM opening)::bigint * 1000 * ms, '10', '12', '9', '11', '5',
		extract(epoch FROM closing)::bigint * 1000 * ms - 1, '2434.1', 308, '1756.8', '28.4', '0')
$$;
SELECT tf, pg_temp.ingested(jsonb_build_array(bar)::text, 'X', at => '2024-06-01') = expected AS ms,
	pg_temp.ingested(jsonb_build_array(bar)::text, 'X', tf, '2024-06-01') = expected AS given,
	pg_temp.ingested(jsonb_build_array(micros)::text, 'X', at => '2024-06-01') = expected AS micros,
	pg_temp.ingested(bar::text, 'X', at => '2024-06-01') = expected AS single, expected
FROM unnest('{1s,1m,3m,5m,15m,30m,1h,2h,4h,6h,8h,12h,1d,3d,1w,1M}'::text[]) AS tf
CROSS JOIN LATERAL (SELECT candle_start(tf::timeframe, '2024-02-29 13:37:11Z') AS opening, candle_end(tf::timeframe, '2024-02-29 13:37:11Z') AS closing) AS c
CROSS JOIN LATERAL (SELECT pg_temp.binance_row(opening, closing) AS bar, pg_temp.binance_row(opening, closing, 1000) AS micros,
	format('X %s %s o10 h12 l9 c11 v5 closed', tf, to_char(opening, 'YYYY-MM-DD HH24:MI')) AS expected) AS r;
-- Months of all lengths.
SELECT to_char(m, 'YYYY-MM'), pg_temp.ingested(jsonb_build_array(pg_temp.binance_row(m, m + '1 month'))::text, 'X', at => '2100-01-01')
FROM unnest('{1999-12-01Z,2000-02-01Z,2023-02-01Z,2024-02-01Z,2024-04-01Z,2024-07-01Z,2099-12-01Z}'::timestamptz[]) AS m;
SELECT what, pg_temp.ingested(bar::text, symbol, tf, at) FROM (VALUES
	('closes as it opens', pg_temp.binance_row('2024-01-01Z', '2024-01-01Z'), 'X', NULL, NULL),
	('no such length', pg_temp.binance_row('2024-01-01Z', '2024-01-01 00:07Z'), 'X', NULL, NULL),
	('30 days from January on', pg_temp.binance_row('2024-01-01Z', '2024-01-31Z'), 'X', NULL, NULL),
	('a day off the grid', pg_temp.binance_row('2024-01-01 01:00Z', '2024-01-02 01:00Z'), 'X', NULL, NULL),
	('a week from Tuesday on', pg_temp.binance_row('2024-01-02Z', '2024-01-09Z'), 'X', NULL, NULL),
	('closing time on the dot', jsonb_set(pg_temp.binance_row('2024-01-01Z', '2024-01-02Z'), '{6}', '1704153600000'), 'X', NULL, NULL),
	('closing time no number', jsonb_set(pg_temp.binance_row('2024-01-01Z', '2024-01-02Z'), '{6}', '"x"'), 'X', NULL, NULL),
	('no symbol', pg_temp.binance_row('2024-01-01Z', '2024-01-02Z'), NULL, NULL, NULL),
	('given one is not its own', pg_temp.binance_row('2024-01-01 00:01Z', '2024-01-01 00:02Z'), 'X', '5m', NULL),
	('out of range', pg_temp.binance_row('2300-01-01Z', '2300-01-02Z'), 'X', NULL, NULL),
	('just over', pg_temp.binance_row('2024-01-01Z', '2024-01-02Z'), 'X', NULL, '2024-01-02Z'),
	('not yet over', pg_temp.binance_row('2024-01-01Z', '2024-01-02Z'), 'X', NULL, '2024-01-01 23:59:59.999999Z'),
	('at the turn of the millennium', pg_temp.binance_row('2000-01-01Z', '2000-01-02Z'), 'X', NULL, '2000-01-01Z'),
	('over by the clock', pg_temp.binance_row('2024-01-01Z', '2024-01-02Z'), 'X', NULL, NULL),
	('open by the clock', pg_temp.binance_row('2190-01-01Z', '2190-01-02Z'), 'X', NULL, NULL)
) AS t(what, bar, symbol, tf, at);

-- Bybit's websocket: several bars in a message, each with a flag of its own.
CREATE FUNCTION pg_temp.bybit(topic text, VARIADIC bars jsonb[]) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('topic', topic, 'type', 'snapshot', 'ts', 1767607230123, 'data', array_to_json(bars))::text
$$;
CREATE FUNCTION pg_temp.bybit_bar(start timestamptz, changes jsonb DEFAULT '{}', without text DEFAULT '') RETURNS jsonb LANGUAGE sql AS $$
	SELECT (jsonb_build_object('start', extract(epoch FROM start)::bigint * 1000, 'end', 0, 'interval', '?', 'open', '10', 'high', '12',
		'low', '9', 'close', '11', 'volume', '5', 'turnover', '55', 'confirm', true, 'timestamp', 0) || changes) - without
$$;
SELECT pg_temp.ingested(pg_temp.bybit('kline.5.BTCUSDT', pg_temp.bybit_bar('2026-01-05 10:00Z'), pg_temp.bybit_bar('2026-01-05 10:05Z', '{"confirm": false, "volume": "1.5"}'))) AS two,
	pg_temp.ingested(pg_temp.bybit('kline.5.BTCUSDT', pg_temp.bybit_bar('2026-01-05 10:05Z', '{"confirm": false}'), pg_temp.bybit_bar('2026-01-05 10:05Z'))) AS same_bar,
	pg_temp.ingested(pg_temp.bybit('kline.5.BTCUSDT', pg_temp.bybit_bar('2026-01-05 10:00Z'), pg_temp.bybit_bar('2026-01-05 10:06Z'))) AS second_bad,
	pg_temp.ingested('{"topic": "kline.5.BTCUSDT", "data": []}') AS none,
	pg_temp.ingested(pg_temp.bybit('kline.5.BTCUSDT', pg_temp.bybit_bar('2026-01-05 10:00Z')), 'BTC/USDT') AS given,
	pg_temp.ingested(pg_temp.bybit('kline.5.BTCUSDT', pg_temp.bybit_bar('2026-01-05 10:00Z')), timeframe => '5m') AS same,
	pg_temp.ingested(pg_temp.bybit('kline.5.BTCUSDT', pg_temp.bybit_bar('2026-01-05 10:00Z')), timeframe => '1m') AS other;
SELECT i, pg_temp.ingested(pg_temp.bybit('kline.' || i || '.BTCUSDT', pg_temp.bybit_bar('2024-01-01Z')))
FROM unnest('{1,3,5,15,30,60,120,240,360,720,D,W,M,"",0,2,05,1440,d,Y,1m,-1}'::text[]) AS i;
SELECT topic, pg_temp.ingested(pg_temp.bybit(topic, pg_temp.bybit_bar('2024-01-01Z')))
FROM unnest('{kline.5.,kline.5,kline.,kline,kline..X,kline.5.A.B,kline_lt.5.X,tickers.X,Kline.5.X}'::text[]) AS topic;
SELECT field, pg_temp.ingested(pg_temp.bybit('kline.5.X', pg_temp.bybit_bar('2024-01-01Z', '{}', field))) AS missing,
	pg_temp.ingested(pg_temp.bybit('kline.5.X', pg_temp.bybit_bar('2024-01-01Z', jsonb_build_object(field, null)))) AS nothing,
	pg_temp.ingested(pg_temp.bybit('kline.5.X', pg_temp.bybit_bar('2024-01-01Z', jsonb_build_object(field, 'x')))) AS text
FROM unnest('{start,open,high,low,close,volume,confirm}'::text[]) AS field;
SELECT data, pg_temp.ingested(format('{"topic": "kline.5.X", "data": %s}', data))
FROM unnest('{"null",1,"\"x\"","{}",[1],[null],[[]],"[[{}]]","[{}]"}'::text[]) AS data;

-- A page of Bybit's: the newest first, and perhaps not over when the page was made.
CREATE FUNCTION pg_temp.page(made text, list text DEFAULT '[["1767607320000", "11", "12", "9", "10", "1", "9"],
	["1767607260000", "11", "12", "9", "10", "2", "9"], ["1767607200000", "11", "12", "9", "10", "3", "9"]]') RETURNS text LANGUAGE sql AS $$
	SELECT format('{"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "symbol": "BTCUSDT", "list": %s}, "retExtInfo": {}%s}',
		list, ', "time": ' || made)
$$;
SELECT what, pg_temp.ingested(page, symbol, '1m', at) FROM (VALUES
	('the newest is open', pg_temp.page('1767607330000'), NULL, NULL),
	('over on the dot', pg_temp.page('1767607380000'), NULL, NULL),
	('a millisecond before', pg_temp.page('1767607379999'), NULL, NULL),
	('time as a string', pg_temp.page('"1767607330000"'), NULL, NULL),
	('as the caller says', pg_temp.page('1767607330000'), 'BTC', '2026-01-05 10:01:30Z'),
	('no time: by the clock', pg_temp.page(NULL, '[["7000000020000", 1, 1, 1, 1, 1, 1], ["1704448800000", 1, 1, 1, 1, 1, 1]]'), NULL, NULL),
	('time is the turn of the millennium', pg_temp.page('946684800000', '[["946684800000", 1, 1, 1, 1, 1, 1]]'), NULL, NULL),
	('time is null', pg_temp.page('null'), NULL, NULL),
	('time is text', pg_temp.page('"now"'), NULL, NULL),
	('time is far', pg_temp.page('1e300'), NULL, NULL),
	('empty', pg_temp.page('1767607330000', '[]'), NULL, NULL),
	('one bare row', pg_temp.page('1767607330000', '["1767607200000", "11", "12", "9", "10", "3", "9"]'), NULL, NULL),
	('list of objects', pg_temp.page('1767607330000', '[{}]'), NULL, NULL),
	('a row short', pg_temp.page('1767607330000', '[["1767607200000", "11", "12", "9", "10"]]'), NULL, NULL),
	('the last row bad', pg_temp.page('1767607330000', '[["1767607260000", "11", "12", "9", "10", "2", "9"], ["1767607200000", "11", "12", "19", "10", "3", "9"]]'), NULL, NULL),
	('no list', '{"result": {"symbol": "X"}, "time": 1}', NULL, NULL),
	('list is an object', '{"result": {"symbol": "X", "list": {}}}', NULL, NULL),
	('no symbol', '{"result": {"list": [["1767607200000", "11", "12", "9", "10", "3", "9"]]}}', NULL, NULL),
	('symbol given', '{"result": {"list": [["1767607200000", "11", "12", "9", "10", "3", "9"]]}}', 'X', '2026-02-01Z')
) AS t(what, page, symbol, at);
SELECT pg_temp.ingested(pg_temp.page('1767607330000')) AS no_timeframe, pg_temp.ingested(pg_temp.page('1767607330000'), timeframe => '1h') AS off_the_grid;

-- ccxt's arrays.
SELECT what, pg_temp.ingested(message, symbol, tf, at) FROM (VALUES
	('bars', '[[1767607200000, 11, 12, 9, 10, 3], [1767607260000, 10, 10, 10, 10, 0]]', 'BTC/USDT', '1m', '2026-01-05 10:01:30Z'),
	('as strings', '[["1767607200000", "11.0", "1.2e1", "9", "+10", ".5"]]', 'BTC/USDT', '1m', '2026-02-01Z'),
	('one bar', '[1767607200000, 11, 12, 9, 10, 3]', 'BTC/USDT', '1m', '2026-02-01Z'),
	('none', '[]', 'BTC/USDT', '1m', NULL),
	('none, of nothing', '[]', NULL, NULL, NULL),
	('microseconds', '[[1767607200000000, 11, 12, 9, 10, 3]]', 'BTC/USDT', '1m', '2026-02-01Z'),
	('1970 and before', '[[0, 1, 1, 1, 1, 1], [-86400000, 1, 1, 1, 1, 1]]', 'BTC/USDT', '1d', NULL),
	('no symbol', '[[1767607200000, 11, 12, 9, 10, 3]]', NULL, '1m', NULL),
	('no timeframe', '[[1767607200000, 11, 12, 9, 10, 3]]', 'X', NULL, NULL),
	('no volume', '[[1767607200000, 11, 12, 9, 10]]', 'X', '1m', NULL),
	('null volume', '[[1767607200000, 11, 12, 9, 10, null]]', 'X', '1m', NULL),
	('8 elements', '[[1767607200000, 11, 12, 9, 10, 1, 1, 1]]', 'X', '1m', NULL),
	('13 elements', '[[1767607200000, 11, 12, 9, 10, 1, 1, 1, 1, 1, 1, 1, 1]]', 'X', '1m', NULL),
	('empty row', '[[]]', 'X', '1m', NULL),
	('nested', '[[[1767607200000, 11, 12, 9, 10, 3]]]', 'X', '1m', NULL),
	('row and number', '[[1767607200000, 11, 12, 9, 10, 3], 5]', 'X', '1m', NULL),
	('row and object', '[[1767607200000, 11, 12, 9, 10, 3], {}]', 'X', '1m', NULL),
	('number and row', '[5, [1767607200000, 11, 12, 9, 10, 3]]', 'X', '1m', NULL),
	('six lists', '[[1], [1], [1], [1], [1], [1]]', 'X', '1m', NULL),
	('off the grid', '[[1767607200000, 11, 12, 9, 10, 3], [1767607260001, 11, 12, 9, 10, 3]]', 'X', '1m', NULL),
	('high below low', '[[1767607200000, 11, 8, 9, 10, 3]]', 'X', '1m', NULL),
	('before 1900', '[[-9000000000000, 1, 1, 1, 1, 1]]', 'X', '1m', NULL),
	('1e400', '[[1767607200000, 1e400, 1e400, 9, 10, 3]]', 'X', '1m', NULL)
) AS t(what, message, symbol, tf, at);

-- Anything else.
SELECT left(message, 30), pg_temp.ingested(message, 'X', '1m') FROM unnest(ARRAY[NULL, 'null', '1', '"x"', 'true', '""', '{}', '{"a": 1}', '[null]',
	'[1]', '["x"]', '[true]', '[{}]', '{"k": {}}', '{"k": null}', '{"stream": "x"}', '{"stream": "x", "data": {}}', '{"topic": 1, "data": []}',
	'{"topic": null}', '{"result": 1}', '{"result": []}', '{"result": {}}', '', '[', '{"k":', '[[1767607200000, 11, 12, 9, 10, 3]',
	repeat('[', 300) || repeat(']', 300), repeat('{"data":', 300) || '1' || repeat('}', 300), '[' || repeat('1,', 100000) || '1]',
	'{"k": "' || repeat('x', 1000000) || '"}']) AS message;

-- All bars of a page, or of many messages, or none.
SELECT * FROM ingest_klines(ARRAY[pg_temp.binance(), pg_temp.binance('{"x": true, "v": "1001"}'), pg_temp.bybit('kline.1.BTCUSDT', pg_temp.bybit_bar('2026-01-05 10:01Z'))::jsonb,
	pg_temp.binance('{"v": "999"}'), '[]']);
SELECT pg_temp.bars();
SELECT * FROM ingest_klines(ARRAY['[[1767607200000, 1, 1, 1, 1, 1]]', pg_temp.page('1767607330000')::jsonb], 'X', '1m');
SELECT pg_temp.bars();
SELECT * FROM ingest_klines('{}');
SELECT * FROM ingest_klines(ARRAY[pg_temp.binance(), NULL, pg_temp.binance()]);
SELECT * FROM ingest_klines(ARRAY[pg_temp.binance(), pg_temp.binance('{"t": 1}')]);
SELECT * FROM ingest_klines(ARRAY[pg_temp.binance(), '{}']);
SELECT * FROM ingest_klines(NULL);
\set VERBOSITY terse
SELECT * FROM ingest_klines(ARRAY[pg_temp.binance(), pg_temp.binance('{"h": "0"}')]);
\set VERBOSITY sqlstate
SELECT pg_temp.bars();
-- The last thousand of a stream, shuffled and twice, in one call.
SELECT inserted, inserted + updated + unchanged + ignored AS all FROM (SELECT array_agg(pg_temp.binance(jsonb_build_object('t', 1767607200000 + i / 10 * 60000, 'v', i % 10, 'x', i % 10 = 9)) ORDER BY md5(i::text || j)) AS messages
	FROM generate_series(0, 999) AS i, generate_series(1, 2) AS j) AS m, ingest_klines(messages);
SELECT count(*), count(*) FILTER (WHERE closed AND volume = 9) AS final FROM candle;
-- What is known takes no transaction id.
BEGIN;
SELECT r.* FROM (SELECT array_agg(pg_temp.binance(jsonb_build_object('t', 1767607200000 + i * 60000, 'v', 9, 'x', true))) AS messages
	FROM generate_series(0, 99) AS i) AS m, ingest_klines(messages) AS r;
SELECT txid_current_if_assigned() IS NULL AS nothing_written;
COMMIT;
BEGIN READ ONLY;
SELECT ingest_kline('[]');
ROLLBACK;
BEGIN READ ONLY;
SELECT ingest_klines('{}');
ROLLBACK;
DELETE FROM candle;
