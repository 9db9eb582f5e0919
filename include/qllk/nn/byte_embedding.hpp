// Byte embedding.
#pragma once

#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace qllk::nn {

/// One learned column for each of the 256 bytes.
///
///   forward    y_t = E[b_t]
///   backward   dE[b_t] += dy_t
///
/// Shapes   bytes: [n]    y, dy: [dim, n]
/// Cost     dim·n moves forward, dim·n additions backward
/// Source   initialisation: N(0, deviation²); deviation 1 as torch.nn.Embedding
template <Real Scalar>
class ByteEmbedding {
 public:
  struct Config {
    Index dim;
    double deviation = 1;
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

  /// Throws std::invalid_argument unless dim is positive.
  explicit ByteEmbedding(Config config) : config_(config) {
    if (config.dim <= 0)
      throw std::invalid_argument("ByteEmbedding: dim is " + std::to_string(config.dim) + ", expected > 0");
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
    QLLK_ASSERT(y.rows() == config_.dim && y.cols() == std::ssize(bytes));
    for (Index t = 0; t < y.cols(); ++t) column(y, t) = column(p.weight, bytes[static_cast<std::size_t>(t)]);
  }

  /// Adds to g. Bytes have no gradient.
  void backward(const Params&, Bytes bytes, const Cache&, MatIn<Scalar> dy, Grads& g) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dy.cols() == std::ssize(bytes));
    for (Index t = 0; t < dy.cols(); ++t) column(g.weight, bytes[static_cast<std::size_t>(t)]) += column(dy, t);
  }

 private:
  Config config_;
};

}  // namespace qllk::nn
