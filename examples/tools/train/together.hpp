// What the processes of one run must have in common.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "qllk/core/build.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/files/checksum.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/io/json_members.hpp"
#include "train/options.hpp"

namespace train_tool {

using namespace qllk;

/// Of the program that runs: its bytes, or where these cannot be read what it was compiled by.
inline std::uint64_t program_checksum() {
  files::Checksum checksum;
  const std::string name = build_name();
  checksum.update(Bytes(reinterpret_cast<const Byte*>(name.data()), name.size()));
  try {
    checksum.update(files::InputFile("/proc/self/exe").contents().bytes);
  } catch (const std::runtime_error&) {
  }
  return checksum.value();
}

/// Throws a Disagreement in all processes unless they are of one program, and can all read the text.
inline void expect_one_program(distributed::Team& team, const Options& options) {
  distributed::expect_same(team, program_checksum(), "qllk-train-mpi",
                           "install the same file on all machines, or weights would differ in their last bits");
  const bool stream = std::ranges::find(options.data, "-") != options.data.end() || options.val == "-";
  if (stream && team.size() > 1)
    throw distributed::Disagreement("standard input ('-') reaches one process only: give all of them a file");
}

/// The JSON that process 0 passes.
inline io::Json from_leader(distributed::Team& team, const io::Json& json) {
  return io::Json::parse(distributed::from_leader(team, json.dump()));
}

}  // namespace train_tool
