#include "qllk/nn/feature_shortcut.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "qllk/testing/gradient_check.hpp"

namespace qllk::nn {
namespace {

using conformance::random_matrix;

FeatureShortcut<double>::Params generic(const FeatureShortcut<double>& shortcut, Random& random) {
  auto p = shortcut.zeros();
  conformance::disturb(p, 0.4, random);
  return p;
}

TEST(FeatureShortcut, ForwardIsXPlusTanh) {
  Random random(1);
  const FeatureShortcut<double> shortcut({3});
  const auto p = generic(shortcut, random);
  const auto x = random_matrix<double>(3, 4, random);
  FeatureShortcut<double>::Cache cache;
  Mat<double> y(3, 4);
  shortcut.forward(p, x, cache, y);
  for (Index t = 0; t < 4; ++t)
    for (Index i = 0; i < 3; ++i) {
      double sum = 0;
      for (Index j = 0; j < 3; ++j) sum += p.weight(i, j) * x(j, t);
      EXPECT_TRUE(std::abs(y(i, t) - (x(i, t) + std::tanh(sum))) <= 1e-14);
    }
}

TEST(FeatureShortcut, BackwardMatchesCentralDifference) {
  for (const Index dim : {1, 2, 7, 16})
    for (const Index n : {1, 2, 9}) {
      Random random = Random::of(dim, n);
      const FeatureShortcut<double> shortcut({dim});
      const auto report = conformance::check_layer_gradients(shortcut, generic(shortcut, random),
                                                             random_matrix<double>(dim, n, random), dim);
      EXPECT_TRUE(report.passed()) << "dim " << dim << ", n " << n << ": " << report.str();
    }
}

TEST(FeatureShortcut, NoPositionsGiveNoGradient) {
  Random random(1);
  const FeatureShortcut<double> shortcut({2});
  const auto report = conformance::check_layer_gradients(shortcut, shortcut.init(random), Mat<double>(2, 0), 2);
  EXPECT_TRUE(report.passed(0, {""})) << report.str();  // the shortcut's one tensor has its owner's name
}

TEST(FeatureShortcut, BackwardWorksInPlace) {
  Random random(2);
  const FeatureShortcut<double> shortcut({5});
  const auto p = generic(shortcut, random);
  const auto x = random_matrix<double>(5, 4, random), dy = random_matrix<double>(5, 4, random);
  FeatureShortcut<double>::Cache cache;
  auto g = shortcut.zeros();
  Mat<double> y(5, 4), dx(5, 4), in_place = dy;
  shortcut.forward(p, x, cache, y);
  shortcut.backward(p, x, cache, dy, g, dx);
  shortcut.backward(p, x, cache, in_place, g, in_place);
  EXPECT_EQ(dx, in_place);
}

TEST(FeatureShortcut, RefusesDimZero) { EXPECT_THROW(FeatureShortcut<float>({0}), std::invalid_argument); }

}  // namespace
}  // namespace qllk::nn
