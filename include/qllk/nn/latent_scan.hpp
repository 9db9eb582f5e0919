// The recurrence inside LatentKernel, forward and backward, by scan or by chunks of matrix products.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "qllk/core/gemm.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"

namespace qllk::nn {

/// What the recurrence remembers: for each sequence (a column) and head a [head_dim, head_dim] matrix S.
/// The same type holds the gradient of a state.
template <Real Scalar>
struct LatentState {
  Mat<Scalar> memory;  // [head_dim · dim, sequences]

  /// The tensors that have a gradient.
  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("memory", t.memory...);
  }
  Index sequences() const { return memory.cols(); }
};

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
/// head_dim 1 is a scan over [dim] vectors. Larger heads go in chunks of C positions: inside a chunk the recurrence is a
/// masked C×C product, between chunks one S is kept, so that the cost is matrix products (Dao and Gu 2024, section 6;
/// Yang et al. 2024, section 3). Both are exact; they differ by rounding only.
///
/// Shapes   q, k, v, y: [dim, n]    decay: [heads, n] or empty    n = sequences × length
/// Cost     a position: head_dim 1: 3·dim multiply-adds; else dim·(2·head_dim + 2·C) forward, about 2.5 times that backward
template <Real Scalar>
class LatentScan {
 public:
  using State = LatentState<Scalar>;

  struct Cache {
    Mat<Scalar>
        kept;  // head_dim 1: S_t before every position; else S before every chunk [head_dim·dim, chunks × sequences]
    // scratch of one chunk, always sized for a whole one
    Vec<Scalar> share, dlog_w;
    Mat<Scalar> weight, score, masked, dmasked, scaled, from_state, into_state, q, k, v;
  };

  /// Throws std::invalid_argument unless head_dim divides dim.
  LatentScan(Index dim, Index head_dim) : dim_(dim), head_dim_(head_dim) {
    if (dim <= 0 || head_dim <= 0 || dim % head_dim != 0)
      throw std::invalid_argument("LatentKernel: dim is " + std::to_string(dim) + " and head_dim " +
                                  std::to_string(head_dim) + ", expected head_dim to divide dim");
  }

  Index heads() const { return dim_ / head_dim_; }
  void reset(State& state, Index sequences) const { state.memory.setZero(head_dim_ * dim_, sequences); }

