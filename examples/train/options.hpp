// What qllk-train was asked for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "qllk/core/types.hpp"

namespace train_tool {

/// As the command line gives them: what is not there is picked, or comes from the checkpoint.
struct Options {
  std::vector<std::string> data;
  std::optional<std::string> val, arch, mixer, out;
  std::string config;            // a file of --print-config
  std::vector<std::string> set;  // KEY=VALUE
  bool print_config = false;
  std::optional<double> val_fraction, seconds;
  std::optional<std::int64_t> steps;
  std::optional<qllk::Index> batch, context;
  std::optional<std::uint64_t> seed;
  int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  bool resume = false;

  void check() const {
    const auto positive = [](const char* name, auto value) {
      if (!(value > 0) || !std::isfinite(static_cast<double>(value)))
        throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + ", expected a number above 0");
    };
    if (steps) positive("--steps", *steps);
    if (seconds) positive("--seconds", *seconds);
    if (batch) positive("--batch", *batch);
    if (context) positive("--context", *context);
    positive("--threads", threads);
    if (val_fraction && !(*val_fraction > 0 && *val_fraction < 1))
      throw std::invalid_argument("--val-fraction is " + std::to_string(*val_fraction) + ", expected between 0 and 1");
    if (resume && (!config.empty() || !set.empty()))
      throw std::invalid_argument(
          "a run that is continued keeps its settings: leave out --resume, or what changes them");
    if (resume && !out) throw std::invalid_argument("--resume needs --out DIR, the folder of the run to continue");
  }
};

}  // namespace train_tool
