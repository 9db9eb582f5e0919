// One chunk of one head of GatedDelta, by matrix products.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/chunk.hpp"
#include "qllk/mixers/recurrence.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm, linalg::gemm_add, linalg::part, linalg::values;

/// C positions of the gated delta rule at once, for one head of width d, with S as [key, value]:
///
///   S_t = α_t (I - β_t k_t k_tᵀ) S_{t-1} + β_t k_t v_tᵀ = α_t S_{t-1} + k_t u_tᵀ
///   u_t = β_t (v_t - α_t S_{t-1}ᵀ k_t)
///   y_t = S_tᵀ q_t
///
/// With γ_i = α_1 … α_i, G_ji = α_{j+1} … α_i (0 for j > i), S the state before the chunk, and A the part
/// above the diagonal of KᵀK ∘ G diag(β), the u of all positions are the solution of a triangular system:
///
///   U  = (V - Sᵀ K diag(γ)) diag(β) (I + A)⁻¹
///   Y  = U (KᵀQ ∘ G) + Sᵀ Q diag(γ)
///   S' = γ_C S + K diag(G_1C … G_CC) Uᵀ
///
/// Shapes   Q, K, V, Y: [d, C] of q, k, v, y; C <= kSize    S: [d, d]    decay: log α, beta: β
/// Cost     d·(3.5·C + 3·d) multiply-adds a position forward, about 3 times that backward
/// Source   Yang et al. 2025, section 3.3; Yang et al. 2024 (DeltaNet), section 3.2, with the system solved for U
///          itself
template <Real Scalar>
class DeltaChunk : private HeadViews<Scalar, 32> {
  using Views = HeadViews<Scalar, 32>;
  using Views::across_backward, Views::carry_backward, Views::rows, Views::square, Views::state, Views::wide;

 public:
  /// What the recurrence reads.
  using Inputs = RecurrenceInputs<Scalar>;
  /// What backward overwrites.
  using Gradients = RecurrenceGrads<Scalar>;

  /// Positions of a chunk.
  static constexpr Index kSize = 32;

  /// Always sized for a whole chunk.
  struct Scratch {
    Vec<Scalar> share;                   // γ
    Vec<Scalar> gained, passed;          // d(log γ_i) + Σ_j d(log G_ji) and Σ_i d(log G_ji)
    Vec<Scalar> dbeta;                   // the gradient of β
    Mat<Scalar> weight, gram, system;    // G, KᵀK, A
    Mat<Scalar> score, dscore, dsystem;  // KᵀQ ∘ G, and gradients of KᵀQ and KᵀK
    Mat<Scalar> q, k, v, error, u, du;   // error is V - SᵀK diag(γ)
    Mat<Scalar> scaled, from_state, into_state;
  };

  /// Of heads of that width.
  explicit DeltaChunk(Index head_dim) : Views(head_dim) {}

