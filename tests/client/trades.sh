#!/bin/bash
# `tradekeep import trades` and `tradekeep stats` against a real server: PG* or DATABASE_URL name it.
# Usage: trades.sh DIRECTORY-OF-THE-CLIENT SCRATCH-DIRECTORY
# shellcheck source=tests/client/common.sh
. "$(dirname "$0")/common.sh"

# Imports what comes on standard input, with these options.
import_trades() {
	cat >"$scratch/in"
	tradekeep import trades "$scratch/in" --json "$@" >"$scratch/out" 2>"$scratch/err"
}

totals() { # trades, added, replaced, unchanged, conflicts, rejected
	sed -E 's/.*"trades": ([0-9]+), "added": ([0-9]+), "replaced": ([0-9]+), "unchanged": ([0-9]+), "conflicts": ([0-9]+), "rejected": ([0-9]+).*/\1 \2 \3 \4 \5 \6/' "$scratch/out"
}

ledger() { # bot: all that is stored of it, by id
	sql "SELECT string_agg(concat_ws(' ', trade_id, strategy, symbol, side, quantity, entry_price, exit_price, leverage,
		fee, extract(epoch FROM opened_at)::float8, extract(epoch FROM closed_at)::float8, pnl, pnl_ratio, exit_reason, data),
		', ' ORDER BY trade_id) FROM tradekeep.trade WHERE bot = '$1'"
}

forget() {
	sql "DELETE FROM tradekeep.trade WHERE bot = '$1'"
}

sql "TRUNCATE tradekeep.trade"

# What freqtrade's backtests export: the trades of each strategy, between much else
backtest() { # profit of the first
	cat <<-JSON
		{"metadata": {"S": {"run_id": "x", "trades": [{"no": "trade"}]}}, "note": "} ] \" {",
		"strategy": {"S": {"results": [[1, "]"], {"trades": 3}], "trades": [
		{"pair": "BTC/USDT:USDT", "stake_amount": 100.0, "amount": 0.03, "open_date": "2026-01-05 07:15:00+00:00",
		"close_date": "2026-01-05 08:15:00+00:00", "open_rate": 10000.0, "close_rate": 10100.0, "fee_open": 0.0005,
		"fee_close": 0.0005, "trade_duration": 60, "profit_ratio": 0.026985, "profit_abs": ${1:-2.6985}, "exit_reason": "roi",
		"is_open": false, "open_timestamp": 1767597300000, "is_short": false, "leverage": 3.0, "enter_tag": "a \"tag\"",
		"orders": [{"amount": 0.03, "ft_is_entry": true}]},
		{"pair": "ETH/USDT:USDT", "amount": 1.5, "open_date": "2026-01-05 09:00:00+00:00", "close_date": "2026-01-05 10:00:00+00:00",
		"open_rate": 100.0, "close_rate": 90.0, "profit_ratio": 0.09, "profit_abs": 13.5, "exit_reason": "exit_signal",
		"is_open": false, "is_short": true, "leverage": 1.0, "enter_tag": ""}],
		"daily_profit": [["2026-01-05", 16.2]]}, "größe \u00e9": {"trades": [
		{"pair": "BTC/USDT:USDT", "amount": 1, "open_date": "2026-01-05 07:15:00+00:00", "close_date": "2026-01-05 07:20:00+00:00",
		"open_rate": 1, "close_rate": 1, "profit_abs": -0.0, "sell_reason": "sell_signal", "is_open": false}]}, "empty": {"trades": []}},
		"strategy_comparison": [{"key": "S", "trades": 2}]}
	JSON
}
backtest | import_trades --bot bt
check "a backtest" "$? $(totals)" "0 3 3 0 0 0 0"
check "a backtest" "$(ledger bt)" "S:BTC/USDT:USDT:2026-01-05T07:15:00Z:LONG S BTC/USDT:USDT LONG 0.01 10000.0 10100.0 3.0 0.3015 1767597300 1767600900 2.6985 0.026985 roi {\"enter_tag\": \"a \\\"tag\\\"\"}, S:ETH/USDT:USDT:2026-01-05T09:00:00Z:SHORT S ETH/USDT:USDT SHORT 1.5 100.0 90.0 1.0 0 1767603600 1767607200 13.5 0.09 exit_signal {\"enter_tag\": \"\"}, größe é:BTC/USDT:USDT:2026-01-05T07:15:00Z:LONG größe é BTC/USDT:USDT LONG 1 1 1 1 0 1767597300 1767597600 0.0 sell_signal"
backtest | import_trades --bot bt
check "again" "$? $(totals)" "0 3 0 0 3 0 0"
backtest 2.7 | import_trades --bot bt
check "other figures stop" "$? $(totals)" "1 0 0 0 0 0 0"
check_says "other figures: which" "$scratch/err" 'row 0, line 3: trade "S:BTC/USDT:USDT:2026.* \[TK010\]'
backtest 2.7 | import_trades --bot bt --on-error=skip
check "other figures are a conflict" "$? $(totals)" "4 3 0 0 2 1 0"
check "a conflict changes nothing" "$(sql "SELECT pnl FROM tradekeep.trade WHERE bot = 'bt' AND trade_id ~ '^S:BTC'")" 2.6985
backtest 2.7 | import_trades --bot bt --replace
check "other figures replace" "$? $(totals)" "0 3 0 1 2 0 0"
check "replaced" "$(sql "SELECT pnl FROM tradekeep.trade WHERE bot = 'bt' AND trade_id ~ '^S:BTC'")" 2.7
backtest | import_trades --bot other
check "another bot's" "$? $(totals)" "0 3 3 0 0 0 0"

