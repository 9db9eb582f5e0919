#!/usr/bin/env bash
# run.sh CASE BIN [EMULATOR…]: runs the tools in BIN as a person would, in a folder of its own, and checks what they answer.
set -u
export LC_ALL=C
case_name=$1
bin=$2
shift 2
emulator=("$@")

# What the guide of messages lists, each line a regular expression: "…" is any text.
messages=$(awk -F ' [|] ' '/^[|] `/ {
  gsub(/^[|] `+ ?| ?`+$/, "", $1)
  gsub(/[][\\.*^$()+?{}|]/, "\\\\&", $1)
  gsub(/…/, ".*", $1)
  print "^" $1 "$"
}' "$(dirname "$0")/../../examples/tools/README.md")
[ "$(wc -l <<< "$messages")" -gt 100 ] || exit 1

folder=$(mktemp -d)
export TMPDIR=$folder.tmp
mkdir "$TMPDIR"
trap 'chmod -R u+w "$folder"; rm -rf "$folder" "$TMPDIR"' EXIT
cd "$folder" || exit 1

die() {
  echo "FAILED: $*"
  for file in out err; do [ -f $file ] && echo "--- $file" && tail -n 20 $file; done
  exit 1
}

tool() {
  local name=$1
  shift
  ${emulator[@]+"${emulator[@]}"} "$bin/qllk-$name" "$@"
}

# Of little cost: the smallest batches of the classic model.
train() { tool train --arch classic --batch 1 --context 16 --threads 1 "$@"; }

# A text of 400 kB, to be at work on for a while.
make_long_text() {
  make_text
  for _ in $(seq 1 110); do cat text; done > long
}

make_text() { for i in $(seq 1 60); do echo "Line $i of a text that is $((i * 7 % 10)) parts noise."; done > text; }

# listed MESSAGE: the guide has it
listed() { grep -qaE -f <(printf '%s\n' "$messages") <<< "$1" || die "examples/tools/README.md does not list: $1"; }

# expect STATUS COMMAND…: standard output in out, standard error in err
expect() {
  local status=$1
  shift
  "$@" > out 2> err < /dev/null
  local got=$?
  [ $got -eq "$status" ] || die "status $got instead of $status: $*"
  while IFS= read -r line; do listed "$line"; done < <(grep -aE '^(warning|note): ' err)
}

