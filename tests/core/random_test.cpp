#include "qllk/core/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace qllk {
namespace {

// Golden values: the published first outputs of splitmix64 (seed 1234567) and of xoshiro256** (state 1, 2, 3, 4), and
// for the rest a separate implementation in arbitrary-precision integers.

TEST(Mix64, IsTheOutputFunctionOfSplitmix64) {
  const std::array<std::uint64_t, 5> expected = {0x599ed017fb08fc85, 0x2c73f08458540fa5, 0x883ebce5a3f27c77,
                                                 0x3fbef740e9177b3f, 0xe3b8346708cb5ecd};
  std::uint64_t counter = 1234567;
  for (const auto word : expected) {
    EXPECT_EQ(mix64(counter), word);
    counter += 0x9E3779B97F4A7C15u;
  }
  EXPECT_EQ(mix64(0), 0xe220a8397b1dcdafu);
  EXPECT_EQ(mix64(~std::uint64_t{0}), 0xe4d971771b652c20u);
}

TEST(Random, BitsAreThoseOfXoshiro256StarStar) {
  Random random(Random::State{1, 2, 3, 4});
  for (const std::uint64_t word :
       {std::uint64_t{11520}, std::uint64_t{0}, std::uint64_t{1509978240}, std::uint64_t{1215971899390074240},
        std::uint64_t{1216172134540287360}, std::uint64_t{607988272756665600}, std::uint64_t{16172922978634559625u},
        std::uint64_t{8476171486693032832}})
    EXPECT_EQ(random.bits(), word);
}

TEST(Random, SeedsItsStateWithMix64) {
  Random random(42);
  const Random::State expected = {0xbdd732262feb6e95, 0x57e1faba65107204, 0x6310bf04d8207f46, 0xc16129ecd0dc5b93};
  EXPECT_EQ(random.state(), expected);
  for (const std::uint64_t word : {0x5c8961e1f2055d33u, 0xe182e8e848466886u, 0x9f7313650e290a18u, 0xe6c0f551804ef0bbu,
                                   0x25fcce688f7e3b25u, 0x81c8c0c6e0febf41u})
    EXPECT_EQ(random.bits(), word);
}

TEST(Random, StaysOnItsSequence) {
  Random random(11);
  for (int i = 0; i < 10000; ++i) random.bits();
  EXPECT_EQ(random.bits(), 0xb89a9a2a9aa36096u);
}

TEST(Random, OfMakesAStreamOfSeveralNumbersInOrder) {
  EXPECT_EQ(Random::of(1, 2, 3).bits(), 0x8868024bdbe94281u);
  EXPECT_EQ(Random::of(3, 2, 1).bits(), 0x573f19953ef76f94u);
  EXPECT_EQ(Random::of(5).bits(), 0x0cb59af34e4bc9a9u);
  EXPECT_EQ(Random::of(-1, 0).bits(), 0x31d9fcfde0882f12u);
  EXPECT_EQ(Random::of(1u, 2L, std::uint8_t{3}).bits(), Random::of(1, 2, 3).bits());
}

TEST(Random, UniformBelowAndNormalAreExact) {
  Random uniform(7);
  for (const double x : {0x1.c634a14433422p-1, 0x1.37bbc6549cef2p-1, 0x1.fcc0e2ab9d388p-3})
    EXPECT_EQ(uniform.uniform(), x);

  Random below(8);
  for (const unsigned x : {8u, 6u, 4u, 4u, 0u, 5u, 0u, 4u, 8u, 1u, 3u, 5u, 1u, 4u, 1u, 7u})
    EXPECT_EQ(below.below(10), x);
  for (const std::uint64_t x :
       {7954291471032099885u, 10933427417711959938u, 7726051542479150508u, 599086386243845961u, 8601104123770275964u})
    EXPECT_EQ(below.below(std::uint64_t{3} << 62), x);

  Random normal(9);
  for (const double x : {0x1.4fa868ef6dca0p-5, 0x1.a47641e726348p-2, 0x1.263ffdfd490c8p-3, 0x1.de56b083f6d08p-3})
    EXPECT_EQ(normal.normal(), x);
}

TEST(Random, IsUsableAtCompileTime) {
  static_assert(mix64(0) == 0xe220a8397b1dcdafu);
  static_assert(Random::of(5).bits() == 0x0cb59af34e4bc9a9u);
  static_assert(Random(3).uniform() < 1);
  static_assert(Random(3).below(1) == 0);
}

TEST(Random, ACopyAndASavedStateGoOnAlike) {
  Random random(5);
  random.bits();
  Random copy = random;
  Random resumed(random.state());
  for (int i = 0; i < 100; ++i) {
    const auto word = random.bits();
    EXPECT_EQ(copy.bits(), word);
    EXPECT_EQ(resumed.bits(), word);
  }
}

TEST(Random, BelowIsUniform) {
  for (const int bound : {2, 3, 10, 97}) {
    Random random = Random::of(1, bound);
    constexpr int kDraws = 200000;
    std::vector<int> count(static_cast<std::size_t>(bound));
    for (int i = 0; i < kDraws; ++i) {
      const auto x = random.below(static_cast<std::uint64_t>(bound));
      ASSERT_LT(x, static_cast<std::uint64_t>(bound));
      ++count[static_cast<std::size_t>(x)];
    }
    const double expected = static_cast<double>(kDraws) / bound;
    double chi_squared = 0;
    for (const int n : count) chi_squared += (n - expected) * (n - expected) / expected;
    const double degrees = bound - 1;  // mean of chi², whose variance is twice that
    EXPECT_TRUE(chi_squared <= degrees + 5 * std::sqrt(2 * degrees)) << "bound " << bound << ": " << chi_squared;
  }
}

TEST(Random, BelowIsUniformWhereAThirdOfTheWordsIsDrawnAgain) {
  // Of 2^64 words a quarter is over for 3·2^62. Without drawing again, the low third would come twice as often.
  constexpr std::uint64_t kThird = std::uint64_t{1} << 62;
  Random random(2);
  std::array<int, 3> count{};
  for (int i = 0; i < 90000; ++i) ++count[static_cast<std::size_t>(random.below(3 * kThird) / kThird)];
  for (const int n : count) EXPECT_TRUE(std::abs(n - 30000) <= 5 * 142) << n;
}

TEST(Random, UniformFillsTheUnitInterval) {
  Random random(3);
  constexpr int kDraws = 100000;
  double sum = 0, squares = 0, lowest = 1, highest = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.uniform();
    sum += x;
    squares += x * x;
    lowest = std::min(lowest, x);
    highest = std::max(highest, x);
  }
  EXPECT_TRUE(lowest >= 0 && lowest < 1e-3);
  EXPECT_TRUE(highest < 1 && highest > 1 - 1e-3);
  EXPECT_TRUE(std::abs(sum / kDraws - 0.5) <= 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_TRUE(std::abs(squares / kDraws - 1.0 / 3) <= 5 * std::sqrt(4.0 / 45 / kDraws));
}

TEST(Random, NormalHasTheMomentsOfTwelveUniforms) {
  Random random(4);
  constexpr int kDraws = 200000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.normal();
    ASSERT_TRUE(std::abs(x) <= 6);
    m1 += x;
    m2 += x * x;
    m3 += x * x * x;
    m4 += x * x * x * x;
  }
  const double deviation = 1 / std::sqrt(static_cast<double>(kDraws));
  EXPECT_TRUE(std::abs(m1 / kDraws) <= 5 * deviation);
  EXPECT_TRUE(std::abs(m2 / kDraws - 1) <= 5 * std::sqrt(2.0) * deviation);
  EXPECT_TRUE(std::abs(m3 / kDraws) <= 5 * std::sqrt(15.0) * deviation);
  EXPECT_TRUE(std::abs(m4 / kDraws - 2.9) <= 5 * std::sqrt(96.0) * deviation);  // a true normal has 3
}

TEST(Fill, UniformKeepsToItsBound) {
  Random random(5), same(5);
  Mat<float> tensor(31, 17);
  fill_uniform(tensor, 0.25, random);
  EXPECT_TRUE(tensor.array().abs().maxCoeff() <= 0.25f);
  EXPECT_TRUE(tensor.maxCoeff() > 0.2f && tensor.minCoeff() < -0.2f);
  EXPECT_EQ(tensor(0, 0), static_cast<float>((2 * same.uniform() - 1) * 0.25));
}

TEST(Fill, NormalHasItsDeviation) {
  Random random(6);
  Vec<double> tensor(10000);
  fill_normal(tensor, 0.02, random);
  EXPECT_TRUE(std::abs(tensor.mean()) <= 5 * 0.02 / 100);
  EXPECT_TRUE(std::abs(std::sqrt(tensor.squaredNorm() / 10000) / 0.02 - 1) <= 0.05);
}

TEST(Fill, OfNothingDrawsNothing) {
  Random random(7);
  Mat<double> tensor(0, 3);
  fill_uniform(tensor, 1, random);
  fill_normal(tensor, 1, random);
  EXPECT_EQ(random.state(), Random(7).state());
}

}  // namespace
}  // namespace qllk
