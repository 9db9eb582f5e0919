// One chunk of one head of LatentScan, by matrix products.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/chunk.hpp"
#include "qllk/mixers/recurrence.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm, linalg::gemm_add, linalg::values;

/// C positions of the recurrence of LatentScan at once, for one head of width d. With M_ji = a_{j+1} … a_i w_j, the
/// share of k_j v_jᵀ in S_i (0 for j > i), and s_i = a_1 … a_i, that of the state S before the chunk:
///
///   Y  = V (Kᵀ Q ∘ M) + Sᵀ Q diag(s)
///   S' = s_C S + K diag(M_1C … M_CC) Vᵀ
///
/// Shapes   Q, K, V, Y: [d, C] of q, k, v, y; C <= kSize    S: [d, d]    decay: a, or empty
/// Cost     2·d·C·(d + C) multiply-adds forward, about 2.5 times that backward
/// Source   Dao and Gu 2024, section 6; Yang et al. 2024, section 3
template <Real Scalar>
class LatentChunk : private HeadViews<Scalar, 32> {
  using Views = HeadViews<Scalar, 32>;
  using Views::across_backward, Views::carry_backward, Views::rows, Views::square, Views::state, Views::wide;

 public:
  /// What the recurrence reads.
  using Inputs = RecurrenceInputs<Scalar>;
  /// What backward overwrites.
  using Gradients = RecurrenceGrads<Scalar>;

  /// Positions of a chunk: the C×C and C×head_dim products then cost about the same for heads of 16 and 32.
  static constexpr Index kSize = 32;

  /// Always sized for a whole chunk.
  struct Scratch {
    Vec<Scalar> share, dlog_w;                   // s; the gradient of log w
    Mat<Scalar> weight, score, masked, dmasked;  // M, KᵀQ, KᵀQ ∘ M and the gradient of KᵀQ
    Mat<Scalar> scaled, from_state, into_state, sum;
    Mat<Scalar> q, k, v;  // copies, as gradients may take the place of what they are of
  };

  /// S of all heads of a sequence, and what add_compensated keeps of it: null where decay bounds it.
  struct Memory {
    Scalar* sums;  // S
    Scalar* rest;  // what rounding added too much, or null
  };

  /// Of heads of that width.
  explicit LatentChunk(Index head_dim) : Views(head_dim) {}

  /// Writes the head's rows of y at the chunk's positions, and advances its S; memory is that of all heads.
  void forward(const Inputs& in, HeadChunk chunk, Memory memory, Scratch& scratch, MatOut<Scalar> y) const {
    const Index size = chunk.size;
    const auto Q = rows(in.q, chunk), K = rows(in.k, chunk), V = rows(in.v, chunk);
    auto Y = rows(y, chunk);
    auto S = state(memory.sums, chunk);
    find_weights(in.decay, chunk, scratch);
    const auto M = block(scratch.weight, 0, 0, size, size);
    auto score = square(scratch.score, size);
    auto scaled = wide(scratch.scaled, size);
    gemm(K.transpose(), Q, score);
    for (Index i = 0; i < size; ++i) {
      column(score, i) *= column(M, i);
      column(scaled, i) = column(Q, i) * scratch.share[i];
    }
    if (memory.rest != nullptr) {
      scratch.sum.resize(S.rows(), S.cols());
      values(scratch.sum) = values(S) - values(state(memory.rest, chunk));
      gemm(scratch.sum.transpose(), scaled, Y);
    } else {
      gemm(S.transpose(), scaled, Y);
    }
    gemm_add(V, score, Y);
    for (Index i = 0; i < size; ++i) column(scaled, i) = column(K, i) * M(i, size - 1);
    if (memory.rest != nullptr) {
      gemm(scaled, V.transpose(), scratch.sum);
      return add_compensated<Scalar>(values(S), values(state(memory.rest, chunk)), values(scratch.sum));
    }
    values(S) *= scratch.share[size - 1];
    gemm_add(scaled, V.transpose(), S);
  }

  /// Overwrites the head's rows of d at the chunk's positions: dq, dk, dv and, where there is decay, the gradient of
  /// logit(a). Turns dS after the chunk into dS before it.
  void backward(const Inputs& in, HeadChunk chunk, ChunkStates<Scalar> states, MatIn<Scalar> dy, Scratch& scratch,
                Gradients& d) const {
    const Index size = chunk.size;
    const auto S = state(states.before, chunk);
    auto dS = state(states.gradient, chunk);
    const auto dY = rows(dy, chunk);
    wide(scratch.q, size) = rows(in.q, chunk);
    wide(scratch.k, size) = rows(in.k, chunk);
    wide(scratch.v, size) = rows(in.v, chunk);
    find_weights(in.decay, chunk, scratch);
    inside_backward(dY, chunk, scratch, d);
    across_backward(states, chunk, dY, {wide(scratch.v, size), rows(d.v, chunk)}, scratch, d);
    if (in.decay.size() != 0) decay_backward(S, dS, in.decay, chunk, scratch, d.decay);
    carry_backward(states, chunk, dY, scratch);
  }

