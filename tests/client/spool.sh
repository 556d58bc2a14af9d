#!/bin/bash
#
# Checks of `tradekeep replay`. The spools are written with the checksums that the library wants.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"

spools=$scratch/spools
mkdir "$spools"
A=00000000-0000-4000-8000-00000000000a
B=00000000-0000-4000-8000-00000000000b
path() {
	echo "$spools/tradekeep-$1.spool"
}

# Lines of JSON without their end, each into a record with its checksum.
records() {
	perl -ne 'chomp; my $crc = 0xFFFFFFFF;
		for my $byte (unpack "C*", $_) { $crc ^= $byte; $crc = $crc & 1 ? ($crc >> 1) ^ 0xEDB88320 : $crc >> 1 for 1 .. 8 }
		printf "%s,\"crc\":\"%08x\"}\n", $_, $crc ^ 0xFFFFFFFF'
}

now=$(sql "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
claim() { # number, key
	printf '{"v":1,"seq":%d,"at":%d,"op":"claim","scope":"spool.sh","key":"%s","ttl":3600000\n' "$1" "$now" "$2"
}
replay() {
	tradekeep replay "$@" >"$scratch/out" 2>"$scratch/err"
}
totals() {
	sed -E 's/, "seconds.*//; s/[^0-9]+/ /g; s/^ //; s/ $//' "$scratch/out"
}
claims() {
	sql "SELECT string_agg(key, ' ' ORDER BY key) FROM tradekeep.claim WHERE scope = 'spool.sh'"
}

sql "DELETE FROM tradekeep.claim WHERE scope = 'spool.sh'"
replay "$spools" --json
check "nothing there" "$? $(totals)" "0 0 0 0 0 0"

# Looking changes nothing
{ claim 1 a; claim 2 b; } | records >"$(path $A)"
replay "$spools" --dry-run --url host=/nonexistent
check "dry run" "$? $(diff "$(path $A)" "$scratch/out" && echo same)" "0 same"
check "dry run: nothing stored" "$(claims)" ""

# Nobody there: nothing is lost
replay "$spools" --url host=/nonexistent
check "nobody there" "$? $(wc -l <"$(path $A)")" "3 2"
check_says "nobody there: what is left" "$scratch/out" '^remaining +2$'

# One file, and a whole folder; a collision, a record that is refused and a line that is damaged
{ claim 1 c; claim 3 d; } | records >"$(path $B)"
replay "$(path $A)" --json
check "one file" "$? $(totals) $(claims)" "0 2 0 0 0 0 a b"
check "one file: it is gone, the other not" "$([ -e "$(path $A)" ]; echo $?) $([ -e "$(path $B)" ]; echo $?)" "1 0"
{ claim 1 a; claim 2 e; } | records >"$(path $A)"
{ echo damaged; printf '{"v":1,"seq":4,"at":%d,"op":"close_trade","trade_id":"none","exit_price":"1"\n' "$now" | records; } >>"$(path $B)"
replay "$spools" --json
check "a folder" "$? $(totals) $(claims)" "4 4 1 2 0 0 a b c d e"
check_says "a collision is shown" "$scratch/err" 'collision: claim "spool.sh", "a" was granted at 20.*record 1 of '
check_says "a refused record is shown" "$scratch/err" 'rejected record 4 of .*\[P0002\]'
check_says "a damaged line is shown" "$scratch/err" 'rejected record .*damaged'
check "rejected lines are kept" "$(cut -c 1-14 "$(path $B).rejected" | tr '\n' ' ')" 'damaged {"v":1,"seq":4 '
check "files are gone" "$(find "$spools" -name '*.spool')" ""
check "positions are gone" "$(sql "SELECT count(*) FROM tradekeep.replay")" 0

# Again, from a backup of the file: what is known to be there is a collision, and nothing is doubled
claim 1 c | records >"$(path $B)"
replay "$spools" --json
check "a file that comes back" "$? $(totals) $(claims)" "0 1 1 0 0 0 a b c d e"

# A spool that was taken over halfway, by whomever
{ claim 1 f; claim 2 g; claim 3 h; } | records >"$(path $A)"
sql "SELECT tradekeep.advance_replay('$A', 2)" >"$scratch/out"
replay "$(path $A)" --json
check "halfway" "$? $(totals) $(claims)" "0 1 0 0 0 0 a b c d e h"

# The spool of a bot that lives is left to it
claim 1 i | records >"$(path $A)"
exec 9<"$(path $A)"
flock -x 9
claim 1 k | records >"$(path $B)"
replay "$spools" --json
check "a bot that lives" "$? $(totals) $(claims)" "0 1 0 0 0 1 a b c d e h k"
check_says "a bot that lives: which" "$scratch/err" "$A.spool: its process is alive"
replay "$(path $A)" --json
check "a bot that lives, by name" "$? $(totals)" "0 0 0 0 0 1"
exec 9<&-

# Two at once: each record once
{ for i in $(seq 1 300); do claim "$i" "m$i"; done; } | records >"$(path $A)"
for i in 1 2 3; do
	tradekeep replay "$spools" --json >"$scratch/both.$i" 2>&1 &
done
wait
check "several at once" "$(sed -E 's/.*"replayed": ([0-9]+), "collisions": ([0-9]+).*/\1 \2/' "$scratch"/both.* | grep -v is.alive |
	awk '{ a += $1; b += $2 } END { print a, b }') $(claims | wc -w)" "300 0 307"

# More spools than a process may have files open
for i in $(seq 1 60); do
	claim 1 "o$i" | records >"$(path "00000000-0000-4000-8000-0000000000$((i + 10))")"
done
(ulimit -n 50 && replay "$spools" --json)
check "thousands" "$? $(totals) $(claims | wc -w) $(ls "$spools" | grep -c 'spool$')" "0 60 0 0 0 0 367 0"

for wrong in "replay" "replay --no x" "replay x --limit 3"; do
	# shellcheck disable=SC2086
	tradekeep $wrong >"$scratch/out" 2>"$scratch/err"
	check "usage '$wrong'" $? 2
done
replay "$scratch/none"
check "no folder" $? 1
check_says "no folder: which" "$scratch/err" "$scratch/none"
replay "$spools/tradekeep-$A.spool"
check "no file" $? 1
tradekeep replay --help >"$scratch/out"
check_says "help" "$scratch/out" '^Exit codes:'

sql "DELETE FROM tradekeep.claim WHERE scope = 'spool.sh'"
report "tradekeep replay"
