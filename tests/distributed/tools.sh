#!/usr/bin/env bash
# tools.sh CASE BIN LAUNCHER: what people do with qllk-train under an MPI launcher, right and wrong.
set -uo pipefail
case=$1 bin=$2 launcher=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

failures=0
fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}
together() { # N ARGUMENTS…: sets status, and leaves what was said in out and err
  local processes=$1
  shift
  "$launcher" -n "$processes" "$bin/qllk-train" "$@" >out 2>err </dev/null
  status=$?
}
expect_error() { # TEXT: one line of ours has it, and no model was made
  [ "$status" != 0 ] || fail "status is 0, expected an error: $1"
  [ "$(grep -c '^qllk-train' err)" = 1 ] || fail "expected one line of qllk-train: $(grep '^qllk-train' err)"
  grep -q "^qllk-train.*$1" err || fail "expected '$1' in: $(cat err)"
  [ ! -e run ] || fail "a wrong command line made a folder"
}

for i in $(seq 400); do echo "line $i of a text, in which $((i * 7 % 13)) comes after $((i * 5 % 11)) again and again"; done >text
tiny=(--data text --batch 8 --context 64 --threads 1 --dim 32 --dim-local 16 --layers 1 --set bits=10)
classic=(--arch classic --data text --batch 8 --context 64 --threads 1 --dim 32 --layers 1)

same_model() {
  local arch options n
  for arch in default classic; do
    options=("${tiny[@]}")
    [ $arch = default ] || options=("${classic[@]}")
    "$bin/qllk-train" "${options[@]}" --steps 6 --out $arch-alone >alone 2>/dev/null || fail "alone: $?"
    for n in 1 2 4; do
      together $n "${options[@]}" --steps 6 --out $arch-$n
      [ $status = 0 ] || fail "$n processes: status $status: $(cat err)"
      cmp $arch-alone/model.safetensors $arch-$n/model.safetensors || fail "$arch, $n processes: another model"
      [ "$(wc -l <out)" = 1 ] || fail "expected one line on standard output: $(cat out)"
      [ "$(grep -c '^validation' err)" = 1 ] || fail "expected one process to speak"
    done
  done
}

resume() {
  local n
  "$bin/qllk-train" "${tiny[@]}" --steps 3 --out whole >/dev/null 2>&1
  "$bin/qllk-train" --resume --steps 6 --out whole >/dev/null 2>&1
  together 4 "${tiny[@]}" --steps 3 --out part
  for n in 1 3; do
    cp -r part part-$n
    together $n --resume --steps 6 --threads 1 --out part-$n
    [ $status = 0 ] || fail "$n processes: status $status: $(cat err)"
    cmp whole/model.safetensors part-$n/model.safetensors || fail "resumed by $n processes: another model"
  done
  together 2 --resume --threads 1 --out part-3
  [ $status = 0 ] || fail "nothing left to train: status $status: $(cat err)"
}