# What its REST interface answers, where trades have ids, and perhaps are open
live='{"trades": [
{"trade_id": 12, "pair": "XRP/BTC", "is_open": false, "strategy": "Own", "amount": 10, "open_date": "2026-01-05 07:15:00",
"close_date": "2026-01-05 08:15:00", "open_rate": 2, "close_rate": 3, "profit_abs": 9.9, "close_profit_abs": 9.9, "is_short": false,
"leverage": null, "fee_open_cost": 0.05, "exit_reason": "roi", "buy_tag": null},
{"trade_id": 13, "pair": "XRP/BTC", "is_open": true, "amount": 10, "open_timestamp": 1767597300000, "open_rate": 2,
"close_date": null, "close_rate": null, "profit_abs": 1.5, "profit_ratio": 0.1, "fee_close": 0.1, "is_short": true, "exit_reason": ""}],
"trades_count": 2, "offset": 0, "total_trades": 2}'
import_trades --bot live --strategy default <<<"$live"
check "REST" "$? $(totals)" "0 2 2 0 0 0 0"
check "REST" "$(ledger live)" "12 Own XRP/BTC LONG 10 2 3 1 0 1767597300 1767600900 9.9 roi, 13 default XRP/BTC SHORT 10 2 1 0 1767597300"

# JSON of one's own: exact to the last digit, the best name of several, null as if it was not there
import_trades <<-'JSON'
	[{"trade_id": "1", "bot": "own", "symbol": "A", "side": "long", "quantity": 0.123456789012345678901, "entry_price": "100",
	"exit_price": 1e2, "opened_at": 1767597300.25, "closed_at": "2026-01-05T09:00:00.000001+01:00",
	"pnl": 1234567890123456789.000000000000000001, "pair": "B", "id": 7, "data": {"list": [1, {"a": "]}"}]}, "what": {"else": [null]}},
	{"id": 2, "bot": "own", "symbol": null, "pair": "B", "direction": "Sell", "Quantity": 2, "entryPrice": 10, "close price": 8,
	"fees": 0.5, "Open-Time": 1767597300000, "close_time": 1767597300000000, "data": null, "buy_tag": 1}]
