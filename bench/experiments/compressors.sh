#!/usr/bin/env bash
# What general compressors pay for the validation text once they have seen the training text: the bar for a model that
# was trained on the one and is scored on the other.
#
#   compressors.sh TRAIN VALIDATION
#
# Marginal bits per byte: (compressed size of both, joined, minus that of TRAIN) · 8 / size of VALIDATION. Beside it
# VALIDATION compressed alone. A tool reaches back as far as its window: 900 kB for bzip2, 64 MiB for xz, 128 MiB for
# zstd; ppmd starts afresh when its memory is full. Every tool runs on one thread.
#
# PPMD_ORDERS (default "6 8 10 12 16") and PPMD_MEMORY (default 1g) choose what ppmd tries.
set -euo pipefail
export LC_ALL=C

fail() {
  echo "compressors.sh: $*" >&2
  exit 2
}

[ $# -eq 2 ] || fail "expected two files: TRAIN VALIDATION"
train=$1 validation=$2
for file in "$train" "$validation"; do
  if ! [ -f "$file" ] || ! [ -r "$file" ] || ! [ -s "$file" ]; then fail "'$file' is not a file with text in it"; fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Each reads standard input and writes what it makes of it to standard output.
pack_xz() { xz -9e -T1 -c; }
pack_bzip2() { bzip2 -9 -c; }
pack_zstd() { zstd -19 --long=27 -T1 -q -c; }
pack_ppmd() {
  rm -f "$work/archive.7z"
  "$seven" a -si -m0="ppmd:o=$1:mem=$memory" -mmt=1 -bso0 -bsp0 "$work/archive.7z" >&2 && cat "$work/archive.7z"
}

size_of() { "$@" | wc -c; }

# measure NAME COMMAND…: a row of the table.
measure() {
  local name=$1 one both alone seconds TIMEFORMAT='%U %S'
  shift
  echo "compressors.sh: $name …" >&2
  one=$(size_of "$@" < "$train") || fail "$name failed"
  alone=$(size_of "$@" < "$validation") || fail "$name failed"
  seconds=$({ time cat -- "$train" "$validation" | size_of "$@" 2>&3 > "$work/both"; } 3>&2 2>&1) || fail "$name failed"
  both=$(< "$work/both")
  awk -v name="$name" -v one="$one" -v both="$both" -v alone="$alone" -v size="$(wc -c < "$validation")" \
    -v seconds="$seconds" 'BEGIN {
      split(seconds, cpu, " ")
      printf "| %s | %.4f | %.4f | %.1f |\n", name, (both - one) * 8 / size, alone * 8 / size, cpu[1] + cpu[2]
    }'
}

missing() { echo "compressors.sh: $1 is not installed: skipped" >&2; }

echo "| compressor | bits per byte after the training text | alone | CPU seconds for both texts |"
echo "|---|---|---|---|"
if command -v xz > /dev/null; then measure "xz -9e" pack_xz; else missing xz; fi
if command -v bzip2 > /dev/null; then measure "bzip2 -9" pack_bzip2; else missing bzip2; fi
if command -v zstd > /dev/null; then measure "zstd -19 --long=27" pack_zstd; else missing zstd; fi

seven=
for name in 7z 7zz 7za 7zr; do  # the last may be without ppmd
  if command -v "$name" > /dev/null && head -c 64 "$train" > "$work/probe" &&
    "$name" a -m0=ppmd -bso0 -bsp0 "$work/probe.7z" "$work/probe" > /dev/null 2>&1; then
    seven=$name
    break
  fi
done
memory=${PPMD_MEMORY:-1g}
if [ -n "$seven" ]; then
  for order in ${PPMD_ORDERS:-6 8 10 12 16}; do
    measure "ppmd, order $order, memory $memory" pack_ppmd "$order"
  done
else
  missing "7z with ppmd"
fi
