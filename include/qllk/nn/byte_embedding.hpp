// Byte embedding.
#pragma once

#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::nn {

using linalg::column;

/// One learned column for each of the 256 bytes, and of every patch of P bytes the mean.
///
///   forward    y_p = 1/P Σ_{i<P} E[b_{P·p+i}]
///   backward   dE[b_{P·p+i}] += dy_p / P
///
/// Shapes   bytes: [P·n]    y, dy: [dim, n]
/// Cost     dim·P·n additions, forward and backward
/// Source   torch.nn.EmbeddingBag with mode "mean"; initialisation: N(0, deviation²), deviation 1 as
///          torch.nn.Embedding
template <Real Scalar>
class ByteEmbedding {
 public:
  struct Config {
    Index dim;
    Index patch = 1;       // P
    double deviation = 1;  // of the first weights
    bool operator==(const Config&) const = default;
  };

  struct Params {
    Table<Scalar> weight;  // [dim, 256]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("weight", t.weight...);
    }
  };
  using Grads = Params;
  struct Cache {};

  /// Throws std::invalid_argument unless dim and patch are positive.
  explicit ByteEmbedding(Config config) : config_(config) {
    if (config.dim <= 0 || config.patch <= 0)
      throw InvalidArgument("ByteEmbedding: dim is " + std::to_string(config.dim) + " and patch " +
                            std::to_string(config.patch) + ", expected both > 0");
  }

  const Config& config() const { return config_; }

  Params zeros() const {
    Params p;
    p.weight.setZero(config_.dim, kByteValues);
    return p;
  }
  Params init(Random& random) const {
    Params p = zeros();
    fill_normal(p.weight, config_.deviation, random);
    return p;
  }

  /// Writes y.
  void forward(const Params& p, Bytes bytes, Cache&, MatOut<Scalar> y) const {
    QLLK_ASSERT(y.rows() == config_.dim && config_.patch * y.cols() == std::ssize(bytes));
    auto byte = bytes.begin();
    for (Index t = 0; t < y.cols(); ++t) {
      auto mean = column(y, t);
      mean = column(p.weight, *byte++);
      for (Index i = 1; i < config_.patch; ++i) mean += column(p.weight, *byte++);
      if (config_.patch > 1) mean *= Scalar(1) / static_cast<Scalar>(config_.patch);
    }
  }

  /// Adds to g. Bytes have no gradient.
  void backward(const Params&, Bytes bytes, const Cache&, MatIn<Scalar> dy, Grads& g) const {
    QLLK_ASSERT(dy.rows() == config_.dim && config_.patch * dy.cols() == std::ssize(bytes));
    const Scalar share = Scalar(1) / static_cast<Scalar>(config_.patch);
    auto byte = bytes.begin();
    for (Index t = 0; t < dy.cols(); ++t)
      for (Index i = 0; i < config_.patch; ++i) column(g.weight, *byte++) += column(dy, t) * share;
  }

 private:
  Config config_;
};

}  // namespace qllk::nn
