#include "qllk/optim/lion.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/core/random.hpp"

namespace qllk::optim {
namespace {

TEST(LionUpdate, EveryValueFollowsTheEquationForAnySize) {
  constexpr Lion settings{.learning_rate = 0.01, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.3};
  constexpr double clip = 0.4;
  for (const std::size_t size : {0u, 1u, 7u, 1023u})
    for (const bool decays : {false, true}) {
      Random random = Random::of(1, size);
      std::vector<double> p(size), g(size), m(size);
      for (auto* values : {&p, &g, &m})
        for (double& value : *values) value = random.uniform() - 0.5;
      auto expected_p = p, expected_m = m;
      for (std::size_t i = 0; i < size; ++i) {
        const double direction = 0.8 * m[i] + 0.2 * clip * g[i];
        const double sign = direction > 0 ? 1 : -1;
        expected_p[i] = p[i] - 0.01 * (sign + (decays ? 0.3 * p[i] : 0));
        expected_m[i] = 0.95 * m[i] + 0.05 * clip * g[i];
      }
      LionUpdate<double>(settings, 3, settings.learning_rate, clip).apply(p, g, m, decays);
      for (std::size_t i = 0; i < size; ++i) {
        ASSERT_TRUE(std::abs(p[i] - expected_p[i]) <= 1e-15) << "value " << i << " of " << size;
        ASSERT_TRUE(std::abs(m[i] - expected_m[i]) <= 1e-15) << "value " << i << " of " << size;
      }
    }
}

/// Powers of two, so that every value below is exact.
TEST(LionUpdate, ThreeUpdatesByHand) {
  constexpr Lion settings{.learning_rate = 0.25, .beta1 = 0.5, .beta2 = 0.75, .weight_decay = 0};
  std::vector<float> p{1, 1}, m{0, 0};
  const auto update = [&](std::vector<float> g) {
    LionUpdate<float>(settings, 1, settings.learning_rate).apply(p, g, m, true);
  };
  update({4, 0});  // a value without gradient or momentum stays
  EXPECT_EQ(p, (std::vector<float>{0.75, 1}));
  EXPECT_EQ(m, (std::vector<float>{1, 0}));
  update({-0.5, -8});  // the momentum outweighs a small gradient
  EXPECT_EQ(p, (std::vector<float>{0.5, 1.25}));
  EXPECT_EQ(m, (std::vector<float>{0.625, -2}));
  update({-0.625, 2});  // they cancel: sign(0) = 0
  EXPECT_EQ(p, (std::vector<float>{0.5, 1.25}));
  EXPECT_EQ(m, (std::vector<float>{0.3125, -1}));
}

TEST(Lion, ASettingOutsideItsRangeIsAnErrorThatNamesIt) {
  EXPECT_NO_THROW(Lion{}.check());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto expect_error = [](const Lion& settings, const std::string& name) {
    try {
      settings.check();
      ADD_FAILURE() << name << " is taken";
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(std::string(error.what()).find(name + " is "), 0u) << error.what();
    }
  };
  for (const double bad : {-1.0, nan}) {
    expect_error({.learning_rate = bad}, "learning rate");
    expect_error({.beta1 = bad}, "beta1");
    expect_error({.beta2 = bad}, "beta2");
    expect_error({.weight_decay = bad}, "weight decay");
  }
}

}  // namespace
}  // namespace qllk::optim
