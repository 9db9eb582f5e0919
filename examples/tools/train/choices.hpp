// What a run is made with, by the options and by the checkpoint to continue.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/io/json_members.hpp"
#include "qllk/train/settings.hpp"
#include "run_files.hpp"
#include "train/options.hpp"

namespace train_tool {

using namespace qllk;

/// "1.235"
inline std::string number(double value, int digits = 3) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

inline train::Budget budget_of(const Options& options) {
  constexpr double kUsualSeconds = 90;
  train::Budget budget;
  if (options.steps) budget.steps = *options.steps;
  if (options.seconds) budget.seconds = *options.seconds;
  if (!options.steps && !options.seconds) budget.seconds = kUsualSeconds;
  return budget;
}

inline linalg::Precision precision_of(const Options& options) {
  if (!options.precision || *options.precision == "auto") return linalg::kFastestPrecision;
  return *options.precision == "bfloat16" ? linalg::Precision::bfloat16 : linalg::Precision::full;
}

inline tool::TextSources sources_of(const Options& options) {
  return {options.data.empty() ? std::vector<std::string>{QLLK_DEFAULT_CORPUS} : options.data, options.val,
          options.val_fraction.value_or(0.1), options.weights};
}

/// Throws if an option was given that the run to continue was not made with.
template <class T, class U>
void agree(const char* name, const std::optional<T>& given, const U& was) {
  if (given && *given != was)
    throw std::invalid_argument(
        std::string(name) + " is " + io::Json(*given).dump(-1, ' ', false, io::Json::error_handler_t::replace) +
        ", but the run to continue has " + io::Json(was).dump() + "; leave it out, or begin a new run");
}

/// The mixers of a comma-separated list, in all blocks of both levels in turn.
template <class Config>
void set_mixers(Config& config, const std::string& list) {
  if constexpr (requires { config.mixer; }) {
    config.mixer.clear();
    for (std::size_t at = 0; at <= list.size();) {
      const std::size_t end = std::min(list.find(',', at), list.size());
      config.mixer.push_back(decltype(config.mixer)::value_type::named(list.substr(at, end - at)));
      at = end + 1;
    }
    config.mixer_local = config.mixer;
  } else {
    throw std::invalid_argument("--mixer is '" + list +
                                "', but the classic model has no choice of mixers: leave it out");
  }
}

/// Names of a model's mixers, as --mixer has them.
template <class Config>
std::string mixers_of(const Config& config) {
  std::string names;
  if constexpr (requires { config.mixer; })
    for (const auto& mixer : config.mixer) {
      if (!names.empty()) names += ',';
      names += mixer.mixer();
    }
  return names;
}

}  // namespace train_tool
