// Scoring a text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/nn/loss.hpp"

namespace qllk::train {

/// A stream begins as if this byte had come before it, so that its first byte is predicted and paid for too.
inline constexpr Byte kStartByte = 0;

/// What a model makes of a text: the sum of -log p(byte | all bytes before it) over every byte.
struct Score {
  std::uint64_t bytes = 0;
  double nats = 0;

  double nats_per_byte() const { return bytes > 0 ? nats / static_cast<double>(bytes) : 0; }
  double bits_per_byte() const { return nats_per_byte() * nn::kBitsPerNat; }
};

/// Scores every byte of a corpus in order, the state carried from the first byte to the last.
///
/// Calls progress(score) after each chunk; it returns false to stop there.
/// Cost: one forward pass; memory for one chunk, whatever the corpus's size.
template <class Model, class Progress>
Score evaluate(const Model& model, const typename Model::Params& params, const data::Corpus& corpus,
               Progress&& progress, Index chunk = 512) {
  const FlushDenormals flush;
  auto state = model.initial_state(1);
  typename Model::Cache cache;
  Mat<typename Model::Scalar> logits;
  std::vector<Byte> text(static_cast<std::size_t>(chunk) + 1);
  text[0] = kStartByte;
  Score score;
  while (score.bytes < corpus.size()) {
    const auto size = static_cast<std::size_t>(
        std::min<std::uint64_t>(static_cast<std::uint64_t>(chunk), corpus.size() - score.bytes));
    corpus.copy(score.bytes, std::span(text).subspan(1, size));
    model.forward(params, Bytes(text).first(size), state, cache, logits);
    score.nats += nn::cross_entropy<typename Model::Scalar>(Bytes(text).subspan(1, size), logits);
    score.bytes += size;
    text[0] = text[size];
    if (!progress(static_cast<const Score&>(score))) break;
  }
  return score;
}

template <class Model>
Score evaluate(const Model& model, const typename Model::Params& params, const data::Corpus& corpus) {
  return evaluate(model, params, corpus, [](const Score&) { return true; });
}

}  // namespace qllk::train