bad_input() {
  together 5 "${tiny[@]}" --steps 2 --out run
  expect_error '5 processes share each batch, but it has 4 shards'
  together 2 --nonsense
  expect_error 'nonsense'
  together 2 --data - --out run
  expect_error "standard input ('-') reaches one process only"
  together 2 "${tiny[@]}" --steps 2 --carry --out run
  expect_error '--carry is for one process'
  "$bin/qllk-train" "${tiny[@]}" --steps 2 --exchange half --out run >out 2>err
  status=$?
  expect_error '--exchange, .* are for several processes'
  together 2 "${tiny[@]}" --steps 2 --outer-rate 1 --out run
  grep -q -- '--outer-rate and --outer-momentum need --local-steps' err || fail "outer rate alone: $(cat err)"
  together 2 "${tiny[@]}" --steps 2 --exchange quarter --out run
  grep -q -- '--exchange.*quarter.*expected one of' err || fail "expected an error of --exchange: $(cat err)"
  tr a b <text >other
  "$launcher" -n 1 "$bin/qllk-train-mpi" "${tiny[@]}" --out run : \
    -n 1 "$bin/qllk-train-mpi" "${tiny[@]/#text/other}" --out run >out 2>err </dev/null
  status=$?
  expect_error 'process 1 (on .*) has another training text than process 0'
  "$launcher" -n 1 "$bin/qllk-train-mpi" "${tiny[@]}" --out run : \
    -n 1 "$bin/qllk-train-mpi" "${tiny[@]/#text/nothere}" --out run >out 2>err </dev/null
  status=$?
  expect_error "process 1 (on .*): cannot open 'nothere'"
  cp "$bin/qllk-train-mpi" other-program
  printf x >>other-program
  "$launcher" -n 1 "$bin/qllk-train-mpi" "${tiny[@]}" --out run : -n 1 ./other-program "${tiny[@]}" --out run \
    >out 2>err </dev/null
  status=$?
  expect_error 'process 1 (on .*) has another qllk-train-mpi than process 0'
  "$bin/qllk-train-mpi" "${tiny[@]}" --out run >out 2>err
  status=$?
  expect_error 'no MPI launcher started it'
  mkdir alone && cp "$bin/qllk-train" alone/
  "$launcher" -n 2 alone/qllk-train "${tiny[@]}" --out run >out 2>err </dev/null
  status=$?
  [ $status != 0 ] && grep -q "an MPI launcher started 2 processes, but there is no" err || fail "without MPI: $(cat err)"
}

less_traffic() {
  together 2 "${tiny[@]}" --steps 6 --exchange half --out half
  [ $status = 0 ] || fail "half: status $status: $(cat err)"
  grep -q '^processes *2, which exchange gradients in 16 bits in every step' err || fail "half: $(cat err)"
  together 2 "${tiny[@]}" --steps 6 --local-steps 4 --outer-rate 0.7 --outer-momentum 0.9 --out apart
  [ $status = 0 ] || fail "apart: status $status: $(cat err)"
  grep -q '^processes *2, which exchange weights in full every 4 steps' err || fail "apart: $(cat err)"
  grep -q '"steps":8' out || fail "a run ends at a meeting: $(cat out)"
  together 3 --resume --steps 10 --threads 1 --out apart
  [ $status = 0 ] || fail "resumed apart: status $status: $(cat err)"
  grep -q '^processes *3, which exchange weights in full every 4 steps' err || fail "resumed apart: $(cat err)"
  grep -q '"steps":12' out || fail "resumed apart: $(cat out)"
}

killed() {
  local job start took
  processes() { pgrep -f "^$bin/qllk-train .*--out $work/run"; }
  "$launcher" -n 2 "$bin/qllk-train" "${tiny[@]}" --seconds 600 --out "$work/run" >out 2>err </dev/null &
  job=$!
  for _ in $(seq 600); do
    grep -q '^saves to' err && break
    sleep 0.1
  done
  for process in $(processes); do kill -USR1 "$process"; done
  for _ in $(seq 600); do
    [ -e run/training.safetensors ] && break
    sleep 0.1
  done
  start=$(date +%s)
  kill -KILL "$(processes | tail -1)"
  wait $job
  status=$?
  # a process that ends has no name before it gives up its lock
  until [ -z "$(processes)" ] && flock -n run true || [ $(($(date +%s) - start)) -gt 30 ]; do sleep 0.1; done
  took=$(($(date +%s) - start))
  echo "a process was killed: the job ended after $took s with status $status"
  [ $status != 0 ] || fail "status is 0 although a process was killed"
  [ $took -le 30 ] || fail "the job took $took s to end"
  grep -qi 'killed\|signal 9' err out || fail "nothing says why: $(tail -5 err)"
  "$bin/qllk-train" --resume --steps 1000000 --seconds 1 --threads 1 --out run >out 2>err || fail "no resume: $(cat err)"
  grep -q '"steps"' out || fail "no score after a resume: $(cat out)"
}

"$case"
[ $failures = 0 ] && echo "ok"
exit $((failures > 0))
