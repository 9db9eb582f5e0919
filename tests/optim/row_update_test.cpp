#include "qllk/optim/row_update.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "qllk/core/random.hpp"

namespace qllk::optim {
namespace {

using linalg::HashTable;
using linalg::SparseGrads;

constexpr Index kDim = 5, kRows = 9000;  // three buckets

SparseGrads<double> gradients(const std::vector<std::pair<std::uint32_t, bool>>& entries, Random& random) {
  SparseGrads<double> grads(kDim, kRows);
  Mat<double> columns(kDim, static_cast<Index>(entries.size()));
  for (Index i = 0; i < columns.size(); ++i) columns.data()[i] = random.normal();
  const Index first = grads.append(columns);
  for (std::size_t i = 0; i < entries.size(); ++i)
    grads.add(entries[i].first, first + static_cast<Index>(i), entries[i].second);
  grads.sort_by_bucket(RowUpdate<double>::kShift);
  return grads;
}

/// Two updates from two shards, against the equation written out.
TEST(RowUpdate, IsTheEquationOfTheRowsThatOccurred) {
  Random random(1);
  const RowWise settings{.rate = 4, .beta2 = 0.9, .epsilon = 1e-3};
  const RowUpdate<double> update(settings, 0.5);
  HashTable<double> table(Mat<double>::Constant(kDim, kRows, 2)), moments(Mat<double>::Zero(2, kRows));
  Mat<double> expected = table;
  Vec<double> v = Vec<double>::Zero(kRows), count = Vec<double>::Zero(kRows);
  for (int step = 0; step < 2; ++step) {
    const auto one = gradients({{7, false}, {5000, true}, {7, true}, {8999, false}}, random);
    const auto two = gradients({{7, false}, {4096, false}}, random);
    const SparseGrads<double>* const shards[] = {&one, &two};
    for (Index bucket = RowUpdate<double>::buckets(kRows); bucket-- > 0;) update.apply(table, shards, moments, bucket);
    const Mat<double> sum = one.dense() + two.dense();
    for (Index row = 0; row < kRows; ++row) {
      if (sum.col(row).isZero(0)) continue;
      count[row] += 1;
      v[row] = 0.9 * v[row] + 0.1 * sum.col(row).squaredNorm() / kDim;
      expected.col(row) -= 0.5 * 4 * sum.col(row) / (std::sqrt(v[row] / (1 - std::pow(0.9, count[row]))) + 1e-3);
    }
  }
  EXPECT_EQ(count.sum(), 8);
  EXPECT_LE((table - expected).cwiseAbs().maxCoeff(), 1e-12);
  EXPECT_LE((moments.row(0).transpose() - v).cwiseAbs().maxCoeff(), 1e-12);
  EXPECT_EQ(Vec<double>(moments.row(1).transpose()), count);
}

TEST(RowUpdate, RowsThatDidNotOccurStayAsTheyAre) {
  Random random(2);
  const auto grads = gradients({{3, false}}, random);
  const SparseGrads<double>* const shards[] = {&grads};
  HashTable<double> table(Mat<double>::Random(kDim, kRows)), moments(Mat<double>::Zero(2, kRows));
  const Mat<double> before = table;
  for (Index bucket = 0; bucket < RowUpdate<double>::buckets(kRows); ++bucket)
    RowUpdate<double>(RowWise{}, 1e-3).apply(table, shards, moments, bucket);
  for (Index row = 0; row < kRows; ++row) EXPECT_EQ((table.col(row) - before.col(row)).isZero(0), row != 3) << row;
}

}  // namespace
}  // namespace qllk::optim
