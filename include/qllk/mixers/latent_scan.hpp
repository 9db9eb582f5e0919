// The recurrence inside LatentKernel, forward and backward, by scan or by chunks of matrix products.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/prefetch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/compensated_sum.hpp"
#include "qllk/mixers/latent_chunk.hpp"
#include "qllk/mixers/recurrence.hpp"

namespace qllk::mixers {

using linalg::column, linalg::values, linalg::Values;

/// What the recurrence remembers: for each sequence (a column) and head a [head_dim, head_dim] matrix S.
/// The same type holds the gradient of a state.
template <Real Scalar>
struct LatentState {
  Mat<Scalar> memory;  // [head_dim · dim, sequences]
  Mat<Scalar> rest{};  // of cumulative sums: what rounding added too much (add_compensated), likewise; else empty

  /// The tensors that have a gradient.
  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("memory", t.memory...);
    visit("rest", t.rest...);
  }
  Index sequences() const { return memory.cols(); }
};

/// How cumulative sums are kept: add_compensated is the second.
enum class Sums { plain, compensated };

/// Linear-time associative memory, `dim / head_dim` heads of it:
///
///   S_t = a_t S_{t-1} + (1 - a_t) k_t v_tᵀ     (with `decay`; 0 < a_t < 1, one for each head)
///   S_t = S_{t-1} + k_t v_tᵀ                   (without; the cumulative sum)
///   y_t = S_tᵀ q_t
///
/// backward, from dy and the final dS:   dS_t = q_t dy_tᵀ + a_{t+1} dS_{t+1};   dq_t = S_t dy_t,
///   dk_t = w_t dS_t v_t,   dv_t = w_t dS_tᵀ k_t   (w_t the weight of k_t v_tᵀ),
///   da_t = <dS_t, S_{t-1} - k_t v_tᵀ>,   returned as the gradient a (1 - a) da of the logit of a, which stays finite
///
/// Cumulative sums grow without bound. A state that was reset as Sums::compensated keeps them exact over any length.
///
/// head_dim 1 is a scan over [dim] vectors. Larger heads go in chunks of C positions (LatentChunk). Between chunks one
/// S is stored, so that the cost is matrix products. Both are exact; they differ by rounding only.
///
/// Shapes   q, k, v, y: [dim, n]    decay: [heads, n] or empty    n = sequences × length
/// Cost     a position: head_dim 1: 3·dim multiply-adds; else dim·(2·head_dim + 2·C) forward, about 2.5 times that
///          backward
template <Real Scalar>
class LatentScan {
 public:
  using State = LatentState<Scalar>;
  /// What the recurrence reads.
  using Inputs = RecurrenceInputs<Scalar>;
  /// What backward overwrites.
  using Gradients = RecurrenceGrads<Scalar>;

  struct Cache {
    Mat<Scalar> states;  // S before every position (head_dim 1) or chunk [head_dim·dim, chunks × sequences]
    typename LatentChunk<Scalar>::Scratch chunk;
  };

  /// Throws std::invalid_argument unless head_dim divides dim.
  LatentScan(Index dim, Index head_dim) : dim_(dim), head_dim_(head_dim), chunk_(head_dim) {
    if (dim <= 0 || head_dim <= 0 || dim % head_dim != 0)
      throw InvalidArgument("LatentKernel: dim is " + std::to_string(dim) + " and head_dim " +
                            std::to_string(head_dim) + ", expected head_dim to divide dim");
  }

  /// How many heads there are.
  Index heads() const { return dim_ / head_dim_; }
  /// Makes state one of streams that have read nothing.
  void reset(State& state, Index sequences, Sums sums = Sums::plain) const {
    state.memory.setZero(head_dim_ * dim_, sequences);
    if (sums == Sums::compensated) state.rest.setZero(head_dim_ * dim_, sequences);
  }

  /// Writes y, which must be no input's, and advances the state.
  void forward(const Inputs& in, State& state, Cache& cache, MatOut<Scalar> y) const {
    QLLK_ASSERT(state.memory.rows() == head_dim_ * dim_);
    QLLK_ASSERT(in.q.cols() == state.sequences() * length(in, state));
    QLLK_ASSERT(in.decay.size() == 0 || (in.decay.rows() == heads() && in.decay.cols() == in.q.cols()));
    if (head_dim_ == 1) {
      cache.states.resize(dim_, in.q.cols());
      for (Index s = 0; s < state.sequences(); ++s) scan_forward(in, s, state, cache.states, y);
    } else {
      const Chunks chunks{state.sequences(), length(in, state), kChunk};
      cache.states.resize(head_dim_ * dim_, chunks.count());
      chunks.forward([&](const Chunk& c) {
        column(cache.states, c.index) = column(state.memory, c.sequence);
        if (state.rest.size() > 0) column(cache.states, c.index) -= column(state.rest, c.sequence);
        const typename LatentChunk<Scalar>::Memory memory{state.memory.col(c.sequence).data(), rest(state, c.sequence)};
        for (Index h = 0; h < heads(); ++h) chunk_.forward(in, {h, c.begin, c.size}, memory, cache.chunk, y);
      });
    }
  }

