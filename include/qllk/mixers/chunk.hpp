// What mixers share that compute many positions at once by matrix products.
#pragma once

#include <algorithm>
#include <cmath>

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/recurrence.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm_add, linalg::part;

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
