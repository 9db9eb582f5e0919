// Runs that several processes share, for the tests with threads and for those under MPI.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/files/checksum.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/trainer.hpp"
#include "support/words.hpp"

namespace qllk::test {

template <class Model>
Model tiny_model();
template <>
inline QLLKClassic<float> tiny_model() {
  return QLLKClassic<float>({.dim = 32, .layers = 1, .patch = 4});
}
template <>
inline QLLKTransformer<float> tiny_model() {
  return QLLKTransformer<float>({.dim_local = 16, .dim = 32, .patch = 4, .layers = 1, .decoder = 1, .bits = 12});
}

/// Batches of 4 shards of which some have 2 sequences, and one 1; all kinds of noise.
inline train::TrainerSettings tiny_settings() {
  train::TrainerSettings s;
  s.batch = 7;
  s.context = 40;
  s.optimizer.learning_rate = 4e-3;
  s.schedule.warmup = 5;
  s.average.every = 3;
  return s;
}

inline data::Corpus tiny_text(std::uint64_t seed = 5) { return data::Corpus::from_memory(words(5000, seed)); }

/// Of all bits of weights, moments and average.
template <class Trainer>
std::uint64_t checksum_of(const Trainer& trainer) {
  files::Checksum checksum;
  const auto update = [&](const Path&, const auto& leaf) {
    checksum.update(Bytes(reinterpret_cast<const Byte*>(leaf.data()),
                          static_cast<std::size_t>(leaf.size()) * sizeof(*leaf.data())));
  };
  for_each_parameter(update, trainer.params());
  for_each_parameter(update, trainer.optimizer());
  for_each_parameter(update, trainer.average());
  return checksum.value();
}

}  // namespace qllk::test
