// The files of a report.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "output_file.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/own_files.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"

namespace report {

/// A kind of file that qllk-report writes: how it begins, and what messages call it.
struct FileKind {
  std::string_view begin;
  const char* name;
};
inline constexpr FileKind kPage{qllk::data::kReportBegin, "report"}, kPicture{qllk::data::kPictureBegin, "picture"};

/// Writes a file, whole or not at all. It replaces a file of its kind only: throws std::runtime_error if another file
/// has that name, or if it cannot be written.
inline void write(const std::string& path, const FileKind& kind, std::string_view contents) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored) && std::filesystem::file_size(path, ignored) > 0) {
    const qllk::files::InputFile old(path);
    std::vector<qllk::Byte> begin(kind.begin.size());
    const bool long_enough = old.size() >= begin.size();
    if (long_enough) old.read_at(0, begin);
    if (!long_enough || std::string_view(reinterpret_cast<const char*>(begin.data()), begin.size()) != kind.begin)
      throw std::runtime_error("'" + path + "' is there already and is no " + kind.name + ": name another file");
  }
  qllk::files::AtomicFile file = tool::open_output(path);
  file.write(contents);
  file.commit();
}

}  // namespace report
