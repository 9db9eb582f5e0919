// A state-space model with a scalar decay for each head.
#pragma once

#include <algorithm>
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
#include "qllk/mixers/recurrence.hpp"
#include "qllk/mixers/short_conv.hpp"
#include "qllk/mixers/ssd_chunk.hpp"
#include "qllk/nn/group_norm.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::part, linalg::values;

/// Mamba-2: the state-space dual form, one group of B and C for all heads.
///
///   z, xBC, δ = W_in x_t + b                                   [inner], [inner + 2·states], [heads]
///   x, B, C   = silu(conv(xBC))                                causal, width 4, every channel on its own
///   dt        = softplus(δ),   a = exp(-e^A dt)                one for each head; A learned
///   S_t       = a_t S_{t-1} + dt_t B_t x_tᵀ                     for each head, [states, head_dim]
///   u_t       = S_tᵀ C_t + D ⊙ x_t                             D one for each head
///   y_t       = W_out rms_norm(u_t ⊙ silu(z_t)) + b_out
///
/// The bias of δ is that of W_in.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous    inner = expand · dim
/// Cost     (6·expand·dim² + 4·states·dim + 2·heads·dim)·n FLOP for the maps, and 2·inner·(L + 2·states) a
///          position by chunks of L (SsdChunk); backward twice to three times that. State: states·inner + 3·(inner +
///          2·states) scalars a sequence.
/// Source   Dao and Gu 2024, sections 6 and 7
template <Real S>
class Mamba2 {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "mamba2";

  struct Config {
    Index dim = 0;
    Index expand = 2;    // inner width, in multiples of dim
    Index states = 64;   // of each channel
    Index head_dim = 0;  // 0: the largest divisor of inner up to 64

