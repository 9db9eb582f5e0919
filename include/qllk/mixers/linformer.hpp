// Attention to a fixed number of summaries of the past.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/qkv.hpp"
#include "qllk/mixers/rotary.hpp"
#include "qllk/mixers/softmax_tiles.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm_add, linalg::scratch, linalg::values;

/// Causal Linformer. The original projects the keys and values of a whole sequence of known length to a few slots, E K
/// and F V: each slot holds all positions, those to come as well, so it is not causal. Here a stream is cut into
/// segments of `segment` positions; E and F project segments that are complete, and within its own segment a position
/// sees all up to itself.
///
///   q, k, v = W_{q,k,v} x + b
///   q', k'  = R q / √head_dim, R k        of each head; R_j: rotary position j of the segment
///   P       = Σ_j k'_j E_jᵀ               over the positions of a segment [dim, slots]
///   A       = mean of P                   over the segments complete so far; B likewise of v and F
///   u       = softmax attention           to the slots A, B (once a segment is complete) and to k', v of the segment
///                                         up to itself
///   y       = W_o u + b_o
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous    E, F: [slots, segment]
/// Cost     8·dim² FLOP a position, 4·dim·slots to fill the slots, 4·dim·(slots + segment / 2) to attend
/// State    2·dim·(segment + 2·slots) scalars a sequence, whatever the length
/// Source   Wang et al. 2020, "Linformer", section 4, with E and F shared by heads
template <Real S>
class Linformer {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "linformer";

  struct Config {
    Index dim = 0;
    Index head_dim = 0;   // 0: the largest divisor of dim up to 64
    Index segment = 128;  // positions of a segment
    Index slots = 32;     // summaries that a complete segment leaves

    template <class Self, class F>
    static void members(Self& c, F&& f) {
      f("head_dim", c.head_dim), f("segment", c.segment), f("slots", c.slots);
    }
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors : Qkv<Scalar>::template Tensors<Matrix> {
    Mat<Scalar> key_slots, value_slots;  // E and F

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      Qkv<Scalar>::template Tensors<Matrix>::fields(visit, t...);
      visit("key_slots", t.key_slots...);
      visit("value_slots", t.value_slots...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  /// What is remembered of keys, or of values, of all sequences side by side.
  struct Memory {
    Mat<Scalar> segment;  // [dim, segment × sequences], those of the segment before where this one has none yet
    Mat<Scalar> filling;  // P so far [dim, slots × sequences]
    Mat<Scalar> slots;    // A [dim, slots × sequences]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("segment", t.segment...);
      visit("filling", t.filling...);
      visit("slots", t.slots...);
    }
  };
  struct State {
    Memory keys, values;  // of the open segment and of the summaries
    Index filled = 0;     // positions of the segment
    Index segments = 0;   // that are complete

    Index sequences(Index slots) const { return keys.slots.cols() / slots; }
    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("keys", t.keys...);
      visit("values", t.values...);
    }
  };

  struct Cache {
    typename Qkv<Scalar>::Cache qkv;  // q is q'
    Mat<Scalar> keys, values;         // all that a piece of a segment sees, one piece after the other
    Mat<Scalar> l;                    // SoftmaxTiles' [n, heads]
    Index filled = 0, segments = 0;   // before the first position
  };

  static Config recommended() { return {}; }

  /// Throws std::invalid_argument unless dim, segment and slots are positive and head_dim is 0 or divides dim.
  explicit Linformer(Config config)
      : config_(config),
        head_dim_(head_width("Linformer", config.dim, config.head_dim)),
        qkv_(config.dim, config.dim),
        rotary_(head_dim_) {
    if (config.segment <= 0 || config.slots <= 0)
      throw InvalidArgument("Linformer: segment is " + std::to_string(config.segment) + " and slots is " +
                            std::to_string(config.slots) + ", expected both > 0");
    rotary_.angles(0, config.segment, angles_);
  }

