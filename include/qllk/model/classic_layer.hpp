// A layer of the original QLLK network.
#pragma once

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/latent_kernel.hpp"
#include "qllk/nn/layer_norm.hpp"
#include "qllk/nn/mlp.hpp"

namespace qllk::inline QLLK_ISA {

/// One layer of the classic network, with norms after the sums and no residual around the perceptron.
///
///   a = h + kernel(h),   h' = LN_b( W₂ gelu(W₁ LN_a(a) + b₁) + b₂ )
///
/// Shapes: [dim, n]. Names are those of the PyTorch checkpoint: 0 kernel, 1 LN_a, 2 W₁, 4 W₂, 5 LN_b.
template <Real Scalar>
class ClassicLayer {
 public:
  template <class Matrix>
  struct Tensors {
    typename mixers::LatentKernel<Scalar>::template Tensors<Matrix> kernel;
    typename nn::LayerNorm<Scalar>::Params norm_a;
    typename nn::Mlp<Scalar>::template Tensors<Matrix> mlp;
    typename nn::LayerNorm<Scalar>::Params norm_b;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("0", t.kernel...);
      visit("1", t.norm_a...);
      visit("2", t.mlp.up...);
      visit("4", t.mlp.down...);
      visit("5", t.norm_b...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;
  using State = mixers::LatentState<Scalar>;

  struct Cache {
    typename mixers::LatentKernel<Scalar>::Cache kernel;
    typename nn::LayerNorm<Scalar>::Cache norm_a, norm_b;
    typename nn::Mlp<Scalar>::Cache mlp;
    Mat<Scalar> sum, narrowed;  // a, what LN_b sees; after backward their gradients
    Mat<Scalar> normal;         // LN_a(a)
  };

  /// Of that width.
  explicit ClassicLayer(Index dim) : kernel_({.dim = dim}), norm_({.dim = dim}), mlp_({dim, 2 * dim}) {}

  double flop() const { return kernel_.flop() + mlp_.flop(); }
  void reset(State& state, Index sequences) const { kernel_.reset(state, sequences); }
  Params zeros() const { return {kernel_.zeros(), norm_.zeros(), mlp_.zeros(), norm_.zeros()}; }
  Params init(Random& random) const {
    Params p;
    p.kernel = kernel_.init(random);
    p.norm_a = p.norm_b = norm_.init(random);
    p.mlp = mlp_.init(random);
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    for (auto* part : {&c.sum, &c.normal, &c.narrowed}) part->resize(x.rows(), x.cols());
    kernel_.forward(p.kernel, x, state, c.kernel, c.sum);
    linalg::add<Scalar>(c.sum, x);
    norm_.forward(p.norm_a, c.sum, c.norm_a, c.normal);
    mlp_.forward(p.mlp, c.normal, c.mlp, c.narrowed);
    norm_.forward(p.norm_b, c.narrowed, c.norm_b, y);
  }

  /// Adds to g, overwrites dx; dstate as in LatentKernel. Once for each forward. dx must not alias x or dy. A g of
  /// ProductSum refers to x and cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    norm_.backward(p.norm_b, c.narrowed, c.norm_b, dy, g.norm_b, c.narrowed);  // a gradient in the place of its value
    mlp_.backward(p.mlp, c.normal, c.mlp, c.narrowed, g.mlp, dx);
    norm_.backward(p.norm_a, c.sum, c.norm_a, dx, g.norm_a, c.sum);
    kernel_.backward(p.kernel, x, c.kernel, c.sum, dstate, g.kernel, dx);
    linalg::add<Scalar>(dx, c.sum);
  }

 private:
  mixers::LatentKernel<Scalar> kernel_;
  nn::LayerNorm<Scalar> norm_;
  nn::Mlp<Scalar> mlp_;
};

}  // namespace qllk::inline QLLK_ISA