 private:
  /// From Y = V P with P = KᵀQ ∘ M, and dP = VᵀdY:
  ///
  ///   dV = dY Pᵀ,   dQ = K (dP ∘ M),   dK = Q (dP ∘ M)ᵀ
  template <class Block>
  void inside_backward(const Block& dY, HeadChunk chunk, Scratch& scratch, Gradients& d) const {
    const Index size = chunk.size;
    const auto Q = wide(scratch.q, size), K = wide(scratch.k, size), V = wide(scratch.v, size);
    const auto M = block(scratch.weight, 0, 0, size, size);
    auto score = square(scratch.score, size), masked = square(scratch.masked, size),
         dmasked = square(scratch.dmasked, size);
    gemm(K.transpose(), Q, score);
    gemm(V.transpose(), dY, dmasked);
    for (Index i = 0; i < size; ++i) {
      column(masked, i) = column(score, i) * column(M, i);
      column(dmasked, i) *= column(M, i);
    }
    gemm(dY, masked.transpose(), rows(d.v, chunk));
    gemm(K, dmasked, rows(d.q, chunk));
    gemm(Q, dmasked.transpose(), rows(d.k, chunk));
  }

  /// Through the logarithms, with m_i = M_iC. a_s is a factor of M_ji where j < s <= i, and of s_i where s <= i:
  ///
  ///   d(log M_ji) = M_ji (KᵀQ ∘ VᵀdY)_ji, and <k_j, (dS' V diag(m))_j> more where i = C
  ///   d(log s_i)  = <q_i, (S dY diag(s))_i>, and s_C <S, dS'> more where i = C
  ///   d(log w_j)  = Σ_i d(log M_ji)
  ///   d(log a_s)  = Σ_{i >= s} d(log s_i) + Σ_{j < s <= i} d(log M_ji)
  ///   d(logit a)  = (1 - a) d(log a) - a d(log w),   w = 1 - a
  template <class Before, class After>
  void decay_backward(const Before& S, const After& dS, MatIn<Scalar> decay, HeadChunk chunk, Scratch& scratch,
                      MatOut<Scalar> ddecay) const {
    const Index size = chunk.size;
    const auto Q = wide(scratch.q, size), K = wide(scratch.k, size);
    const auto from_state = wide(scratch.from_state, size), into_state = wide(scratch.into_state, size);
    const auto dmasked = square(scratch.dmasked, size);
    auto dlog_m = square(scratch.score, size);
    Vec<Scalar>& dlog_w = scratch.dlog_w;
    dlog_w.setZero(kSize);
    Scalar dlog_a = scratch.share[size - 1] * (values(S) * values(dS)).sum();
    for (Index i = 0; i < size; ++i) {
      column(dlog_m, i) *= column(dmasked, i);
      values(dlog_w.data(), size) += column(dlog_m, i);
      const Scalar into = (column(into_state, i) * column(K, i)).sum();
      dlog_w[i] += into;
      dlog_a += into;
    }
    for (Index s = size; s-- > 0;) {
      dlog_a += column(dlog_m, s).sum() + (column(from_state, s) * column(Q, s)).sum() - dlog_w[s];
      const Scalar a = decay(chunk.head, chunk.begin + s);
      ddecay(chunk.head, chunk.begin + s) = dlog_a * (Scalar(1) - a) - dlog_w[s] * a;
    }
  }

  /// Fills scratch.share with s, and scratch.weight with the upper-triangular M.
  void find_weights(MatIn<Scalar> decay, HeadChunk chunk, Scratch& scratch) const {
    scratch.weight.resize(kSize, kSize);
    scratch.share.resize(kSize);
    Scalar share = 1;
    for (Index i = 0; i < chunk.size; ++i) {
      const Scalar a = decay.size() == 0 ? Scalar(1) : decay(chunk.head, chunk.begin + i);
      scratch.share[i] = share *= a;
      for (Index j = 0; j < i; ++j) scratch.weight(j, i) = scratch.weight(j, i - 1) * a;
      scratch.weight(i, i) = decay.size() == 0 ? Scalar(1) : Scalar(1) - a;
      for (Index j = i + 1; j < chunk.size; ++j) scratch.weight(j, i) = 0;
    }
  }
};

}  // namespace qllk::mixers
