// An average of all values so far, weighted by keys and by time.
#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/token_shift.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::column, linalg::part, linalg::values;

/// The time mixing of RWKV-4.
///
///   r, k, v = W_{r,k,v} (x_t + μ_{r,k,v} ⊙ (x_{t-1} - x_t)) + b
///   wkv_t   = ( Σ_{i<t} e^{(t-1-i) w + k_i} v_i + e^{u + k_t} v_t ) / ( Σ_{i<t} e^{(t-1-i) w + k_i} + e^{u + k_t} ),
///           w = -e^ω
///   y_t     = W_o ( sigmoid(r_t) ⊙ wkv_t ) + b_o                        μ, ω and u learned, for each channel
///
/// The sums a and b go by a running maximum m, without which exponentials of keys would overflow: a e^m and b e^m are
/// meant. With q = max(m, u + k) and q' = max(m + w, k):
///
///   wkv = (e^{m-q} a + e^{u+k-q} v) / (e^{m-q} b + e^{u+k-q})
///   a'  = e^{m+w-q'} a + e^{k-q'} v,   b' = e^{m+w-q'} b + e^{k-q'},   m' = q'
///
/// wkv does not depend on q, which therefore has no gradient there; m' is an output like a' and b', and has. Where b is
/// 0, as in the initial state, nothing was before, and m does not count.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous
/// Cost     8·dim²·n FLOP and 4·dim·n of exp forward, twice that backward; the state is 4·dim scalars a sequence
/// Source   Peng et al. 2023, section 3.1 and appendix D
template <Real S>
class Rwkv4 {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "rwkv4";

  struct Config {
    Index dim = 0;

    template <class Self, class F>
    static void members(Self&, F&&) {}
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors {
    Vec<Scalar> r_mix, k_mix, v_mix;  // [dim], μ
    Vec<Scalar> decay, bonus;         // [dim], ω and u
    typename nn::Linear<Scalar>::template Tensors<Matrix> r_proj, k_proj, v_proj, out_proj;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("r_mix", t.r_mix...);
      visit("k_mix", t.k_mix...);
      visit("v_mix", t.v_mix...);
      visit("decay", t.decay...);
      visit("bonus", t.bonus...);
      visit("r_proj", t.r_proj...);
      visit("k_proj", t.k_proj...);
      visit("v_proj", t.v_proj...);
      visit("out_proj", t.out_proj...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State {
    Mat<Scalar> previous;                         // [dim, sequences], the last x
    Mat<Scalar> numerator, denominator, maximum;  // a, b, m

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("previous", t.previous...);
      visit("numerator", t.numerator...);
      visit("denominator", t.denominator...);
      visit("maximum", t.maximum...);
    }
  };

  struct Cache {
    Mat<Scalar> r_in, k_in, v_in;                 // what the maps see
    Mat<Scalar> r, k, v;                          // r after the sigmoid; after backward the products' gradients
    Mat<Scalar> numerator, denominator, maximum;  // before every position
    Mat<Scalar> wkv, gated;
    typename TokenShift<Scalar>::Cache shift;
    typename nn::Linear<Scalar>::Cache linear;
  };

  static Config recommended() { return {}; }

  /// Throws std::invalid_argument unless dim > 0.
  explicit Rwkv4(Config config) : config_(config), linear_({config.dim, config.dim}) {}

  double flop() const { return 8.0 * static_cast<double>(config_.dim) * static_cast<double>(config_.dim); }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    for (auto* tensor : {&state.previous, &state.numerator, &state.denominator, &state.maximum})
      tensor->setZero(config_.dim, sequences);
  }

  QLLK_COLD Params zeros() const {
    Params p;
    for (auto* vector : {&p.r_mix, &p.k_mix, &p.v_mix, &p.decay, &p.bonus}) vector->setZero(config_.dim);
    p.r_proj = p.k_proj = p.v_proj = p.out_proj = linear_.zeros();
    return p;
  }

