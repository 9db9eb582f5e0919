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

}  // namespace detail

/// C += alpha · A B, where A and B are matrices, blocks or transposes of them, with contiguous columns.
/// Cost: 2·rows·cols·depth FLOP. C must not alias A or B.
template <class A, class B, class C>
void gemm_add(const A& a, const B& b, C&& c, typename A::Scalar alpha = 1) {
  using Scalar = typename A::Scalar;
  QLLK_ASSERT(a.cols() == b.rows() && a.rows() == c.rows() && b.cols() == c.cols());
  if (a.rows() == 0 || b.cols() == 0 || a.cols() == 0) return;
  if (b.cols() == 1) {  // one position, as in generation: a matrix-vector product needs no packing
    c.col(0).noalias() += (alpha * a) * b.col(0);
    return;
  }
  constexpr int a_order = detail::is_transpose_v<A> ? Eigen::RowMajor : Eigen::ColMajor;
  constexpr int b_order = detail::is_transpose_v<B> ? Eigen::RowMajor : Eigen::ColMajor;
  detail::KeptBlocking<Scalar> blocking(a.rows(), b.cols(), a.cols());
  Eigen::internal::general_matrix_matrix_product<Index, Scalar, a_order, false, Scalar, b_order, false,
                                                 Eigen::ColMajor, 1>::run(a.rows(), b.cols(), a.cols(), a.data(),
                                                                          a.outerStride(), b.data(), b.outerStride(),
                                                                          c.data(), 1, c.outerStride(), alpha,
                                                                          blocking, nullptr);
}

/// C = A B; otherwise as gemm_add.
template <class A, class B, class C>
void gemm(const A& a, const B& b, C&& c) {
  c.setZero();
  gemm_add(a, b, c);
}

}  // namespace qllk
