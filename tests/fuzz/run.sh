#!/usr/bin/env bash
# run.sh PROGRAM SECONDS [OPTION…]: runs a fuzz target on its seeds and on what it found before, in PROGRAM.corpus, and
# says how many inputs it took. An input that it fails on is kept as PROGRAM.crash-…
set -eu
program=$1
seconds=$2
shift 2
mkdir -p "$program.corpus" "$program.seeds"
QLLK_FUZZ_SEEDS=$program.seeds "$program"
status=0
"$program" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2000 -artifact_prefix="$program." \
  -print_final_stats=1 "$@" "$program.corpus" "$program.seeds" > "$program.log" 2>&1 || status=$?
grep -E '^stat::number_of_executed_units|^stat::average_exec|ERROR|SUMMARY|^fuzz: ' "$program.log" || true
exit $status
