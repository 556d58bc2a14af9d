#!/bin/bash
# `tradekeep import candles` of CSV and of what is gzipped, and `tradekeep export candles`, against
# a real server: PG* or DATABASE_URL name it.
# Usage: csv.sh DIRECTORY-OF-THE-CLIENT SCRATCH-DIRECTORY
# shellcheck source=tests/client/common.sh
. "$(dirname "$0")/common.sh"

export_candles() {
	tradekeep export candles "$@" 2>"$scratch/err"
}

stored() { # symbol: what is stored of it, oldest first
	sql "SELECT string_agg(format('%s %s %s %s %s %s %s %s', timeframe, extract(epoch FROM ts)::bigint,
		open, high, low, close, volume, closed), ', ' ORDER BY timeframe, ts)
		FROM tradekeep.candle WHERE symbol = '$1'"
}

sql "TRUNCATE tradekeep.candle"
bar="1 9 0.5 2 10"
H=ts,open,high,low,close,volume

# A header in any order and any case, quotes, CRLF, a BOM, blank lines, no line end at the end
printf '\357\273\277Close,"Open Time",OPEN,"high",low, Volume ,"of, no ""use"""\r\n2,%s,1,9,0.5,10,x\r\n\r\n \r\n"2", %s ,"1",9,0.5,10,"a, ""b""\r\nc"' \
	$T $((T + 60000)) | import SHAPES
check "shapes" "$? $(counts)" "0 2 2 0 0 0 0"
check "shapes" "$(stored SHAPES)" "1m 1700000040 $bar t, 1m 1700000100 $bar t"

# All names and kinds of times are one and the same
for name in ts TS timestamp Open_Time time datetime date; do
	for time in 1700000040 1700000040000 1700000040000000 1700000040000000000 1700000040.000 \
		1.70000004e12 2023-11-14T22:14:00Z 2023-11-14T22:14 "2023-11-14 22:14:00.000000" \
		2023-11-14T22:14:00+00:00 2023-11-14T23:44:00+0130 "2023-11-14 21:14:00 -01:00" \
		"2023-11-14 22:14:00 UTC" 20231114T22:14; do
		printf '%s,open,high,low,close,volume\n%s,1,9,0.5,2,10\n' "$name" "$time"
	done
done | awk '/open/ { if (!header[$0]++) { if (file) close(file); file = "'"$scratch"'/times." ++n } else next }
	{ print >file }'
for file in "$scratch"/times.*; do
	import TIMES <"$file"
	check "times of $(head -c 9 "$file")" "$? $(sed 's/.*"rows": \([0-9]*\).*"rejected": \([0-9]*\).*/\1 \2/' "$scratch/out")" "0 14 0"
done
check "one time" "$(stored TIMES)" "1m 1700000040 $bar t"
printf '%s\n2023-02-28,1,1,1,1,1\n20240229,1,1,1,1,1\n' $H | import_file --symbol DAYS --timeframe 1d
check "dates" "$(stored DAYS)" "1d 1677542400 1 1 1 1 1 t, 1d 1709164800 1 1 1 1 1 t"
printf 'date,timestamp,open,high,low,close,volume\nyesterday,%s,1,9,0.5,2,10\n' $T | import BETTER
check "the better of two times" "$(stored BETTER)" "1m 1700000040 $bar t"

