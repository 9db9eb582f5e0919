#!/bin/sh
# documents.sh NAME VERSION TOOLS FOLDER COMMAND…: writes the manual page of a tool and what shells complete for it,
# from the --help of COMMAND. TOOLS: all tools, separated by spaces.
set -eu
name=$1 version=$2 tools=$3 folder=$4
shift 4
mkdir -p "$folder"
help=$("$@" --help)
for form in man bash zsh fish; do
  case $form in
    man) file=$name.1 ;;
    bash) file=$name ;;
    zsh) file=_$name ;;
    fish) file=$name.fish ;;
  esac
  printf '%s\n' "$help" |
    LC_ALL=C awk -v form=$form -v name="$name" -v version="$version" -v tools="$tools" \
      -f "$(dirname "$0")/documents.awk" > "$folder/$file.new"
  mv "$folder/$file.new" "$folder/$file"
done
