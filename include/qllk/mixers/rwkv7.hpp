// A matrix memory that forgets, corrects and adds by channel.
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
#include "qllk/mixers/rwkv7_chunk.hpp"
#include "qllk/mixers/token_shift.hpp"
#include "qllk/nn/group_norm.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::column, linalg::part, linalg::values;

/// The time mixing of RWKV-7, without the residual of values between layers: a mixer sees one layer.
///
///   x^i     = x_t + μ_i ⊙ (x_{t-1} - x_t)                            i of r, k, v, w, a, g; μ learned
///   r, k, v = W_{r,k,v} x^{r,k,v} + b
///   log w   = -e^{-1/2} sigmoid(W'_w tanh(W_w x^w + b) + b')          decay of each channel, between 0.54 and 1
///   a       = sigmoid(W'_a (W_a x^a + b) + b')                        how much of the old is taken out
///   g       = W'_g sigmoid(W_g x^g + b) + b'
///   κ       = k ⊙ ξ / √(‖k ⊙ ξ‖² + ε)                                for each head; ξ learned
///   k̃       = k ⊙ (1 + (a - 1) ⊙ α)                                  α learned
///   S_t     = (diag(w_t) - (a_t ⊙ κ_t) κ_tᵀ) S_{t-1} + k̃_t v_tᵀ       for each head
///   u_t     = group_norm(S_tᵀ r_t) + <r_t, ρ ⊙ k̃_t> v_t               for each head; ρ learned
///   y_t     = W_o (u_t ⊙ g_t) + b_o
///
/// W are [rank, dim] and W' [dim, rank] in w, a and g. The norm takes the mean away from heads of three channels or
/// more: of two it would leave a sign.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = state.sequences() × length, each sequence contiguous
/// Cost     (8·dim² + 12·rank·dim)·n FLOP for the maps, and dim·(13·C + 8·head_dim) a position by chunks of C
///          (Rwkv7Chunk); backward twice to three times that. State: (head_dim + 1)·dim scalars a sequence.
/// Source   Peng et al. 2025, "RWKV-7 Goose", section 4
template <Real S>
class Rwkv7 {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "rwkv7";

  struct Config {
    Index dim = 0;
    Index head_dim = 0;  // 0: the largest divisor of dim up to 32
    Index rank = 0;      // 0: an eighth of dim, rounded up

    template <class Self, class F>
    static void members(Self& c, F&& f) {
      f("head_dim", c.head_dim), f("rank", c.rank);
    }
    bool operator==(const Config&) const = default;
  };

