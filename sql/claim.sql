-- claim: exactly-once claims on a key

SET search_path = tradekeep, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\set VERBOSITY sqlstate

-- What a statement comes to: its SQLSTATE, or its answer.
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

-- The first one gets it, until it is given back.
SELECT claim('order', 'BTC:1', '1 hour') AS first, claim('order', 'BTC:1', '1 hour') AS second;
SELECT claim('order', 'BTC:1', '1 hour') AS later, claimed('order', 'BTC:1');
SELECT release('order', 'BTC:1') AS held, release('order', 'BTC:1') AS again, claimed('order', 'BTC:1');
SELECT claim('order', 'BTC:1', '1 hour') AS mine;
SELECT claim('order', 'x', '1 h') AS first, release('order', 'x'), claim('order', 'x', '1 h') AS second;
SELECT i, claim('order', 'y', '1 h') FROM generate_series(1, 3) AS i;

-- A key is a matter of its scope, and of every byte.
SELECT key, claim('case', key, '1 h')
FROM unnest(ARRAY['k', 'K', 'k ', ' k', 'k''', 'k"', 'k\', 'k%', 'k_', E'k\n', E'k\u00e9', E'ke\u0301']) AS key;
SELECT claim('case2', 'k', '1 h');
SELECT count(*), count(*) FILTER (WHERE claimed('case', key)) AS claimed FROM claim WHERE scope = 'case';

-- The view shows what is live.
SELECT scope, key, state, expires_at - claimed_at AS ttl, remaining > '59 min' AS fresh, data
FROM live_claims WHERE scope IN ('order', 'case2') ORDER BY 1, 2;

-- claim_or_get() tells of the original.
SELECT * FROM claim_or_get('get', 'a', '1 day', '{"id": 1}', '2026-01-05 10:15Z');
SELECT * FROM claim_or_get('get', 'a', '2 days', '{"id": 2}', '2026-01-05 11:15Z');
SELECT * FROM claim_or_get('get', 'a', '1 day', '{"id": 3}', '2026-01-06 10:15Z');
SELECT * FROM claim_or_get('get', 'a', '1 day', at => '2026-01-06 11:15Z');
SELECT * FROM claim_or_get('get', 'b', '1 day', NULL, '2026-01-05 10:15Z');
SELECT * FROM claim_or_get('get', 'b', '1 day', '4', '2026-01-05 10:15Z');
SELECT claimed, expires_at - claimed_at AS ttl, claimed_at <= clock_timestamp() AS began FROM claim_or_get('get', 'c', '1 h');
SELECT claim('get', 'large', '1 h', to_jsonb(repeat(md5('x'), 40000)));
SELECT claimed, length(original #>> '{}') FROM claim_or_get('get', 'large', '1 h');

-- The ttl: given, or the scope's own, or refused.
SELECT ttl, pg_temp.outcome(format('SELECT expires_at - claimed_at FROM tradekeep.claim_or_get(%L, %L, %L, at => %L)', 'ttl', ttl, ttl, '2026-01-05Z'))
FROM unnest('{1 us,999 us,1 ms,1 s,1 day,1 mon,1 mon 1 day 1 s,1 mon -1 day,100 years,36525 days,36525 days 1 us,-1 s,0,1 day -24 h,
	1 mon -30 days,-1 mon,102 years,178000000 years,-178000000 years,2147483647 days,2562047788 h}'::text[]) AS ttl;
SELECT scope, pg_temp.outcome(format('SELECT expires_at - claimed_at FROM tradekeep.claim_or_get(%L, %L)', scope, 'k')) AS ttl
FROM unnest('{candle,publish,signal,Candle,anything}'::text[]) AS scope;

-- set_scope() gives a scope its ttl from then on, the built-in ones too; null returns to what is built in.
SELECT set_scope('anything', '5 min'), set_scope('candle', '7 h');
SELECT scope, expires_at - claimed_at AS ttl
FROM unnest('{anything,candle}'::text[]) AS scope, claim_or_get(scope, 'changed');
SELECT expires_at - claimed_at AS ttl FROM claim_or_get('candle', 'k');
SELECT set_scope('anything', '6 min'), set_scope('candle', NULL);
SELECT scope, expires_at - claimed_at AS ttl
FROM unnest('{anything,candle}'::text[]) AS scope, claim_or_get(scope, 'changed back');
SELECT set_scope('anything', NULL), set_scope('never set', NULL);
SELECT pg_temp.outcome($$SELECT tradekeep.claim('anything', 'z')$$) AS without, count(*) FROM scope;
SELECT ttl, pg_temp.outcome(format('SELECT tradekeep.set_scope(%L, %L)', 'x', ttl))
FROM unnest('{-1 s,0,102 years}'::text[]) AS ttl;

-- Expired means absent, swept or not: to every function, and to the view.
CREATE FUNCTION pg_temp.expire(scope text, keys text[]) RETURNS bigint LANGUAGE sql AS $$
	WITH gone AS (
		INSERT INTO tradekeep.claim (scope, key, claimed_at, expires_at, sweep_after, data)
		SELECT scope, key, now() - interval '2 h', now() - interval '1 us', now() - interval '1 us', '"old"'
		FROM unnest(keys) AS key RETURNING 1)
	SELECT count(*) FROM gone;
$$;
SELECT pg_temp.expire('old', '{a,b,c,d,e,f,g}');
SELECT claimed('old', 'a'), release('old', 'a'), (SELECT count(*) FROM live_claims WHERE scope = 'old') AS live;
SELECT claim('old', 'a', '1 h'), claim('old', 'a', '1 h') AS again;
SELECT claimed, original, claimed_at > now() - interval '1 h' AS anew FROM claim_or_get('old', 'b', '1 h');
SELECT claimed, original FROM claim_or_get('old', 'b', '1 h');
SELECT claim_many('old', '{x,c,b,d}', '1 h');
SELECT key, data, expires_at - claimed_at AS ttl FROM claim WHERE scope = 'old' AND expires_at > now() ORDER BY key;
SELECT clear_claims('old') AS live_ones;
SELECT count(*) AS left_over FROM claim WHERE scope = 'old';
SELECT pg_temp.expire('candle', '{BTC:1m:2026-01-05T10:15:00}'), pg_temp.expire('publish', '{BTC:2026-01-05T10:15:00}');
SELECT should_process_candle('BTC', '1m', '2026-01-05 10:15Z') AS still_live_then,
	should_process_candle('ETH', '1m', '2026-01-05 10:15Z') AS fresh, claim_publish('BTC', '2026-01-05 10:15Z') AS publish;

-- A claim lives up to its expiry and not a microsecond longer, wherever `at` puts the clock.
SELECT claim('replay', 'k', '1 h', at => '2020-01-01 00:00Z');
SELECT at, claimed('replay', 'k', at), claim('replay', 'k', '1 h', at => at) AS claim
FROM unnest('{2020-01-01 00:00Z,2020-01-01 00:59:59.999999Z,2020-01-01 01:00Z,2020-01-01 00:30Z,2020-01-01 02:00Z}'::timestamptz[]) AS at;
SELECT claimed('replay', 'k') AS now, claimed('replay', 'k', '1999-01-01Z') AS before;
SELECT claim_many('replay', '{k,l}', '1 h', '2020-01-01 02:59Z') AS keys, claim_many('replay', '{l,k}', '1 h', '2020-01-01 03:00Z');

-- What is replayed in the past is kept from the sweeper for a whole ttl from now.
BEGIN;
SELECT claim('replay', 'past', '1 day', at => '2020-01-01Z'), claim('replay', 'future', '1 day', at => '2150-01-01Z'),
	claim('replay', 'now', '1 day');
SELECT claim_many('replay', '{past of many}', '1 day', '2020-01-01Z'),
	should_process_candle('replay', '1d', '2020-01-01Z', '1 h', '23 h');
SELECT key, expires_at - claimed_at AS ttl, sweep_after - expires_at < '1 min' AS swept_when_expired,
	sweep_after BETWEEN now() + interval '1 day' AND clock_timestamp() + interval '1 day' AS a_day_from_now
FROM claim WHERE scope = 'replay' AND key ~ 'past|future|now' OR key ~ '^replay:' ORDER BY key;
COMMIT;

-- claim_many() answers in the order of its keys; of a key that comes twice, the second is a duplicate.
SELECT claim_many('many', '{d,b,a,b,c,a}', '1 h');
SELECT claim_many('many', '{e,d,f}', '1 h');
SELECT claim_many('many', '{}', '1 h') AS none, claim_many('many', '[0:1]={g,h}', '1 h') AS lower_bound;
SELECT claim_many('many', array_agg('n' || i ORDER BY md5(i::text)), '1 h') = array_fill(true, '{10000}') AS all_new
FROM generate_series(1, 10000) AS i;
SELECT claim_many('many', array_agg('n' || i ORDER BY i), '1 h') = array_agg(i > 10000 ORDER BY i) AS only_new
FROM generate_series(9001, 11000) AS i;
SELECT clear_claims('many', 'n*');

-- Bad input is refused, and a batch as a whole.
SELECT what, pg_temp.outcome(format('SELECT tradekeep.claim(%L, %L, %L, at => %L)', scope, key, '1 h', at)) AS claim,
	pg_temp.outcome(format('SELECT claimed FROM tradekeep.claim_or_get(%L, %L, %L, at => %L)', scope, key, '1 h', at)) AS claim_or_get,
	pg_temp.outcome(format('SELECT tradekeep.claim_many(%L, ARRAY[%L], %L, %L)', scope, key, '1 h', at)) AS claim_many,
	pg_temp.outcome(format('SELECT tradekeep.claimed(%L, %L, %L)', scope, key, at)) AS claimed,
	pg_temp.outcome(format('SELECT tradekeep.release(%L, %L)', scope, key)) AS release
FROM (VALUES
	('good', repeat('s', 63), repeat('k', 512), NULL),
	('multibyte', repeat(U&'\00e9', 31), repeat(U&'\00e9', 256), NULL),
	('no scope', NULL, 'k', NULL),
	('empty scope', '', 'k', NULL),
	('long scope', repeat('s', 64), 'k', NULL),
	('long multibyte scope', repeat(U&'\00e9', 32), 'k', NULL),
	('no key', 'bad', NULL, NULL),
	('empty key', 'bad', '', NULL),
	('long key', 'bad', repeat('k', 513), NULL),
	('long multibyte key', 'bad', repeat(U&'\00e9', 257), NULL),
	('key of 10 MB', 'bad', repeat('0123456789', 1048576), NULL),
	('far past', 'bad', 'k', '1899-12-31 23:59:59.999999Z'),
	('first', 'edge', 'k', '1900-01-01Z'),
	('last', 'edge', 'k', '2199-12-31 23:59:59.999999Z'),
	('far future', 'bad', 'k', '2200-01-01Z'),
	('year 30000', 'bad', 'k', '30000-01-01Z'),
	('infinity', 'bad', 'k', 'infinity'),
	('-infinity', 'bad', 'k', '-infinity')) AS t(what, scope, key, at);
SELECT keys, pg_temp.outcome(format('SELECT tradekeep.claim_many(%L, %L, %L)', 'bad', keys, '1 h'))
FROM (VALUES ('{a,NULL}'), ('{a,""}'), ('{{a,b},{c,d}}'), (NULL)) AS t(keys);
SELECT pg_temp.outcome(format('SELECT tradekeep.claim_many(%L, ARRAY[%L, %L], %L)', 'bad', 'a', repeat('k', 513), '1 h')) AS long,
	pg_temp.outcome($$SELECT tradekeep.claim_many('bad', '{a,b}', '0')$$) AS no_ttl,
	pg_temp.outcome($$SELECT tradekeep.claim_many('bad', '{a,b}')$$) AS unknown_scope;
SELECT pg_temp.outcome($$SELECT tradekeep.set_scope('', '1 h')$$) AS empty_scope,
	pg_temp.outcome($$SELECT tradekeep.clear_claims('', 'x')$$) AS clear_empty_scope;
SELECT count(*) AS stored FROM claim WHERE scope = 'bad';
-- The table refuses the same by itself.
SELECT what, pg_temp.outcome(format('INSERT INTO tradekeep.claim (scope, key, claimed_at, expires_at, sweep_after) VALUES (%L, %L, %L, %L, %L) RETURNING 1',
	scope, key, '2026-01-01Z', '2026-01-02Z', '2026-01-02Z'))
FROM (VALUES ('good', 'bare', 'k'), ('duplicate', 'bare', 'k'), ('no scope', NULL, 'l'), ('empty scope', '', 'l'),
	('long scope', repeat('s', 64), 'l'), ('no key', 'bare', NULL), ('empty key', 'bare', ''), ('long key', 'bare', repeat('k', 513)),
	('long multibyte key', 'bare', repeat(U&'\00e9', 257))) AS t(what, scope, key);
UPDATE claim SET key = '' WHERE scope = 'bare';
UPDATE claim SET expires_at = claimed_at WHERE scope = 'bare';
UPDATE claim SET sweep_after = expires_at - interval '1 us' WHERE scope = 'bare';
UPDATE claim SET expires_at = 'infinity', sweep_after = 'infinity' WHERE scope = 'bare';
SELECT what, pg_temp.outcome(format('INSERT INTO tradekeep.claim (scope, key, claimed_at, expires_at, sweep_after) VALUES (''bare'', %L, %L, %L, %L) RETURNING 1',
	what, claimed_at, expires_at, sweep_after))
FROM (VALUES ('over at once', '2026-01-02Z', '2026-01-02Z', '2026-01-03Z'), ('swept while live', '2026-01-01Z', '2026-01-03Z', '2026-01-02Z'),
	('for ever', '2026-01-01Z', 'infinity', 'infinity')) AS t(what, claimed_at, expires_at, sweep_after);

-- clear_claims() by glob pattern: what it would clear of these keys.
CREATE TEMP TABLE keys (key text COLLATE "C" PRIMARY KEY);
INSERT INTO keys VALUES ('GOLD:1'), ('GOLD:2'), ('GOLD:10'), ('SILVER:1'), ('a'), ('b'), ('c'), ('-'), ('^'), (']'), ('['),
	('ab'), ('a.b'), ('a*b'), ('a?b'), ('a\b'), ('a[b]'), ('(a)'), ('a|b'), ('a+'), ('a{2}'), ('$'), ('d'), ('A'), (U&'\00e9'), (E'a\nb');
SELECT bool_and(claim('glob', key, '1 h')) FROM keys;
SELECT pg_temp.expire('glob', '{GOLD:3,z}');
CREATE FUNCTION pg_temp.cleared(pattern text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	number bigint;
	gone text;
BEGIN
	number := tradekeep.clear_claims('glob', pattern);
	SELECT string_agg(to_json(key)::text, ' ' ORDER BY key) INTO gone
	FROM keys WHERE NOT tradekeep.claimed('glob', key);
	RAISE 'rolled back' USING ERRCODE = 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
	RETURN number || coalesce(': ' || gone, '');
END
$$;
SELECT pattern, pg_temp.cleared(pattern)
FROM unnest(ARRAY['GOLD:*', 'GOLD:?', '*:1', '*', '**', '?', '??', '', 'gold:*', 'GOLD', 'OLD:1', '*1*',
	'[a-c]', '[abc]', '[^abc]', '[^a-c]', '[a-cA]*', '[-a]', '[a-]', '[\]]', '[]]', '[^]', '[]', '[[]', '[\^]', '[a', '[a-b', '[', '[^a', '[c-a]', '[a-\]]', '[\]-\a]',
	'a\*b', 'a*b', 'a\?b', 'a?b', 'a\\b', 'a\[b\]', 'a[[]b]', '\a', 'a\', '\',
	'a.b', '.', 'a+', 'a{2}', '(a)', 'a|b', '$', '^', '^a$', '(?i)A', '***=a', '\d', '[[:alpha:]]', '[\d]']) AS pattern;
SELECT bytes, pg_temp.outcome(format('SELECT tradekeep.clear_claims(%L, %L)', 'glob', repeat('?', bytes)))
FROM unnest('{2048,2049,10485760}'::int[]) AS bytes;
SELECT clear_claims(pattern => 'GOLD:?') AS in_every_scope;
SELECT clear_claims('glob') AS whole_scope, clear_claims('glob') AS again, clear_claims('no such scope') AS unknown;
SELECT claim('a', 'k', '1 h'), claim('b', 'k', '1 h');
SELECT clear_claims(pattern => 'k') >= 2 AS both, clear_claims() > 0 AS everything;
SELECT count(*) AS left_over FROM claim;

-- A claim lives and dies with its transaction, or the part of it that made it.
BEGIN;
SELECT claim('tx', 'outer', '1 h');
SAVEPOINT part;
SELECT claim('tx', 'inner', '1 h'), claim_many('tx', '{x,y}', '1 h'), release('tx', 'outer');
ROLLBACK TO part;
SELECT claimed('tx', 'outer') AS outer, claimed('tx', 'inner') AS inner, claim('tx', 'inner', '1 h') AS anew;
ROLLBACK TO part;
COMMIT;
SELECT claimed('tx', 'outer') AS outer, claimed('tx', 'inner') AS inner, claimed('tx', 'x') AS x;
DO $$
BEGIN
	BEGIN
		PERFORM tradekeep.claim('tx', 'block', '1 h');
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		ASSERT NOT tradekeep.claimed('tx', 'block');
	END;
	ASSERT tradekeep.claim('tx', 'block', '1 h');
END
$$;
SELECT claimed('tx', 'block');
BEGIN;
SELECT claim('tx', 'rolled back', '1 h');
ROLLBACK;
SELECT claim('tx', 'rolled back', '1 h');
-- At the other isolation levels a transaction sees its own claims too.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT claim('tx', 'rr', '1 h'), claim('tx', 'rr', '1 h') AS again, release('tx', 'rr'), claim('tx', 'rr', '1 h') AS anew;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT claim('tx', 'ser', '1 h'), claim('tx', 'ser', '1 h') AS again, release('tx', 'ser'), claim('tx', 'ser', '1 h') AS anew;
COMMIT;
-- A read-only transaction may look.
BEGIN READ ONLY;
SELECT claimed('tx', 'rr'), (SELECT count(*) FROM live_claims WHERE scope = 'tx') AS live;
SELECT call, pg_temp.outcome('SELECT tradekeep.' || call)
FROM unnest(ARRAY['claim(''tx'', ''rr'', ''1 h'')', 'claim_or_get(''tx'', ''rr'', ''1 h'')', 'claim_many(''tx'', ''{rr}'', ''1 h'')',
	'release(''tx'', ''rr'')', 'clear_claims(''tx'')', 'set_scope(''tx'', ''1 h'')',
	'should_process_candle(''BTC'', ''1m'')', 'claim_publish(''BTC'', ''2026-01-05Z'')']) AS call;
COMMIT;

-- A duplicate takes no transaction id.
SELECT claim('dup', 'k', '1 h'), claim('dup', 'l', '1 h'), claim_publish('DUP', '2026-01-05Z'), should_process_candle('DUP', '1d', '2026-01-05Z');
BEGIN;
SELECT claim('dup', 'k', '1 h'), (claim_or_get('dup', 'k', '1 h')).claimed, claim_many('dup', '{l,k}', '1 h'),
	claim_publish('DUP', '2026-01-05Z'), should_process_candle('DUP', '1d', '2026-01-05Z'), claimed('dup', 'k');
SELECT txid_current_if_assigned() IS NULL AS nothing_written;
COMMIT;

-- should_process_candle(): true once per candle, within the drift after its start.
SELECT at, drift, should_process_candle('BTC', '15m', at, drift), should_process_candle('BTC', '15m', at, drift) AS again
FROM (VALUES
	('2026-01-05 10:15:00Z'::timestamptz, '60 s'::interval),
	('2026-01-05 10:30:59.999999Z', '60 s'),
	('2026-01-05 10:46:00Z', '60 s'),
	('2026-01-05 11:01:00.000001Z', '60 s'),
	('2026-01-05 11:29:59.999999Z', '60 s'),
	('2026-01-05 11:30:00Z', '0'),
	('2026-01-05 11:45:00.000001Z', '0'),
	('2026-01-05 12:14:59.999999Z', '1 day'),
	('2026-01-05 12:00:00Z', '1 day')) AS t(at, drift);
SELECT key, expires_at FROM claim WHERE scope = 'candle' AND key LIKE 'BTC:15m:%' ORDER BY key;
-- The claim ends a ttl after the drift, whenever in it the claim was made.
SELECT should_process_candle('ETH', '1h', '2026-01-05 10:00:30Z', '45 s', '10 min');
SELECT key, claimed_at, expires_at FROM claim WHERE scope = 'candle' AND key LIKE 'ETH:%';
SELECT should_process_candle('ETH', '1h', '2026-01-05 10:00:45Z', '45 s', '10 min') AS same_candle,
	should_process_candle('SOL', '1h', '2026-01-05 10:00:45Z', '45 s', '10 min') AS other_instrument,
	should_process_candle('ETH', '2h', '2026-01-05 10:00:45Z', '45 s', '10 min') AS other_timeframe;
SELECT set_scope('candle', '2 h'), should_process_candle('ETH', '1d', '2026-01-05Z'), set_scope('candle', NULL);
SELECT expires_at FROM claim WHERE key = 'ETH:1d:2026-01-05T00:00:00';
-- Keys are spelled alike whatever the session's settings.
SET timezone = 'Asia/Kathmandu';
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SELECT should_process_candle('DOGE/USDT', '1M', '2026-02-01Z', '0'), should_process_candle('DOGE/USDT', '1w', '2026-02-02Z', '0'),
	should_process_candle('DOGE/USDT', '3d', '2026-02-03Z', '0'), should_process_candle('DOGE/USDT', '1s', '2026-02-01 00:00:07.5Z', '0.5 s');
SELECT claim_publish('DOGE/USDT', '2026-02-02 00:00Z'), claim_publish('DOGE/USDT', '2026-02-02 05:45+05:45') AS again,
	claim_publish('DOGE/USDT', '2026-02-02 00:00:01Z', '1 min') AS other;
RESET intervalstyle;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT scope, key, CASE WHEN scope = 'publish' THEN expires_at - claimed_at END AS ttl FROM claim WHERE key LIKE 'DOGE%' ORDER BY 1, 2;
-- Bad input.
SELECT call, pg_temp.outcome('SELECT tradekeep.' || call)
FROM unnest(ARRAY['should_process_candle(NULL, ''1m'')', 'should_process_candle('''', ''1m'')', 'should_process_candle(''B'', NULL)',
	'should_process_candle(''B'', ''7m'')', 'should_process_candle(''B'', ''1m'', ''infinity'')', 'should_process_candle(''B'', ''1m'', ''30000-01-01Z'')',
	'should_process_candle(''B'', ''1m'', drift => NULL)', 'should_process_candle(''B'', ''1m'', drift => ''-1 us'')',
	'should_process_candle(''B'', ''1m'', drift => ''102 years'')', 'should_process_candle(''B'', ''1m'', ttl => ''0'')',
	'should_process_candle(''B'', ''1m'', at => ''2026-01-01 00:00:59Z'', drift => ''0'', ttl => ''-1 s'')',
	'should_process_candle(repeat(''B'', 490), ''1m'', ''2026-01-01Z'')', 'should_process_candle(repeat(''B'', 489), ''1m'', ''2026-01-01Z'')',
	'claim_publish(NULL, ''2026-01-01Z'')', 'claim_publish('''', ''2026-01-01Z'')', 'claim_publish(''B'', NULL)',
	'claim_publish(''B'', ''2026-01-01 00:00:00.5Z'')', 'claim_publish(''B'', ''infinity'')', 'claim_publish(''B'', ''2200-01-01Z'')',
	'claim_publish(''B'', ''2026-01-01Z'', ''0'')', 'claim_publish(repeat(''B'', 493), ''2026-01-01Z'')', 'claim_publish(repeat(''B'', 492), ''2026-01-01Z'')']) AS call;

-- Nothing in the caller's search_path stands in for what claims are made of: neither when a session
-- prepares its statements nor later.
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.trap() RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END';
CREATE FUNCTION hostile.compare(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.compare(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.compare(interval, interval) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.compare(float8, float8) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.compare(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap(); SELECT true';
CREATE FUNCTION hostile.compare(timestamptz, interval) RETURNS timestamptz LANGUAGE sql AS 'SELECT hostile.trap(); SELECT $1';
CREATE FUNCTION hostile.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE sql AS 'SELECT hostile.trap(); SELECT $1[1]';
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT hostile.trap(); SELECT ''infinity''::timestamptz';
CREATE FUNCTION hostile.candle_start(tradekeep.timeframe, timestamptz) RETURNS timestamptz LANGUAGE sql AS 'SELECT hostile.trap(); SELECT $2';
DO $$
DECLARE
	operator text;
	type text;
BEGIN
	FOREACH operator IN ARRAY '{=,<,<=,>,>=,<>,~,+}'::text[] LOOP
		FOREACH type IN ARRAY '{text,timestamptz,interval,float8,bigint}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR hostile.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.compare)', operator, type, type);
		END LOOP;
	END LOOP;
	CREATE OPERATOR hostile.+ (LEFTARG = timestamptz, RIGHTARG = interval, FUNCTION = hostile.compare);
END
$$;
\c -
\set VERBOSITY sqlstate
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TEMP TABLE claim (LIKE tradekeep.claim);
CREATE TEMP TABLE scope (LIKE tradekeep.scope);
CREATE TEMP TABLE live_claims AS TABLE tradekeep.live_claims;
CREATE TEMP TABLE timeframe (tf text);
CREATE TEMP TABLE unnest (k text);
SET search_path = pg_temp, hostile, pg_catalog;
SELECT 1 WHERE 'a'::text = 'a'::text;
SELECT tradekeep.set_scope('path', '1 h');
SELECT tradekeep.claim('path', 'k'), tradekeep.claim('path', 'k') AS again, tradekeep.claimed('path', 'k'),
	tradekeep.release('path', 'k'), tradekeep.claim('path', 'k', '1 h', '1') AS anew;
SELECT * FROM tradekeep.claim_or_get('path', 'j', '1 h', '1', '2026-01-01Z');
SELECT tradekeep.claim_many('path', '{m,k,l}', '1 h'), tradekeep.claim_many('path', '{l,m,n}', '1 h') AS again,
	tradekeep.claim_many('path', '{l,j}', '1 h') AS over_expired;
SELECT tradekeep.claim('path', 'i', '1 h', at => '2026-01-01Z'), tradekeep.claim('path', 'i', '1 h') AS over_expired;
SELECT tradekeep.should_process_candle('PATH', '1m', '2026-01-05Z'), tradekeep.claim_publish('PATH', '2026-01-05Z');
SELECT tradekeep.set_scope('slide', '1 h', 'sliding'), tradekeep.claim('slide', 'k'), tradekeep.claim('slide', 'k') AS again,
	tradekeep.claim_many('slide', '{k,j}'), tradekeep.set_scope('slide', NULL);
SELECT token > 0 AS token, tradekeep.extend_lease('path', 'lease', token, '2 h'), tradekeep.complete('path', 'lease', token, '1'),
	tradekeep.complete('path', 'lease', token, '2') AS again
FROM tradekeep.claim_lease('path', 'lease', '1 h', '1 h') AS token;
SELECT tradekeep.release('path', 'lease2', token) FROM tradekeep.claim_lease('path', 'lease2', '1 h', '1 h') AS token;
SELECT claimed FROM tradekeep.claim_signal('PATH', 'LONG', 100);
SELECT claimed FROM tradekeep.claim_signals('[{"symbol": "PATH", "direction": "LONG", "entry_price": 100},
	{"symbol": "PATH", "direction": "LONG", "entry_price": 1}, {"symbol": "PATH", "direction": "SHORT", "entry_price": 1}]');
SELECT tradekeep.clear_signals('PATH');
SELECT tradekeep.set_scope('path', NULL), tradekeep.clear_claims('path', '[kl]');
SELECT tradekeep.clear_claims('path');
SET search_path = pg_catalog;
SELECT count(*) FROM pg_temp.claim;
SELECT count(*) FROM pg_temp.scope;
SET client_min_messages = warning;
DROP SCHEMA hostile CASCADE;

-- Nothing remains.
SELECT count(*) AS overridden FROM tradekeep.scope;
SELECT tradekeep.clear_claims() > 0 AS cleared;