# Symbols and timeframes of the file's own, in any order; and what the command line says instead
mixed="symbol,interval,$H
A,1m,1700000040,1,9,0.5,2,10
\"B,\"\"1\"\"\",1m,1700000040,1,9,0.5,2,10
A,1h,1699999200,1,9,0.5,2,10
A,1m,1700000100,1,9,0.5,2,10"
import_file <<<"$mixed"
check "mixed" "$? $(counts)" "0 4 4 0 0 0 0"
check "mixed" "$(stored A)" "1m 1700000040 $bar t, 1m 1700000100 $bar t, 1h 1699999200 $bar t"
check "mixed" "$(stored 'B,"1"')" "1m 1700000040 $bar t"
import_file <<<"$mixed"
check "mixed again" "$? $(counts)" "0 4 0 0 4 0 0"
import_file --symbol C <<<"$mixed"
check "several symbols as one" "$? $(count C)" "1 0"
check_says "several symbols as one" "$scratch/err" 'line 3: symbol is "B,"1"" after "A".*\[TK006\]'
import_file --symbol C --timeframe 1m <<<"$(grep -v '"' <<<"$mixed")"
check_says "several timeframes as one" "$scratch/err" 'line 3: timeframe is "1h" after "1m".*\[TK006\]'
printf 'symbol,%s\nBTCUSDT,%s,1,9,0.5,2,10\n' $H $T | import BTC/USDT
check "a symbol renamed" "$(count BTCUSDT) $(stored BTC/USDT)" "0 1m 1700000040 $bar t"
import_file --timeframe 1m <<<"$(printf '%s\n%s,1,9,0.5,2,10\n' $H $T)"
check "no symbol anywhere" $? 2

# Many symbols in turn, over several chunks
awk 'BEGIN { print "symbol,ts,open,high,low,close,volume"; for (i = 0; i < 45000; i++)
	printf "TURN%d,%d,1,9,0.5,2,%d\n", i % 30, 1600000020 + i * 60, i }' |
	import_file --timeframe 1m
check "in turn" "$? $(counts)" "0 45000 45000 0 0 0 0"
check "in turn" "$(sql "SELECT count(*) FROM tradekeep.candle
	WHERE symbol = 'TURN' || volume::int % 30 AND ts = to_timestamp(1600000020 + 60 * volume)")" 45000

# Binance's files: ms, and since 2025 us; with the header of the futures, in a file of several too
spot="1700000040000,1,9,0.5,2,10,1700000099999,1,308,1,1,0
1700000100000000,1,9,0.5,2,10,1700000159999999,1,2631,1,1,0"
futures="open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore
1700000040000,1,9,0.5,2,10,1700000099999,1,308,1,1,0"
import SPOT <<<"$spot"
check "spot" "$? $(stored SPOT)" "0 1m 1700000040 $bar t, 1m 1700000100 $bar t"
import FUTURES <<<"$futures"
check "futures" "$? $(stored FUTURES)" "0 1m 1700000040 $bar t"
printf '%s\n%s\n' "$futures" "$futures" | import FUTURES
check "two files in one" "$? $(counts)" "0 2 0 0 2 0 0"
printf '%s,1,9,0.5,2,10\n' $T | import SIX
check "six columns" "$? $(stored SIX)" "0 1m 1700000040 $bar t"

# Open or final: as the file says, else by close_time, else by the clock
now=$(($(date +%s) / 60 * 60))
future=$(((now + 600) * 1000))
printf '%s,1,9,0.5,2,10,%s,1,1,1,1,0\n' $T $((T + 59999)) $future $((future + 59999)) \
	$((T + 60000)) $((future + 59999)) | import CLOSE_TIME
check "by close_time" "$(sql "SELECT string_agg(closed::text, ' ' ORDER BY ts) FROM tradekeep.candle WHERE symbol = 'CLOSE_TIME'")" "true false false"
printf '%s\n%s,1,9,0.5,2,10\n%s,1,9,0.5,2,10\n' $H $T $future | import CLOCK
check "by the clock" "$(sql "SELECT string_agg(closed::text, ' ' ORDER BY ts) FROM tradekeep.candle WHERE symbol = 'CLOCK'")" "true false"
{
	echo "$H,closed"
	i=0
	for closed in true FALSE t f 1 0 Yes no ""; do
		printf '%s,1,9,0.5,2,10,%s\n' $((T + 60000 * i++)) "$closed"
	done
} | import CLOSED
check "as it says" "$(sql "SELECT string_agg(left(closed::text, 1), '' ORDER BY ts) FROM tradekeep.candle WHERE symbol = 'CLOSED'")" "tftftftft"

