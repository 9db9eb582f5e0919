#!/usr/bin/env bash
# coverage.sh [TESTS]: line coverage of include/ by the tests whose names match (all without it), and what is not covered
# of the readers and writers of files. Needs gcovr.
#
#   tests/coverage.sh '^(io|files|data|compress)_'
set -euo pipefail
cd "$(dirname "$0")/.."
tests=${1:-.}
build=build/coverage
cmake --preset coverage > /dev/null
names=$(ctest --test-dir $build -N -R "$tests" | sed -n 's/^ *Test *#[0-9]*: \([a-z0-9_]*_test[0-9_]*\)$/\1/p')
[ -n "$names" ] || { echo "no test's name matches $tests" >&2; exit 1; }
find $build -name '*.gcda' -delete
# shellcheck disable=SC2086
ninja -C $build ${QLLK_JOBS:+-j "$QLLK_JOBS"} $names > $build/log || { tail -n 30 $build/log >&2; exit 1; }
ctest --test-dir $build -R "$tests" > $build/ctest.log || tail -n 30 $build/ctest.log
gcovr --root . --filter include/ --exclude-throw-branches --exclude-unreachable-branches --json $build/coverage.json \
  --print-summary $build | grep '^lines'
gcovr --root . --add-tracefile $build/coverage.json --filter 'include/qllk/(io|files|data|compress)/'
