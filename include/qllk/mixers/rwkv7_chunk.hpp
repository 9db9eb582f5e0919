// Some positions of one head of Rwkv7, by matrix products.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/chunk.hpp"

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
class Rwkv7Chunk {
 public:
  /// Positions of a chunk.
  static constexpr Index kSize = 32;

  /// What the recurrence sees, or its gradients.
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
  explicit Rwkv7Chunk(Index head_dim) : head_dim_(head_dim) {}

  /// Writes the head's rows of y at positions begin … begin + size - 1, and advances its S; memory is that of all
  /// heads.
  void forward(const Inputs<const Mat<Scalar>>& in, Index head, Index begin, Index size, Scalar* memory,
               Scratch& scratch, Mat<Scalar>& y) const {
    const Index d = head_dim_, at = head * d;
    Eigen::Map<Mat<Scalar>> S(memory + at * d, d, d);
    prepare(in, at, begin, size, S, scratch);
    const auto K = wide(scratch.k, size), B = wide(scratch.b, size), V = wide(scratch.v, size),
               U = wide(scratch.u, size), from = wide(scratch.from, 2 * size);
    auto Y = block(y, at, begin, d, size);
    for (Index i = 0; i < size; ++i) column(Y, i) = column(from, size + i);
    gemm_add(V, block(scratch.kx, 0, size, size, size), Y);
    gemm_add(U, block(scratch.bx, 0, size, size, size), Y, Scalar(-1));
    gemm_add(K, V.transpose(), S);
    gemm_add(B, U.transpose(), S, Scalar(-1));
    for (Index j = 0; j < d; ++j) column(S, j) *= part(scratch.left, 0, size - 1, d);
  }

  /// Overwrites the head's rows of `out`, the gradients of what the recurrence saw, which may be `in`; turns dS after
  /// the chunk into dS before it. `before` holds S before the chunk, of all heads.
  void backward(const Inputs<const Mat<Scalar>>& in, Index head, Index begin, Index size, const Scalar* before,
                Scalar* dmemory, Scratch& scratch, const Mat<Scalar>& dy, const Inputs<Mat<Scalar>>& out) const {
    const Index d = head_dim_, at = head * d;
    const Eigen::Map<const Mat<Scalar>> S(before + at * d, d, d);
    Eigen::Map<Mat<Scalar>> dS(dmemory + at * d, d, d);
    prepare(in, at, begin, size, S, scratch);
    const auto K = wide(scratch.k, size), B = wide(scratch.b, size), V = wide(scratch.v, size),
               U = wide(scratch.u, size), X = wide(scratch.x, 2 * size);
    auto D = wide(scratch.d, 2 * size), dX = wide(scratch.dx, 2 * size), dK = wide(scratch.dk, size),
         dB = wide(scratch.db, size), dV = wide(scratch.dv, size), dU = block(D, 0, 0, d, size),
         dY = block(D, 0, size, d, size);
    const auto kx = square(scratch.kx, size), bx = square(scratch.bx, size);
    auto dkx = square(scratch.dkx, size), dbx = square(scratch.dbx, size);
    for (Index i = 0; i < size; ++i) column(dY, i) = part(dy, at, begin + i, d);

    // S' = diag(W_C) (S + K Vᵀ - B Uᵀ); sum gathers the gradient of log W_C
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
    // Y, then the system
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

    for (Index i = size; i-- > 0;) {
      const auto left = column(scratch.left, i), right = column(scratch.right, i);
      const Index t = begin + i;
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

 private:
  /// Fills scratch with all that both directions need, up to U.
  template <class Memory>
  void prepare(const Inputs<const Mat<Scalar>>& in, Index at, Index begin, Index size, const Memory& S,
               Scratch& scratch) const {
    const Index d = head_dim_;
    for (auto* each : {&scratch.left, &scratch.right, &scratch.k, &scratch.b, &scratch.v, &scratch.u, &scratch.dk,
                       &scratch.db, &scratch.dv})
      each->resize(d, kSize);
    for (auto* each : {&scratch.x, &scratch.dx, &scratch.d, &scratch.from}) each->resize(d, 2 * kSize);
    for (auto* each : {&scratch.kx, &scratch.bx, &scratch.dkx, &scratch.dbx}) each->resize(kSize, 2 * kSize);
    scratch.sum.resize(d);
    auto X = wide(scratch.x, 2 * size), U = wide(scratch.u, size), from = wide(scratch.from, 2 * size);
    auto K = wide(scratch.k, size), B = wide(scratch.b, size), V = wide(scratch.v, size);
    auto kx = square(scratch.kx, size), bx = square(scratch.bx, size);
    auto sum = values(scratch.sum.data(), d);
    sum.setZero();
    for (Index i = 0; i < size; ++i) {
      const Index t = begin + i;
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

  /// [above, upper] of a pair side by side.
  template <class Pair>
  static void keep_upper(Pair& pair, Index size) {
    for (Index i = 0; i < size; ++i) {
      part(pair, i, i, size - i).setZero();
      part(pair, i + 1, size + i, size - i - 1).setZero();
    }
  }

  static auto square(Mat<Scalar>& matrix, Index size) { return block(matrix, 0, 0, size, 2 * size); }
  auto wide(Mat<Scalar>& matrix, Index cols) const { return block(matrix, 0, 0, head_dim_, cols); }

  Index head_dim_;
};

}  // namespace qllk::mixers
