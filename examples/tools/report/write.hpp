// The file of a report.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "output_file.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/own_files.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"

namespace report {

/// Writes a page, whole or not at all. It replaces a report only: throws std::runtime_error if another file has that
/// name, or if it cannot be written.
inline void write(const std::string& path, std::string_view page) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored) && std::filesystem::file_size(path, ignored) > 0) {
    const qllk::files::InputFile old(path);
    std::array<qllk::Byte, qllk::data::kReportBegin.size()> begin{};
    const bool long_enough = old.size() >= begin.size();
    if (long_enough) old.read_at(0, begin);
    if (!long_enough ||
        std::string_view(reinterpret_cast<const char*>(begin.data()), begin.size()) != qllk::data::kReportBegin)
      throw std::runtime_error("'" + path + "' is there already and is no report: name another file");
  }
  qllk::files::AtomicFile file = tool::open_output(path);
  file.write(page);
  file.commit();
}

}  // namespace report
