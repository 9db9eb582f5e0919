#include "qllk/nn/feature_hashing.hpp"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <vector>

#include "qllk/optim/adam.hpp"
#include "qllk/testing/subject.hpp"

namespace qllk::nn {
namespace {

using Hashing = FeatureHashing<double>;
using testing::random_bytes;

struct Pass {
  Hashing::State state;
  Hashing::Cache cache;
  Mat<double> y;

  Pass(const Hashing& hashing, const Hashing::Params& p, const std::vector<Byte>& bytes, Noise noise = {}) {
    hashing.reset(state, 1);
    y.setZero(hashing.config().dim, std::ssize(bytes));
    hashing.forward(p, bytes, 1, state, noise, cache, y);
  }
};

Hashing::Params filled(const Hashing& hashing) {
  Random random(1);
  auto p = hashing.init(random);
  EXPECT_TRUE(p.table.isZero(0));
  fill_normal(p.table, 1, random);
  return p;
}

/// Changed together with the hash: files made before would be read with other rows.
TEST(FeatureHashing, RowsAreTheSameOnEveryMachine) {
  const Hashing hashing({.dim = 1, .orders = 4, .bits = 16});
  const Pass pass(hashing, hashing.zeros(), {'t', 'h', 'e'});
  const auto& rows = pass.cache.rows;
  ASSERT_EQ(rows.size(), 9U);
  EXPECT_EQ(rows[0] >> 1, std::uint32_t{'t'} << 8);  // exact: the byte and the one before it
  EXPECT_EQ(rows[3] >> 1, std::uint32_t{'h'} << 8 | std::uint32_t{'t'});
  EXPECT_EQ(rows[0] & 1, 0U);
  const std::uint64_t the = mix64((std::uint64_t{'e'} << 16 | std::uint64_t{'h'} << 8 | 't') ^ std::uint64_t{1} << 56);
  EXPECT_EQ(rows[7] >> 1, (1U << 16) + (the & 0xFFFF));
  EXPECT_EQ(rows[7] & 1, the >> 63);
}

TEST(FeatureHashing, SameNgramSameColumnWhateverCameBefore) {
  const Hashing hashing({.dim = 3, .orders = 4, .bits = 12});
  const auto p = filled(hashing);
  const Pass a(hashing, p, {'x', 'a', 'b', 'c', 'd'}), b(hashing, p, {'y', 'z', 'a', 'b', 'c', 'd'});
  EXPECT_EQ(a.y.col(4), b.y.col(5));
  EXPECT_NE(a.y.col(3), b.y.col(4) * 2);
  EXPECT_NE(a.y.col(2), b.y.col(3));  // its longest n-gram has the x or z in it
}

TEST(FeatureHashing, SpreadsNgramsAndSigns) {
  const Hashing hashing({.dim = 1, .orders = 9, .bits = 14});
  Random random(3);
  const Pass pass(hashing, hashing.zeros(), random_bytes(2000, random));
  for (std::size_t order = 0; order < 8; ++order) {
    std::set<std::uint32_t> rows;
    int minus = 0;
    for (std::size_t t = 0; t < 2000; ++t) {
      const auto entry = pass.cache.rows[t * 8 + order];
      EXPECT_EQ((entry >> 1) >> 14, order);
      rows.insert(entry >> 1);
      minus += static_cast<int>(entry & 1);
    }
    // 2,000 balls in 16,384 bins leave 1,882 ± 10 taken
    EXPECT_NEAR(static_cast<double>(rows.size()), 1882, 60) << order;
    EXPECT_NEAR(minus, 1000, 120) << order;
  }
}

TEST(FeatureHashing, GradientIsWhatEveryPositionAddsToItsRows) {
  const Hashing hashing({.dim = 2, .orders = 3, .bits = 4});
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
  const Hashing hashing({.dim = 1, .orders = 5, .bits = 12});
  Random random(7);
  const auto bytes = random_bytes(4000, random);
  const Pass all(hashing, hashing.zeros(), bytes), some(hashing, hashing.zeros(), bytes, {0, 0.5, Random(1)});
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
  const Hashing hashing({.dim = 2, .orders = 2, .bits = 16});
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

TEST(FeatureHashing, RefusesBadSettings) {
  EXPECT_THROW(Hashing({.dim = 0}), std::invalid_argument);
  EXPECT_THROW(Hashing({.dim = 1, .orders = 0}), std::invalid_argument);
  EXPECT_THROW(Hashing({.dim = 1, .orders = 33}), std::invalid_argument);
  EXPECT_THROW(Hashing({.dim = 1, .bits = 3}), std::invalid_argument);
  EXPECT_THROW(Hashing({.dim = 1, .bits = 25}), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::nn