JSON
check "JSON" "$? $(totals)" "0 2 2 0 0 0 0"
check "JSON" "$(ledger own)" '1 A LONG 0.123456789012345678901 100 100 1 0 1767597300.25 1767600000.000001 1234567890123456789.000000000000000001 {"list": [1, {"a": "]}"}]}, 2 B SHORT 2 10 8 1 0.5 1767597300 1767597300 3.5 0.175 {"enter_tag": 1}'

# CSV: the same, also gzipped, quoted, in several files, from a pipe
csv='Trade ID,Bot,SYMBOL,Direction,Qty,quantity,open_price,exit_price,opened_at,Close Time,exit_reason,data,is_open
1,csv,BTC/USDT,Buy,9,0.5,100,102.000000000000000000001,2026-01-05T07:15:00Z,1767600900,"say ""no"", \ {}","{""k"": [1]}",
2,csv,BTC/USDT,short,9,0.5,100,102,2026-01-05T07:15:00Z,1767600900,roi,,true'
import_trades <<<"$csv"
check "CSV" "$? $(totals)" "0 2 2 0 0 0 0"
check "CSV" "$(ledger csv)" '1 BTC/USDT LONG 0.5 100 102.000000000000000000001 1 0 1767597300 1767600900 1.0000000000000000000005 0.02 say "no", \ {} {"k": [1]}, 2 BTC/USDT SHORT 0.5 100 1 0 1767597300'
printf '%s\n%s\n' "$csv" "$csv" | gzip | tradekeep import trades - --json >"$scratch/out"
check "CSV twice in one, gzipped, from a pipe" "$? $(totals)" "0 4 0 0 4 0 0"
printf 'symbol,side,quantity,entry_price,opened_at\nX,LONG,1,2,2026-01-05\n' | tradekeep import trades - --bot plain >"$scratch/out"
check_says "plain summary" "$scratch/out" '^added +1$'
check "an id of its own" "$(sql "SELECT trade_id FROM tradekeep.trade WHERE bot = 'plain'")" "X:2026-01-05T00:00:00Z:LONG"

# Many, in several chunks; and two in a file that contradict each other, in one chunk and in two
many_trades() { # from, to
	awk -v from="$1" -v to="$2" 'BEGIN { print "trade_id,symbol,side,quantity,entry_price,exit_price,opened_at,closed_at"
		for (i = from; i < to; i++) printf "%d,S%d,LONG,1,1,%d,1767597300,%d\n", i, i % 7, i % 5, 1767597300 + i }'
}
many_trades 0 12000 | import_trades --bot many
check "many" "$? $(totals)" "0 12000 12000 0 0 0 0"
many_trades 11000 13000 | import_trades --bot many
check "partly new" "$? $(totals)" "0 2000 1000 0 1000 0 0"
for distance in 10 6000; do
	forget twice
	{ many_trades 0 $distance; echo "0,S0,LONG,1,1,3,1767597300,1767597300"; many_trades $distance 7000; } | import_trades --bot twice
	check "two of a key stop, $distance apart" "$?" 1
	check_says "two of a key: which is the second" "$scratch/err" "in: line $((distance + 2)): .*\[TK010\]"
	check "two of a key: whole chunks" "$(sql "SELECT count(*) FROM tradekeep.trade WHERE bot = 'twice'")" \
		$((distance > 5000 ? 5000 : 0))
done
forget twice
{ many_trades 0 10; echo "0,S0,LONG,1,1,3,1767597300,1767597300"; } | import_trades --bot twice --on-error=skip
check "two of a key: the first stays" "$? $(totals)" "4 11 10 0 0 1 0"
{ many_trades 20 30; echo "20,S0,LONG,1,1,3,1767597300,1767597300"; } | import_trades --bot twice --replace
check "two of a key: the last wins" "$? $(totals) $(sql "SELECT exit_price FROM tradekeep.trade WHERE bot = 'twice' AND trade_id = '20'")" "0 11 10 1 0 0 0 3"

