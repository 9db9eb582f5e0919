# The --help of a tool (CLI11's form) as a manual page or as completions: -v form=man, bash, zsh or fish.
#
#   description: lines up to "Usage: "
#   Positionals: and Options: follow, each entry two spaces from the left, its text two spaces or more behind it, or on
#   the next line

function add(entry, position, text) {
  position = match(entry, /   *[^ ]/)
  text = position > 0 ? substr(entry, position + RLENGTH - 1) : ""
  if (position > 0) entry = substr(entry, 1, position - 1)
  sub(/ (Excludes|Needs|REQUIRED).*/, "", entry)
  ++count
  kind[count] = section
  names[count] = entry
  sub(/ .*/, "", names[count])
  type[count] = substr(entry, length(names[count]) + 2)
  about[count] = text
}

/^Usage: / { usage = $0; sub(/^Usage: [^ ]* */, "", usage); section = "usage"; next }
section != "" && /^[^ ].*:$/ { section = $0 == "Positionals:" ? $0 : "Options:"; next }
section == "" { description = description (description == "" ? "" : " ") $0; next }
/^  [^ ]/ && section != "usage" { add(substr($0, 3)); next }
/^   +[^ ]/ && count > 0 { sub(/^ +/, ""); about[count] = about[count] (about[count] == "" ? "" : " ") $0; next }

# The values that an option knows: of "TEXT:{a,b}", or of "NAME" whose text has ": a, b or c."
function values(i, list) {
  if (match(type[i], /\{[^}]*\}/)) {
    list = substr(type[i], RSTART + 1, RLENGTH - 2)
    gsub(/,/, " ", list)
    return list
  }
  if (type[i] !~ /^NAME/ || !match(about[i], /: [a-z0-9_]+((, | or )[a-z0-9_]+)+\./)) return ""
  list = substr(about[i], RSTART + 2, RLENGTH - 3)
  gsub(/, | or /, " ", list)
  return list
}
function is_path(i) { return type[i] ~ /^(PATH|FILE|DIR|IN|OUT)/ || names[i] ~ /^(IN|OUT|FILE|RUN|PATH)/ }
function takes_value(i) { return kind[i] == "Options:" && type[i] != "" }
function flags(i, separator, list) { list = names[i]; gsub(/,/, separator, list); return list }

function roff(text) {
  gsub(/\\/, "\\e", text)
  gsub(/-/, "\\-", text)
  sub(/^[.']/, "\\\\\\&&", text)
  return text
}
function man_entries(title, wanted, i, any, head) {
  for (i = 1; i <= count; ++i) {
    if (kind[i] != wanted) continue
    if (!any++) print ".SH " title
    head = "\\fB" roff(flags(i, "\\fR, \\fB")) "\\fR"
    gsub(/\\efR, \\efB/, "\\fR, \\fB", head)
    print ".TP\n" head (type[i] == "" || wanted != "Options:" ? "" : " \\fI" roff(type[i]) "\\fR")
    print roff(about[i])
  }
}
function man(summary, others, n, i) {
  summary = description
  if (match(summary, /[.:] /)) summary = substr(summary, 1, RSTART - 1)
  sub(/\.$/, "", summary)
  print ".TH " toupper(name) " 1 \"\" \"qllk " version "\" \"User Commands\""
  print ".SH NAME\n" roff(name) " \\- " roff(tolower(substr(summary, 1, 1)) substr(summary, 2))
  print ".SH SYNOPSIS\n.B " roff(name) "\n" roff(usage)
  print ".SH DESCRIPTION\n" roff(description)
  man_entries("ARGUMENTS", "Positionals:")
  man_entries("OPTIONS", "Options:")
  print ".SH EXIT STATUS\n0: success. 1: an error, told by one line on standard error. 2: a wrong command line."
  n = split(tools, others, " ")
  print ".SH SEE ALSO"
  for (i = 1; i <= n; ++i) if (others[i] != name) print ".BR " roff(others[i]) " (1)"
}

function bash(i, all, known, reply, function_name) {
  function_name = "_" name
  gsub(/-/, "_", function_name)
  for (i = 1; i <= count; ++i) {
    if (kind[i] != "Options:") continue
    all = all (all == "" ? "" : " ") flags(i, " ")
    if (!takes_value(i)) continue
    reply = ""
    if (values(i) != "") reply = "mapfile -t COMPREPLY < <(compgen -W '" values(i) "' -- \"$word\") "
    else if (is_path(i)) reply = "mapfile -t COMPREPLY < <(compgen -f -- \"$word\") "
    known = known "    " flags(i, " | ") ") " reply ";;\n"
  }
  print function_name "() {"
  print "  local word=${COMP_WORDS[COMP_CWORD]}"
  print "  COMPREPLY=()\n  case ${COMP_WORDS[COMP_CWORD - 1]} in"
  printf "%s", known
  print "    *)\n      case $word in"
  print "        -*) mapfile -t COMPREPLY < <(compgen -W '" all "' -- \"$word\") ;;"
  print "        *) mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n      esac\n      ;;\n  esac\n}"
  print "complete -o filenames -F " function_name " " name
}

function zsh_text(text) {
  gsub(/\\/, "\\\\", text)
  gsub(/\[/, "\\[", text)
  gsub(/\]/, "\\]", text)
  gsub(/:/, "\\:", text)
  gsub(/'/, "'\\''", text)
  return text
}
function zsh(i, n, j, list, action, repeated) {
  print "#compdef " name "\n_arguments -s \\"
  for (i = 1; i <= count; ++i) {
    action = values(i) != "" ? "(" values(i) ")" : is_path(i) ? "_files" : " "
    if (kind[i] != "Options:") { print "  ':" zsh_text(names[i]) ":" action "' \\"; continue }
    n = split(names[i], list, ",")
    repeated = type[i] ~ /\.\.\.$/ ? "*" : ""
    for (j = 1; j <= n; ++j)
      print "  '" repeated list[j] "[" zsh_text(about[i]) "]" (takes_value(i) ? ":" zsh_text(type[i]) ":" action : "") "' \\"
  }
  print "  && return 0"
}

function fish(i, n, j, list, line) {
  for (i = 1; i <= count; ++i) {
    if (kind[i] != "Options:") continue
    line = "complete -c " name
    n = split(names[i], list, ",")
    for (j = 1; j <= n; ++j) line = line (list[j] ~ /^--/ ? " -l " substr(list[j], 3) : " -s " substr(list[j], 2))
    if (takes_value(i)) line = line (values(i) != "" ? " -x -a '" values(i) "'" : is_path(i) ? " -r" : " -x")
    gsub(/\\/, "\\\\", about[i])
    gsub(/'/, "\\'", about[i])
    print line " -d '" about[i] "'"
  }
}

END {
  if (count == 0 || description == "") { print name ": its --help has another form" > "/dev/stderr"; exit 1 }
  if (form == "man") man()
  if (form == "bash") bash()
  if (form == "zsh") zsh()
  if (form == "fish") fish()
}