    template <class Self, class F>
    static void members(Self& c, F&& f) {
      f("expand", c.expand), f("states", c.states), f("head_dim", c.head_dim);
    }
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors {
    typename nn::Linear<Scalar>::template Tensors<Matrix> in_proj, out_proj;
    typename ShortConv<Scalar>::Params conv;
    Vec<Scalar> log_a, skip;  // [heads], A and D
    typename nn::GroupNorm<Scalar>::Params norm;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("in_proj", t.in_proj...);
      visit("conv", t.conv...);
      visit("log_a", t.log_a...);
      visit("skip", t.skip...);
      visit("norm", t.norm...);
      visit("out_proj", t.out_proj...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State {
    Mat<Scalar> memory;  // [states · inner, sequences]
    Mat<Scalar> tail;    // of the convolution

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("memory", t.memory...);
      visit("tail", t.tail...);
    }
  };

  struct Cache {
    Mat<Scalar> in;             // z, xBC, δ; after backward the product's gradients
    Mat<Scalar> conv, active;   // before and after its SiLU
    Mat<Scalar> dt, log_decay;  // [heads, n]
    Mat<Scalar> u, gated, normal;
    Mat<Scalar> states;  // S before every chunk [states · inner, chunks × sequences]
    typename SsdChunk<Scalar>::Scratch chunk;
    typename ShortConv<Scalar>::Cache short_conv;
    typename nn::GroupNorm<Scalar>::Cache norm;
    typename nn::Linear<Scalar>::Cache linear;
  };

  static Config recommended() { return {}; }

  /// Throws std::invalid_argument unless sizes are positive and head_dim, where it is not 0, divides expand · dim.
  explicit Mamba2(Config config)
      : config_(checked(config)),
        inner_(config.expand * config.dim),
        head_dim_(head_size("Mamba2", inner_, config.head_dim, 64)),
        heads_(inner_ / head_dim_),
        chunk_(inner_, head_dim_, config.states),
        conv_(inner_ + 2 * config.states, 4),
        in_({config.dim, 2 * inner_ + 2 * config.states + heads_}),
        out_({inner_, config.dim}),
        norm_({.dim = inner_, .group = inner_}) {}

  double flop() const {
    const auto dim = static_cast<double>(config_.dim), inner = static_cast<double>(inner_),
               states = static_cast<double>(config_.states), heads = static_cast<double>(heads_);
    return 2 * dim * (3 * inner + 2 * states + heads) + 8 * (inner + 2 * states) +
           2 * inner * (static_cast<double>(kChunk) + 2 * states) + 2 * states * static_cast<double>(kChunk);
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    state.memory.setZero(config_.states * inner_, sequences);
    state.tail.setZero(conv_.tail_size(), sequences);
  }

  QLLK_COLD Params zeros() const {
    Params p;
    p.in_proj = in_.zeros();
    p.out_proj = out_.zeros();
    p.conv = conv_.zeros();
    p.log_a.setZero(heads_);
    p.skip.setZero(heads_);
    p.norm = norm_.zeros();
    return p;
  }

  /// As the paper's: e^A uniform in [1, 16], dt uniform in its logarithm from 0.001 to 0.1, D 1.
  QLLK_COLD Params init(Random& random) const {
    Params p;
    p.in_proj = in_.init(random);
    p.out_proj = out_.init(random);
    p.conv = conv_.init(random);
    p.norm = norm_.init(random);
    p.log_a.resize(heads_);
    p.skip.setOnes(heads_);
    for (Index h = 0; h < heads_; ++h) {
      p.log_a[h] = static_cast<Scalar>(std::log(1 + 15 * random.uniform()));
      const double dt = 1e-3 * std::pow(100, random.uniform());
      p.in_proj.bias[at_dt() + h] = static_cast<Scalar>(std::log(std::expm1(dt)));  // softplus of it is dt
    }
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    QLLK_ASSERT(state.memory.rows() == config_.states * inner_);
    const Index n = x.cols(), sequences = state.memory.cols(), length = sequences > 0 ? n / sequences : 0;
    QLLK_ASSERT(n == sequences * length);
    c.in.resize(in_.config().out, n);
    for (auto* part : {&c.conv, &c.active}) part->resize(inner_ + 2 * config_.states, n);
    for (auto* part : {&c.u, &c.normal}) part->resize(inner_, n);
    for (auto* part : {&c.dt, &c.log_decay}) part->resize(heads_, n);
    in_.forward(p.in_proj, x, c.linear, c.in);
    conv_.forward(p.conv, block(c.in, inner_, 0, c.conv.rows(), n), state.tail, c.short_conv, c.conv);
    for (Index t = 0; t < n; ++t) {
      column(c.active, t) = column(c.conv, t) * column(c.conv, t).logistic();
      column(c.dt, t) = softplus(part(c.in, at_dt(), t, heads_));
      column(c.log_decay, t) = -values(p.log_a).exp() * column(c.dt, t);
    }
    const auto X = block(c.active, 0, 0, inner_, n), B = block(c.active, inner_, 0, config_.states, n),
               C = block(c.active, inner_ + config_.states, 0, config_.states, n);
    const Chunks chunks{sequences, length, kChunk};
    const typename SsdChunk<Scalar>::Inputs in{.x = X, .b = B, .c = C, .dt = c.dt, .log_decay = c.log_decay};
    c.states.resize(config_.states * inner_, chunks.count());
    chunks.forward([&](const Chunk& chunk) {
      column(c.states, chunk.index) = column(state.memory, chunk.sequence);
      chunk_.forward(in, chunk, state.memory.col(chunk.sequence).data(), c.chunk, c.u);
    });
    for (Index t = 0; t < n; ++t)
      for (Index h = 0; h < heads_; ++h)
        part(c.u, h * head_dim_, t, head_dim_) += part(c.active, h * head_dim_, t, head_dim_) * p.skip[h];
    silu_gate<Scalar>(c.u, block(c.in, 0, 0, inner_, n), c.gated);
    norm_.forward(p.norm, c.gated, c.norm, c.normal);
    out_.forward(p.out_proj, c.normal, c.linear, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to x, dy and cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dy.cols() == x.cols() && dx.rows() == x.rows() && dx.cols() == x.cols());
    QLLK_ASSERT(c.in.cols() == x.cols());
    const Index n = x.cols(), sequences = dstate.memory.cols(), length = sequences > 0 ? n / sequences : 0;
    auto dnormal = linalg::scratch<Mamba2, Scalar>(inner_, n);
    out_.backward(p.out_proj, c.normal, c.linear, dy, g.out_proj, dnormal);
    norm_.backward(p.norm, c.gated, c.norm, dnormal, g.norm, c.gated);
    silu_gate_backward<Scalar>(c.gated, c.u, block(c.in, 0, 0, inner_, n));
    for (Index t = 0; t < n; ++t)
      for (Index h = 0; h < heads_; ++h)
        g.skip[h] += (part(c.u, h * head_dim_, t, head_dim_) * part(c.active, h * head_dim_, t, head_dim_)).sum();

    auto X = block(c.active, 0, 0, inner_, n), B = block(c.active, inner_, 0, config_.states, n),
         C = block(c.active, inner_ + config_.states, 0, config_.states, n);
    const typename SsdChunk<Scalar>::Inputs in{.x = X, .b = B, .c = C, .dt = c.dt, .log_decay = c.log_decay};
    typename SsdChunk<Scalar>::Gradients d{.x = X, .b = B, .c = C, .dt = c.dt, .log_decay = c.log_decay};
    Chunks{sequences, length, kChunk}.backward([&](const Chunk& chunk) {
      const ChunkStates<Scalar> states{c.states.col(chunk.index).data(), dstate.memory.col(chunk.sequence).data()};
      chunk_.backward(in, chunk, states, c.u, c.chunk, d);
    });
    for (Index t = 0; t < n; ++t) {
      auto delta = part(c.in, at_dt(), t, heads_), dlog = column(c.log_decay, t);
      dlog *= -values(p.log_a).exp();
      values(g.log_a) += dlog * softplus(delta);
      delta = (column(c.dt, t) + dlog) * delta.logistic();
      for (Index h = 0; h < heads_; ++h)
        part(c.active, h * head_dim_, t, head_dim_) += part(c.u, h * head_dim_, t, head_dim_) * p.skip[h];
    }
    silu_backward<Scalar>(c.active, c.conv);
    auto xbc = block(c.in, inner_, 0, c.conv.rows(), n);
    conv_.backward(p.conv, xbc, c.short_conv, c.conv, dstate.tail, g.conv, xbc);
    in_.backward(p.in_proj, x, c.linear, c.in, g.in_proj, dx);
  }

 private:
  static constexpr Index kChunk = SsdChunk<Scalar>::kSize;

  static Config checked(const Config& config) {
    if (config.dim <= 0 || config.expand <= 0 || config.states <= 0)
      throw InvalidArgument("Mamba2: dim is " + std::to_string(config.dim) + ", expand " +
                            std::to_string(config.expand) + " and states " + std::to_string(config.states) +
                            ", expected all > 0");
    return config;
  }
  /// Where δ begins in what W_in gives.
  Index at_dt() const { return 2 * (inner_ + config_.states); }

  Config config_;
  Index inner_, head_dim_, heads_;
  SsdChunk<Scalar> chunk_;
  ShortConv<Scalar> conv_;
  nn::Linear<Scalar> in_, out_;
  nn::GroupNorm<Scalar> norm_;
};

}  // namespace qllk::mixers
