// One chunk of one head of Rwkv7, by matrix products.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/chunk.hpp"
#include "qllk/mixers/recurrence.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm, linalg::gemm_add, linalg::part, linalg::values;

/// C positions of the generalised delta rule at once, for one head of width d, with S as [key, value]:
///
///   S_t = diag(w_t) S_{t-1} - b_t s_tᵀ + k_t v_tᵀ,   s_t = S_{t-1}ᵀ κ_t
///   y_t = S_tᵀ r_t
///
/// With W_i = w_1 ⊙ … ⊙ w_i, K = k_i / W_i, B = b_i / W_i, X = W_{i-1} ⊙ κ_i, R = W_i ⊙ r_i, S the state
/// before the chunk, and upper() keeping what is on and above the diagonal, above() what is above it:
///
///   U (I + above(BᵀX)) = SᵀX + V above(KᵀX)                     U: the s of all positions
///   Y  = SᵀR + V upper(KᵀR) - U upper(BᵀR)
///   S' = diag(W_C) (S + K Vᵀ - B Uᵀ)
///
/// The ratios stay in range because w > 0.54: a chunk takes a channel down to 4e-9 at most. X and R are side by side in
/// memory, so that what multiplies both is one product.
///
/// Shapes   r, log w, k, v, κ, b, y: [dim, n]; of a head and a chunk [d, C], C <= kSize    S: [d, d]
/// Cost     d·(6.5·C + 4·d) multiply-adds a position forward, about 2.5 times that backward
/// Source   Peng et al. 2025, eq. 17 to 19; the chunks as in Yang et al. 2024, section 3.2, with a decay for each
///          channel
template <Real Scalar>
class Rwkv7Chunk : private HeadViews<Scalar, 32> {
  using Views = HeadViews<Scalar, 32>;
  using Views::rows, Views::state;

 public:
  /// Positions of a chunk.
  static constexpr Index kSize = 32;

  /// What the recurrence reads, or its gradients, which may be the same matrices.
  template <class Matrix>
  struct Inputs {
    Matrix &r, &log_w, &k, &v, &kappa, &b;  // [dim, n]
  };

  /// Always sized for a whole chunk.
  struct Scratch {
    Mat<Scalar> left, right;       // W, 1 / W
    Mat<Scalar> k, b, v, u;        // K, B, V, U
    Mat<Scalar> x, dx, d, from;    // [X R], its gradient, [dH dY], Sᵀ [X R]
    Mat<Scalar> kx, bx, dkx, dbx;  // [C, 2·C]: Kᵀ [X R] and Bᵀ [X R] above the diagonal or on it, and gradients
    Mat<Scalar> dk, db, dv;
    Vec<Scalar> sum;
  };

  /// Of heads of that width.
  explicit Rwkv7Chunk(Index head_dim) : Views(head_dim), head_dim_(head_dim) {}

  /// Writes the head's rows of y at the chunk's positions, and advances its S; memory is that of all heads.
  void forward(const Inputs<const Mat<Scalar>>& in, HeadChunk chunk, Scalar* memory, Scratch& scratch,
               Mat<Scalar>& y) const {
    const Index d = head_dim_, size = chunk.size;
    auto S = state(memory, chunk);
    prepare(in, chunk, S, scratch);
    const auto K = wide(scratch.k, size), B = wide(scratch.b, size), V = wide(scratch.v, size),
               U = wide(scratch.u, size), from = wide(scratch.from, 2 * size);
    auto Y = rows(y, chunk);
    for (Index i = 0; i < size; ++i) column(Y, i) = column(from, size + i);
    gemm_add(V, block(scratch.kx, 0, size, size, size), Y);
    gemm_add(U, block(scratch.bx, 0, size, size, size), Y, Scalar(-1));
    gemm_add(K, V.transpose(), S);
    gemm_add(B, U.transpose(), S, Scalar(-1));
    for (Index j = 0; j < d; ++j) column(S, j) *= part(scratch.left, 0, size - 1, d);
  }

  /// Overwrites the head's rows of `out` at the chunk's positions, and turns dS after the chunk into dS before it.
  void backward(const Inputs<const Mat<Scalar>>& in, HeadChunk chunk, ChunkStates<Scalar> states, const Mat<Scalar>& dy,
                Scratch& scratch, const Inputs<Mat<Scalar>>& out) const {
    const auto S = state(states.before, chunk);
    auto dS = state(states.gradient, chunk);
    prepare(in, chunk, S, scratch);
    auto dY = block(wide(scratch.d, 2 * chunk.size), 0, chunk.size, head_dim_, chunk.size);
    dY = rows(dy, chunk);
    state_backward(S, dS, chunk.size, scratch);
    outputs_backward(S, dS, chunk.size, scratch);
    inputs_backward(chunk, scratch, out);
  }