  double flop() const {
    return qkv_.flop() +
           2.0 * static_cast<double>(config_.dim) * static_cast<double>(4 * config_.slots + config_.segment);
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    for (auto* part : {&state.keys, &state.values}) {
      part->segment.setZero(config_.dim, config_.segment * sequences);
      part->filling.setZero(config_.dim, config_.slots * sequences);
      part->slots.setZero(config_.dim, config_.slots * sequences);
    }
    state.filled = state.segments = 0;
  }
  Params zeros() const {
    const Mat<Scalar> none = Mat<Scalar>::Zero(config_.slots, config_.segment);
    return {qkv_.zeros(), none, none};
  }
  /// A slot of a segment of independent keys is as large as one of them.
  Params init(Random& random) const {
    Params p = zeros();
    static_cast<typename Qkv<Scalar>::Params&>(p) = qkv_.init(random);
    for (auto* part : {&p.key_slots, &p.value_slots})
      fill_uniform(*part, std::sqrt(3 / static_cast<double>(config_.segment)), random);
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    const Index n = x.cols(), sequences = state.sequences(config_.slots), length = sequences > 0 ? n / sequences : 0;
    QLLK_ASSERT(n == sequences * length);
    c.filled = state.filled;
    c.segments = state.segments;
    if (n == 0) return;
    qkv_.forward_in(p, x, c.qkv);
    rotate(c, length, false);
    values(c.qkv.q) *= scale();
    c.l.resize(n, config_.dim / head_dim_);
    Index columns = 0;
    for_each_piece(c, length, [&](const Piece& piece) { columns = piece.end(); });
    for (auto* part : {&c.keys, &c.values}) part->resize(config_.dim, columns * sequences);
    for (Index s = 0; s < sequences; ++s)
      for_each_piece(c, length, [&](const Piece& piece) {
        const Index at = s * length + piece.begin;
        const auto keys = seen(c.keys, piece, s * columns), values = seen(c.values, piece, s * columns);
        remember(state.keys, block(c.qkv.k, 0, at, config_.dim, piece.size), p.key_slots, piece, s, keys);
        remember(state.values, block(c.qkv.v, 0, at, config_.dim, piece.size), p.value_slots, piece, s, values);
        for (Index h = 0; h < config_.dim; h += head_dim_)
          SoftmaxTiles<Scalar>::forward({.q = head(c.qkv.q, h, at, piece.size),
                                         .k = head(keys, h),
                                         .v = head(values, h),
                                         .span = {.offset = piece.slots + piece.filled}},
                                        head(c.qkv.u, h, at, piece.size), c.l.col(h / head_dim_).data() + at);
      });
    state.segments += (state.filled + length) / config_.segment;
    state.filled = (state.filled + length) % config_.segment;
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
    const Index sequences = dstate.sequences(config_.slots), length = n / sequences,
                columns = c.keys.cols() / sequences;
    auto du = scratch<Qkv<Scalar>, Scalar>(config_.dim, n);
    qkv_.backward_out(p, c.qkv, dy, g, du);
    for (Index s = 0; s < sequences; ++s)
      for_each_piece_back(c, length, [&](const Piece& piece) {
        const Index at = s * length + piece.begin, all = piece.all();
        const auto keys = seen(c.keys, piece, s * columns), values = seen(c.values, piece, s * columns);
        auto memory = scratch<Linformer, Scalar>(config_.dim, 2 * all);
        auto dkeys = block(memory, 0, 0, config_.dim, all), dvalues = block(memory, 0, all, config_.dim, all);
        memory.setZero();
        for (Index h = 0; h < config_.dim; h += head_dim_)
          SoftmaxTiles<Scalar>::backward(
              {.q = head(c.qkv.q, h, at, piece.size),
               .k = head(keys, h),
               .v = head(values, h),
               .span = {.offset = piece.slots + piece.filled}},
              {.u = head(c.qkv.u, h, at, piece.size), .l = c.l.col(h / head_dim_).data() + at},
              head(du, h, at, piece.size),
              {.q = head(c.qkv.q, h, at, piece.size), .k = head(dkeys, h), .v = head(dvalues, h)});
        remember_backward(keys, p.key_slots, piece, s, dkeys,
                          {dstate.keys, g.key_slots, block(c.qkv.k, 0, at, config_.dim, piece.size)});
        remember_backward(values, p.value_slots, piece, s, dvalues,
                          {dstate.values, g.value_slots, block(c.qkv.v, 0, at, config_.dim, piece.size)});
      });
    values(c.qkv.q) *= scale();
    rotate(c, length, true);
    qkv_.backward_in(p, x, c.qkv, g, dx);
  }

 private:
  /// Some positions of one segment, and what they see: slots, then the segment's.
  struct Piece {
    Index begin, size;  // in the sequence
    Index filled;       // positions of the segment before
    Index segment;      // the how manieth, from 0
    Index column;       // of what it sees, among the pieces of a sequence
    Index slots;        // that it sees

