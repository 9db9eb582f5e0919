// The history of a run, in memory and in metrics.jsonl.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "display.hpp"
#include "metrics.hpp"
#include "qllk/data/own_files.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"
#include "tool.hpp"

namespace train_tool {

/// Rows are appended one by one. A file that cannot be written is a warning, once, and the next row tries again:
/// nothing that people look at may end a training. Another's file of that name is left alone.
class MetricsLog {
 public:
  /// Goes on from the rows of before that are not behind `step`, where the checkpoint stands.
  MetricsLog(const std::filesystem::path& path, std::int64_t step, tool::Display& display) : display_(display) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) return;
    if (std::filesystem::file_size(path, ignored) == 0) return;
    try {
      rows_ = tool::read_metrics(path);
      if (step == 0) rows_.clear();  // of a run that died before it was saved
      std::erase_if(rows_, [&](const tool::MetricsRow& row) { return row.step > step; });
    } catch (const std::exception& error) {
      writes_ = false;
      warn(error.what());
    }
  }

  const std::vector<tool::MetricsRow>& rows() const { return rows_; }

  void add(const std::filesystem::path& path, tool::MetricsRow row) {
    rows_.push_back(std::move(row));
    if (writes_) write(path);
  }

  /// Makes the file again if it is gone, or could not be written.
  void restore(const std::filesystem::path& path) {
    std::error_code ignored;
    if (writes_ && !rows_.empty() && (!intact_ || !std::filesystem::exists(path, ignored))) write_all(path);
  }

 private:
  void write(const std::filesystem::path& path) {
    if (!intact_) return write_all(path);
    const qllk::files::FileDescriptor file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (!file.is_open()) return write_all(path);
    intact_ = false;  // part of a row may be there
    if (const int error = tool::write_all(file.get(), rows_.back().line(false)))
      return warn("cannot write '" + path.string() + "': " + std::generic_category().message(error));
    intact_ = true;
  }

  void write_all(const std::filesystem::path& path) {
    try {
      std::string text;
      for (const tool::MetricsRow& row : rows_) text += row.line(text.empty());
      qllk::files::AtomicFile file(path);
      file.write(text);
      file.commit();
      intact_ = true;
    } catch (const std::exception& error) {
      warn(error.what());
    }
  }

  void warn(const std::string& what) {
    if (!warned_) display_.line("warning: the metrics of the run are not written: " + what);
    warned_ = true;
  }

  tool::Display& display_;
  std::vector<tool::MetricsRow> rows_;
  bool writes_ = true, intact_ = false, warned_ = false;
};

}  // namespace train_tool
