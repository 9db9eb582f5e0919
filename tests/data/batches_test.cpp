#include "qllk/data/batches.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/random.hpp"
#include "support/temporary_folder.hpp"

namespace {

using qllk::Byte;
using qllk::Index;
using qllk::data::ConsecutiveSegments;
using qllk::data::Corpus;
using qllk::data::RandomCrops;

constexpr Index kHuge = Index{1} << (8 * sizeof(Index) - 2);

/// Byte i is i, so that a byte tells its place.
Corpus counting(int size) {
  std::vector<Byte> bytes(static_cast<std::size_t>(size));
  std::iota(bytes.begin(), bytes.end(), Byte{0});
  return Corpus::from_memory(bytes);
}

struct Batch {
  std::vector<Byte> inputs, targets;
  bool operator==(const Batch&) const = default;
};

Batch room(Index sequences, Index length) {
  const auto size = static_cast<std::size_t>(sequences * length);
  return {std::vector<Byte>(size), std::vector<Byte>(size)};
}

Batch batch_of(const RandomCrops& crops, std::uint64_t b, Index sequences, Index length) {
  Batch batch = room(sequences, length);
  crops.batch(b, sequences, length, batch.inputs, batch.targets);
  return batch;
}

Batch batch_of(const ConsecutiveSegments& segments, std::uint64_t b) {
  Batch batch = room(segments.sequences(), segments.length());
  segments.batch(b, batch.inputs, batch.targets);
  return batch;
}

std::vector<int> numbers(const std::vector<Byte>& bytes) { return {bytes.begin(), bytes.end()}; }

TEST(RandomCrops, TargetsAreTheNextBytesOfInputs) {
  const RandomCrops crops(counting(200), 1);
  for (std::uint64_t b = 0; b < 50; ++b) {
    const Batch batch = batch_of(crops, b, 3, 7);
    for (std::size_t i = 0; i < 21; ++i) {
      EXPECT_EQ(batch.targets[i], batch.inputs[i] + 1);
      if (i % 7 != 0) {
        EXPECT_EQ(batch.inputs[i], batch.targets[i - 1]);
      }
    }
  }
}

TEST(RandomCrops, EveryStartIsAboutAsLikely) {
  const RandomCrops crops(counting(100), 5);
  std::vector<int> starts(100, 0);
  for (std::uint64_t b = 0; b < 1000; ++b) {
    const Batch batch = batch_of(crops, b, 9, 10);
    for (std::size_t s = 0; s < 9; ++s) ++starts[batch.inputs[s * 10]];
  }
  for (std::size_t start = 0; start < 100; ++start) {
    // A mean of 100 with a deviation of 10, for each of the 90 starts that there are.
    const bool likely = starts[start] > 50 && starts[start] < 150;
    EXPECT_TRUE(start < 90 ? likely : starts[start] == 0) << start << ": " << starts[start];
  }
}

/// Three files of 10, 30 and 60 bytes; byte i is i.
Corpus weighted(const qllk::test::TemporaryFolder& folder, const std::vector<double>& weights) {
  std::vector<std::string> paths;
  int next = 0;
  for (const int size : {10, 30, 60}) {
    std::string text(static_cast<std::size_t>(size), ' ');
    for (char& c : text) c = static_cast<char>(next++);
    paths.push_back(folder / std::to_string(size));
    qllk::test::write_text(paths.back(), text);
  }
  return Corpus::open_all(paths, weights);
}

TEST(RandomCrops, DrawsFilesByWeightAndSize) {
  const qllk::test::TemporaryFolder folder;
  const RandomCrops crops(weighted(folder, {3, 1, 0.5}), 5);  // 30 + 30 + 30
  constexpr int kDraws = 9000, kLength = 10;
  std::vector<int> starts(100, 0);
  for (std::uint64_t b = 0; b < kDraws / 9; ++b) {
    const Batch batch = batch_of(crops, b, 9, kLength);
    for (std::size_t s = 0; s < 9; ++s) ++starts[batch.inputs[s * kLength]];
  }
  const auto share = [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    return static_cast<double>(std::accumulate(starts.begin() + begin, starts.begin() + end, 0)) / kDraws;
  };
  for (const auto& [begin, end] : {std::pair{0, 10}, {10, 40}, {40, 100}})
    EXPECT_NEAR(share(begin, end), 1.0 / 3, 0.02) << begin;
  for (std::ptrdiff_t i = 0; i < 10; ++i) EXPECT_NEAR(share(i, i + 1), 1.0 / 30, 0.01) << i;
  EXPECT_EQ(share(90, 100), 0) << "a crop of " << kLength << " + 1 bytes would go beyond the end";
  EXPECT_NEAR(share(89, 90), 11 * 0.5 / 90, 0.02) << "so that it begins earlier";
}

TEST(RandomCrops, EqualWeightsOfOneAreNone) {
  const qllk::test::TemporaryFolder folder;
  const RandomCrops plain(counting(100), 5), ones(weighted(folder, {1, 1, 1}), 5);
  for (std::uint64_t b = 0; b < 10; ++b) EXPECT_EQ(batch_of(plain, b, 9, 10), batch_of(ones, b, 9, 10));
}

TEST(ConsecutiveSegments, RefusesWeights) {
  const qllk::test::TemporaryFolder folder;
  EXPECT_THROW(ConsecutiveSegments(weighted(folder, {1, 2, 1}), 5, 2, 10), std::invalid_argument);
}

TEST(RandomCrops, BatchIsAPureFunctionOfSeedAndNumber) {
  const RandomCrops crops(counting(250), 7), same(counting(250), 7), other(counting(250), 8);
  const Batch third = batch_of(crops, 3, 8, 16);
  EXPECT_NE(batch_of(crops, 4, 8, 16), third);
  EXPECT_EQ(batch_of(same, 3, 8, 16), third);
  EXPECT_EQ(batch_of(crops, 3, 8, 16), third);
  EXPECT_NE(batch_of(other, 3, 8, 16), third);
}

TEST(RandomCrops, GoldenStartsOfOneSeed) {
  const RandomCrops crops(counting(256), 42);
  EXPECT_EQ(numbers(batch_of(crops, 0, 8, 1).inputs), (std::vector<int>{26, 0, 62, 76, 209, 125, 44, 32}));
  EXPECT_EQ(numbers(batch_of(crops, 1'000'000'007, 8, 1).inputs),
            (std::vector<int>{117, 95, 13, 111, 69, 15, 212, 19}));
}

TEST(RandomCrops, TakesTheOnlyCropOfTheShortestCorpus) {
  EXPECT_EQ(numbers(batch_of(RandomCrops(counting(5), 1), 0, 2, 4).targets),
            (std::vector<int>{1, 2, 3, 4, 1, 2, 3, 4}));
}

TEST(RandomCrops, RefusesShortCorporaAndWrongSizes) {
  const RandomCrops crops(counting(16), 1);
  Batch batch = room(1, 16);
  try {
    crops.batch(0, 1, 16, batch.inputs, batch.targets);
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(std::string(error.what()), "the corpus has 16 bytes, but a crop of length 16 needs 16 + 1");
  }
  EXPECT_THROW(crops.batch(0, 2, 4, batch.inputs, batch.targets), std::invalid_argument);
  EXPECT_THROW(crops.batch(0, 0, 4, {}, {}), std::invalid_argument);
  EXPECT_THROW(crops.batch(0, 4, 0, {}, {}), std::invalid_argument);
  EXPECT_THROW(crops.batch(0, -1, -16, batch.inputs, batch.targets), std::invalid_argument);
  EXPECT_THROW(crops.batch(0, kHuge, 16, batch.inputs, batch.targets), std::invalid_argument);
  EXPECT_THROW(RandomCrops(Corpus(), 1).batch(0, 1, 16, batch.inputs, batch.targets), std::invalid_argument);
}

TEST(ConsecutiveSegments, NoByteIsATargetTwiceInAnEpochAndFewAreLeftOut) {
  for (const int size : {13, 96, 97, 200, 255, 256}) {
    const ConsecutiveSegments segments(counting(size), 3, 3, 4);
    for (std::uint64_t epoch = 0; epoch < 5; ++epoch) {
      std::set<int> seen;
      std::size_t count = 0;
      for (std::uint64_t b = 0; b < segments.batches_per_epoch(); ++b)
        for (const int byte : numbers(batch_of(segments, epoch * segments.batches_per_epoch() + b).targets)) {
          seen.insert(byte);
          ++count;
        }
      EXPECT_EQ(seen.size(), count) << size;
      EXPECT_GT(count + 12, static_cast<std::size_t>(size));
    }
  }
}

TEST(ConsecutiveSegments, EveryByteIsATargetInSomeEpoch) {
  const ConsecutiveSegments segments(counting(256), 3, 5, 30);  // an epoch has 150
  std::set<int> seen;
  for (std::uint64_t b = 0; b < 50 * segments.batches_per_epoch(); ++b)
    for (const int byte : numbers(batch_of(segments, b).targets)) seen.insert(byte);
  EXPECT_EQ(seen.size(), 256u);
}

TEST(ConsecutiveSegments, StreamsContinueUnlessTheyStartAnew) {
  const ConsecutiveSegments segments(counting(256), 11, 2, 10);
  ASSERT_EQ(segments.batches_per_epoch(), 12u);
  int anew = 0;
  for (std::uint64_t b = 0; b < 60; ++b) {
    const Batch batch = batch_of(segments, b);
    for (std::size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(batch.targets[i], static_cast<Byte>(batch.inputs[i] + 1));  // 256 bytes: the ring closes by itself
      if (i % 10 != 0) {
        EXPECT_EQ(batch.inputs[i], batch.targets[i - 1]);
      }
    }
    if (segments.starts_anew(b)) {
      ++anew;
      continue;
    }
    const Batch before = batch_of(segments, b - 1);
    EXPECT_EQ(batch.inputs[0], before.targets[9]);
    EXPECT_EQ(batch.inputs[10], before.targets[19]);
  }
  EXPECT_EQ(anew, 5);
  EXPECT_TRUE(segments.starts_anew(0));
  EXPECT_TRUE(segments.starts_anew(12));
}

TEST(ConsecutiveSegments, EpochsBeginAtPlacesOfTheirOwn) {
  const ConsecutiveSegments segments(counting(256), 11, 2, 10);
  std::set<int> begins;
  for (std::uint64_t epoch = 0; epoch < 20; ++epoch) begins.insert(batch_of(segments, epoch * 12).inputs[0]);
  EXPECT_GE(begins.size(), 15u);
}

TEST(ConsecutiveSegments, BatchIsAPureFunctionOfSeedAndNumber) {
  const ConsecutiveSegments segments(counting(250), 7, 4, 8), same(counting(250), 7, 4, 8),
      other(counting(250), 8, 4, 8);
  const Batch tenth = batch_of(segments, 10);
  EXPECT_NE(batch_of(segments, 11), tenth);
  EXPECT_EQ(batch_of(same, 10), tenth);
  EXPECT_EQ(batch_of(segments, 10), tenth);
  EXPECT_NE(batch_of(other, 10), tenth);
}

TEST(ConsecutiveSegments, GoldenStartsOfOneSeed) {
  const ConsecutiveSegments segments(counting(250), 42, 4, 1);
  EXPECT_EQ(numbers(batch_of(segments, 0).inputs), (std::vector<int>{131, 193, 5, 67}));
  EXPECT_EQ(numbers(batch_of(segments, 62 * 9 + 3).inputs), (std::vector<int>{239, 51, 113, 175}));
}

TEST(ConsecutiveSegments, PassesFromTheEndOfTheCorpusToItsBeginning) {
  const ConsecutiveSegments segments(counting(7), 1, 1, 6);
  for (std::uint64_t b = 0; b < 20; ++b) {
    const Batch batch = batch_of(segments, b);
    for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(batch.targets[i], (batch.inputs[i] + 1) % 7);
  }
}

TEST(ConsecutiveSegments, RefusesShortCorporaAndWrongSizes) {
  EXPECT_NO_THROW(ConsecutiveSegments(counting(33), 1, 4, 8));
  try {
    const ConsecutiveSegments segments(counting(32), 1, 4, 8);
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(std::string(error.what()), "the corpus has 32 bytes, but 4 streams of length 8 need 4 × 8 + 1");
  }
  EXPECT_THROW(ConsecutiveSegments(Corpus(), 1, 1, 1), std::invalid_argument);
  EXPECT_THROW(ConsecutiveSegments(counting(32), 1, 0, 8), std::invalid_argument);
  EXPECT_THROW(ConsecutiveSegments(counting(32), 1, 4, -8), std::invalid_argument);
  EXPECT_THROW(ConsecutiveSegments(counting(32), 1, kHuge, kHuge), std::invalid_argument);
  Batch batch = room(4, 7);
  EXPECT_THROW(ConsecutiveSegments(counting(40), 1, 4, 8).batch(0, batch.inputs, batch.targets), std::invalid_argument);
}

}  // namespace
