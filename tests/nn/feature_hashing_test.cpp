#include "qllk/nn/feature_hashing.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <vector>

#include "qllk/nn/contexts/matches.hpp"
#include "qllk/nn/contexts/ngrams.hpp"
#include "qllk/nn/contexts/words.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/testing/subject.hpp"

namespace qllk::nn {
namespace {

using Hashing = FeatureHashing<double, NgramContext>;

Hashing hashing_of(Index dim, NgramContext::Config config) { return Hashing(dim, NgramContext(config)); }
using conformance::random_bytes;

struct Pass {
  Hashing::State state;
  Hashing::Cache cache;
  Mat<double> y;

  Pass(const Hashing& hashing, const Hashing::Params& p, const std::vector<Byte>& bytes, Noise noise = {}) {
    hashing.reset(state, 1);
    y.setZero(hashing.dim(), std::ssize(bytes));
    hashing.forward(p, bytes, state, noise, cache, y);
  }
};

Hashing::Params filled(const Hashing& hashing) {
  Random random(1);
  auto p = hashing.init(random);
  EXPECT_TRUE(p.table.isZero(0));
  fill_normal(p.table, 1, random);
  return p;
}

TEST(FeatureHashing, SameNgramSameColumnWhateverCameBefore) {
  const Hashing hashing = hashing_of(3, {.orders = 4, .bits = 12});
  const auto p = filled(hashing);
  const Pass a(hashing, p, {'x', 'a', 'b', 'c', 'd'}), b(hashing, p, {'y', 'z', 'a', 'b', 'c', 'd'});
  EXPECT_EQ(a.y.col(4), b.y.col(5));
  EXPECT_NE(a.y.col(3), b.y.col(4) * 2);
  EXPECT_NE(a.y.col(2), b.y.col(3));  // its longest n-gram has the x or z in it
}

using Memory = FeatureHashing<double, NgramContext, WordContext, MatchContext>;

Memory memory_with(Documents documents) {
  return Memory(2, documents, NgramContext({.orders = 4, .bits = 10}), WordContext({.orders = 2, .bits = 10}),
                MatchContext({.lengths = {4, 2}, .window_bits = 8}));
}

/// Rows of a stream after `before`, `chunk` bytes at a time.
std::vector<std::uint32_t> rows_after(const Memory& memory, const std::vector<Byte>& before, bool prime,
                                      const std::vector<Byte>& bytes, std::size_t chunk) {
  const auto p = memory.zeros();
  Memory::State state;
  Memory::Cache cache;
  memory.reset(state, 1);
  if (prime)
    memory.prime(state, 0, before);
  else
    for (std::size_t at = 0; at < before.size(); at += 45)
      memory.follow(Bytes(before).subspan(at, std::min<std::size_t>(45, before.size() - at)), state);
  std::vector<std::uint32_t> rows;
  for (std::size_t at = 0; at < bytes.size(); at += chunk) {
    const Bytes part = Bytes(bytes).subspan(at, std::min(chunk, bytes.size() - at));
    Mat<double> y = Mat<double>::Zero(2, std::ssize(part));
    Noise noise;
    memory.forward(p, part, state, noise, cache, y);
    rows.insert(rows.end(), cache.rows.begin(), cache.rows.end());
  }
  return rows;
}

TEST(FeatureHashing, DocumentsKnowNothingOfEachOther) {
  const Memory memory = memory_with(Documents('|')), without = memory_with(Documents());
  Random random(3);
  std::vector<Byte> text(1500);
  for (auto& byte : text) byte = static_cast<Byte>("abc "[random.below(4)]);
  for (const std::size_t at : {0, 100, 101, 102, 700, 1499}) text[at] = '|';
  std::vector<std::uint32_t> expected;
  for (std::size_t begin = 0, end; begin < text.size(); begin = end) {
    end = begin + 1;
    while (end < text.size() && text[end] != '|') ++end;
    const std::vector<Byte> document(text.begin() + std::ptrdiff_t(begin), text.begin() + std::ptrdiff_t(end));
    const auto rows = rows_after(without, {}, false, document, document.size());
    expected.insert(expected.end(), rows.begin(), rows.end());
  }
  for (const std::size_t chunk : {1, 7, 100, 1500})
    EXPECT_EQ(rows_after(memory, {}, false, text, chunk), expected) << chunk;
  EXPECT_NE(rows_after(without, {}, false, text, 1500), expected) << "without documents they know each other";
  // what stands before is read like what stands inside
  const std::size_t width = expected.size() / text.size();
  for (const bool prime : {false, true})
    for (const std::size_t cut : {50, 100, 101, 650, 701, 1000}) {
      const std::vector<Byte> before(text.begin(), text.begin() + std::ptrdiff_t(cut));
      const std::vector<Byte> rest(text.begin() + std::ptrdiff_t(cut), text.end());
      const auto rows = rows_after(memory, before, prime, rest, 64);
      EXPECT_TRUE(std::equal(rows.begin(), rows.end(), expected.begin() + std::ptrdiff_t(cut * width))) << cut;
    }
  for (const int byte : {-2, 256}) EXPECT_THROW(Documents{byte}, std::invalid_argument) << byte;
}

TEST(FeatureHashing, GradientIsWhatEveryPositionAddsToItsRows) {
  const Hashing hashing = hashing_of(2, {.orders = 3, .bits = 4});
  const auto p = filled(hashing);
  const std::vector<Byte> bytes{1, 2, 1, 2, 1, 2, 3};
  const Pass pass(hashing, p, bytes);
  Random random(5);
  Mat<double> dy(2, 7);
  fill_normal(dy, 1, random);
  auto g = hashing.zero_grads();
  hashing.backward(p, pass.cache, dy, g);
  hashing.backward(p, pass.cache, dy, g);  // adds
  const Mat<double> dense = g.table.dense();
  EXPECT_GT(dense.norm(), 0);
  for (Index i = 0; i < p.table.size(); ++i) {  // y is linear in the table: a difference is exact
    auto moved = p;
    moved.table.data()[i] += 1;
    const double numeric = (Pass(hashing, moved, bytes).y - pass.y).cwiseProduct(dy).sum();
    EXPECT_TRUE(std::abs(2 * numeric - dense.data()[i]) <= 1e-12) << i;
  }
}

TEST(FeatureHashing, LeavingOutTakesTheLongerNgramsOnly) {
  const Hashing hashing = hashing_of(1, {.orders = 5, .bits = 12});
  Random random(7);
  const auto bytes = random_bytes(4000, random);
  const Pass all(hashing, hashing.zeros(), bytes), some(hashing, hashing.zeros(), bytes, {0, 0.5, 0, Random(1)});
  int short_of = 0;
  for (std::size_t t = 0; t < bytes.size(); ++t) {
    bool out = false;
    for (std::size_t i = 0; i < 4; ++i) {
      const auto entry = some.cache.rows[t * 4 + i];
      if (entry != all.cache.rows[t * 4 + i]) out = true;
      EXPECT_EQ(entry == all.cache.rows[t * 4 + i], !out);
    }
    short_of += out;
  }
  EXPECT_NEAR(short_of, 2000, 150);
}

TEST(FeatureHashing, UpdateTouchesOccurringRowsOnlyAndFollowsItsRule) {
  const Hashing hashing = hashing_of(2, {.orders = 2, .bits = 16});
  auto p = filled(hashing);
  const auto before = p;
  auto g = hashing.zero_grads();
  const std::vector<Byte> bytes{7, 7, 7};
  const Pass pass(hashing, p, bytes);
  Mat<double> dy(2, 3);
  dy << 1, 2, 3, 4, 5, 6;
  hashing.backward(p, pass.cache, dy, g);
  auto state = optim::AdamState<Hashing::Params>::of(p);
  EXPECT_EQ(state.first.table.size(), 0);
  optim::step(optim::Adam{.learning_rate = 0.1}, p, g, state, {.rate = 2, .beta2 = 0.5, .epsilon = 1e-12});
  const Index first = 7 << 8, rest = 7 << 8 | 7;
  const auto expect = [&](Index row, Vec<double> gradient) {
    const Vec<double> step = 0.2 * gradient / std::sqrt(gradient.squaredNorm() / 2);
    EXPECT_TRUE((before.table.col(row) - p.table.col(row) - step).norm() <= 1e-9) << row;
  };
  expect(first, Vec<double>(dy.col(0)));
  expect(rest, Vec<double>(dy.col(1) + dy.col(2)));
  int changed = 0;
  for (Index r = 0; r < p.table.cols(); ++r) changed += p.table.col(r) != before.table.col(r);
  EXPECT_EQ(changed, 2);

  const auto once = p;
  set_zero(g);
  hashing.backward(p, pass.cache, dy, g);
  optim::step(optim::Adam{.learning_rate = 0.1}, p, g, state, {.rate = 2, .beta2 = 0.5, .epsilon = 1e-12});
  EXPECT_TRUE((once.table.col(first) - p.table.col(first)).norm() > 0.1);  // the same gradient: a step of the same size
}

/// A context of one's own: the position within a line.
struct Column {
  struct Config {
    bool operator==(const Config&) const = default;
  };
  struct State {
    Index at = 0;
  };
  static constexpr LeftOut kLeftOut = LeftOut::never;
  Index orders() const { return 1; }
  Index rows() const { return 80; }
  Index history() const { return 80; }
  void reset(State& state) const { state = {}; }
  void look_up(Bytes bytes, State& state, const RowWriter& out) const {
    for (Index t = 0; t < std::ssize(bytes); ++t) {
      prime(bytes.subspan(static_cast<std::size_t>(t), 1), state);
      if (state.at < rows())
        out.row(t, 0, static_cast<std::uint64_t>(state.at));
      else
        out.none(t, 0);
    }
  }
  void prime(Bytes bytes, State& state) const {
    for (const Byte byte : bytes) state.at = byte == '\n' ? 0 : state.at + 1;
  }
};

TEST(FeatureHashing, TakesContextsOfOnesOwn) {
  const FeatureHashing<double, WordContext, Column, MatchContext> hashing(
      2, WordContext({.orders = 2, .bits = 10}), Column(), MatchContext({.lengths = {3}, .window_bits = 8}));
  EXPECT_EQ(hashing.orders(), 4);
  EXPECT_EQ(hashing.rows(), 2 * 1024 + 80 + MatchContext::kRowsPerOrder);
  EXPECT_EQ(hashing.history(), 256);
  EXPECT_EQ(hashing.first_order<2>(), 3);
  EXPECT_EQ(hashing.first_row<2>(), 2 * 1024 + 80);
  auto p = hashing.zeros();
  p.table.col(2 * 1024 + 2).setConstant(5);  // the second of a line
  const std::vector<Byte> bytes{'a', 'b', '\n', 'c', 'd', 'e', 'f', 'g', '\n', 'h', 'i', 'j'};
  FeatureHashing<double, WordContext, Column, MatchContext>::State state;
  FeatureHashing<double, WordContext, Column, MatchContext>::Cache cache;
  hashing.reset(state, 2);
  Noise noise{0, 1, 1, Random(1)};  // words and matches may be left out, the column is not
  Mat<double> y = Mat<double>::Zero(2, 12);
  hashing.forward(p, bytes, state, noise, cache, y);
  Mat<double> expected = Mat<double>::Zero(2, 12);
  expected.col(1).setConstant(5);
  expected.col(4).setConstant(5);
  expected.col(7).setConstant(5);  // the other sequence begins at 'f'
  expected.col(10).setConstant(5);
  EXPECT_EQ(y, expected);
}

TEST(FeatureHashing, RefusesBadSettings) {
  EXPECT_THROW(hashing_of(0, {}), std::invalid_argument);
  EXPECT_THROW(hashing_of(1, {.orders = 33}), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::nn
