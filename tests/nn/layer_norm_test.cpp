#include "qllk/nn/layer_norm.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "qllk/testing/gradient_check.hpp"

namespace qllk::nn {
namespace {

using conformance::random_matrix;

LayerNorm<double>::Params generic(const LayerNorm<double>& norm, Random& random) {
  auto p = norm.init(random);
  conformance::disturb(p, 0.3, random);
  return p;
}

TEST(LayerNorm, OutputHasMeanZeroAndVarianceOne) {
  Random random(1);
  const LayerNorm<double> norm({.dim = 9});
  const auto x = random_matrix<double>(9, 4, random, 3);
  LayerNorm<double>::Cache cache;
  Mat<double> y(9, 4);
  norm.forward(norm.init(random), x, cache, y);
  for (Index t = 0; t < 4; ++t) {
    const double mean = x.col(t).mean(), variance = (x.col(t).array() - mean).square().mean();
    EXPECT_TRUE(std::abs(y.col(t).mean()) <= 1e-14);
    EXPECT_TRUE(std::abs(y.col(t).squaredNorm() / 9 - variance / (variance + 1e-5)) <= 1e-13);
  }
}

TEST(LayerNorm, BackwardMatchesCentralDifference) {
  for (const Index dim : {2, 3, 8, 17, 64})
    for (const Index n : {1, 2, 7}) {
      Random random = Random::of(dim, n);
      const LayerNorm<double> norm({.dim = dim});
      const auto report = conformance::check_layer_gradients(
          norm, generic(norm, random), random_matrix<double>(dim, n, random), dim, {.step = 0x1p-13});
      EXPECT_TRUE(report.passed()) << "dim " << dim << ", n " << n << ": " << report.str();
    }
}

TEST(LayerNorm, OneFeatureIsItsBias) {
  Random random(1);
  const LayerNorm<double> norm({.dim = 1});
  const auto report =
      conformance::check_layer_gradients(norm, generic(norm, random), random_matrix<double>(1, 3, random), 1);
  EXPECT_TRUE(report.passed(1e-9, {"weight", "x"})) << report.str();
}

TEST(LayerNorm, NoPositionsGiveNoGradient) {
  Random random(1);
  const LayerNorm<double> norm({.dim = 5});
  const auto report = conformance::check_layer_gradients(norm, norm.init(random), Mat<double>(5, 0), 5);
  EXPECT_TRUE(report.passed(0, {"weight", "bias"})) << report.str();
}

TEST(LayerNorm, EqualFeaturesStayFinite) {
  Random random(1);
  const LayerNorm<float> norm({.dim = 6});
  const auto p = norm.init(random);
  const Mat<float> x = Mat<float>::Constant(6, 2, 1e6f), dy = Mat<float>::Random(6, 2);
  LayerNorm<float>::Cache cache;
  auto g = norm.zeros();
  Mat<float> y(6, 2), dx(6, 2);
  norm.forward(p, x, cache, y);
  norm.backward(p, x, cache, dy, g, dx);
  EXPECT_TRUE(y.allFinite() && dx.allFinite());
}

TEST(LayerNorm, WorksInPlace) {
  Random random(4);
  const LayerNorm<double> norm({.dim = 7});
  const auto p = generic(norm, random);
  const auto x = random_matrix<double>(7, 5, random), dy = random_matrix<double>(7, 5, random);
  LayerNorm<double>::Cache cache;
  auto g = norm.zeros(), g_in_place = norm.zeros(), g_over_x = norm.zeros();
  Mat<double> y(7, 5), dx(7, 5), z = x, dz = dy, over_x = x;
  norm.forward(p, x, cache, y);
  norm.backward(p, x, cache, dy, g, dx);
  norm.forward(p, z, cache, z);
  norm.backward(p, x, cache, dz, g_in_place, dz);
  norm.backward(p, over_x, cache, dy, g_over_x, over_x);
  EXPECT_EQ(y, z);
  EXPECT_EQ(dx, dz);
  EXPECT_EQ(dx, over_x);
  EXPECT_EQ(g.weight, g_over_x.weight);
  EXPECT_EQ(g.bias, g_over_x.bias);
  EXPECT_EQ(g.weight, g_in_place.weight);
  EXPECT_EQ(g.bias, g_in_place.bias);
}

TEST(LayerNorm, AddsAnotherGradientOfItsInput) {
  Random random(5);
  const LayerNorm<double> norm({.dim = 7});
  const auto p = generic(norm, random);
  const auto x = random_matrix<double>(7, 5, random), dy = random_matrix<double>(7, 5, random);
  const auto other = random_matrix<double>(7, 5, random);
  LayerNorm<double>::Cache cache;
  auto g = norm.zeros(), g_sum = norm.zeros();
  Mat<double> y(7, 5), dx(7, 5), sum(7, 5), over_x = x, over_other = other;
  norm.forward(p, x, cache, y);
  norm.backward(p, x, cache, dy, g, dx);
  norm.backward_add(p, x, cache, {dy, other}, g_sum, sum);
  EXPECT_LT(conformance::relative_error(sum, (dx + other).eval(), 1e-3), 1e-15);
  EXPECT_EQ(g.weight, g_sum.weight);
  EXPECT_EQ(g.bias, g_sum.bias);
  norm.backward_add(p, over_x, cache, {dy, other}, g_sum, over_x);
  norm.backward_add(p, x, cache, {dy, over_other}, g_sum, over_other);
  EXPECT_EQ(sum, over_x);
  EXPECT_EQ(sum, over_other);
}

TEST(LayerNorm, RefusesBadSettings) {
  EXPECT_THROW(LayerNorm<float>({.dim = 0}), std::invalid_argument);
  EXPECT_THROW(LayerNorm<float>({.dim = 4, .epsilon = 0}), std::invalid_argument);
  EXPECT_THROW(LayerNorm<float>({.dim = 4, .epsilon = std::nan("")}), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::nn
