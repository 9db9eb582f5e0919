// The exact GELU and the two-layer perceptron around it.
#pragma once

#include <algorithm>
#include <numbers>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <unsupported/Eigen/SpecialFunctions>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::nn {

using linalg::column, linalg::scratch, linalg::values;

/// y = x·Φ(x), and x is overwritten with the derivative Φ(x) + x·φ(x), which is all that backward needs; Φ and φ
/// are the standard normal distribution and density.
/// Shapes: x, y equal. Cost: one erf and one exp a value. Source: Hendrycks and Gimpel 2016, eq. 1 (not its tanh form).
template <Real Scalar>
void gelu(MatOut<Scalar> x, MatOut<Scalar> y) {
  constexpr auto root_half = static_cast<Scalar>(1 / std::numbers::sqrt2);
  constexpr auto peak = static_cast<Scalar>(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  QLLK_ASSERT(x.rows() == y.rows() && x.cols() == y.cols());
  constexpr Index tile = 64;  // Φ is used twice: a tile of it stays in registers and first-level cache
  alignas(64) Scalar buffer[tile];
  for (Index t = 0; t < x.cols(); ++t) {
    for (Index i = 0; i < x.rows(); i += tile) {
      const Index size = std::min(tile, x.rows() - i);
      auto cdf = values(buffer, size), value = values(x.data() + t * x.outerStride() + i, size);
      cdf = (value * root_half).erf() * Scalar(0.5) + Scalar(0.5);
      values(y.data() + t * y.outerStride() + i, size) = value * cdf;
      value = cdf + value * (value.square() * Scalar(-0.5)).exp() * peak;
    }
  }
}

/// y = x·Φ(x), where no derivative is wanted. y may be x.
template <Real Scalar>
void gelu_value(MatIn<Scalar> x, MatOut<Scalar> y) {
  constexpr auto root_half = static_cast<Scalar>(1 / std::numbers::sqrt2);
  QLLK_ASSERT(x.rows() == y.rows() && x.cols() == y.cols());
  for (Index t = 0; t < x.cols(); ++t)
    column(y, t) = column(x, t) * ((column(x, t) * root_half).erf() * Scalar(0.5) + Scalar(0.5));
}

/// Widens, bends and narrows every column on its own.
///
///   forward    y = W₂ gelu(W₁ x + b₁) + b₂
///   backward   through both Linear and gelu'
///
/// Shapes   x, y, dy, dx: [dim, n]; the hidden layer is [hidden, n]
/// Cost     4·dim·hidden·n FLOP forward, twice that backward; keeps 2·hidden·n scalars, and half of that once a
///          thread
template <Real Scalar>
class Mlp {
 public:
  struct Config {
    Index dim;
    Index hidden;  // width of the hidden layer
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors {
    typename Linear<Scalar>::template Tensors<Matrix> up;    // dim -> hidden
    typename Linear<Scalar>::template Tensors<Matrix> down;  // hidden -> dim

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("up", t.up...);
      visit("down", t.down...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct Cache {
    Mat<Scalar> slope;   // [hidden, n], gelu'; after backward the gradient of what gelu saw
    Mat<Scalar> hidden;  // [hidden, n], gelu
    typename Linear<Scalar>::Cache linear;
  };

  /// Throws std::invalid_argument unless both sizes are positive.
  explicit Mlp(Config config) : config_(config), up_({config.dim, config.hidden}), down_({config.hidden, config.dim}) {}

  const Config& config() const { return config_; }
  /// Floating-point operations of one position forward.
  double flop() const { return 4.0 * static_cast<double>(config_.dim) * static_cast<double>(config_.hidden); }

  QLLK_COLD Params zeros() const { return {up_.zeros(), down_.zeros()}; }
  QLLK_COLD Params init(Random& random) const {
    Params p;
    p.up = up_.init(random);
    p.down = down_.init(random);
    return p;
  }

  /// Writes y. x and y must not alias. Matrices other than Mat are for inference: they leave no slope for backward.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, Cache& cache, MatOut<Scalar> y) const {
    cache.hidden.resize(config_.hidden, x.cols());
    if constexpr (std::is_same_v<Matrix, Mat<Scalar>>) {
      cache.slope.resize(config_.hidden, x.cols());
      up_.forward(p.up, x, cache.linear, cache.slope);
      gelu<Scalar>(cache.slope, cache.hidden);
    } else {
      cache.slope.resize(0, 0);
      up_.forward(p.up, x, cache.linear, cache.hidden);
      gelu_value<Scalar>(cache.hidden, cache.hidden);
    }
    down_.forward(p.down, cache.hidden, cache.linear, y);
  }

  /// Adds to g, overwrites dx. Once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to x, dy and cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& cache, MatIn<Scalar> dy, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    QLLK_ASSERT(cache.slope.rows() == config_.hidden && cache.slope.cols() == x.cols());
    auto dhidden = scratch<Mlp, Scalar>(config_.hidden, x.cols());
    down_.backward(p.down, cache.hidden, cache.linear, dy, g.down, dhidden);
    values(cache.slope) *= values(dhidden);
    up_.backward(p.up, x, cache.linear, cache.slope, g.up, dx);
  }

 private:
  Config config_;
  Linear<Scalar> up_, down_;
};

}  // namespace qllk::nn