 private:
  /// From S' = diag(W_C) (S + K Vᵀ - B Uᵀ), whose bracket has the gradient D = diag(W_C) dS', which takes the place
  /// of dS':
  ///
  ///   dK = D V,   dB = -D U,   dV = DᵀK,   dU = -DᵀB,   dS = D
  ///   d(log W_C) = Σ over values (D ∘ S) + Σ_i (dK_i ⊙ K_i + dB_i ⊙ B_i), left in sum
  template <class Before, class After>
  void state_backward(const Before& S, After& dS, Index size, Scratch& scratch) const {
    const Index d = head_dim_;
    const auto K = wide(scratch.k, size), B = wide(scratch.b, size), V = wide(scratch.v, size),
               U = wide(scratch.u, size);
    auto dK = wide(scratch.dk, size), dB = wide(scratch.db, size), dV = wide(scratch.dv, size),
         dU = wide(scratch.d, size);
    auto sum = values(scratch.sum.data(), d);
    sum.setZero();
    for (Index j = 0; j < d; ++j) {
      column(dS, j) *= part(scratch.left, 0, size - 1, d);
      sum += column(dS, j) * column(S, j);
    }
    gemm(dS, V, dK);
    gemm(dS, U, dB);
    for (Index i = 0; i < size; ++i) {
      auto db = column(dB, i);
      db = -db;
      sum += column(dK, i) * column(K, i) + db * column(B, i);
    }
    gemm(dS.transpose(), K, dV);
    gemm(dS.transpose(), B, dU);
    for (Index i = 0; i < size; ++i) column(dU, i) = -column(dU, i);
  }

  /// From Y = SᵀR + V upper(KᵀR) - U upper(BᵀR) and H = U (I + above(BᵀX)) = SᵀX + V above(KᵀX), with
  /// [H Y] and [X R] as one matrix each, D = [dH dY] and kx, bx the masked products:
  ///
  ///   dU -= dY upper(BᵀR)ᵀ,   dH = dU (I + above(BᵀX)ᵀ)⁻¹
  ///   dV += D kxᵀ,   dkx = VᵀD and dbx = UᵀD, masked
  ///   d[X R] = S D + K dkx - B dbx,   dK += [X R] dkxᵀ,   dB -= [X R] dbxᵀ,   dS += [X R] Dᵀ
  template <class Before, class After>
  void outputs_backward(const Before& S, After& dS, Index size, Scratch& scratch) const {
    const auto K = wide(scratch.k, size), B = wide(scratch.b, size), V = wide(scratch.v, size),
               U = wide(scratch.u, size), X = wide(scratch.x, 2 * size);
    auto D = wide(scratch.d, 2 * size), dX = wide(scratch.dx, 2 * size), dK = wide(scratch.dk, size),
         dB = wide(scratch.db, size), dV = wide(scratch.dv, size), dU = block(D, 0, 0, head_dim_, size);
    const auto dY = block(D, 0, size, head_dim_, size);
    const auto kx = pair(scratch.kx, size), bx = pair(scratch.bx, size);
    auto dkx = pair(scratch.dkx, size), dbx = pair(scratch.dbx, size);
    gemm_add(dY, block(bx, 0, size, size, size).transpose(), dU, Scalar(-1));
    solve_unit_lower(bx, dU);
    gemm_add(D, kx.transpose(), dV);
    gemm(V.transpose(), D, dkx);
    gemm(U.transpose(), D, dbx);
    keep_upper(dkx, size);
    keep_upper(dbx, size);
    gemm(S, D, dX);
    gemm_add(K, dkx, dX);
    gemm_add(B, dbx, dX, Scalar(-1));
    gemm_add(X, dkx.transpose(), dK);
    gemm_add(X, dbx.transpose(), dB, Scalar(-1));
    gemm_add(X, D.transpose(), dS);
  }