# Bad rows stop the import, or are left out
bad() { # what, SQLSTATE, the row, header
	local lines
	lines=$(printf '%s\n%s\n%s\n%s' "${4:-$H}" "2023-11-14T22:14:00Z,1,9,0.5,2,10${4:+,}" "$3" \
		"2023-11-14T22:16:00Z,1,9,0.5,2,10${4:+,}")
	import BAD <<<"$lines"
	check "$1 stops" $? 1
	check_says "$1: where and why" "$scratch/err" "in: line 3: .*\[$2\]"
	check "$1: nothing stored" "$(count BAD)" 0
	import BAD --on-error=skip <<<"$lines"
	check "$1 skipped" "$? $(counts)" "4 3 2 0 0 0 1"
	check "$1: the others stored" "$(count BAD)" 2
	sql "DELETE FROM tradekeep.candle WHERE symbol = 'BAD'"
}
t1=$((T + 60000))
bad "five fields" TK006 "$t1,1,9,0.5,2"
bad "seven fields" TK006 "$t1,1,9,0.5,2,10,"
bad "no number" TK006 "$t1,1,9,0.5,two,10"
bad "an empty number" TK006 "$t1,1,9,0.5,,10"
bad "hexadecimal" TK006 "$t1,1,9,0.5,0x2,10"
bad "a comma for a point" TK006 "$t1,1,9,\"0,5\",2,10"
bad "NaN" TK005 "$t1,1,9,0.5,NaN,10"
bad "beyond a double" TK005 "$t1,1,1e999,0.5,2,10"
bad "high < low" TK005 "$t1,1,1,2,1,10"
bad "off the grid" TK004 "$((t1 + 1000)),1,9,0.5,2,10"
bad "a fraction of a millisecond" TK004 "$t1.5,1,9,0.5,2,10"
bad "the year 30000" TK004 "884541340800,1,9,0.5,2,10"
for time in "" now 2023-11-14T24:00:00Z 2023-02-30T00:00:00Z 2023-11-14T22:15:60Z 2023-11-14T22:15:00ZZ \
	2023-11-14T 2023/11/14 14.11.2023 2023-11-14T22:15:00+ 1e400 nan; do
	bad "the time '$time'" TK004 "$time,1,9,0.5,2,10"
done
bad "text behind a quote" TK006 "$t1,1,9,0.5,2,\"10\"0"
bad "a quote never closed" TK006 "\"$t1,1,9,0.5,2,10"
bad "too many fields" TK006 "$(printf ',%.0s' {1..100})"
bad "a huge line" TK006 "$(head -c 200000 /dev/zero | tr '\0' 7)"
bad "a long symbol" TK002 "$t1,1,9,0.5,2,10,$(printf 'x%.0s' {1..513})" "$H,symbol"
bad "a word for closed" TK006 "$t1,1,9,0.5,2,10,maybe" "$H,closed"
bad "a bad close_time" TK004 "$t1,1,9,0.5,2,10,late" "$H,close_time"
printf '%s\n%s,1,9,0.5,2,10\n\033[31m\033c,1,9,0.5,2,10\n' $H $T | import BAD
check "no escape reaches the terminal" "$? $(grep -c $'\033' "$scratch/err")" "1 0"
printf '%s\n\0,1,9,0.5,2,10\n' $H | import BAD
check_says "a zero byte" "$scratch/err" 'line 2: .*\[22021\]'
for field in $',1m' $'S\377,1m' S,7m S,xxxxxxxxxxxxxxxxxxxxxxxx; do
	printf 'symbol,timeframe,%s\nS,1m,%s,1,9,0.5,2,10\n%s,%s,1,9,0.5,2,10\n' $H $T "$field" $T | import_file --on-error=skip
	check "the symbol and timeframe '$field'" "$? $(sed 's/.*"rejected": \([0-9]*\).*/\1/' "$scratch/out")" "4 1"
	check_says "the symbol and timeframe '$field'" "$scratch/err" 'line 3: .*\[(TK002|22021|22P02)\]'
