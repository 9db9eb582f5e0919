# Headers and all that they include of QLLK as one file:
#   awk -v include=FOLDER -v roots="qllk/qllk.hpp …" -f single_header.awk LICENSE
# It is for programs that do not link qllk::compiled.

FILENAME == ARGV[1] { print $0 == "" ? "//" : "// " $0; next }

function expand(header, path, line, count) {
  if (header in seen) return
  seen[header] = 1
  path = include "/" header
  while ((count = (getline line < path)) > 0) {
    if (line ~ /^#pragma once/) continue
    if (line ~ /^#include "qllk\/.*\/compiled\.hpp"/) continue
    if (line ~ /^#include "qllk\//) {
      split(line, part, "\"")
      expand(part[2])
      continue
    }
    print line
  }
  if (count < 0) {
    print "single_header.awk: cannot read " path > "/dev/stderr"
    failed = 1
  }
  close(path)
}

END {
  print "#pragma once\n#ifdef QLLK_COMPILED\n#error \"a program of qllk::compiled includes QLLK's own headers\"\n#endif"
  count_of_roots = split(roots, list, " ")
  for (i = 1; i <= count_of_roots; ++i) expand(list[i])
  exit failed
}
