#include "qllk/nn/loss.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "qllk/testing/gradient_check.hpp"

namespace qllk::nn {
namespace {

using conformance::random_bytes;
using conformance::random_matrix;

template <class Scalar>
class Loss : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Loss, Scalars);

/// By the definition, in long double; the gradient is of the sum.
template <Real Scalar>
double reference(const std::vector<Byte>& targets, const Mat<Scalar>& logits, Mat<double>& gradient) {
  long double nats = 0;
  gradient.resize(logits.rows(), logits.cols());
  for (Index t = 0; t < logits.cols(); ++t) {
    const Index target = targets[static_cast<std::size_t>(t)];
    long double sum = 0;  // relative to the target: every exponent is exact, and none is lost that matters
    long double largest = 0;
    for (Index c = 0; c < kByteValues; ++c)
      largest = std::max(largest, static_cast<long double>(logits(c, t)) - static_cast<long double>(logits(target, t)));
    for (Index c = 0; c < kByteValues; ++c)
      sum += std::exp(static_cast<long double>(logits(c, t)) - static_cast<long double>(logits(target, t)) - largest);
    nats += std::log(sum) + largest;
    for (Index c = 0; c < kByteValues; ++c) {
      const long double p =
          std::exp(static_cast<long double>(logits(c, t)) - static_cast<long double>(logits(target, t)) - largest) /
          sum;
      gradient(c, t) = static_cast<double>(p - (c == target ? 1 : 0));
    }
  }
  return static_cast<double>(nats);
}

TYPED_TEST(Loss, MatchesTheDefinition) {
  using Scalar = TypeParam;
  const double tolerance = 64 * static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  for (const Index n : {0, 1, 2, 33}) {
    for (const double size : {0.0, 1.0, 30.0}) {
      Random random = Random::of(n, static_cast<int>(size));
      const auto targets = random_bytes(n, random);
      const auto logits = random_matrix<Scalar>(kByteValues, n, random, size);
      Mat<double> expected;
      const double nats = reference(targets, logits, expected);
      Mat<Scalar> gradient = logits;
      const Scalar scale = Scalar(0.25);
      const double loss = softmax_cross_entropy<Scalar>(targets, gradient, scale);
      EXPECT_TRUE(std::abs(loss - nats) <= tolerance * (1 + nats)) << n << ", " << size;
      EXPECT_TRUE(conformance::relative_error(gradient, expected * 0.25, 1e-3) <= tolerance) << n << ", " << size;
      EXPECT_TRUE(std::abs((cross_entropy<Scalar>(targets, logits)) - nats) <= tolerance * (1 + nats));
    }
  }
}

TYPED_TEST(Loss, UniformLogitsCostEightBits) {
  using Scalar = TypeParam;
  const std::vector<Byte> targets{0, 255, 17};
  const Mat<Scalar> logits = Mat<Scalar>::Constant(kByteValues, 3, Scalar(5));
  EXPECT_TRUE(std::abs((cross_entropy<Scalar>(targets, logits)) * kBitsPerNat - 24) <= 1e-5);
}

TYPED_TEST(Loss, HugeLogitsStayFinite) {
  using Scalar = TypeParam;
  const std::vector<Byte> targets{3, 3, 3};
  Mat<Scalar> logits = Mat<Scalar>::Zero(kByteValues, 3);
  logits(3, 0) = Scalar(1e4);
  logits(3, 1) = Scalar(-1e4);
  logits.col(2).setConstant(Scalar(-1e4));
  logits(9, 2) = Scalar(1e4);
  const Mat<Scalar> before = logits;
  const double nats = softmax_cross_entropy<Scalar>(targets, logits, Scalar(1));
  EXPECT_TRUE(std::abs(nats - (0 + 1e4 + std::log(255.0) + 2e4)) <= 1e-2);
  EXPECT_TRUE(std::abs((cross_entropy<Scalar>(targets, before)) - nats) <= 1e-9 * nats);
  EXPECT_TRUE(logits.allFinite());
  EXPECT_TRUE(logits.col(0).norm() <= 1e-6);
  EXPECT_EQ(logits(3, 1), Scalar(-1));
  EXPECT_EQ(logits(9, 2), Scalar(1));
}

TYPED_TEST(Loss, SumsOverPositions) {
  using Scalar = TypeParam;
  Random random(5);
  const auto targets = random_bytes(6, random);
  const auto logits = random_matrix<Scalar>(kByteValues, 6, random);
  double sum = 0;
  for (std::size_t t = 0; t < 6; ++t)
    sum += cross_entropy<Scalar>(Bytes(targets).subspan(t, 1), logits.col(static_cast<Index>(t)));
  EXPECT_TRUE(std::abs((cross_entropy<Scalar>(targets, logits)) - sum) <= 1e-12 * sum);
}

TYPED_TEST(Loss, OneBadLogitMakesTheLossNotFinite) {
  using Scalar = TypeParam;
  const Scalar nan = std::numeric_limits<Scalar>::quiet_NaN(), infinity = std::numeric_limits<Scalar>::infinity();
  Random random(6);
  const auto targets = random_bytes(3, random);
  for (const Scalar bad : {nan, infinity})
    for (Index row = 0; row < kByteValues; ++row) {
      auto logits = random_matrix<Scalar>(kByteValues, 3, random);
      logits(row, 1) = bad;
      EXPECT_FALSE(std::isfinite(cross_entropy<Scalar>(targets, logits))) << row;
      EXPECT_FALSE(std::isfinite(softmax_cross_entropy<Scalar>(targets, logits, Scalar(1)))) << row;
    }
  Mat<Scalar> logits = Mat<Scalar>::Zero(kByteValues, 3);
  logits(targets[2], 2) = -infinity;
  EXPECT_FALSE(std::isfinite(softmax_cross_entropy<Scalar>(targets, logits, Scalar(1))));
}

TEST(LossGradient, MatchesCentralDifference) {
  Random random(7);
  const auto targets = random_bytes(2, random);
  Mat<double> logits = random_matrix<double>(kByteValues, 2, random), gradient = logits;
  softmax_cross_entropy<double>(targets, gradient, 1.0);
  conformance::GradientReport report;
  conformance::detail::compare("logits", logits.data(), gradient.reshaped(),
                               [&] { return cross_entropy<double>(targets, logits); },
                               {{.step = 0x1p-8, .entries = logits.size()}, random, report});
  EXPECT_TRUE(report.passed(1e-9)) << report.str();
}

}  // namespace
}  // namespace qllk::nn