done

# Of many bad rows the first are shown, and all counted; those that the server refuses too
awk 'BEGIN { print "ts,open,high,low,close,volume"; for (i = 0; i < 300; i++)
	printf "%d,1,9,%s,2,10\n", 1700000040 + 60 * i, i % 3 == 0 ? "none" : i % 3 == 1 ? "8" : "0.5" }' \
	>"$scratch/many"
import SKIP --on-error=skip <"$scratch/many"
check "skipped" "$? $(counts)" "4 300 100 0 0 0 200"
check "shown" "$(grep -c ': line [0-9]*: ' "$scratch/err")" 10
check_says "shown" "$scratch/err" 'more bad rows'
import SKIP --on-error=skip <"$scratch/many"
check "skipped again" "$? $(counts)" "4 300 0 0 100 0 200"

# Files that are no CSV of candles
broken() { # what, pattern
	import BROKEN --on-error=skip
	check "$1" $? 1
	check_says "$1" "$scratch/err" "$2"
	check "$1: nothing stored" "$(count BROKEN)" 0
}
echo "ts,open,high,low,volume" | broken "no close" '"close"'
echo "open,high,low,close,volume,close_time" | broken "no time" '"time"'
echo "ts,open,high,low,close,volume,Open" | broken "two opens" 'two columns are named "open"'
echo "1700000040000,1,9,0.5,2,10,1" | broken "seven columns and no header" '12 columns'
echo "ts;open;high;low;close;volume" | broken "semicolons" 'neither'
printf 'PK\3\4\0\0' | broken "a zip file" 'unzip -p'
head -c 100000 /dev/zero | broken "zeros" '22021|longer'

# Gzipped: the same; cut short or damaged: refused, and nothing of the chunk under way stored
awk 'BEGIN { print "ts,open,high,low,close,volume"; for (i = 0; i < 30000; i++)
	printf "%d,1,9,0.5,2,%d\n", 1700000040 + 60 * i, i }' | gzip >"$scratch/gz"
import GZ <"$scratch/gz"
check "gzipped CSV" "$? $(counts)" "0 30000 30000 0 0 0 0"
echo "[$(row 0), $(row 1)]" | gzip | import GZJSON
check "gzipped JSON" "$? $(counts)" "0 2 2 0 0 0 0"
{ echo "$H"; echo "$T,1,9,0.5,2,10"; } | gzip | tradekeep import candles - --symbol GZPIPE --timeframe 1m >"$scratch/out"
check "gzipped, from a pipe" "$? $(stored GZPIPE)" "0 1m 1700000040 $bar t"
head -c -100 "$scratch/gz" | import CUT --on-error=skip
check "cut short" "$? $(count CUT)" "1 20000"
check_says "cut short" "$scratch/err" 'truncated'
{ head -c -8 "$scratch/gz"; head -c 8 /dev/zero; } | import DAMAGED
check "damaged" "$? $(count DAMAGED)" "1 20000"
check_says "damaged" "$scratch/err" 'damaged'

# What is exported is imported unchanged, in each form, to the last bit
sql "INSERT INTO tradekeep.candle VALUES
	('we\"ird, '' größe', '1m', 'epoch', 0.1, 0.30000000000000004, 1e-300, 0.2, 1e300, true),
	('we\"ird, '' größe', '1m', '2099-12-31 23:59Z', 1, 1.7976931348623157e308, 5e-324, 2, 0, true),
	('we\"ird, '' größe', '1m', '2023-11-14 22:14Z', 1, 9, 0.5, 2, 10, false),
	('we\"ird, '' größe', '1h', 'epoch', 1, 9, 0.5, 2, 10, true)"
