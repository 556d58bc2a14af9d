#!/bin/bash
# The command `tradekeep` against a real server: PG* or DATABASE_URL name it.
# Usage: command.sh DIRECTORY-OF-THE-CLIENT SCRATCH-DIRECTORY
set -u

client=$1
scratch=$(mktemp -d "$2/command.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0

tradekeep() {
	# shellcheck disable=SC2086
	${CHECK_WRAPPER:-} "$client/tradekeep" "$@"
}

sql() {
	psql -XAtq ${DATABASE_URL:+"$DATABASE_URL"} -c "$1"
}

check() { # what, actual, expected
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'command.sh: failed: %s\n    is %s, not %s\n' "$1" "$2" "$3"
	fi
}

check_says() { # what, file, pattern
	if grep -qE -- "$3" "$2"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'command.sh: failed: %s\n    no %s in: %s\n' "$1" "$3" "$(cat "$2")"
	fi
}

# Imports what comes on standard input under the symbol $1; the rest are options.
import() {
	local symbol=$1
	shift
	cat >"$scratch/in.json"
	tradekeep import candles "$scratch/in.json" --symbol "$symbol" --timeframe 1m --json "$@" \
		>"$scratch/out" 2>"$scratch/err"
}

count() {
	sql "SELECT count(*) FROM tradekeep.candle WHERE symbol = '$1'"
}

counts() {
	sed -E 's/.*"rows": ([0-9]+), "inserted": ([0-9]+), "updated": ([0-9]+), "unchanged": ([0-9]+), "ignored": ([0-9]+), "rejected": ([0-9]+).*/\1 \2 \3 \4 \5 \6/' "$scratch/out"
}

T=1700000040000
row() { # minutes after T, close
	printf '[%s, 1, 9, 0.5, %s, 10]' $((T + $1 * 60000)) "${2:-2}"
}

sql "TRUNCATE tradekeep.claim, tradekeep.candle"

# Help and usage
for subcommand in "" health import demo; do
	# shellcheck disable=SC2086
	tradekeep $subcommand --help >"$scratch/out"
	check "help for '$subcommand'" $? 0
	check_says "help for '$subcommand'" "$scratch/out" '^Exit codes|Exit codes:'
done
check "version" "$(tradekeep --version)" \
	"tradekeep $(sed -n 's/^#define TRADEKEEP_VERSION "\(.*\)"/\1/p' "$client/tradekeep.h")"
for wrong in "" "nothing" "health extra" "health --no" "import" "import candles x" \
	"import candles x --symbol S" "import candles x --symbol S --timeframe 1m --on-error=maybe" \
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

# Good files, once and again
echo "[$(row 0), $(row 1), $(row 2)]" | import GOOD
check "import" $? 0
check "import" "$(counts)" "3 3 0 0 0 0"
echo "[$(row 0), $(row 1), $(row 2)]" | import GOOD
check "again" "$(counts)" "3 0 0 3 0 0"
echo "[$(row 0), $(row 1 3), $(row 3)]" | import GOOD
check "partly new" "$(counts)" "3 1 1 1 0 0"
check "what was stored" "$(sql "SELECT string_agg(close::text, ' ' ORDER BY ts) FROM tradekeep.candle WHERE symbol = 'GOOD'")" "2 3 2 2"
echo "[]" | import NONE
check "no rows" "$? $(counts)" "0 0 0 0 0 0 0"
printf ' \n[\n %s\n,\n%s\n]\n' "$(row 0)" "[\"$((T + 60000))\", \"1\", \"9\", \"0.5\", \"2e0\", \"10\"]" | import STRINGS
check "strings and blanks" "$? $(counts)" "0 2 2 0 0 0 0"
echo "[$(row 2), $(row 0), $(row 1), $(row 0 4), $(row 2)]" | import ORDER
check "duplicated and unordered" "$? $(counts)" "0 5 3 1 1 0 0"
check "the later of two wins" "$(sql "SELECT close FROM tradekeep.candle WHERE symbol = 'ORDER' ORDER BY ts LIMIT 1")" 4
echo "[$(row 0)]" | tradekeep import candles - --symbol PIPE --timeframe 1m >"$scratch/out"
check "standard input" "$? $(count PIPE)" "0 1"
check_says "plain summary" "$scratch/out" '^inserted +1$'

# A candle whose minute is not over is open; once it is final, its open form is ignored.
minute=$(($(date +%s) / 60))
now=$((minute * 60000))
echo "[[$((now - 120000)), 1, 1, 1, 1, 1], [$((now + 600000)), 1, 1, 1, 1, 1]]" | import OPEN
check "open" "$(sql "SELECT string_agg(closed::text, ' ' ORDER BY ts) FROM tradekeep.candle WHERE symbol = 'OPEN'")" "true false"
sql "UPDATE tradekeep.candle SET closed = true WHERE symbol = 'OPEN'"
echo "[[$((now + 600000)), 1, 1, 1, 1, 1]]" | import OPEN
check "final stays" "$(counts)" "1 0 0 0 1 0"

# Many rows: several chunks, with a row in the third that exists
many() { # from, to
	awk -v t=$T -v from="$1" -v to="$2" 'BEGIN { printf "["; for (i = from; i < to; i++)
		printf "%s[%.0f, 1, 9, 0.5, 2, %d]", (i > from ? ",\n" : ""), t + i * 60000, i; print "]" }'
}
many 45000 45001 | import MANY
many 0 90000 | import MANY
check "many" "$? $(counts)" "0 90000 89999 0 1 0 0"
check "many" "$(count MANY)" 90000