  /// A map of low rank, with a function between its halves.
  template <class Matrix>
  struct LowRank {
    typename nn::Linear<Scalar>::template Tensors<Matrix> down, up;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("down", t.down...);
      visit("up", t.up...);
    }
  };

  template <class Matrix>
  struct Tensors {
    Vec<Scalar> r_mix, k_mix, v_mix, w_mix, a_mix, g_mix;  // [dim], μ
    typename nn::Linear<Scalar>::template Tensors<Matrix> r_proj, k_proj, v_proj, out_proj;
    LowRank<Matrix> decay, rate, gate;            // w, a, g
    Vec<Scalar> key_scale, key_rate, bonus;       // [dim], ξ, α, ρ
    typename nn::GroupNorm<Scalar>::Params norm;  // of every head

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("r_mix", t.r_mix...);
      visit("k_mix", t.k_mix...);
      visit("v_mix", t.v_mix...);
      visit("w_mix", t.w_mix...);
      visit("a_mix", t.a_mix...);
      visit("g_mix", t.g_mix...);
      visit("r_proj", t.r_proj...);
      visit("k_proj", t.k_proj...);
      visit("v_proj", t.v_proj...);
      visit("decay", t.decay...);
      visit("rate", t.rate...);
      visit("gate", t.gate...);
      visit("key_scale", t.key_scale...);
      visit("key_rate", t.key_rate...);
      visit("bonus", t.bonus...);
      visit("norm", t.norm...);
      visit("out_proj", t.out_proj...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State {
    Mat<Scalar> previous;  // [dim, sequences], the last x
    Mat<Scalar> memory;    // [head_dim · dim, sequences], S of every head

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("previous", t.previous...);
      visit("memory", t.memory...);
    }
    Index sequences() const { return previous.cols(); }
  };

  struct Cache {
    Mat<Scalar> r_in, k_in, v_in, w_in, a_in, g_in;           // what the maps see
    Mat<Scalar> w_low, a_low, g_low, dw_low, da_low, dg_low;  // [rank, n]: what W' sees, and what W gave
    Mat<Scalar> r, k, v, log_w, a, g;                         // after backward a and g are gradients of what W' gave
    Mat<Scalar> keys, kappa, kappa_scale, removed;            // k̃, κ, its 1 / √(…), a ⊙ κ
    Mat<Scalar> read, answer, gated;                          // Sᵀ r, u, u ⊙ g
    Mat<Scalar> dr, dk, dv, dw, dkappa;
    Mat<Scalar> states;  // S before every chunk [head_dim · dim, chunks × sequences]
    typename Rwkv7Chunk<Scalar>::Scratch chunk;
    typename TokenShift<Scalar>::Cache shift;
    typename nn::GroupNorm<Scalar>::Cache norm;
    typename nn::Linear<Scalar>::Cache linear;
  };

  static Config recommended() { return {}; }

  /// Throws std::invalid_argument unless dim > 0, head_dim, where it is not 0, divides it, and rank >= 0.
  explicit Rwkv7(Config config)
      : config_(config),
        head_dim_(head_size("Rwkv7", config.dim, config.head_dim, 32)),
        heads_(config.dim / head_dim_),
        rank_(checked_rank(config)),
        chunk_(head_dim_),
        wide_({config.dim, config.dim}),
        down_({config.dim, rank_}),
        up_({rank_, config.dim}),
        norm_({.dim = config.dim,
               .group = head_dim_,
               .centred = head_dim_ > 2,
               .epsilon = head_epsilon(head_dim_, 1e-5 * static_cast<double>(head_dim_))}) {}

  double flop() const {
    const auto dim = static_cast<double>(config_.dim), rank = static_cast<double>(rank_),
               head = static_cast<double>(head_dim_);
    return 8 * dim * dim + 12 * rank * dim + dim * (13.0 * static_cast<double>(kChunk) + 8 * head);
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    state.previous.setZero(config_.dim, sequences);
    state.memory.setZero(head_dim_ * config_.dim, sequences);
  }

  QLLK_COLD Params zeros() const {
    Params p;
    for (auto* vector :
         {&p.r_mix, &p.k_mix, &p.v_mix, &p.w_mix, &p.a_mix, &p.g_mix, &p.key_scale, &p.key_rate, &p.bonus})
      vector->setZero(config_.dim);
    p.r_proj = p.k_proj = p.v_proj = p.out_proj = wide_.zeros();
    for (auto* low : {&p.decay, &p.rate, &p.gate}) {
      low->down = down_.zeros();
      low->up = up_.zeros();
    }
    p.norm = norm_.zeros();
    return p;
  }

  /// Decays start spread evenly, in the logarithm, over memories of 2 to 1,024 positions; the share of the previous
  /// position over 0 to 1.
  QLLK_COLD Params init(Random& random) const {
    Params p = zeros();
    for (auto* linear : {&p.r_proj, &p.k_proj, &p.v_proj, &p.out_proj}) *linear = wide_.init(random);
    for (auto* low : {&p.decay, &p.rate, &p.gate}) {
      low->down = down_.init(random);
      low->up = up_.init(random);
    }
    p.norm = norm_.init(random);
    p.key_scale.setConstant(static_cast<Scalar>(0.85));
    p.key_rate.setOnes();
    for (Index i = 0; i < config_.dim; ++i) {
      const double place = config_.dim > 1 ? static_cast<double>(i) / static_cast<double>(config_.dim - 1) : 0.5;
      const double sigmoid = std::exp(0.5) * -std::log1p(-std::exp2(-2 - 8 * place));  // w is 1 - 2^-…
      p.decay.up.bias[i] = static_cast<Scalar>(std::log(sigmoid / (1 - sigmoid)));
      for (auto* mix : {&p.r_mix, &p.k_mix, &p.v_mix, &p.w_mix, &p.a_mix, &p.g_mix})
        (*mix)[i] = static_cast<Scalar>(1 - place);
    }
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    QLLK_ASSERT(state.memory.rows() == head_dim_ * config_.dim);
    const Index n = x.cols(), sequences = state.sequences(), length = sequences > 0 ? n / sequences : 0;
    for (auto* part :
         {&c.r, &c.k, &c.v, &c.log_w, &c.a, &c.g, &c.keys, &c.kappa, &c.removed, &c.read, &c.answer, &c.gated})
      part->resize(config_.dim, n);
    maps_forward(p, x, state, c);
    keys_forward(p, c);

    const Inputs in{c.r, c.log_w, c.keys, c.v, c.kappa, c.removed};
    const Chunks chunks{sequences, length, kChunk};
    c.states.resize(head_dim_ * config_.dim, chunks.count());
    chunks.forward([&](const Chunk& chunk) {
      column(c.states, chunk.index) = column(state.memory, chunk.sequence);
      for (Index h = 0; h < heads_; ++h)
        chunk_.forward(in, {h, chunk.begin, chunk.size}, state.memory.col(chunk.sequence).data(), c.chunk, c.read);
    });
    norm_.forward(p.norm, c.read, c.norm, c.answer);
    for (Index t = 0; t < n; ++t) {
      for (Index h = 0; h < heads_; ++h)
        head(c.answer, h, t) += head(c.v, h, t) * (head(c.r, h, t) * head(p.bonus, h, 0) * head(c.keys, h, t)).sum();
      column(c.gated, t) = column(c.answer, t) * column(c.g, t);
    }
    wide_.forward(p.out_proj, c.gated, c.linear, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to dy and cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dy.cols() == x.cols() && dx.rows() == x.rows() && dx.cols() == x.cols());
    QLLK_ASSERT(c.r.cols() == x.cols());
    const Index n = x.cols(), sequences = dstate.sequences(), length = sequences > 0 ? n / sequences : 0;
    auto dgated = linalg::scratch<Rwkv7, Scalar>(config_.dim, n);
    wide_.backward(p.out_proj, c.gated, c.linear, dy, g.out_proj, dgated);
    gate_backward(dgated, c);
    norm_.backward(p.norm, c.read, c.norm, c.answer, g.norm, c.read);

    for (auto* part : {&c.dr, &c.dk, &c.dv, &c.dw, &c.dkappa}) part->resize(config_.dim, n);
    const Inputs in{c.r, c.log_w, c.keys, c.v, c.kappa, c.removed};
    const InputGradients d{c.dr, c.dw, c.dk, c.dv, c.dkappa, c.removed};
    Chunks{sequences, length, kChunk}.backward([&](const Chunk& chunk) {
      const ChunkStates<Scalar> states{c.states.col(chunk.index).data(), dstate.memory.col(chunk.sequence).data()};
      for (Index h = 0; h < heads_; ++h) chunk_.backward(in, {h, chunk.begin, chunk.size}, states, c.read, c.chunk, d);
    });
    bonus_backward(p, c, g);
    keys_backward(p, c, g);
    maps_backward(p, x, c, dstate, g, dx);
  }

 private:
  using Shift = TokenShift<Scalar>;
  using Inputs = typename Rwkv7Chunk<Scalar>::template Inputs<const Mat<Scalar>>;
  using InputGradients = typename Rwkv7Chunk<Scalar>::template Inputs<Mat<Scalar>>;
  static constexpr Index kChunk = Rwkv7Chunk<Scalar>::kSize;

  /// All affine maps of the shifted x: r, k and v; w, a and g, each of low rank, before its last function.
  template <class Matrix>
  void maps_forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c) const {
    for (auto* part : {&c.w_low, &c.a_low, &c.g_low}) part->resize(rank_, x.cols());
    Shift::advance(x, state.previous, c.shift);
    const auto shift = [&](const Vec<Scalar>& mix, Mat<Scalar>& in) { Shift::forward(mix, x, c.shift, in); };
    shift(p.r_mix, c.r_in), shift(p.k_mix, c.k_in), shift(p.v_mix, c.v_in);
    shift(p.w_mix, c.w_in), shift(p.a_mix, c.a_in), shift(p.g_mix, c.g_in);
    wide_.forward(p.r_proj, c.r_in, c.linear, c.r);
    wide_.forward(p.k_proj, c.k_in, c.linear, c.k);
    wide_.forward(p.v_proj, c.v_in, c.linear, c.v);
    down_.forward(p.decay.down, c.w_in, c.linear, c.w_low);
    down_.forward(p.rate.down, c.a_in, c.linear, c.a_low);
    down_.forward(p.gate.down, c.g_in, c.linear, c.g_low);
    values(c.w_low) = values(c.w_low).tanh();
    values(c.g_low) = values(c.g_low).logistic();
    up_.forward(p.decay.up, c.w_low, c.linear, c.log_w);
    up_.forward(p.rate.up, c.a_low, c.linear, c.a);
    up_.forward(p.gate.up, c.g_low, c.linear, c.g);
  }

  /// a = sigmoid(·), log w = -e^{-1/2} sigmoid(·), then κ, k̃ and a ⊙ κ.
  template <class Matrix>
  void keys_forward(const Tensors<Matrix>& p, Cache& c) const {
    const Index n = c.k.cols();
    for (Index t = 0; t < n; ++t) {
      auto a = column(c.a, t), log_w = column(c.log_w, t);
      a = a.logistic();
      log_w = log_w.logistic() * static_cast<Scalar>(-std::exp(-0.5));
      column(c.kappa, t) = column(c.k, t) * values(p.key_scale);
      column(c.keys, t) = column(c.k, t) * (Scalar(1) + (a - Scalar(1)) * values(p.key_rate));
    }
    unit_heads<Scalar>(c.kappa, c.kappa_scale, head_dim_, head_epsilon(head_dim_, 1e-6));
    for (Index t = 0; t < n; ++t) column(c.removed, t) = column(c.a, t) * column(c.kappa, t);
  }

  /// From o = u ⊙ g: overwrites u by du = do ⊙ g, and g by dg = do ⊙ u. Changes dgated, which is do.
  void gate_backward(MatOut<Scalar> dgated, Cache& c) const {
    for (Index t = 0; t < dgated.cols(); ++t) {
      auto gate = column(c.g, t), d = column(dgated, t), answer = column(c.answer, t);
      answer *= d;
      d *= gate;
      gate = answer;
      answer = d;
    }
  }

  /// From u += b v of each head, with b = <r, ρ ⊙ k̃> and db = <du, v>:
  ///
  ///   dv += b du,   dr += db ρ ⊙ k̃,   dk̃ += db ρ ⊙ r,   dρ += db r ⊙ k̃
  template <class Matrix>
  void bonus_backward(const Params& p, Cache& c, Tensors<Matrix>& g) const {
    for (Index t = 0; t < c.r.cols(); ++t)
      for (Index h = 0; h < heads_; ++h) {
        const auto r = head(c.r, h, t), keys = head(c.keys, h, t), du = head(c.answer, h, t), v = head(c.v, h, t);
        const auto bonus = head(p.bonus, h, 0);
        const Scalar weight = (r * bonus * keys).sum(), dweight = (du * v).sum();
        head(c.dv, h, t) += du * weight;
        head(c.dr, h, t) += keys * bonus * dweight;
        head(c.dk, h, t) += r * bonus * dweight;
        head(g.bonus, h, 0) += r * keys * dweight;
      }
  }

  /// From k̃ = k ⊙ (1 + (a - 1) ⊙ α), κ = unit(k ⊙ ξ) and b = a ⊙ κ, with z the arguments of the sigmoids:
  ///
  ///   dκ += db ⊙ a,   da = db ⊙ κ + dk̃ ⊙ k ⊙ α,   dk = dk̃ ⊙ (1 + (a - 1) ⊙ α) + d(k ⊙ ξ) ⊙ ξ
  ///   dα += dk̃ ⊙ k ⊙ (a - 1),   dξ += d(k ⊙ ξ) ⊙ k
  ///   dz_a = da ⊙ a ⊙ (1 - a),   dz_w = d(log w) ⊙ log w ⊙ (1 + e^{1/2} log w)
  template <class Matrix>
  void keys_backward(const Params& p, Cache& c, Tensors<Matrix>& g) const {
    const Index n = c.k.cols();
    for (Index t = 0; t < n; ++t) column(c.dkappa, t) += column(c.removed, t) * column(c.a, t);
    unit_heads_backward<Scalar>(c.kappa, c.kappa_scale, c.dkappa, head_dim_);
    for (Index t = 0; t < n; ++t) {
      auto a = column(c.a, t), k = column(c.k, t), dk = column(c.dk, t), da = column(c.removed, t),
           log_w = column(c.log_w, t), dw = column(c.dw, t);
      const auto dkappa = column(c.dkappa, t);
      da *= column(c.kappa, t);
      da += dk * k * values(p.key_rate);
      values(g.key_rate) += dk * k * (a - Scalar(1));
      values(g.key_scale) += dkappa * k;
      dk = dk * (Scalar(1) + (a - Scalar(1)) * values(p.key_rate)) + dkappa * values(p.key_scale);
      a = da * a * (Scalar(1) - a);
      dw *= log_w * (Scalar(1) + log_w * static_cast<Scalar>(std::exp(0.5)));
    }
  }

  /// Through all affine maps and the token shift, to dx and the gradient of the x before.
  template <class Matrix>
  void maps_backward(const Params& p, MatIn<Scalar> x, Cache& c, State& dstate, Tensors<Matrix>& g,
                     MatOut<Scalar> dx) const {
    for (auto* part : {&c.dw_low, &c.da_low, &c.dg_low}) part->resize(rank_, x.cols());
    up_.backward(p.decay.up, c.w_low, c.linear, c.dw, g.decay.up, c.dw_low);
    up_.backward(p.rate.up, c.a_low, c.linear, c.a, g.rate.up, c.da_low);
    up_.backward(p.gate.up, c.g_low, c.linear, c.g, g.gate.up, c.dg_low);
    values(c.dw_low) *= Scalar(1) - values(c.w_low).square();
    values(c.dg_low) *= values(c.g_low) * (Scalar(1) - values(c.g_low));
    Shift::backward(dstate.previous, dx);
    auto din = linalg::scratch<Rwkv7, Scalar>(config_.dim, x.cols());
    const auto shift = [&](const Vec<Scalar>& mix, Vec<Scalar>& dmix) {
      Shift::backward_add(mix, x, c.shift, din, {dmix, dstate.previous, dx});
    };
    wide_.backward(p.r_proj, c.r_in, c.linear, c.dr, g.r_proj, din);
    shift(p.r_mix, g.r_mix);
    wide_.backward(p.k_proj, c.k_in, c.linear, c.dk, g.k_proj, din);
    shift(p.k_mix, g.k_mix);
    wide_.backward(p.v_proj, c.v_in, c.linear, c.dv, g.v_proj, din);
    shift(p.v_mix, g.v_mix);
    down_.backward(p.decay.down, c.w_in, c.linear, c.dw_low, g.decay.down, din);
    shift(p.w_mix, g.w_mix);
    down_.backward(p.rate.down, c.a_in, c.linear, c.da_low, g.rate.down, din);
    shift(p.a_mix, g.a_mix);
    down_.backward(p.gate.down, c.g_in, c.linear, c.dg_low, g.gate.down, din);
    shift(p.g_mix, g.g_mix);
  }

  static Index checked_rank(const Config& config) {
    if (config.rank < 0)
      throw InvalidArgument("Rwkv7: rank is " + std::to_string(config.rank) + ", expected 0 or more");
    return config.rank > 0 ? config.rank : (config.dim + 7) / 8;
  }
  template <class Matrix>
  auto head(Matrix&& m, Index h, Index t) const {
    return part(m, h * head_dim_, t, head_dim_);
  }

  Config config_;
  Index head_dim_, heads_, rank_;
  Rwkv7Chunk<Scalar> chunk_;
  nn::Linear<Scalar> wide_, down_, up_;
  nn::GroupNorm<Scalar> norm_;
};

}  // namespace qllk::mixers