weird="we\"ird, ' größe"
export_candles --symbol "$weird" --timeframe 1m >"$scratch/csv"
check "export" $? 0
check "export" "$(cat "$scratch/csv")" "symbol,timeframe,ts,open,high,low,close,volume,closed
\"we\"\"ird, ' größe\",1m,1970-01-01T00:00:00Z,0.1,0.30000000000000004,1e-300,0.2,1e+300,true
\"we\"\"ird, ' größe\",1m,2023-11-14T22:14:00Z,1,9,0.5,2,10,false
\"we\"\"ird, ' größe\",1m,2099-12-31T23:59:00Z,1,1.7976931348623157e+308,5e-324,2,0,true"
import_file <"$scratch/csv"
check "export and import" "$? $(counts)" "0 3 0 0 3 0 0"
PGOPTIONS="-c extra_float_digits=-5 -c datestyle=German -c timezone=Asia/Kolkata" \
	export_candles --symbol "$weird" --timeframe 1m >"$scratch/csv2"
check "whatever the session's settings" "$(cat "$scratch/csv2")" "$(cat "$scratch/csv")"
export_candles --symbol "$weird" --timeframe 1m --format=json >"$scratch/json"
check "export of JSON" "$(cat "$scratch/json")" "[
[0,0.1,0.30000000000000004,1e-300,0.2,1e+300],
[4102444740000,1,1.7976931348623157e+308,5e-324,2,0]
]"
check "by time" "$(export_candles --symbol "$weird" --timeframe 1m --since 1970-01-01T00:01 --until 2099-12-31T23:59:00Z | grep -oE '[0-9-]+T[0-9:]+Z')" 2023-11-14T22:14:00Z
check "from its start on" "$(export_candles --symbol "$weird" --timeframe 1m --since 1700000040 | wc -l)" 3
check "nothing" "$(export_candles --symbol NOBODY --timeframe 1m; export_candles --symbol NOBODY --timeframe 1m --format=json)" \
	"symbol,timeframe,ts,open,high,low,close,volume,closed
[]"
export_candles --symbol GZ --timeframe 1m -o "$scratch/e.csv.gz" >"$scratch/out"
check "export to gzip" "$? $(cat "$scratch/out")" "0 30000 candles"
check "export to gzip" "$(gzip -dc "$scratch/e.csv.gz" | wc -l)" 30001
import_file <"$scratch/e.csv.gz"
check "export to gzip and import" "$? $(counts)" "0 30000 0 0 30000 0 0"
export_candles --symbol GZ --timeframe 1m --format=json -o "$scratch/e.json" >"$scratch/out"
import GZ <"$scratch/e.json"
check "export of JSON and import" "$? $(counts)" "0 30000 0 0 30000 0 0"

# What fails leaves the file as it was
echo kept >"$scratch/kept"
export_candles --symbol GZ --timeframe 7m -o "$scratch/kept"
check "export of 7m" "$? $(cat "$scratch/kept") $(ls "$scratch"/*.part 2>/dev/null)" "1 kept "
check_says "export of 7m" "$scratch/err" '22P02'
export_candles --symbol GZ --timeframe 1m -o "$scratch/none/file"
check "export into no folder" $? 1
export_candles --symbol GZ --timeframe 1m -o /dev/full
check "export to a full disk" $? 1
export_candles --symbol GZ --timeframe 1m >/dev/full
check "standard output to a full disk" $? 1
export_candles --symbol GZ --timeframe 1m -o /dev/null >/dev/null
check "to no file" "$? $(test -c /dev/null && echo device)" "0 device"
export_candles --symbol GZ --timeframe 1m --url host=/nonexistent -o "$scratch/kept"
check "export from nobody" "$? $(cat "$scratch/kept")" "3 kept"

sql "TRUNCATE tradekeep.candle"
report "tradekeep import and export"
