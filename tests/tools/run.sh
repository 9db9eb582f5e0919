#!/usr/bin/env bash
# run.sh CASE BIN [EMULATOR…]: runs the tools in BIN as a person would, in a folder of its own, and checks what they answer.
set -u
export LC_ALL=C
case_name=$1
bin=$2
shift 2
emulator=("$@")

folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
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

make_text() { for i in $(seq 1 60); do echo "Line $i of a text that is $((i * 7 % 10)) parts noise."; done > text; }

# expect STATUS COMMAND…: standard output in out, standard error in err
expect() {
  local status=$1
  shift
  "$@" > out 2> err < /dev/null
  local got=$?
  [ $got -eq "$status" ] || die "status $got instead of $status: $*"
}

# refuse STATUS WORDS TOOL ARGUMENTS…: fails with exactly one line, which begins with the tool's name and has the words,
# and prints no result.
refuse() {
  local status=$1 words=$2 name=$3
  shift 3
  expect "$status" tool "$name" "$@"
  [ "$(wc -l < err)" -eq 1 ] || die "not one line: $name $*"
  grep -q "^qllk-$name: " err || die "the line does not begin with the tool's name: $name $*"
  grep -qF -- "$words" err || die "the line lacks '$words': $name $*"
  [ -s out ] && die "standard output is not empty: $name $*"
  return 0
}

json_has() { for key in "$@"; do tail -n 1 out | grep -q "\"$key\":" || die "no $key in the JSON"; done; }

# No temporary file stays behind.
only_files() {
  local found
  found=$(ls -A "$1" | tr '\n' ' ')
  [ "$found" = "$2 " ] || die "$1 holds $found"
}

bad_command_lines() {
  refuse 2 "--bogus" train --bogus
  refuse 2 "extra" train extra
  refuse 2 "abc" train --steps abc
  refuse 1 "--steps is 0" train --steps 0
  refuse 1 "--seconds is nan" train --seconds nan
  refuse 1 "--seconds" train --seconds inf
  refuse 1 "--batch is -1" train --batch -1
  refuse 1 "--context is 0" train --context 0
  refuse 1 "--threads is 0" train --threads 0
  refuse 1 "--val-fraction is 1" train --val-fraction 1
  refuse 2 "--val-fraction" train --val a --val-fraction 0.5
  refuse 1 "'gpt'" train --arch gpt
  refuse 1 "'softmax'" train --mixer softmax
  refuse 1 "--out" train --resume
  refuse 2 "--model" eval --data x
  refuse 2 "--data" eval --model x
  refuse 2 "--model" generate --prompt x
  refuse 1 "temperature is -1" generate --model x --temperature -1
  refuse 1 "temperature is nan" generate --model x --temperature nan
  refuse 1 "top-k is 257" generate --model x --top-k 257
  refuse 1 "top-p is 0" generate --model x --top-p 0
  refuse 2 "--bytes" generate --model x --bytes -5
  refuse 2 "--seed" train --seed -1
  only_files . "err out"
  for name in train eval generate quick-test; do
    expect 0 tool $name --help
    [ -s out ] || die "$name has no help"
  done
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
  for name in cut noise empty foreign twice poisoned lying huge missing run; do
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
  refuse 1 "not finite" train --resume --out run
  cmp run/model.safetensors whole/model.safetensors || die "the model was touched"
  only_files run "model.safetensors training.safetensors"
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
  only_files run "model.safetensors training.safetensors"
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

# interrupted SIGNAL STATUS: a signal during training leaves a checkpoint that can be used and continued.
interrupted() {
  make_text
  # Not through a function: the process must be the tool itself.
  local command=(${emulator[@]+"${emulator[@]}"} "$bin/qllk-train" --arch classic --batch 1 --context 16)
  "${command[@]}" --data text --steps 1000000000 --out run > out 2> err < /dev/null &
  local process=$!
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
  only_files run "model.safetensors training.safetensors"
  expect 0 tool eval --model run/model.safetensors --data text
  expect 0 tool train --resume --out run --steps 1 # no more than there are
  json_has val_bits_per_byte
  local seen
  seen=$(tail -n 1 out | sed 's/.*"steps":\([0-9]*\).*/\1/')
  [ "$seen" -ge 1 ] || die "$seen steps"
}
interrupt() { interrupted INT 130; }
terminate() { interrupted TERM 143; }

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
    "${command[@]}" > first_out 2> first_err < /dev/null &
    local process=$!
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
  expect 0 tool train --data text --batch 2 --context 16 --steps 3 --threads 3 --out again
  cmp run/model.safetensors again/model.safetensors || die "more threads change the weights"
  expect 0 tool train --resume --steps 4 --out again
  cmp -s run/model.safetensors again/model.safetensors && die "it did not go on"
  expect 0 tool eval --model run/model.safetensors --data text
  expect 0 tool generate --model run/model.safetensors --bytes 10
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
  refuse 1 "'config.dim' is" train --arch classic --data text --steps 5 --dim x
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