  /// Writes the head's rows of y at the chunk's positions, and advances its S; memory is that of all heads.
  void forward(const Inputs& in, HeadChunk chunk, Scalar* memory, Scratch& scratch, MatOut<Scalar> y) const {
    const Index size = chunk.size;
    const auto Q = rows(in.q, chunk), K = rows(in.k, chunk), V = rows(in.v, chunk);
    auto Y = rows(y, chunk);
    auto S = state(memory, chunk);
    find_decays(in.decay, chunk, scratch);
    solve_updates(K, V, S, in.beta, chunk, scratch);
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

  /// Overwrites the head's rows of d at the chunk's positions: dq, dk, dv, d(log α) and d(logit β). Turns dS after
  /// the chunk into dS before it.
  void backward(const Inputs& in, HeadChunk chunk, ChunkStates<Scalar> states, MatIn<Scalar> dy, Scratch& scratch,
                Gradients& d) const {
    const Index size = chunk.size;
    const auto S = state(states.before, chunk);
    auto dS = state(states.gradient, chunk);
    const auto dY = rows(dy, chunk);
    auto Q = wide(scratch.q, size), K = wide(scratch.k, size), V = wide(scratch.v, size);
    Q = rows(in.q, chunk);
    K = rows(in.k, chunk);
    V = rows(in.v, chunk);
    find_decays(in.decay, chunk, scratch);
    solve_updates(K, V, S, in.beta, chunk, scratch);
    inside_backward(dY, chunk, scratch, d);
    across_backward(states, chunk, dY, {wide(scratch.u, size), wide(scratch.du, size)}, scratch, d);
    const Scalar through = across_decays(S, dS, size, scratch);
    carry_backward(states, chunk, dY, scratch);  // error_backward adds -K diag(γ) dVᵀ
    system_backward(in.beta, chunk, scratch, d);
    error_backward(S, dS, in.beta, chunk, scratch, d);
    decay_backward(through, in.beta, chunk, scratch, d);
  }

 private:
  /// From Y = U P with P = KᵀQ ∘ G, and dP = UᵀdY:
  ///
  ///   dU = dY Pᵀ,   dQ = K (dP ∘ G),   dK = Q (dP ∘ G)ᵀ,   d(log G) = P ∘ dP, left in score
  template <class Block>
  void inside_backward(const Block& dY, HeadChunk chunk, Scratch& scratch, Gradients& d) const {
    const Index size = chunk.size;
    const auto Q = wide(scratch.q, size), K = wide(scratch.k, size), U = wide(scratch.u, size);
    const auto G = block(scratch.weight, 0, 0, size, size);
    auto score = square(scratch.score, size), dscore = square(scratch.dscore, size);
    gemm(K.transpose(), Q, score);
    gemm(U.transpose(), dY, dscore);
    for (Index i = 0; i < size; ++i) column(score, i) *= column(G, i);
    gemm(dY, score.transpose(), wide(scratch.du, size));
    for (Index i = 0; i < size; ++i) {
      column(score, i) *= column(dscore, i);
      column(dscore, i) *= column(G, i);
    }
    gemm(K, dscore, rows(d.q, chunk));
    gemm(Q, dscore.transpose(), rows(d.k, chunk));
  }

  /// What the logarithms get from across_backward, with g_i = G_iC:
  ///
  ///   d(log γ_i) = <q_i, (S dY diag(γ))_i>,   d(log G_iC) = <k_i, (dS' U diag(g))_i>
  ///
  /// Returns Σ_i d(log G_iC) + γ_C <S, dS'>, which every α gets: a factor of γ_C or on the way from i to C.
  template <class Before, class After>
  Scalar across_decays(const Before& S, const After& dS, Index size, Scratch& scratch) const {
    const auto Q = wide(scratch.q, size), K = wide(scratch.k, size);
    const auto from_state = wide(scratch.from_state, size), into_state = wide(scratch.into_state, size);
    Scalar through = scratch.share[size - 1] * (values(S) * values(dS)).sum();
    for (Index i = 0; i < size; ++i) {
      scratch.gained[i] = (column(from_state, i) * column(Q, i)).sum();
      scratch.passed[i] = (column(into_state, i) * column(K, i)).sum();
      through += scratch.passed[i];
    }
    return through;
  }

  /// From U (I + A) = E diag(β), with E the error, R = KᵀK and A = R ∘ G diag(β) above the diagonal:
  ///
  ///   dB = dU (I + Aᵀ)⁻¹, which takes the place of dU,   dA = -UᵀdB
  ///   dβ_i = <dB_i, E_i> + Σ_j (dA ∘ R ∘ G)_ji,   dR = dA ∘ G diag(β)
  ///   dK += K (dR + dRᵀ),   d(log G) += dR ∘ R
  void system_backward(MatIn<Scalar> beta, HeadChunk chunk, Scratch& scratch, Gradients& d) const {
    const Index size = chunk.size;
    const auto K = wide(scratch.k, size), U = wide(scratch.u, size), error = wide(scratch.error, size);
    const auto A = square(scratch.system, size), gram = square(scratch.gram, size);
    const auto G = block(scratch.weight, 0, 0, size, size);
    auto dB = wide(scratch.du, size), dK = rows(d.k, chunk);
    auto dlog_g = square(scratch.score, size), dsystem = square(scratch.dsystem, size);
    solve_unit_lower(A, dB);
    gemm(U.transpose(), dB, dsystem);
    for (Index i = 0; i < size; ++i) {
      const Scalar b = beta(chunk.head, chunk.begin + i);
      auto dA = part(dsystem, 0, i, i);
      const auto products = part(gram, 0, i, i);
      dA *= -part(G, 0, i, i);
      scratch.dbeta[i] = (column(dB, i) * column(error, i)).sum() + (dA * products).sum();
      dA *= b;
      part(dlog_g, 0, i, i) += dA * products;
      part(dsystem, i, i, size - i) = 0;
      scratch.gained[i] += column(dlog_g, i).sum();
      values(scratch.passed.data(), size) += column(dlog_g, i);
    }
    gemm_add(K, dsystem, dK);
    gemm_add(K, dsystem.transpose(), dK);
  }

  /// From B = (V - SᵀK diag(γ)) diag(β):
  ///
  ///   dV = dB diag(β),   dK -= S dV diag(γ),   d(log γ_i) -= <k_i, (S dV diag(γ))_i>,   dS -= K diag(γ) dVᵀ
  template <class Before, class After>
  void error_backward(const Before& S, After& dS, MatIn<Scalar> beta, HeadChunk chunk, Scratch& scratch,
                      Gradients& d) const {
    const Index size = chunk.size;
    const auto K = wide(scratch.k, size), dB = wide(scratch.du, size);
    auto dK = rows(d.k, chunk), dV = rows(d.v, chunk);
    auto from_state = wide(scratch.from_state, size), scaled = wide(scratch.scaled, size);
    for (Index i = 0; i < size; ++i) column(dV, i) = column(dB, i) * beta(chunk.head, chunk.begin + i);
    gemm(S, dV, from_state);
    for (Index i = 0; i < size; ++i) {
      column(dK, i) -= column(from_state, i) *= scratch.share[i];
      scratch.gained[i] -= (column(from_state, i) * column(K, i)).sum();
      column(scaled, i) = column(K, i) * -scratch.share[i];
    }
    gemm_add(scaled, dV.transpose(), dS);
  }

  /// α_s is a factor of γ_i where s <= i, and of G_ji where j < s <= i:
  ///
  ///   d(log α_s) = through + Σ_{i >= s} (gained_i - passed_i),   d(logit β) = β (1 - β) dβ
  void decay_backward(Scalar through, MatIn<Scalar> beta, HeadChunk chunk, const Scratch& scratch, Gradients& d) const {
    Scalar dlog_alpha = through;
    for (Index i = chunk.size; i-- > 0;) {
      dlog_alpha += scratch.gained[i] - scratch.passed[i];
      d.decay(chunk.head, chunk.begin + i) = dlog_alpha;
      const Scalar b = beta(chunk.head, chunk.begin + i);
      d.beta(chunk.head, chunk.begin + i) = scratch.dbeta[i] * b * (Scalar(1) - b);
    }
  }

  /// Fills scratch.share with γ, and scratch.weight with G.
  void find_decays(MatIn<Scalar> log_decay, HeadChunk chunk, Scratch& scratch) const {
    scratch.weight.resize(kSize, kSize);
    for (auto* each : {&scratch.share, &scratch.gained, &scratch.passed, &scratch.dbeta}) each->resize(kSize);
    chunk_decays(log_decay, chunk, scratch.weight, scratch.share);
  }

  /// Fills scratch.u with U, and for backward gram with KᵀK, system with A, error with V - SᵀK diag(γ).
  template <class Block, class State>
  void solve_updates(const Block& K, const Block& V, const State& S, MatIn<Scalar> beta, HeadChunk chunk,
                     Scratch& scratch) const {
    const Index size = chunk.size;
    auto gram = square(scratch.gram, size), A = square(scratch.system, size);
    auto U = wide(scratch.u, size), error = wide(scratch.error, size);
    gemm(K.transpose(), K, gram);
    gemm(S.transpose(), K, error);
    for (Index i = 0; i < size; ++i) {
      const Scalar b = beta(chunk.head, chunk.begin + i);
      part(A, 0, i, i) = part(gram, 0, i, i) * part(scratch.weight, 0, i, i) * b;
      column(error, i) = column(V, i) - column(error, i) * scratch.share[i];
      column(U, i) = column(error, i) * b;
    }
    solve_unit_upper(A, U);
  }
};

}  // namespace qllk::mixers
