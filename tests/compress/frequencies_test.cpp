#include "qllk/compress/frequencies.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "qllk/compress/arithmetic_coder.hpp"
#include "qllk/core/random.hpp"

namespace {

using qllk::Byte;
using qllk::kByteValues;
using qllk::Random;
using qllk::compress::Frequencies;
using qllk::compress::kTotal;

using Logits = std::array<float, kByteValues>;

Frequencies frequencies_of(const Logits& logits) {
  Frequencies frequencies;
  frequencies.assign<float>(logits);
  return frequencies;
}

Logits random_logits(std::uint64_t seed, double scale) {
  Random random(seed);
  Logits logits;
  for (float& logit : logits) logit = static_cast<float>(random.normal() * scale);
  return logits;
}

TEST(Frequencies, DivideTheWholeRangeAndLeaveNobodyOut) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Frequencies frequencies =
        frequencies_of(random_logits(seed, std::pow(1.15, static_cast<double>(seed)) * 1e-3));
    std::uint32_t end = 0;
    for (unsigned i = 0; i < kByteValues; ++i) {
      const auto byte = static_cast<Byte>(i);
      ASSERT_EQ(frequencies.begin(byte), end);
      ASSERT_GE(frequencies.size(byte), 1u);
      ASSERT_EQ(frequencies.find(end), byte);
      end += frequencies.size(byte);
      ASSERT_EQ(frequencies.find(end - 1), byte);
    }
    ASSERT_EQ(end, kTotal);
  }
}

TEST(Frequencies, AreTheSoftmaxOfTheLogits) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Logits logits = random_logits(seed, 0.05 * static_cast<double>(seed));
    const Frequencies frequencies = frequencies_of(logits);
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0, entropy = 0, cost = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
    for (unsigned i = 0; i < kByteValues; ++i) {
      const double p = std::exp(static_cast<double>(logits[i]) - top) / sum;
      const double f = frequencies.size(static_cast<Byte>(i)) / static_cast<double>(kTotal);
      EXPECT_TRUE(std::abs(f - p) <= 0x1p-22 + 3e-7 * p)
          << "seed " << seed << ", byte " << i << ": " << f << ", not " << p;
      entropy -= p * std::log2(p);
      cost -= p * std::log2(f);
    }
    EXPECT_TRUE(cost - entropy <= 0x1p-21) << cost - entropy;
  }
}

TEST(Frequencies, OfEqualLogitsAreEqualButForOne) {
  const Frequencies frequencies = frequencies_of({});
  EXPECT_TRUE(frequencies.size(1) >= kTotal / 256 - 1 && frequencies.size(1) <= kTotal / 256);
  for (unsigned i = 2; i < kByteValues; ++i) EXPECT_EQ(frequencies.size(static_cast<Byte>(i)), frequencies.size(1));
}

TEST(Frequencies, TakeTheLargestLogitsThatThereAre) {
  Logits logits{};
  logits[7] = std::numeric_limits<float>::max();
  logits[8] = std::numeric_limits<float>::lowest();
  const Frequencies frequencies = frequencies_of(logits);
  EXPECT_EQ(frequencies.size(7), kTotal - 255);
  EXPECT_EQ(frequencies.size(8), 1u);
}

TEST(Frequencies, RefuseWhatIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()})
    for (const std::size_t at : {0u, 1u, 128u, 255u}) {
      Logits logits = random_logits(1, 1);
      logits[at] = bad;
      EXPECT_THROW(frequencies_of(logits), std::runtime_error) << bad << " at " << at;
    }
}

TEST(Frequencies, AreTheSameOnEveryMachine) {
  Random random(5);
  std::uint64_t hash = 0;
  Frequencies frequencies;
  for (int round = 0; round < 100; ++round) {
    Logits logits;
    for (float& logit : logits) logit = static_cast<float>(random.uniform() * 30);
    frequencies.assign<float>(logits);
    for (unsigned i = 0; i < kByteValues; ++i) hash = qllk::mix64(hash ^ frequencies.size(static_cast<Byte>(i)));
  }
  EXPECT_EQ(hash, 15731327182819439279u);
}

}  // namespace
