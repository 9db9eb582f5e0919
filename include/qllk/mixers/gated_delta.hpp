// The delta rule with decay: a memory that corrects what it holds before it adds.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <string_view>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "qllk/mixers/delta_chunk.hpp"
#include "qllk/mixers/heads.hpp"
#include "qllk/mixers/recurrence.hpp"
#include "qllk/mixers/short_conv.hpp"
#include "qllk/nn/group_norm.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::column, linalg::values;

/// Gated delta rule, with heads.
///
///   q, k, v, g = W_{q,k,v,g} x + b
///   q, k, v    = silu(conv(q, k, v))                                   causal, every channel on its own; width `conv`
///   q̂, k̂      = q / √(‖q‖² + ε), k / √(‖k‖² + ε)                      for each head
///   α          = exp(-e^r · softplus(W_a x + b_a))                     one for each head; r learned
///   β          = sigmoid(W_b x + b_b)                                  one for each head
///   S_t        = α_t (I - β_t k̂_t k̂_tᵀ) S_{t-1} + β_t k̂_t v_tᵀ
///   u_t        = S_tᵀ q̂_t
///   y_t        = W_o ( rms_norm(u_t) ⊙ silu(g_t) ) + b_o               the norm of each head
///
/// The convolutions, of width 4 in the paper, let a key hold what came before a value: without them (conv = 0) one
/// layer cannot bind a value to the byte before it.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = state.sequences() × length, each sequence contiguous
/// Cost     10·dim²·n FLOP for the six maps, and dim·(7·C + 6·head_dim + 6·conv) a position by chunks of C
///          (DeltaChunk); backward twice to three times that. The state is dim·(head_dim + 3·(conv - 1)) scalars a
///          sequence whatever the length.
/// Source   Yang et al. 2025, "Gated delta networks", eq. 10 and section 3.4
template <Real S>
class GatedDelta {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "gated_delta";

  struct Config {
    Index dim = 0;
    Index head_dim = 0;  // 0: the largest divisor of dim up to 32
    Index conv = 0;      // width; 0: no convolutions, and no silu of q, k and v