  /// Writes y, advances the state.
  void forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, State& state, Cache& cache,
               MatOut<Scalar> y) const {
    QLLK_ASSERT(state.memory.rows() == head_dim_ * dim_);
    const Index sequences = state.sequences(), length = sequences > 0 ? q.cols() / sequences : 0;
    QLLK_ASSERT(q.cols() == sequences * length);
    QLLK_ASSERT(decay.size() == 0 || (decay.rows() == heads() && decay.cols() == q.cols()));
    if (head_dim_ == 1) {
      cache.kept.resize(dim_, q.cols());
      for (Index s = 0; s < sequences; ++s)
        scan_forward(q, k, v, decay, s * length, length, column(state.memory, s), cache.kept, y);
    } else {
      const Index chunks = (length + kChunk - 1) / kChunk;
      cache.kept.resize(head_dim_ * dim_, chunks * sequences);
      for (Index s = 0; s < sequences; ++s)
        for (Index c = 0; c < chunks; ++c) {
          column(cache.kept, s * chunks + c) = column(state.memory, s);
          const Index begin = c * kChunk, size = std::min(kChunk, length - begin);
          for (Index h = 0; h < heads(); ++h)
            chunk_forward(q, k, v, decay, h, s * length + begin, size, state.memory.col(s).data(), cache, y);
        }
    }
  }

  /// Overwrites dq, dk, dv and, where there is decay, ddecay (the gradient of logit(a)), which may be q, k, v and decay (each its
  /// own); turns dstate from that of the final state into that of the initial one.
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
            chunk_backward(q, k, v, decay, h, s * length + begin, size, cache.kept.col(s * chunks + c).data(),
                           dstate.memory.col(s).data(), cache, dy, dq, dk, dv, ddecay);
        }
    }
  }

 private:
  // the C×C and C×head_dim products then cost about the same for heads of 16 and 32
  static constexpr Index kChunk = 32;

  static void scan_forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index begin,
                           Index length, Values<Scalar> memory, Mat<Scalar>& kept, MatOut<Scalar> y) {
    for (Index t = begin; t < begin + length; ++t) {
      column(kept, t) = memory;
      const auto kv = column(k, t) * column(v, t);
      if (decay.size() == 0)
        memory += kv;
      else
        memory = kv + column(decay, t) * (memory - kv);
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

  /// Fills cache.share with the products a_1 … a_i, and cache.weight with the upper-triangular
  /// M_ji = a_{j+1} … a_i w_j, the share of k_j v_jᵀ in S_i.
  void masks(MatIn<Scalar> decay, Index head, Index begin, Index size, Cache& cache) const {
    cache.weight.resize(kChunk, kChunk);
    cache.share.resize(kChunk);
    Scalar share = 1;
    for (Index i = 0; i < size; ++i) {
      const Scalar a = decay.size() == 0 ? Scalar(1) : decay(head, begin + i);
      cache.share[i] = share *= a;
      for (Index j = 0; j < i; ++j) cache.weight(j, i) = cache.weight(j, i - 1) * a;
      cache.weight(i, i) = decay.size() == 0 ? Scalar(1) : Scalar(1) - a;
      for (Index j = i + 1; j < size; ++j) cache.weight(j, i) = 0;
    }
  }

  static auto square(Mat<Scalar>& scratch, Index size) {
    scratch.resize(kChunk, kChunk);
    return block(scratch, 0, 0, size, size);
  }
  auto wide(Mat<Scalar>& scratch, Index size) const {
    scratch.resize(head_dim_, kChunk);
    return block(scratch, 0, 0, head_dim_, size);
  }

  void chunk_forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index head, Index begin,
                     Index size, Scalar* memory, Cache& cache, MatOut<Scalar> y) const {
    const Index d = head_dim_, at = head * d;
    const auto Q = block(q, at, begin, d, size), K = block(k, at, begin, d, size), V = block(v, at, begin, d, size);
    auto Y = block(y, at, begin, d, size);
    Eigen::Map<Mat<Scalar>> S(memory + at * d, d, d);
    masks(decay, head, begin, size, cache);
    const auto M = block(cache.weight, 0, 0, size, size);
    auto score = square(cache.score, size);
    auto scaled = wide(cache.scaled, size);
    gemm(K.transpose(), Q, score);
    for (Index i = 0; i < size; ++i) {
      column(score, i) *= column(M, i);
      column(scaled, i) = column(Q, i) * cache.share[i];
    }
    gemm(S.transpose(), scaled, Y);
    gemm_add(V, score, Y);
    for (Index i = 0; i < size; ++i) column(scaled, i) = column(K, i) * M(i, size - 1);
    values(S) *= cache.share[size - 1];
    gemm_add(scaled, V.transpose(), S);
  }

  void chunk_backward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index head, Index begin,
                      Index size, const Scalar* before, Scalar* dmemory, Cache& cache, MatIn<Scalar> dy,
                      MatOut<Scalar> dq, MatOut<Scalar> dk, MatOut<Scalar> dv, MatOut<Scalar> ddecay) const {
    const Index d = head_dim_, at = head * d;
    auto Q = wide(cache.q, size), K = wide(cache.k, size), V = wide(cache.v, size);
    Q = block(q, at, begin, d, size);
    K = block(k, at, begin, d, size);
    V = block(v, at, begin, d, size);
    const auto dY = block(dy, at, begin, d, size);
    auto dQ = block(dq, at, begin, d, size), dK = block(dk, at, begin, d, size), dV = block(dv, at, begin, d, size);
    const Eigen::Map<const Mat<Scalar>> S(before + at * d, d, d);
    Eigen::Map<Mat<Scalar>> dS(dmemory + at * d, d, d);
    masks(decay, head, begin, size, cache);
    const auto M = block(cache.weight, 0, 0, size, size);

    // inside the chunk: Y = V (KᵀQ ∘ M)
    auto score = square(cache.score, size), masked = square(cache.masked, size), dmasked = square(cache.dmasked, size);
    gemm(K.transpose(), Q, score);
    gemm(V.transpose(), dY, dmasked);
    for (Index i = 0; i < size; ++i) {
      column(masked, i) = column(score, i) * column(M, i);
      column(dmasked, i) *= column(M, i);
    }
    gemm(dY, masked.transpose(), dV);
    gemm(K, dmasked, dQ);
    gemm(Q, dmasked.transpose(), dK);

    // from the state before: Y += Sᵀ Q share;   into the state after: S' = share_C S + K w Vᵀ
    auto from_state = wide(cache.from_state, size), into_state = wide(cache.into_state, size),
         scaled = wide(cache.scaled, size);
    gemm(S, dY, from_state);
    gemm(dS, V, into_state);
    gemm(dS.transpose(), K, scaled);
    for (Index i = 0; i < size; ++i) {
      const Scalar last = M(i, size - 1);
      column(dQ, i) += column(from_state, i) *= cache.share[i];
      column(dK, i) += column(into_state, i) *= last;
      column(dV, i) += column(scaled, i) * last;
    }

    const Scalar share = cache.share[size - 1];
    if (decay.size() != 0) {
      Vec<Scalar>& dlog_w = cache.dlog_w;
      dlog_w.setZero(kChunk);
      Scalar later = share * (values(S) * values(dS)).sum();
      for (Index i = 0; i < size; ++i) {
        column(score, i) *= column(dmasked, i);  // d(log M_ji)
        values(dlog_w.data(), size) += column(score, i);
        const Scalar into = (column(into_state, i) * column(K, i)).sum();
        dlog_w[i] += into;
        later += into;
      }
      for (Index s = size; s-- > 0;) {  // later = d(log a_s)
        later += column(score, s).sum() + (column(from_state, s) * column(Q, s)).sum() - dlog_w[s];
        const Scalar a = decay(head, begin + s);
        ddecay(head, begin + s) = later * (Scalar(1) - a) - dlog_w[s] * a;
      }
    }

    for (Index i = 0; i < size; ++i) column(scaled, i) = column(Q, i) * cache.share[i];
    values(dS) *= share;
    gemm_add(scaled, dY.transpose(), dS);
  }

  Index dim_, head_dim_;
};

}  // namespace qllk::nn
