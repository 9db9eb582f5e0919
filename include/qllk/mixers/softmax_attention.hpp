// The attention of the Transformer.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/growing_columns.hpp"
#include "qllk/mixers/qkv.hpp"
#include "qllk/mixers/rotary.hpp"
#include "qllk/mixers/softmax_tiles.hpp"

namespace qllk::mixers {

/// Causal multi-head softmax attention with rotary positions, over all positions before or the last `window` of them.
///
///   q, k, v = W_{q,k,v} x + b;   of each head and each position t:   q' = R_t q / √head_dim,   k' = R_t k
///   p_tj = exp(q'_t · k'_j) / Σ_i exp(q'_t · k'_i)          i and j over max(0, t + 1 - window) … t
///   u_t  = Σ_j p_tj v_j
///   y_t  = W_o u_t + b_o
///
/// The state is what positions to come can see of k' and v; positions are counted along the stream. A gradient of it
/// may have fewer columns than that: those that are not there, the first ones, are zero.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous
/// Cost     8·dim² FLOP a position and SoftmaxTiles' 4·dim for each position that it sees; backward 2 and 2.5 times
///          that
/// State    2·dim scalars a position of each sequence, of at most window - 1 positions
/// Source   Vaswani et al. 2017, section 3.2; Su et al. 2021 (rotary positions); Dao et al. 2022 (tiles)
template <Real S>
class SoftmaxAttention {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "attention";

  struct Config {
    Index dim = 0;
    Index head_dim = 0;  // 0: the largest divisor of dim up to 64
    Index window = 0;    // positions that one sees, itself among them; 0: all

    template <class Self, class F>
    static void members(Self& c, F&& f) {
      f("head_dim", c.head_dim), f("window", c.window);
    }
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  using Tensors = typename Qkv<Scalar>::template Tensors<Matrix>;
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State {
    std::vector<GrowingColumns<Scalar>> keys, values;  // of each sequence [dim, positions]
    Index position = 0;                                // seen so far

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      (own(t), ...);
      visit("keys", t.keys...);
      visit("values", t.values...);
    }

   private:
    template <class T>
    static void own(T& t) {
      if constexpr (!std::is_const_v<T>)
        for (auto* part : {&t.keys, &t.values})
          for (auto& columns : *part) columns.own();
    }
  };

  struct Cache {
    typename Qkv<Scalar>::Cache qkv;                   // q is q'
    Mat<Scalar> angles;                                // of the positions
    Mat<Scalar> l;                                     // SoftmaxTiles' [n, heads]
    std::vector<GrowingColumns<Scalar>> keys, values;  // all that was seen, that of this forward last
  };

  /// A stream has no end; memory has.
  static Config recommended() { return {.window = 1024}; }

  /// Throws std::invalid_argument unless dim > 0, head_dim is 0 or divides it, and window >= 0.
  explicit SoftmaxAttention(Config config) : SoftmaxAttention(config, config.dim) {}
  /// As a part of another mixer, with y and dy [out, n].
  SoftmaxAttention(Config config, Index out)
      : config_(config),
        head_dim_(head_width("SoftmaxAttention", config.dim, config.head_dim)),
        qkv_(config.dim, out),
        rotary_(head_dim_) {
    if (config.window < 0)
      throw InvalidArgument("SoftmaxAttention: window is " + std::to_string(config.window) + ", expected >= 0");
  }

