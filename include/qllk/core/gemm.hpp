// Eigen's matrix product with packing buffers that are kept, so that a training step does not allocate.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <type_traits>

#include "qllk/core/types.hpp"

namespace qllk {
namespace detail {

/// Eigen sizes its packing blocks from the caches and allocates them in every product; these live as long as the
/// thread and only grow.
template <Real Scalar>
class KeptBlocking : public Eigen::internal::level3_blocking<Scalar, Scalar> {
 public:
  KeptBlocking(Index rows, Index cols, Index depth) {
    Index kc = depth, mc = rows, nc = cols;
    Eigen::internal::computeProductBlockingSizes<Scalar, Scalar>(kc, mc, nc, Index(1));
    this->m_mc = mc;
    this->m_nc = nc;
    this->m_kc = kc;
    thread_local Vec<Scalar> a, b;
    if (a.size() < kc * mc) a.resize(kc * mc);
    if (b.size() < kc * nc) b.resize(kc * nc);
    this->m_blockA = a.data();
    this->m_blockB = b.data();
  }
  void allocateA() {}
  void allocateB() {}
  void allocateAll() {}
};

template <class T>
inline constexpr bool is_transpose_v = false;
template <class T>
inline constexpr bool is_transpose_v<Eigen::Transpose<T>> = true;

/// Every call ends here, so that Eigen's kernels are compiled once for each transposition, not for each type of block.
template <Real Scalar, int a_order, int b_order>
void gemm_add(Index rows, Index cols, Index depth, const Scalar* a, Index a_stride, const Scalar* b, Index b_stride,
              Scalar* c, Index c_stride, Scalar alpha) {
  using Stride = Eigen::OuterStride<>;
  if (rows == 0 || cols == 0 || depth == 0) return;
  if (cols == 1) {  // one position, as in generation: a matrix-vector product needs no packing
    using Strided = Eigen::Map<const Vec<Scalar>, 0, Eigen::InnerStride<>>;
    const Eigen::Map<const Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, a_order>, 0, Stride> matrix(
        a, rows, depth, Stride(a_stride));
    Eigen::Map<Vec<Scalar>> out(c, rows);
    if constexpr (b_order == Eigen::ColMajor)
      out.noalias() += alpha * matrix * Eigen::Map<const Vec<Scalar>>(b, depth);
    else
      out.noalias() += alpha * matrix * Strided(b, depth, Eigen::InnerStride<>(b_stride));
    return;
  }
  KeptBlocking<Scalar> blocking(rows, cols, depth);
  Eigen::internal::general_matrix_matrix_product<Index, Scalar, a_order, false, Scalar, b_order, false, Eigen::ColMajor,
                                                 1>::run(rows, cols, depth, a, a_stride, b, b_stride, c, 1, c_stride,
                                                         alpha, blocking, nullptr);
}

}  // namespace detail

/// C += alpha · A B, where A and B are matrices, blocks or transposes of them, with contiguous columns.
/// Cost: 2·rows·cols·depth FLOP. C must not alias A or B.
template <class A, class B, class C>
void gemm_add(const A& a, const B& b, C&& c, typename A::Scalar alpha = 1) {
  QLLK_ASSERT(a.cols() == b.rows() && a.rows() == c.rows() && b.cols() == c.cols());
  constexpr int a_order = detail::is_transpose_v<A> ? Eigen::RowMajor : Eigen::ColMajor;
  constexpr int b_order = detail::is_transpose_v<B> ? Eigen::RowMajor : Eigen::ColMajor;
  detail::gemm_add<typename A::Scalar, a_order, b_order>(a.rows(), b.cols(), a.cols(), a.data(), a.outerStride(),
                                                         b.data(), b.outerStride(), c.data(), c.outerStride(), alpha);
}

/// C = A B; otherwise as gemm_add.
template <class A, class B, class C>
void gemm(const A& a, const B& b, C&& c) {
  c.setZero();
  gemm_add(a, b, c);
}

}  // namespace qllk
