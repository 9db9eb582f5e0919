// What decides a training run.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "qllk/core/optimizer.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/optim/average.hpp"
#include "qllk/optim/row_update.hpp"
#include "qllk/optim/schedule.hpp"
#include "qllk/optim/step.hpp"

namespace qllk::train {

/// Which sequences the steps of a run train on: crops from anywhere in the text; or streams through it, each step's
/// where the one before ended, with the state that was left there, but no gradient of it (truncated back-propagation).
enum class Crops { random, consecutive };
constexpr auto enum_names(Crops) { return std::array{"random", "consecutive"}; }

/// Settings of a run with any optimiser.
template <Optimizer Optim>
struct BasicTrainerSettings {
  Index batch = 16;     // sequences an update
  Index context = 512;  // bytes a sequence
  Index shards = 4;     // parts of a batch that are computed apart; part of the result, unlike the number of threads
  Index piece = 4096;   // most bytes of a shard that are computed at a time; longer ones are cut, as are all if too few
  Index chunk = 0;      // most bytes of a sequence whose activations are held at once; 0: all. See Sweep
  Index borders = 0;    // most states kept between chunks, where there are more; 0: all. See Borders
  Crops crops = Crops::random;                            // where sequences begin
  linalg::Precision precision = linalg::Precision::full;  // of products with weights; weights and updates are in full
  Optim optimizer{};                                      // of all but hashed tables
  optim::RowWise rows{};                                  // hashed tables, for models that have them
  optim::WarmupCosine schedule{};                         // of the learning rate
  optim::WeightAverage average{};                         // of the weights, to score and to save
  double dropout = 0;                                     // share of values left out, for models that have dropout
  double order_dropout = 0;     // share of positions that lose longer n-grams, for models that have hashed tables
  double match_dropout = 0.03;  // share of positions that lose the rows of matches, for models that have them
  double clip = 1;              // largest norm of the gradient of all but hashed tables, whose update has no scale
  std::uint64_t seed = 1;       // of weights and batches
};
/// Those of the default optimiser.
using TrainerSettings = BasicTrainerSettings<optim::AdamW>;

/// Returns s. Throws std::invalid_argument when a setting makes no sense.
template <Optimizer Optim>
QLLK_COLD const BasicTrainerSettings<Optim>& checked(const BasicTrainerSettings<Optim>& s) {
  using optim::expect_setting;
  const auto positive = [](const char* name, auto value) { expect_setting(value > 0, name, value, "> 0"); };
  const auto not_negative = [](const char* name, auto value) { expect_setting(value >= 0, name, value, ">= 0"); };
  const auto below_one = [](const char* name, double value) {
    expect_setting(value >= 0 && value < 1, name, value, ">= 0 and < 1");
  };
  const auto at_most_one = [](const char* name, double value) {
    expect_setting(value >= 0 && value <= 1, name, value, "0 to 1");
  };
  // Of a batch, so that no product of sizes overflows.
  constexpr bool kWide = sizeof(Index) > 4;
  constexpr std::int64_t kMostBytes = kWide ? std::int64_t{1} << 40 : std::int64_t{1} << 30;
  positive("batch", s.batch);
  positive("context", s.context);
  expect_setting(s.batch <= kMostBytes / s.context, "batch", s.batch,
                 kWide ? "at most 2^40 bytes in all its sequences" : "at most 2^30 bytes in all its sequences");
  positive("shards", s.shards);
  positive("piece", s.piece);
  not_negative("chunk", s.chunk);
  not_negative("borders", s.borders);
  s.optimizer.check();
  not_negative("rate of rows", s.rows.rate);
  below_one("beta2 of rows", s.rows.beta2);
  positive("epsilon of rows", s.rows.epsilon);
  not_negative("warmup", s.schedule.warmup);
  at_most_one("floor", s.schedule.floor);
  not_negative("average every", s.average.every);
  not_negative("degree of the average", s.average.degree);
  below_one("dropout", s.dropout);
  at_most_one("order_dropout", s.order_dropout);
  at_most_one("match_dropout", s.match_dropout);
  positive("clip", s.clip);
  return s;
}

/// How long to train: until the first of the two is used up.
struct Budget {
  std::int64_t steps = std::numeric_limits<std::int64_t>::max();  // updates that are tried
  double seconds = std::numeric_limits<double>::infinity();       // of training, without what callbacks take

  /// Share of the budget that is used up after so many steps and seconds.
  double used(std::int64_t done, double elapsed) const {
    return std::max(static_cast<double>(done) / static_cast<double>(steps), elapsed / seconds);
  }
};

}  // namespace qllk::train
