// How fast this machine trains.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/train/recipe.hpp"
#include "qllk/train/trainer.hpp"

namespace qllk::train {

/// Bytes a second that a model as the recipe usually configures it trains on here, from a few updates: for recipes of
/// runs that end after some time. What follows from it differs from run to run; a budget of steps alone does not need
/// it.
///
/// Cost: about a second, and the memory of such a trainer for that long.
template <class Model>
double measured_speed(const data::Corpus& text, int threads, linalg::Precision precision = linalg::kFastestPrecision) {
  if (text.size() < 3) return Wanted{}.bytes_per_second;
  auto [config, settings] =
      recipe(std::type_identity<Model>{}, text.size(), Budget{.seconds = 600}, {.precision = precision});
  settings.context = std::min(settings.context, static_cast<Index>(std::min<std::uint64_t>(text.size() - 1, 1 << 20)));
  Trainer<Model> trainer(Model(config), settings, text, threads);
  trainer.step(0);  // with memory that no one has touched
  const Progress start = trainer.progress();
  do {
    trainer.step(0);
  } while (trainer.progress().seconds - start.seconds < 0.3);
  return static_cast<double>(trainer.progress().bytes - start.bytes) / (trainer.progress().seconds - start.seconds);
}

/// The recipe for a run: a budget of seconds alone is reckoned with the speed of this machine, any other with nothing
/// measured.
template <class Model>
Recipe<Model> measured_recipe(const data::Corpus& text, const Budget& budget, int threads, Wanted wanted = {}) {
  if (budget.steps == Budget{}.steps) wanted.bytes_per_second = measured_speed<Model>(text, threads, wanted.precision);
  return recipe(std::type_identity<Model>{}, text.size(), budget, wanted);
}

}  // namespace qllk::train

#ifdef QLLK_COMPILED
namespace qllk::train {
extern template double measured_speed<EveryTransformer>(const data::Corpus&, int, linalg::Precision);
extern template double measured_speed<QLLKClassic<float>>(const data::Corpus&, int, linalg::Precision);
extern template Recipe<EveryTransformer> measured_recipe<EveryTransformer>(const data::Corpus&, const Budget&, int,
                                                                           Wanted);
extern template Recipe<QLLKClassic<float>> measured_recipe<QLLKClassic<float>>(const data::Corpus&, const Budget&, int,
                                                                               Wanted);
}  // namespace qllk::train
#endif
