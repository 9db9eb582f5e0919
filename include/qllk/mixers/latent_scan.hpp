// The recurrence inside LatentKernel, forward and backward, by scan or by chunks of matrix products.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/compensated_sum.hpp"
#include "qllk/mixers/latent_chunk.hpp"

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
/// head_dim 1 is a scan over [dim] vectors. Larger heads go in chunks of C positions (LatentChunk), and between chunks
/// one S is kept, so that the cost is matrix products. Both are exact; they differ by rounding only.
///
/// Shapes   q, k, v, y: [dim, n]    decay: [heads, n] or empty    n = sequences × length
/// Cost     a position: head_dim 1: 3·dim multiply-adds; else dim·(2·head_dim + 2·C) forward, about 2.5 times that
///          backward
template <Real Scalar>
class LatentScan {
 public:
  using State = LatentState<Scalar>;

  struct Cache {
    Mat<Scalar>
        kept;  // head_dim 1: S_t before every position; else S before every chunk [head_dim·dim, chunks × sequences]
    typename LatentChunk<Scalar>::Scratch chunk;
  };

  /// Throws std::invalid_argument unless head_dim divides dim.
  LatentScan(Index dim, Index head_dim) : dim_(dim), head_dim_(head_dim), chunk_(head_dim) {
    if (dim <= 0 || head_dim <= 0 || dim % head_dim != 0)
      throw InvalidArgument("LatentKernel: dim is " + std::to_string(dim) + " and head_dim " +
                            std::to_string(head_dim) + ", expected head_dim to divide dim");
  }

  Index heads() const { return dim_ / head_dim_; }
  void reset(State& state, Index sequences, Sums sums = Sums::plain) const {
    state.memory.setZero(head_dim_ * dim_, sequences);
    if (sums == Sums::compensated) state.rest.setZero(head_dim_ * dim_, sequences);
  }

