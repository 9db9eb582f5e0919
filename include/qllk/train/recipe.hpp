// The settings of a run where nobody says otherwise, by the size of the text and the budget.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "qllk/files/machine.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/settings.hpp"

namespace qllk::train {

/// What to train, and how.
template <class Model>
struct Recipe {
  typename Model::Config config;  // of the model
  TrainerSettings settings;       // of the trainer
};

/// What is decided or known already.
struct Wanted {
  std::optional<Index> batch{}, context{};                  // sequences, and bytes of one
  linalg::Precision precision = linalg::kFastestPrecision;  // of products with weights
  double bytes_per_second = 45'000;  // that training takes; measured_speed (train/speed.hpp) tells this machine's

  /// Settings with what is wanted; the batch is the usual one unless told otherwise.
  TrainerSettings settings(Index usual_batch) const {
    TrainerSettings settings;
    settings.batch = batch.value_or(usual_batch);
    settings.context = context.value_or(settings.context);
    settings.precision = precision;
    return settings;
  }
};

/// One overload for each architecture, given the bytes of the training text and the budget.
inline Recipe<QLLKClassic<float>> recipe(std::type_identity<QLLKClassic<float>>, std::uint64_t, const Budget&,
                                         const Wanted& wanted = {}) {
  return {{}, wanted.settings(16)};
}

/// How many bytes a run of this budget is going to train on, roughly: enough to choose sizes by.
inline double expected_bytes(const Budget& budget, const TrainerSettings& settings, const Wanted& wanted = {}) {
  return std::min(
      budget.seconds * wanted.bytes_per_second,
      static_cast<double>(budget.steps) * static_cast<double>(settings.batch) * static_cast<double>(settings.context));
}

/// Bytes of the rows that a position has in the hashed table, and of the whole table; matches, which have few, aside.
template <class Config>
Index row_bytes(const Config& c) {
  return (c.orders - 1 + c.words) * c.dim_local * Index{sizeof(float)};
}
/// Of the whole table.
template <class Config>
Index table_bytes(const Config& c) {
  return row_bytes(c) << c.bits;
}

/// For little text in all: small batches and few blocks. For much text: more rows for n-grams, within an eighth of the
/// memory that this process may use; fewer where a text is too short to fill them. For several epochs: more dropout and
/// lower rates of rows, against overfitting. Chosen with bench/experiments, except for dropout beyond 12 epochs, which
/// is extrapolated.
template <class Model>
requires requires(typename Model::Config c) { c.dim_local, c.match, c.mixer_local; }
Recipe<Model> recipe(std::type_identity<Model>, std::uint64_t corpus, const Budget& budget, const Wanted& wanted = {}) {
  Recipe<Model> r;
  auto& config = r.config;
  auto& settings = r.settings;
  settings = wanted.settings(8);
  if (expected_bytes(budget, settings, wanted) < 1.5e6) {
    settings = wanted.settings(4);
    config.decoder = 1;
  }
  settings.schedule.warmup = 30;
  const double bytes = expected_bytes(budget, settings, wanted);
  const double passes = bytes / static_cast<double>(std::max<std::uint64_t>(corpus, 1));
  if (passes < 2) {
    settings.optimizer = {.learning_rate = 4e-3, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.1};
    settings.rows.rate = 20;
    settings.schedule.floor = 0.15;
  } else {
    settings.optimizer = {.learning_rate = 4e-3, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1};
    settings.dropout = passes < 4 ? 0.1 : 0.3;
    if (passes >= 4) settings.rows.rate = 5;
    settings.schedule.floor = 0.3;
    settings.average.degree = passes < 12 ? 2 : 0;
  }
  settings.order_dropout = passes < 0.25 ? 0 : passes < 0.7 ? 0.1 : passes < 2 ? 0.4 : passes < 4 ? 0.6 : 0.95;

  const double distinct = std::min(bytes, static_cast<double>(corpus));
  config.bits = distinct < 8e6 ? 16 : distinct < 3.2e7 ? 17 : 18;
  while (config.bits > 10 && std::uint64_t{1} << (config.bits - 1) >= 4 * corpus) --config.bits;
  const auto memory = static_cast<double>(files::Machine().memory_limit());
  while (config.bits > 12 && static_cast<double>(table_bytes(config)) > memory / 8) --config.bits;
  return r;
}

}  // namespace qllk::train
