#include "qllk/linalg/product_sum.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "qllk/core/random.hpp"

namespace qllk {
namespace {

Mat<double> random_matrix(Index rows, Index cols, Random& random) {
  Mat<double> m(rows, cols);
  fill_uniform(m, 1, random);
  return m;
}

TEST(ProductSum, IsTheSumOfItsProductsForAnyRangeOfColumns) {
  Random random(1);
  linalg::ProductSum<double> sum(5, 9);
  Mat<double> dense = Mat<double>::Zero(5, 9);
  std::vector<Mat<double>> factors;
  for (const Index n : {7, 1, 0, 20}) {
    factors.push_back(random_matrix(5, n, random));
    factors.push_back(random_matrix(9, n, random));
  }
  for (std::size_t i = 0; i < factors.size(); i += 2) {
    linalg::add_product(sum, factors[i], factors[i + 1]);
    linalg::add_product(dense, factors[i], factors[i + 1]);
  }
  for (const Index begin : {Index{0}, Index{3}, Index{8}})
    for (const Index width : {Index{1}, 9 - begin}) {
      Mat<double> out = Mat<double>::Constant(5, width, std::numeric_limits<double>::quiet_NaN());
      bool fresh = true;
      sum.add_to(out.data(), begin, width, fresh);
      EXPECT_FALSE(fresh);
      EXPECT_TRUE((out - dense.middleCols(begin, width)).cwiseAbs().maxCoeff() <= 1e-14);
      sum.add_to(out.data(), begin, width, fresh);
      EXPECT_TRUE((out - 2 * dense.middleCols(begin, width)).cwiseAbs().maxCoeff() <= 1e-14);
    }
}

TEST(ProductSum, OfNothingLeavesTheOutputFresh) {
  linalg::ProductSum<double> sum(2, 3);
  Mat<double> one = Mat<double>::Ones(2, 4), other = Mat<double>::Ones(3, 4), out = Mat<double>::Constant(2, 3, 5);
  sum.add(one, other);
  sum.setZero();
  bool fresh = true;
  sum.add_to(out.data(), 0, 3, fresh);
  EXPECT_TRUE(fresh);
  EXPECT_TRUE((out.array() == 5).all());
  EXPECT_EQ(sum.size(), 6);
}

}  // namespace
}  // namespace qllk
