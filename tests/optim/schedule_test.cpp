#include "qllk/optim/schedule.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "qllk/optim/average.hpp"

namespace qllk::optim {
namespace {

TEST(WarmupCosine, RisesLinearlyAndFallsToTheFloor) {
  const WarmupCosine schedule{.warmup = 10, .floor = 0.2};
  EXPECT_DOUBLE_EQ(schedule.factor(0, 0), 0.1);
  EXPECT_DOUBLE_EQ(schedule.factor(4, 0), 0.5);
  EXPECT_DOUBLE_EQ(schedule.factor(9, 0), 1);
  EXPECT_DOUBLE_EQ(schedule.factor(100, 0), 1);
  EXPECT_NEAR(schedule.factor(100, 0.5), 0.6, 1e-12);
  EXPECT_NEAR(schedule.factor(100, 1), 0.2, 1e-12);
  EXPECT_NEAR(schedule.factor(100, 7), 0.2, 1e-12);  // beyond the budget
  for (double progress = 0.1; progress <= 1; progress += 0.1)
    EXPECT_LT(schedule.factor(100, progress), schedule.factor(100, progress - 0.1)) << progress;
}

TEST(WarmupCosine, WithoutWarmupBeginsAtThePeak) { EXPECT_DOUBLE_EQ((WarmupCosine{.warmup = 0}).factor(0, 0), 1); }

/// The weights of the definition: w_i in proportion to i (i + 1) … (i + degree - 1).
TEST(WeightAverage, IsThePolynomialMean) {
  for (const int degree : {0, 1, 2, 10}) {
    SCOPED_TRACE(degree);
    const WeightAverage settings{.every = 3, .degree = static_cast<double>(degree)};
    double average = -1, sum = 0, total = 0;  // of the first value nothing but itself counts
    for (std::int64_t update = 1; update <= 60; ++update) {
      EXPECT_EQ(settings.begun(update), update >= 3);
      if (!settings.takes(update)) continue;
      const auto i = static_cast<double>(update / 3), value = std::sin(i);
      average += settings.share(update) * (value - average);
      double weight = 1;
      for (int k = 0; k < degree; ++k) weight *= (i + k) / 20;
      sum += weight * value;
      total += weight;
    }
    EXPECT_NEAR(average, sum / total, 1e-12);
  }
}

TEST(WeightAverage, NeverIsNever) {
  const WeightAverage settings{.every = 0};
  EXPECT_FALSE(settings.begun(1000));
  EXPECT_FALSE(settings.takes(1000));
}

}  // namespace
}  // namespace qllk::optim
