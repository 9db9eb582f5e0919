#include "qllk/optim/adam.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <vector>

#include "qllk/core/random.hpp"

namespace qllk::optim {
namespace {

// Values are independent of each other, so any number of them must follow the equation, whatever pieces they are taken
// in.
TEST(AdamUpdate, EveryValueFollowsTheEquationForAnySize) {
  constexpr AdamW settings{.learning_rate = 0.01, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.3};
  constexpr double clip = 0.4;
  for (const std::size_t size : {0u, 1u, 1023u, 1024u, 1025u, 2048u, 3000u})
    for (const bool decays : {false, true}) {
      Random random = Random::of(1, size);
      std::vector<double> p(size), g(size), m(size), v(size);
      for (auto* values : {&p, &g, &m, &v})
        for (double& value : *values) value = random.uniform() + 0.1;
      auto expected_p = p, expected_m = m, expected_v = v;
      for (std::size_t i = 0; i < size; ++i) {
        const double gradient = clip * g[i];
        expected_m[i] = 0.8 * m[i] + 0.2 * gradient;
        expected_v[i] = 0.95 * v[i] + 0.05 * gradient * gradient;
        const double mean = expected_m[i] / (1 - std::pow(0.8, 3)), square = expected_v[i] / (1 - std::pow(0.95, 3));
        expected_p[i] = p[i] * (decays ? 1 - 0.01 * 0.3 : 1) - 0.01 * mean / (std::sqrt(square) + 1e-8);
      }
      AdamUpdate<double>(settings, 3, settings.learning_rate, clip).apply(p, g, m, v, decays);
      for (std::size_t i = 0; i < size; ++i) {
        ASSERT_TRUE(std::abs(p[i] - expected_p[i]) <= 1e-14) << "value " << i << " of " << size;
        ASSERT_TRUE(std::abs(m[i] - expected_m[i]) <= 1e-14) << "value " << i << " of " << size;
        ASSERT_TRUE(std::abs(v[i] - expected_v[i]) <= 1e-14) << "value " << i << " of " << size;
      }
    }
}

}  // namespace
}  // namespace qllk::optim
