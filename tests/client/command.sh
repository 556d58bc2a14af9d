#!/bin/bash
# The command `tradekeep` against a real server: PG* or DATABASE_URL name it.
# Usage: command.sh DIRECTORY-OF-THE-CLIENT SCRATCH-DIRECTORY
# shellcheck source=tests/client/common.sh
. "$(dirname "$0")/common.sh"

sql "TRUNCATE tradekeep.claim, tradekeep.candle"

# Help and usage
for subcommand in "" health import "import trades" "import redis" export stats demo; do
	# shellcheck disable=SC2086
	tradekeep $subcommand --help >"$scratch/out"
	check "help for '$subcommand'" $? 0
	check_says "help for '$subcommand'" "$scratch/out" '^Exit codes|Exit codes:'
done
check "version" "$(tradekeep --version)" \
	"tradekeep $(sed -n 's/^#define TRADEKEEP_VERSION "\(.*\)"/\1/p' "$client/tradekeep.h")"
for wrong in "" "nothing" "health extra" "health --no" "import" "import x" \
	"import candles /dev/null" "import candles /dev/null --symbol S" \
	"import candles x --symbol S --timeframe 1m --on-error=maybe" "export" "export candles" \
	"export candles --symbol S" "export candles --symbol S --timeframe 1m --since never" \
	"export candles --symbol S --timeframe 1m --format=xml" "export candles x --symbol S" \
	"demo --candles 0" "demo --seed x" "demo extra"; do
	# shellcheck disable=SC2086
	tradekeep $wrong >"$scratch/out" 2>"$scratch/err"
	check "usage '$wrong'" $? 2
done

# Health
tradekeep health >"$scratch/out" 2>"$scratch/err"
check "health" $? 0
check_says "health names the extension" "$scratch/out" '^extension +[0-9]'
check "no colours in a file" "$(grep -c $'\033' "$scratch/out")" 0
tradekeep health --url "host=/nonexistent" >"$scratch/out" 2>"$scratch/err"
check "health of nobody" $? 3
tradekeep health --url "mysql://h/d" >"$scratch/out" 2>"$scratch/err"
check "health of another database" $? 1
check_says "another database" "$scratch/err" 'mysql'

# What a bot's environment says of Redis and of its spool is none of the command's business
REDIS_URL=rediss://h TRADEKEEP_OUTAGE=degrade tradekeep health >"$scratch/out" 2>"$scratch/err"
check "a bot's Redis and spool" $? 0
REDIS_TIMEOUT=soon tradekeep health >"$scratch/out" 2>"$scratch/err"
check "a bad environment" $? 1
check_says "a bad environment" "$scratch/err" 'REDIS_TIMEOUT is "soon"'

# Something of somebody's
echo "[$(row 0), $(row 1), $(row 2), $(row 3)]" | import GOOD

# The demo proves itself, twice, and with a file; and it fails when claims are broken.
demo() {
	tradekeep demo --candles 400 --log "$scratch/demo.log" "$@" >"$scratch/out" 2>"$scratch/err"
}
signals() {
	grep -c "^DEMO/USDT:" "$scratch/demo.log"
}
sql "DROP SCHEMA IF EXISTS tradekeep_demo CASCADE" 2>/dev/null
demo
check "demo" $? 0
check_says "demo: the verdict" "$scratch/out" 'exactly once'
check "demo: kills" "$(grep -c '^  killed ' "$scratch/out")" 4
check "demo: log and table agree" "$(signals)" "$(sql "SELECT count(DISTINCT signal_key) FROM tradekeep_demo.delivery")"
check "demo: signals" "$(($(signals) > 5))" 1
demo --seed 7
check "demo again" $? 0
many 0 300 | sed -E 's/, 2, ([0-9]+)\]/, \1, 10]/; s/ 9,/ 999,/' >"$scratch/feed.json"
demo --data "$scratch/feed.json"
check "a feed without a signal" $? 1
awk -v t=$T 'BEGIN { printf "["; for (i = 0; i < 300; i++) printf "%s[%.0f, 1, 9, 0.5, %.4f, 1]",
	(i ? "," : ""), t + i * 180000, 2 + sin(i / 9); print "]" }' >"$scratch/feed.json"
demo --data "$scratch/feed.json"
check "a feed with gaps" $? 0
echo "not a log" >"$scratch/mine"
demo --log "$scratch/mine"
check "somebody's file" "$? $(cat "$scratch/mine")" "1 not a log"
demo --symbol GOOD
check "somebody's symbol" "$? $(count GOOD)" "1 4"

answer="OUT claimed boolean, OUT expires_at timestamptz, OUT version bigint, OUT epoch bigint,
	OUT clock timestamptz) RETURN (true, NULL::timestamptz, 0::bigint, 0::bigint, now())"
sql "ALTER FUNCTION tradekeep.claim_publish_to_remember RENAME TO claim_publish_kept;
	ALTER FUNCTION tradekeep.should_process_candle_to_remember RENAME TO should_process_candle_kept;
	CREATE FUNCTION tradekeep.claim_publish_to_remember(text, timestamptz, interval, $answer;
	CREATE FUNCTION tradekeep.should_process_candle_to_remember(text, tradekeep.timeframe,
		timestamptz, interval, interval, $answer"
demo
check "demo with claims that always succeed" $? 1
check_says "says what is wrong" "$scratch/out" 'FAIL +acknowledged.*more than once'
check_says "says that it failed" "$scratch/out" 'The proof fails'
sql "DROP FUNCTION tradekeep.claim_publish_to_remember;
	DROP FUNCTION tradekeep.should_process_candle_to_remember;
	ALTER FUNCTION tradekeep.claim_publish_kept RENAME TO claim_publish_to_remember;
	ALTER FUNCTION tradekeep.should_process_candle_kept RENAME TO should_process_candle_to_remember"
demo
check "demo with its claims back" $? 0
sql "DROP SCHEMA tradekeep_demo CASCADE" 2>/dev/null
sql "TRUNCATE tradekeep.claim, tradekeep.candle"

# The libraries export what the header declares, and nothing else.
declared=$(grep -oE '\btk_[a-z_]+\(' "$client/tradekeep.h" | tr -d '(' | sort -u | tr '\n' ' ')
exported=$(nm -D --defined-only "$client"/libtradekeep.so.*.*.* | awk '{ print $3 }' | sort | tr '\n' ' ')
check "exported symbols" "$exported" \
	"$(for name in $declared; do nm -g --defined-only "$client/libtradekeep.a" | grep -ow "$name"; done | tr '\n' ' ')"

report "tradekeep command"
