#include "qllk/nn/linear.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

#include "qllk/testing/gradient_check.hpp"

namespace qllk::nn {
namespace {

using conformance::random_matrix;

Linear<double>::Params generic(const Linear<double>& linear, Random& random) {
  auto p = linear.zeros();
  conformance::disturb(p, 0.5, random);
  return p;
}

TEST(Linear, ForwardIsWxPlusB) {
  Random random(1);
  const Linear<double> linear({3, 2});
  const auto p = generic(linear, random);
  const auto x = random_matrix<double>(3, 5, random);
  Linear<double>::Cache cache;
  Mat<double> y = Mat<double>::Constant(2, 5, conformance::detail::kNaN<double>);
  linear.forward(p, x, cache, y);
  for (Index t = 0; t < 5; ++t)
    for (Index i = 0; i < 2; ++i) {
      double expected = p.bias[i];
      for (Index j = 0; j < 3; ++j) expected += p.weight(i, j) * x(j, t);
      EXPECT_TRUE(std::abs(y(i, t) - expected) <= 1e-14);
    }
}

TEST(Linear, BackwardMatchesCentralDifference) {
  for (const auto& [in, out] : {std::pair<Index, Index>{1, 1}, {1, 3}, {7, 5}, {16, 32}, {33, 1}})
    for (const Index n : {1, 2, 9}) {
      Random random = Random::of(in, out, n);
      const Linear<double> linear({in, out});
      const auto report = conformance::check_layer_gradients(linear, generic(linear, random),
                                                             random_matrix<double>(in, n, random), out);
      EXPECT_TRUE(report.passed(1e-9)) << in << " to " << out << ", n " << n << ": " << report.str();
    }
}

TEST(Linear, NoPositionsGiveNoGradient) {
  const Linear<double> linear({3, 2});
  Random random(1);
  const auto report = conformance::check_layer_gradients(linear, linear.init(random), Mat<double>(3, 0), 2);
  EXPECT_TRUE(report.passed(0, {"weight", "bias"})) << report.str();
}

TEST(Linear, BackwardAddKeepsWhatDxHeld) {
  Random random(2);
  const Linear<double> linear({4, 3});
  const auto p = generic(linear, random);
  const auto x = random_matrix<double>(4, 6, random), dy = random_matrix<double>(3, 6, random);
  const auto before = random_matrix<double>(4, 6, random);
  Linear<double>::Cache cache;
  auto g = linear.zeros();
  Mat<double> dx(4, 6), sum = before;
  linear.backward(p, x, cache, dy, g, dx);
  linear.backward_add(p, x, dy, g, sum);
  EXPECT_TRUE(conformance::relative_error(sum, before + dx, 1) <= 1e-14);
}

TEST(Linear, InitialWeightsAreUniformWithinTheFanInBound) {
  Random random(3);
  const auto p = Linear<float>({64, 100}).init(random);
  EXPECT_TRUE(p.weight.cwiseAbs().maxCoeff() <= 0.125f);
  EXPECT_TRUE(p.weight.cwiseAbs().maxCoeff() > 0.12f);
  EXPECT_TRUE(p.bias.cwiseAbs().maxCoeff() <= 0.125f);
  EXPECT_TRUE(p.bias.cwiseAbs().maxCoeff() > 0.1f);
  EXPECT_TRUE(std::abs(p.weight.mean()) < 0.005f);
}

TEST(Linear, RefusesSizesThatAreNotPositive) {
  EXPECT_THROW(Linear<float>({0, 3}), std::invalid_argument);
  EXPECT_THROW(Linear<float>({3, -1}), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::nn
