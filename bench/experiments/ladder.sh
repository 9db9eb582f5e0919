#!/usr/bin/env bash
# Climbs from the classic model to the default one and around it, a training run a rung, all within the same budget.
#
#   ladder.sh --data FILE [--val FILE] [--val-bytes N] (--bytes N | --seconds T) [--seeds 1,2,3] [--threads N]
#             [--only GROUP] [--results FILE] [--program PATH]
#
# GROUP is classic, base, hashing, local, kernel, patch, width, optimiser or average. Results are appended to --results
# (default ladder.jsonl), a JSON object a line; a run that is there is not made again, so that the climb can be stopped
# and continued. At the end everything in that file is printed as a Markdown table, bits per byte against CPU seconds.
#
# Runs with --bytes compare what is learned from the same bytes; runs with --seconds what is learned in the same time,
# on a machine that does nothing else.
set -euo pipefail

groups="classic base hashing local kernel patch width optimiser average"
program="$(dirname "$0")/../../build/release/bin/qllk-experiment"
results=ladder.jsonl
seeds=1
only=
budget=
options=()

fail() {
  echo "ladder.sh: $*" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    --data | --val | --val-bytes | --bytes | --seconds | --seeds | --threads | --only | --results | --program) ;;
    *) fail "unknown option '$1' (ladder.sh --help tells more)" ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value"
  case $1 in
    --seeds) seeds=$2 ;;
    --only) only=$2 ;;
    --results) results=$2 ;;
    --program) program=$2 ;;
    *)
      options+=("$1" "$2")
      case $1 in --bytes | --seconds) budget=$2 ;; esac
      ;;
  esac
  shift 2
done
[ -n "$budget" ] || fail "--bytes or --seconds is required"
[[ $seeds =~ ^[0-9]+(,[0-9]+)*$ ]] || fail "--seeds is '$seeds', expected numbers like 1,2,3"
[ -z "$only" ] || [[ " $groups " == *" $only "* ]] || fail "--only is '$only', expected one of: $groups"
[ -x "$program" ] || fail "there is no '$program': build qllk-experiment, or give --program PATH"

# What all rungs but the classic network start from: fixed, so that a table can be made again when qllk-train picks others.
base=(--set batch=8 --set layers=4 --set words=0 --set "match.lengths=[]" --set encoder=1 --set decoder=2 --set order_dropout=0.1 --set dropout=0 --set rows.rate=10
      --set adam.learning_rate=0.004 --set adam.beta1=0.9 --set adam.beta2=0.99 --set adam.weight_decay=0.1
      --set average.every=0 --set schedule.floor=0.05)

# rung NAME [OPTION…]: one configuration, changed from the base, with every seed.
rung() {
  local name=$1 seed
  shift
  [ -z "$only" ] || [ "$only" = "$group" ] || return 0
  for seed in ${seeds//,/ }; do
    "$program" "${options[@]}" --label "$group: $name" --seed "$seed" --results "$results" "${base[@]}" "$@" > /dev/null
  done
}

# vary KEY VALUE…: a rung for each value.
vary() {
  local key=$1 value
  shift
  for value in "$@"; do rung "$key $value" --set "$key=$value"; done
}

# kernels NAME KEY=VALUE…: both the kernels of bytes and those of patches.
kernels() {
  local name=$1 assignment set=()
  shift
  for assignment in "$@"; do set+=(--set "mixer.$assignment" --set "mixer_local.$assignment"); done
  rung "$name" "${set[@]}"
}

group="classic"
(base=() && rung "the original network" --arch classic)

group="base"
rung "no hashing, no local blocks" --set orders=1 --set encoder=0 --set decoder=0

group="hashing"
for orders in 2 3 4 6 8; do
  rung "n-grams to $orders, no local blocks" --set orders=$orders --set encoder=0 --set decoder=0
done
vary bits 14 16 18

group="local"
for blocks in "0 1" "0 2" "1 0" "1 1" "1 2" "2 2"; do
  read -r encoder decoder <<< "$blocks"
  rung "encoder $encoder, decoder $decoder" --set "encoder=$encoder" --set "decoder=$decoder"
done

group="kernel"
kernels "cumulative sum, no projection" decay=none project=false
kernels "cumulative sum" decay=none
kernels "learned decay" decay=learned
kernels "data-dependent decay" decay=data_dependent
for head_dim in 1 8 16 32; do kernels "head_dim $head_dim" head_dim=$head_dim; done
kernels "head_dim 16, normalised" head_dim=16 normalise=true

group="patch"
vary patch 4 6 8 12

group="width"
vary dim_local 96 128 192
vary dim 192 256 384

group="optimiser"
rung "base"
vary adam.learning_rate 0.002 0.004 0.008
vary adam.beta1 0.8 0.9 0.95
vary adam.beta2 0.95 0.99 0.999
vary adam.weight_decay 0 0.1 0.3
vary rows.rate 5 10 20 40
vary dropout 0 0.1 0.2
vary order_dropout 0 0.2 0.4 0.6
vary batch 4 8 16
rung "order_dropout 0, rows.rate 20, adam.beta1 0.8, adam.beta2 0.95" --set order_dropout=0 --set rows.rate=20 \
  --set adam.beta1=0.8 --set adam.beta2=0.95

group="average"
rung "learning rate to 0.15, no average" --set schedule.floor=0.15
for degree in 2 10 20; do
  rung "learning rate to 0.15, degree $degree" --set schedule.floor=0.15 --set average.every=8 --set average.degree=$degree
done
for floor in 0.05 0.3; do
  rung "learning rate to $floor, degree 10" --set schedule.floor=$floor --set average.every=8 --set average.degree=10
done

"$program" --table "$results"