# Bad trades stop the import, or are left out: in JSON and, where it can be said there, in CSV
good='{"trade_id": "g", "symbol": "A", "side": "LONG", "quantity": 1, "entry_price": 1, "exit_price": 2, "closed_at": 1767600900}'
bad() { # what, SQLSTATE, the trade
	printf '[%s,\n%s,\n%s]' "$good" "$3" "${good/\"g\"/\"h\"}" | import_trades --bot bad
	check "$1 stops" $? 1
	check_says "$1: where and why" "$scratch/err" "row 1, line 2: .*\[$2\]"
	check "$1: nothing stored" "$(ledger bad)" ""
	printf '[%s,\n%s,\n%s]' "$good" "$3" "${good/\"g\"/\"h\"}" | import_trades --bot bad --on-error=skip
	check "$1 skipped" "$? $(totals)" "4 3 2 0 0 0 1"
	forget bad
}
with() { # name, value of JSON: the good one with that instead
	echo "${good/\"g\"/\"b\"}" | sed -E "s|\}|, \"$1\": $2}|"
}
bad "a number alone" TK006 7
bad "an array" TK006 '[1]'
bad "no JSON" TK006 '{"trade_id": }'
bad "NaN" TK006 "$(with pnl NaN)"
bad "NaN as text" TK009 "$(with pnl '"NaN"')"
bad "infinity" TK009 "$(with fee '"-Infinity"')"
bad "beyond its digits" TK009 "$(with pnl 1e999)"
bad "no number" 22P02 "$(with fee '"1,5"')"
bad "an object for a price" TK006 "$(with entry_price '{"a": 1}')"
bad "no symbol" TK002 '{"trade_id": "b", "side": "LONG", "closed_at": 1, "pnl": 1}'
bad "nothing" TK002 '{}'
bad "no side" TK009 '{"trade_id": "b", "symbol": "A"}'
bad "another side" TK009 "$(with side '"up"')"
bad "no quantity" TK009 "$(with quantity 0)"
bad "a leverage of 0" TK009 "$(with amount 3 | sed 's/"quantity": 1, //; s/}/, "leverage": 0}/')"
bad "no pnl" TK009 '{"trade_id": "b", "symbol": "A", "side": "LONG", "closed_at": 1767600900}'
bad "closed before it was opened" TK009 "$(with opened_at 1767600901)"
bad "half closed" TK009 "$(with x 1 | sed 's/"closed_at": [0-9]*, //')"
bad "a word for a time" TK004 "$(with opened_at '"now"')"
bad "the year 2200" TK004 "$(with closed_at '"2200-01-01"')"
bad "a word for is_open" TK006 "$(with is_open '"perhaps"')"
bad "a long id" TK002 "$(with trade_id "\"$(printf 'x%.0s' {1..513})\"")"
bad "no UTF-8" 22021 "$(with exit_reason $'"\377"')"
bad "a zero byte in a string" 22P05 "$(with exit_reason '"\\u0000"')"
bad "half a surrogate" TK006 "$(with exit_reason '"\\ud800"')"
H=trade_id,symbol,side,quantity,entry_price,exit_price,closed_at,data
for line in "1,A,LONG,1" "1,A,LONG,x,1,2,1767600900," "1,A,LONG,1,1,2,never," '1,A,LONG,1,1,2,1767600900,{' \
	'1,A,LONG,1,1,2,1767600900,"1}, {""trade_id"": 2"' '1,A,LONG,1,1,2,1767600900,"{}' $'1,A\377,LONG,1,1,2,1767600900,'; do
	printf '%s\n0,A,LONG,1,1,2,1767600900,\n%s\n2,A,LONG,1,1,2,1767600900,\n' "$H" "$line" | import_trades --bot bad --on-error=skip
	check "the line '$line'" "$? $(totals)" "4 3 2 0 0 0 1"
	check_says "the line '$line'" "$scratch/err" 'in: line 3: .*\[(TK00[46]|22P02|22021)\]'
	forget bad
