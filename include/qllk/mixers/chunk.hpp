// What mixers share that compute many positions at once by matrix products.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/recurrence.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm, linalg::gemm_add, linalg::part, linalg::values;

namespace detail {
inline constexpr Index kSolveBlock = 8;  // columns one by one; all before them by a matrix product
}

/// The matrices of one head of width d = head_dim, in chunks of up to kMost positions. Those of a scratch are sized for
/// a whole chunk, so that they allocate once.
template <Real Scalar, Index kMost>
class HeadViews {
 public:
  /// Of heads of that width.
  explicit HeadViews(Index head_dim) : head_dim_(head_dim) {}

  /// The head's rows of a matrix [dim, n] at the chunk's positions: [d, C].
  template <class Matrix>
  auto rows(Matrix&& m, HeadChunk chunk) const {
    return block(m, chunk.head * head_dim_, chunk.begin, head_dim_, chunk.size);
  }
  /// The head's S [d, d] among those of all heads.
  Eigen::Map<Mat<Scalar>> state(Scalar* all, HeadChunk chunk) const {
    return {all + chunk.head * head_dim_ * head_dim_, head_dim_, head_dim_};
  }
  /// The same, read only.
  Eigen::Map<const Mat<Scalar>> state(const Scalar* all, HeadChunk chunk) const {
    return {all + chunk.head * head_dim_ * head_dim_, head_dim_, head_dim_};
  }
  /// [C, C] of a scratch.
  static auto square(Mat<Scalar>& matrix, Index size) {
    matrix.resize(kMost, kMost);
    return block(matrix, 0, 0, size, size);
  }
  /// [d, C] of a scratch.
  auto wide(Mat<Scalar>& matrix, Index size) const {
    matrix.resize(head_dim_, kMost);
    return block(matrix, 0, 0, head_dim_, size);
  }

  /// What a chunk writes to the state, [d, C], and its gradient.
  struct Written {
    Eigen::Ref<const Mat<Scalar>> value;  // W
    MatOut<Scalar> gradient;              // dW
  };

  /// Backward through the state of a chunk with Y += SᵀQ diag(s) and S' = s_C S + K diag(m) Wᵀ, where s is
  /// scratch.share and m the last column of scratch.weight:
  ///
  ///   dQ += S dY diag(s),   dK += dS' W diag(m),   dW += dS'ᵀ K diag(m)
  ///
  /// Leaves S dY diag(s) in scratch.from_state, and dS' W diag(m) in scratch.into_state.
  template <class Block, class Scratch>
  void across_backward(ChunkStates<Scalar> states, HeadChunk chunk, const Block& dY, Written written, Scratch& scratch,
                       RecurrenceGrads<Scalar>& d) const {
    const auto S = state(states.before, chunk);
    const auto dS = state(states.gradient, chunk);
    const auto K = wide(scratch.k, chunk.size);
    auto dQ = rows(d.q, chunk), dK = rows(d.k, chunk);
    auto from_state = wide(scratch.from_state, chunk.size), into_state = wide(scratch.into_state, chunk.size),
         scaled = wide(scratch.scaled, chunk.size);
    gemm(S, dY, from_state);
    gemm(dS, written.value, into_state);
    gemm(dS.transpose(), K, scaled);
    for (Index i = 0; i < chunk.size; ++i) {
      const Scalar last = scratch.weight(i, chunk.size - 1);
      column(dQ, i) += column(from_state, i) *= scratch.share[i];
      column(dK, i) += column(into_state, i) *= last;
      column(written.gradient, i) += column(scaled, i) * last;
    }
  }

  /// dS = s_C dS' + Q diag(s) dYᵀ of the same chunk.
  template <class Block, class Scratch>
  void carry_backward(ChunkStates<Scalar> states, HeadChunk chunk, const Block& dY, Scratch& scratch) const {
    auto dS = state(states.gradient, chunk);
    const auto Q = wide(scratch.q, chunk.size);
    auto scaled = wide(scratch.scaled, chunk.size);
    for (Index i = 0; i < chunk.size; ++i) column(scaled, i) = column(Q, i) * scratch.share[i];
    values(dS) *= scratch.share[chunk.size - 1];
    gemm_add(scaled, dY.transpose(), dS);
  }

 private:
  Index head_dim_;
};

/// The decays inside a chunk, from log α [heads, n]:
///
///   share_i   = α_1 … α_i                               how much is left of the state before the chunk
///   weight_ji = α_{j+1} … α_i, and 0 for j > i          how much is left at i of what j wrote
template <Real Scalar>
void chunk_decays(std::type_identity_t<MatIn<Scalar>> log_decay, HeadChunk chunk, Mat<Scalar>& weight,
                  Vec<Scalar>& share) {
  Scalar left = 1;
  for (Index i = 0; i < chunk.size; ++i) {
    const Scalar a = std::exp(log_decay(chunk.head, chunk.begin + i));
    share[i] = left *= a;
    if (i > 0) part(weight, 0, i, i) = part(weight, 0, i - 1, i) * a;
    weight(i, i) = 1;
    for (Index j = i + 1; j < chunk.size; ++j) weight(j, i) = 0;
  }
}

/// X ← X (I + A)⁻¹, with A strictly upper-triangular: x_i -= Σ_{j<i} A_ji x_j, from the first column on. So what
/// a position writes can depend on what those before it wrote.
///
/// Shapes   A: [C, C], of which what is not above the diagonal is not read    X: [d, C]
/// Cost     d·C² FLOP
template <class Square, class Wide>
void solve_unit_upper(const Square& a, Wide& x) {
  const Index size = x.cols(), d = x.rows();
  for (Index begin = 0; begin < size; begin += detail::kSolveBlock) {
    const Index end = std::min(begin + detail::kSolveBlock, size);
    if (begin > 0)
      gemm_add(block(x, 0, 0, d, begin), block(a, 0, begin, begin, end - begin), block(x, 0, begin, d, end - begin),
               -1);
    for (Index i = begin + 1; i < end; ++i)
      for (Index j = begin; j < i; ++j) column(x, i) -= column(x, j) * a(j, i);
  }
}

/// X ← X (I + Aᵀ)⁻¹: x_j -= Σ_{i>j} A_ji x_i, from the last column on; otherwise as solve_unit_upper.
template <class Square, class Wide>
void solve_unit_lower(const Square& a, Wide& x) {
  const Index size = x.cols(), d = x.rows();
  for (Index begin = (size - 1) / detail::kSolveBlock * detail::kSolveBlock; begin >= 0 && size > 0;
       begin -= detail::kSolveBlock) {
    const Index end = std::min(begin + detail::kSolveBlock, size), rest = size - end;
    if (rest > 0)
      gemm_add(block(x, 0, end, d, rest), block(a, begin, end, end - begin, rest).transpose(),
               block(x, 0, begin, d, end - begin), -1);
    for (Index j = end; j-- > begin;)
      for (Index i = j + 1; i < end; ++i) column(x, j) -= column(x, i) * a(j, i);
  }
}

}  // namespace qllk::mixers
