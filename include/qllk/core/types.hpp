// Scalars, matrices and the one assertion macro that every other header uses.
#pragma once

#include <Eigen/Core>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "qllk/config.hpp"

#ifndef QLLK_ASSERT
/// Shape misuse in hot paths. Checked in debug builds, as Eigen's own assertions are.
#define QLLK_ASSERT(condition) eigen_assert(condition)
#endif

namespace qllk::inline QLLK_ISA {

/// The types that models compute with.
template <class T>
concept Real = std::same_as<T, float> || std::same_as<T, double>;

/// Sizes and positions, as in Eigen.
using Index = Eigen::Index;
/// A byte of a text.
using Byte = std::uint8_t;
/// Bytes that somebody else keeps.
using Bytes = std::span<const Byte>;

/// Number of values of a byte, and of logits at each position.
inline constexpr Index kByteValues = 256;

/// A stream begins as if this byte had come before it, so that its first byte is predicted and paid for too.
inline constexpr Byte kStartByte = 0;

/// Column-major; a column is a position, a row is a feature.
template <Real Scalar>
using Mat = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
/// A column.
template <Real Scalar>
using Vec = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

/// A lookup table, one column [dim] for each key. A checkpoint holds its memory as it is: shape [keys, dim].
template <Real Scalar>
class Table : public Mat<Scalar> {
 public:
  using Mat<Scalar>::Mat;
  using Mat<Scalar>::operator=;
};

/// How functions take matrices: any contiguous-column block, without a copy.
template <Real Scalar>
using MatIn = const Eigen::Ref<const Mat<Scalar>>&;
/// As MatIn, to be written to.
template <Real Scalar>
using MatOut = Eigen::Ref<Mat<Scalar>>;

}  // namespace qllk::inline QLLK_ISA
