// A short training whose outcome is known: what every compiler and processor must come near, and one must meet.
#pragma once

#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"
#include "support/words.hpp"

namespace qllk::test {

/// Two models, and what they score after the training.
template <class Model>
struct Golden;
template <>
struct Golden<QLLKClassic<float>> {
  static QLLKClassic<float> model() { return QLLKClassic<float>({.dim = 24, .layers = 2, .patch = 4}); }
  static constexpr double kBitsPerByte = 5.329267;
};
template <>
struct Golden<QLLKTransformer<float>> {
  static QLLKTransformer<float> model() {
    return QLLKTransformer<float>({.dim_local = 16, .dim = 24, .patch = 4, .layers = 1, .decoder = 1, .bits = 10});
  }
  static constexpr double kBitsPerByte = 2.193493;
};

/// The largest difference from that score, relative to it, that another order of additions has a right to.
inline constexpr double kGoldenTolerance = 1e-3;

inline data::Corpus golden_text() { return data::Corpus::from_memory(test::words(6000, 11, "dog.\n")); }

template <class Model>
train::Trainer<Model> golden_training() {
  train::TrainerSettings settings;
  settings.batch = 4;
  settings.context = 48;
  settings.optimizer.learning_rate = 4e-3;
  settings.schedule.warmup = 5;
  settings.average.every = 4;
  train::Trainer<Model> trainer(Golden<Model>::model(), settings, golden_text(), 2);
  trainer.run({.steps = 40}, [](const train::StepReport&) { return true; });
  return trainer;
}

template <class Model>
double golden_score(train::Trainer<Model>& trainer) {
  return trainer.with_average(
      [&](const auto& params) { return train::evaluate(trainer.model(), params, golden_text()).bits_per_byte(); });
}

}  // namespace qllk::test
