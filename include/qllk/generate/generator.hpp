// Streaming generation.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/generate/repetition.hpp"
#include "qllk/generate/sampler.hpp"

namespace qllk::generate {

/// Reads bytes and continues them, one at a time, with the memory of one chunk however long the stream is.
///
/// Bytes that are fed wait until there are kChunk of them, or until a prediction is wanted: the chunks that the model
/// sees depend on the stream alone, never on how it was cut into calls of `feed`. So do all the bytes that come out.
/// The stream begins with kStartByte: an empty prompt is a prompt.
template <ByteModel Model, class Params = typename Model::Params>
class Generator {
 public:
  using Scalar = typename Model::Scalar;
  /// One for each value of the next byte.
  using Logits = std::span<const Scalar, static_cast<std::size_t>(kByteValues)>;
  /// Bytes that are fed to the model at a time, at the most.
  static constexpr std::size_t kChunk = 512;

  /// Keeps references to both: they must outlive it.
  Generator(const Model& model, const Params& params) : model_(model), params_(params), state_(model.initial_state(1)) {
    waiting_.reserve(kChunk);
    waiting_.push_back(kStartByte);
  }
  Generator(const Model&&, const Params&) = delete;
  Generator(const Model&, const Params&&) = delete;

  /// Reads bytes of any number: a prompt, or more of one after bytes were generated.
  void feed(Bytes bytes) {
    for (const Byte byte : bytes.last(std::min(bytes.size(), Repetition::kReach))) repetition_.read(byte);
    while (!bytes.empty()) {
      if (waiting_.size() == kChunk) advance();
      const std::size_t count = std::min(bytes.size(), kChunk - waiting_.size());
      waiting_.insert(waiting_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
      bytes = bytes.subspan(count);
    }
  }

  /// What the model expects after all that was read: valid until the next call of any member.
  Logits logits() {
    if (!waiting_.empty()) advance();
    return Logits(logits_.data() + (logits_.cols() - 1) * kByteValues, static_cast<std::size_t>(kByteValues));
  }

  /// Draws the next byte and reads it. Long repetitions are less likely if the sampler says so. Throws as
  /// Sampler::pick.
  Byte next(const Sampler& sampler, Random& random) {
    const Byte byte = pick(sampler, random);
    waiting_.push_back(byte);
    repetition_.read(byte);
    return byte;
  }

 private:
  Byte pick(const Sampler& sampler, Random& random) {
    const Logits z = logits();
    if (sampler.config().repeat == 0) return sampler.pick<Scalar>(z, random);
    std::array<Scalar, static_cast<std::size_t>(kByteValues)> lowered;
    std::copy(z.begin(), z.end(), lowered.begin());
    repetition_.lower<Scalar>(lowered, sampler.config().repeat);
    return sampler.pick<Scalar>(Logits(lowered), random);
  }

  void advance() {
    const FlushDenormals flush;
    model_.forward(params_, Bytes(waiting_), state_, cache_, logits_);
    waiting_.clear();
  }

  const Model& model_;
  const Params& params_;
  typename Model::State state_;
  typename Model::Cache cache_;
  Mat<Scalar> logits_;
  std::vector<Byte> waiting_;
  Repetition repetition_;
};

}  // namespace qllk::generate
