#include "qllk/data/overlap.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "qllk/core/random.hpp"

namespace {

using qllk::Byte;
using qllk::data::Corpus;
using qllk::data::overlap;

std::vector<Byte> noise(std::uint64_t seed, std::size_t size) {
  qllk::Random random(seed);
  std::vector<Byte> bytes(size);
  for (Byte& byte : bytes) byte = static_cast<Byte>(random.below(64));
  return bytes;
}

Corpus joined(std::initializer_list<std::vector<Byte>> parts) {
  std::vector<Byte> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return Corpus::from_memory(std::move(all));
}

TEST(Overlap, IsTheShareThatOccursInTheOther) {
  for (const std::size_t size : {2'000u, 40'000u, 3'000'000u}) {
    const auto a = noise(1, size), b = noise(2, size), c = noise(3, 777);
    EXPECT_EQ(overlap(joined({a}), joined({b})), 0);
    EXPECT_EQ(overlap(joined({a}), joined({a})), 1);
    EXPECT_EQ(overlap(joined({a}), joined({c, b, a})), 1) << "wherever it stands";
    EXPECT_NEAR(overlap(joined({a, b}), joined({c, b})), 0.5, 0.04);
    EXPECT_NEAR(overlap(joined({a, b}), joined({b, a})), 1, 0.04) << "in any order";
  }
}

TEST(Overlap, PiecesOfLessThan64BytesDoNotCount) {
  const auto same = noise(1, 63), one_more = noise(1, 64);
  EXPECT_EQ(overlap(joined({noise(2, 500), same, noise(3, 500)}), joined({noise(4, 500), same, noise(5, 500)})), 0);
  EXPECT_GT(overlap(joined({noise(2, 500), one_more, noise(3, 500)}), joined({noise(4, 500), one_more, noise(5, 500)})),
            0);
}

TEST(Overlap, ShortAndUniformTexts) {
  const auto text = noise(1, 1'000);
  const Corpus none, all = joined({text}), few = all.slice(100, 120);
  EXPECT_EQ(overlap(none, all), 0);
  EXPECT_EQ(overlap(all, none), 0);
  EXPECT_EQ(overlap(few, all), 1);
  EXPECT_EQ(overlap(joined({noise(2, 20)}), all), 0);
  const Corpus zeros = joined({std::vector<Byte>(2'000'000)});
  EXPECT_EQ(overlap(zeros, zeros), 1);
  EXPECT_EQ(overlap(zeros, all), 0);
}

}  // namespace
