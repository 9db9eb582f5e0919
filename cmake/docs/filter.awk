# A header as Doxygen reads it. The first line is the brief of the file, a comment behind a member is its documentation,
# and the inline namespace, whose name is the instruction set, is left out. Names that every part has by contract
# (core/concepts.hpp) get the words of the contract where the header adds none.

BEGIN {
  type["Config"] = "What decides shapes and cost."
  type["Params"] = "The learned tensors."
  type["Grads"] = "Gradients of the learned tensors."
  type["State"] = "What is kept of a stream between chunks."
  type["Cache"] = "What forward computes and backward needs."
  type["Scalar"] = "The type of a number."
  call["fields"] = "Calls visit(name, tensor of each argument…) for every tensor."
  call["members"] = "Calls f(name, member) for every member that files and command lines name."
  call["config"] = "The configuration that it was made with."
  call["zeros"] = "Parameters of zero, in their shapes."
  call["zero_grads"] = "Gradients of zero, in their shapes."
  call["init"] = "Parameters to begin training with."
  call["reset"] = "Makes the state of as many streams at their start."
  call["initial_state"] = "The state of as many streams at their start."
  call["flop"] = "Floating-point operations of one position, forward."
  call["forward"] = "Computes the output from the input; see the equation of the class."
  call["backward"] = "Adds to the gradients, and overwrites that of the input; see the equation of the class."
  call["recommended"] = "The configuration that a model uses unless told otherwise."
  call["enum_names"] = "The names of the values in files and on command lines."
  call["operator=="] = "Compares all members."
  call["sequences"] = "The number of streams."
  call["orders"] = "How many features a position has."
  call["rows"] = "How many rows of the table all of them share."
  call["history"] = "How many bytes before a position decide its features, at most."
  call["look_up"] = "Reads the next bytes of a stream, and writes their rows."
  call["prime"] = "Reads bytes that no row is wanted for; see the concept."
  call["follow"] = "Leaves the state as reading these bytes does, and has no answer."
  call["moments"] = "All tensors of the state, as a tuple."
  call["visit"] = "Calls f(name, member) for every member."
  type["Tensors"] = "What is learned, and what goes with it. Matrix is Mat, or another form of one."
  type["Update"] = "The rule of one update."
  value["name"] = "What files and command lines call it."
  value["kName"] = "What files and command lines call it."
  value["kLeftOut"] = "What training may leave out."
  value["dim"] = "Width: the features of a position."
  call["check"] = "Throws unless the tensors have the sizes of this configuration."
  call["dim"] = "Width: the features of a position."
  call["size"] = "The number of values."
  call["cols"] = "The number of columns."
  call["what"] = "What is wrong, in words."
  call["machine"] = "The machine of this process, for people."
  value["epsilon"] = "Keeps a divisor from being 0."
}

# What is documented already: the line before is a comment for Doxygen.
function documented() { return last ~ /^ *\/\/\// }
function emit(line) {
  print line
  if (line ~ /^ *(template <.*>)?$/) return
  comment = line ~ /^ *\/\/\// ? (documented() ? comment "\n" : "") line : ""
  last = line
}

# The documentation by contract of what this line declares; empty if there is none.
function contract(line, word) {
  if (line ~ /^ *struct [a-z:]*Members<.*> \{$/) return "The members that files keep."
  if (match(line, /^ *(struct|class) [A-Za-z]+( :.*)? \{/)) {
    word = line
    sub(/^ *(struct|class) /, "", word)
    sub(/[ :].*/, "", word)
    return type[word]
  }
  if (line ~ /^ +typename .*(::Params|Tensors<Matrix>) [a-z_, ]+;$/) return "The tensors of this part."
  if (match(line, /^ *using [A-Za-z]+ =/)) {
    word = line
    sub(/^ *using /, "", word)
    sub(/ =.*/, "", word)
    return type[word]
  }
  if (line ~ /^ *(static constexpr [^(]*|Index|double) [A-Za-z]+( =.*|\{.*)?;?$/ && line !~ /return /) {
    word = line
    sub(/( =|\{|;).*/, "", word)
    sub(/.* /, "", word)
    return value[word]
  }
  if (match(line, /[a-z_]+(==)?\(/) && line ~ /^ *[A-Za-z_].*[ &*](operator==|[a-z_]+)\(/) {
    word = line
    sub(/\(.*/, "", word)
    if (word ~ /[^=]=[^=]|return /) return ""
    sub(/.*[ &*]/, "", word)
    return call[word]
  }
  return ""
}

# Several members of one declaration are documented one by one: each has the comment of all.
function members(line, head, tail, part, count, i, above) {
  if (line ~ /[()]/ || !match(line, /&?[a-z_][a-z_0-9]*( = [^,;]+|\{\})?(, &?[a-z_][a-z_0-9]*( = [^,;]+|\{\})?)+;/))
    return 0
  head = substr(line, 1, RSTART - 1)
  tail = substr(line, RSTART + RLENGTH)
  count = split(substr(line, RSTART, RLENGTH - 1), part, /, /)
  above = comment
  for (i = 1; i <= count; ++i) {
    if (i > 1 && above != "") print above
    print head part[i] ";" tail
  }
  last = head
  comment = ""
  return 1
}

function declare(line, text, indent) {
  if (!documented() && line !~ /\/\/\/</ && (text = contract(line)) != "") {
    indent = line
    sub(/[^ ].*/, "", indent)
    emit(indent "/// " text)
  }
  if (held != "") emit(held)
  held = ""
  if (members(line)) return
  emit(line)
  if (line ~ /^ *struct (Cache|Scratch) \{$/) print " private:"  # the business of the part alone
}

NR == 1 && /^\/\/ / { sub(/^\/\/ /, ""); print "/// @file\n/// @brief " $0; next }
/^inline namespace QLLK_ISA \{/ || /^}  \/\/ namespace QLLK_ISA$/ { next }
{
  gsub(/namespace qllk::inline QLLK_ISA/, "namespace qllk")
  if ($0 ~ /^ *[A-Za-z_].*[;,] +\/\/ / && $0 !~ /\/\/\//) sub(/\/\/ /, "///< ")
}
/^ *template </ && held == "" && !documented() && /> *$/ { held = $0; next }
{ declare($0) }
END { if (held != "") print held }
