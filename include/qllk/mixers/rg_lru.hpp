// A recurrent unit that keeps the size of what it holds.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "qllk/mixers/heads.hpp"
#include "qllk/mixers/short_conv.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::column, linalg::part, linalg::values;

/// The recurrent block of Griffin: a real-gated linear recurrent unit after a convolution, with a gate beside both.
///
///   g      = W_g x_t + b,   u = conv(W_u x_t + b)                     causal, width 4, every channel on its own
///   r, i   = sigmoid(W_r u_t + b), sigmoid(W_i u_t + b)
///   log a  = -8 · softplus(λ) · r                                     λ learned; the paper's Λ is -λ
///   h_t    = a_t ⊙ h_{t-1} + √(1 - a_t²) ⊙ i_t ⊙ u_t
///   y_t    = W_o (h_t ⊙ silu(g_t)) + b_o                              the paper's gate is a GELU
///
///   backward, with m = √(1 - a²):
///   dh_t     = dh from y + a_{t+1} ⊙ dh_{t+1}
///   d(log a) = dh ⊙ (a ⊙ h_{t-1} - a² / m ⊙ i ⊙ u)
///
/// W_r and W_i are whole matrices, where the paper has blocks on the diagonal. m is at least 1e-3, less than which no a
/// of use gives, so that its slope stays finite.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous
/// Cost     10·dim²·n FLOP forward, twice that backward; the state is 4·dim scalars a sequence
/// Source   De et al. 2024, "Griffin", sections 2.3 and 2.4
template <Real S>
class RgLru {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "rg_lru";

  struct Config {
    Index dim = 0;

    template <class Self, class F>
    static void members(Self&, F&&) {}
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors {
    typename nn::Linear<Scalar>::template Tensors<Matrix> gate, in_proj, reset, input, out_proj;  // of g, u, r, i, y
    typename ShortConv<Scalar>::Params conv;
    Vec<Scalar> decay;  // [dim], λ

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("gate", t.gate...);
      visit("in_proj", t.in_proj...);
      visit("conv", t.conv...);
      visit("reset", t.reset...);
      visit("input", t.input...);
      visit("decay", t.decay...);
      visit("out_proj", t.out_proj...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State {
    Mat<Scalar> hidden;  // [dim, sequences]
    Mat<Scalar> tail;    // of the convolution

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("hidden", t.hidden...);
      visit("tail", t.tail...);
    }
  };

  struct Cache {
    Mat<Scalar> start;              // h before the first position
    Mat<Scalar> gate, in, u, r, i;  // after backward the products' gradients; u that of what the convolution gave
    Mat<Scalar> hidden, gated, du;
    Vec<Scalar> rate;  // 8 · softplus(λ)
    typename ShortConv<Scalar>::Cache short_conv;
    typename nn::Linear<Scalar>::Cache linear;
  };

  static Config recommended() { return {}; }

  /// Throws std::invalid_argument unless dim > 0.
  explicit RgLru(Config config) : config_(config), linear_({config.dim, config.dim}), conv_(config.dim, 4) {}

  double flop() const { return 10.0 * static_cast<double>(config_.dim) * static_cast<double>(config_.dim); }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    state.hidden.setZero(config_.dim, sequences);
    state.tail.setZero(conv_.tail_size(), sequences);
  }

  QLLK_COLD Params zeros() const {
    Params p;
    p.gate = p.in_proj = p.reset = p.input = p.out_proj = linear_.zeros();
    p.conv = conv_.zeros();
    p.decay.setZero(config_.dim);
    return p;
  }

