#include "qllk/generate/sampler.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <stdexcept>

namespace qllk::generate {
namespace {

constexpr std::size_t kValues = 256;
using Logits = std::array<float, kValues>;
std::span<const float, kValues> view(const Logits& logits) { return std::span<const float, kValues>(logits); }

Logits random_logits(std::uint64_t seed, double scale) {
  Random random(seed);
  Logits logits;
  for (auto& z : logits) z = static_cast<float>(random.normal() * scale);
  return logits;
}

double sum(const Sampler::Probabilities& p) {
  double total = 0;
  for (const double x : p) total += x;
  return total;
}
int support(const Sampler::Probabilities& p) {
  int count = 0;
  for (const double x : p) count += x > 0;
  return count;
}

TEST(Sampler, ProbabilitiesSumToOneForAnySettings) {
  for (const double scale : {0.0, 1.0, 10.0, 1000.0})
    for (const double temperature : {0.0, 1e-3, 0.7, 1.0, 5.0})
      for (const Index top_k : {0, 1, 7, 256})
        for (const double top_p : {1e-9, 0.5, 0.9, 1.0}) {
          const auto p = Sampler({temperature, top_k, top_p}).probabilities<float>(view(random_logits(3, scale)));
          EXPECT_TRUE(std::abs(sum(p) - 1) <= 1e-6) << scale << ' ' << temperature << ' ' << top_k << ' ' << top_p;
          EXPECT_TRUE(support(p) >= 1);
          EXPECT_TRUE(top_k == 0 || support(p) <= top_k);
        }
}

TEST(Sampler, IsSoftmaxAtTemperatureOne) {
  const Logits logits = random_logits(5, 2);
  const auto p = Sampler({}).probabilities<float>(view(logits));
  double total = 0;
  for (const float z : logits) total += std::exp(static_cast<double>(z));
  for (std::size_t i = 0; i < kValues; ++i)
    EXPECT_TRUE(std::abs(p[i] - std::exp(static_cast<double>(logits[i])) / total) <= 1e-12);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  Logits logits{};
  logits[9] = 1;
  const auto at = [&](double temperature) { return Sampler({temperature}).probabilities<float>(view(logits))[9]; };
  EXPECT_TRUE(std::abs(at(0.5) - std::exp(2.0) / (std::exp(2.0) + 255)) <= 1e-12);
  EXPECT_TRUE(std::abs(at(2.0) - std::exp(0.5) / (std::exp(0.5) + 255)) <= 1e-12);
}

TEST(Sampler, TemperatureZeroTakesTheLikeliestAndOfEqualOnesTheLowest) {
  Logits logits{};
  logits[200] = logits[100] = 3;
  Random random(1);
  const auto before = random.state();
  EXPECT_EQ(Sampler({.temperature = 0}).pick<float>(view(logits), random), 100);
  EXPECT_EQ(random.state(), before);
}

TEST(Sampler, TopKKeepsExactlyKOfEqualOnes) {
  const Logits logits{};
  const auto p = Sampler({.top_k = 3}).probabilities<float>(view(logits));
  EXPECT_EQ(support(p), 3);
  EXPECT_TRUE(p[0] > 0 && p[1] > 0 && p[2] > 0);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  Logits logits;
  logits.fill(-std::numeric_limits<float>::infinity());
  logits[7] = static_cast<float>(std::log(0.5));
  logits[8] = static_cast<float>(std::log(0.3));
  logits[9] = static_cast<float>(std::log(0.2));
  const auto kept = [&](double top_p) { return support(Sampler({.top_p = top_p}).probabilities<float>(view(logits))); };
  EXPECT_EQ(kept(0.1), 1);
  EXPECT_EQ(kept(0.49), 1);
  EXPECT_EQ(kept(0.6), 2);
  EXPECT_EQ(kept(0.79), 2);
  EXPECT_EQ(kept(0.9), 3);
  EXPECT_EQ(kept(1.0), 3);
  const auto p = Sampler({.top_p = 0.6}).probabilities<float>(view(logits));
  EXPECT_TRUE(std::abs(p[7] - 0.5 / 0.8) <= 1e-6);
}

TEST(Sampler, DrawsAsOftenAsTheProbabilitiesSay) {
  const Logits logits = random_logits(11, 2);
  const Sampler sampler({.temperature = 0.8, .top_k = 20, .top_p = 0.9});
  const auto p = sampler.probabilities<float>(view(logits));
  std::array<int, kValues> counts{};
  Random random(2);
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.pick<float>(view(logits), random)];
  for (std::size_t i = 0; i < kValues; ++i) {
    const double error = std::abs(counts[i] - kDraws * p[i]), deviation = std::sqrt(kDraws * p[i] * (1 - p[i]));
    EXPECT_TRUE(error <= 5 * deviation + 1e-9) << i;
  }
}

TEST(Sampler, NeverDrawsWhatHasNoProbability) {
  Logits logits;
  logits.fill(-std::numeric_limits<float>::infinity());
  logits[65] = 0;
  Random random(1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Sampler({}).pick<float>(view(logits), random), 65);
}

TEST(Sampler, DrawsOneOfTheLikeliestAtTheSmallestTemperatures) {
  Logits logits = random_logits(7, 3);
  logits[3] = logits[200] = 20;
  Random random(1);
  for (const double temperature :
       {1e-6, 1e-30, 1e-44, 1e-300}) {  // the last two are denormal and 0 in single precision
    std::array<int, kValues> counts{};
    for (int i = 0; i < 100; ++i) ++counts[Sampler({temperature}).pick<float>(view(logits), random)];
    EXPECT_TRUE(counts[3] > 25 && counts[200] > 25 && counts[3] + counts[200] == 100) << temperature;
  }
}

TEST(Sampler, CutsByLogitsWhereWeightsAreEqual) {
  Logits logits;
  logits.fill(-5);
  logits[65] = 5;
  logits[10] = std::nextafter(5.0f, 0.0f);
  const Sampler sampler({.temperature = 100, .top_k = 1});
  EXPECT_EQ(sampler.probabilities<float>(view(logits))[65], 1);
  Random random(1);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(sampler.pick<float>(view(logits), random), 65);
}

TEST(Sampler, RefusesLogitsThatAreNotNumbers) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const double temperature : {0.0, 1.0}) {
      Logits logits{};
      logits[128] = bad;
      EXPECT_THROW(Sampler({temperature}).probabilities<float>(view(logits)), std::domain_error);
    }
  Logits nothing;
  nothing.fill(-std::numeric_limits<float>::infinity());
  EXPECT_THROW(Sampler({}).probabilities<float>(view(nothing)), std::domain_error);
}

TEST(Sampler, RefusesSettingsThatMakeNoSense) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double temperature : {-0.1, nan, std::numeric_limits<double>::infinity()})
    EXPECT_THROW(Sampler({.temperature = temperature}), std::invalid_argument);
  for (const Index top_k : {-1, 257}) EXPECT_THROW(Sampler({.top_k = top_k}), std::invalid_argument);
  for (const double top_p : {0.0, -1.0, 1.1, nan}) EXPECT_THROW(Sampler({.top_p = top_p}), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::generate