    template <class Self, class F>
    static void members(Self& c, F&& f) {
      f("head_dim", c.head_dim), f("conv", c.conv);
    }
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors {
    typename nn::Linear<Scalar>::template Tensors<Matrix> q_proj, k_proj, v_proj, gate, decay, beta, out_proj;
    typename ShortConv<Scalar>::Params conv;  // of q, k and v, one below the other
    Vec<Scalar> rate;                         // [heads], r
    typename nn::GroupNorm<Scalar>::Params norm;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("q_proj", t.q_proj...);
      visit("k_proj", t.k_proj...);
      visit("v_proj", t.v_proj...);
      visit("gate", t.gate...);
      visit("decay", t.decay...);
      visit("beta", t.beta...);
      visit("conv", t.conv...);
      visit("rate", t.rate...);
      visit("norm", t.norm...);
      visit("out_proj", t.out_proj...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State {
    Mat<Scalar> memory;  // [head_dim · dim, sequences]: S of every head
    Mat<Scalar> tail;    // of the convolutions

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("memory", t.memory...);
      visit("tail", t.tail...);
    }
    Index sequences() const { return memory.cols(); }
  };

  struct Cache {
    Mat<Scalar> in, conv;           // q, k and v before and after the convolutions, where there are any
    Mat<Scalar> qkv;                // q̂, k̂ and v
    Mat<Scalar> gate, decay, beta;  // g, what softplus sees, β; after backward the products' gradients
    Mat<Scalar> log_decay;          // log α; after backward its gradient
    Mat<Scalar> q_scale, k_scale;   // 1 / √(‖·‖² + ε)
    Mat<Scalar> dqkv;
    Mat<Scalar> u, normal, gated;
    Mat<Scalar> states;  // S before every chunk [head_dim · dim, chunks × sequences]
    typename DeltaChunk<Scalar>::Scratch chunk;
    typename ShortConv<Scalar>::Cache short_conv;
    typename nn::GroupNorm<Scalar>::Cache norm;
    typename nn::Linear<Scalar>::Cache linear;
  };

  static Config recommended() { return {.conv = 4}; }

  /// Throws std::invalid_argument unless dim > 0, head_dim, where it is not 0, divides it, and conv >= 0.
  explicit GatedDelta(Config config)
      : config_(checked(config)),
        head_dim_(head_size("GatedDelta", config.dim, config.head_dim, 32)),
        heads_(config.dim / head_dim_),
        chunk_(head_dim_),
        conv_(3 * config.dim, std::max<Index>(config.conv, 1)),
        wide_({config.dim, config.dim}),
        narrow_({config.dim, heads_}),
        norm_({.dim = config.dim, .group = head_dim_, .epsilon = head_epsilon(head_dim_, 1e-5)}) {}

  double flop() const {
    const auto dim = static_cast<double>(config_.dim), head = static_cast<double>(head_dim_);
    return 10 * dim * dim + 4 * dim * static_cast<double>(heads_) +
           dim * (7.0 * static_cast<double>(kChunk) + 6 * head + 6 * static_cast<double>(config_.conv));
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    state.memory.setZero(head_dim_ * config_.dim, sequences);
    state.tail.setZero(has_conv() ? conv_.tail_size() : 0, sequences);
  }

  QLLK_COLD Params zeros() const {
    Params p;
    p.q_proj = p.k_proj = p.v_proj = p.gate = p.out_proj = wide_.zeros();
    p.decay = p.beta = narrow_.zeros();
    if (has_conv()) p.conv = conv_.zeros();
    p.rate.setZero(heads_);
    p.norm = norm_.zeros();
    return p;
  }

  /// Decays start spread evenly, in the logarithm, over memories of 2 to 1,024 positions.
  QLLK_COLD Params init(Random& random) const {
    Params p = zeros();
    for (auto* linear : {&p.q_proj, &p.k_proj, &p.v_proj, &p.gate, &p.out_proj}) *linear = wide_.init(random);
    for (auto* linear : {&p.decay, &p.beta}) *linear = narrow_.init(random);
    p.norm = norm_.init(random);
    if (has_conv()) p.conv = conv_.init(random);
    for (Index h = 0; h < heads_; ++h) {
      const double octave = heads_ > 1 ? 1 + 9.0 * static_cast<double>(h) / static_cast<double>(heads_ - 1) : 5;
      p.decay.bias[h] = static_cast<Scalar>(-std::log(std::exp2(octave) - 1));  // α is 1 - 2^-octave
    }
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    QLLK_ASSERT(state.memory.rows() == head_dim_ * config_.dim);
    const Index n = x.cols(), sequences = state.sequences(), length = sequences > 0 ? n / sequences : 0;
    QLLK_ASSERT(n == sequences * length);
    for (auto* part : {&c.gate, &c.u, &c.normal}) part->resize(config_.dim, n);
    for (auto* part : {&c.decay, &c.beta, &c.log_decay}) part->resize(heads_, n);
    Mat<Scalar>& projected = has_conv() ? c.in : c.qkv;
    projected.resize(3 * config_.dim, n);
    linalg::AffineProduct<Matrix, Scalar> products[] = {{p.q_proj.weight, p.q_proj.bias, third(projected, 0)},
                                                        {p.k_proj.weight, p.k_proj.bias, third(projected, 1)},
                                                        {p.v_proj.weight, p.v_proj.bias, third(projected, 2)},
                                                        {p.gate.weight, p.gate.bias, c.gate},
                                                        {p.decay.weight, p.decay.bias, c.decay},
                                                        {p.beta.weight, p.beta.bias, c.beta}};
    gemm_all(x, std::span<linalg::AffineProduct<Matrix, Scalar>>(products));
    if (has_conv()) {
      for (auto* part : {&c.conv, &c.qkv}) part->resize(3 * config_.dim, n);
      conv_.forward(p.conv, c.in, state.tail, c.short_conv, c.conv);
      for (Index t = 0; t < n; ++t) column(c.qkv, t) = column(c.conv, t) * column(c.conv, t).logistic();
    }
    auto Q = third(c.qkv, 0), K = third(c.qkv, 1), V = third(c.qkv, 2);
    unit_heads<Scalar>(Q, c.q_scale, head_dim_, epsilon());
    unit_heads<Scalar>(K, c.k_scale, head_dim_, epsilon());
    values(c.beta) = values(c.beta).logistic();
    for (Index t = 0; t < n; ++t) column(c.log_decay, t) = -softplus(column(c.decay, t)) * values(p.rate).exp();

    const RecurrenceInputs<Scalar> in{.q = Q, .k = K, .v = V, .decay = c.log_decay, .beta = c.beta};
    const Chunks chunks{sequences, length, kChunk};
    c.states.resize(head_dim_ * config_.dim, chunks.count());
    chunks.forward([&](const Chunk& chunk) {
      column(c.states, chunk.index) = column(state.memory, chunk.sequence);
      for (Index h = 0; h < heads_; ++h)
        chunk_.forward(in, {h, chunk.begin, chunk.size}, state.memory.col(chunk.sequence).data(), c.chunk, c.u);
    });
    norm_.forward(p.norm, c.u, c.norm, c.normal);
    silu_gate(c.normal, c.gate, c.gated);
    wide_.forward(p.out_proj, c.gated, c.linear, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to x, dy and cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dy.cols() == x.cols() && dx.rows() == x.rows() && dx.cols() == x.cols());
    QLLK_ASSERT(c.qkv.cols() == x.cols());
    const Index n = x.cols(), sequences = dstate.sequences(), length = sequences > 0 ? n / sequences : 0;
    auto dgated = linalg::scratch<GatedDelta, Scalar>(config_.dim, n);
    wide_.backward(p.out_proj, c.gated, c.linear, dy, g.out_proj, dgated);
    silu_gate_backward<Scalar>(dgated, c.normal, c.gate);
    norm_.backward(p.norm, c.u, c.norm, c.normal, g.norm, c.u);

    c.dqkv.resize(3 * config_.dim, n);
    const auto Q = third(c.qkv, 0), K = third(c.qkv, 1), V = third(c.qkv, 2);
    auto dQ = third(c.dqkv, 0), dK = third(c.dqkv, 1), dV = third(c.dqkv, 2);
    const RecurrenceInputs<Scalar> in{.q = Q, .k = K, .v = V, .decay = c.log_decay, .beta = c.beta};
    RecurrenceGrads<Scalar> d{.q = dQ, .k = dK, .v = dV, .decay = c.log_decay, .beta = c.beta};
    Chunks{sequences, length, kChunk}.backward([&](const Chunk& chunk) {
      const ChunkStates<Scalar> states{c.states.col(chunk.index).data(), dstate.memory.col(chunk.sequence).data()};
      for (Index h = 0; h < heads_; ++h) chunk_.backward(in, {h, chunk.begin, chunk.size}, states, c.u, c.chunk, d);
    });
    unit_heads_backward<Scalar>(Q, c.q_scale, dQ, head_dim_);
    unit_heads_backward<Scalar>(K, c.k_scale, dK, head_dim_);
    if (has_conv()) {
      silu_backward<Scalar>(c.dqkv, c.conv);
      conv_.backward(p.conv, c.in, c.short_conv, c.conv, dstate.tail, g.conv, c.dqkv);
    }
    for (Index t = 0; t < n; ++t) {
      auto z = column(c.decay, t), dlog = column(c.log_decay, t);
      dlog *= -values(p.rate).exp();
      values(g.rate) += dlog * softplus(z);
      z = z.logistic() * dlog;
    }
    wide_.backward(p.gate, x, c.linear, c.gate, g.gate, dx);
    wide_.backward_add(p.q_proj, x, dQ, g.q_proj, dx);
    wide_.backward_add(p.k_proj, x, dK, g.k_proj, dx);
    wide_.backward_add(p.v_proj, x, dV, g.v_proj, dx);
    narrow_.backward_add(p.decay, x, c.decay, g.decay, dx);
    narrow_.backward_add(p.beta, x, c.beta, g.beta, dx);
  }

 private:
  static constexpr Index kChunk = DeltaChunk<Scalar>::kSize;

  static Config checked(const Config& config) {
    if (config.conv < 0)
      throw InvalidArgument("GatedDelta: conv is " + std::to_string(config.conv) + ", expected a width, or 0 for none");
    return config;
  }
  bool has_conv() const { return config_.conv > 0; }

  /// q, k or v among the three.
  template <class Matrix>
  auto third(Matrix& qkv, Index number) const {
    return linalg::block(qkv, number * config_.dim, 0, config_.dim, qkv.cols());
  }

  double epsilon() const { return head_epsilon(head_dim_, 1e-6); }

  Config config_;
  Index head_dim_, heads_;
  DeltaChunk<Scalar> chunk_;
  ShortConv<Scalar> conv_;
  nn::Linear<Scalar> wide_, narrow_;
  nn::GroupNorm<Scalar> norm_;
};

}  // namespace qllk::mixers
