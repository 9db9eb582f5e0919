// Attention whose kernel is a product of features, so that it is linear in the length.
#pragma once

#include <string_view>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/compensated_sum.hpp"
#include "qllk/mixers/latent_scan.hpp"
#include "qllk/mixers/qkv.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::scratch, linalg::values;

/// Causal linear attention with a normaliser.
///
///   q, k, v = W_{q,k,v} x + b
///   φ(x) = elu(x) + 1 = x + 1 where x > 0, else exp x;   of each head:
///   S_t = S_{t-1} + φ(k_t) v_tᵀ,   z_t = z_{t-1} + φ(k_t)
///   u_t = S_tᵀ φ(q_t) / (φ(q_t) · z_t + ε)                                             ε = 10⁻³
///   y_t = W_o u_t + b_o
///
///   backward, with m_t = φ(q_t) · z_t + ε:   the numerator's gradient is du_t / m_t, LatentScan's; and
///   dm_t = -<du_t, u_t> / m_t,   dφ(q_t) += dm_t z_t,   dz_t = dz_{t+1} + dm_t φ(q_t),   dφ(k_t) += dz_t
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous
/// Cost     8·dim²·n FLOP and LatentScan's; backward about twice that
/// State    2·(head_dim + 1)·dim scalars a sequence, whatever the length: both sums grow without bound, and
///          add_compensated keeps them exact
/// Source   Katharopoulos et al. 2020, "Transformers are RNNs", sections 3.2 and 3.3
template <Real S>
class LinearAttention {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "linear_attention";

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
  using Tensors = typename Qkv<Scalar>::template Tensors<Matrix>;
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State : LatentState<Scalar> {
    Mat<Scalar> sum;       // z [dim, sequences]
    Mat<Scalar> sum_rest;  // what rounding added too much to it

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      LatentState<Scalar>::fields(visit, t...);
      visit("sum", t.sum...);
      visit("sum_rest", t.sum_rest...);
    }
  };

  struct Cache {
    typename Qkv<Scalar>::Cache qkv;  // q and k after φ
    Mat<Scalar> sum, sum_rest;        // z before the first position
    Mat<Scalar> divisor;              // m [heads, n]; in backward its gradient
    typename LatentScan<Scalar>::Cache scan;
  };

  static Config recommended() { return {}; }

  /// Throws std::invalid_argument unless dim > 0 and head_dim is 0 or divides it.
  explicit LinearAttention(Config config)
      : config_(config),
        head_dim_(head_width("LinearAttention", config.dim, config.head_dim)),
        qkv_(config.dim, config.dim),
        scan_(config.dim, head_dim_) {}

  double flop() const {
    return qkv_.flop() +
           4.0 * static_cast<double>(config_.dim) * static_cast<double>(head_dim_ + LatentChunk<Scalar>::kSize);
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    scan_.reset(state, sequences, Sums::compensated);
    state.sum.setZero(config_.dim, sequences);
    state.sum_rest.setZero(config_.dim, sequences);
  }
  Params zeros() const { return qkv_.zeros(); }
  Params init(Random& random) const { return qkv_.init(random); }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    const Index n = x.cols(), sequences = state.sequences(), length = sequences > 0 ? n / sequences : 0;
    qkv_.forward_in(p, x, c.qkv);
    for (auto* part : {&c.qkv.q, &c.qkv.k}) {
      auto all = values(*part);
      all = (all > Scalar(0)).select(all + Scalar(1), all.min(Scalar(0)).exp());
    }
    scan_.forward({.q = c.qkv.q, .k = c.qkv.k, .v = c.qkv.v}, state, c.scan, c.qkv.u);
    c.sum = state.sum;
    c.sum_rest = state.sum_rest;
    c.divisor.resize(scan_.heads(), n);
    for (Index s = 0; s < sequences; ++s)
      for (Index t = s * length; t < (s + 1) * length; ++t) {
        add_compensated<Scalar>(column(state.sum, s), column(state.sum_rest, s), column(c.qkv.k, t));
        for (Index h = 0; h < scan_.heads(); ++h) {
          c.divisor(h, t) = (head(c.qkv.q, h, t) * head(state.sum, h, s)).sum() + static_cast<Scalar>(kEpsilon);
          head(c.qkv.u, h, t) /= c.divisor(h, t);
        }
      }
    qkv_.forward_out(p, c.qkv, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of the cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to x, dy and the cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    const Index n = x.cols(), sequences = dstate.sequences(), length = sequences > 0 ? n / sequences : 0;
    auto memory = scratch<LinearAttention, Scalar>(config_.dim, 3 * n);
    auto du = block(memory, 0, 0, config_.dim, n), dq = block(memory, 0, n, config_.dim, n),
         dk = block(memory, 0, 2 * n, config_.dim, n);
    qkv_.backward_out(p, c.qkv, dy, g, du);
    for (Index t = 0; t < n; ++t)
      for (Index h = 0; h < scan_.heads(); ++h) {
        const Scalar scale = Scalar(1) / c.divisor(h, t);
        c.divisor(h, t) = -(head(du, h, t) * head(c.qkv.u, h, t)).sum() * scale;
        head(du, h, t) *= scale;
      }
    scan_.backward({.q = c.qkv.q, .k = c.qkv.k, .v = c.qkv.v}, c.scan, du, dstate, {.q = dq, .k = dk, .v = c.qkv.v});
    for (Index s = 0; s < sequences; ++s) {
      for (Index t = (s + 1) * length; t-- > s * length;) {
        for (Index h = 0; h < scan_.heads(); ++h) head(dstate.sum, h, s) += c.divisor(h, t) * head(c.qkv.q, h, t);
        column(dk, t) += column(dstate.sum, s);
      }
      for (Index t = s * length; t < (s + 1) * length; ++t) {
        add_compensated<Scalar>(column(c.sum, s), column(c.sum_rest, s), column(c.qkv.k, t));
        for (Index h = 0; h < scan_.heads(); ++h) head(dq, h, t) += c.divisor(h, t) * head(c.sum, h, s);
        auto q = column(c.qkv.q, t), k = column(c.qkv.k, t);
        q = column(dq, t) * q.min(Scalar(1));  // φ' is φ below 1, and 1 above
        k = column(dk, t) * k.min(Scalar(1));
      }
    }
    if (length > 0) dstate.sum_rest = -dstate.sum;
    qkv_.backward_in(p, x, c.qkv, g, dx);
  }

 private:
  static constexpr double kEpsilon = 1e-3;

  template <class Matrix>
  auto head(Matrix&& m, Index h, Index t) const {
    return values(m.data() + t * m.outerStride() + h * head_dim_, head_dim_);
  }

  Config config_;
  Index head_dim_;
  Qkv<Scalar> qkv_;
  LatentScan<Scalar> scan_;
};

}  // namespace qllk::mixers
