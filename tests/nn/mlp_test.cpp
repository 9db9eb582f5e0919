#include "qllk/nn/mlp.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>

#include "qllk/testing/gradient_check.hpp"

namespace qllk::nn {
namespace {

using conformance::random_matrix;

template <class Scalar>
class Gelu : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Gelu, Scalars);

TYPED_TEST(Gelu, IsExactWithItsDerivative) {
  using Scalar = TypeParam;
  constexpr Index rows = 131;  // more than one tile, and odd
  Mat<Scalar> x(rows, 3), y(rows, 3);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<Scalar>(-12 + 24 * static_cast<double>(i) / 392.0);
  const Mat<Scalar> at = x;
  gelu<Scalar>(x, y);
  Mat<Scalar> alone = at;
  gelu_value<Scalar>(alone, alone);
  const double tolerance = 16 * static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  for (Index i = 0; i < x.size(); ++i) {
    const double value = static_cast<double>(at.data()[i]);
    const double cdf = 0.5 * std::erfc(-value / std::numbers::sqrt2);
    const double density = std::exp(-0.5 * value * value) / std::sqrt(2 * std::numbers::pi);
    const double scale = 1 + std::abs(value);
    for (const Scalar is : {y.data()[i], alone.data()[i]})
      EXPECT_TRUE(std::abs(static_cast<double>(is) - value * cdf) <= tolerance * scale) << value;
    EXPECT_TRUE(std::abs(static_cast<double>(x.data()[i]) - (cdf + value * density)) <= tolerance * scale) << value;
  }
}

TYPED_TEST(Gelu, LargeValuesStayFiniteAndNaNStaysNaN) {
  using Scalar = TypeParam;
  Mat<Scalar> x(5, 1), y(5, 1);
  x << Scalar(1e4), Scalar(-1e4), Scalar(1e30), Scalar(-1e30), std::numeric_limits<Scalar>::quiet_NaN();
  Mat<Scalar> alone(5, 1);
  gelu_value<Scalar>(x, alone);
  gelu<Scalar>(x, y);
  for (const auto& is : {y, alone}) {
    EXPECT_EQ(is(0), Scalar(1e4));
    EXPECT_EQ(is(1), Scalar(0));
    EXPECT_EQ(is(2), Scalar(1e30));
    EXPECT_EQ(is(3), Scalar(0));
    EXPECT_TRUE(std::isnan(is(4)));
  }
  // the vectorised exp of some processors ends at the smallest normal number, which the value is then multiplied by
  const Scalar smallest = Scalar(1e30) * std::numeric_limits<Scalar>::min();
  for (const Index i : {0, 2}) EXPECT_TRUE(std::abs(x(i) - Scalar(1)) <= smallest) << x(i);
  for (const Index i : {1, 3}) EXPECT_TRUE(std::abs(x(i)) <= smallest) << x(i);
  EXPECT_TRUE(std::isnan(x(4)));
}

TEST(Mlp, BackwardMatchesCentralDifference) {
  for (const auto& [dim, hidden] : {std::pair<Index, Index>{1, 1}, {1, 4}, {5, 3}, {8, 16}, {3, 70}})
    for (const Index n : {1, 2, 7}) {
      Random random = Random::of(dim, hidden, n);
      const Mlp<double> mlp({dim, hidden});
      auto p = mlp.init(random);
      conformance::disturb(p, 0.3, random);
      const auto report = conformance::check_layer_gradients(mlp, p, random_matrix<double>(dim, n, random), dim);
      EXPECT_TRUE(report.passed()) << dim << ", " << hidden << ", n " << n << ": " << report.str();
    }
}

TEST(Mlp, NoPositionsGiveNoGradient) {
  Random random(1);
  const Mlp<double> mlp({2, 4});
  const auto report = conformance::check_layer_gradients(mlp, mlp.init(random), Mat<double>(2, 0), 2);
  EXPECT_TRUE(report.passed(0, {"up.weight", "up.bias", "down.weight", "down.bias"})) << report.str();
}

TEST(Mlp, RefusesSizesThatAreNotPositive) {
  EXPECT_THROW(Mlp<float>({0, 3}), std::invalid_argument);
  EXPECT_THROW(Mlp<float>({3, 0}), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::nn
