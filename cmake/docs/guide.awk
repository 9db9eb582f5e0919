# A guide as Doxygen reads it: pictures stand beside the pages, links lead to pages, not to headings, and code is between
# double backticks, as an apostrophe would end it otherwise.

function without_anchors(line, text) {
  while (match(line, /\]\([^)#]*#[^)]*\)/)) {
    text = substr(line, RSTART, RLENGTH)
    sub(/#.*/, ")", text)
    line = substr(line, 1, RSTART - 1) text substr(line, RSTART + RLENGTH)
  }
  while (match(line, /\[[^]]*\]\(\)/)) {
    text = substr(line, RSTART + 1, RLENGTH - 4)
    line = substr(line, 1, RSTART - 1) text substr(line, RSTART + RLENGTH)
  }
  return line
}

/^ *([0-9]+\. )?```/ { fenced = !fenced; print; next }
fenced { print; next }
{
  gsub(/src="[^"]*\//, "src=\"")
  $0 = without_anchors($0)
  if ($0 !~ /``/) gsub(/`/, "``")
  print
}
