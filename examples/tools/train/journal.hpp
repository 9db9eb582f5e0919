// What a run tells of itself for later: metrics as they come.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "display.hpp"
#include "metrics.hpp"
#include "qllk/train/progress.hpp"
#include "run_files.hpp"
#include "train/metrics_log.hpp"

namespace train_tool {

using namespace qllk;

/// Bytes of memory that this process holds now; NaN where the system does not tell.
inline double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double all = 0, resident = 0;
  if (file >> all >> resident) return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
  return tool::MetricsRow::kUnknown;
}

class Journal {
 public:
  /// Goes on from what the folder has up to where the run stands.
  Journal(const tool::RunFolder& folder, const train::Progress& progress, tool::Display& display)
      : log_(folder.metrics(), progress.steps, display), last_(progress) {}

  const std::vector<tool::MetricsRow>& rows() const { return log_.rows(); }

  void step(const train::StepReport& report) { report_ = report; }

  /// A second after the row before, or a thousandth of the time that was trained: long runs have no more than some
  /// thousands of rows.
  bool due(const train::Progress& now) const {
    return std::chrono::duration<double>(Clock::now() - recorded_).count() >= std::max(1.0, now.seconds / 1000);
  }

  /// Where the run stands, but for what was scored or written.
  tool::MetricsRow row(const train::Progress& now, double train_bits_per_byte) const {
    tool::MetricsRow row;
    row.step = now.steps;
    row.bytes = now.bytes;
    row.seconds = now.seconds;
    row.train = train_bits_per_byte;
    if (report_) {
      row.learning_rate = report_->learning_rate;
      row.gradient_norm = report_->gradient_norm;
    }
    if (now.bytes > last_.bytes)
      row.rate = static_cast<double>(now.bytes - last_.bytes) / (now.seconds - last_.seconds);
    row.memory = resident_bytes();
    return row;
  }

  void record(const tool::RunFolder& folder, const train::Progress& now, tool::MetricsRow row) {
    log_.add(folder.metrics(), std::move(row));
    last_ = now;
    recorded_ = Clock::now();
  }

  /// After the folder was saved to.
  void save(const tool::RunFolder& folder) { log_.restore(folder.metrics()); }

 private:
  using Clock = std::chrono::steady_clock;

  MetricsLog log_;
  train::Progress last_;  // at the last row
  std::optional<train::StepReport> report_;
  Clock::time_point recorded_ = Clock::now();
};

}  // namespace train_tool