  /// Writes y, advances the state.
  void forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, State& state, Cache& cache,
               MatOut<Scalar> y) const {
    QLLK_ASSERT(state.memory.rows() == head_dim_ * dim_);
    const Index sequences = state.sequences(), length = sequences > 0 ? q.cols() / sequences : 0;
    QLLK_ASSERT(q.cols() == sequences * length);
    QLLK_ASSERT(decay.size() == 0 || (decay.rows() == heads() && decay.cols() == q.cols()));
    if (head_dim_ == 1) {
      cache.kept.resize(dim_, q.cols());
      for (Index s = 0; s < sequences; ++s) scan_forward(q, k, v, decay, s * length, length, state, s, cache.kept, y);
    } else {
      const Index chunks = (length + kChunk - 1) / kChunk;
      cache.kept.resize(head_dim_ * dim_, chunks * sequences);
      for (Index s = 0; s < sequences; ++s)
        for (Index c = 0; c < chunks; ++c) {
          column(cache.kept, s * chunks + c) = column(state.memory, s);
          if (state.rest.size() > 0) column(cache.kept, s * chunks + c) -= column(state.rest, s);
          const Index begin = c * kChunk, size = std::min(kChunk, length - begin);
          for (Index h = 0; h < heads(); ++h)
            chunk_.forward(q, k, v, decay, h, s * length + begin, size, {state.memory.col(s).data(), rest(state, s)},
                           cache.chunk, y);
        }
    }
  }

  /// Overwrites dq, dk, dv and, where there is decay, ddecay (the gradient of logit(a)), which may be q, k, v and decay
  /// (each its own); replaces dstate, the gradient of the final state, by that of the initial state.
  void backward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Cache& cache, MatIn<Scalar> dy,
                State& dstate, MatOut<Scalar> dq, MatOut<Scalar> dk, MatOut<Scalar> dv, MatOut<Scalar> ddecay) const {
    const Index sequences = dstate.sequences(), length = sequences > 0 ? q.cols() / sequences : 0;
    QLLK_ASSERT(dy.cols() == q.cols() && ddecay.size() == decay.size());
    QLLK_ASSERT(dq.cols() == q.cols() && dk.cols() == q.cols() && dv.cols() == q.cols());
    QLLK_ASSERT(head_dim_ > 1 || cache.kept.cols() == q.cols());
    if (head_dim_ == 1) {
      for (Index s = 0; s < sequences; ++s)
        scan_backward(q, k, v, decay, s * length, length, cache.kept, dy, column(dstate.memory, s), dq, dk, dv, ddecay);
    } else {
      const Index chunks = (length + kChunk - 1) / kChunk;
      for (Index s = 0; s < sequences; ++s)
        for (Index c = chunks; c-- > 0;) {
          const Index begin = c * kChunk, size = std::min(kChunk, length - begin);
          for (Index h = 0; h < heads(); ++h)
            chunk_.backward(q, k, v, decay, h, s * length + begin, size, cache.kept.col(s * chunks + c).data(),
                            dstate.memory.col(s).data(), cache.chunk, dy, dq, dk, dv, ddecay);
        }
    }
    if (length > 0 && dstate.rest.size() > 0) dstate.rest = -dstate.memory;
  }

 private:
  static constexpr Index kChunk = LatentChunk<Scalar>::kSize;

  static Scalar* rest(State& state, Index sequence) {
    return state.rest.size() > 0 ? state.rest.col(sequence).data() : nullptr;
  }

  static void scan_forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index begin,
                           Index length, State& state, Index sequence, Mat<Scalar>& kept, MatOut<Scalar> y) {
    auto memory = column(state.memory, sequence);
    Scalar* const lost = rest(state, sequence);
    for (Index t = begin; t < begin + length; ++t) {
      column(kept, t) = memory;
      if (lost != nullptr) column(kept, t) -= values(lost, memory.size());
      const auto kv = column(k, t) * column(v, t);
      if (decay.size() != 0)
        memory = kv + column(decay, t) * (memory - kv);
      else if (lost != nullptr)
        add_compensated<Scalar>(memory, values(lost, memory.size()), kv);
      else
        memory += kv;
      column(y, t) = column(q, t) * memory;
    }
  }

  static void scan_backward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index begin,
                            Index length, const Mat<Scalar>& kept, MatIn<Scalar> dy, Values<Scalar> dmemory,
                            MatOut<Scalar> dq, MatOut<Scalar> dk, MatOut<Scalar> dv, MatOut<Scalar> ddecay) {
    constexpr Index kTile = 128, kAhead = 2, kLine = 64 / Index{sizeof(Scalar)};
    alignas(64) Scalar buffer[kTile], logits[kTile];  // of dv and ddecay, which take the place of what others need
    for (Index t = begin + length; t-- > begin;)
      for (Index at = 0; at < dmemory.size(); at += kTile) {
        const Index size = std::min(kTile, dmemory.size() - at);
        const auto part = [&](auto&& m) { return values(m.data() + t * m.outerStride() + at, size); };
        const auto ahead = [&](const auto&... m) {
          for (Index i = at; i < at + size; i += kLine)
            (__builtin_prefetch(m.data() + (t - kAhead) * m.outerStride() + i), ...);
        };
        const auto kt = part(k), vt = part(v), before = part(kept), dyt = part(dy);
        auto ds = values(dmemory.data() + at, size), dvt = values(buffer, size);
        if (t >= kAhead) {  // processors foresee columns that go up; these go down
          ahead(q, k, v, kept, dy);
          if (decay.size() != 0) ahead(decay);
        }
        ds += dyt * part(q);
        if (decay.size() == 0) {
          part(dq) = dyt * (before + kt * vt);
          dvt = ds * kt;
          part(dk) = ds * vt;
        } else {
          const auto a = part(decay);
          part(dq) = dyt * (kt * vt + a * (before - kt * vt));
          auto dlogit = values(logits, size);
          dlogit = ds * (before - kt * vt) * a * (Scalar(1) - a);
          dvt = ds * (Scalar(1) - a) * kt;
          part(dk) = ds * (Scalar(1) - a) * vt;
          ds *= a;
          part(ddecay) = dlogit;
        }
        part(dv) = dvt;
      }
  }

  Index dim_, head_dim_;
  LatentChunk<Scalar> chunk_;
};

}  // namespace qllk::mixers
