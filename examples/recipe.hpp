// What qllk-train picks where the command line leaves it open.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/trainer.hpp"

namespace tool {

template <class Model>
struct Recipe {
  typename Model::Config config;
  qllk::train::TrainerSettings settings;
};

/// One overload for each architecture, given the bytes of the training text and the budget.
inline Recipe<qllk::QLLKClassic<float>> recipe(std::type_identity<qllk::QLLKClassic<float>>, std::uint64_t,
                                               const qllk::train::Budget&) {
  return {};
}

/// The larger the share of the budget in which text comes again, the more is left out at random: what has been seen before
/// is otherwise trusted more than it deserves.
inline Recipe<qllk::QLLKTransformer<float>> recipe(std::type_identity<qllk::QLLKTransformer<float>>,
                                                   std::uint64_t corpus, const qllk::train::Budget& budget) {
  Recipe<qllk::QLLKTransformer<float>> r;
  r.settings.batch = 8;
  r.settings.adam = {.learning_rate = 4e-3, .beta2 = 0.99, .weight_decay = 0.1};
  r.settings.schedule.warmup = 30;
  constexpr double kBytesPerSecond = 25'000;  // in training, of two cores; only the order of magnitude matters
  const double bytes =
      std::min(budget.seconds * kBytesPerSecond,
               static_cast<double>(budget.steps) * static_cast<double>(r.settings.batch * r.settings.context));
  const double passes = bytes / static_cast<double>(std::max<std::uint64_t>(corpus, 1));
  r.settings.order_dropout = passes < 0.5 ? 0.1 : passes < 2 ? 0.4 : 0.6;
  r.settings.dropout = passes < 2 ? 0 : 0.1;
  return r;
}

}  // namespace tool
