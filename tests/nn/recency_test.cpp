#include "qllk/nn/recency.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "qllk/testing/subject.hpp"
#include "support/allocations.hpp"

namespace qllk::nn {
namespace {

using conformance::random_matrix;
using R = Recency<double>;

std::vector<Byte> babble(Index size, std::uint64_t seed, std::string_view alphabet = "abAB \n") {
  Random random(seed);
  std::vector<Byte> text(static_cast<std::size_t>(size));
  for (auto& byte : text) byte = static_cast<Byte>(alphabet[random.below(alphabet.size())]);
  return text;
}

R::Params generic(const R& recency) {
  Random random(7);
  auto p = recency.zeros();
  fill_normal(p.anywhere, 1, random);
  fill_normal(p.in_context, 1, random);
  return p;
}

R::State fresh(const R& recency, Index sequences) {
  R::State state;
  recency.reset(state, sequences);
  return state;
}

/// What is added to logits of zero, `chunk` positions of each sequence at a time.
Mat<double> biases(const R& recency, R::State& state, const std::vector<Byte>& bytes, Index chunk) {
  const auto p = generic(recency);
  R::Cache cache;
  const Index sequences = std::ssize(state.streams), length = std::ssize(bytes) / std::max<Index>(sequences, 1);
  Mat<double> out(kByteValues, std::ssize(bytes)), z;
  for (Index at = 0; at < length; at += chunk) {
    const Index size = std::min(chunk, length - at);
    std::vector<Byte> part;
    for (Index s = 0; s < sequences; ++s)
      part.insert(part.end(), bytes.begin() + s * length + at, bytes.begin() + s * length + at + size);
    recency.look_up(part, state, cache);
    z.setZero(kByteValues, sequences * size);
    recency.forward(p, cache, z);
    for (Index s = 0; s < sequences; ++s) out.middleCols(s * length + at, size) = z.middleCols(s * size, size);
  }
  return out;
}
Mat<double> biases(const R& recency, const std::vector<Byte>& bytes) {
  auto state = fresh(recency, 1);
  return biases(recency, state, bytes, std::ssize(bytes));
}

/// The definition, but for words: a text without letters has none. Its pairs of bytes have slots of their own here.
TEST(Recency, AddsWhatItsDefinitionSays) {
  for (const int bits : {12, 16}) {
    const R recency(bits);
    const auto p = generic(recency);
    auto text = babble((1 << bits) + 3000, 1, " \n.,;");
    text[1] = '#', text[2] = '$';  // leave the window
    const Mat<double> found = biases(recency, text);
    const Index window = Index{1} << bits;
    const auto age = [](Index distance) {
      return static_cast<Index>(std::bit_width(static_cast<std::uint64_t>(distance))) - 1;
    };
    const auto at = [&](Index t) { return text[static_cast<std::size_t>(t)]; };
    for (Index t = 1; t <= std::ssize(text); t += t < 300 ? 1 : 331) {
      std::vector<Index> ages(kByteValues, 16);
      for (Index last = std::max<Index>(0, t - window + 1); last < t; ++last) ages[at(last)] = age(t - last);
      Vec<double> expected(kByteValues);
      for (Index b = 0; b < kByteValues; ++b) expected[b] = 4 * p.anywhere[ages[static_cast<std::size_t>(b)]];
      for (const Index order : {1, 2}) {
        std::vector<Byte> seen;
        int places = 0;
        for (Index q = t - 1; q >= 2 && t - q <= window - 2; --q) {
          if (at(q - 1) != at(t - 1) || (order == 2 && at(q - 2) != at(t - 2))) continue;
          if (++places > 32 || seen.size() == 12) break;
          if (std::ranges::find(seen, at(q)) != seen.end()) continue;
          const Index rank = std::min<Index>(std::ssize(seen), 2);
          expected[at(q)] += 4 * p.in_context[((order - 1) * 3 + rank) * 16 + age(t - q)];
          seen.push_back(at(q));
        }
      }
      ASSERT_TRUE((found.col(t - 1) - expected).norm() <= 1e-12) << bits << ", " << t;
    }
  }
}

TEST(Recency, IsTheSameInAnyChunksAndKeepsSequencesApart) {
  const R recency(8);
  const auto text = babble(2 * 500, 2);
  auto state = fresh(recency, 2);
  const auto whole = biases(recency, state, text, 500);
  for (const Index chunk : {1, 3, 31, 256}) {
    recency.reset(state, 2);
    EXPECT_EQ(biases(recency, state, text, chunk), whole) << chunk;
  }
  EXPECT_EQ(biases(recency, {text.begin(), text.begin() + 500}), whole.leftCols(500));
  EXPECT_EQ(biases(recency, {text.begin() + 500, text.end()}), whole.rightCols(500));
}

TEST(Recency, IsCausal) {
  const R recency(8);
  const auto text = babble(300, 3);
  const auto whole = biases(recency, text);
  for (Index t = 0; t < 300; t += 7) {
    auto changed = text;
    changed[static_cast<std::size_t>(t)] ^= 0x55;
    const auto other = biases(recency, changed);
    EXPECT_EQ(other.leftCols(t), whole.leftCols(t)) << t;
    EXPECT_NE(other, whole) << t;
  }
}

TEST(Recency, PrimingIsHavingReadAndResettingIsNotHavingRead) {
  const R recency(8);
  const auto text = babble(200, 4), before = babble(700, 5);
  auto both = before;
  both.insert(both.end(), text.begin(), text.end());
  auto state = fresh(recency, 1);
  recency.prime(state, 0, before);
  const auto primed = biases(recency, state, text, 200);
  EXPECT_EQ(primed, biases(recency, both).rightCols(200));
  EXPECT_NE(primed, biases(recency, text));
  recency.reset(state, 1);
  recency.prime(state, 0, Bytes(before).last(static_cast<std::size_t>(recency.history())));
  EXPECT_EQ(biases(recency, state, text, 200), primed);
  recency.reset(state, 1);
  EXPECT_EQ(biases(recency, state, text, 200), biases(recency, text));
}

TEST(Recency, DocumentsKnowNothingOfEachOther) {
  const R recency(8, Documents('|')), without(8);
  auto text = babble(1000, 20);
  for (const std::size_t at : {0, 90, 91, 92, 500, 999}) text[at] = '|';
  Mat<double> expected(kByteValues, 1000);
  for (std::size_t begin = 0, end; begin < text.size(); begin = end) {
    end = begin + 1;
    while (end < text.size() && text[end] != '|') ++end;
    const std::vector<Byte> document(text.begin() + std::ptrdiff_t(begin), text.begin() + std::ptrdiff_t(end));
    expected.middleCols(static_cast<Index>(begin), std::ssize(document)) = biases(without, document);
  }
  for (const Index chunk : {1, 7, 100, 1000}) {
    auto state = fresh(recency, 1);
    EXPECT_EQ(biases(recency, state, text, chunk), expected) << chunk;
  }
  EXPECT_NE(biases(without, text), expected) << "without documents they know each other";
  for (const bool prime : {false, true})
    for (const std::size_t cut : {50, 90, 91, 300, 600}) {
      const std::vector<Byte> before(text.begin(), text.begin() + std::ptrdiff_t(cut));
      const std::vector<Byte> rest(text.begin() + std::ptrdiff_t(cut), text.end());
      auto state = fresh(recency, 1);
      if (prime)
        recency.prime(state, 0, before);
      else
        for (std::size_t at = 0; at < cut; at += 45)
          recency.follow(Bytes(before).subspan(at, std::min<std::size_t>(45, cut - at)), state);
      EXPECT_EQ(biases(recency, state, rest, 64), expected.rightCols(std::ssize(rest))) << cut;
    }
}

TEST(Recency, BackwardMatchesCentralDifference) {
  const R recency(8, Documents('B'));
  Random random(6);
  auto p = generic(recency);
  auto state = fresh(recency, 2);
  recency.prime(state, 1, babble(300, 7));
  R::Cache cache;
  const auto text = babble(2 * 400, 8);
  recency.look_up(text, state, cache);
  const Mat<double> z = random_matrix<double>(kByteValues, 800, random),
                    dz = random_matrix<double>(kByteValues, 800, random);
  auto g = recency.zeros();
  recency.backward(cache, dz, g);
  const auto loss = [&] {
    Mat<double> out = z;
    recency.forward(p, cache, out);
    return out.cwiseProduct(dz).sum();
  };
  const auto expect = [&](Vec<double>& weights, const Vec<double>& claimed) {
    EXPECT_TRUE(claimed.norm() > 0);
    for (Index i = 0; i < weights.size(); ++i) {
      constexpr double h = 1e-3;  // the loss is linear
      const double at = weights[i];
      weights[i] = at + h;
      const double above = loss();
      weights[i] = at - h;
      const double below = loss();
      weights[i] = at;
      EXPECT_TRUE(std::abs((above - below) / (2 * h) - claimed[i]) <= 1e-8 * (1 + std::abs(claimed[i]))) << i;
    }
  };
  expect(p.anywhere, g.anywhere);
  expect(p.in_context, g.in_context);
}

TEST(Recency, AllocatesOnceWhateverIsRead) {
  const R recency(10);
  auto state = fresh(recency, 1);
  R::Cache cache;
  Random random(9);
  recency.look_up(std::vector<Byte>(256, Byte{'a'}), state, cache);
  const std::vector<std::vector<Byte>> texts{babble(256, 10), conformance::random_bytes(256, random),
                                             babble(256, 11, "ab cd ef gh ij kl")};
  const long before = test::allocations();
  for (int i = 0; i < 8; ++i) {
    for (const auto& text : texts) recency.look_up(text, state, cache);
    recency.reset(state, 1);
  }
  if (test::kCountsAllocations) {
    EXPECT_EQ(test::allocations(), before);
  }
}

TEST(Recency, WithoutAWindowNothingHappens) {
  const R recency(0);
  const auto text = babble(20, 12);
  auto state = fresh(recency, 1);
  recency.prime(state, 0, text);
  R::Cache cache;
  recency.look_up(text, state, cache);
  Mat<double> z = Mat<double>::Ones(kByteValues, 20);
  auto g = recency.zeros();
  recency.forward(g, cache, z);
  recency.backward(cache, z, g);
  EXPECT_EQ(z, Mat<double>::Ones(kByteValues, 20));
  EXPECT_EQ(g.anywhere.size() + g.in_context.size() + recency.history(), 0);
}

}  // namespace
}  // namespace qllk::nn
