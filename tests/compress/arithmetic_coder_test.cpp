#include "qllk/compress/arithmetic_coder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "qllk/core/random.hpp"

namespace {

using qllk::Byte;
using qllk::Bytes;
using qllk::Random;
using qllk::compress::DecodeError;
using qllk::compress::kTotal;
using qllk::compress::RangeDecoder;
using qllk::compress::RangeEncoder;

struct Part {
  std::uint32_t begin, size;
  double bits() const { return std::log2(static_cast<double>(kTotal) / size); }
};

std::vector<Byte> encode(const std::vector<Part>& parts) {
  RangeEncoder encoder;
  for (const Part& part : parts) encoder.encode(part.begin, part.size);
  encoder.finish();
  return encoder.take();
}

double bits(const std::vector<Part>& parts) {
  double sum = 0;
  for (const Part& part : parts) sum += part.bits();
  return sum;
}

/// Checks that every part comes back, and that the bytes are as many as the theory says.
void expect_round_trip(const std::vector<Part>& parts) {
  const std::vector<Byte> bytes = encode(parts);
  const double ideal = bits(parts) / 8, size = static_cast<double>(bytes.size());
  EXPECT_TRUE(size >= ideal && size <= ideal * (1 + 1e-6) + 1.01) << size << " bytes for " << ideal;
  RangeDecoder decoder(bytes);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::uint32_t target = decoder.target();
    ASSERT_TRUE(target >= parts[i].begin && target - parts[i].begin < parts[i].size) << "symbol " << i;
    decoder.consume(parts[i].begin, parts[i].size);
  }
  EXPECT_TRUE(decoder.finished());
}

std::vector<Part> random_parts(std::uint64_t seed, std::size_t count, double exponent) {
  Random random(seed);
  std::vector<Part> parts;
  for (std::size_t i = 0; i < count; ++i) {
    const double share = std::pow(random.uniform(), exponent);
    const auto size = 1 + static_cast<std::uint32_t>(share * (kTotal - 1));
    parts.push_back({static_cast<std::uint32_t>(random.below(kTotal - size + 1)), size});
  }
  return parts;
}

TEST(ArithmeticCoder, ReturnsWhatWasWrittenInAsManyBitsAsItsProbability) {
  for (const double exponent : {0.01, 0.3, 1.0, 4.0, 20.0, 100.0})
    for (std::uint64_t seed = 0; seed < 5; ++seed) expect_round_trip(random_parts(seed, 20000, exponent));
}

TEST(ArithmeticCoder, ReturnsShortSequences) {
  for (std::uint64_t seed = 0; seed < 20000; ++seed) expect_round_trip(random_parts(seed, seed % 12, 5));
}

TEST(ArithmeticCoder, ReturnsTheFirstTheLastAndTheWholeOfTheRange) {
  expect_round_trip({});
  expect_round_trip(std::vector<Part>(1000, {0, kTotal}));
  for (const std::uint32_t size : {1u, 2u, 255u, kTotal / 3, kTotal - 1}) {
    expect_round_trip(std::vector<Part>(5000, {0, size}));
    expect_round_trip(std::vector<Part>(5000, {kTotal - size, size}));
  }
}

TEST(ArithmeticCoder, CarriesThroughLongRunsOfFullBytes) {
  // all of the upper end but the last, so that low stays just below a border which the last symbol then crosses or not
  for (std::size_t length = 0; length < 300; ++length)
    for (const Part last : {Part{0, 1}, Part{kTotal - 1, 1}, Part{kTotal / 2, kTotal / 2}}) {
      std::vector<Part> parts{{kTotal / 2 - 1, 2}};
      parts.insert(parts.end(), length, Part{kTotal / 2 - 1, 2});
      parts.push_back(last);
      expect_round_trip(parts);
      std::vector<Part> high{{kTotal / 4 - 1, 1}};
      high.insert(high.end(), length, Part{kTotal - 1, 1});
      high.push_back(last);
      expect_round_trip(high);
    }
}

TEST(ArithmeticCoder, MakesTheSameBytesHoweverTheyAreTaken) {
  const std::vector<Part> parts = random_parts(7, 3000, 3);
  RangeEncoder encoder;
  std::vector<Byte> taken;
  for (const Part& part : parts) {
    encoder.encode(part.begin, part.size);
    const auto more = encoder.take();
    taken.insert(taken.end(), more.begin(), more.end());
    EXPECT_EQ(encoder.ready(), 0u);
  }
  encoder.finish();
  const auto more = encoder.take();
  taken.insert(taken.end(), more.begin(), more.end());
  EXPECT_EQ(taken, encode(parts));
}

TEST(ArithmeticCoder, NoticesBytesThatAreCutShort) {
  const std::vector<Part> parts = random_parts(3, 200, 2);
  const std::vector<Byte> bytes = encode(parts);
  const auto decodes = [&](Bytes cut) {
    try {
      RangeDecoder decoder(cut);
      for (const Part& part : parts) {
        const std::uint32_t target = decoder.target();
        if (target < part.begin || target - part.begin >= part.size) return false;
        decoder.consume(part.begin, part.size);
      }
      return decoder.finished();
    } catch (const DecodeError&) {
      return false;
    }
  };
  EXPECT_TRUE(decodes(bytes));
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decodes(Bytes(bytes).first(size))) << size;
  std::vector<Byte> longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(decodes(longer));
}

TEST(ArithmeticCoder, ThrowsOnAnyBytesSoonerOrLater) {
  EXPECT_THROW(RangeDecoder{Bytes{}}, DecodeError);
  Random random(11);
  for (int round = 0; round < 200; ++round) {
    std::vector<Byte> bytes(random.below(100));
    for (Byte& byte : bytes) byte = static_cast<Byte>(round < 20 ? 0xFF : random.bits());
    const auto run = [&] {
      RangeDecoder decoder(bytes);
      for (int i = 0; i < 1000; ++i) {
        const std::uint32_t target = decoder.target();
        ASSERT_LT(target, kTotal);
        decoder.consume(target & ~0xFFFu, 0x1000);
      }
    };
    EXPECT_THROW(run(), DecodeError);
  }
}

}  // namespace