done
many_trades 0 6000 | sed '$ s/LONG/DOWN/' | import_trades --bot late
check "in a late chunk" "$? $(sql "SELECT count(*) FROM tradekeep.trade WHERE bot = 'late'")" "1 5000"
check_says "in a late chunk: where" "$scratch/err" 'in: line 6001: .*\[TK009\]'
many_trades 0 300 | sed 's/LONG,1,1,4/LONG,1,x,4/' | import_trades --bot skip --on-error=skip
check "many bad ones" "$? $(totals)" "4 300 240 0 0 0 60"
check "many bad ones: shown" "$(grep -c ': line [0-9]*: ' "$scratch/err")" 10
check_says "many bad ones: the rest" "$scratch/err" 'more bad rows'
printf '[{"trade_id": 1, "symbol": "\\u001b[31m\033[31m", "side": "\033c"}]' | import_trades
check "no escape reaches the terminal" "$? $(grep -c $'\033' "$scratch/err")" "1 0"

# Files that hold no trades, or are cut short, or are something else
broken() { # what, pattern
	import_trades --bot broken --on-error=skip
	check "$1" $? 1
	check_says "$1" "$scratch/err" "$2"
	check "$1: nothing stored" "$(ledger broken)" ""
}
printf '' | broken "empty" 'empty'
printf ' \n' | broken "blank" 'empty'
printf '[%s, %s' "$good" "$good" | broken "without its end" 'truncated'
backtest | head -c 800 | broken "a backtest cut short" 'truncated|missing|no JSON'
backtest | head -c -30 | gzip | broken "cut short before it was zipped" 'truncated'
printf '[%s {}]' "$good" | broken "a comma missing" 'missing after row 0'
printf '[%s] []' "$good" | broken "two arrays" 'follows'
printf '{"trades": [%s]} {}' "$good" | broken "two objects" 'follows'
printf '{"trades" [%s]}' "$good" | broken "a colon missing" 'not JSON'
printf '{"trades": [] "x": 1}' | broken "a comma missing in an object" 'not JSON'
printf '{"trades": {"a": 1}, "x": []}' | broken "no trades" 'no array of trades'
printf '{"strategy": {"S": {"trade": []}}}' | broken "no trades of a strategy" 'no array of trades'
printf '{"strategy": {"\\x": {"trades": [%s]}}}' "$good" | broken "no name of a strategy" 'no name'
printf 'a;b;c\n1;2;3\n' | broken "semicolons" 'no column is named "symbol"'
printf 'symbol,pair,Symbol\n' | broken "two symbols" 'two columns are named'
printf 'PK\3\4\0\0' | broken "a zip file" 'unzip -p'
many_trades 0 100 | gzip | head -c -20 | broken "gzip cut short" 'truncated'
printf '[{"data": "%s"}]' "$(head -c 70000 /dev/zero | tr '\0' x)" | broken "too long" 'longer than'
tradekeep import trades "$scratch/none" 2>"$scratch/err"
check "no file" $? 1
tradekeep import trades "$scratch/in" --url host=/nonexistent >"$scratch/out" 2>"$scratch/err"
check "nobody there" $? 3
for wrong in "import trades" "import trades a b" "import trades x --on-error=maybe" "import trades x --symbol A" \
	"stats x" "stats --at never" "stats --no"; do
	# shellcheck disable=SC2086
	tradekeep $wrong >"$scratch/out" 2>"$scratch/err"
	check "usage '$wrong'" $? 2
done
tradekeep import trades --help >"$scratch/out"
check_says "help" "$scratch/out" '^Conflicts:'