    Index all() const { return slots + filled + size; }
    Index end() const { return column + all(); }
  };
  Piece piece(const Cache& c, Index begin, Index length, Index column) const {
    const Index position = c.filled + begin, filled = position % config_.segment,
                segment = c.segments + position / config_.segment;
    return {begin,  std::min(config_.segment - filled, length - begin),
            filled, segment,
            column, segment > 0 ? config_.slots : 0};
  }
  template <class F>
  void for_each_piece(const Cache& c, Index length, F&& f) const {
    for (Index begin = 0, column = 0; begin < length;) {
      const Piece next = piece(c, begin, length, column);
      f(next);
      begin += next.size;
      column = next.end();
    }
  }
  /// The last first.
  template <class F>
  void for_each_piece_back(const Cache& c, Index length, F&& f) const {
    Index column = 0;
    for_each_piece(c, length, [&](const Piece& piece) { column = piece.end(); });
    for (Index end = length; end > 0;) {
      const Index into = (c.filled + end - 1) % config_.segment;  // the last position's place in its segment
      Piece last = piece(c, std::max<Index>(end - 1 - into, 0), length, 0);
      last.column = column - last.all();
      f(last);
      end = last.begin;
      column = last.column;
    }
  }

  /// Lays out in `seen` what the piece sees of keys or of values, of which `more` are its own, and advances the memory.
  template <class More, class Seen>
  void remember(Memory& memory, const More& more, const Mat<Scalar>& projection, const Piece& piece, Index s,
                Seen seen) const {
    const Index dim = config_.dim, slots = config_.slots;
    auto segment = block(memory.segment, 0, s * config_.segment, dim, config_.segment);
    auto filling = block(memory.filling, 0, s * slots, dim, slots), A = block(memory.slots, 0, s * slots, dim, slots);
    block(segment, 0, piece.filled, dim, piece.size) = more;
    block(seen, 0, 0, dim, piece.slots) = block(A, 0, 0, dim, piece.slots);
    block(seen, 0, piece.slots, dim, piece.filled + piece.size) = block(segment, 0, 0, dim, piece.filled + piece.size);
    gemm_add(more, block(projection, 0, piece.filled, slots, piece.size).transpose(), filling);
    if (piece.filled + piece.size < config_.segment) return;
    A += (filling - A) / static_cast<Scalar>(piece.segment + 1);
    filling.setZero();
  }

  /// Gradients of keys, or of values: of the memory, which becomes that before the piece; of the projection, which is
  /// added to; of the piece's own, which is overwritten.
  struct MemoryGradients {
    Memory& memory;
    Mat<Scalar>& projection;
    MatOut<Scalar> more;
  };

  /// The backward pass of remember, from dseen, the gradient of what the piece saw.
  template <class Seen, class DSeen>
  void remember_backward(const Seen& seen, const Mat<Scalar>& projection, const Piece& piece, Index s,
                         const DSeen& dseen, MemoryGradients d) const {
    const Index dim = config_.dim, slots = config_.slots, before = piece.slots + piece.filled;
    auto dsegment = block(d.memory.segment, 0, s * config_.segment, dim, config_.segment);
    auto dfilling = block(d.memory.filling, 0, s * slots, dim, slots),
         dA = block(d.memory.slots, 0, s * slots, dim, slots);
    if (piece.filled + piece.size == config_.segment) {
      dfilling = dA / static_cast<Scalar>(piece.segment + 1);
      dA -= dfilling;
    }
    auto overwritten = block(dsegment, 0, piece.filled, dim, piece.size);
    d.more = block(dseen, 0, before, dim, piece.size) + overwritten;
    overwritten.setZero();
    gemm_add(dfilling, block(projection, 0, piece.filled, slots, piece.size), d.more);
    gemm_add(dfilling.transpose(), block(seen, 0, before, dim, piece.size),
             block(d.projection, 0, piece.filled, slots, piece.size));
    block(dsegment, 0, 0, dim, piece.filled) += block(dseen, 0, piece.slots, dim, piece.filled);
    block(dA, 0, 0, dim, piece.slots) += block(dseen, 0, 0, dim, piece.slots);
  }

  void rotate(Cache& c, Index length, bool back) const {
    for (Index at = 0; at < c.qkv.q.cols(); at += length)
      for (auto* part : {&c.qkv.q, &c.qkv.k})
        rotary_.rotate(angles_, block(*part, 0, at, config_.dim, length), back, c.filled);
  }
  Scalar scale() const { return static_cast<Scalar>(1 / std::sqrt(static_cast<double>(head_dim_))); }

  auto seen(Mat<Scalar>& all, const Piece& piece, Index first) const {
    return block(all, 0, first + piece.column, config_.dim, piece.all());
  }
  /// Rows of the head that begins at row h.
  template <class Matrix>
  auto head(Matrix&& m, Index h, Index begin, Index size) const {
    return block(m, h, begin, head_dim_, size);
  }
  template <class Matrix>
  auto head(Matrix&& m, Index h) const {
    return head(m, h, 0, m.cols());
  }

  Config config_;
  Index head_dim_;
  Qkv<Scalar> qkv_;
  Rotary<Scalar> rotary_;
  Mat<Scalar> angles_;  // of the positions of a segment
};

}  // namespace qllk::mixers