  /// Decays start spread evenly, in the logarithm, over memories of 2 to 1,024 positions; the share of the previous
  /// position over 0 to 1, that of the receptance over 0 to 1/2.
  QLLK_COLD Params init(Random& random) const {
    Params p = zeros();
    for (auto* linear : {&p.r_proj, &p.k_proj, &p.v_proj, &p.out_proj}) *linear = linear_.init(random);
    for (Index i = 0; i < config_.dim; ++i) {
      const double place = config_.dim > 1 ? static_cast<double>(i) / static_cast<double>(config_.dim - 1) : 0.5;
      p.decay[i] = static_cast<Scalar>(std::log(-std::log1p(-std::exp2(-1 - 9 * place))));
      p.bonus[i] = static_cast<Scalar>(std::log(0.3));
      p.k_mix[i] = p.v_mix[i] = static_cast<Scalar>(1 - place);
      p.r_mix[i] = static_cast<Scalar>((1 - place) / 2);
    }
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    const Index n = x.cols(), sequences = state.previous.cols(), length = sequences > 0 ? n / sequences : 0;
    for (auto* part : {&c.r, &c.k, &c.v, &c.numerator, &c.denominator, &c.maximum, &c.wkv, &c.gated})
      part->resize(config_.dim, n);
    Shift::advance(x, state.previous, c.shift);
    Shift::forward(p.r_mix, x, c.shift, c.r_in);
    Shift::forward(p.k_mix, x, c.shift, c.k_in);
    Shift::forward(p.v_mix, x, c.shift, c.v_in);
    linear_.forward(p.r_proj, c.r_in, c.linear, c.r);
    linear_.forward(p.k_proj, c.k_in, c.linear, c.k);
    linear_.forward(p.v_proj, c.v_in, c.linear, c.v);
    for (Index s = 0; s < sequences; ++s)
      for (Index t = s * length; t < (s + 1) * length; ++t)
        for (Index at = 0; at < config_.dim; at += kTile) step(p, state, c, tile(s, t, at));
    for (Index t = 0; t < n; ++t) {
      auto r = column(c.r, t);
      r = r.logistic();
      column(c.gated, t) = r * column(c.wkv, t);
    }
    linear_.forward(p.out_proj, c.gated, c.linear, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to dy and cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dy.cols() == x.cols() && dx.rows() == x.rows() && dx.cols() == x.cols());
    QLLK_ASSERT(c.r.cols() == x.cols());
    const Index n = x.cols(), sequences = dstate.previous.cols(), length = sequences > 0 ? n / sequences : 0;
    auto d = linalg::scratch<Rwkv4, Scalar>(config_.dim, n);
    linear_.backward(p.out_proj, c.gated, c.linear, dy, g.out_proj, d);
    for (Index t = 0; t < n; ++t) {
      auto r = column(c.r, t), dt = column(d, t);
      dt *= r;
      r = dt * column(c.wkv, t) * (Scalar(1) - r);
    }
    for (Index s = 0; s < sequences; ++s)
      for (Index t = (s + 1) * length; t-- > s * length;)
        for (Index at = 0; at < config_.dim; at += kTile) step_backward(p, d, dstate, c, tile(s, t, at), g);
    Shift::backward(dstate.previous, dx);
    const auto shift = [&](const Vec<Scalar>& mix, Vec<Scalar>& dmix) {
      Shift::backward_add(mix, x, c.shift, d, {dmix, dstate.previous, dx});
    };
    linear_.backward(p.r_proj, c.r_in, c.linear, c.r, g.r_proj, d);
    shift(p.r_mix, g.r_mix);
    linear_.backward(p.k_proj, c.k_in, c.linear, c.k, g.k_proj, d);
    shift(p.k_mix, g.k_mix);
    linear_.backward(p.v_proj, c.v_in, c.linear, c.v, g.v_proj, d);
    shift(p.v_mix, g.v_mix);
  }

 private:
  using Shift = TokenShift<Scalar>;
  static constexpr Index kTile = 128;
  static constexpr Scalar kNothing = Scalar(-1e30);  // the maximum of no keys

  /// Channels at … at + size - 1 of position t, in a sequence.
  struct Tile {
    Index sequence, t, at, size;
  };
  Tile tile(Index sequence, Index t, Index at) const { return {sequence, t, at, std::min(kTile, config_.dim - at)}; }