# What they amount to: exactly, the same as SQL says, in each form
sql "DELETE FROM tradekeep.trade WHERE bot NOT IN ('bt', 'own')"
statistics() {
	tradekeep stats "$@" >"$scratch/out" 2>"$scratch/err"
}
statistics
check "stats" $? 0
check "all metrics" "$(wc -l <"$scratch/out")" 24
check "exact" "$(awk '$1 == "total_pnl" { print $2 }' "$scratch/out")" "$(sql "SELECT sum(pnl) FROM tradekeep.trade")"
check "not defined" "$(awk '$1 == "calmar" { print $2 }' "$scratch/out")" -
check "no colours in a file" "$(grep -c $'\033' "$scratch/out")" 0
statistics --symbol BTC/USDT:USDT --strategy S --bot bt --balance 100 --json
check "JSON" "$(psql -XAtq -v j="$(cat "$scratch/out")" ${DATABASE_URL:+"$DATABASE_URL"} <<<"SELECT concat_ws(' ', j -> 'trades', j -> 'total_pnl',
	j -> 'average_holding', j -> 'sortino', j -> 'max_drawdown_ratio', j -> 'top_symbols' -> 0 -> 'symbol', (SELECT count(*) FROM jsonb_object_keys(j)))
	FROM (SELECT :'j'::jsonb) AS t(j)")" '1 2.7 3600000 null 0 "BTC/USDT:USDT" 24'
statistics --by symbol --json
check "JSON by symbol" "$(psql -XAtq -v j="$(cat "$scratch/out")" ${DATABASE_URL:+"$DATABASE_URL"} <<<"SELECT string_agg(concat_ws(' ', t ->> 'value', t -> 'trades'), ', ')
	FROM jsonb_array_elements(:'j') AS t")" "A 1, B 1, BTC/USDT:USDT 2, ETH/USDT:USDT 1"
statistics --by bot --period '1 hour' --at 2026-01-05T08:30:00+00:00
check "by bot, in an hour" "$? $(awk '{ print $1, $2, $4 }' "$scratch/out" | tr '\n' ',')" "0 value trades %,bt 1 2.7,own 1 1234567890123456789,"
statistics --by exit_reason
check "without a value" "$(awk '$1 == "-" { print $2 }' "$scratch/out")" 2
statistics --bot nobody --json
check "nothing" "$? $(grep -o '"trades":0' "$scratch/out")" '0 "trades":0'
statistics --bot nobody --by symbol --json
check "nothing by symbol" "$? $(cat "$scratch/out")" "0 []"
for wrong in "--period soon 22007" "--period -1day TK003" "--balance 0 TK009" "--balance x 22P02" "--by moon 22023" "--period soon --json 22007"; do
	# shellcheck disable=SC2086
	statistics ${wrong% *}
	check "stats $wrong" $? 1
	check_says "stats $wrong" "$scratch/err" "\[${wrong##* }\]"
done
statistics --url host=/nonexistent
check "stats of nobody" $? 3

# On a terminal: in colours unless they are unwanted, and what a symbol holds is not obeyed
sql "INSERT INTO tradekeep.trade (trade_id, bot, symbol, side, closed_at, pnl) VALUES ('x', 'evil', E'a\033[31mb', 'LONG', '2026-01-05', 5)"
on_terminal() { # options
	script -qec "$client/tradekeep stats $*" /dev/null </dev/null >"$scratch/out"
}
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
	on_terminal --bot bt --balance 100
	check_says "a terminal" "$scratch/out" $'Net +\033\\[32m +16\\.2'
	check_says "a terminal: percent" "$scratch/out" 'Win rate .* 66.67 %'
	NO_COLOR=1 on_terminal --bot evil
	check_says "a symbol that is no symbol" "$scratch/out" 'a\?\[31mb +5'
	check "without colours" "$(grep -c $'\033' "$scratch/out")" 0
else
	echo "no script(1), or no terminals: what a terminal shows was not checked"
fi

sql "TRUNCATE tradekeep.trade"
report "tradekeep trades"