  /// Overwrites d: dq, dk, dv and, where there is decay, the gradient of logit(a). Replaces dstate, the gradient of the
  /// final state, by that of the initial state.
  void backward(const Inputs& in, Cache& cache, MatIn<Scalar> dy, State& dstate, Gradients d) const {
    QLLK_ASSERT(dy.cols() == in.q.cols() && d.decay.size() == in.decay.size());
    QLLK_ASSERT(d.q.cols() == in.q.cols() && d.k.cols() == in.q.cols() && d.v.cols() == in.q.cols());
    QLLK_ASSERT(head_dim_ > 1 || cache.states.cols() == in.q.cols());
    if (head_dim_ == 1) {
      for (Index s = 0; s < dstate.sequences(); ++s) scan_backward(in, s, cache.states, dy, dstate, d);
    } else {
      Chunks{dstate.sequences(), length(in, dstate), kChunk}.backward([&](const Chunk& c) {
        const ChunkStates<Scalar> states{cache.states.col(c.index).data(), dstate.memory.col(c.sequence).data()};
        for (Index h = 0; h < heads(); ++h) chunk_.backward(in, {h, c.begin, c.size}, states, dy, cache.chunk, d);
      });
    }
    if (length(in, dstate) > 0 && dstate.rest.size() > 0) dstate.rest = -dstate.memory;
  }

 private:
  static constexpr Index kChunk = LatentChunk<Scalar>::kSize;

  /// Positions of each sequence.
  static Index length(const Inputs& in, const State& state) {
    return state.sequences() > 0 ? in.q.cols() / state.sequences() : 0;
  }

  static Scalar* rest(State& state, Index sequence) {
    return state.rest.size() > 0 ? state.rest.col(sequence).data() : nullptr;
  }

  /// One sequence: S_t of every position, and y_t = S_t ⊙ q_t.
  static void scan_forward(const Inputs& in, Index sequence, State& state, Mat<Scalar>& states, MatOut<Scalar> y) {
    const Index begin = sequence * length(in, state), end = begin + length(in, state);
    auto memory = column(state.memory, sequence);
    Scalar* const lost = rest(state, sequence);
    for (Index t = begin; t < end; ++t) {
      column(states, t) = memory;
      if (lost != nullptr) column(states, t) -= values(lost, memory.size());
      const auto kv = column(in.k, t) * column(in.v, t);
      auto out = column(y, t);
      if (in.decay.size() != 0) {
        memory = kv + column(in.decay, t) * (memory - kv);
      } else if (lost != nullptr) {
        out = kv;
        add_compensated<Scalar>(memory, values(lost, memory.size()), out);
      } else {
        memory += kv;
      }
      out = column(in.q, t) * memory;
    }
  }

  /// One sequence, from its last position to its first, some channels at a time.
  static void scan_backward(const Inputs& in, Index sequence, const Mat<Scalar>& states, MatIn<Scalar> dy,
                            State& dstate, Gradients& d) {
    constexpr Index kTile = 128, kAhead = 2;
    alignas(64) Scalar buffer[kTile], logits[kTile];  // of dv and ddecay, which take the place of what others need
    const bool decays = in.decay.size() != 0;
    const Index begin = sequence * length(in, dstate), end = begin + length(in, dstate);
    auto dmemory = column(dstate.memory, sequence);
    for (Index t = end; t-- > begin;)
      for (Index at = 0; at < dmemory.size(); at += kTile) {
        const Index size = std::min(kTile, dmemory.size() - at);
        const auto part = [&](auto&& m) { return values(m.data() + t * m.outerStride() + at, size); };
        const auto fetch = [&](const auto&... m) {
          (linalg::prefetch(m.data() + (t - kAhead) * m.outerStride() + at, size), ...);
        };
        const auto kt = part(in.k), vt = part(in.v), before = part(states), dyt = part(dy);
        auto ds = values(dmemory.data() + at, size), dvt = values(buffer, size);
        if (t >= kAhead) {  // processors foresee columns that go up; these go down
          fetch(in.q, in.k, in.v, states, dy);
          if (decays) fetch(in.decay);
        }
        ds += dyt * part(in.q);
        if (!decays) {
          part(d.q) = dyt * (before + kt * vt);
          dvt = ds * kt;
          part(d.k) = ds * vt;
        } else {
          const auto a = part(in.decay);
          part(d.q) = dyt * (kt * vt + a * (before - kt * vt));
          auto dlogit = values(logits, size);
          dlogit = ds * (before - kt * vt) * a * (Scalar(1) - a);
          dvt = ds * (Scalar(1) - a) * kt;
          part(d.k) = ds * (Scalar(1) - a) * vt;
          ds *= a;
          part(d.decay) = dlogit;
        }
        part(d.v) = dvt;
      }
  }

  Index dim_, head_dim_;
  LatentChunk<Scalar> chunk_;
};

}  // namespace qllk::mixers
