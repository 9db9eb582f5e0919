#include "qllk/nn/dropout.hpp"

#include <gtest/gtest.h>

namespace qllk::nn {
namespace {

TEST(Dropout, LeavesOutItsShareAndKeepsTheExpectation) {
  for (const double rate : {0.1, 0.5, 0.9}) {
    SCOPED_TRACE(rate);
    Noise noise{.rate = rate, .random = Random(3)};
    Dropout<float>::Cache cache;
    Mat<float> x = Mat<float>::Ones(100, 1000);
    Dropout<float>::forward(noise, cache, x);
    const double zeros = static_cast<double>((x.array() == 0).count()) / 1e5;
    EXPECT_NEAR(zeros, rate, 0.01);
    EXPECT_NEAR(static_cast<double>(x.mean()), 1, 0.03);
    EXPECT_EQ(x.array().isFinite().count(), x.size());
  }
}

TEST(Dropout, BackwardHasTheMaskOfForward) {
  Noise noise{.rate = 0.5, .random = Random(4)};
  Dropout<double>::Cache cache;
  Mat<double> y = Mat<double>::Ones(7, 9), dropped;
  Dropout<double>::forward(noise, cache, y);
  const Mat<double> dy = Mat<double>::Constant(7, 9, 3);
  EXPECT_EQ(Mat<double>(Dropout<double>::backward(cache, dy, dropped)), Mat<double>(3 * y));
  Mat<double> in_place = dy;
  Dropout<double>::backward(cache, in_place);
  EXPECT_EQ(in_place, dropped);
}

TEST(Dropout, OfNothingChangesNothing) {
  Noise noise;
  Dropout<double>::Cache cache;
  const Mat<double> x = Mat<double>::Random(5, 6);
  Mat<double> y = x, dropped;
  Dropout<double>::forward(noise, cache, y);
  EXPECT_EQ(y, x);
  EXPECT_EQ(Dropout<double>::backward(cache, x, dropped).data(), x.data());  // no copy
}

TEST(Dropout, TheSameNoiseGivesTheSameMask) {
  Mat<double> masks[2] = {Mat<double>::Ones(30, 30), Mat<double>::Ones(30, 30)};
  for (auto& mask : masks) {
    Noise noise{.rate = 0.3, .random = Random::of(1, 2, 3)};
    Dropout<double>::Cache cache;
    Dropout<double>::forward(noise, cache, mask);
  }
  EXPECT_EQ(masks[0], masks[1]);
}

}  // namespace
}  // namespace qllk::nn
