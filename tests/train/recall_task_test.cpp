// The generator of bench/context: each answer follows from the pair that was shown, at the distance that was asked for.
#include "../../bench/context/recall_task.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace recall {
namespace {

struct Pair {
  std::size_t at;
  Byte value;
};

TEST(RecallTask, QuestionsAreAnsweredByThePairThatWasShown) {
  std::set<std::size_t> offsets;
  for (const std::size_t distance : {20, 333, 5000})
    for (int seed = 0; seed < 20; ++seed) {
      SCOPED_TRACE(std::to_string(distance) + " bytes, seed " + std::to_string(seed));
      Random random = Random::of(distance, seed);
      const auto text = episode(
          distance + 512, [&] { return distance; }, random);
      ASSERT_EQ(text.size(), distance + 512);
      std::map<Byte, Pair> shown;
      std::set<Byte> asked;
      for (std::size_t t = 3; t < text.size(); ++t) {
        if (text[t - 1] != '=') continue;
        const Byte key = text[t - 2];
        if (text[t - 3] == '+') {
          EXPECT_FALSE(asks(text, t - 1));
          EXPECT_TRUE(shown.insert({key, {t, text[t]}}).second) << "a key is shown twice";
          continue;
        }
        EXPECT_TRUE(asks(text, t - 1));
        ASSERT_TRUE(shown.contains(key));
        EXPECT_EQ(text[t], shown[key].value);
        EXPECT_TRUE(asked.insert(key).second) << "a key is asked for twice";
        EXPECT_GE(t - shown[key].at, distance);
        if (distance > 300) {
          EXPECT_EQ(t - shown[key].at, distance);
        }
        offsets.insert(t % 8);
      }
      EXPECT_EQ(shown.size(), kKeys);
      EXPECT_EQ(asked.size(), kKeys);
    }
  EXPECT_EQ(offsets.size(), 8U) << "questions stand at every offset within a patch";
}

TEST(RecallTask, DistancesAreSpreadInTheLogarithm) {
  Random random(3);
  const auto draw = log_uniform(16, 16384, random);
  int below = 0;
  for (int i = 0; i < 2000; ++i) {
    const double distance = draw();
    ASSERT_GE(distance, 16);
    ASSERT_LE(distance, 16384);
    below += distance < 512 ? 1 : 0;
  }
  EXPECT_NEAR(below, 1000, 100);
}

TEST(RecallTask, WhatFindsNoRoomIsLeftOut) {
  Random random(1);
  const auto text = episode(
      600, [] { return 10'000; }, random);
  EXPECT_EQ(text.size(), 600U);
  for (std::size_t t = 0; t < text.size(); ++t) EXPECT_FALSE(asks(text, t));
}

}  // namespace
}  // namespace recall
