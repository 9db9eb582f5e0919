// Some positions of one head of GatedDelta, by matrix products.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/chunk.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm, linalg::gemm_add, linalg::part, linalg::values;

/// C positions of the gated delta rule at once, for one head of width d, with S as [key, value]:
///
///   S_t = α_t (I - β_t k_t k_tᵀ) S_{t-1} + β_t k_t v_tᵀ
///       = α_t S_{t-1} + k_t u_tᵀ                            u_t = β_t (v_t - α_t S_{t-1}ᵀ k_t)
///   y_t = S_tᵀ q_t
///
/// With γ_i = α_1 … α_i, G_ji = α_{j+1} … α_i (0 for j > i), S the state before the chunk, and A the part
/// above the diagonal of KᵀK ∘ G diag(β), the u of all positions are the solution of a triangular system:
///
///   U  = (V - Sᵀ K diag(γ)) diag(β) (I + A)⁻¹
///   Y  = U (KᵀQ ∘ G) + Sᵀ Q diag(γ)
///   S' = γ_C S + K diag(G_1C … G_CC) Uᵀ
///
/// Shapes   Q, K, V, Y: [d, C] of q, k, v, y; C <= kSize    S: [d, d]    log α, β: [heads, n]
/// Cost     d·(3.5·C + 3·d) multiply-adds a position forward, about 3 times that backward
/// Source   Yang et al. 2025, section 3.3; Yang et al. 2024 (DeltaNet), section 3.2, with the system solved for U
///          itself
template <Real Scalar>
class DeltaChunk {
 public:
  /// Positions of a chunk.
  static constexpr Index kSize = 32;

  /// Always sized for a whole chunk.
  struct Scratch {
    Vec<Scalar> share;  // γ
    Mat<Scalar> weight, gram, system, score, dscore, dsystem;
    Mat<Scalar> q, k, v, error, u, du, scaled, from_state, into_state;
  };

  /// Of heads of that width.
  explicit DeltaChunk(Index head_dim) : head_dim_(head_dim) {}