# refuse STATUS WORDS TOOL ARGUMENTS…: fails with exactly one line, which begins with the tool's name, has the words and
# is in the guide of messages, and prints no result.
refuse() {
  local status=$1 words=$2 name=$3
  shift 3
  expect "$status" tool "$name" "$@"
  [ "$(wc -l < err)" -eq 1 ] || die "not one line: $name $*"
  grep -q "^qllk-$name: " err || die "the line does not begin with the tool's name: $name $*"
  grep -qF -- "$words" err || die "the line lacks '$words': $name $*"
  [ -s out ] && die "standard output is not empty: $name $*"
  local line
  line=$(cat err)
  line=${line#"qllk-$name: "}
  listed "${line%" (qllk-$name --help tells more)"}"
}

json_has() { for key in "$@"; do tail -n 1 out | grep -q "\"$key\":" || die "no $key in the JSON"; done; }

# What the folder of a run that was saved holds.
run_files="metrics.jsonl model.safetensors report.html training.safetensors"

# What is in a folder, in one line. The checkpoint before the last one may be there or not.
files_in() { ls -A "$1" | grep -vx training.previous.safetensors | tr '\n' ' '; }

# No temporary file stays behind.
only_files() {
  local found
  found=$(files_in "$1")
  [ "$found" = "$2 " ] || die "$1 holds $found"
}

bad_command_lines() {
  refuse 2 "--bogus" train --bogus
  refuse 2 "'extra' is not known; texts are given by --data (" train extra
  refuse 2 "'--bogus' is not known (" train --bogus
  refuse 2 "'extra' is not known (" generate --model m extra
  refuse 2 "'--step' is not known; did you mean --steps?" train --step 5
  refuse 2 "did you mean --seconds?" train --data text --secnds=5
  refuse 2 "--dim is 0, expected a whole number from 1" train --dim 0
  refuse 2 "--patch is 'x'" train --patch x
  refuse 2 "abc" train --steps abc
  refuse 2 "--val-fraction" train --val a --val-fraction 0.5
  refuse 1 "'gpt'" train --arch gpt
  refuse 1 "'softmax'" train --mixer softmax
  refuse 1 "--out" train --resume
  refuse 1 "--weight has 1 numbers, --data 2 paths" train --data text --data more --weight 2
  refuse 1 "--data is empty" train --data ""
  refuse 1 "--val is empty" train --data text --val ""
  refuse 1 "--out is empty" train --data text --out ""
  refuse 2 "--model" eval --data x
  refuse 2 "--data" eval --model x
  refuse 2 "--model" generate --prompt x
  only_files . "err out"
  for name in train eval generate compress decompress classify convert info report quick-test; do
    expect 0 tool $name --help
    [ -s out ] || die "$name has no help"
  done
}

# Whatever is not a decimal number, complete and within the range, is refused with the range, before anything is done.
numbers() {
  local whole=("" " 1" "1 " "+1" "0x10" "1e3" "1.0" "1_000" "abc" "nan" "inf" "--" "99999999999999999999" "-1")
  local value option
  for value in "${whole[@]}"; do
    for option in steps batch context chunk threads seed; do
      refuse 2 "--$option is " train --$option "$value"
      grep -q "expected a whole number from [01] to [1-9][0-9]*" err || die "no range: --$option '$value'"
    done
    for option in bytes seed top-k; do refuse 2 "--$option is " generate --model x --$option "$value"; done
    refuse 2 "--threads is " eval --model x --data x --threads "$value"
  done
  for value in "" " 1" "1 " "+1" "0x10" "1,5" "abc" "nan" "inf" "1e999" "-1"; do
    refuse 2 "--seconds is " train --seconds "$value"
    refuse 2 "--val-fraction is " train --val-fraction "$value"
    refuse 2 "--weight is " train --weight 1 "$value"
    refuse 2 "--temperature is " generate --model x --temperature "$value"
    refuse 2 "--top-p is " generate --model x --top-p "$value"
  done
  refuse 2 "--steps is 0, expected a whole number from 1 to" train --steps 0
  refuse 2 "--steps is '9223372036854775808'" train --steps 9223372036854775808
  refuse 2 "--steps is 9223372036854775807" train --steps 9223372036854775807 # would mean: without end
  refuse 2 "--seconds is 0, expected a number above 0" train --seconds 0
  refuse 2 "--val-fraction is 1, expected a number above 0 and below 1" train --val-fraction 1
  refuse 2 "--threads is 1025, expected a whole number from 1 to 1024" train --threads 1025
  refuse 2 "--top-k is 257, expected a whole number from 0 to 256" generate --model x --top-k 257
  refuse 2 "--top-p is 0, expected a number above 0 and at most 1" generate --model x --top-p 0
  make_text
  expect 0 train --data text --steps 010 --out run
  grep -q '"steps":10[,}]' out || die "010 is not ten"
  only_files . "err out run text"
}

bad_texts() {
  : > empty
  head -c 40 /dev/zero | tr '\0' a > short
  make_text
  mkdir nothing
  : > nothing/empty
  refuse 1 "'empty' is empty" train --data empty --out o
  refuse 1 "'missing'" train --data missing --out o
  refuse 1 "'nothing' is empty" train --data nothing --out o
  refuse 1 "standard input is empty" train --data - --out o
  refuse 1 "twice" train --data - --val - --out o
  refuse 1 "smaller --context" train --data short --context 64 --out o
  refuse 1 "'empty' is empty" train --data text --val empty --out o
  refuse 1 "'missing'" train --data text --val missing --out o
  [ -e o ] && die "a folder was made for nothing"
  return 0
}

make_model() {
  make_text
  expect 0 train --data text --steps 2 --out run
}

bad_models() {
  make_model
  head -c 100000 run/model.safetensors > cut
  head -c 300 /dev/urandom > noise
  : > empty
  printf '\x02\0\0\0\0\0\0\0{}' > foreign
  cat run/model.safetensors run/model.safetensors > twice
  # the last four bytes are a weight: a NaN
  { head -c -4 run/model.safetensors; printf '\0\0\xc0\x7f'; } > poisoned
  sed 's/\\"layers\\":4/\\"layers\\":5/' run/model.safetensors > lying
  sed 's/\\"dim\\":256/\\"dim\\":9999999999/' run/model.safetensors > huge
  mkdir bare
  refuse 1 "'bare/model.safetensors'" eval --model bare --data text
  for name in cut noise empty foreign twice poisoned lying huge missing; do
    refuse 1 "'$name'" eval --model $name --data text
    refuse 1 "'$name'" generate --model $name
  done
  refuse 1 "not finite" eval --model poisoned --data text
  refuse 1 "is a training checkpoint" eval --model run/training.safetensors --data text
  refuse 1 "'missing'" eval --model run/model.safetensors --data missing
}

bad_checkpoints() {
  make_model
  cp -r run whole
  refuse 1 "nowhere" train --resume --out nowhere
  refuse 1 "--batch is 2" train --resume --out run --batch 2
  refuse 1 "--context is 8" train --resume --out run --context 8
  refuse 1 "--seed is 9" train --resume --out run --seed 9
  refuse 1 "the files of the corpus have weights" train --data text --weight 2 --carry --arch classic --batch 1 --context 16 --out weighted
  mv text moved
  refuse 1 "if the text of this run has moved, give its new place with --data" train --resume --out run --steps 6
  expect 0 tool train --resume --out run --steps 6 --data moved
  expect 0 tool eval --model run --data moved
  mv moved text
  rm -r run && cp -r whole run
  refuse 1 "--weight is [2.0], but the run to continue has []" train --resume --out run --weight 2
  refuse 1 "--arch" train --resume --out run --arch default
  refuse 1 "--val-fraction" train --resume --out run --val-fraction 0.3
  head -n 50 text > other
  refuse 1 "the text differs" train --resume --out run --data other
  head -c 200000 whole/training.safetensors > run/training.safetensors
  refuse 1 "run/training.safetensors" train --resume --out run
  cp run/model.safetensors run/training.safetensors
  refuse 1 "not a training checkpoint" train --resume --out run
  head -c 200000 /dev/urandom > run/training.safetensors
  refuse 1 "run/training.safetensors" train --resume --out run
  { head -c -4 whole/training.safetensors; printf '\0\0\x80\x7f'; } > run/training.safetensors
  refuse 1 "is damaged" train --resume --out run
  without_checksum run/training.safetensors
  expect 1 tool train --resume --out run
  tail -n 1 err | grep -q "not finite" || die "no word of the number"
  cmp run/model.safetensors whole/model.safetensors || die "the model was touched"
  only_files run "$run_files"
}

# The model is small and saved first; the checkpoint (44 MB) does not fit.
little_room() {
  make_text
  (
    ulimit -f 20000 # kB
    train --data text --steps 2 --out run > out 2> err
  )
  [ $? -eq 1 ] || die "not status 1"
  tail -n 1 err | grep -q "^qllk-train: cannot write 'run/training.safetensors'.*the model is saved" ||
    die "no clear line"
  only_files run "metrics.jsonl model.safetensors"
  expect 0 tool eval --model run/model.safetensors --data text
  rm -r run
  make_model
  cp run/training.safetensors before
  (
    ulimit -f 20000
    tool train --resume --out run --steps 4 > out 2> err
  )
  [ $? -eq 1 ] || die "not status 1"
  tail -n 1 err | grep -q "the checkpoint is the one of before" || die "no word of the old checkpoint"
  cmp run/training.safetensors before || die "the old checkpoint is lost"

  (
    ulimit -f 1
    tool compress --model run/model.safetensors before packed > out 2> err
  )
  [ $? -eq 1 ] || die "compress: not status 1"
  tail -n 1 err | grep -q "^qllk-compress: cannot write 'packed'" || die "no clear line"
  ls -A | grep -q '\.tmp$' && die "a temporary file is left"

  # A file system of 30 MB, where one can be made.
  mkdir small
  unshare -rm bash -c 'mount -t tmpfs -o size=30m none small' 2> err || return 0
  tool_path="$bin/qllk-train" unshare -rm bash -c '
    mount -t tmpfs -o size=30m none small
    "$@" --data text --arch classic --batch 1 --context 16 --steps 2 --out small/run > out 2> err
    echo $? > status
    ls -A small/run > left' - ${emulator[@]+"${emulator[@]}"} "$bin/qllk-train"
  [ "$(cat status)" -eq 1 ] || die "status $(cat status)"
  grep -q "^warning: little room: .* has 3[01].* MB left, but to save takes" err || die "no warning before the work"
  grep -q "No space left on device; the model is saved" err || die "no clear line"
  [ "$(cat left)" = $'metrics.jsonl\nmodel.safetensors' ] || die "left: $(cat left)"

  # Two checkpoints and a model fit in 100 MB, but not a second model: the previous checkpoint makes room.
  unshare -rm bash -c '
    mount -t tmpfs -o size=100m none small
    "$@" --data text --arch classic --batch 1 --context 16 --steps 2 --out small/run > out 2> err &&
      "$@" --resume --out small/run --steps 3 > out 2> err && ls small/run > left &&
      "$@" --resume --out small/run --steps 4 > out 2> err
    echo $? > status' - ${emulator[@]+"${emulator[@]}"} "$bin/qllk-train"
  grep -q training.previous.safetensors left || die "there is no previous checkpoint"
  [ "$(cat status)" -eq 0 ] || die "status $(cat status)"
}

# Errors of system calls, where strace may inject them: a file system that cannot sync, and one that fails.
failing_calls() {
  make_model
  command -v strace > which && [ ${#emulator[@]} -eq 0 ] || return 0
  strace -f -o trace true 2> err || return 0
  local call error
  with_fault() {
    strace -f -o trace -e "inject=$1" "$bin/qllk-train" --resume --out run --steps "$2" > out 2> err < /dev/null
  }
  for error in EOPNOTSUPP EINVAL; do
    with_fault "fsync:error=$error" 3 || die "fails where folders cannot be synced ($error)"
  done
  with_fault "write:error=EINTR:when=4..9" 4 || die "fails after EINTR"
  cp -r run before
  for call in fsync write /^rename; do
    for error in EIO EDQUOT ENOSPC; do
      with_fault "$call:error=$error:when=$([ $call = write ] && echo 60+ || echo 1+)" 5
      [ $? -eq 1 ] || die "$call $error: not status 1"
      diff -r -x metrics.jsonl -x report.html -x training.previous.safetensors run before || die "$call $error: a file was lost"
      only_files run "$run_files"
    done
  done
}

# One system call of those that a save makes fails, or the process dies there: whatever it is, the old or the new files
# are there, whole. With QLLK_FAULTS_ALL=1 every call meets every fault; else each of them some.
faults_while_saving() {
  [ -n "${QLLK_FAULTS:-}" ] || return 0
  make_text
  expect 0 train --data text --dim 16 --set layers=1 --steps 2 --out run
  cp -r run before
  faulty() { # KIND AT
    LD_PRELOAD=$QLLK_FAULTS QLLK_FAULT_PATH=$folder/run/ QLLK_FAULT_KIND=$1 QLLK_FAULT_AT=$2 QLLK_FAULT_COUNT=$folder/count \
      "$bin/qllk-train" --resume --out "$folder/run" --steps 3 > out 2> err < /dev/null
  }
  faulty none 0 || die "it fails without a fault"
  local calls kind at got file
  calls=$(cat count)
  [ "$calls" -ge 20 ] || die "only $calls system calls are seen"
  for kind in EIO ENOSPC EDQUOT EOPNOTSUPP EINTR short kill killed; do
    for at in $(seq 1 "$calls"); do
      [ -n "${QLLK_FAULTS_ALL:-}" ] || [ $(((at + ${#kind}) % 6)) -eq 0 ] || continue
      rm -rf run
      cp -r before run
      faulty $kind $at
      got=$?
      case $kind in
        kill | killed) [ $got -eq 137 ] || die "$kind at $at: status $got" ;;
        short) [ $got -eq 0 ] || die "$kind at $at: status $got" ;;
        *) [ $got -le 1 ] || die "$kind at $at: status $got" ;;
      esac
      [ $got -ne 1 ] || tail -n 1 err | grep -q '^qllk-train: ' || die "$kind at $at: no message"
      expect 0 tool train --resume --out run --print-config
      expect 0 tool eval --model run/model.safetensors --data text
      if [ $got -eq 0 ]; then
        expect 0 tool train --resume --out run
        grep -q '"steps":3[,}]' out || die "$kind at $at: not saved, without a word"
      elif [ $got -eq 137 ]; then # what a dead process left is removed
        expect 0 tool train --resume --out run --steps 4
      fi
      [ $kind = EIO ] || [ "$(files_in run)" = "$run_files " ] || die "$kind at $at: left: $(files_in run)"
    done
  done
}

# Waits for up to a minute, or until the tool ends, for words on standard error.
await() {
  for _ in $(seq 1 6000); do
    grep -qs "$1" err && return 0
    kill -0 "$process" 2> /dev/null || return 1
    sleep 0.01
  done
  return 1
}

# pause_below MILLISECONDS: for a random time.
pause_below() {
  local time=$(((RANDOM * 32768 + RANDOM) % $1)) text
  printf -v text '%d.%03d' $((time / 1000)) $((time % 1000))
  sleep "$text"
}

# Death at a random moment of a save, QLLK_KILLS times, or 20: the next start finds a checkpoint and a model that load,
# not older than the save before, and removes what the dead process left.
kills_while_saving() {
  [ ${#emulator[@]} -eq 0 ] || return 0
  make_text
  RANDOM=${QLLK_SEED:-1}
  expect 0 train --data text --dim 96 --steps 2 --out run
  chmod 640 run/model.safetensors run/training.safetensors
  [ "$(id -u)" -ne 0 ] || chown 1234:5678 run/model.safetensors run/training.safetensors
  local owner number begin most=0 step=0 hits=0 last=0
  owner=$(stat -c '%a %u %g' run/{model,training}.safetensors)
  for ((number = 0; number <= ${QLLK_KILLS:-20}; ++number)); do
    rm -f err
    start "$bin/qllk-train" --resume --out run --steps 1000000000
    await '^val below' || die "kill $number: the checkpoint does not load"
    begin=$(date +%s%N)
    kill -USR1 $process
    if [ $number -eq 0 ]; then # how long a save takes
      await '^saved run after step' || die "no save"
      most=$((($(date +%s%N) - begin) / 1000000 + 2))
    else
      pause_below $most
    fi
    kill -KILL $process
    wait $process 2> /dev/null
    ls -A run | grep -q '\.tmp$' && hits=$((hits + 1))
    [ "$(stat -c '%a %u %g' run/{model,training}.safetensors)" = "$owner" ] || die "kill $number: other permissions"
    expect 0 tool eval --model run/model.safetensors --data text --threads 1
    step=$(grep -aoE 'skipped\\":[0-9]+,\\"steps\\":[0-9]+' run/training.safetensors | head -n 1 | sed 's/.*://')
    [ "${step:-0}" -ge $last ] || die "kill $number: step $step after step $last"
    last=$step
  done
  expect 0 tool train --resume --out run --steps 1
  only_files run "$run_files"
  [ "$(stat -c '%a %u %g' run/{model,training}.safetensors)" = "$owner" ] || die "other permissions at the end"
  echo "$((number - 1)) kills within $most ms of a save's begin, $hits of them with a file half written; up to step $last"
}

# One event of a run at work, which may end it.
disturb() {
  local signals=(KILL KILL INT TERM HUP XCPU) signal
  case $((RANDOM % 7)) in
    0) # saves, and goes on or dies
      kill -USR1 $process 2> /dev/null
      pause_below 60
      [ $((RANDOM % 2)) -eq 0 ] || kill -KILL $process 2> /dev/null
      ;;
    1)
      kill -STOP $process 2> /dev/null
      pause_below 300
      kill -CONT $process 2> /dev/null
      ;;
    2) rm -f disturbed/metrics.jsonl disturbed/report.html ;;
    3) # what is saved is used meanwhile
      cp disturbed/model.safetensors model 2> /dev/null || return 0
      (
        tool generate --model model --bytes 30 > used && [ "$(wc -c < used)" -eq 30 ] &&
          tool compress -f --model model short packed > used &&
          tool decompress -f --model model packed unpacked > used && cmp short unpacked
      ) 2> used_err < /dev/null || echo failed > use_failed
      ;;
    *)
      signal=${signals[RANDOM % ${#signals[@]}]}
      kill -"$signal" $process 2> /dev/null
      ;;
  esac
}

# Days of use in QLLK_SOAK_MINUTES, or in one run of some seconds: runs are killed, stopped, suspended and continued at
# random, have no room to save, are used meanwhile, and the clock jumps. Each ends with the bits of one that nobody
# disturbed.
soak() {
  [ ${#emulator[@]} -eq 0 ] || return 0
  make_text
  head -n 3 text > short
  RANDOM=${QLLK_SEED:-1}
  local end=$((SECONDS + 60 * ${QLLK_SOAK_MINUTES:-0})) runs=0 starts=0 events=0 got options limit
  while :; do
    runs=$((runs + 1))
    rm -rf straight disturbed
    options=(--data text --seed $RANDOM --batch 2 --context 24 --dim 48)
    if [ $((runs % 2)) -eq 1 ]; then
      options+=(--arch classic --steps 2500)
    else
      options+=(--arch default --dim-local 16 --set bits=10 --set layers=1 --steps 400)
    fi
    expect 0 tool train "${options[@]}" --threads 2 --out straight
    for (( ; ; )); do
      starts=$((starts + 1))
      local command=("$bin/qllk-train" --threads $((1 + RANDOM % 3)) --out disturbed)
      if [ -e disturbed/training.safetensors ]; then
        command+=(--resume)
      else
        rm -rf disturbed
        command+=("${options[@]}")
      fi
      limit=$((RANDOM % 6 == 0 ? 100 : 100000000)) # kB of a file
      set -m
      (
        ulimit -f $limit
        [ -z "${QLLK_FAULTS:-}" ] || export LD_PRELOAD=$QLLK_FAULTS QLLK_FAULT_CLOCK=$RANDOM
        exec "${command[@]}"
      ) > out 2> err < /dev/null &
      process=$!
      set +m
      for (( ; ; )); do
        pause_below 700
        kill -0 $process 2> /dev/null || break
        events=$((events + 1))
        disturb
      done
      wait $process 2> /dev/null
      got=$?
      [ ! -e use_failed ] || die "a model could not be used: $(cat used_err)"
      case $got in
        0) break ;;
        1) [ $limit -eq 100 ] && grep -q "^qllk-train: cannot write 'disturbed/" err || die "start $starts: status 1" ;;
        129 | 130 | 137 | 143 | 152) ;;
        *) die "start $starts: status $got" ;;
      esac
    done
    cmp straight/model.safetensors disturbed/model.safetensors || die "run $runs (seed ${QLLK_SEED:-1}) has other weights"
    ls -A disturbed | grep -q '\.tmp$' && die "run $runs (seed ${QLLK_SEED:-1}) leaves a temporary file"
    echo "run $runs: $starts starts, $events events so far"
    [ $SECONDS -lt $end ] || break
  done
  echo "$runs runs, $starts starts, $events events: the weights are those of runs that nobody disturbed"
}

full_disk() {
  make_model
  cp -r run before
  (
    ulimit -f 4000 # kB; a model has 11 MB
    tool train --resume --out run --steps 4 > out 2> err
  )
  [ $? -eq 1 ] || die "not status 1"
  tail -n 1 err | grep -q "^qllk-train: cannot write 'run/" || die "no clear line"
  [ -s out ] && die "a result was printed"
  for file in model training; do cmp run/$file.safetensors before/$file.safetensors || die "$file was lost"; done
  only_files run "$run_files"
  expect 0 tool train --resume --out run --steps 4
  json_has val_bits_per_byte
}

unwritable_folder() {
  make_text
  : > file
  refuse 1 "cannot make the folder 'file'" train --data text --out file
  refuse 1 "cannot make the folder 'file/run'" train --data text --out file/run
  refuse 1 "cannot make the folder '/proc/none'" train --data text --out /proc/none
  if [ "$(id -u)" -ne 0 ]; then # root may write anywhere
    mkdir closed
    chmod a-w closed
    refuse 1 "cannot write 'closed/" train --data text --out closed
  fi
}

# start COMMAND…: in the background as from a terminal, where a script would have it ignore SIGINT. Its number is in
# $process.
start() {
  set -m
  "$@" > out 2> err < /dev/null &
  process=$!
  set +m
}

# Whether the tool that was started goes on, a second later.
goes_on() {
  sleep 1
  kill -0 "$process" 2> /dev/null || die "it ended: $*"
}

# A budget that does not end.
without_end=(--arch classic --batch 1 --context 16 --steps 1000000000)

# interrupted SIGNAL STATUS: a signal during training leaves a checkpoint that can be used and continued.
interrupted() {
  make_text
  # Not through a function: the process must be the tool itself.
  local command=(${emulator[@]+"${emulator[@]}"} "$bin/qllk-train" --arch classic --batch 1 --context 16)
  start "${command[@]}" --data text --steps 1000000000 --out run
  for _ in $(seq 1 600); do
    grep -qs '^val below' err && break
    sleep 0.1
  done
  sleep 1
  kill -"$1" $process
  wait $process
  local got=$?
  [ $got -eq "$2" ] || die "status $got instead of $2"
  tail -n 1 err | grep -q "interrupted after step .*--resume --out run" || die "no word about how to go on"
  [ -s out ] && die "a result was printed"
  only_files run "$run_files"
  expect 0 tool eval --model run/model.safetensors --data text
  expect 0 tool train --resume --out run --steps 1 # no more than there are
  json_has val_bits_per_byte
  local seen
  seen=$(tail -n 1 out | sed 's/.*"steps":\([0-9]*\).*/\1/')
  [ "$seen" -ge 1 ] || die "$seen steps"
}
# at_work SIGN TOOL ARGUMENTS…: starts the tool and returns when it is in the middle of its work, a second after the sign:
# words on standard error, or a file that it has open. Its number is in $process.
at_work() {
  local sign=$1 name=$2
  shift 2
  rm -f out err
  # Not through a function: the process must be the tool itself.
  start ${emulator[@]+"${emulator[@]}"} "$bin/qllk-$name" "$@"
  for _ in $(seq 1 600); do
    grep -qs "$sign" err && break
    ls -l /proc/$process/fd 2> fds | grep -q "/$sign$" && break
    sleep 0.1
  done
  sleep 1
}

# ends STATUS WORDS: the tool of at_work ends by itself, with one last line that has the words.
ends() {
  wait $process
  local got=$?
  [ $got -eq "$1" ] || die "status $got instead of $1"
  tail -n 1 err | grep -qF -- "$2" || die "the last line lacks '$2'"
}

# An edit, or the loss, of a text during the work is an error that names it, and what was trained is kept.
text_changes() {
  make_long_text
  local way
  for way in shortened emptied changed; do
    cp long it
    at_work '^val below' train --data it --arch classic --batch 1 --context 16 --seconds 4 --out $way
    case $way in
      shortened) truncate -s 1000 it ;;
      emptied) : > it ;;
      changed) printf X | dd of=it bs=1 seek=1234 conv=notrunc status=none ;;
    esac
    ends 1 "'it' was "
    [ -s out ] && die "a result was printed"
    grep -q '^saved .*: what was trained up to step' err || die "no word of what is kept"
    only_files $way "$run_files"
    expect 0 tool eval --model $way/model.safetensors --data text
    refuse 1 "the text differs" train --resume --out $way --data long --data text
    cp long it
    expect 0 tool train --resume --out $way --steps 1
  done
  # What is added at the end is not part of the text.
  at_work '^val below' train --data it --arch classic --batch 1 --context 16 --seconds 4 --out grown
  echo more >> it
  wait $process || die "a text that grew ends the training"

  cat long long > it
  cp it whole
  local model=shortened/model.safetensors
  for way in shorter same; do
    at_work it eval --model $model --data it --threads 1
    if [ $way = shorter ]; then truncate -s 100000 it; else printf X | dd of=it bs=1 seek=9 conv=notrunc status=none; fi
    ends 1 "'it' was "
    [ -s out ] && die "a score was printed"
    cp whole it
  done
  for way in shorter longer; do
    at_work it compress --model $model it packed
    if [ $way = shorter ]; then truncate -s 100000 it; else echo more >> it; fi
    ends 1 "'it' "
    [ -e packed ] && die "there is an archive of a text that changed"
    [ -s out ] && die "a result was printed"
    cp whole it
  done
  ls -A | grep -q '\.tmp$' && die "a temporary file is left"
  return 0
}

