// Sizes of a run that stay within a budget of memory.
#pragma once

#include <algorithm>
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
#include "qllk/train/settings.hpp"
#include "qllk/train/trainer.hpp"

namespace qllk::train {

/// What training holds on the heap, in bytes. The text is not there: its pages come from the file, and the system may
/// drop them.
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

/// Measures the footprint by steps with a small table. Throws qllk::RuntimeError where the C library does not tell what
/// it has given out.
///
/// Cost     four steps of 512 and 1,024 bytes a sequence
template <class Model>
Footprint footprint(const typename Model::Config& config, const TrainerSettings& settings) {
  auto small = config;
  double table = 0, small_table = 0, occurring = 0;
  if constexpr (requires { config.bits; }) {
    small.bits = 6;
    table = static_cast<double>(table_bytes(config)), small_table = static_cast<double>(table_bytes(small));
    occurring = static_cast<double>(settings.batch) * static_cast<double>(settings.context) *
                static_cast<double>(row_bytes(config));
  }
  constexpr Index kChunk = 512;
  detail::heap_after_step<Model>(small, settings, 2 * kChunk);  // threads get memory that they keep
  const double one = detail::heap_after_step<Model>(small, settings, kChunk),
               two = detail::heap_after_step<Model>(small, settings, 2 * kChunk);
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

/// What of the sizes is given, and not to be picked.
struct Given {
  bool batch = false, tables = false;  // the number of sequences; the rows of hashed tables
};

/// Picks a table, a batch and a chunk such that training holds `budget` bytes at the most, and returns what it holds.
/// In that order: tables of a quarter of the budget at the most; where whole sequences do not fit, a smaller batch, as
/// long as chunks are small; chunks as large as they can be. Without need nothing changes.
///
/// Errors   qllk::InvalidArgument that names the least budget, when it is too small for the smallest chunk
template <class Model>
double fit(double budget, Given given, typename Model::Config& config, TrainerSettings& settings) {
  constexpr double kSpare = 0.94;    // of what is measured, for what the C library loses between blocks
  constexpr double kProgram = 12e6;  // code, its tables, stacks
  constexpr Index kSmallest = 256, kLarge = 2048;
  if constexpr (requires { config.bits; })
    while (!given.tables && config.bits > 10 && static_cast<double>(table_bytes(config)) > budget / 4) --config.bits;
  for (;; settings.batch /= 2) {
    const Footprint need = footprint<Model>(config, settings);
    const Index context = settings.context;
    const auto total = [&](Index chunk) { return need.total(chunk, context, settings.borders) / kSpare + kProgram; };
    settings.chunk = 0;
    if (total(context) <= budget) return total(context);
    Index chunk = std::min(context, kSmallest);
    while (chunk + kSmallest < context && total(chunk + kSmallest) <= budget) chunk += kSmallest;
    if (chunk < std::min(kLarge, context) && settings.batch > 1 && !given.batch) continue;
    if (total(chunk) > budget)
      throw InvalidArgument("a budget of " + std::to_string(static_cast<std::int64_t>(budget)) +
                            " bytes of memory is too small: batches of " + std::to_string(settings.batch) +
                            " with chunks of " + std::to_string(chunk) + " bytes of each sequence need " +
                            std::to_string(static_cast<std::int64_t>(total(chunk)) + 1));
    settings.chunk = chunk;
    return total(chunk);
  }
}

}  // namespace qllk::train