  /// One position forward: wkv, then a', b' and m' in place of a, b and m.
  template <class Matrix>
  void step(const Tensors<Matrix>& p, State& state, Cache& c, const Tile& tile) const {
    const auto [s, t, at, size] = tile;
    alignas(64) Scalar buffer[5 * kTile];
    auto before = values(buffer, size), top = values(buffer + kTile, size), old = values(buffer + 2 * kTile, size),
         fresh = values(buffer + 3 * kTile, size), sum = values(buffer + 4 * kTile, size);
    auto a = part(state.numerator, at, s, size), b = part(state.denominator, at, s, size),
         m = part(state.maximum, at, s, size);
    const auto k = part(c.k, at, t, size), v = part(c.v, at, t, size);
    const auto w = part(p.decay, at, 0, size), u = part(p.bonus, at, 0, size);
    part(c.numerator, at, t, size) = a;
    part(c.denominator, at, t, size) = b;
    before = (b == Scalar(0)).select(kNothing, m);
    part(c.maximum, at, t, size) = before;
    top = before.max(u + k);
    old = (before - top).exp();
    fresh = (u + k - top).exp();
    sum = old * b + fresh;
    part(c.wkv, at, t, size) = (old * a + fresh * v) / sum;
    before -= w.exp();
    m = before.max(k);
    old = (before - m).exp();
    fresh = (k - m).exp();
    a = old * a + fresh * v;
    b = old * b + fresh;
  }

  /// One position backward: turns k and v into their gradients, and dstate from the gradient of the state after t into
  /// that of the state before. First through a', b' and m', with o = e^{m+w-q'} and f = e^{k-q'}:
  ///
  ///   dv = f da',   dk = f (v da' + db'),   dq' = dm' - o (a da' + b db') - dk,   da = o da',   db = o db'
  ///   d(m + w) = o (a da' + b db');   dq' goes to the larger of m + w and k;   dw = dm = d(m + w),   dω += w dw
  ///
  /// then through wkv = N / D, with o = e^{m-q} and f = e^{u+k-q}:
  ///
  ///   dN = dwkv / D,   dD = -dN wkv
  ///   da += o dN,   db += o dD,   dm += o (a dN + b dD),   dv += f dN,   dk += f (v dN + dD),   du += f (v dN + dD)
  template <class Matrix>
  void step_backward(const Params& p, MatIn<Scalar> dwkv, State& dstate, Cache& c, const Tile& tile,
                     Tensors<Matrix>& g) const {
    const auto [s, t, at, size] = tile;
    alignas(64) Scalar buffer[7 * kTile];
    auto top = values(buffer, size), old = values(buffer + kTile, size), fresh = values(buffer + 2 * kTile, size),
         dk = values(buffer + 3 * kTile, size), dv = values(buffer + 4 * kTile, size),
         dlate = values(buffer + 5 * kTile, size), dtop = values(buffer + 6 * kTile, size);
    auto da = part(dstate.numerator, at, s, size), db = part(dstate.denominator, at, s, size),
         dm = part(dstate.maximum, at, s, size), k = part(c.k, at, t, size), v = part(c.v, at, t, size);
    const auto a = part(c.numerator, at, t, size), b = part(c.denominator, at, t, size),
               m = part(c.maximum, at, t, size);
    const auto w = part(p.decay, at, 0, size), u = part(p.bonus, at, 0, size);
    dlate = m - w.exp();
    top = dlate.max(k);
    old = (dlate - top).exp();
    fresh = (k - top).exp();
    dv = fresh * da;
    dk = fresh * (v * da + db);
    dtop = dm - old * (a * da + b * db) - dk;
    dk += (dlate < k).select(dtop, Scalar(0));
    dlate = (dlate < k).select(Scalar(0), dtop) + old * (a * da + b * db);
    da *= old;
    db *= old;
    dm = dlate;
    part(g.decay, at, 0, size) -= dlate * w.exp();
    auto &dnumerator = dtop, &ddenominator = dlate;
    top = m.max(u + k);
    old = (m - top).exp();
    fresh = (u + k - top).exp();
    dnumerator = part(dwkv, at, t, size) / (old * b + fresh);
    ddenominator = -dnumerator * part(c.wkv, at, t, size);
    da += old * dnumerator;
    db += old * ddenominator;
    dm += old * (a * dnumerator + b * ddenominator);
    dv += fresh * dnumerator;
    dnumerator = fresh * (v * dnumerator + ddenominator);
    part(g.bonus, at, 0, size) += dnumerator;
    k = dk + dnumerator;
    v = dv;
  }

  Config config_;
  nn::Linear<Scalar> linear_;
};

}  // namespace qllk::mixers
