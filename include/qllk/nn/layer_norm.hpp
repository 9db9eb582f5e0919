// Layer normalisation.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::nn {

using linalg::column, linalg::values;

/// Normalises every column to mean 0 and variance 1, then scales and shifts each feature.
///
///   forward    x̂ = (x - mean(x)) / √(var(x) + ε),   y = w ⊙ x̂ + b
///   backward   with d = w ⊙ dy:   dx = (d - mean(d) - x̂ · mean(d ⊙ x̂)) / √(var(x) + ε)
///              dw += Σ dy ⊙ x̂,   db += Σ dy
///
/// Shapes   x, y, dy, dx: [dim, n]. The variance is the population's (divided by dim).
/// Cost     about 8·dim·n FLOP forward, 15·dim·n backward; keeps two scalars a position
/// Source   Ba, Kiros and Hinton 2016, eq. 3 and 4
template <Real Scalar>
class LayerNorm {
 public:
  struct Config {
    Index dim;
    double epsilon = 1e-5;
    bool operator==(const Config&) const = default;
  };

  struct Params {
    Vec<Scalar> weight;  // [dim]
    Vec<Scalar> bias;    // [dim]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("weight", t.weight...);
      visit("bias", t.bias...);
    }
  };
  using Grads = Params;

  struct Cache {
    Vec<Scalar> mean;       // [n]
    Vec<Scalar> deviation;  // [n], 1 / √(var + ε)
  };

  /// Throws std::invalid_argument unless dim and epsilon are positive.
  explicit LayerNorm(Config config) : config_(config), zeros_(Vec<Scalar>::Zero(std::max<Index>(config.dim, 0))) {
    if (config.dim <= 0 || !(config.epsilon > 0))
      throw InvalidArgument("LayerNorm: dim is " + std::to_string(config.dim) + " and epsilon " +
                            std::to_string(config.epsilon) + ", expected both > 0");
  }

  const Config& config() const { return config_; }

  Params zeros() const { return {Vec<Scalar>::Zero(config_.dim), Vec<Scalar>::Zero(config_.dim)}; }
  Params init(Random&) const { return {Vec<Scalar>::Ones(config_.dim), Vec<Scalar>::Zero(config_.dim)}; }

  /// Writes y, which may be x.
  QLLK_NOINLINE void forward(const Params& p, MatIn<Scalar> x, Cache& cache, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    cache.mean.resize(x.cols());
    cache.deviation.resize(x.cols());
    const Scalar scale = Scalar(1) / static_cast<Scalar>(config_.dim);
    for (Index t = 0; t < x.cols(); ++t) {
      const auto in = column(x, t);
      const Scalar mean = in.sum() * scale;
      const Scalar variance = (in - mean).square().sum() * scale;
      const Scalar deviation = Scalar(1) / std::sqrt(variance + static_cast<Scalar>(config_.epsilon));
      column(y, t) = (in - mean) * deviation * values(p.weight) + values(p.bias);
      cache.mean[t] = mean;
      cache.deviation[t] = deviation;
    }
  }

  /// Adds to g, overwrites dx, which may be dy or x. x is the x of forward.
  void backward(const Params& p, MatIn<Scalar> x, const Cache& cache, MatIn<Scalar> dy, Grads& g,
                MatOut<Scalar> dx) const {
    backward_from(p, x, cache, {dy, zeros_.data(), 0}, g, dx);
  }

  /// The gradient of y, and a gradient that reaches x on another way.
  struct Incoming {
    Eigen::Ref<const Mat<Scalar>> dy, other;  // [dim, n]
  };
  /// As backward, plus in.other: dx = other + …, and dx may be `other` too.
  void backward_add(const Params& p, MatIn<Scalar> x, const Cache& cache, const Incoming& in, Grads& g,
                    MatOut<Scalar> dx) const {
    QLLK_ASSERT(in.other.rows() == config_.dim && in.other.cols() == x.cols());
    backward_from(p, x, cache, {in.dy, in.other.data(), in.other.outerStride()}, g, dx);
  }

 private:
  /// Column t of the other gradient begins at other + t · stride.
  struct Sources {
    MatIn<Scalar> dy;
    const Scalar* other;
    Index stride;
  };

  /// With n = (x - mean) · deviation and d = dy ⊙ weight, of each column:
  ///
  ///   dx = other + (d - mean(d) - n · mean(d ⊙ n)) · deviation,   dweight += dy ⊙ n,   dbias += dy
  QLLK_NOINLINE void backward_from(const Params& p, MatIn<Scalar> x, const Cache& cache, const Sources& in, Grads& g,
                                   MatOut<Scalar> dx) const {
    MatIn<Scalar> dy = in.dy;
    QLLK_ASSERT(dy.rows() == config_.dim && dx.rows() == config_.dim && dy.cols() == x.cols() && dx.cols() == x.cols());
    const Scalar scale = Scalar(1) / static_cast<Scalar>(config_.dim);
    for (Index t = 0; t < x.cols(); ++t) {
      const Scalar mean = cache.mean[t], deviation = cache.deviation[t];
      const auto normal = (column(x, t) - mean) * deviation;
      const auto d = column(dy, t) * values(p.weight);
      const Scalar mean_d = d.sum() * scale;
      const Scalar mean_dn = (d * normal).sum() * scale;
      values(g.weight) += column(dy, t) * normal;
      values(g.bias) += column(dy, t);
      column(dx, t) = values(in.other + t * in.stride, config_.dim) + (d - mean_d - normal * mean_dn) * deviation;
    }
  }

  Config config_;
  Vec<Scalar> zeros_;  // what backward adds
};

}  // namespace qllk::nn
