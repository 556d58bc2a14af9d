#!/bin/bash
# `tradekeep import redis` from a Redis of its own into a real server: PG* or DATABASE_URL name it.
# Usage: import_redis.sh DIRECTORY-OF-THE-CLIENT SCRATCH-DIRECTORY
# shellcheck source=tests/client/common.sh
. "$(dirname "$0")/common.sh"

unset REDIS_URL REDIS_PASSWORD REDIS_DB REDIS_TIMEOUT REDIS_ENABLED USE_PERSISTENT_CACHE
socket=$(mktemp -u "/tmp/tradekeep-redis.XXXXXX")
redis-server --port 0 --unixsocket "$socket" --save '' --dir "$scratch" >"$scratch/redis.log" &
server=$!
trap 'kill "$server"; wait "$server"; rm -rf "$scratch" "$socket"' EXIT

redis() {
	redis-cli -s "$socket" "$@"
}

for _ in {1..1000}; do
	[ "$(redis ping 2>/dev/null)" = PONG ] && break
	sleep 0.01
done

take() {
	tradekeep import redis --redis "unix://$socket" --json "$@" >"$scratch/out" 2>"$scratch/err"
}

# keys, claimed, duplicates, skipped, expired, rejected
numbers() {
	sed -E 's/[^:]*: ([0-9]+), "[a-z]+": ([0-9]+), "[a-z]+": ([0-9]+), "[a-z]+": ([0-9]+), "[a-z]+": ([0-9]+), "[a-z]+": ([0-9]+).*/\1 \2 \3 \4 \5 \6/' "$scratch/out"
}

claims() { # condition
	sql "SELECT count(*) FROM tradekeep.live_claims WHERE $1"
}

begin() {
	sql "TRUNCATE tradekeep.claim"
	redis flushall >/dev/null
}

# What a bot leaves behind, and what is not its claims
begin
candle="BTC/USDT:15m:2026-01-05T10:15:00"
redis set "candle:$candle" 1 EX 7200 >/dev/null
redis set "signal:publish:BTC/USDT:2026-01-05T10:15:00" "{\"sent\": true}" EX 172800 >/dev/null
redis set "signal:publish:for ever" 1 >/dev/null
redis set "candle:" 1 EX 1 >/dev/null
redis del "candle:" >/dev/null
redis set "candles:x" 1 >/dev/null
redis set "publish:x" 1 >/dev/null
redis set "xcandle:x" 1 >/dev/null
take --dry-run
check "dry run" "$? $(numbers)" "0 3 3 0 0 0 0"
check "dry run writes nothing" "$(claims true)" 0
take
check "import" "$? $(numbers)" "0 3 3 0 0 0 0"
check "all of them" "$(claims true)" 3
check "ttl of a candle" "$(claims "scope = 'candle' AND key = '$candle' AND expires_at - now() BETWEEN '1 h 30 min' AND '2 h 1 min'")" 1
check "ttl of a publication" "$(claims "scope = 'publish' AND key = 'BTC/USDT:2026-01-05T10:15:00' AND expires_at - now() BETWEEN '47 h' AND '49 h'")" 1
check "no ttl is the scope's" "$(claims "scope = 'publish' AND key = 'for ever' AND expires_at - now() BETWEEN '23 h' AND '25 h'")" 1
check "the bot finds it" "$(sql "SELECT tradekeep.claim_publish('BTC/USDT', '2026-01-05 10:15+00')")" f
take
check "again" "$? $(numbers)" "0 3 0 3 0 0 0"
take --dry-run
check "dry run again" "$? $(numbers)" "0 3 0 3 0 0 0"
sql "TRUNCATE tradekeep.claim"
take --ttl '3 days'
check "--ttl" "$? $(claims "key = 'for ever' AND expires_at - now() BETWEEN '71 h' AND '73 h'")" "0 1"
check "--ttl for those without" "$(claims "scope = 'candle' AND expires_at - now() < '3 h'")" 1

# What tradekeep itself left there: confirmed claims, and grants of an outage
begin
redis set "candle:ours" "tk1:0123456789abcdef:7:1767608100000" EX 3600 >/dev/null
redis set "candle:granted" "tkd:0123456789abcdef:7:1767608100000" EX 3600 >/dev/null
redis set "candle:short" "tk1" EX 3600 >/dev/null
take
check "ours" "$? $(numbers)" "0 3 2 0 1 0 0"
check "ours" "$(sql "SELECT string_agg(key, ' ' ORDER BY key) FROM tradekeep.claim")" "granted short"