  /// From K = k / W, B = b / W, X_i = W_{i-1} ⊙ κ_i, R = W ⊙ r and log W_i = Σ_{s <= i} log w_s:
  ///
  ///   dr = dR ⊙ W,   dk = dK / W,   db = dB / W,   dκ_i = dX_i ⊙ W_{i-1},   dv = dV
  ///   d(log w_s) = d(log W_C) + Σ_{i >= s} (dR_i ⊙ R_i - dK_i ⊙ K_i - dB_i ⊙ B_i) + Σ_{i > s} dX_i ⊙ X_i
  void inputs_backward(HeadChunk chunk, Scratch& scratch, const Inputs<Mat<Scalar>>& out) const {
    const Index size = chunk.size, d = head_dim_, at = chunk.head * d;
    const auto K = wide(scratch.k, size), B = wide(scratch.b, size), X = wide(scratch.x, 2 * size),
               dX = wide(scratch.dx, 2 * size), dK = wide(scratch.dk, size), dB = wide(scratch.db, size),
               dV = wide(scratch.dv, size);
    auto sum = values(scratch.sum.data(), d);
    for (Index i = size; i-- > 0;) {
      const auto left = column(scratch.left, i), right = column(scratch.right, i);
      const Index t = chunk.begin + i;
      sum += column(dX, size + i) * column(X, size + i) - column(dK, i) * column(K, i) - column(dB, i) * column(B, i);
      part(out.log_w, at, t, d) = sum;
      sum += column(dX, i) * column(X, i);
      part(out.r, at, t, d) = column(dX, size + i) * left;
      part(out.k, at, t, d) = column(dK, i) * right;
      part(out.b, at, t, d) = column(dB, i) * right;
      part(out.v, at, t, d) = column(dV, i);
      if (i > 0)
        part(out.kappa, at, t, d) = column(dX, i) * column(scratch.left, i - 1);
      else
        part(out.kappa, at, t, d) = column(dX, i);
    }
  }

  /// Fills scratch with all that both directions need, up to U.
  template <class Memory>
  void prepare(const Inputs<const Mat<Scalar>>& in, HeadChunk chunk, const Memory& S, Scratch& scratch) const {
    const Index d = head_dim_, at = chunk.head * d, size = chunk.size;
    resize(scratch);
    auto X = wide(scratch.x, 2 * size), U = wide(scratch.u, size), from = wide(scratch.from, 2 * size);
    auto K = wide(scratch.k, size), B = wide(scratch.b, size), V = wide(scratch.v, size);
    auto kx = pair(scratch.kx, size), bx = pair(scratch.bx, size);
    auto sum = values(scratch.sum.data(), d);
    sum.setZero();
    for (Index i = 0; i < size; ++i) {
      const Index t = chunk.begin + i;
      auto left = column(scratch.left, i), right = column(scratch.right, i);
      column(X, i) = part(in.kappa, at, t, d);
      if (i > 0) column(X, i) *= column(scratch.left, i - 1);
      sum += part(in.log_w, at, t, d);
      left = sum.exp();
      right = (-sum).exp();
      column(X, size + i) = part(in.r, at, t, d) * left;
      column(K, i) = part(in.k, at, t, d) * right;
      column(B, i) = part(in.b, at, t, d) * right;
      column(V, i) = part(in.v, at, t, d);
    }
    gemm(K.transpose(), X, kx);
    gemm(B.transpose(), X, bx);
    gemm(S.transpose(), X, from);
    keep_upper(kx, size);
    keep_upper(bx, size);
    for (Index i = 0; i < size; ++i) column(U, i) = column(from, i);
    gemm_add(V, block(kx, 0, 0, size, size), U);
    solve_unit_upper(bx, U);
  }

  void resize(Scratch& scratch) const {
    for (auto* each : {&scratch.left, &scratch.right, &scratch.k, &scratch.b, &scratch.v, &scratch.u, &scratch.dk,
                       &scratch.db, &scratch.dv})
      each->resize(head_dim_, kSize);
    for (auto* each : {&scratch.x, &scratch.dx, &scratch.d, &scratch.from}) each->resize(head_dim_, 2 * kSize);
    for (auto* each : {&scratch.kx, &scratch.bx, &scratch.dkx, &scratch.dbx}) each->resize(kSize, 2 * kSize);
    scratch.sum.resize(head_dim_);
  }

  /// [above, upper] of a pair side by side.
  template <class Pair>
  static void keep_upper(Pair& pair, Index size) {
    for (Index i = 0; i < size; ++i) {
      part(pair, i, i, size - i).setZero();
      part(pair, i + 1, size + i, size - i - 1).setZero();
    }
  }

  static auto pair(Mat<Scalar>& matrix, Index size) { return block(matrix, 0, 0, size, 2 * size); }
  auto wide(Mat<Scalar>& matrix, Index cols) const { return block(matrix, 0, 0, head_dim_, cols); }

  Index head_dim_;
};

}  // namespace qllk::mixers