# Bad rows stop the import, or are left out
bad() { # what, SQLSTATE, the row
	printf '[%s,\n%s,\n%s]' "$(row 0)" "$3" "$(row 2)" | import BAD
	check "$1 stops" $? 1
	check_says "$1: where and why" "$scratch/err" "row 1, line 2: .*\[$2\]"
	check "$1: nothing stored" "$(count BAD)" 0
	printf '[%s,\n%s,\n%s]' "$(row 0)" "$3" "$(row 2)" | import BAD --on-error=skip
	check "$1 skipped" "$? $(counts)" "0 3 2 0 0 0 1"
	check "$1: the others stored" "$(count BAD)" 2
	sql "DELETE FROM tradekeep.candle WHERE symbol = 'BAD'"
}
t1=$((T + 60000))
bad "five values" TK006 "[$t1, 1, 1, 1, 1]"
bad "seven values" TK006 "[$t1, 1, 1, 1, 1, 1, 1]"
bad "an object" TK006 '{"t": 1}'
bad "a number alone" TK006 '7'
bad "null" TK006 "[$t1, 1, 1, 1, 1, null]"
bad "a word" TK006 "[$t1, 1, 1, 1, 1, \"many\"]"
bad "an empty string" TK006 "[$t1, 1, 1, 1, 1, \"\"]"
bad "a number and a word" TK006 "[$t1, 1, 1, 1, 1, \"1 lot\"]"
bad "hexadecimal" TK006 "[$t1, 1, 1, 1, 1, \"0x10\"]"
bad "bare NaN" TK006 "[$t1, 1, 1, 1, NaN, 1]"
bad "bare Infinity" TK006 "[$t1, 1, Infinity, 1, 1, 1]"
bad "NaN" TK005 "[$t1, 1, 1, 1, \"NaN\", 1]"
bad "Infinity" TK005 "[$t1, 1, \"Infinity\", 1, 1, 1]"
bad "beyond a double" TK005 "[$t1, 1, 1e999, 1, 1, 1]"
bad "high < low" TK005 "[$t1, 1, 1, 2, 1, 1]"
bad "close outside" TK005 "[$t1, 1, 2, 1, 3, 1]"
bad "negative volume" TK005 "[$t1, 1, 1, 1, 1, -1]"
bad "off the grid" TK004 "[$((t1 + 1)), 1, 1, 1, 1, 1]"
bad "a fraction of a millisecond" TK004 "[$t1.5, 1, 1, 1, 1, 1]"
bad "the year 30000" TK004 "[884541340800000, 1, 1, 1, 1, 1]"
bad "beyond any time" TK004 "[1e300, 1, 1, 1, 1, 1]"
bad "invalid UTF-8" 22021 "$(printf '[%s, 1, 1, 1, 1, "\377"]' $t1)"
bad "nested" TK006 "[[$t1, 1, 1, 1, 1, 1]]"

# In a late chunk: what came before stays, nothing of the chunk itself
{ many 0 45000 | sed '$ s/]$/,/'; echo "[$t1, 1, 1, 2, 1, 1]]"; } | import LATE
check "late" $? 1
check "late: the chunks before" "$(count LATE)" 40000
check_says "late: where" "$scratch/err" 'row 45000, line 45001: '
{ many 0 45000 | sed '$ s/]$/,/'; echo "[$t1, 1, 1, 2, 1, 1]]"; } | import LATE --on-error=skip
check "late, skipped" "$? $(counts)" "0 45001 5000 0 40000 0 1"

