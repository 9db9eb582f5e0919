#include "qllk/nn/copy_logits.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "qllk/linalg/sparse_table.hpp"
#include "qllk/testing/subject.hpp"

namespace qllk::nn {
namespace {

using Copy = CopyLogits<double>;

/// Rows of one position for two orders, of 4096 each.
std::vector<std::uint32_t> rows(Index bucket0, Index byte0, Index bucket1, Index byte1, bool left_out) {
  std::vector<std::uint32_t> entries(2);
  const RowWriter out(entries.data(), 2, 0);
  out.row(0, 0, static_cast<std::uint64_t>(bucket0 * kByteValues + byte0));
  out.row(0, 1, static_cast<std::uint64_t>(MatchContext::kRowsPerOrder + bucket1 * kByteValues + byte1));
  if (left_out)
    for (auto& entry : entries) entry |= RowWriter::kLeftOut;
  return entries;
}

struct Fixture : ::testing::Test {
  Copy copy{2, 0};
  Copy::Params p = copy.zeros();
  linalg::HashTable<double> table;
  Mat<double> z;
  Copy::Cache cache;

  Fixture() {
    Random random(1);
    table.setZero(3, 2 * MatchContext::kRowsPerOrder);
    z = conformance::random_matrix<double>(kByteValues, 1, random);
    fill_normal(p.weight, 1, random);
    fill_normal(p.log_odds, 1, random);
  }
  Mat<double> after(const std::vector<std::uint32_t>& entries) {
    Mat<double> out = z;
    copy.forward(p, table, entries, 2, cache, out);
    return out;
  }
};

TEST_F(Fixture, ATrainedRowAddsItsWeight) {
  table.setOnes();
  const Mat<double> out = after(rows(3, 'a', 5, 'b', false));
  Mat<double> expected = z;
  expected('a') += p.weight[3];
  expected('b') += p.weight[16 + 5];
  EXPECT_EQ(out, expected);
}

TEST_F(Fixture, ANewRowAndOneThatIsLeftOutAreAMixture) {
  for (const bool left_out : {false, true})
    for (const int byte1 : {'a', 'b'}) {
      if (left_out) table.setOnes();
      const Mat<double> out = after(rows(3, 'a', 5, byte1, left_out));
      const double o0 = std::exp(p.log_odds[3]), o1 = std::exp(p.log_odds[16 + 5]);
      Mat<double> expected = z.array().exp() / z.array().exp().sum();
      expected('a') += o0;
      expected(byte1) += o1;
      expected /= 1 + o0 + o1;
      const Mat<double> found = out.array().exp() / out.array().exp().sum();
      EXPECT_TRUE((found - expected).norm() <= 1e-14) << (found - expected).norm();
    }
}

TEST_F(Fixture, BackwardMatchesCentralDifference) {
  Random random(2);
  const Mat<double> dz = conformance::random_matrix<double>(kByteValues, 1, random);
  for (const int byte1 : {'a', 'b'}) {
    auto entries = rows(3, 'a', 5, byte1, true);
    for (const bool mixed_too : {true, false}) {
      table.setOnes();
      if (!mixed_too) entries[1] &= ~RowWriter::kLeftOut;  // one of each kind
      const auto loss = [&] { return after(entries).cwiseProduct(dz).sum(); };
      auto g = copy.zeros();
      Mat<double> d = dz;
      loss();
      copy.backward(entries, 2, cache, d, g);
      const auto expect = [&](double& value, double claimed) {
        constexpr double h = 1e-5;
        const double at = value;
        value = at + h;
        const double above = loss();
        value = at - h;
        const double below = loss();
        value = at;
        EXPECT_TRUE(std::abs((above - below) / (2 * h) - claimed) <= 1e-8) << claimed;
      };
      for (const Index byte : {Index{'a'}, Index{'b'}, Index{'c'}}) expect(z(byte), d(byte));
      for (const Index i : {Index{3}, Index{16 + 5}}) {
        expect(p.weight[i], g.weight[i]);
        expect(p.log_odds[i], g.log_odds[i]);
      }
      EXPECT_TRUE(g.log_odds.norm() > 0);
    }
  }
}

TEST_F(Fixture, WithoutAMatchNothingHappens) {
  const std::vector<std::uint32_t> none(2, RowWriter::kNone);
  EXPECT_EQ(after(none), z);
}

}  // namespace
}  // namespace qllk::nn