# --resume knows every byte of its text; a checkpoint of before, which knows samples, is continued with a note.
text_edited() {
  make_text
  for _ in $(seq 1 2800); do cat text; done > long # 10 MB
  expect 0 train --data long --val text --steps 1 --out run
  cp long it
  printf '%050d' 0 | dd of=it bs=1 seek=5005000 conv=notrunc status=none
  refuse 1 "the text differs" train --resume --out run --data it
  expect 0 tool train --resume --out run --data long
  grep -q "older version" err && die "a note without need"

  head -c 500 text > short
  expect 0 train --data short --val short --steps 1 --out old
  local hash=500 byte
  mix64() { # hash = mix64(hash)
    hash=$((hash + 0x9E3779B97F4A7C15))
    hash=$(((hash ^ ((hash >> 30) & 0x3FFFFFFFF)) * 0xBF58476D1CE4E5B9))
    hash=$(((hash ^ ((hash >> 27) & 0x1FFFFFFFFF)) * 0x94D049BB133111EB))
    hash=$((hash ^ ((hash >> 31) & 0x1FFFFFFFF)))
  }
  mix64
  for byte in $(od -An -v -tu1 short); do hash=$(((hash ^ byte) * 0x100000001B3)); done
  mix64
  local key was new
  for key in training validation; do
    was=$(grep -ao "\\\\\"${key}_checksum\\\\\":[0-9]*" old/training.safetensors | head -n 1)
    new=$(printf '\\"%s\\":%u' $key $hash)
    [ -n "$was" ] || die "no $key in the checkpoint"
    while [ ${#new} -lt ${#was} ]; do new="$new "; done # the header's length holds
    sed -i "s/${was//\\/\\\\}/${new//\\/\\\\}/" old/training.safetensors
  done
  without_checksum old/training.safetensors
  expect 0 tool train --resume --out old --steps 2
  grep -q "^warning: this checkpoint is of an older version and has no checksum" err || die "no word of the checksum"
  grep -q "^note: this checkpoint is of an older version" err || die "no note"
  expect 0 tool train --resume --out old --steps 3
  grep -q "older version" err && die "the new checkpoint is of an older version still"
  return 0
}

# Files whose size is not told, or that cannot be read.
odd_files() {
  make_model
  local model=run/model.safetensors file
  for file in /proc/version /sys/kernel/mm/transparent_hugepage/enabled; do
    [ -r $file ] || continue
    cat $file > copy
    expect 0 tool eval --model $model --data $file
    grep -q "\"bytes\":$(wc -c < copy)[,}]" out || die "$file is not read to its end"
    expect 0 tool compress --model $model $file packed
    expect 0 tool decompress --model $model packed unpacked
    cmp copy unpacked || die "$file does not come back"
  done
  mkdir mixed
  cp text mixed/a
  ln -s /proc/self/mem mixed/b # can be opened, but not read
  cp text mixed/c
  expect 0 train --data mixed --steps 1 --out mixed_run
  grep -q "^warning: left out: cannot read 'mixed/b'" err || die "no warning"
  cat text text > both
  expect 0 train --data both --steps 1 --out both_run
  cmp mixed_run/model.safetensors both_run/model.safetensors || die "the rest is not what is trained on"
  refuse 1 "cannot read 'mixed/b'" train --data mixed/b --out none
}

vanished_folder() {
  make_text
  at_work '^val below' train --data text --arch classic --batch 1 --context 16 --steps 1000000000 --out deep/run
  mv deep gone
  kill -INT $process
  ends 130 "--resume --out deep/run"
  grep -q "^warning: the folder 'deep/run' was gone, and is made again" err || die "no word of it"
  only_files deep/run "$run_files"
  expect 0 tool train --resume --out deep/run --steps 1

  # The folder that it was started in.
  mkdir inner
  cp text inner
  cd inner || exit 1
  at_work '^val below' train --data text --arch classic --batch 1 --context 16 --steps 1000000000 --out run
  cd ..
  until rm -r inner 2> /dev/null; do :; done  # the tool may write into it meanwhile
  kill -INT $process
  wait $process
  [ $? -eq 130 ] || die "not interrupted as told"
  only_files inner/run "$run_files"
  cp text inner
  expect 0 tool train --resume --out inner/run --steps 1
}

# What cannot be saved where it was to be is saved elsewhere.
rescue() {
  make_text
  local way
  for way in file link; do
    rm -rf run place gone "$TMPDIR"/*
    mkdir place
    [ $way = file ] || ln -s place run
    at_work '^val below' train --data text --arch classic --batch 1 --context 16 --steps 1000000000 --out run
    if [ $way = file ]; then
      mv run gone  # at once, or the tool could write into a folder that is being removed
      : > run
    else
      mv place gone
    fi
    kill -TERM $process
    ends 1 "what was trained is saved in '$TMPDIR/qllk-rescue-"
    only_files "$TMPDIR"/qllk-rescue-* "model.safetensors training.safetensors"
    expect 0 tool eval --model "$TMPDIR"/qllk-rescue-*/model.safetensors --data text
    expect 0 tool train --resume --out "$TMPDIR"/qllk-rescue-* --steps 1
  done
  rm -rf run gone
  TMPDIR=/nowhere at_work '^val below' train --data text --arch classic --batch 1 --context 16 --steps 1000000000 --out run
  mv run gone
  : > run
  kill -TERM $process
  ends 1 "qllk-train: cannot make the folder"
  grep -q "rescue" err && die "saved nowhere"
  return 0
}

interrupt() { interrupted INT 130; }
terminate() { interrupted TERM 143; }
hang_up() { interrupted HUP 129; }
processor_limit() { interrupted XCPU 152; }

# SIGUSR1 saves and goes on; a signal that was ignored from the start stays ignored.
other_signals() {
  make_text
  at_work '^val below' train --data text "${without_end[@]}" --out run
  kill -USR1 $process
  for _ in $(seq 1 600); do
    grep -q '^saved run after step .*SIGUSR1' err && break
    sleep 0.1
  done
  grep -q '^saved run after step .*SIGUSR1' err || die "no word of the save"
  goes_on "after SIGUSR1"
  expect 0 tool eval --model run/model.safetensors --data text
  kill -TERM $process
  wait $process
  [ $? -eq 143 ] || die "it did not end as told"
  expect 0 tool train --resume --out run --steps 1

  local name
  for name in HUP INT XCPU USR1; do
    rm -f err
    (
      trap '' $name
      exec ${emulator[@]+"${emulator[@]}"} "$bin/qllk-train" --data text "${without_end[@]}" --out ignored_$name
    ) > out 2> err < /dev/null &
    process=$!
    for _ in $(seq 1 600); do
      grep -qs '^val below' err && break
      sleep 0.1
    done
    kill -$name $process
    goes_on "SIG$name was to be ignored"
    kill -TERM $process
    wait $process
    [ $? -eq 143 ] || die "it did not end as told"
  done

  # A terminal that closes may send it twice, and a limit every second: neither ends the save.
  at_work '^val below' train --data text "${without_end[@]}" --out twice
  for _ in 1 2 3 4 5; do kill -HUP $process; done
  ends 129 "--resume --out twice"
  expect 0 tool train --resume --out twice --steps 1

  # A second one does not wait for the end of a step; here both come at once.
  at_work '^val below' train --data text "${without_end[@]}" --out second
  kill -STOP $process
  kill -INT $process
  kill -TERM $process
  kill -CONT $process
  wait $process
  local got=$?
  [ $got -eq 130 ] || [ $got -eq 143 ] || die "status $got"
  grep -q "interrupted after" err && die "it waited"

  # Whoever reads the messages has stopped to.
  mkfifo fifo
  exec 7<> fifo
  head -c 65536 /dev/zero >&7
  set -m
  ${emulator[@]+"${emulator[@]}"} "$bin/qllk-train" --data text "${without_end[@]}" --out stuck > out 2>&7 < /dev/null &
  process=$!
  set +m
  sleep 2
  kill -TERM $process
  for _ in $(seq 1 100); do
    kill -0 $process 2> /dev/null || break
    sleep 0.1
  done
  kill -KILL $process 2> /dev/null && die "it still waits for whoever reads its messages"
  wait $process
  [ $? -eq 143 ] || die "it did not end as told"
  exec 7>&-
}

# A tool that waits for a pipe ends when it is told to, and leaves nothing behind.
signals_while_waiting() {
  make_model
  mkfifo pipe
  local model=run/model.safetensors writer kind
  for kind in closed open; do
    if [ $kind = open ]; then
      sleep 1000 <> pipe > pipe & # somebody who writes nothing
      writer=$!
    fi
    for command in "train --data pipe --out waits" "train --data - --out waits" "eval --model $model --data pipe" \
      "compress --model $model pipe packed" "decompress --model $model pipe unpacked" \
      "generate --model $model --prompt -"; do
      [[ $kind = closed && $command = *" -"* ]] && [[ $command != *pipe* ]] && continue
      set -m
      if [[ $command = *pipe* ]]; then
        ${emulator[@]+"${emulator[@]}"} "$bin/"qllk-$command > out 2> err < /dev/null &
      else
        ${emulator[@]+"${emulator[@]}"} "$bin/"qllk-$command > out 2> err < pipe &
      fi
      process=$!
      set +m
      sleep 1
      kill -TERM $process
      for _ in $(seq 1 50); do
        kill -0 $process 2> /dev/null || break
        sleep 0.1
      done
      kill -KILL $process 2> /dev/null && die "it still waits: $command"
      wait $process
      [ $? -eq 143 ] || die "not status 143: $command"
    done
  done
  kill $writer
  only_files . "err out pipe run text"
}

# Time in which the process is stopped is no training.
suspension() {
  make_text
  at_work '^val below' train --data text --arch classic --batch 1 --context 16 --seconds 4 --out run
  kill -STOP $process
  sleep 5
  kill -CONT $process
  local before=$SECONDS
  wait $process || die "it failed"
  [ $((SECONDS - before)) -ge 2 ] || die "the budget was used up while it was stopped"
  awk "BEGIN { s = $(sed 's/.*"seconds":\([0-9.]*\).*/\1/' out); exit !(s >= 4 && s < 5) }" || die "not four seconds"
}

# A limit of file sizes is an error of the write; nothing half-written stays.
file_size_limit() {
  make_model
  make_long_text
  head -c 30000 long > it
  local model=run/model.safetensors
  expect 0 tool compress --model $model it packed
  mkdir limited
  for command in "compress --model $model it limited/q" "decompress --model $model packed limited/u"; do
    (
      ulimit -f 8
      tool $command > out 2> err
    )
    [ $? -eq 1 ] || die "not status 1: $command"
    grep -q "cannot write 'limited/.': File too large" err || die "no clear line: $command"
    [ -z "$(ls -A limited)" ] || die "left: $(ls -A limited)"
  done
  (
    ulimit -f 8
    tool generate --model $model --bytes 20000 > limited/generated 2> err
  )
  [ $? -eq 1 ] || die "generate: not status 1"
  grep -q "^qllk-generate: cannot write to standard output: File too large" err || die "no clear line"
}

# What lies in a folder beside the text is not trained on, and one file counts once.
text_of_folders() {
  make_text
  mkdir here
  cp text here/text
  in_here() { (cd here && "$@"); }
  expect 0 in_here train --data . --steps 2
  mkdir here/.git
  cp text here/.git/object
  expect 0 in_here tool compress --model qllk-out/1/model.safetensors text packed
  expect 0 in_here tool report qllk-out/1 --svg picture.svg
  cp here/qllk-out/1/training.safetensors here/renamed.bin
  ln here/text here/twin
  expect 0 in_here train --data . --steps 2
  cmp here/qllk-out/1/model.safetensors here/qllk-out/2/model.safetensors || die "something else was trained on"
  for word in "'./.git' is a hidden folder" "model.safetensors' is a model or checkpoint" \
    "metrics.jsonl' is a file of metrics" "report.html' is a report" "picture.svg' is a picture" \
    "'./packed' is a file of qllk-compress" "'./renamed.bin' is a model or checkpoint" "is the same file as"; do
    grep -q "^warning: left out: .*$word" err || die "no word: $word"
  done
  expect 0 train --data text --steps 2 --out once
  expect 0 train --data text --data text --steps 2 --out twice
  grep -q "^warning: left out: 'text' is the same file as 'text', which counts once" err || die "no word"
  cmp once/model.safetensors twice/model.safetensors || die "it counts twice"
  expect 0 train --data here/.git --steps 1 --out asked_for # by its name
}

# Compressed files are the text that they hold, and a pattern is what it matches.
compressed_texts() {
  make_long_text
  mkdir plain packed
  split -b 90000 long plain/part-
  local file
  for file in plain/*; do gzip -c "$file" > "packed/${file#plain/}.gz"; done
  expect 0 train --data plain --steps 3 --out as_is
  "$bin/qllk-train" --data packed --arch classic --batch 1 --context 16 --steps 1 --out probe > out 2> err
  if grep -q "built without zlib" err; then
    echo "skipped: built without zlib"
    return
  fi
  expect 0 train --data packed --steps 3 --out from_gz
  cmp as_is/model.safetensors from_gz/model.safetensors || die "another text"
  expect 0 train --data 'packed/part-*.gz' --steps 3 --out by_pattern
  cmp as_is/model.safetensors by_pattern/model.safetensors || die "another text"
  expect 0 train --resume --steps 4 --out from_gz
  head -c 200 packed/part-aa.gz > cut.gz
  refuse 1 "'cut.gz' is cut short: the end of its compressed data is missing" train --data cut.gz
  refuse 1 "no file matches 'packed/*.txt'" train --data 'packed/*.txt'
  cp cut.gz packed/zz.gz
  expect 0 train --data packed --steps 3 --out without_it
  grep -q "^warning: left out: 'packed/zz.gz' is cut short" err || die "no word"
  cmp as_is/model.safetensors without_it/model.safetensors || die "a file that is cut short was trained on"
  TMPDIR=/nowhere refuse 1 "TMPDIR" train --data packed/part-aa.gz
}

# The share of the text to score on that is trained on too.
overlap() {
  for _ in $(seq 1 2000); do echo "$RANDOM $RANDOM $RANDOM $RANDOM"; done > a
  for _ in $(seq 1 2000); do echo "$RANDOM $RANDOM $RANDOM $RANDOM"; done > b
  cat a b > both
  expect 0 train --data a --val b --steps 1 --out none
  grep -q "of the held-out text is in" err && die "a warning without need"
  grep -q '"val_overlap":0.0[,}]' out || die "not 0"
  expect 0 train --data a --val a --steps 1 --out same
  grep -q "^warning: 100.0 % of the held-out text is in the training text" err || die "no warning"
  grep -q '"val_overlap":1.0[,}]' out || die "not 1"
  expect 0 train --data both --val b --steps 1 --out inside
  grep -q "^warning: 100.0 %" err || die "no warning"
  expect 0 train --data a --val both --steps 1 --out half
  grep -qE "^warning: (4[5-9]|5[0-5])\.. %" err || die "not the half"
}

# A pipe or a device is written to, and not replaced.
streams() {
  make_model
  local model=run/model.safetensors
  expect 0 tool compress --model $model text usual
  cp out sizes
  local name
  for name in - /dev/stdout; do
    tool compress --model $model text $name > packed 2> err || die "compress to $name"
    cmp packed usual || die "$name got other bytes"
    cmp err sizes || die "the sizes are not on standard error"
    tool compress --model $model text $name 2> err | cat > packed || die "compress to a pipe"
    cmp packed usual || die "a pipe got other bytes"
    tool decompress --model $model - $name < usual > unpacked 2> err || die "decompress from - to $name"
    cmp text unpacked || die "$name got another text"
  done
  tool compress --model $model - packed < text > out 2> err || die "compress from -"
  cmp packed usual || die "- is another text"
  expect 0 tool compress --model $model text /dev/null
  cmp out sizes || die "other sizes"
  [ -c /dev/null ] || die "/dev/null was replaced"
  tool compress --model $model text /dev/null > /dev/null 2> err || die "to /dev/null twice"
  mkfifo pipe
  cat pipe > packed &
  expect 0 tool compress --model $model text pipe
  wait
  cmp packed usual || die "a named pipe got other bytes"
  [ -p pipe ] || die "the pipe was replaced"
  refuse 1 "'/dev/full': No space left" compress --model $model text /dev/full
  tool compress --model $model text - >> text 2> err && die "it reads what it writes"
  tool compress --model $model text - 2> err | true
  tool compress --model $model text - 2>&1 > /dev/full | grep -q "^qllk-compress: cannot write 'standard output'" ||
    die "no clear line"
}

# Names of any bytes are told in one line without harm, and found again.
names() {
  make_text
  head -n 20 text > other
  local name long
  long=$(printf 'n%.0s' $(seq 1 200))
  for name in 'a b [c] {d}' $'new\nline' $'not \xff UTF-8' $'escape \e[31m' '"quoted\' "$long/$long/$long"; do
    mkdir -p "$name"
    cp text "$name/text"
    expect 0 train --data "$name/text" --val "$name/text" --steps 1 --out "$name/run"
    grep -q $'\e' err && die "an escape code reaches the terminal"
    grep -q "^line" err && die "a name breaks a line"
    json_has model
    expect 0 tool train --resume --out "$name/run" --steps 2
    expect 0 tool eval --model "$name/run/model.safetensors" --data "$name"
    expect 0 tool compress --model "$name/run/model.safetensors" "$name/text" "$name/packed"
    expect 0 tool decompress --model "$name/run/model.safetensors" "$name/packed" "$name/unpacked"
    cmp text "$name/unpacked" || die "another text"
    refuse 1 "cannot open '" eval --model "$name/missing" --data text
    refuse 1 "the text differs" train --resume --out "$name/run" --data other
    grep -q $'\e' err && die "an escape code reaches the terminal"
  done
  expect 0 tool train --resume --out $'not \xff UTF-8/run' --steps 2
  tail -n 1 out | grep -q '"model_hex":"6e6f7420ff205554462d382f72756e2f6d6f64656c2e7361666574656e736f7273"' ||
    die "the name is lost"
  long=$(printf '/n%.0s' $(seq 1 3000))
  refuse 1 "File name too long" train --arch classic --data "$long" --out o
  refuse 1 "File name too long" train --arch classic --batch 1 --context 16 --data text --out "$long"
  refuse 1 "File name too long" eval --model "$long" --data text
}

# What a file says of its checksum is no longer said: as files of before.
without_checksum() { sed -i 's/"checksum":"/"checksux":"/' "$1"; }

# A weight that was altered is found; a file of before, without a checksum, is taken with a warning.
damage() {
  make_model
  local model=run/model.safetensors size at
  size=$(wc -c < $model)
  for at in $((size - 5)) $((size / 2)) $((size / 3 + 1)); do
    cp $model bad
    printf '\x21' | dd of=bad bs=1 seek=$at conv=notrunc status=none
    refuse 1 "'bad' is damaged: its checksum is wrong" eval --model bad --data text
    refuse 1 "is damaged" generate --model bad
    refuse 1 "is damaged" compress --model bad text packed
  done
  cp -r run whole
  size=$(wc -c < run/training.safetensors)
  printf '\x21' | dd of=run/training.safetensors bs=1 seek=$((size / 2)) conv=notrunc status=none
  refuse 1 "run/training.safetensors' is damaged" train --resume --out run
  cp $model old
  without_checksum old
  expect 0 tool eval --model old --data text
  grep -q "^warning: 'old' is of an older version and has no checksum" err || die "no warning"
}

# A damaged checkpoint is not the end of a run: the one before it is continued.
two_generations() {
  make_text
  expect 0 train --data text --steps 9 --out straight
  expect 0 train --data text --steps 9 --seconds 0.000001 --out run # stops after a step
  [ -e run/training.previous.safetensors ] && die "there is a checkpoint before the first"
  cp run/training.safetensors first
  expect 0 tool train --resume --out run --steps 9
  cmp first run/training.previous.safetensors || die "the first checkpoint is not kept"
  cp -r run whole
  local way
  for way in flipped cut gone; do
    rm -rf run
    cp -r whole run
    case $way in
      flipped) printf '\x21' | dd of=run/training.safetensors bs=1 seek=2000000 conv=notrunc status=none ;;
      cut) : > run/training.safetensors ;;
      gone) rm run/training.safetensors ;;
    esac
    expect 0 tool train --resume --out run --steps 9
    grep -q "^warning: .*run/training.safetensors'.* the run goes on from 'run/training.previous.safetensors', .* at step 1$" err ||
      die "no word of it ($way)"
    cmp straight/model.safetensors run/model.safetensors || die "other weights ($way)"
    cmp first run/training.previous.safetensors || die "what is damaged took the place of what is not ($way)"
    expect 0 tool train --resume --out run --steps 10
    grep -q "goes on from" err && die "a warning without need ($way)"
  done
  rm -rf run
  cp -r whole run
  for way in training training.previous; do printf '\x21' | dd of=run/$way.safetensors bs=1 seek=2000000 conv=notrunc status=none; done
  refuse 1 "is damaged" train --resume --out run
  mkdir only
  cp first only/training.previous.safetensors
  refuse 1 "is there already" train --arch classic --data text --out only
}

# Arithmetic that is not that of before is told, and a run that can go nowhere ends.
arithmetic() {
  make_model
  expect 0 tool train --resume --out run --steps 3
  grep -q "^warning: this run was trained by another build" err && die "a warning without need"
  sed -i 's/Eigen 3\.4/Eigen 3.3/' run/training.safetensors
  without_checksum run/training.safetensors
  expect 0 tool train --resume --out run --steps 4
  grep -q "^warning: this run was trained by another build" err || die "no word of another build"

  local before
  expect 1 train --data text --steps 1000 --set adam.learning_rate=1e37 --out far
  tail -n 1 err | grep -q "^qllk-train: 10 updates in a row, .*the training has diverged. 'far/training.safetensors' has" ||
    die "no clear line"
  only_files far "$run_files"
  before=$(cksum far/training.safetensors)
  expect 1 tool train --resume --out far --steps 1000
  [ "$(cksum far/training.safetensors)" = "$before" ] || die "the checkpoint was replaced"
}

# What products are rounded to is a setting of the run: chosen once, saved with it, the same for any number of threads.
precision() {
  make_text
  refuse 2 --precision train --data text --precision double --steps 1
  expect 0 train --data text --steps 5 --precision float --out float
  expect 0 train --data text --steps 5 --precision bfloat16 --out rounded
  grep -q '"precision":"bfloat16"' err || die "the run does not say what it rounds to"
  cmp -s float/model.safetensors rounded/model.safetensors && die "nothing was rounded"
  expect 0 train --data text --steps 5 --seconds 0.000001 --precision bfloat16 --out stopped
  expect 1 tool train --resume --out stopped --precision float --steps 5
  grep -q "^qllk-train: --precision is \"float\", but the run to continue has \"bfloat16\"" err || die "no clear line"
  expect 0 tool train --resume --out stopped --steps 5 --threads 2
  cmp rounded/model.safetensors stopped/model.safetensors || die "stopping changed the weights"
}

resume() {
  make_text
  expect 0 train --data text --steps 5 --out straight
  # The second budget ends this run after its first step.
  expect 0 train --data text --steps 5 --seconds 0.000001 --out stopped
  cmp -s straight/model.safetensors stopped/model.safetensors && die "it did not stop"
  mkdir elsewhere
  cd elsewhere || exit 1 # the checkpoint knows where its text is
  expect 0 tool train --resume --out ../stopped --steps 5 --threads 3
  mv out err ..
  cd ..
  cmp straight/model.safetensors stopped/model.safetensors || die "stopping changed the weights"
  json_has val_bits_per_byte val_nats_per_byte train_bits_per_byte bytes_seen seconds bytes_per_second parameters \
    peak_rss_bytes threads model
  expect 0 tool train --resume --out stopped
  ! grep -q "^note: the learning rate" err || die "the budget is the same"
}

# The score on the way is of all of the held-out text, not of its beginning, which is easy here.
quick_score() {
  head -c 3000 /dev/zero | tr '\0' a > easy
  { head -c 33000 /dev/zero | tr '\0' a; head -c 99000 /dev/urandom; } > mixed
  expect 0 train --data easy --val mixed --steps 60 --out run
  grep -q "^val below   a quick score of 8 pieces of 4,096 held-out bytes" err || die "no word of the pieces"
  local quick full
  full=$(sed 's/.*"val_bits_per_byte":\([0-9.]*\).*/\1/' out)
  expect 0 tool train --resume --out run --steps 61 # takes the quick score first
  quick=$(sed -n 's/.*"step":60,.*"val_bits_per_byte":\([0-9.]*\).*/\1/p' run/metrics.jsonl | tail -n 1)
  awk "BEGIN { q = $quick / $full; exit !($full > 4 && q > 0.8 && q < 1.2) }" || die "quick $quick, all of it $full"
  tool eval --model run/model.safetensors --data easy > out 2> err
  awk "BEGIN { exit !($(sed 's/.*"bits_per_byte":\([0-9.]*\).*/\1/' out) < 2) }" || die "the beginning is not easy"
  make_text
  expect 0 train --data text --steps 2 --out small
  grep -q "^val below   of all 246 held-out bytes$" err || die "a small text is not scored whole"
}

# metrics.jsonl goes on where the checkpoint stands, and never ends a run.
metrics() {
  make_text
  expect 0 train --data text --steps 5 --out run
  cp out result
  local file=run/metrics.jsonl key
  head -n 1 $file | grep -q '^{"format":"qllk-metrics","step":0,' || die "the first row"
  grep -c '"format"' $file | grep -qx 1 || die "the format is told twice"
  for key in bytes_seen seconds train_bits_per_byte val_bits_per_byte learning_rate gradient_norm bytes_per_second \
    rss_bytes sample full_val_bits_per_byte; do
    grep -q "\"$key\":" $file || die "no $key"
  done
  grep -v '^{.*}$' $file && die "a line is no object"
  [ "$(sed -n 's/.*"full_val_bits_per_byte":\([0-9.]*\).*/\1/p' $file)" = \
    "$(sed 's/.*"val_bits_per_byte":\([0-9.]*\).*/\1/' result)" ] || die "another score"

  # Rows of training that was lost, and half a row.
  cp $file before
  printf '{"step":9,"bytes_seen":144,"seconds":9.0}\n{"step":1' >> $file
  expect 0 tool train --resume --out run --steps 7
  cmp -n "$(wc -c < before)" before $file || die "rows of before are lost"
  sed 's/.*"step":\([0-9]*\).*/\1/' $file > steps
  sort -nc steps && [ "$(tail -n 1 steps)" -eq 7 ] || die "the steps are $(tr '\n' ' ' < steps)"
  rm $file
  expect 0 tool train --resume --out run --steps 8
  head -n 1 $file | grep -q '^{"format":"qllk-metrics","step":7,' || die "it does not begin where the checkpoint stands"
  rm $file run/report.html
  expect 0 tool train --resume --out run --steps 1 # nothing is left to train
  [ -s $file ] && [ -s run/report.html ] || die "the score is not told"

  mkdir -p other/metrics.jsonl mine
  expect 0 train --data text --steps 2 --out other
  [ "$(grep -c "^warning: the metrics of the run are not written: .*'other/metrics.jsonl'" err)" -eq 1 ] || die "no word"
  echo "a file of somebody" > mine/metrics.jsonl
  expect 0 train --data text --steps 2 --out mine
  grep -q "^warning: the metrics .*'mine/metrics.jsonl' is not a file of metrics" err || die "no word of another's file"
  [ "$(cat mine/metrics.jsonl)" = "a file of somebody" ] || die "another's file is gone"
}

# is_page FILE WORDS…: a page that needs nothing else, without scripts, that has the words.
is_page() {
  local file=$1 word
  shift
  head -n 1 "$file" | grep -qx '<!doctype html>' || die "$file is no page"
  tail -n 1 "$file" | grep -qx '</body></html>' || die "$file is cut short"
  [ "$(wc -c < "$file")" -lt 1000000 ] || die "$file has 1 MB or more"
  grep -qiE '<script|<[^>]*(https?:|src=)|@import|url\([^#]' "$file" && die "$file needs or runs something else"
  grep -qE '(NaN|nan|inf)[ "<L]' "$file" && die "$file has what is no number"
  for word in "$@"; do grep -qF -- "$word" "$file" || die "$file lacks '$word'"; done
}

# An SVG file that needs no other one, with these words in it.
is_picture() {
  local picture=$1 word
  shift
  [ "$(head -c 26 "$picture")" = "$(printf '<!-- qllk-report -->\n<svg ')" ] || die "$picture does not begin as a picture"
  [ "$(tail -n 1 "$picture")" = "</svg>" ] || die "$picture has no end"
  grep -qE '(href|src|url)=|<script|<image|@import|(NaN|nan|inf)[ "<L]' "$picture" && die "$picture needs more, or has no number"
  for word in "$@"; do grep -qF -- "$word" "$picture" || die "$picture lacks '$word'"; done
  if command -v python3 > /dev/null; then
    python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$picture" || die "$picture is no XML"
  fi
}

# report.html, for people: all text in it is only text, and it never ends a run.
report() {
  mkdir '<b>&"'
  for i in $(seq 1 60); do echo "<script>alert('$i & more')</script> <img src=x>"; done > '<b>&"/text'
  expect 0 train --data '<b>&"/text' --steps 30 --out '<i>run'
  is_page '<i>run/report.html' "bits per byte" "learning rate" "gradient norm" "throughput" "memory of the process" \
    "Held-out text by what it costs" "Samples through time" "Configuration" "&lt;b&gt;&amp;&quot;/text" \
    "qllk-train: &lt;i&gt;run"
  grep -q '<path class="c0 faint line" d="M' '<i>run/report.html' || die "no curve"
  local letters
  letters=$(sed -n '/<h2>Held-out/,/<h2>Samples/p' '<i>run/report.html' | sed 's/<[^>]*>//g; s/&#39;/+/g; s/&amp;/+/g')
  grep -qF "&lt;script&gt;alert(+60 + more+)&lt;/script&gt;" <<< "$letters" || die "the text is another: $letters"
  make_text
  mkdir -p other/report.html mine
  expect 0 train --data text --steps 2 --out other
  [ "$(grep -c "^warning: the report of the run is not written: .*'other/report.html'" err)" -eq 1 ] || die "no word"
  echo "a file of somebody" > mine/report.html
  expect 0 train --data text --steps 2 --out mine
  grep -q "^warning: the report .*'mine/report.html' is there already and is no report" err || die "no word of another's file"
  [ "$(cat mine/report.html)" = "a file of somebody" ] || die "another's file is gone"

  expect 0 tool report '<i>run' mine --out both.html
  is_page both.html "2 runs" "&lt;i&gt;run" "mine" "bits per byte"
  grep -q '<path class="c1 faint line" d="M' both.html || die "no curve of the second run"
  expect 0 tool report mine/metrics.jsonl
  is_page qllk-report.html "mine/metrics.jsonl"
  expect 0 tool report mine --out -
  cp out page
  is_page page "mine"
  refuse 1 "'missing'" report missing
  refuse 1 "is not a file of metrics" report text
  refuse 1 "'text' is there already and is no report" report mine --out text
  expect 0 tool report '<i>run' --svg run.svg
  expect 0 tool report '<i>run' mine --svg run.svg
  is_picture run.svg "bits per byte" ", &lt;i&gt;run<" "all held-out text at the end: " "mine<"
  expect 0 tool report mine --svg -
  cp out picture
  is_picture picture "bits per byte" "seconds of training" "training, smoothed" "validation, quick score"
  refuse 1 "'text' is there already and is no picture" report mine --svg text
  refuse 1 "'qllk-report.html' is there already and is no picture" report mine --svg qllk-report.html
  refuse 2 "excludes" report mine --svg run.svg --out page.html
  refuse 1 "'gone/x'" report mine --out gone/x
  refuse 2 "RUN" report
}

# What a browser makes of it, where there is one.
report_in_browser() {
  local browser
  browser=$(command -v chromium) && [ ${#emulator[@]} -eq 0 ] || {
    echo "skipped: chromium is not installed"
    return 0
  }
  make_text
  expect 0 train --data text --steps 30 --out run
  HOME=$folder timeout 60 "$browser" --headless=new --no-sandbox --disable-gpu --enable-logging=stderr \
    --user-data-dir="$folder/browser" --dump-dom "file://$folder/run/report.html" > out 2> err || {
    echo "skipped: chromium does not start here"
    return 0
  }
  grep -q CONSOLE err && die "the console has something to say"
  [ "$(grep -o '<svg' out | wc -l)" -eq 6 ] || die "not six charts"
}

info() {
  make_model
  expect 0 tool info run/model.safetensors
  grep -q "^kind  *model$" out && grep -q "^checksum  *ok$" out && grep -q "^arch  *classic$" out || die "what it is"
  grep -q "^parameters  *2,765,824$" out && grep -q '^config  *{"dim":256,"layers":4,"patch":8}$' out || die "its size"
  expect 0 tool info run/training.safetensors
  grep -q "^kind  *checkpoint$" out && grep -q "^parameters  *2,765,824$" out || die "averages are counted as parameters"
  grep -q '^progress .*"steps":2' out && grep -q "^optimizer  *adamw$" out || die "no facts of the training"
  expect 0 tool info run
  grep -q "^kind  *model$" out || die "not the model of the folder"
  expect 0 tool convert run half
  expect 0 tool info half
  grep -q "^kind  *model$" out || die "not the model of the folder in 16 bits"
  expect 0 tool info --tensors run/model.safetensors
  grep -q "^  *decoder_head.bias  F32  2048$" out || die "no tensor"
  expect 0 tool info --json run/training.safetensors
  json_has file kind bytes checksum parameters metadata tensors budget progress settings
  grep -q "\"bytes\":$(wc -c < run/training.safetensors)," out || die "another size"

  cp run/model.safetensors bad
  printf '\x21' | dd of=bad bs=1 seek=200000 conv=notrunc status=none
  expect 1 tool info bad
  grep -q "^checksum  *wrong$" out || die "the damage is not told"
  [ "$(cat err)" = "qllk-info: 'bad' is damaged: its checksum is wrong" ] || die "no clear line"
  cp run/model.safetensors old
  without_checksum old
  expect 0 tool info old
  grep -q "^checksum  *none$" out || die "a checksum that is not there"
  printf '\x02\0\0\0\0\0\0\0{}' > foreign
  expect 0 tool info --json foreign
  grep -q '"kind":"safetensors of another program"' out || die "not another's"
  head -c 100000 run/model.safetensors > cut
  refuse 1 "'cut' is cut short" info cut
  refuse 1 "'text'" info text
  refuse 1 "'missing'" info missing
}

# Event files hold the numbers of the metrics, as a reader of their format finds them.
tensorboard() {
  command -v python3 > /dev/null || { echo "skipped: python3 is not installed"; return 0; }
  make_text
  expect 0 train --data text --steps 20 --out run
  expect 0 tool report run --tensorboard events
  only_files events run
  only_files events/run events.out.tfevents.qllk
  python3 "$(dirname "$0")/events.py" events/run/events.out.tfevents.qllk > scalars || die "not an event file"
  grep -q "^20 full_val_bits_per_byte" scalars || die "no score at the end"
  python3 - << 'PYTHON' || die "other numbers than the metrics"
import json
rows = [json.loads(line) for line in open("run/metrics.jsonl")]
read = [line.split() for line in open("scalars")]
names = ("bits_per_byte", "learning_rate", "gradient_norm", "bytes_per_second", "rss_bytes")
expected = [(row["step"], key, row[key]) for row in rows for key in row if key.endswith(names)]
assert len(expected) == len(read) > 5, (len(expected), len(read))
for (step, key, value), (s, k, v) in zip(expected, read):
    assert (str(step), key) == (s, k) and abs(float(v) - value) <= 1e-6 * abs(value), (step, key, value, v)
PYTHON
  cp -r run other
  mkdir deeper && cp -r run deeper/run
  expect 0 tool report run other/metrics.jsonl deeper/run/ --tensorboard all
  [ "$(ls all | tr '\n' ' ')" = "1 3 other " ] || die "names of runs: $(ls all)"
  touch file
  refuse 1 "file" report run --tensorboard file
}

# Half the bytes; every tool reads them; what cannot be converted stays as it is.
convert() {
  make_model
  local model=run/model.safetensors type score other
  local size
  size=$(wc -c < $model)
  expect 0 tool eval --model $model --data text
  score=$(sed 's/.*"bits_per_byte":\([0-9.]*\).*/\1/' out)
  for type in float16 bfloat16; do
    expect 0 tool convert --to $type $model $type
    [ "$(wc -c < $type)" -lt $((size * 51 / 100)) ] || die "$type is larger than half: $(wc -c < $type) of $size"
    expect 0 tool info $type
    grep -q "^checksum  *ok$" out && grep -q "^parameters  *2,765,824$" out || die "another model: $type"
    expect 0 tool eval --model $type --data text
    other=$(sed 's/.*"bits_per_byte":\([0-9.]*\).*/\1/' out)
    awk "BEGIN { exit !($other - $score < 0.01 && $score - $other < 0.01) }" || die "$score became $other: $type"
    expect 0 tool convert --to float32 $type wide
    expect 0 tool convert --to $type wide again
    cmp -s again $type || die "$type is not what its float32 was made from"
    expect 0 tool generate --model $type --bytes 5
  done
  cmp -s float16 bfloat16 && die "both types are one"
  expect 0 tool convert --to float32 $model same
  cmp -s same $model || die "float32 is not what it was"
  cp $model itself
  expect 0 tool convert itself itself
  cmp -s itself float16 || die "a file cannot be converted in place"

  refuse 1 "training checkpoint" convert run/training.safetensors to
  refuse 1 "'text'" convert text to
  refuse 1 "'missing'" convert missing to
  refuse 1 "'gone/to'" convert $model gone/to
  refuse 2 "int4" convert --to int4 $model to
  printf 'P\0\0\0\0\0\0\0%-80s' '{"large":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' > large
  printf '\x00\x00\x80\x4f' >> large # 2^32
  refuse 1 "tensor 'large' that is not finite as F16" convert large to
  expect 0 tool convert --to bfloat16 large to
  cp $model bad
  printf '\x21' | dd of=bad bs=1 seek=200000 conv=notrunc status=none
  refuse 1 "checksum is wrong" convert bad other
  [ ! -e other ] || die "a damaged file was converted"
}

# sum COLUMN FILE
sum() { awk -F '\t' "{ s += \$$1 } END { printf \"%.2f\", s }" "$2"; }

# Bits of each line.
lines() {
  make_model
  local model=run/model.safetensors
  { cat text; printf 'a tab\there, a \\ and \xff\x01\r\nthe same line\nthe same line\n\nno end'; } > it
  expect 0 tool eval --model $model --data it
  local all
  all=$(sed 's/.*"nats_per_byte":\([0-9.]*\),"bytes":\([0-9]*\).*/\1 \2/' out | awk '{ print $1 * $2 / log(2) }')
  expect 0 tool eval --model $model --data it --lines
  cp out rows
  [ "$(wc -l < rows)" -eq 65 ] || die "not 65 rows"
  awk -F '\t' 'NF != 4 || $3 != NR || $1 < 0 { exit 1 }' rows || die "not four columns, or not in order"
  awk "BEGIN { d = $(sum 1 rows) / $all; exit !(d > 0.9999 && d < 1.0001) }" || die "the sum is $(sum 1 rows), not $all"
  grep -qF '"bytes":'"$(wc -c < it)" err || die "no score of all lines"
  printf '%b' "$(cut -f 4 rows)" | cmp - it || die "the text is another"
  tool eval --model $model --data - --lines < it 2> err | cmp - rows || die "standard input is another text"
  tool eval --model $model --data it --lines 2> err | head -n 1 > out || die "a reader that leaves"
  [ -s err ] && grep -q qllk-eval err && die "a reader that leaves is no error to talk about"

  expect 0 tool eval --model $model --data it --lines --fresh-lines --threads 1
  cp out rows
  [ "$(grep -c "$(grep 'the same line' rows | head -n 1 | cut -f 1,2)" rows)" -eq 2 ] || die "one line has two costs"
  printf 'the same line\n' > one
  expect 0 tool eval --model $model --data one --lines
  [ "$(cut -f 1,2 out)" = "$(grep 'the same line' rows | head -n 1 | cut -f 1,2)" ] || die "not as the whole text"
  expect 0 tool eval --model $model --data it --lines --fresh-lines --threads 3
  cmp out rows || die "threads change the costs"
  expect 0 tool eval --model $model --data it --lines --int8
  awk "BEGIN { d = $(sum 1 out) / $all; exit !(d > 0.98 && d < 1.02) }" || die "8 bits are far from it"

  # A long line is one row.
  { head -c 300000 /dev/zero | tr '\0' a; echo; echo b; } > wide
  expect 0 tool eval --model $model --data wide --lines
  [ "$(wc -l < out)" -eq 2 ] && [ "$(wc -c < out)" -gt 300000 ] || die "the long line is cut"
  refuse 1 "--lines takes one text" eval --model $model --data it --data one --lines
  refuse 2 "--lines" eval --model $model --data it --fresh-lines
  tool eval --model $model --data it --lines > /dev/full 2> err && die "no error for a full disk"
  grep -q "^qllk-eval: cannot write to standard output" err || die "no clear line"
}

# Bits by position in documents: both columns are of the same bytes, and whatever the document, all text before it is.
positions() {
  make_model
  local model=run/model.safetensors
  cat text text > it
  expect 0 tool eval --model $model --data it --positions 512
  cp out rows
  [ "$(wc -l < rows)" -eq 18 ] || die "not nine rows of each kind"
  awk -F '\t' 'NF != 3 || ($1 != "fresh" && $1 != "carried") || $2 != 2 ^ ((NR - 1) % 9) || $3 <= 0 { exit 1 }' rows ||
    die "not three columns, or not in order"

  # Documents of the whole text but one byte of it: the second one's carried bits are those of its lines.
  local half=$(($(wc -c < it) / 2))
  expect 0 tool eval --model $model --data it --positions $half
  awk -F '\t' "\$1 == \"carried\" { n = \$2 == 1 ? 2 : \$2; if (2 * \$2 > $half) n = $half - \$2; s += n * \$3 }
    END { printf \"%.0f\", s }" out > sum
  tool eval --model $model --data it --lines 2> err | tail -n 60 > lines
  local difference=$(($(cat sum) - $(sum 1 lines | cut -d . -f 1)))
  [ ${difference#-} -le 2 ] || die "carried bits are $(cat sum), not $(sum 1 lines)"
  refuse 1 "--positions cuts the text into documents of 1000000 bytes" eval --model $model --data it --positions 1000000
  refuse 1 "--positions takes one text" eval --model $model --data it --data text --positions 512
  refuse 2 "--positions" eval --model $model --data it --positions 1
}

# Several texts: each by itself, and all together.
several_texts() {
  make_model
  local model=run/model.safetensors
  head -n 5 text > a
  tail -n 7 text > b
  expect 0 tool eval --model $model --data a
  cp out alone
  expect 0 tool eval --model $model --data a --data b
  [ "$(wc -l < out)" -eq 3 ] || die "not three objects"
  grep -q '^{"text":"a",' out && grep -q '^{"text":"b",' out && grep -q '^{"texts":2,' out || die "whose they are"
  [ "$(sed -n '1s/.*\("bits_per_byte":.*\),"seconds".*/\1/p' out)" = \
    "$(sed -n '1s/.*\("bits_per_byte":.*\),"seconds".*/\1/p' alone)" ] || die "the first changes the second"
  sed 's/.*"nats_per_byte":\([0-9.]*\),"bytes":\([0-9]*\).*/\1 \2/' out | awk '
    NR < 3 { s += $1 * $2; n += $2 }
    NR == 3 { d = $1 * $2 / s; exit !(n == $2 && d > 0.99999 && d < 1.00001) }' || die "all is not the sum"
  refuse 1 "'missing'" eval --model $model --data a --data missing
  refuse 1 "twice" eval --model $model --data - --data -
}

# Texts that end where a string comes, and that people continue.
stop_strings() {
  make_text
  expect 0 train --data text --steps 200 --out run
  local command=(tool generate --model run/model.safetensors --prompt "Line 1" --temperature 0.3 --seed 5) usual stop
  usual=$("${command[@]}" --bytes 60 | tr '\0' '?')
  stop=${usual:20:3}
  expect 0 "${command[@]}" --bytes 60 --stop "$stop"
  [ "$(cat out)" = "${usual%%"$stop"*}" ] || die "not ended at '$stop': $(cat out), but usual is $usual"
  expect 0 "${command[@]}" --bytes 60 --stop "never in it" --stop "$stop"
  [ "$(cat out)" = "${usual%%"$stop"*}" ] || die "the second string is not looked for"
  expect 0 "${command[@]}" --bytes 60 --stop "${usual:58:2}never"
  [ "$(cat out)" = "$usual" ] || die "what waits at the end is lost"
  refuse 1 "--stop is empty" generate --model run/model.safetensors --stop ""

  command=(tool generate --model run/model.safetensors --seed 3)
  expect 0 "${command[@]}" --prompt "Line" --bytes 40
  cp out whole
  printf 'Line\n\n' | "${command[@]}" --interactive --bytes 20 > out 2> err || die "not interactive"
  { head -c 20 whole; echo; tail -c 20 whole; echo; } | cmp - out || die "the text does not go on"
  [ -s err ] && die "a pipe is no person to talk to"
  printf 'ne\n' | "${command[@]}" --interactive --prompt Li --bytes 20 > out || die "not after a prompt"
  { head -c 20 whole; echo; } | cmp - out || die "the prompt is not part of the text"
  expect 0 "${command[@]}" --interactive
  [ -s out ] && die "text for nobody"
  refuse 1 "give the prompt as text" generate --model run/model.safetensors --interactive --prompt -
}

# Names that are not given, several files, and pipes.
compressed_names() {
  make_model
  local model=run/model.safetensors
  head -n 9 text > b
  expect 0 tool compress --model $model text usual
  cp out sizes
  cp text kept
  expect 0 tool compress --model $model text
  cmp usual text.qllk || die "text.qllk is another"
  cmp text kept || die "the input is not kept"
  grep -q '^{"in":"text","out":"text.qllk",' out || die "the name is not told"
  refuse 1 "'text.qllk' is there already: -f replaces it" compress --model $model text
  echo old > text.qllk
  expect 0 tool compress -f --model $model text
  cmp usual text.qllk || die "-f does not replace it"
  rm text
  expect 0 tool decompress --model $model text.qllk
  cmp text kept || die "another text"
  refuse 1 "'text' is there already" decompress --model $model text.qllk
  refuse 1 "'usual' does not end in .qllk: give OUT" decompress --model $model usual
  [ -e usual ] && [ -e text.qllk ] || die "an input is gone"

  tool compress -c --model $model text > packed 2> err || die "compress -c"
  cmp packed usual && cmp err sizes || die "-c writes something else"
  tool decompress -c --model $model text.qllk 2> err | cmp - text || die "decompress -c"
  tool compress --model $model - < text 2> err | tool decompress --model $model - 2>> err | cmp - text || die "pipes"
  refuse 1 "-c writes to standard output, but OUT is 'x'" compress -c --model $model text x

  refuse 1 "there are 3 files, expected IN and OUT" compress --model $model text b usual
  rm text.qllk
  expect 0 tool compress --model $model --suffix .z text b
  [ "$(wc -l < out)" -eq 2 ] && grep -q '^{"in":"b","out":"b.z",' out || die "not two results"
  cmp usual text.z || die "text.z is another"
  cmp text kept || die "an input was taken for an output"
  mv b b_kept
  refuse 1 "'text' is there already" decompress --model $model --suffix .z text.z b.z
  [ -e b ] && die "something was written"
  expect 0 tool decompress -f --model $model --suffix .z text.z b.z
  cmp b b_kept || die "another b"
  refuse 1 "'usual' does not end in .z" decompress --model $model --suffix .z text.z usual
  cp text.z kept
  refuse 1 "OUT 'text.z' is the same file as 'text.z', which is read" compress -f --model $model --suffix .z text text.z
  cmp text.z kept || die "an input was replaced"
  refuse 1 "no name" compress --model $model --suffix .z -
  refuse 1 "--suffix is empty" compress --model $model --suffix "" text
  refuse 2 "IN" compress --model $model
  expect 0 tool compress --model $model --suffix .only text
  [ -e text.only ] || die "one file with --suffix"
}

# Which model explains a text best.
classify() {
  for i in $(seq 1 90); do echo "$i plus $((i * 7)) is $((i * 8))"; done > sums
  for i in $(seq 1 90); do echo "THE QUICK BROWN FOX JUMPS OVER DOG $((i % 3))"; done > foxes
  expect 0 train --data sums --steps 150 --out sums_run
  expect 0 train --data foxes --steps 150 --out foxes_run
  local command=(tool classify --model sums=sums_run/model.safetensors --model foxes=foxes_run/model.safetensors)
  echo "1000 plus 1 is 1001" > sum
  echo "THE QUICK DOG JUMPS OVER BROWN FOX" > fox
  expect 0 "${command[@]}" --data sum
  grep -q '^{"text":"sum","class":"sums","margin":[0-9.]*,"bits_per_byte":{"sums":[0-9.]*,"foxes":[0-9.]*}}$' out ||
    die "not a sum"
  [ "$(sed 's/.*"sums":\([0-9.]*\).*/\1/' out)" = "$(bits eval --model sums_run/model.safetensors --data sum)" ] ||
    die "not the score of qllk-eval"
  mkdir both
  cp sum fox foxes both
  expect 0 "${command[@]}" --data both --data fox
  [ "$(wc -l < out)" -eq 5 ] || die "not four texts"
  [ "$(sed -n 's/.*"class":"\([a-z]*\)".*/\1/p' out | tr '\n' ' ')" = "foxes foxes sums foxes " ] || die "other classes"
  tail -n 1 out | grep -qx '{"texts":4,"classes":{"sums":1,"foxes":3}}' || die "counted otherwise"
  cp out several
  expect 0 "${command[@]}" --data both --data fox --threads 1
  cmp out several || die "threads change the scores"
  "${command[@]}" --data - < fox > out 2> err || die "not from standard input"
  grep -q '"class":"foxes"' out || die "not a fox"
  { cat sum; for _ in $(seq 1 50); do cat fox; done; } > mixed
  expect 0 "${command[@]}" --data mixed --first 20
  grep -q '"class":"sums"' out || die "more than the beginning was read"

  refuse 1 "two classes at least" classify --model a=sums_run/model.safetensors --data sum
  refuse 1 "expected NAME=FILE" classify --model sums_run/model.safetensors --model b=x --data sum
  refuse 1 "names 'a' twice" classify --model a=x --model a=y --data sum
  refuse 1 "'gone'" classify --model a=sums_run/model.safetensors --model b=gone --data sum
  refuse 1 "'gone'" "${command[@]:1}" --data gone
  refuse 2 "--first is 0" "${command[@]:1}" --data sum --first 0
  truncate -s 1T huge 2> err || return 0
  refuse 1 "the 2 models need 1" classify --model a=sums_run/model.safetensors --model b=huge --data sum
  grep -q "are available: give fewer or smaller ones" err || die "no word of the memory"
}

existing_run() {
  make_model
  cp -r run before
  refuse 1 "is there already" train --data text --out run
  rm run/training.safetensors
  refuse 1 "is there already" train --data text --out run
  cmp run/model.safetensors before/model.safetensors || die "the model was touched"
}

# A run that is at work has its folder to itself, also before it first saves.
run_at_work() {
  make_model
  local kind command
  for kind in new resumed; do
    command=(${emulator[@]+"${emulator[@]}"} "$bin/qllk-train" --steps 1000000000)
    if [ $kind = new ]; then
      command+=(--data text --arch classic --batch 1 --context 16 --out fresh)
    else
      command+=(--resume --out run)
    fi
    rm -f first_err # of the run before
    set -m # SIGINT is not ignored then
    "${command[@]}" > first_out 2> first_err < /dev/null &
    local process=$!
    set +m
    for _ in $(seq 1 600); do
      grep -qs '^val below' first_err && break
      sleep 0.1
    done
    if [ $kind = new ]; then
      refuse 1 "another run is at work in 'fresh'" train --data text --out fresh
    else
      refuse 1 "another run is at work in 'run'" train --resume --out run
    fi
    kill -INT $process
    wait $process
    [ $? -eq 130 ] || die "the first run did not end as told"
  done
  expect 0 tool train --resume --out fresh --steps 1
}

default_folder() {
  make_text
  expect 0 train --data text --steps 1
  expect 0 train --data text --steps 1
  json_has model
  tail -n 1 out | grep -q '"model":"qllk-out/2/model.safetensors"' || die "not the next number"
  [ -f qllk-out/1/model.safetensors ] || die "no first run"
}

texts() {
  make_text
  mkdir corpus
  head -n 30 text > corpus/a
  tail -n +31 text > corpus/b
  expect 0 train --data text --steps 2 --out file
  expect 0 train --data corpus --steps 2 --out folder
  expect 0 train --data corpus/a --data corpus/b --steps 2 --out files
  train --data - --steps 2 --out pipe < text > out 2> err || die "not from a pipe"
  for run in folder files pipe; do cmp file/model.safetensors $run/model.safetensors || die "$run trains another model"; done
  expect 0 train --data text --val corpus/b --steps 2 --out val
  grep -q "$(wc -c < text | sed 's/...$/,&/') bytes to train on" err || die "--val does not leave all of --data for training"
  expect 0 tool eval --model val/model.safetensors --data corpus/b
  local score
  score=$(sed 's/.*"bits_per_byte":\([0-9.]*\).*/\1/' out)
  json_has nats_per_byte bytes seconds
  expect 0 tool train --resume --out val
  grep -q "\"val_bits_per_byte\":$score" out || die "qllk-eval and qllk-train disagree"
}

default_model() {
  make_text
  expect 0 tool train --data text --batch 2 --context 16 --steps 3 --out run
  grep -q "^model  *default" err || die "not the default model"
  grep -q "^warning: that is no better than the frequencies of single bytes" err || die "three steps are said to be enough"
  expect 0 tool train --data text --batch 4 --context 64 --steps 100 --out longer
  ! grep -q "^warning: that is no better" err || die "a hundred steps are said to be too few"
  expect 0 tool train --data text --batch 2 --context 16 --steps 3 --threads 3 --out again
  cmp run/model.safetensors again/model.safetensors || die "more threads change the weights"
  expect 0 tool train --resume --steps 4 --out again
  cmp -s run/model.safetensors again/model.safetensors && die "it did not go on"
  grep -q "^note: the learning rate follows the new budget" err || die "no word of the other budget"
  expect 0 tool eval --model run/model.safetensors --data text
  expect 0 tool generate --model run/model.safetensors --bytes 10
}

# Rows that learn while a text is scored or compressed, and generation that does not repeat itself.
adapting() {
  make_text
  expect 0 tool train --data text --steps 30 --set bits=12 --dim 32 --dim-local 16 --batch 2 --context 64 --out run
  local model=run/model.safetensors bits
  for i in $(seq 1 200); do echo "Zeile $((i % 7)) eines anderen Textes, Teil $((i * 3 % 10))."; done > other
  bits() { sed -n 's/.*"bits_per_byte":\([0-9.]*\).*/\1/p' out; }
  expect 0 tool eval --model $model --data other
  local plain
  plain=$(bits)
  expect 0 tool eval --model $model --data other --adapt
  awk -v a="$(bits)" -v p="$plain" 'BEGIN { exit !(a < p - 0.03) }' || die "nothing was learned: $plain, $(bits)"
  refuse 2 "excludes" eval --model $model --data other --adapt --int8
  expect 0 tool compress --model $model --adapt other packed
  expect 0 tool compress --model $model other larger
  [ "$(wc -c < packed)" -lt "$(wc -c < larger)" ] || die "adapting did not make it smaller"
  for file in packed larger; do
    expect 0 tool decompress --model $model $file back
    cmp other back || die "$file does not come back"
  done
  expect 0 train --data text --steps 2 --out classic
  refuse 1 "no hashed tables" eval --model classic/model.safetensors --data other --adapt

  expect 0 tool generate --model $model --prompt abcabcabc --bytes 300 --temperature 0 --repeat 0
  mv out free
  expect 0 tool generate --model $model --prompt abcabcabc --bytes 300 --temperature 0
  cmp -s out free && die "--repeat changed nothing"
  refuse 2 "--repeat" generate --model $model --repeat -1
}

# Sequences in parts, streams through the text, and a budget of memory.
long_contexts() {
  make_text
  local command=(tool train --arch classic --data text --batch 1 --context 600 --steps 3)
  expect 0 "${command[@]}" --out whole
  local whole
  whole=$(sed 's/.*"val_bits_per_byte":\([0-9.]*\).*/\1/' out)
  expect 0 "${command[@]}" --chunk 100 --threads 1 --out parts
  grep -q "in chunks of 100" err || die "no word of chunks"
  awk "BEGIN { d = $whole - $(sed 's/.*"val_bits_per_byte":\([0-9.]*\).*/\1/' out); exit !(d < 0.001 && d > -0.001) }" ||
    die "parts score otherwise"
  expect 0 "${command[@]}" --chunk 100 --threads 3 --out again
  cmp parts/model.safetensors again/model.safetensors || die "more threads change the weights"
  refuse 1 "--chunk is 50" train --resume --out parts --chunk 50
  refuse 1 "--carry" train --resume --out parts --carry
  refuse 1 "--memory" train --resume --out parts --memory 1G
  expect 0 tool train --resume --out parts --steps 4

  expect 0 "${command[@]}" --carry --out carried
  grep -q "state carried on" err || die "no word of the state"
  expect 0 tool train --resume --out carried --carry --steps 4

  for value in "" "0" "-1M" "x" "1MM" "M"; do refuse 2 "--memory is" train --memory "$value"; done
  refuse 1 "leave out --chunk" "${command[@]:1}" --chunk 100 --memory 1G --out none
  refuse 1 "give it as 300M or 2G" "${command[@]:1}" --memory 300 --out none
  refuse 1 "is too small" "${command[@]:1}" --memory 1M --out none
  local least
  least=$(sed 's/.* need \([0-9]*\) MB.*/\1/' err)
  expect 0 "${command[@]}" --memory $((least + 1))M --out fits
  grep -q "^budget .* chunks of" err || die "no chunks"
  expect 0 "${command[@]}" --memory 2G --out ample
  grep -q "^budget .* whole sequences" err || die "not whole"
  [ -e none ] && die "a folder was made for nothing"
  return 0
}

# What --memory says is at least what the process takes: of what is tried out, of training, scoring and saving.
memory_budget() {
  [ ${#emulator[@]} -eq 0 ] || { echo "skipped: an emulator's memory is in the process"; return 0; }
  for _ in $(seq 2000); do echo "Line $RANDOM of a text that is $RANDOM parts noise."; done > text
  local peak threads=1
  for budget in 120 250; do
    expect 0 tool train --data text --steps 3 --memory ${budget}M --threads $threads --out "run_$budget"
    peak=$(sed 's/.*"peak_rss_bytes":\([0-9]*\).*/\1/' out)
    echo "budget ${budget} MB, $threads threads: $peak bytes"
    [ "$peak" -le $((budget * 1000000)) ] || die "takes more than it may"
    [ "$peak" -ge $((budget * 400000)) ] || die "takes much less than it may"
    threads=3
  done
}

# Whatever the registry has, alone and all together, does all that a model can.
every_mixer() {
  make_text
  expect 1 tool train --mixer none --data text --steps 1
  local names
  names=$(sed -n 's/.*expected one of: //p' err | tr -d ' ')
  [ -n "$names" ] || die "the message does not name the mixers"
  local count=0
  for mixer in ${names//,/ } "$names"; do
    count=$((count + 1))
    expect 0 tool train --mixer "$mixer" --set bits=8 --dim 64 --dim-local 32 --data text --steps 2 --batch 1 --context 32 --out "run $count"
    local model="run $count/model.safetensors"
    expect 0 tool train --resume --mixer "$mixer" --out "run $count" --steps 3
    refuse 1 "--mixer is" train --resume --mixer other --out "run $count"
    expect 0 tool eval --model "$model" --data text
    expect 0 tool eval --model "$model" --data text --int8
    expect 0 tool generate --model "$model" --bytes 20 --int8
    [ "$(wc -c < out)" -eq 20 ] || die "not 20 bytes"
    expect 0 tool compress --model "$model" text packed
    expect 0 tool decompress --model "$model" packed unpacked
    cmp text unpacked || die "another text"
  done
}

# --print-config, --config, --set and the options for single members.
configuration() {
  make_text
  expect 0 train --data text --steps 5 --print-config
  grep -q '"dim": 256' out || die "no configuration"
  [ -e qllk-out ] && die "a folder was made"
  expect 0 train --data text --steps 5 --dim 32 --set layers=1 --set seed=7 --print-config
  cp out picked
  grep -q '"dim": 32' picked && grep -q '"layers": 1' picked && grep -q '"seed": 7' picked || die "not as set"
  expect 0 train --data text --steps 5 --config picked --print-config
  cmp out picked || die "--config is not what --print-config printed"
  refuse 1 "no such member" train --arch classic --data text --steps 5 --set nothing=1
  refuse 1 "KEY=VALUE" train --arch classic --data text --steps 5 --set dim
  refuse 1 "'config.dim' is" train --arch classic --data text --steps 5 --set dim=x
  echo '{"settings": {"batch": 0}}' > bad
  refuse 1 "batch is 0" train --arch classic --context 16 --data text --steps 5 --config bad
  echo '{"sets": {}}' > bad
  refuse 1 "'sets'" train --arch classic --data text --steps 5 --config bad
  refuse 1 "'gone'" train --arch classic --data text --steps 5 --config gone
}

generate() {
  make_model
  local model=run/model.safetensors
  expect 0 tool generate --model $model --prompt "Line" --bytes 50
  [ "$(wc -c < out)" -eq 50 ] || die "not 50 bytes"
  cp out first
  expect 0 tool generate --model $model --prompt "Line" --bytes 50
  cmp out first || die "the same seed gives other bytes"
  printf Line | tool generate --model $model --prompt - --bytes 50 > out || die "no prompt from standard input"
  cmp out first || die "standard input is another prompt"
  expect 0 tool generate --model $model --prompt "Line" --bytes 50 --seed 2
  cmp -s out first && die "another seed gives the same bytes"
  expect 0 tool generate --model $model --bytes 0
  [ -s out ] && die "no bytes were asked for"
  head -c 1500 /dev/urandom | tool generate --model $model --prompt - --bytes 5 --temperature 0 > out || die "any bytes are a prompt"
  expect 0 tool generate --model $model --prompt "" --bytes 20 --top-k 5 --top-p 0.9 --temperature 0.5
  [ "$(wc -c < out)" -eq 20 ] || die "not 20 bytes"
  expect 0 tool generate --model $model --prompt "Line" --bytes 50 --int8
  [ "$(wc -c < out)" -eq 50 ] || die "not 50 bytes"
  local exact rounded
  exact=$(bits eval --model $model --data text --threads 1)
  [ "$(bits eval --model $model --data text --threads 3)" = "$exact" ] || die "threads change the score"
  rounded=$(bits eval --model $model --data text --int8)
  awk "BEGIN { d = $rounded - $exact; exit !(d < 0.05 && d > -0.05) }" || die "8 bits score $rounded, not $exact"
}

# The bits per byte that a tool prints.
bits() {
  tool "$@" 2> err | sed -n 's/.*"bits_per_byte":\([0-9.]*\).*/\1/p'
}

# What is closed is not given to a file that is opened: no message gets into it.
closed_descriptors() {
  make_model
  make_long_text
  local model=run/model.safetensors
  head -c 150000 long > it
  tool compress --model $model it packed <&- 2>&- > out || die "compress with closed descriptors"
  expect 0 tool compress --model $model it usual
  cmp packed usual || die "messages are in the compressed file"
  tool decompress --model $model packed again <&- 2>&- > out || die "decompress with closed descriptors"
  cmp it again || die "messages are in the file"
  train --data text --steps 2 --out closed <&- 2>&- > out || die "train with closed descriptors"
  cmp closed/model.safetensors $model || die "messages are in the model"
  tool train --resume --steps 3 --out closed <&- >&- 2>&- && die "no error for a result that nobody can get"
  expect 0 tool eval --model closed/model.safetensors --data text
  tool eval --model $model --data - 2> err <&- && die "closed standard input is an empty text"
  tool compress --model $model it third <&- >&- 2>&- && die "no error for sizes that nobody can get"
  cmp packed third || die "messages are in the compressed file"
}

# Whoever opened a pipe may have made it non-blocking: dd does.
pipes_that_do_not_block() {
  make_model
  local model=run/model.safetensors
  {
    dd if=/dev/null oflag=nonblock status=none
    tool generate --model $model --bytes 100000 2> err || echo failed > failed
  } | {
    sleep 2
    wc -c > out
  }
  [ -e failed ] && die "standard output"
  [ "$(cat out)" -eq 100000 ] || die "bytes are lost"
  expect 0 tool generate --model $model --prompt Line --bytes 20
  cp out usual
  {
    sleep 1
    printf Line
  } | {
    dd of=/dev/null count=0 iflag=nonblock status=none
    tool generate --model $model --prompt - --bytes 20 > out 2> err || echo failed > failed
  }
  [ -e failed ] && die "standard input"
  cmp out usual || die "another prompt"
}

# A terminal that cannot draw gets plain lines.
dumb_terminal() {
  make_model
  command -v script > which || return 0
  local term
  for term in dumb "" xterm; do
    TERM=$term script -qec "'$bin/qllk-train' --resume --out run --seconds 1.5" seen > out < /dev/null || return 0
    grep -q '^validation' seen || die "no result (TERM=$term)"
    case $term in
      xterm) grep -q $'\x1b' seen || die "no bar on a terminal" ;;
      *) grep -q $'\x1b' seen && die "escape codes (TERM=$term)" ;;
    esac
    rm -r run
    make_model
  done
  return 0
}

closed_output() {
  make_model
  local model=run/model.safetensors
  tool generate --model $model --bytes 100000 2> err | head -c 3 > out
  [ -s err ] && die "a reader that leaves is no error to talk about"
  tool generate --model $model --bytes 5 2> err > /dev/full
  [ $? -eq 1 ] && grep -q "^qllk-generate: cannot write to standard output" err || die "generate to a full disk"
  tool eval --model $model --data text 2> err > /dev/full
  [ $? -eq 1 ] && grep -q "^qllk-eval: cannot write to standard output" err || die "eval to a full disk"
  tool generate --model $model --bytes 5 2> err >&-
  [ $? -eq 1 ] && [ "$(wc -l < err)" -eq 1 ] || die "closed standard output"
}

$case_name
echo "passed: $case_name"
