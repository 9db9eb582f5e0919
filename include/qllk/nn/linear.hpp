// Affine map.
#pragma once

#include <cmath>
#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/product_sum.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/linalg/weight_gemm.hpp"

namespace qllk::nn {

using linalg::add_product, linalg::column, linalg::values, linalg::weight_gemm, linalg::weight_gemm_add;

/// Affine map of every column (= position) on its own.
///
///   forward    y  = W x + b 1ᵀ
///   backward   dx = Wᵀ dy,   dW += dy xᵀ,   db += dy 1
///
/// Shapes   x, dx: [in, n]    y, dy: [out, n]    n >= 0
/// Cost     2·in·out·n FLOP forward, twice that backward; no memory of its own
/// Source   initialisation: He et al. 2015, eq. 14, as torch.nn.Linear: U(-1/√in, 1/√in)
template <Real Scalar>
class Linear {
 public:
  struct Config {
    Index in;   // features of x
    Index out;  // features of y
    bool operator==(const Config&) const = default;
  };

  /// What is learned, and what goes with it value by value. Matrix is Mat, or another form of one.
  template <class Matrix>
  struct Tensors {
    Matrix weight;     // [out, in]
    Vec<Scalar> bias;  // [out]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("weight", t.weight...);
      visit("bias", t.bias...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  /// Backward needs x alone, and the caller has it.
  struct Cache {};

  /// Throws std::invalid_argument unless both sizes are positive.
  explicit Linear(Config config) : config_(config) {
    if (config.in <= 0 || config.out <= 0)
      throw InvalidArgument("Linear: in is " + std::to_string(config.in) + " and out is " + std::to_string(config.out) +
                            ", expected both > 0");
  }

  const Config& config() const { return config_; }

  /// Zeros of the right shapes.
  QLLK_COLD Params zeros() const {
    return {Mat<Scalar>::Zero(config_.out, config_.in), Vec<Scalar>::Zero(config_.out)};
  }

  QLLK_COLD Params init(Random& random) const {
    Params p = zeros();
    const double bound = 1 / std::sqrt(static_cast<double>(config_.in));
    fill_uniform(p.weight, bound, random);
    fill_uniform(p.bias, bound, random);
    return p;
  }

  /// Writes y. x and y must not alias.
  template <class Matrix>
  QLLK_NOINLINE void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, Cache&, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.in && y.rows() == config_.out && x.cols() == y.cols());
    weight_gemm(p.weight, x, y, p.bias);
  }

  /// Adds to g, overwrites dx. x is the x of forward. dx must not alias x or dy. A g of ProductSum refers to x and dy.
  template <class Matrix>
  QLLK_NOINLINE void backward(const Params& p, MatIn<Scalar> x, const Cache&, MatIn<Scalar> dy, Tensors<Matrix>& g,
                              MatOut<Scalar> dx) const {
    add_gradient(x, dy, g);
    weight_gemm(p.weight.transpose(), dy, dx);
  }

  /// As backward, but adds to dx: for an input that several maps share.
  template <class Matrix>
  QLLK_NOINLINE void backward_add(const Params& p, MatIn<Scalar> x, MatIn<Scalar> dy, Tensors<Matrix>& g,
                                  MatOut<Scalar> dx) const {
    add_gradient(x, dy, g);
    weight_gemm_add(p.weight.transpose(), dy, dx);
  }

 private:
  template <class Matrix>
  QLLK_NOINLINE void add_gradient(MatIn<Scalar> x, MatIn<Scalar> dy, Tensors<Matrix>& g) const {
    QLLK_ASSERT(dy.rows() == config_.out && x.rows() == config_.in && dy.cols() == x.cols());
    add_product(g.weight, dy, x);
    for (Index t = 0; t < dy.cols(); ++t) values(g.bias) += column(dy, t);
  }

  Config config_;
};

}  // namespace qllk::nn
