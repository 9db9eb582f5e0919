// Some positions of one head of LatentScan, by matrix products.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm, linalg::gemm_add, linalg::values;

/// C positions of the recurrence of LatentScan at once, for one head of width d. With M_ji = a_{j+1} … a_i w_j, the
/// share of k_j v_jᵀ in S_i (0 for j > i), and s_i = a_1 … a_i, that of the state S before the chunk:
///
///   Y  = V (Kᵀ Q ∘ M) + Sᵀ Q diag(s)
///   S' = s_C S + K diag(M_1C … M_CC) Vᵀ
///
/// Shapes   Q, K, V, Y: [d, C] of q, k, v, y; C <= kSize    S: [d, d]
/// Cost     2·d·C·(d + C) multiply-adds forward, about 2.5 times that backward
/// Source   Dao and Gu 2024, section 6; Yang et al. 2024, section 3
template <Real Scalar>
class LatentChunk {
 public:
  // the C×C and C×head_dim products then cost about the same for heads of 16 and 32
  static constexpr Index kSize = 32;

  /// Always sized for a whole chunk.
  struct Scratch {
    Vec<Scalar> share, dlog_w;
    Mat<Scalar> weight, score, masked, dmasked, scaled, from_state, into_state, q, k, v, sum;
  };

  /// S of all heads of a sequence, and what add_compensated keeps of it: null where decay bounds it.
  struct Memory {
    Scalar* sums;
    Scalar* rest;
  };

  explicit LatentChunk(Index head_dim) : head_dim_(head_dim) {}

  /// Writes the head's rows of y at positions begin … begin + size - 1, and advances its S.
  void forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index head, Index begin,
               Index size, Memory memory, Scratch& scratch, MatOut<Scalar> y) const {
    const Index d = head_dim_, at = head * d;
    const auto Q = block(q, at, begin, d, size), K = block(k, at, begin, d, size), V = block(v, at, begin, d, size);
    auto Y = block(y, at, begin, d, size);
    Eigen::Map<Mat<Scalar>> S(memory.sums + at * d, d, d);
    masks(decay, head, begin, size, scratch);
    const auto M = block(scratch.weight, 0, 0, size, size);
    auto score = square(scratch.score, size);
    auto scaled = wide(scratch.scaled, size);
    gemm(K.transpose(), Q, score);
    for (Index i = 0; i < size; ++i) {
      column(score, i) *= column(M, i);
      column(scaled, i) = column(Q, i) * scratch.share[i];
    }
    if (memory.rest != nullptr) {
      scratch.sum = S - Eigen::Map<const Mat<Scalar>>(memory.rest + at * d, d, d);
      gemm(scratch.sum.transpose(), scaled, Y);
    } else {
      gemm(S.transpose(), scaled, Y);
    }
    gemm_add(V, score, Y);
    for (Index i = 0; i < size; ++i) column(scaled, i) = column(K, i) * M(i, size - 1);
    if (memory.rest != nullptr) {
      gemm(scaled, V.transpose(), scratch.sum);
      return add_compensated<Scalar>(values(S), values(memory.rest + at * d, d * d), values(scratch.sum));
    }
    values(S) *= scratch.share[size - 1];
    gemm_add(scaled, V.transpose(), S);
  }

  /// Overwrites those of dq, dk, dv and, where there is decay, ddecay, which may be q, k, v and decay; turns dS after
  /// the chunk into dS before it. `before` holds S before the chunk, of all heads.
  void backward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index head, Index begin,
                Index size, const Scalar* before, Scalar* dmemory, Scratch& scratch, MatIn<Scalar> dy,
                MatOut<Scalar> dq, MatOut<Scalar> dk, MatOut<Scalar> dv, MatOut<Scalar> ddecay) const {
    const Index d = head_dim_, at = head * d;
    auto Q = wide(scratch.q, size), K = wide(scratch.k, size), V = wide(scratch.v, size);
    Q = block(q, at, begin, d, size);
    K = block(k, at, begin, d, size);
    V = block(v, at, begin, d, size);
    const auto dY = block(dy, at, begin, d, size);
    auto dQ = block(dq, at, begin, d, size), dK = block(dk, at, begin, d, size), dV = block(dv, at, begin, d, size);
    const Eigen::Map<const Mat<Scalar>> S(before + at * d, d, d);
    Eigen::Map<Mat<Scalar>> dS(dmemory + at * d, d, d);
    masks(decay, head, begin, size, scratch);
    const auto M = block(scratch.weight, 0, 0, size, size);

    // inside the chunk: Y = V (KᵀQ ∘ M)
    auto score = square(scratch.score, size), masked = square(scratch.masked, size),
         dmasked = square(scratch.dmasked, size);
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
    auto from_state = wide(scratch.from_state, size), into_state = wide(scratch.into_state, size),
         scaled = wide(scratch.scaled, size);
    gemm(S, dY, from_state);
    gemm(dS, V, into_state);
    gemm(dS.transpose(), K, scaled);
    for (Index i = 0; i < size; ++i) {
      const Scalar last = M(i, size - 1);
      column(dQ, i) += column(from_state, i) *= scratch.share[i];
      column(dK, i) += column(into_state, i) *= last;
      column(dV, i) += column(scaled, i) * last;
    }

    const Scalar share = scratch.share[size - 1];
    if (decay.size() != 0) {
      Vec<Scalar>& dlog_w = scratch.dlog_w;
      dlog_w.setZero(kSize);
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

    for (Index i = 0; i < size; ++i) column(scaled, i) = column(Q, i) * scratch.share[i];
    values(dS) *= share;
    gemm_add(scaled, dY.transpose(), dS);
  }

 private:
  /// Fills scratch.share with the products a_1 … a_i, and scratch.weight with the upper-triangular
  /// M_ji = a_{j+1} … a_i w_j, the share of k_j v_jᵀ in S_i.
  void masks(MatIn<Scalar> decay, Index head, Index begin, Index size, Scratch& scratch) const {
    scratch.weight.resize(kSize, kSize);
    scratch.share.resize(kSize);
    Scalar share = 1;
    for (Index i = 0; i < size; ++i) {
      const Scalar a = decay.size() == 0 ? Scalar(1) : decay(head, begin + i);
      scratch.share[i] = share *= a;
      for (Index j = 0; j < i; ++j) scratch.weight(j, i) = scratch.weight(j, i - 1) * a;
      scratch.weight(i, i) = decay.size() == 0 ? Scalar(1) : Scalar(1) - a;
      for (Index j = i + 1; j < size; ++j) scratch.weight(j, i) = 0;
    }
  }

  static auto square(Mat<Scalar>& matrix, Index size) {
    matrix.resize(kSize, kSize);
    return block(matrix, 0, 0, size, size);
  }
  auto wide(Mat<Scalar>& matrix, Index size) const {
    matrix.resize(head_dim_, kSize);
    return block(matrix, 0, 0, head_dim_, size);
  }

  Index head_dim_;
};

}  // namespace qllk::mixers