  /// Of a position that sees `window` of them; without a window, of the projections only.
  double flop() const {
    return qkv_.flop() + 4.0 * static_cast<double>(config_.dim) * static_cast<double>(config_.window);
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    state.position = 0;
    for (auto* part : {&state.keys, &state.values}) {
      part->resize(static_cast<std::size_t>(sequences));
      for (auto& columns : *part) columns.clear(config_.dim);
    }
  }
  Params zeros() const { return qkv_.zeros(); }
  Params init(Random& random) const { return qkv_.init(random); }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    const std::size_t sequences = state.keys.size();
    const Index n = x.cols(), length = sequences > 0 ? n / static_cast<Index>(sequences) : 0;
    QLLK_ASSERT(n == static_cast<Index>(sequences) * length);
    if (n == 0) return;
    qkv_.forward_in(p, x, c.qkv);
    rotary_.angles(state.position, length, c.angles);
    rotary_.rotate(c.angles, c.qkv.q);
    rotary_.rotate(c.angles, c.qkv.k);
    values(c.qkv.q) *= scale();
    c.l.resize(n, config_.dim / head_dim_);
    c.keys.resize(sequences);
    c.values.resize(sequences);
    for (std::size_t s = 0; s < sequences; ++s) {
      const Index at = static_cast<Index>(s) * length;
      const typename SoftmaxTiles<Scalar>::Span span{.offset = state.keys[s].cols(), .window = config_.window};
      see(state.keys[s], c.qkv.k, at, length, c.keys[s]);
      see(state.values[s], c.qkv.v, at, length, c.values[s]);
      for (Index h = 0; h < config_.dim; h += head_dim_)
        SoftmaxTiles<Scalar>::forward(
            {.q = head(c.qkv.q, h, at, length), .k = head(c.keys[s], h), .v = head(c.values[s], h), .span = span},
            head(c.qkv.u, h, at, length), c.l.col(h / head_dim_).data() + at);
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
    const Index n = x.cols();
    if (n == 0) return;
    QLLK_ASSERT(dstate.keys.size() == c.keys.size() && c.qkv.q.cols() == n);
    const Index length = n / std::ssize(c.keys);
    auto du = scratch<Qkv<Scalar>, Scalar>(config_.dim, n);
    qkv_.backward_out(p, c.qkv, dy, g, du);
    for (std::size_t s = 0; s < c.keys.size(); ++s) {
      const Index at = static_cast<Index>(s) * length, all = c.keys[s].cols(), before = all - length;
      const typename SoftmaxTiles<Scalar>::Span span{.offset = before, .window = config_.window};
      auto memory = scratch<SoftmaxAttention, Scalar>(config_.dim, 2 * all);
      auto dk = block(memory, 0, 0, config_.dim, all), dv = block(memory, 0, all, config_.dim, all);
      left(dstate.keys[s], dk);
      left(dstate.values[s], dv);
      for (Index h = 0; h < config_.dim; h += head_dim_)
        SoftmaxTiles<Scalar>::backward(
            {.q = head(c.qkv.q, h, at, length), .k = head(c.keys[s], h), .v = head(c.values[s], h), .span = span},
            {.u = head(c.qkv.u, h, at, length), .l = c.l.col(h / head_dim_).data() + at}, head(du, h, at, length),
            {.q = head(c.qkv.q, h, at, length), .k = head(dk, h), .v = head(dv, h)});
      dstate.keys[s].assign(block(dk, 0, 0, config_.dim, before));
      dstate.values[s].assign(block(dv, 0, 0, config_.dim, before));
      block(c.qkv.k, 0, at, config_.dim, length) = block(dk, 0, before, config_.dim, length);
      block(c.qkv.v, 0, at, config_.dim, length) = block(dv, 0, before, config_.dim, length);
      c.keys[s].release();  // the state may use the memory again
      c.values[s].release();
    }
    values(c.qkv.q) *= scale();
    rotary_.rotate(c.angles, c.qkv.q, true);
    rotary_.rotate(c.angles, c.qkv.k, true);
    qkv_.backward_in(p, x, c.qkv, g, dx);
  }

 private:
  Scalar scale() const { return static_cast<Scalar>(1 / std::sqrt(static_cast<double>(head_dim_))); }

  /// Rows of the head that begins at row h.
  template <class Matrix>
  auto head(Matrix&& m, Index h, Index begin, Index size) const {
    return block(m, h, begin, head_dim_, size);
  }
  template <class Matrix>
  auto head(Matrix&& m, Index h) const {
    return head(m, h, 0, m.cols());
  }

  /// Appends to a state's columns those of one sequence; `seen` is all of them, the state's what later positions can
  /// see.
  void see(GrowingColumns<Scalar>& columns, const Mat<Scalar>& more, Index begin, Index size,
           GrowingColumns<Scalar>& seen) const {
    seen.release();
    columns.append(block(more, 0, begin, config_.dim, size));
    seen = columns.share();
    if (config_.window > 0) columns.keep(config_.window - 1);
  }

  /// The gradient of all that was seen, from that of what was left of it.
  template <class Matrix>
  void left(const GrowingColumns<Scalar>& dleft, Matrix&& dseen) const {
    const Index size = std::min(dleft.cols(), dseen.cols()), rest = dseen.cols() - size;
    block(dseen, 0, 0, config_.dim, rest).setZero();
    block(dseen, 0, rest, config_.dim, size) = block(dleft, 0, dleft.cols() - size, config_.dim, size);
  }

  Config config_;
  Index head_dim_;
  Qkv<Scalar> qkv_;
  Rotary<Scalar> rotary_;
};

}  // namespace qllk::mixers
