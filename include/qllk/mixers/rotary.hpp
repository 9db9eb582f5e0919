// Positions as rotations.
#pragma once

#include <cmath>

#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::values;

/// Rotary positions: the channels i and i + ⌊d/2⌋ of every head of width d are turned by the angle t θ_i at
/// position t, so that the product of a query and a key depends on how far apart they are and not on where.
///
///   [a; b] → [a cos tθ - b sin tθ; a sin tθ + b cos tθ],   θ_i = 10000^(-i / ⌊d/2⌋)
///
/// The last channel of an odd d stays as it is. backward is the rotation by -tθ.
///
/// Shapes   x: [dim, n]    the table: [2·⌊d/2⌋, length], cosines above sines
/// Cost     3·dim FLOP a position
/// Source   Su et al. 2021, "RoFormer", section 3.4.2; channels paired as there in blocks in place of neighbours
template <Real Scalar>
class Rotary {
 public:
  /// Of heads of that width.
  explicit Rotary(Index head_dim) : head_dim_(head_dim) {}

  /// Angles of positions first … first + length - 1.
  void angles(Index first, Index length, Mat<Scalar>& table) const {
    constexpr Index kExact = 64;  // so many are reached by turning from the one before: a fraction of the cost
    const Index half = head_dim_ / 2;
    table.resize(2 * half, length);
    for (Index i = 0; i < half; ++i) {
      const double angle = std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half));
      const double step_cos = std::cos(angle), step_sin = std::sin(angle);
      double c = 1, s = 0;
      for (Index t = 0; t < length; ++t) {
        if (t % kExact == 0) {
          c = std::cos(static_cast<double>(first + t) * angle);
          s = std::sin(static_cast<double>(first + t) * angle);
        } else {
          const double before = c;
          c = before * step_cos - s * step_sin;
          s = before * step_sin + s * step_cos;
        }
        table(i, t) = static_cast<Scalar>(c);
        table(half + i, t) = static_cast<Scalar>(s);
      }
    }
  }

  /// Turns column t of x by the angles in column first + t of the table, counted round it, or back by them.
  void rotate(const Mat<Scalar>& table, MatOut<Scalar> x, bool back = false, Index first = 0) const {
    const Index half = head_dim_ / 2, length = table.cols();
    if (half == 0) return;
    const Scalar sign = back ? Scalar(-1) : Scalar(1);
    for (Index t = 0; t < x.cols(); ++t) {
      const Scalar* const angles = table.col((first + t) % length).data();
      const auto c = values(angles, half), s = values(angles + half, half);
      for (Index at = 0; at < x.rows(); at += head_dim_) {
        auto a = values(x.col(t).data() + at, half), b = values(x.col(t).data() + at + half, half);
        for (Index i = 0; i < half; ++i) {
          const Scalar before = a[i];
          a[i] = before * c[i] - sign * b[i] * s[i];
          b[i] = sign * before * s[i] + b[i] * c[i];
        }
      }
    }
  }

 private:
  Index head_dim_;
};

}  // namespace qllk::mixers