  /// Decays start spread evenly, in the logarithm, over memories of 2 to 1,024 positions, where r is 1/2.
  QLLK_COLD Params init(Random& random) const {
    Params p = zeros();
    for (auto* linear : {&p.gate, &p.in_proj, &p.reset, &p.input, &p.out_proj}) *linear = linear_.init(random);
    p.conv = conv_.init(random);
    for (Index k = 0; k < config_.dim; ++k) {
      const double place = config_.dim > 1 ? static_cast<double>(k) / static_cast<double>(config_.dim - 1) : 0.5;
      const double rate = -std::log1p(-std::exp2(-1 - 9 * place)) / 4;  // softplus of λ
      p.decay[k] = static_cast<Scalar>(std::log(std::expm1(rate)));
    }
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    const Index n = x.cols(), sequences = state.hidden.cols(), length = sequences > 0 ? n / sequences : 0;
    QLLK_ASSERT(n == sequences * length);
    for (auto* part : {&c.gate, &c.in, &c.u, &c.r, &c.i, &c.hidden}) part->resize(config_.dim, n);
    linalg::AffineProduct<Matrix, Scalar> of_x[] = {{p.gate.weight, p.gate.bias, c.gate},
                                                    {p.in_proj.weight, p.in_proj.bias, c.in}};
    gemm_all(x, std::span<linalg::AffineProduct<Matrix, Scalar>>(of_x));
    conv_.forward(p.conv, c.in, state.tail, c.short_conv, c.u);
    linalg::AffineProduct<Matrix, Scalar> of_u[] = {{p.reset.weight, p.reset.bias, c.r},
                                                    {p.input.weight, p.input.bias, c.i}};
    gemm_all(c.u, std::span<linalg::AffineProduct<Matrix, Scalar>>(of_u));
    c.rate.resize(config_.dim);
    values(c.rate) = softplus(values(p.decay)) * Scalar(8);
    c.start = state.hidden;
    alignas(64) Scalar buffer[kTile];
    for (Index s = 0; s < sequences; ++s)
      for (Index t = s * length; t < (s + 1) * length; ++t)
        for (Index at = 0; at < config_.dim; at += kTile) {
          const Index size = std::min(kTile, config_.dim - at);
          auto a = values(buffer, size), r = part(c.r, at, t, size), i = part(c.i, at, t, size),
               h = part(state.hidden, at, s, size);
          r = r.logistic();
          i = i.logistic();
          a = (-part(c.rate, at, 0, size) * r).exp();
          h = a * h + kept_size(a) * i * part(c.u, at, t, size);
          part(c.hidden, at, t, size) = h;
        }
    silu_gate<Scalar>(c.hidden, c.gate, c.gated);
    linear_.forward(p.out_proj, c.gated, c.linear, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to x, dy and cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dy.cols() == x.cols() && dx.rows() == x.rows() && dx.cols() == x.cols());
    QLLK_ASSERT(c.u.cols() == x.cols());
    const Index n = x.cols(), sequences = dstate.hidden.cols(), length = sequences > 0 ? n / sequences : 0;
    auto dgated = linalg::scratch<RgLru, Scalar>(config_.dim, n);
    linear_.backward(p.out_proj, c.gated, c.linear, dy, g.out_proj, dgated);
    c.du = c.hidden;  // the gate turns one copy into the gradient of h
    silu_gate_backward<Scalar>(dgated, c.du, c.gate);

    alignas(64) Scalar buffer[4 * kTile];
    for (Index s = 0; s < sequences; ++s)
      for (Index t = (s + 1) * length; t-- > s * length;)
        for (Index at = 0; at < config_.dim; at += kTile) {
          const Index size = std::min(kTile, config_.dim - at);
          auto a = values(buffer, size), m = values(buffer + kTile, size), dlog = values(buffer + 2 * kTile, size),
               di = values(buffer + 3 * kTile, size), r = part(c.r, at, t, size), i = part(c.i, at, t, size),
               dh = part(dstate.hidden, at, s, size), du = part(c.du, at, t, size);
          const auto u = part(c.u, at, t, size), rate = part(c.rate, at, 0, size);
          const auto before = t > s * length ? part(c.hidden, at, t - 1, size) : part(c.start, at, s, size);
          dh += du;
          a = (-rate * r).exp();
          m = kept_size(a);
          dlog = dh * (a * before - (m > kSmallest).select(a * a / m, Scalar(0)) * i * u);
          part(g.decay, at, 0, size) -= dlog * r * part(p.decay, at, 0, size).logistic() * Scalar(8);
          di = dh * m * u * i * (Scalar(1) - i);
          du = dh * m * i;
          r = -dlog * rate * r * (Scalar(1) - r);
          i = di;
          dh *= a;
        }
    linear_.backward_add(p.reset, c.u, c.r, g.reset, c.du);
    linear_.backward_add(p.input, c.u, c.i, g.input, c.du);
    conv_.backward(p.conv, c.in, c.short_conv, c.du, dstate.tail, g.conv, c.in);
    linear_.backward(p.gate, x, c.linear, c.gate, g.gate, dx);
    linear_.backward_add(p.in_proj, x, c.in, g.in_proj, dx);
  }

 private:
  static constexpr Index kTile = 128;
  static constexpr Scalar kSmallest = Scalar(1e-3);

  /// √(1 - a²), from kSmallest on.
  static auto kept_size(const linalg::Values<Scalar>& a) {
    return (Scalar(1) - a * a).max(kSmallest * kSmallest).sqrt();
  }

  Config config_;
  nn::Linear<Scalar> linear_;
  ShortConv<Scalar> conv_;
};

}  // namespace qllk::mixers
