// The retention of RetNet.
#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/latent_scan.hpp"
#include "qllk/mixers/qkv.hpp"
#include "qllk/mixers/rotary.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::column, linalg::scratch, linalg::values;

/// Multi-scale retention: attention without softmax, whose every head h forgets at a rate γ_h of its own.
///
///   q, k, v, g = W_{q,k,v,g} x + b;   of each head and each position t:   q' = R_t q / √head_dim,   k' = R_t k
///   S_t = γ S_{t-1} + (1 - γ) k'_t v_tᵀ
///   r_t = S_tᵀ q'_t,   r̂ = r / √(mean(r²) + ε)              ε = 10⁻⁵
///   y_t = W_o ( r̂_t ⊙ swish(g_t) ) + b_o                    swish(g) = g · sigmoid(g)
///   γ_h = 1 - exp(e_h),   e_h evenly spread from log 1/32 to log 1/512
///
/// R_t are rotary positions. The factor 1 - γ keeps S of the size of one k vᵀ; but for ε the norm takes it away.
/// The norm is that of the authors' code, without the mean of the paper's GroupNorm, which for a head of two channels
/// would leave one sign only. Heads of one channel, of which nothing but the sign would be left, are not normalised.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous
/// Cost     10·dim²·n FLOP and LatentScan's; backward about twice that
/// State    head_dim·dim scalars a sequence, whatever the length
/// Source   Sun et al. 2023, "Retentive Network", sections 2.1 to 2.3; the rates: section 3.1
template <Real S>
class Retention {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "retention";

  struct Config {
    Index dim = 0;
    Index head_dim = 0;  // 0: the largest divisor of dim up to 64

