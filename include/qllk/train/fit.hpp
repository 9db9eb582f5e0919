// Sizes of a run that stay within a budget of memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/train/borders.hpp"
#include "qllk/train/memory.hpp"
#include "qllk/train/recipe.hpp"
#include "qllk/train/required_memory.hpp"
#include "qllk/train/settings.hpp"
#include "qllk/train/trainer.hpp"

namespace qllk::train {

/// What training holds on the heap, in bytes, without the text.
struct Footprint {
  double fixed;     // whatever the length of a sequence
  double position;  // for each byte of a chunk, of all sequences together
  double border;    // for each chunk, where its state is kept

  /// With chunks of that many bytes.
  double total(Index chunk, Index context, Index borders) const {
    const Index chunks = (context + chunk - 1) / chunk;
    const Index kept = chunks == 1 ? 0 : borders > 0 ? std::min(borders, chunks) : chunks;
    return fixed + position * static_cast<double>(chunk) + border * static_cast<double>(kept);
  }
};

namespace detail {

/// Bytes that a trainer on this machine has after a step, with two chunks of that many bytes a sequence.
template <class Model>
double heap_after_step(const typename Model::Config& config, TrainerSettings settings, Index chunk) {
  settings.context = 2 * chunk;
  settings.chunk = chunk;
  settings.borders = 1;
  settings.crops = Crops::random;
  std::vector<Byte> bytes(static_cast<std::size_t>(settings.context) + 1);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<Byte>(i * i >> 3);
  const std::size_t before = heap_bytes();
  Trainer<Model> trainer(Model(config), settings, data::Corpus::from_memory(std::move(bytes)), 1);
  trainer.step(0);
  const std::size_t after = heap_bytes();
  return after > before ? static_cast<double>(after - before) : 0;
}

}  // namespace detail

namespace detail {

/// Of settings.batch sequences, measured by steps of them.
template <class Model>
Footprint measured_footprint(const typename Model::Config& config, const TrainerSettings& settings) {
  auto small = config;
  double table = 0, small_table = 0, occurring = 0;
  if constexpr (requires { config.bits; }) {
    small.bits = 6;
    table = static_cast<double>(table_bytes(config)), small_table = static_cast<double>(table_bytes(small));
    occurring = static_cast<double>(settings.batch) * static_cast<double>(settings.context) *
                static_cast<double>(row_bytes(config));
  }
  constexpr Index kChunk = 256;
  heap_after_step<Model>(small, settings, 2 * kChunk);  // threads get memory that they keep
  const double one = heap_after_step<Model>(small, settings, kChunk),
               two = heap_after_step<Model>(small, settings, 2 * kChunk);
  if (two <= one || one <= 0)
    throw RuntimeError("this C library does not tell how much memory is in use: give sizes, not a budget");
  const Model model(small);
  const auto state = model.initial_state(settings.batch);
  const double slope = (two - one) / kChunk;
  // weights, moments of rows, and sums of their gradients, for each row that occurs
  constexpr double kMoments = 1.02;
  return {one - slope * kChunk + kMoments * (table - small_table) + std::min(table, occurring), slope,
          static_cast<double>(held(static_cast<const typename Model::StateGrads&>(state)))};
}

}  // namespace detail

/// Measures the footprint by steps with a small table and one or two sequences, from which those of more follow. Throws
/// qllk::RuntimeError where the C library does not tell what it has given out.
///
/// Cost     six steps of 512 and 1,024 bytes a sequence
template <class Model>
Footprint footprint(const typename Model::Config& config, TrainerSettings settings) {
  const double more = static_cast<double>(settings.batch - 1);
  settings.batch = 1;
  const Footprint one = detail::measured_footprint<Model>(config, settings);
  if (more == 0) return one;
  settings.batch = 2;
  const Footprint two = detail::measured_footprint<Model>(config, settings);
  return {one.fixed + more * (two.fixed - one.fixed), one.position + more * (two.position - one.position),
          one.border + more * (two.border - one.border)};
}

namespace detail {

/// Of the chunks of a multiple of `unit` bytes that a context can be cut into: the largest with which total(chunk) is
/// at most `budget`, 0 if there is none, and the one whose total is the least. Small chunks take much, too: there are
/// many of them, and each has its state kept.
struct Chunks {
  Index largest = 0, least;

  template <class Total>
  Chunks(Index context, Index unit, double budget, Total&& total) : least(std::min(context, unit)) {
    for (Index chunk = least; chunk <= context; chunk += unit) {
      if (total(chunk) <= budget) largest = chunk;
      if (total(chunk) < total(least)) least = chunk;
    }
  }
};

}  // namespace detail

/// What of the sizes is given, and not to be picked.
struct Given {
  bool batch = false, tables = false;  // the number of sequences; the rows of hashed tables
};

/// Picks a table, a batch, a chunk and, of very long contexts, the states to keep, such that training holds `budget`
/// bytes at most beside the text (Corpus::bytes_in_memory), and returns what it holds. See give_back_freed_memory.
/// In that order: tables of a quarter of the budget at most; where whole sequences do not fit, a smaller batch, as long
/// as chunks are small; chunks as large as they can be; fewer states kept (`borders`), so that chunks are computed once
/// or twice more; smaller tables. Without need nothing changes.
///
/// Errors   qllk::InvalidArgument that names the least budget, when it is too small for the best chunk
template <class Model>
double fit(double budget, Given given, typename Model::Config& config, TrainerSettings& settings) {
  constexpr double kSpare = 0.94;    // of what is measured, for what the C library loses between blocks
  constexpr double kProgram = 28e6;  // code, stacks, and what scoring and saving need
  constexpr Index kSmallest = 256, kLarge = 2048, kFewStates = 64;
  if constexpr (requires { config.bits; })
    while (!given.tables && config.bits > 10 && static_cast<double>(table_bytes(config)) > budget / 4) --config.bits;
  for (;;) {
    const Footprint need = footprint<Model>(config, settings);
    const Index context = settings.context;
    const auto total = [&](Index chunk) { return need.total(chunk, context, settings.borders) / kSpare + kProgram; };
    settings.chunk = 0;
    if (total(context) <= budget) return total(context);
    const detail::Chunks chunks(context, kSmallest, budget, total);
    if (chunks.largest < std::min(kLarge, context) && settings.batch > 1 && !given.batch) {
      settings.batch /= 2;
      continue;
    }
    if (chunks.largest > 0) {
      settings.chunk = chunks.largest;
      return total(settings.chunk);
    }
    if (settings.borders == 0 && context / chunks.least > 2 * kFewStates) {
      settings.borders = std::max(kFewStates, static_cast<Index>(budget / 16 / std::max(need.border, 1.0)));
      continue;
    }
    if constexpr (requires { config.bits; })
      if (!given.tables && config.bits > 10) {
        --config.bits;
        continue;
      }
    throw InvalidArgument("a budget of " + detail::megabytes(budget) +
                          " of memory beside the text is too small: batches of " + std::to_string(settings.batch) +
                          " with chunks of " + std::to_string(chunks.least) + " bytes of each sequence need " +
                          detail::megabytes(std::ceil(total(chunks.least) / 1e6) * 1e6));
  }
}

}  // namespace qllk::train

#ifdef QLLK_COMPILED
namespace qllk::train {
extern template double fit<EveryTransformer>(double, Given, EveryTransformer::Config&, TrainerSettings&);
extern template double fit<QLLKClassic<float>>(double, Given, QLLKClassic<float>::Config&, TrainerSettings&);
}  // namespace qllk::train
#endif
