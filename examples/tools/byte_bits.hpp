// What each byte of a text costs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/nn/loss.hpp"

namespace tool {

/// Bytes with their costs, -log2 p(byte | all bytes before it).
struct CostedText {
  std::vector<qllk::Byte> bytes;
  std::vector<float> bits;
};

/// Reads a stream and tells the cost of each of its bytes, with the memory of one chunk.
template <qllk::ByteModel Model, class Params = typename Model::Params>
class ByteBits {
 public:
  /// Keeps references to both: they must outlive it.
  ByteBits(const Model& model, const Params& params) : model_(model), params_(params), begin_(model.initial_state(1)) {
    restart();
  }

  /// The next bytes are the first ones of a stream.
  void restart() {
    state_ = begin_;
    last_ = qllk::kStartByte;
  }

  /// The next bytes of the stream; `bits` is as long as `text`. Cost: one forward pass.
  void operator()(qllk::Bytes text, std::span<float> bits) {
    const qllk::FlushDenormals flush;
    for (std::size_t at = 0; at < text.size(); at += kChunk) {
      const auto targets = text.subspan(at, std::min(kChunk, text.size() - at));
      input_.assign(1, last_);
      input_.insert(input_.end(), targets.begin(), targets.end() - 1);
      last_ = targets.back();
      model_.forward(params_, qllk::Bytes(input_), state_, cache_, logits_);
      for (std::size_t i = 0; i < targets.size(); ++i) {
        const double nats =
            qllk::nn::cross_entropy<Scalar>(targets.subspan(i, 1), logits_.middleCols(static_cast<qllk::Index>(i), 1));
        bits[at + i] = static_cast<float>(nats * qllk::nn::kBitsPerNat);
      }
    }
  }

 private:
  using Scalar = typename Model::Scalar;
  static constexpr std::size_t kChunk = 256;

  const Model& model_;
  const Params& params_;
  typename Model::State begin_, state_;
  typename Model::Cache cache_;
  qllk::Mat<Scalar> logits_;
  std::vector<qllk::Byte> input_;
  qllk::Byte last_ = qllk::kStartByte;
};

}  // namespace tool
