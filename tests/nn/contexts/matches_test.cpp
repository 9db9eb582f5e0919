#include "qllk/nn/contexts/matches.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "qllk/testing/subject.hpp"

namespace qllk::nn {
namespace {

using conformance::random_bytes;

/// What a row says.
struct Found {
  Index order = 0, bucket = -1;  // -1: nothing agrees
  int predicted = -1;
};

std::vector<Found> matches_of(const MatchContext& context, const std::vector<Byte>& text) {
  MatchContext::State state;
  context.reset(state);
  const auto orders = static_cast<std::size_t>(context.orders());
  std::vector<std::uint32_t> entries(text.size() * orders);
  context.look_up(text, state, RowWriter(entries.data(), orders, 0));
  std::vector<Found> out;
  for (const auto entry : entries) {
    const auto row = static_cast<Index>(entry >> 1);
    if (entry == RowWriter::kNone)
      out.push_back({});
    else
      out.push_back({row / MatchContext::kRowsPerOrder, row % MatchContext::kRowsPerOrder / kByteValues,
                     static_cast<int>(row % kByteValues)});
  }
  return out;
}

/// How many bytes before positions a and b of a text are the same.
Index agreement(const std::vector<Byte>& text, Index a, Index b) {
  Index length = 0;
  while (length < a && text[static_cast<std::size_t>(a - 1 - length)] == text[static_cast<std::size_t>(b - 1 - length)])
    ++length;
  return length;
}

/// Beside the plain form, a map from the last bytes to what followed them: equal but where two contexts share a slot.
TEST(MatchContext, FindsTheMostRecentOccurrence) {
  const MatchContext context({.lengths = {7, 5, 2}});
  Random random(1);
  const auto text = random_bytes(3000, random, 4);
  const auto found = matches_of(context, text);
  for (const std::size_t order : {1, 2}) {
    const std::size_t length = order == 1 ? 5 : 2;
    std::map<std::string, Index> last;
    int same = 0, expected = 0;
    for (std::size_t t = length; t < text.size(); ++t) {  // after byte t-1
      const std::string key(text.begin() + static_cast<std::ptrdiff_t>(t - length),
                            text.begin() + static_cast<std::ptrdiff_t>(t));
      const Found& got = found[(t - 1) * 3 + order];
      if (const auto at = last.find(key); at != last.end()) {
        ++expected;
        const auto agreed =
            static_cast<std::uint32_t>(std::min<Index>(agreement(text, at->second, static_cast<Index>(t)), 48));
        same +=
            got.predicted == text[static_cast<std::size_t>(at->second)] && got.bucket == MatchContext::bucket(agreed);
      } else {
        EXPECT_EQ(got.predicted, -1) << t;
      }
      last[key] = static_cast<Index>(t);
    }
    EXPECT_GT(expected, 80) << order;
    EXPECT_GE(same, expected - expected / 20) << order << ": " << same << " of " << expected;
  }
}

/// Whatever collides and however often the ring has been overwritten: what a row claims stands in the window.
TEST(MatchContext, EveryMatchIsOne) {
  const MatchContext context({.lengths = {12, 3}, .window_bits = 8});
  Random random(2);
  for (const Index alphabet : {1, 2, 4, 20, 256}) {
    const auto text = random_bytes(3000, random, alphabet);
    const auto found = matches_of(context, text);
    for (std::size_t e = 0; e < found.size(); ++e) {
      if (found[e].predicted < 0) continue;
      const auto now = static_cast<Index>(e / 2 + 1);
      bool real = false;
      for (Index at = std::max<Index>(0, now - 256); at < now && !real; ++at) {
        const Index agreed = agreement(text, at, now);
        // a pointer's agreement is counted on from 48, so that it may be said to be longer, never shorter
        real = text[static_cast<std::size_t>(at)] == found[e].predicted && agreed >= 3 &&
               MatchContext::bucket(static_cast<std::uint32_t>(agreed)) >= found[e].bucket;
      }
      EXPECT_TRUE(real) << "alphabet " << alphabet << ", entry " << e;
    }
  }
}

TEST(MatchContext, ABlockThatComesAgainIsPredictedToTheEnd) {
  const MatchContext context({.lengths = {6, 3}});
  Random random(3);
  const auto block = random_bytes(4096, random);
  auto text = block;
  for (int i = 0; i < 3; ++i) text.insert(text.end(), block.begin(), block.end());
  const auto found = matches_of(context, text);
  int right = 0, all = 0;
  for (std::size_t t = block.size() + 6; t + 1 < text.size(); ++t) {
    right += found[t * 2].predicted == text[t + 1];
    ++all;
  }
  EXPECT_GE(right, all - all / 1000) << right << " of " << all;
  EXPECT_EQ(found[(block.size() + 200) * 2].bucket, MatchContext::kBuckets - 1);
}

TEST(MatchContext, ThePointerStaysWhileItPredictsRightly) {
  const MatchContext context({.lengths = {4, 2}});
  // "abcd" stands twice: followed by a long text, and then by another one, which is the more recent
  const std::string text = "abcdefghijklmnop abcdXYZ efghijklm";
  const auto found = matches_of(context, {text.begin(), text.end()});
  const auto at = [&](std::string_view part, std::size_t order) {
    return found[(text.rfind(part) + part.size() - 1) * 2 + order];
  };
  EXPECT_EQ(at("abcd", 0).predicted, 'e');
  EXPECT_EQ(at("abcdX", 0).predicted, -1);
  EXPECT_EQ(at("ef", 0).predicted, 'g');  // by two bytes, as four have not come before
  EXPECT_EQ(at("efghijkl", 0).predicted, 'm');
  EXPECT_EQ(at("efghijkl", 0).bucket, MatchContext::bucket(8));
}

TEST(MatchContext, PrimingALongHistoryKnowsAllOfIt) {
  const MatchContext context({.lengths = {6, 3}, .window_bits = 12});
  Random random(4);
  const auto history = random_bytes(4000, random), fresh = random_bytes(50, random);
  auto text = fresh;
  text.insert(text.end(), history.begin() + 700, history.begin() + 900);
  MatchContext::State state;
  context.reset(state);
  context.prime(history, state);
  std::vector<std::uint32_t> entries(text.size() * 2);
  context.look_up(text, state, RowWriter(entries.data(), 2, 0));
  for (std::size_t t = 60; t + 1 < text.size(); ++t) EXPECT_EQ(entries[t * 2] >> 1 & 255, text[t + 1]) << t;
}

TEST(MatchContext, BucketsRiseWithTheAgreement) {
  for (std::uint32_t length = 1; length < 300; ++length) {
    EXPECT_GE(MatchContext::bucket(length + 1), MatchContext::bucket(length));
    EXPECT_LT(MatchContext::bucket(length), MatchContext::kBuckets);
  }
  EXPECT_EQ(MatchContext::bucket(1), 0);
  EXPECT_EQ(MatchContext::bucket(8), 7);
  EXPECT_EQ(MatchContext::bucket(96), 15);
}

/// The state does not grow, whatever is read.
TEST(MatchContext, MemoryIsBounded) {
  const MatchContext context({.lengths = {8, 4, 2}});
  MatchContext::State state;
  context.reset(state);
  const auto held = [&] { return state.ring.capacity() + 2 * state.tables.capacity(); };
  const auto before = held();
  EXPECT_LE(before, std::size_t{1} << 20);
  Random random(5);
  for (int i = 0; i < 20; ++i) context.prime(random_bytes(10000, random), state);
  EXPECT_EQ(held(), before);
}

}  // namespace
}  // namespace qllk::nn
