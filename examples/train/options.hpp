// What qllk-train was asked for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "qllk/core/types.hpp"

namespace train_tool {

/// As the command line gives them, numbers within their ranges. What is not there is picked, or is the checkpoint's.
struct Options {
  std::vector<std::string> data;
  std::optional<std::string> val, arch, mixer, out;
  std::optional<double> val_fraction, seconds;
  std::optional<std::int64_t> steps;
  std::optional<qllk::Index> batch, context;
  std::optional<std::uint64_t> seed;
  int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  bool resume = false;

  void check() const {
    if (mixer && *mixer != "latent") throw std::invalid_argument("--mixer is '" + *mixer + "', expected latent");
    if (resume && !out) throw std::invalid_argument("--resume needs --out DIR, the folder of the run to continue");
  }
};

}  // namespace train_tool