  /// Writes the head's rows of y at positions begin … begin + size - 1, and advances its S; memory is that of all
  /// heads.
  void forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> log_decay, MatIn<Scalar> beta,
               Index head, Index begin, Index size, Scalar* memory, Scratch& scratch, MatOut<Scalar> y) const {
    const Index d = head_dim_, at = head * d;
    const auto Q = block(q, at, begin, d, size), K = block(k, at, begin, d, size), V = block(v, at, begin, d, size);
    auto Y = block(y, at, begin, d, size);
    Eigen::Map<Mat<Scalar>> S(memory + at * d, d, d);
    scratch.weight.resize(kSize, kSize);
    scratch.share.resize(kSize);
    chunk_decays(log_decay, head, begin, size, scratch.weight, scratch.share);
    written(K, V, beta, S, head, begin, size, scratch);
    const auto G = block(scratch.weight, 0, 0, size, size);
    auto score = square(scratch.score, size);
    auto U = wide(scratch.u, size), scaled = wide(scratch.scaled, size);
    gemm(K.transpose(), Q, score);
    for (Index i = 0; i < size; ++i) {
      column(score, i) *= column(G, i);
      column(scaled, i) = column(Q, i) * scratch.share[i];
    }
    gemm(S.transpose(), scaled, Y);
    gemm_add(U, score, Y);
    for (Index i = 0; i < size; ++i) column(scaled, i) = column(K, i) * G(i, size - 1);
    values(S) *= scratch.share[size - 1];
    gemm_add(scaled, U.transpose(), S);
  }

  /// Overwrites those of dq, dk, dv, dlog_decay and dbeta (the gradient of logit(β)), which may be q, k, v, log_decay
  /// and beta; turns dS after the chunk into dS before it. `before` holds S before the chunk, of all heads.
  void backward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> log_decay, MatIn<Scalar> beta,
                Index head, Index begin, Index size, const Scalar* before, Scalar* dmemory, Scratch& scratch,
                MatIn<Scalar> dy, MatOut<Scalar> dq, MatOut<Scalar> dk, MatOut<Scalar> dv, MatOut<Scalar> dlog_decay,
                MatOut<Scalar> dbeta) const {
    const Index d = head_dim_, at = head * d;
    auto Q = wide(scratch.q, size), K = wide(scratch.k, size), V = wide(scratch.v, size);
    Q = block(q, at, begin, d, size);
    K = block(k, at, begin, d, size);
    V = block(v, at, begin, d, size);
    const auto dY = block(dy, at, begin, d, size);
    auto dQ = block(dq, at, begin, d, size), dK = block(dk, at, begin, d, size), dV = block(dv, at, begin, d, size);
    const Eigen::Map<const Mat<Scalar>> S(before + at * d, d, d);
    Eigen::Map<Mat<Scalar>> dS(dmemory + at * d, d, d);
    scratch.weight.resize(kSize, kSize);
    scratch.share.resize(kSize);
    chunk_decays(log_decay, head, begin, size, scratch.weight, scratch.share);
    written(K, V, beta, S, head, begin, size, scratch);
    const auto G = block(scratch.weight, 0, 0, size, size);
    const auto A = square(scratch.system, size), gram = square(scratch.gram, size);
    const auto U = wide(scratch.u, size), error = wide(scratch.error, size);
    const auto& share = scratch.share;
    auto score = square(scratch.score, size), dscore = square(scratch.dscore, size),
         dsystem = square(scratch.dsystem, size);
    auto dU = wide(scratch.du, size), scaled = wide(scratch.scaled, size), from_state = wide(scratch.from_state, size),
         into_state = wide(scratch.into_state, size);

    // Y = U (KᵀQ ∘ G) + Sᵀ Q γ
    gemm(K.transpose(), Q, score);
    gemm(U.transpose(), dY, dscore);
    for (Index i = 0; i < size; ++i) column(score, i) *= column(G, i);
    gemm(dY, score.transpose(), dU);
    for (Index i = 0; i < size; ++i) {
      column(score, i) *= column(dscore, i);  // d(log G)
      column(dscore, i) *= column(G, i);
    }
    gemm(K, dscore, dQ);
    gemm(Q, dscore.transpose(), dK);
    gemm(S, dY, from_state);
    // S' = γ_C S + K G_C Uᵀ
    gemm(dS, U, into_state);
    gemm(dS.transpose(), K, scaled);
    for (Index i = 0; i < size; ++i) {
      const Scalar last = G(i, size - 1);
      column(dQ, i) += column(from_state, i) *= share[i];
      column(dK, i) += column(into_state, i) *= last;
      column(dU, i) += column(scaled, i) * last;
    }
    // of the logarithms: γ_i and column i of G add to `gained`, row i of G to `passed`; d(log α_s) is a sum over i >=
    // s
    alignas(64) Scalar gained[kSize], passed[kSize], dbetas[kSize];
    Scalar later = share[size - 1] * (values(S) * values(dS)).sum();
    for (Index i = 0; i < size; ++i) {
      gained[i] = (column(from_state, i) * column(Q, i)).sum();
      passed[i] = (column(into_state, i) * column(K, i)).sum();
      later += passed[i];
    }
    for (Index i = 0; i < size; ++i) column(scaled, i) = column(Q, i) * share[i];
    values(dS) *= share[size - 1];
    gemm_add(scaled, dY.transpose(), dS);

    // U (I + A) = B: from here on dU is dB
    solve_unit_lower(A, dU);
    gemm(U.transpose(), dU, dsystem);
    for (Index i = 0; i < size; ++i) {  // of KᵀK, through A = KᵀK ∘ G β
      const Scalar b = beta(head, begin + i);
      auto dlog = column(score, i), dA = part(dsystem, 0, i, i);
      const auto products = part(gram, 0, i, i);
      dA *= -part(G, 0, i, i);
      dbetas[i] = (column(dU, i) * column(error, i)).sum() + (dA * products).sum();
      dA *= b;
      part(score, 0, i, i) += dA * products;
      part(dsystem, i, i, size - i) = 0;
      gained[i] += dlog.sum();
      values(passed, size) += dlog;
    }
    gemm_add(K, dsystem, dK);
    gemm_add(K, dsystem.transpose(), dK);
    // B = (V - Sᵀ K γ) β
    for (Index i = 0; i < size; ++i) column(dV, i) = column(dU, i) * beta(head, begin + i);
    gemm(S, dV, from_state);
    for (Index i = 0; i < size; ++i) {
      column(dK, i) -= column(from_state, i) *= share[i];
      gained[i] -= (column(from_state, i) * column(K, i)).sum();
      column(scaled, i) = column(K, i) * -share[i];
    }
    gemm_add(scaled, dV.transpose(), dS);
    for (Index s = size; s-- > 0;) {
      later += gained[s] - passed[s];
      dlog_decay(head, begin + s) = later;
      const Scalar b = beta(head, begin + s);
      dbeta(head, begin + s) = dbetas[s] * b * (Scalar(1) - b);
    }
  }

 private:
  /// Fills scratch.u with U, and for backward gram with KᵀK, system with A, error with V - Sᵀ K diag(γ).
  template <class Block, class State>
  void written(const Block& K, const Block& V, MatIn<Scalar> beta, const State& S, Index head, Index begin, Index size,
               Scratch& scratch) const {
    auto gram = square(scratch.gram, size), A = square(scratch.system, size);
    auto U = wide(scratch.u, size), error = wide(scratch.error, size);
    gemm(K.transpose(), K, gram);
    gemm(S.transpose(), K, error);
    for (Index i = 0; i < size; ++i) {
      const Scalar b = beta(head, begin + i);
      part(A, 0, i, i) = part(gram, 0, i, i) * part(scratch.weight, 0, i, i) * b;
      column(error, i) = column(V, i) - column(error, i) * scratch.share[i];
      column(U, i) = column(error, i) * b;
    }
    solve_unit_upper(A, U);
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
