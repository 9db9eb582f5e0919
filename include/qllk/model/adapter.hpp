// Learning from the text that is read, while it is read.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/optim/row_update.hpp"

namespace qllk::inline QLLK_ISA {

/// Size of a step of Adapter, as a share of what rows have learned.
inline constexpr double kUsualAdaptRate = 0.04;

/// Dynamic evaluation of hashed rows: after every chunk of a stream, the rows that occurred in it take one step of
/// RowUpdate along the gradient of the chunk's loss, of `rate` times the root mean square of all trained rows of their
/// table. Rows that training has left at zero stay so: models tell by it what they know (CopyLogits). Everything else
/// stays as it is, too. Each byte is predicted before it is learned from, so that
/// the losses are those of an honest predictor; whoever reads the same bytes with the same model learns the same.
///
/// Cost     forward and backward of each chunk by one thread, about 2 forward passes and what rows take; the
///          parameters, of which it needs a copy, and 8 bytes for each row of a table
/// Source   Mikolov et al. 2010, section 3.3; Krause et al. 2018
template <TrainableModel Model>
class Adapter {
 public:
  using Scalar = typename Model::Scalar;
  using Params = typename Model::Params;

  static constexpr Index kChunk = 256;  // bytes between two steps

  /// Keeps a reference to the model. Throws std::invalid_argument unless rate > 0 and the model has hashed tables.
  Adapter(const Model& model, Params params, double rate = kUsualAdaptRate)
      : model_(model), params_(std::move(params)), state_(model.initial_state(1)) {
    if (!(rate > 0 && rate <= 1))
      throw InvalidArgument("the rate of adapting is " + std::to_string(rate) + ", expected more than 0, at most 1");
    for_each_parameter(
        [&](const Path&, const auto& leaf) {
          if constexpr (linalg::is_hash_table_v<std::remove_cvref_t<decltype(leaf)>>)
            if (leaf.size() > 0) {
              tables_.push_back({optim::RowUpdate<Scalar>({.rate = 1}, rate * rms_of_trained(leaf)), {}});
              tables_.back().moments.setZero(optim::RowUpdate<Scalar>::kMoments, leaf.cols());
            }
        },
        params_);
    if (tables_.empty())
      throw InvalidArgument("this model has no hashed tables: there is nothing to adapt; leave adapting out");
    grads_ = zero_grads_like<typename Model::DeferredGrads>(params_);
    waiting_.reserve(static_cast<std::size_t>(kChunk) + 1);
    waiting_.push_back(kStartByte);
  }
  Adapter(const Model&&, Params, double = kUsualAdaptRate) = delete;

  /// As they are after all chunks so far.
  const Params& params() const { return params_; }

  /// The stream's next byte, which was predicted with params(). Learns when there is a chunk of them.
  void read(Byte byte) {
    waiting_.push_back(byte);
    if (std::ssize(waiting_) <= kChunk) return;
    learn(Bytes(waiting_).first(static_cast<std::size_t>(kChunk)), Bytes(waiting_).subspan(1));
    waiting_.assign(1, byte);
  }

  /// Predicts each of `targets` from the input before it and all of the stream so far, then learns from them. Returns
  /// the loss in nats.
  double learn(Bytes inputs, Bytes targets) {
    const FlushDenormals flush;
    model_.forward(params_, inputs, state_, cache_, logits_);
    const double nats =
        nn::softmax_cross_entropy<Scalar>(targets, logits_, Scalar(1) / static_cast<Scalar>(targets.size()));
    if (!std::isfinite(nats)) return nats;
    model_.reset(dstate_, 1);
    model_.backward(params_, inputs, cache_, logits_, dstate_, grads_);
    std::size_t table = 0;
    for_each_parameter(
        [&](const Path&, auto& leaf, auto& gradient) {
          if constexpr (linalg::is_hash_table_v<std::remove_cvref_t<decltype(leaf)>>)
            if (leaf.size() > 0) step(leaf, gradient, tables_[table++]);
          gradient.setZero();
        },
        params_, grads_);
    return nats;
  }

 private:
  using Rows = linalg::HashTable<Scalar>;

  struct Learning {
    optim::RowUpdate<Scalar> update;
    Rows moments;
  };

  static double rms_of_trained(const Rows& table) {
    double squares = 0;
    Index trained = 0;
    for (Index row = 0; row < table.cols(); ++row) {
      const auto square = static_cast<double>(linalg::column(table, row).square().sum());
      squares += square;
      trained += square > 0 ? 1 : 0;
    }
    return trained > 0 ? std::sqrt(squares / static_cast<double>(trained * table.rows())) : 0;
  }

  void step(Rows& table, linalg::SparseGrads<Scalar>& gradient, Learning& learning) {
    untrained_.clear();
    for (const auto& entry : gradient.entries())
      if ((linalg::column(table, entry.row) == Scalar(0)).all()) untrained_.push_back(entry.row);
    gradient.sort_by_bucket(optim::RowUpdate<Scalar>::kShift);
    const linalg::SparseGrads<Scalar>* const list = &gradient;
    for (Index bucket = 0; bucket < learning.update.buckets(table.cols()); ++bucket) {
      const auto b = static_cast<std::size_t>(bucket);
      if (gradient.bucket_begin(b) != gradient.bucket_end(b))
        learning.update.apply(table, std::span(&list, 1), learning.moments, bucket);
    }
    for (const std::uint32_t row : untrained_) linalg::column(table, row).setZero();
  }

  const Model& model_;
  Params params_;
  std::vector<Learning> tables_;
  typename Model::DeferredGrads grads_;  // whose products are never taken
  typename Model::State state_;
  typename Model::StateGrads dstate_;
  typename Model::Cache cache_;
  Mat<Scalar> logits_;
  std::vector<Byte> waiting_;
  std::vector<std::uint32_t> untrained_;  // rows of the chunk
};

}  // namespace qllk::inline QLLK_ISA
