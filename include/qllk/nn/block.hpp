// The residual block that every level of the model is made of.
#pragma once

#include "qllk/core/concepts.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/nn/dropout.hpp"
#include "qllk/nn/layer_norm.hpp"
#include "qllk/nn/mlp.hpp"

namespace qllk::nn {

using linalg::add, linalg::scratch;

/// A pre-norm residual block around any sequence mixer.
///
///   m = x + drop( mixer( LN₁(x) ) ),   y = m + drop( mlp( LN₂(m) ) )
///
/// Shapes: [dim, n]. Cost: the mixer's and the Mlp's. Source: Xiong et al. 2020, figure 1b.
template <Real Scalar, SequenceMixer Mixer>
class Block {
 public:
  struct Config {
    typename Mixer::Config mixer;  // its dim is set to that of the block
    Index dim;
    Index hidden;  // of the Mlp
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors {
    typename LayerNorm<Scalar>::Params mixer_norm, mlp_norm;
    TensorsOf<Mixer, Matrix> mixer;  // of the mixer
    typename Mlp<Scalar>::template Tensors<Matrix> mlp;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("mixer_norm", t.mixer_norm...);
      visit("mixer", t.mixer...);
      visit("mlp_norm", t.mlp_norm...);
      visit("mlp", t.mlp...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;
  using State = typename Mixer::State;

  struct Cache {
    Mat<Scalar> mixer_in, middle, mlp_in;  // middle: after backward its gradient
    Mat<Scalar> dmixer, dmlp;              // gradients of what was dropped, if anything was
    typename LayerNorm<Scalar>::Cache mixer_norm, mlp_norm;
    typename Mixer::Cache mixer;
    typename Mlp<Scalar>::Cache mlp;
    typename Dropout<Scalar>::Cache mixer_drop, mlp_drop;
  };

  /// Throws as the mixer does.
  explicit Block(Config config)
      : norm_({.dim = config.dim}), mixer_(with_dim(config.mixer, config.dim)), mlp_({config.dim, config.hidden}) {}

  /// Floating-point operations of matrix products and the mixer, of one position forward.
  double flop() const { return mixer_.flop() + mlp_.flop(); }

  void reset(State& state, Index sequences) const { mixer_.reset(state, sequences); }
  QLLK_COLD Params zeros() const { return {norm_.zeros(), norm_.zeros(), mixer_.zeros(), mlp_.zeros()}; }
  QLLK_COLD Params init(Random& random) const {
    Params p;
    p.mixer_norm = p.mlp_norm = norm_.init(random);
    p.mixer = mixer_.init(random);
    p.mlp = mlp_.init(random);
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Noise& noise, Cache& c,
               MatOut<Scalar> y) const {
    for (auto* part : {&c.mixer_in, &c.middle, &c.mlp_in}) part->resize(x.rows(), x.cols());
    norm_.forward(p.mixer_norm, x, c.mixer_norm, c.mixer_in);
    mixer_.forward(p.mixer, c.mixer_in, state, c.mixer, c.middle);
    Dropout<Scalar>::forward(noise, c.mixer_drop, c.middle);
    add<Scalar>(c.middle, x);
    norm_.forward(p.mlp_norm, c.middle, c.mlp_norm, c.mlp_in);
    mlp_.forward(p.mlp, c.mlp_in, c.mlp, y);
    Dropout<Scalar>::forward(noise, c.mlp_drop, y);
    add<Scalar>(y, c.middle);
  }

  /// Advances the state as forward does, and writes nothing.
  template <class Matrix>
  void advance(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c) const {
    for (auto* part : {&c.mixer_in, &c.middle}) part->resize(x.rows(), x.cols());
    norm_.forward(p.mixer_norm, x, c.mixer_norm, c.mixer_in);
    mixer_.forward(p.mixer, c.mixer_in, state, c.mixer, c.middle);
  }

  /// Adds to g, overwrites dx, which may be x; dstate as the mixer does. Once for each forward. x is the x of forward.
  /// dx must not alias dy. A g of ProductSum refers to dy and the cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    auto din = scratch<Block, Scalar>(x.rows(), x.cols());  // of mlp_in, then of mixer_in
    const auto dmlp = Dropout<Scalar>::backward(c.mlp_drop, dy, c.dmlp);
    mlp_.backward(p.mlp, c.mlp_in, c.mlp, dmlp, g.mlp, din);
    norm_.backward_add(p.mlp_norm, c.middle, c.mlp_norm, {din, dy}, g.mlp_norm, c.middle);  // its gradient in its place
    const auto dmixer = Dropout<Scalar>::backward(c.mixer_drop, c.middle, c.dmixer);
    mixer_.backward(p.mixer, c.mixer_in, c.mixer, dmixer, dstate, g.mixer, din);
    norm_.backward_add(p.mixer_norm, x, c.mixer_norm, {din, c.middle}, g.mixer_norm, dx);
  }

 private:
  LayerNorm<Scalar> norm_;
  Mixer mixer_;
  Mlp<Scalar> mlp_;
};

}  // namespace qllk::nn