# Keys that cannot be claims stop the import, or are left out
bad() { # what, pattern
	redis set "candle:good" 1 EX 3600 >/dev/null
	take
	check "$1 stops" $? 1
	check_says "$1: why" "$scratch/err" "$2"
	check "$1: nothing stored" "$(claims true)" 0
	take --on-error=skip
	check "$1 skipped" "$? $(numbers)" "4 2 1 0 0 0 1"
	check "$1: the other stored" "$(claims "key = 'good'")" 1
	begin
}
begin
redis set "candle:" 1 >/dev/null
bad "an empty key" 'empty'
redis set "candle:$(printf 'x%.0s' {1..513})" 1 >/dev/null
bad "a long key" 'longer than 512 bytes'
redis set "$(printf 'candle:\377')" 1 >/dev/null
bad "invalid UTF-8" 'UTF-8'
printf 'a\0b' | redis -x eval 'return redis.call("SET", "candle:" .. ARGV[1], 1)' 0 >/dev/null
bad "a zero byte" 'zero byte'
redis rpush "candle:BTC/USDT:1m" 1 2 >/dev/null
bad "a list" 'not a string'
redis hset "candle:hash" a b >/dev/null
bad "a hash" 'not a string'
redis set "candle:old" 1 PX 3155760000001000 >/dev/null
bad "a thousand centuries" '100 years'
redis set "$(printf 'candle:\033[31m')" 1 >/dev/null
redis rpush "$(printf 'candle:\033[32m\377')" 1 >/dev/null
take
check_says "control characters do not reach the terminal" "$scratch/err" 'candle:\?\[32m'

# Many keys: several pages; the first bad ones are shown
begin
redis eval 'for i = 1, 20000 do redis.call("SET", "candle:" .. i, 1, "EX", 3600) end' 0 >/dev/null
redis eval 'for i = 1, 50 do redis.call("SADD", "candle:set" .. i, 1) end' 0 >/dev/null
take --on-error=skip
check "many" "$? $(claims true)" "4 20000"
check "many: rejected" "$(grep -c 'not a string' "$scratch/err")" 10
check_says "many: more" "$scratch/err" 'only counted'
tradekeep import redis --redis "unix://$socket" --on-error=skip >"$scratch/out" 2>"$scratch/err"
check_says "plain summary" "$scratch/out" '^duplicates +20,[0-9]{3}$'
check_says "plain summary" "$scratch/out" '^rejected +50$'

# Two at a time: every key once, and nobody dies of it
sql "TRUNCATE tradekeep.claim"
tradekeep import redis --redis "unix://$socket" --on-error=skip --json >"$scratch/first" 2>&1 &
first=$!
take --on-error=skip
check "beside another" $? 4
wait "$first"
check "the other" $? 4
check "together" "$(claims true)" 20000

# Which Redis, and as whom
begin
redis -n 3 set candle:three 1 EX 3600 >/dev/null
REDIS_URL="unix://$socket" REDIS_DB=3 tradekeep import redis --json >"$scratch/out" 2>"$scratch/err"
check "the environment's" "$? $(numbers)" "0 1 1 0 0 0 0"
take --redis "unix://$socket?db=3"
check "--redis with a database" "$? $(numbers)" "0 1 0 1 0 0 0"
redis config set requirepass "secret word" >/dev/null
REDIS_PASSWORD="secret word" take
check "a password" $? 0
take
check "no password" $? 3
check_says "no password" "$scratch/err" 'could not read from Redis: .*NOAUTH'
REDIS_PASSWORD=secrets take
check "a wrong password" $? 3
check "the password stays secret" "$(grep -c secret "$scratch/err")" 0
export REDIS_PASSWORD="secret word"

# Nobody there, and wrong usage
take --redis unix:///nonexistent
check "no Redis" $? 3
take --url host=/nonexistent
check "no database" $? 3
take --redis rediss://:secret@localhost
check "TLS" $? 1
check_says "TLS" "$scratch/err" 'TLS'
take --ttl soon
check "a bad --ttl" $? 0
redis -a "$REDIS_PASSWORD" --no-auth-warning set candle:x 1 >/dev/null
take --ttl soon
check "a bad --ttl" $? 1
take --ttl 0
check "no --ttl at all" $? 1
check_says "no --ttl at all" "$scratch/err" TK003
take --on-error=perhaps
check "a bad --on-error" $? 2
take FILE
check "a file" $? 2
tradekeep import redis 2>"$scratch/err"
check "which Redis" $? 2
REDIS_URL="unix://$socket" REDIS_ENABLED=no tradekeep import redis 2>"$scratch/err"
check "Redis switched off" $? 2
tradekeep import redis --help >"$scratch/out"
check_says "help" "$scratch/out" 'scope publish'

sql "TRUNCATE tradekeep.claim"
report "tradekeep import redis"
