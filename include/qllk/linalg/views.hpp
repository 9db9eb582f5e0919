// Parts of matrices as arrays and blocks of few types.
#pragma once

#include <type_traits>

#include "qllk/core/types.hpp"

namespace qllk::linalg {

/// Values side by side, as an array. Element-wise expressions are made of these two types, whatever they read, for
/// the compiler has to work through every further type.
template <Real Scalar>
using Values = Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>>;
/// The same, read only.
template <Real Scalar>
using ConstValues = Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>;

/// So many values in memory.
template <Real Scalar>
Values<Scalar> values(Scalar* data, Index size) {
  return {data, size};
}
/// So many values in memory.
template <Real Scalar>
ConstValues<Scalar> values(const Scalar* data, Index size) {
  return {data, size};
}

/// All of a matrix or vector that has its memory to itself.
template <class Matrix>
auto values(Matrix&& m) {
  QLLK_ASSERT(m.cols() <= 1 || m.outerStride() == m.rows());
  return values(m.data(), m.size());
}

/// Column j of a matrix or block.
template <class Matrix>
auto column(Matrix&& m, Index j) {
  QLLK_ASSERT(0 <= j && j < m.cols());
  return values(m.data() + j * m.outerStride(), m.rows());
}

/// Rows row … row + size - 1 of column j.
template <class Matrix>
auto part(Matrix&& m, Index row, Index j, Index size) {
  QLLK_ASSERT(0 <= row && row + size <= m.rows() && 0 <= j && j < m.cols());
  return values(m.data() + row + j * m.outerStride(), size);
}

/// y += x
template <Real Scalar>
QLLK_NOINLINE void add(MatOut<Scalar> y, MatIn<Scalar> x) {
  QLLK_ASSERT(y.rows() == x.rows() && y.cols() == x.cols());
  for (Index j = 0; j < x.cols(); ++j) column(y, j) += column(x, j);
}

/// A block of a matrix, as one of two types in the same way.
template <class Matrix>
auto block(Matrix&& m, Index row, Index col, Index rows, Index cols) {
  QLLK_ASSERT(0 <= row && 0 <= col && row + rows <= m.rows() && col + cols <= m.cols());
  auto* const data = m.data() + row + col * m.outerStride();
  using Scalar = std::remove_pointer_t<decltype(data)>;
  using Plain = std::conditional_t<std::is_const_v<Scalar>, const Mat<std::remove_const_t<Scalar>>,
                                   Mat<std::remove_const_t<Scalar>>>;
  return Eigen::Map<Plain, 0, Eigen::OuterStride<>>(data, rows, cols, Eigen::OuterStride<>(m.outerStride()));
}

}  // namespace qllk::linalg