# Files that are no array of rows
broken() { # what, pattern
	import BROKEN
	check "$1" $? 1
	check_says "$1" "$scratch/err" "$2"
	check "$1: nothing stored" "$(count BROKEN)" 0
}
printf '' | broken "empty" 'empty'
printf ' \n ' | broken "blank" 'empty'
printf '[%s, %s' "$(row 0)" "$(row 1)" | broken "without its end" 'truncated'
printf '[%s, [1700000100000, 1' "$(row 0)" | broken "truncated in a row" 'truncated'
printf '[%s,]' "$(row 0)" | broken "a comma too many" 'row 1, line 1: nothing'
printf '[%s %s]' "$(row 0)" "$(row 1)" | broken "a comma missing" 'missing after row 0'
printf '[%s] [%s]' "$(row 0)" "$(row 1)" | broken "two arrays" 'follows'
printf '{"candles": [%s]}' "$(row 0)" | broken "an object" 'not an array|truncated'
printf 'ts,open\n1,2\n' | broken "CSV" 'not an array|truncated'
printf '\377\376[\0' | broken "UTF-16" 'not an array|truncated'
head -c 100000 /dev/zero | tr '\0' '[' | sed 's/$/]/' | broken "only brackets" 'longer than|truncated'
tradekeep import candles "$scratch/none.json" --symbol S --timeframe 1m 2>"$scratch/err"
check "no file" $? 1
printf '[%s, %s' "$(row 0)" "$(row 1)" | tradekeep import candles - --symbol BROKEN --timeframe 1m \
	>"$scratch/out" 2>"$scratch/err"
check "a truncated pipe" "$? $(count BROKEN)" "1 0"

# Bad arguments of an import, by the server's own codes
echo "[$(row 0)]" | import "$(printf 'x%.0s' {1..513})"
check "a long symbol" $? 1
check_says "a long symbol" "$scratch/err" 'TK002'
echo "[$(row 0)]" >"$scratch/in.json"
tradekeep import candles "$scratch/in.json" --symbol S --timeframe 7m >"$scratch/out" 2>"$scratch/err"
check "7m" $? 1
check_says "7m" "$scratch/err" '22P02'
tradekeep import candles "$scratch/in.json" --symbol S --timeframe 1m --url host=/nonexistent \
	>"$scratch/out" 2>"$scratch/err"
check "nobody there" $? 3

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

sql "ALTER FUNCTION tradekeep.claim_publish RENAME TO claim_publish_kept;
	ALTER FUNCTION tradekeep.should_process_candle RENAME TO should_process_candle_kept;
	CREATE FUNCTION tradekeep.claim_publish(text, timestamptz, interval) RETURNS boolean
		RETURN true;
	CREATE FUNCTION tradekeep.should_process_candle(text, tradekeep.timeframe, timestamptz,
		interval, interval) RETURNS boolean RETURN true"
demo
check "demo with claims that always succeed" $? 1
check_says "says what is wrong" "$scratch/out" 'FAIL +acknowledged.*more than once'
check_says "says that it failed" "$scratch/out" 'The proof fails'
sql "DROP FUNCTION tradekeep.claim_publish; DROP FUNCTION tradekeep.should_process_candle;
	ALTER FUNCTION tradekeep.claim_publish_kept RENAME TO claim_publish;
	ALTER FUNCTION tradekeep.should_process_candle_kept RENAME TO should_process_candle"
demo
check "demo with its claims back" $? 0
sql "DROP SCHEMA tradekeep_demo CASCADE" 2>/dev/null
sql "TRUNCATE tradekeep.claim, tradekeep.candle"

# The libraries export what the header declares, and nothing else.
declared=$(grep -oE '\btk_[a-z_]+\(' "$client/tradekeep.h" | tr -d '(' | sort -u | tr '\n' ' ')
exported=$(nm -D --defined-only "$client"/libtradekeep.so.*.*.* | awk '{ print $3 }' | sort | tr '\n' ' ')
check "exported symbols" "$exported" \
	"$(for name in $declared; do nm -g --defined-only "$client/libtradekeep.a" | grep -ow "$name"; done | tr '\n' ' ')"

echo "tradekeep command: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
