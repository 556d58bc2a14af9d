# What the tests of the command share; each sources it with its own arguments.
# shellcheck shell=bash
set -u

# The last command of a pipeline counts its checks here, not in a subshell.
shopt -s lastpipe

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
		printf '%s: failed: %s\n    is %s, not %s\n' "${0##*/}" "$1" "$2" "$3"
	fi
}

check_says() { # what, file, pattern
	if grep -qE -- "$3" "$2"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s: failed: %s\n    no %s in: %s\n' "${0##*/}" "$1" "$3" "$(cat "$2")"
	fi
}

# Imports what comes on standard input, with these options.
import_file() {
	cat >"$scratch/in"
	tradekeep import candles "$scratch/in" --json "$@" >"$scratch/out" 2>"$scratch/err"
}

# The same under the symbol $1.
import() {
	local symbol=$1
	shift
	import_file --symbol "$symbol" --timeframe 1m "$@"
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

# Rows of JSON, from a minute after T to another
many() { # from, to
	awk -v t=$T -v from="$1" -v to="$2" 'BEGIN { printf "["; for (i = from; i < to; i++)
		printf "%s[%.0f, 1, 9, 0.5, 2, %d]", (i > from ? ",\n" : ""), t + i * 60000, i; print "]" }'
}

report() { # name
	echo "$1: $passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}
