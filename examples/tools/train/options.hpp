// What qllk-train was asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/files/machine.hpp"

namespace train_tool {

/// As the command line gives them, numbers within their ranges. What is not there is picked, or is the checkpoint's.
struct Options {
  std::vector<std::string> data;
  std::vector<double> weights;  // of data
  std::optional<std::string> val, arch, mixer, precision, out;
  std::string config;            // a file of --print-config
  std::vector<std::string> set;  // KEY=VALUE
  bool print_config = false;
  std::optional<double> val_fraction, seconds;
  std::optional<std::int64_t> steps;
  std::optional<qllk::Index> batch, context, chunk;
  std::optional<double> memory;  // bytes
  bool carry = false;
  std::optional<std::uint64_t> seed;
  int threads = qllk::files::Machine().processors();
  bool resume = false;
  std::optional<std::string> exchange;               // of several processes: full, half
  std::optional<std::int64_t> local_steps;           // between averages
  std::optional<double> outer_rate, outer_momentum;  // of averages

  /// Whether there is a setting that only several processes have.
  bool together() const { return exchange || local_steps || outer_rate || outer_momentum; }

  void check() const {
    const auto expect_name = [](const char* option, const std::string& name) {
      if (name.empty()) throw std::invalid_argument(std::string(option) + " is empty, expected a name");
    };
    for (const auto& path : data) expect_name("--data", path);
    if (!weights.empty() && weights.size() != data.size() && !(resume && data.empty()))
      throw std::invalid_argument("--weight has " + std::to_string(weights.size()) + " numbers, --data " +
                                  std::to_string(data.size()) + " paths: give one for each path, in their order");
    if (val) expect_name("--val", *val);
    if (out) expect_name("--out", *out);
    if ((outer_rate || outer_momentum) && !local_steps && !resume)
      throw std::invalid_argument("--outer-rate and --outer-momentum need --local-steps");
    if (resume && (!config.empty() || !set.empty()))
      throw std::invalid_argument("a run that is continued keeps its settings: leave out --resume, or " +
                                  (set.empty() ? "--config" : "what sets '" + set.front() + "'"));
    if (resume && memory)
      throw std::invalid_argument("a run that is continued keeps its sizes: leave out --memory, or begin a new run");
    if (resume && !out) throw std::invalid_argument("--resume needs --out DIR, the folder of the run to continue");
  }
};

}  // namespace train_tool
