#!/bin/bash
# `tradekeep import candles` of JSON against a real server: PG* or DATABASE_URL name it.
# Usage: import.sh DIRECTORY-OF-THE-CLIENT SCRATCH-DIRECTORY
# shellcheck source=tests/client/common.sh
. "$(dirname "$0")/common.sh"

sql "TRUNCATE tradekeep.candle"

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
	check "$1 skipped" "$? $(counts)" "4 3 2 0 0 0 1"
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
check "late, skipped" "$? $(counts)" "4 45001 5000 0 40000 0 1"

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
printf '{"candles": [%s]}]' "$(row 0)" | broken "an object with a bracket" 'not a JSON array'
printf '\377\376[\0' | broken "UTF-16" 'UTF-16'
head -c 100000 /dev/zero | tr '\0' '[' | sed 's/$/]/' | broken "only brackets" 'longer than|truncated'
tradekeep import candles "$scratch/none.json" --symbol S --timeframe 1m 2>"$scratch/err"
check "no file" $? 1
tradekeep import candles "$scratch" --symbol S --timeframe 1m 2>"$scratch/err"
check "a folder" $? 1
check_says "a folder" "$scratch/err" 'directory'
printf '[%s, %s' "$(row 0)" "$(row 1)" | tradekeep import candles - --symbol BROKEN --timeframe 1m \
	>"$scratch/out" 2>"$scratch/err"
check "a truncated pipe" "$? $(count BROKEN)" "1 0"

# Bad arguments of an import, by the server's own codes
echo "[$(row 0)]" | import "$(printf 'x%.0s' {1..513})"
check "a long symbol" $? 1
check_says "a long symbol" "$scratch/err" 'TK002'
echo "[$(row 0)]" >"$scratch/in"
tradekeep import candles "$scratch/in" --symbol S --timeframe 7m >"$scratch/out" 2>"$scratch/err"
check "7m" $? 1
check_says "7m" "$scratch/err" '22P02'
tradekeep import candles "$scratch/in" --symbol S --timeframe 1m --url host=/nonexistent \
	>"$scratch/out" 2>"$scratch/err"
check "nobody there" $? 3

sql "TRUNCATE tradekeep.candle"
report "tradekeep import"
