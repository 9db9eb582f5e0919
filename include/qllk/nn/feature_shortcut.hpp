// The original QLLK's "feature hashing": a dense shortcut. (Hashing of n-grams is in feature_hashing.hpp.)
#pragma once

#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/linalg/weight_gemm.hpp"

namespace qllk::nn {

using linalg::column, linalg::values, linalg::weight_gemm, linalg::weight_gemm_add;

/// A learned square map beside the identity.
///
///   forward    y  = x + tanh(Hᵀ x)
///   backward   with e = dy ⊙ (1 - tanh²):   dx = dy + H e,   dH += x eᵀ
///
/// Shapes   x, y, dy, dx: [dim, n]
/// Cost     2·dim²·n FLOP forward, twice that backward; keeps 2·dim·n scalars
template <Real Scalar>
class FeatureShortcut {
 public:
  struct Config {
    Index dim;
    bool operator==(const Config&) const = default;
  };

  struct Params {
    Table<Scalar> weight;  // [out, in]; a checkpoint of the PyTorch code holds H as [in, out]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("", t.weight...);
    }
  };
  using Grads = Params;

  struct Cache {
    Mat<Scalar> bent;   // [dim, n], tanh(Hᵀ x)
    Mat<Scalar> slope;  // [dim, n], e of backward
  };

  /// Throws std::invalid_argument unless dim is positive.
  explicit FeatureShortcut(Config config) : config_(config) {
    if (config.dim <= 0)
      throw InvalidArgument("FeatureShortcut: dim is " + std::to_string(config.dim) + ", expected > 0");
  }

  Params zeros() const {
    Params p;
    p.weight.setZero(config_.dim, config_.dim);
    return p;
  }
  Params init(Random& random) const {
    Params p = zeros();
    fill_normal(p.weight, 0.02, random);
    return p;
  }

  /// Writes y. x and y must not alias.
  void forward(const Params& p, MatIn<Scalar> x, Cache& cache, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    cache.bent.resize(x.rows(), x.cols());
    weight_gemm(p.weight, x, cache.bent);
    values(cache.bent) = values(cache.bent).tanh();
    for (Index t = 0; t < x.cols(); ++t) column(y, t) = column(x, t) + column(cache.bent, t);
  }

  /// Adds to g, overwrites dx, which must not alias x but may be dy.
  void backward(const Params& p, MatIn<Scalar> x, Cache& cache, MatIn<Scalar> dy, Grads& g, MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dy.cols() == x.cols() && dx.rows() == x.rows() && dx.cols() == x.cols());
    cache.slope.resize(dy.rows(), dy.cols());
    for (Index t = 0; t < dy.cols(); ++t) {
      column(cache.slope, t) = column(dy, t) * (Scalar(1) - column(cache.bent, t).square());
      column(dx, t) = column(dy, t);
    }
    weight_gemm_add(cache.slope, x.transpose(), g.weight);
    weight_gemm_add(p.weight.transpose(), cache.slope, dx);
  }

 private:
  Config config_;
};

}  // namespace qllk::nn
