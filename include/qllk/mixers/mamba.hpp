// A selective state-space model.
#pragma once

#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/heads.hpp"
#include "qllk/mixers/selective_scan.hpp"
#include "qllk/mixers/short_conv.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::values;

/// Mamba: a state-space model whose step, input and output maps are computed from each position.
///
///   r, z    = W_in x_t + b                                     [inner] each
///   u       = silu(conv(r))                                    causal, width 4, every channel on its own
///   l, B, C = W_x u + b                                        [rank], [states], [states]
///   dt      = softplus(W_dt l + b_dt)                          [inner]
///   h_t     = exp(-dt_t e^A) ⊙ h_{t-1} + dt_t u_t B_tᵀ          h, A: [inner, states]; A learned
///   y_t     = W_out ( (h_t C_t + D ⊙ u_t) ⊙ silu(z_t) ) + b_out
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous    inner = expand · dim
/// Cost     (6·dim + 4·rank + 4·states)·inner·n FLOP for the maps, and that of SelectiveScan; backward twice to
///          three times that. State: (states + 3)·inner scalars a sequence.
/// Source   Gu and Dao 2023, sections 3.2 to 3.4 and 3.6
template <Real S>
class Mamba {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "mamba";

  struct Config {
    Index dim = 0;
    Index expand = 2;   // inner width, in multiples of dim
    Index states = 16;  // of each channel
    Index rank = 0;     // of W_dt; 0: a sixteenth of dim, rounded up

