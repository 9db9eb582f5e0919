// What mixers with queries, keys and values share.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/product_sum.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::AffineProduct, linalg::gemm_all, linalg::scratch, linalg::values;

/// head_dim, or for 0 the largest divisor of dim that is at most 64. Throws std::invalid_argument unless it divides
/// dim.
QLLK_COLD inline Index head_width(std::string_view mixer, Index dim, Index head_dim) {
  Index width = head_dim;
  if (head_dim == 0 && dim > 0)
    for (width = std::min<Index>(dim, 64); dim % width != 0;) --width;
  if (dim <= 0 || width <= 0 || dim % width != 0)
    throw InvalidArgument(std::string(mixer) + ": dim is " + std::to_string(dim) + " and head_dim " +
                          std::to_string(head_dim) + ", expected dim > 0 and head_dim to divide it, or 0");
  return width;
}

/// The affine maps around a mixer of queries, keys and values.
///
///   q, k, v = W_{q,k,v} x + b,   y = W_o u + b_o     u what the mixer makes of q, k and v
///
/// Shapes   x, q, k, v, u: [dim, n]    y: [out, n]
/// Cost     6·dim²·n + 2·dim·out·n FLOP forward, twice that backward
template <Real Scalar>
class Qkv {
 public:
  template <class Matrix>
  struct Tensors {
    typename nn::Linear<Scalar>::template Tensors<Matrix> q_proj, k_proj, v_proj, out_proj;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("q_proj", t.q_proj...);
      visit("k_proj", t.k_proj...);
      visit("v_proj", t.v_proj...);
      visit("out_proj", t.out_proj...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;

  struct Cache {
    Mat<Scalar> q, k, v;  // before backward_in: their gradients
    Mat<Scalar> u;
    typename nn::Linear<Scalar>::Cache linear;
  };

  /// Throws std::invalid_argument unless dim > 0 and out > 0.
  Qkv(Index dim, Index out) : linear_({dim, dim}), out_({dim, out}) {}

  double flop() const { return 2.0 * static_cast<double>(dim()) * static_cast<double>(3 * dim() + out_.config().out); }
  Index dim() const { return linear_.config().in; }
  Params zeros() const { return {linear_.zeros(), linear_.zeros(), linear_.zeros(), out_.zeros()}; }
  Params init(Random& random) const {
    Params p;
    for (auto* part : {&p.q_proj, &p.k_proj, &p.v_proj}) *part = linear_.init(random);
    p.out_proj = out_.init(random);
    return p;
  }

  /// Makes q, k and v, and room for u.
  template <class Matrix>
  void forward_in(const Tensors<Matrix>& p, MatIn<Scalar> x, Cache& c) const {
    QLLK_ASSERT(x.rows() == dim());
    for (auto* part : {&c.q, &c.k, &c.v, &c.u}) part->resize(dim(), x.cols());
    AffineProduct<Matrix, Scalar> products[] = {{p.q_proj.weight, p.q_proj.bias, c.q},
                                                {p.k_proj.weight, p.k_proj.bias, c.k},
                                                {p.v_proj.weight, p.v_proj.bias, c.v}};
    gemm_all<Matrix, Scalar>(x, products);
  }
  /// y = W_o u + b_o.
  template <class Matrix>
  void forward_out(const Tensors<Matrix>& p, Cache& c, MatOut<Scalar> y) const {
    out_.forward(p.out_proj, c.u, c.linear, y);
  }

  /// Adds to g, overwrites du. A g of ProductSum refers to dy and the cache.
  template <class Matrix>
  void backward_out(const Params& p, const Cache& c, MatIn<Scalar> dy, Tensors<Matrix>& g, MatOut<Scalar> du) const {
    out_.backward(p.out_proj, c.u, c.linear, dy, g.out_proj, du);
  }
  /// Adds to g, overwrites dx; q, k and v of the cache are gradients. A g of ProductSum refers to x and the cache.
  template <class Matrix>
  void backward_in(const Params& p, MatIn<Scalar> x, const Cache& c, Tensors<Matrix>& g, MatOut<Scalar> dx) const {
    linear_.backward(p.q_proj, x, c.linear, c.q, g.q_proj, dx);
    linear_.backward_add(p.k_proj, x, c.k, g.k_proj, dx);
    linear_.backward_add(p.v_proj, x, c.v, g.v_proj, dx);
  }

 private:
  nn::Linear<Scalar> linear_, out_;
};

}  // namespace qllk::mixers
