#!/usr/bin/env bash
# documents.sh FOLDER TOOLS COMMAND…: the manual page and the completions in FOLDER of each tool know every option that
# its --help has. COMMAND is what runs programs of the target; the tools stand in TOOLS.
set -uo pipefail
folder=$1 tools=$2
shift 2
failures=0
fail() {
  echo "$*" >&2
  failures=$((failures + 1))
}

# What the completion of a tool answers to these words; the last one is the one to complete.
answers() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
  COMPREPLY=()
  "_${1//-/_}"
  printf '%s\n' "${COMPREPLY[@]}"
}

count=0
for page in "$folder"/*.1; do
  name=$(basename "$page" .1)
  [ -x "$tools/$name" ] || continue  # of a tool that is no longer built
  mapfile -t options < <("$@" "$tools/$name" --help | grep -oE '^  (-[a-z],)?--[a-z0-9-]+' | grep -oE -e '--[a-z0-9-]+')
  [ ${#options[@]} -ge 2 ] || fail "$name: --help shows ${#options[@]} options"
  # shellcheck source=/dev/null
  source "$folder/$name" || fail "$name: bash cannot read its completion"
  for option in "${options[@]}"; do
    grep -qF -- "${option//-/\\-}" "$page" || fail "$name: $option is not in the manual page"
    grep -qF -- "'${option}[" "$folder/_$name" || grep -qF -- "'*${option}[" "$folder/_$name" ||
      fail "$name: zsh does not know $option"
    grep -qE -- " -l ${option#--}( |$)" "$folder/$name.fish" || fail "$name: fish does not know $option"
    answers "$name" "${option:0:-1}" | grep -qx -e "$option" || fail "$name: bash does not complete $option"
    count=$((count + 1))
  done
  if command -v groff > /dev/null; then
    said=$(groff -man -Kutf8 -Tutf8 -ww "$page" 2>&1 > /dev/null)
    [ -z "$said" ] || fail "$name: groff says $said"
  fi
  ! command -v zsh > /dev/null || zsh -n "$folder/_$name" || fail "$name: zsh cannot read its completion"
  ! command -v fish > /dev/null || fish -n "$folder/$name.fish" || fail "$name: fish cannot read its completion"
done

answers qllk-train --arch d | grep -qx default || fail "qllk-train: bash does not complete --arch d"
cd "$(mktemp -d)" || exit 1
touch 'a book.txt'
[ "$(answers qllk-train --data a)" = 'a book.txt' ] || fail "qllk-train: bash does not complete a file with a space"
rm 'a book.txt'
rmdir "$PWD"
echo "$count options of the tools, $failures failures"
[ "$failures" = 0 ] && [ "$count" -gt 20 ]
