// The heart of QLLK: a gated, linear-time sequence mixer.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/product_sum.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "qllk/mixers/latent_scan.hpp"
#include "qllk/nn/layer_norm.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::add_product, linalg::AffineProduct, linalg::column, linalg::gemm_all, linalg::scratch, linalg::values,
    linalg::weight_gemm_add;

/// How fast a head forgets: never (the cumulative sum), at one learned rate, or at a rate computed from each position.
enum class Decay { none, learned, data_dependent };
constexpr auto enum_names(Decay) { return std::array{"none", "learned", "data_dependent"}; }

/// Cumulative-sum latent kernel with heads, decay and gate.
///
///   q, k, v, g = W_{q,k,v,g} x + b
///   a          = 1, or sigmoid(bias), or sigmoid(W_a x + bias)       one for each head
///   S_t        = a_t S_{t-1} + (1 - a_t) k_t v_tᵀ                     (without decay: S_{t-1} + k_t v_tᵀ)
///   u_t        = S_tᵀ q_t
///   y_t        = W_o ( norm(u_t) ⊙ sigmoid(g_t) ) + b_o              norm and W_o where the configuration has them
///
/// With head_dim 1, no decay, no norm and no W_o this is the original QLLK's `q * cumsum(k * v) * sigmoid(g)`.
///
/// backward, with n = norm(u) and o = n ⊙ sigmoid(g), in this order:
///
///   do = W_oᵀ dy
///   dn = do ⊙ sigmoid(g),   dg = do ⊙ n ⊙ sigmoid(g) ⊙ (1 - sigmoid(g))                gate_backward
///   du from dn                                                                          LayerNorm
///   dq, dk, dv and d(logit a), from du and dS                                           LatentScan
///   dx = W_qᵀ dq + W_kᵀ dk + W_vᵀ dv + W_gᵀ dg + W_aᵀ d(logit a)
///
/// The gradient of each map adds up beside it: dW = Σ d(its output) (its input)ᵀ, db = Σ d(its output).
///
/// Shapes   x, y, dy, dx: [dim, n]    n = state.sequences() × length, each sequence contiguous
/// Cost     8·dim²·n FLOP for q, k, v and g, 2·dim²·n for W_o, and that of LatentScan; backward twice that.
///          Linear in the length; the state is head_dim·dim scalars a sequence whatever the length.
/// Source   Katharopoulos et al. 2020 (linear attention), Sun et al. 2023 (decay), Yang et al. 2024 (data-dependent
///          decay)
template <Real S>
class LatentKernel {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "latent";

  struct Config {
    Index dim = 0;
    Index head_dim = 1;         // features of a head; divides dim
    Decay decay = Decay::none;  // how a head forgets
    bool normalise = false;     // norm each head's output
    bool project = false;       // have W_o

    template <class Self, class F>
    static void members(Self& c, F&& f) {
      f("head_dim", c.head_dim), f("decay", c.decay), f("normalise", c.normalise), f("project", c.project);
    }
    bool operator==(const Config&) const = default;
  };