    template <class Self, class F>
    static void members(Self& c, F&& f) {
      f("expand", c.expand), f("states", c.states), f("rank", c.rank);
    }
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors {
    typename nn::Linear<Scalar>::template Tensors<Matrix> in_proj, x_proj, dt_proj, out_proj;
    typename ShortConv<Scalar>::Params conv;
    Vec<Scalar> log_a;  // [inner · states], A: those of a state side by side
    Vec<Scalar> skip;   // [inner], D

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("in_proj", t.in_proj...);
      visit("conv", t.conv...);
      visit("x_proj", t.x_proj...);
      visit("dt_proj", t.dt_proj...);
      visit("log_a", t.log_a...);
      visit("skip", t.skip...);
      visit("out_proj", t.out_proj...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State {
    Mat<Scalar> memory;  // [inner · states, sequences]
    Mat<Scalar> tail;    // of the convolution

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("memory", t.memory...);
      visit("tail", t.tail...);
    }
  };

  struct Cache {
    Mat<Scalar> in;            // r, z; after backward the product's gradients
    Mat<Scalar> conv, active;  // before and after its SiLU
    Mat<Scalar> seen, dseen;   // l, B, C
    Mat<Scalar> delta, dt;     // before and after softplus; after backward delta is its gradient
    Mat<Scalar> out, gated, dactive;
    Vec<Scalar> a, da;  // -e^A
    typename SelectiveScan<Scalar>::Cache scan;
    typename ShortConv<Scalar>::Cache short_conv;
    typename nn::Linear<Scalar>::Cache linear;
  };

  static Config recommended() { return {}; }

  /// Throws std::invalid_argument unless sizes are positive; rank may be 0.
  explicit Mamba(Config config)
      : config_(checked(config)),
        inner_(config.expand * config.dim),
        rank_(config.rank > 0 ? config.rank : (config.dim + 15) / 16),
        scan_(inner_, config.states),
        conv_(inner_, 4),
        in_({config.dim, 2 * inner_}),
        x_({inner_, rank_ + 2 * config.states}),
        dt_({rank_, inner_}),
        out_({inner_, config.dim}) {}

  double flop() const {
    const auto dim = static_cast<double>(config_.dim), inner = static_cast<double>(inner_),
               states = static_cast<double>(config_.states), rank = static_cast<double>(rank_);
    return inner * (6 * dim + 4 * rank + 4 * states + 8 + 8 * states);
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    state.memory.setZero(scan_.state_size(), sequences);
    state.tail.setZero(conv_.tail_size(), sequences);
  }

  QLLK_COLD Params zeros() const {
    Params p;
    p.in_proj = in_.zeros();
    p.x_proj = x_.zeros();
    p.dt_proj = dt_.zeros();
    p.out_proj = out_.zeros();
    p.conv = conv_.zeros();
    p.log_a.setZero(scan_.state_size());
    p.skip.setZero(inner_);
    return p;
  }

  /// As the paper's: e^A is 1, 2, …, states, dt uniform in its logarithm from 0.001 to 0.1, D 1.
  QLLK_COLD Params init(Random& random) const {
    Params p = zeros();
    p.in_proj = in_.init(random);
    p.x_proj = x_.init(random);
    p.dt_proj = dt_.init(random);
    p.out_proj = out_.init(random);
    p.conv = conv_.init(random);
    p.skip.setOnes();
    for (Index i = 0; i < p.log_a.size(); ++i)
      p.log_a[i] = static_cast<Scalar>(std::log(static_cast<double>(1 + i / inner_)));
    for (Index i = 0; i < inner_; ++i) {
      const double dt = 1e-3 * std::pow(100, random.uniform());
      p.dt_proj.bias[i] = static_cast<Scalar>(std::log(std::expm1(dt)));  // softplus of it is dt
    }
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    QLLK_ASSERT(state.memory.rows() == scan_.state_size());
    const Index n = x.cols(), N = config_.states;
    QLLK_ASSERT(state.memory.cols() > 0 ? n % state.memory.cols() == 0 : n == 0);
    c.in.resize(2 * inner_, n);
    c.seen.resize(rank_ + 2 * N, n);
    for (auto* part : {&c.conv, &c.active, &c.delta, &c.dt, &c.out}) part->resize(inner_, n);
    in_.forward(p.in_proj, x, c.linear, c.in);
    conv_.forward(p.conv, block(c.in, 0, 0, inner_, n), state.tail, c.short_conv, c.conv);
    for (Index t = 0; t < n; ++t) column(c.active, t) = column(c.conv, t) * column(c.conv, t).logistic();
    x_.forward(p.x_proj, c.active, c.linear, c.seen);
    dt_.forward(p.dt_proj, block(c.seen, 0, 0, rank_, n), c.linear, c.delta);
    for (Index t = 0; t < n; ++t) column(c.dt, t) = softplus(column(c.delta, t));
    c.a.resize(p.log_a.size());
    values(c.a) = -values(p.log_a).exp();
    const auto B = block(c.seen, rank_, 0, N, n), C = block(c.seen, rank_ + N, 0, N, n);
    scan_.forward({.u = c.active, .dt = c.dt, .b = B, .c = C, .a = c.a, .skip = p.skip}, state.memory, c.scan, c.out);
    silu_gate<Scalar>(c.out, block(c.in, inner_, 0, inner_, n), c.gated);
    out_.forward(p.out_proj, c.gated, c.linear, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to x, dy and cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dy.cols() == x.cols() && dx.rows() == x.rows() && dx.cols() == x.cols());
    QLLK_ASSERT(c.in.cols() == x.cols());
    const Index n = x.cols(), N = config_.states;
    auto dgated = linalg::scratch<Mamba, Scalar>(inner_, n);
    out_.backward(p.out_proj, c.gated, c.linear, dy, g.out_proj, dgated);
    silu_gate_backward<Scalar>(dgated, c.out, block(c.in, inner_, 0, inner_, n));

    c.dseen.resize(c.seen.rows(), n);
    c.dactive.resize(inner_, n);
    c.da.setZero(c.a.size());
    const auto B = block(c.seen, rank_, 0, N, n), C = block(c.seen, rank_ + N, 0, N, n);
    auto dB = block(c.dseen, rank_, 0, N, n), dC = block(c.dseen, rank_ + N, 0, N, n);
    scan_.backward({.u = c.active, .dt = c.dt, .b = B, .c = C, .a = c.a, .skip = p.skip}, c.scan, c.out, dstate.memory,
                   {.u = c.dactive, .dt = c.dt, .b = dB, .c = dC, .a = c.da, .skip = g.skip});
    values(g.log_a) += values(c.da) * values(c.a);
    for (Index t = 0; t < n; ++t) column(c.delta, t) = column(c.delta, t).logistic() * column(c.dt, t);
    dt_.backward(p.dt_proj, block(c.seen, 0, 0, rank_, n), c.linear, c.delta, g.dt_proj,
                 block(c.dseen, 0, 0, rank_, n));
    x_.backward_add(p.x_proj, c.active, c.dseen, g.x_proj, c.dactive);
    silu_backward<Scalar>(c.dactive, c.conv);
    auto r = block(c.in, 0, 0, inner_, n);
    conv_.backward(p.conv, r, c.short_conv, c.conv, dstate.tail, g.conv, r);
    in_.backward(p.in_proj, x, c.linear, c.in, g.in_proj, dx);
  }

 private:
  static Config checked(const Config& config) {
    if (config.dim <= 0 || config.expand <= 0 || config.states <= 0 || config.rank < 0)
      throw InvalidArgument("Mamba: dim is " + std::to_string(config.dim) + ", expand " +
                            std::to_string(config.expand) + ", states " + std::to_string(config.states) + " and rank " +
                            std::to_string(config.rank) + ", expected all > 0, or rank 0");
    return config;
  }

  Config config_;
  Index inner_, rank_;
  SelectiveScan<Scalar> scan_;
  ShortConv<Scalar> conv_;
  nn::Linear<Scalar> in_, x_, dt_, out_;
};

}  // namespace qllk::mixers
