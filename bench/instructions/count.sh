#!/bin/sh
# count.sh PROGRAM [EXPECTED]: instructions a byte of everything that PROGRAM (work.cpp) can do, counted by valgrind. Unlike
# seconds they are the same on a busy machine. What starting takes cancels out: each is run with one unit and with three.
# With a file of EXPECTED figures it fails when one is more than 3 % higher, or is missing from the file.
# Ends with 77 where the processor lacks the instructions that PROGRAM is compiled to.
set -eu
if ! grep -qw sse4_2 /proc/cpuinfo; then
  echo "this processor has no SSE4.2: not counted" >&2
  exit 77
fi
program=$1 expected=${2:-/dev/null} failed=0
names=$("$program")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" >"$out/bytes" 2>"$out/log" ||
    { cat "$out/log" >&2; exit 1; }
  sed -n 's/^.*Collected : \([0-9]*\)$/\1/p' "$out/log"
}

printf '%-18s %12s %12s\n' work 'per byte' expected
for name in $names; do
  one=$(count "$name" 1)
  three=$(count "$name" 3)
  bytes=$(cat "$out/bytes")
  known=$(awk -v name="$name" '$1 == name { print $2 }' "$expected")
  each=$(awk -v one="$one" -v three="$three" -v bytes="$bytes" 'BEGIN { printf "%.0f", (three - one) / 2 / bytes }')
  printf '%-18s %12s %12s\n' "$name" "$each" "$known"
  if [ "$expected" != /dev/null ]; then
    awk -v each="$each" -v known="$known" 'BEGIN { exit !(each > 0 && known > 0 && each <= 1.03 * known) }' || failed=1
  fi
done
if [ "$failed" = 1 ]; then
  echo "more instructions than expected, or none expected; the figures are in $expected" >&2
  exit 1
fi