  /// Members that the configuration leaves out are empty.
  template <class Matrix>
  struct Tensors {
    typename nn::Linear<Scalar>::template Tensors<Matrix> q_proj, k_proj, v_proj, gate, out_proj;
    Matrix decay_weight;     // [heads, dim]
    Vec<Scalar> decay_bias;  // [heads]
    typename nn::LayerNorm<Scalar>::Params norm;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("q_proj", t.q_proj...);
      visit("k_proj", t.k_proj...);
      visit("v_proj", t.v_proj...);
      visit("gate", t.gate...);
      visit("decay.weight", t.decay_weight...);
      visit("decay.bias", t.decay_bias...);
      visit("norm", t.norm...);
      visit("out_proj", t.out_proj...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;
  using State = LatentState<Scalar>;

  /// Backward overwrites all but gated by gradients.
  struct Cache {
    Mat<Scalar> q, k, v;
    Mat<Scalar> gate;    // sigmoid(g); after backward dg
    Mat<Scalar> decay;   // a [heads, n], or empty; after backward d(logit a)
    Mat<Scalar> u;       // what is read from the memory
    Mat<Scalar> normal;  // norm(u), where there is a norm
    Mat<Scalar> gated;   // o, which W_o sees
    typename LatentScan<Scalar>::Cache scan;
    typename nn::LayerNorm<Scalar>::Cache norm;
    typename nn::Linear<Scalar>::Cache linear;
  };

  /// Throws std::invalid_argument unless dim > 0 and head_dim divides it.
  explicit LatentKernel(Config config)
      : config_(config), scan_(config.dim, config.head_dim), linear_({config.dim, config.dim}), norm_({config.dim}) {}

  static Config recommended() { return {.decay = Decay::data_dependent, .project = true}; }

  const Config& config() const { return config_; }
  double flop() const {
    const auto dim = static_cast<double>(config_.dim), head = static_cast<double>(config_.head_dim);
    double flop = (config_.project ? 10 : 8) * dim * dim;
    if (config_.decay == Decay::data_dependent) flop += 2 * dim * dim / head;
    if (config_.head_dim > 1) flop += 4 * dim * (head + static_cast<double>(LatentChunk<Scalar>::kSize));
    return flop;
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  /// Makes state an initial one again, without allocating where it was one of as many sequences.
  void reset(State& state, Index sequences) const {
    scan_.reset(state, sequences, config_.decay == Decay::none ? Sums::compensated : Sums::plain);
  }

  QLLK_COLD Params zeros() const {
    Params p;
    p.q_proj = p.k_proj = p.v_proj = p.gate = linear_.zeros();
    if (config_.project) p.out_proj = linear_.zeros();
    if (config_.normalise) p.norm = norm_.zeros();
    if (config_.decay == Decay::data_dependent) p.decay_weight.setZero(scan_.heads(), config_.dim);
    if (config_.decay != Decay::none) p.decay_bias.setZero(scan_.heads());
    return p;
  }

  /// Decays start spread evenly, in the logarithm, over memories of 2 to 1,024 positions.
  QLLK_COLD Params init(Random& random) const {
    Params p = zeros();
    for (auto* linear : {&p.q_proj, &p.k_proj, &p.v_proj, &p.gate}) *linear = linear_.init(random);
    if (config_.project) p.out_proj = linear_.init(random);
    if (config_.normalise) p.norm = norm_.init(random);
    if (p.decay_weight.size() > 0)
      fill_uniform(p.decay_weight, 1 / std::sqrt(static_cast<double>(config_.dim)), random);
    const Index heads = p.decay_bias.size();
    for (Index h = 0; h < heads; ++h) {
      const double octave = heads > 1 ? 1 + 9.0 * static_cast<double>(h) / static_cast<double>(heads - 1) : 5;
      p.decay_bias[h] = static_cast<Scalar>(std::log(std::exp2(octave) - 1));  // sigmoid of it is 1 - 2^-octave
    }
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& cache, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    const Index n = x.cols();
    for (auto* part : {&cache.q, &cache.k, &cache.v, &cache.gate, &cache.u}) part->resize(config_.dim, n);
    if (config_.decay != Decay::none) cache.decay.resize(scan_.heads(), n);
    AffineProduct<Matrix, Scalar> products[] = {{p.q_proj.weight, p.q_proj.bias, cache.q},
                                                {p.k_proj.weight, p.k_proj.bias, cache.k},
                                                {p.v_proj.weight, p.v_proj.bias, cache.v},
                                                {p.gate.weight, p.gate.bias, cache.gate},
                                                {p.decay_weight, p.decay_bias, cache.decay}};
    gemm_all(x, std::span(products).first(config_.decay == Decay::data_dependent ? 5 : 4));
    if (config_.decay == Decay::learned)
      for (Index t = 0; t < n; ++t) column(cache.decay, t) = values(p.decay_bias);
    if (config_.decay != Decay::none) values(cache.decay) = values(cache.decay).logistic();
    scan_.forward({.q = cache.q, .k = cache.k, .v = cache.v, .decay = cache.decay}, state, cache.scan, cache.u);
    if (config_.normalise) {
      cache.normal.resize(config_.dim, n);
      norm_.forward(p.norm, cache.u, cache.norm, cache.normal);
    }
    if (config_.project) cache.gated.resize(config_.dim, n);
    for (Index t = 0; t < n; ++t) {
      auto gate = column(cache.gate, t), gated = config_.project ? column(cache.gated, t) : column(y, t);
      gate = gate.logistic();
      gated = column(readout(cache), t) * gate;
    }
    if (config_.project) linear_.forward(p.out_proj, cache.gated, cache.linear, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to x, dy and cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& cache, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dy.cols() == x.cols() && dx.rows() == x.rows() && dx.cols() == x.cols());
    QLLK_ASSERT(cache.q.cols() == x.cols() && cache.gate.cols() == x.cols() && cache.u.cols() == x.cols());
    if (config_.project) {
      auto dgated = scratch<LatentKernel, Scalar>(config_.dim, x.cols());
      linear_.backward(p.out_proj, cache.gated, cache.linear, dy, g.out_proj, dgated);
      gate_backward(dgated, cache);
    } else {
      gate_backward(dy, cache);
    }
    linear_.backward(p.gate, x, cache.linear, cache.gate, g.gate, dx);
    if (config_.normalise) norm_.backward(p.norm, cache.u, cache.norm, cache.normal, g.norm, cache.u);
    scan_.backward({.q = cache.q, .k = cache.k, .v = cache.v, .decay = cache.decay}, cache.scan, cache.u, dstate,
                   {.q = cache.q, .k = cache.k, .v = cache.v, .decay = cache.decay});
    linear_.backward_add(p.q_proj, x, cache.q, g.q_proj, dx);
    linear_.backward_add(p.k_proj, x, cache.k, g.k_proj, dx);
    linear_.backward_add(p.v_proj, x, cache.v, g.v_proj, dx);
    if (config_.decay != Decay::none)
      for (Index t = 0; t < x.cols(); ++t) values(g.decay_bias) += column(cache.decay, t);
    if (config_.decay == Decay::data_dependent) {
      add_product(g.decay_weight, cache.decay, x);
      weight_gemm_add(p.decay_weight.transpose(), cache.decay, dx);
    }
  }

 private:
  /// n: what the gate multiplies.
  Mat<Scalar>& readout(Cache& cache) const { return config_.normalise ? cache.normal : cache.u; }

  /// Overwrites sigmoid(g) in cache.gate by dg, and the readout n by dn.
  void gate_backward(MatIn<Scalar> dgated, Cache& cache) const {
    constexpr Index kTile = 128;
    alignas(64) Scalar buffer[kTile];
    for (Index t = 0; t < dgated.cols(); ++t)
      for (Index at = 0; at < config_.dim; at += kTile) {
        const Index size = std::min(kTile, config_.dim - at);
        const auto part = [&](auto&& m) { return values(m.data() + t * m.outerStride() + at, size); };
        auto gate = part(cache.gate), n = part(readout(cache));
        auto dn = values(buffer, size);
        dn = part(dgated) * gate;
        gate = dn * n * (Scalar(1) - gate);
        n = dn;
      }
  }

  Config config_;
  LatentScan<Scalar> scan_;
  nn::Linear<Scalar> linear_;
  nn::LayerNorm<Scalar> norm_;
};

}  // namespace qllk::mixers
