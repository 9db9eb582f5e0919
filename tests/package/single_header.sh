#!/usr/bin/env bash
# single_header.sh CXX SINGLE INCLUDE ROOTS FLAGS…: the single header is the same to a compiler as the headers that it was
# made from: after preprocessing every token is the same. And a program of it compiles and runs.
set -euo pipefail
cxx=$1 single=$2 include=$3 roots=$4
shift 4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '#include "%s"\n' "$single" > "$folder/single.cpp"
# shellcheck disable=SC2086
printf '#include "%s"\n' $roots > "$folder/headers.cpp"
for form in single headers; do
  options=()
  [ $form = single ] || options=("-I$include")  # the single header needs no other of QLLK
  "$cxx" -std=c++20 -DNDEBUG -E -P "${options[@]}" "$@" "$folder/$form.cpp" |
    tr -s ' \n' '\n\n' > "$folder/$form.tokens"
done
cmp "$folder/single.tokens" "$folder/headers.tokens"
count=$(wc -l < "$folder/single.tokens")
[ "$count" -gt 100000 ]
cat > "$folder/program.cpp" << 'X'
#include QLLK_SINGLE
int main() {
  qllk::Random random(1);
  const qllk::QLLKClassic<float> model({.dim = 8, .layers = 1, .patch = 2});
  return qllk::parameter_count(model.init(random)) > 0 ? 0 : 1;
}
X
"$cxx" -std=c++20 "-DQLLK_SINGLE=\"$single\"" "$@" -pthread "$folder/program.cpp" -o "$folder/program"
"$folder/program"
echo "$count words after preprocessing, all the same"