    template <class Self, class F>
    static void members(Self& c, F&& f) {
      f("head_dim", c.head_dim);
    }
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors : Qkv<Scalar>::template Tensors<Matrix> {
    typename nn::Linear<Scalar>::template Tensors<Matrix> gate;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      Qkv<Scalar>::template Tensors<Matrix>::fields(visit, t...);
      visit("gate", t.gate...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State : LatentState<Scalar> {
    Index position = 0;  // seen so far
  };

  struct Cache {
    typename Qkv<Scalar>::Cache qkv;  // q and k rotated
    Mat<Scalar> angles, decay;
    Mat<Scalar> retained;   // r; in backward its gradient
    Mat<Scalar> deviation;  // 1 / √(mean(r²) + ε) [heads, n]
    Mat<Scalar> gate;       // g; in backward its gradient
    Mat<Scalar> sigmoid;    // of g
    typename LatentScan<Scalar>::Cache scan;
  };

  static Config recommended() { return {}; }

  /// Throws std::invalid_argument unless dim > 0 and head_dim is 0 or divides it.
  explicit Retention(Config config)
      : config_(config),
        head_dim_(head_width("Retention", config.dim, config.head_dim)),
        qkv_(config.dim, config.dim),
        linear_({config.dim, config.dim}),
        rotary_(head_dim_),
        scan_(config.dim, head_dim_),
        rates_(scan_.heads()) {
    const auto steps = static_cast<double>(std::max<Index>(scan_.heads() - 1, 1));
    for (Index h = 0; h < scan_.heads(); ++h)
      rates_[h] = static_cast<Scalar>(1 - std::exp2(-5 - 4 * static_cast<double>(h) / steps));
  }

  /// γ of every head.
  const Vec<Scalar>& rates() const { return rates_; }
  double flop() const {
    const auto dim = static_cast<double>(config_.dim);
    return qkv_.flop() + 2 * dim * dim + 4 * dim * static_cast<double>(head_dim_ + LatentChunk<Scalar>::kSize);
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    scan_.reset(state, sequences);
    state.position = 0;
  }
  Params zeros() const { return {qkv_.zeros(), linear_.zeros()}; }
  Params init(Random& random) const {
    auto qkv = qkv_.init(random);
    return {std::move(qkv), linear_.init(random)};
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    const Index n = x.cols(), length = state.sequences() > 0 ? n / state.sequences() : 0;
    qkv_.forward_in(p, x, c.qkv);
    for (auto* part : {&c.gate, &c.sigmoid, &c.retained}) part->resize(config_.dim, n);
    for (auto* part : {&c.decay, &c.deviation}) part->resize(scan_.heads(), n);
    linear_.forward(p.gate, x, c.qkv.linear, c.gate);
    if (n == 0) return;
    rotary_.angles(state.position, length, c.angles);
    rotary_.rotate(c.angles, c.qkv.q);
    rotary_.rotate(c.angles, c.qkv.k);
    values(c.qkv.q) *= scale();
    for (Index t = 0; t < n; ++t) column(c.decay, t) = values(rates_);
    scan_.forward({.q = c.qkv.q, .k = c.qkv.k, .v = c.qkv.v, .decay = c.decay}, state, c.scan, c.retained);
    for (Index t = 0; t < n; ++t) {
      for (Index h = 0; h < scan_.heads(); ++h) {
        const auto r = head(c.retained, h, t);
        c.deviation(h, t) = deviation(r);
        head(c.qkv.u, h, t) = r * c.deviation(h, t);
      }
      auto sigmoid = column(c.sigmoid, t);
      sigmoid = column(c.gate, t).logistic();
      column(c.qkv.u, t) *= column(c.gate, t) * sigmoid;
    }
    state.position += length;
    qkv_.forward_out(p, c.qkv, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of the cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to x, dy and the cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    if (x.cols() == 0) return;
    auto du = scratch<Retention, Scalar>(config_.dim, x.cols());
    qkv_.backward_out(p, c.qkv, dy, g, du);
    for (Index t = 0; t < x.cols(); ++t)
      for (Index h = 0; h < scan_.heads(); ++h) {
        auto gate = head(c.gate, h, t), sigmoid = head(c.sigmoid, h, t), r = head(c.retained, h, t), d = head(du, h, t);
        const Scalar deviation = c.deviation(h, t);
        d *= sigmoid;
        sigmoid = d * r * deviation * (Scalar(1) + gate * (Scalar(1) - sigmoid));
        d *= gate;  // of r̂ from here on
        gate = sigmoid;
        if (head_dim_ == 1) {
          r = d;
        } else {
          const Scalar dot = (d * r).sum() * deviation * deviation / static_cast<Scalar>(head_dim_);
          r = (d - r * dot) * deviation;
        }
      }
    scan_.backward({.q = c.qkv.q, .k = c.qkv.k, .v = c.qkv.v, .decay = c.decay}, c.scan, c.retained, dstate,
                   {.q = c.qkv.q, .k = c.qkv.k, .v = c.qkv.v, .decay = c.decay});
    values(c.qkv.q) *= scale();
    rotary_.rotate(c.angles, c.qkv.q, true);
    rotary_.rotate(c.angles, c.qkv.k, true);
    qkv_.backward_in(p, x, c.qkv, g, dx);
    linear_.backward_add(p.gate, x, c.gate, g.gate, dx);
  }

 private:
  static constexpr double kEpsilon = 1e-5;

  Scalar scale() const { return static_cast<Scalar>(1 / std::sqrt(static_cast<double>(head_dim_))); }
  template <class Array>
  Scalar deviation(const Array& r) const {
    if (head_dim_ == 1) return Scalar(1);
    return Scalar(1) / std::sqrt(r.square().sum() / static_cast<Scalar>(head_dim_) + static_cast<Scalar>(kEpsilon));
  }
  template <class Matrix>
  auto head(Matrix&& m, Index h, Index t) const {
    return values(m.data() + t * m.outerStride() + h * head_dim_, head_dim_);
  }

  Config config_;
  Index head_dim_;
  Qkv<Scalar> qkv_;
  nn::Linear<Scalar> linear_;
  Rotary<Scalar> rotary_;
  LatentScan<Scalar> scan_;
  Vec<Scalar> rates_;
};

}  // namespace qllk::mixers
