#include "qllk/linalg/gemm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <span>
#include <thread>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "support/allocations.hpp"

namespace qllk {
namespace {

template <Real Scalar>
Mat<Scalar> random_matrix(Index rows, Index cols, Random& random) {
  Mat<Scalar> m(rows, cols);
  fill_uniform(m, 1, random);
  return m;
}

/// Largest |C - expected| over depth + 1, which bounds the sum of |terms|, in units of the scalar's rounding.
template <Real Scalar>
double error(const Mat<Scalar>& c, const Mat<double>& expected, Index depth) {
  if (c.rows() != expected.rows() || c.cols() != expected.cols()) return std::numeric_limits<double>::infinity();
  if (c.size() == 0) return 0;
  const double largest = (c.template cast<double>() - expected).array().abs().maxCoeff();
  return largest / static_cast<double>(depth + 1) / static_cast<double>(std::numeric_limits<Scalar>::epsilon());
}

/// C + alpha A B by the definition, in double.
template <Real Scalar>
Mat<double> reference(const Mat<Scalar>& a, const Mat<Scalar>& b, const Mat<Scalar>& c, double alpha) {
  Mat<double> out = c.template cast<double>();
  for (Index i = 0; i < out.rows(); ++i)
    for (Index j = 0; j < out.cols(); ++j)
      for (Index k = 0; k < a.cols(); ++k)
        out(i, j) += alpha * static_cast<double>(a(i, k)) * static_cast<double>(b(k, j));
  return out;
}

template <class Scalar>
class Gemm : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, Scalars);

template <Real Scalar>
void check_all_transpositions(Index rows, Index cols, Index depth) {
  SCOPED_TRACE(::testing::Message() << rows << " x " << cols << " x " << depth);
  Random random = Random::of(rows, cols, depth);
  const Mat<Scalar> a = random_matrix<Scalar>(rows, depth, random), at = a.transpose();
  const Mat<Scalar> b = random_matrix<Scalar>(depth, cols, random), bt = b.transpose();
  const Mat<Scalar> start = random_matrix<Scalar>(rows, cols, random);
  const Mat<double> added = reference(a, b, start, 1);
  const Mat<double> scaled = reference(a, b, start, -0.75);
  const Mat<Scalar> zero = Mat<Scalar>::Zero(rows, cols);
  const Mat<double> product = reference(a, b, zero, 1);
  const Vec<Scalar> bias = random_matrix<Scalar>(rows, 1, random);
  const Mat<Scalar> biases = bias.replicate(1, cols);
  const Mat<double> biased = reference(a, b, biases, 1);

  const auto check = [&](const auto& left, const auto& right) {
    Mat<Scalar> c = start;
    linalg::gemm_add(left, right, c);
    EXPECT_TRUE(error(c, added, depth) <= 2);
    c = start;
    linalg::gemm_add(left, right, c, Scalar(-0.75));
    EXPECT_TRUE(error(c, scaled, depth) <= 2);
    c.setConstant(std::numeric_limits<Scalar>::quiet_NaN());
    linalg::gemm(left, right, c);
    EXPECT_TRUE(error(c, product, depth) <= 2);
    c.setConstant(std::numeric_limits<Scalar>::quiet_NaN());
    linalg::gemm(left, right, c, bias);
    EXPECT_TRUE(error(c, biased, depth) <= 2);
  };
  check(a, b);
  check(at.transpose(), b);
  check(a, bt.transpose());
  check(at.transpose(), bt.transpose());
}

TYPED_TEST(Gemm, IsTheProductForEverySmallSizeAndTransposition) {
  const std::vector<Index> sizes = {0, 1, 2, 3, 7, 8, 17, 33};
  for (const Index rows : sizes)
    for (const Index cols : sizes)
      for (const Index depth : sizes) check_all_transpositions<TypeParam>(rows, cols, depth);
}

TYPED_TEST(Gemm, IsTheProductForSizesBeyondABlock) {
  check_all_transpositions<TypeParam>(129, 67, 515);
  check_all_transpositions<TypeParam>(1, 257, 300);
  check_all_transpositions<TypeParam>(513, 1, 300);
  check_all_transpositions<TypeParam>(40, 300, 1);
  check_all_transpositions<TypeParam>(288, 48, 270);  // whole packets and few columns
}

TYPED_TEST(Gemm, AColumnDoesNotDependOnTheOthers) {
  Random random(5);
  constexpr Index kAll = 64;
  for (const Index rows : {16, 45, 128, 304}) {
    const auto a = random_matrix<TypeParam>(rows, 270, random);
    const Mat<TypeParam> at = a.transpose();
    const auto b = random_matrix<TypeParam>(270, kAll, random);
    const auto start = random_matrix<TypeParam>(rows, kAll, random);
    const auto check = [&](const auto& left) {
      Mat<TypeParam> all = start, part(rows, kAll);
      linalg::gemm_add(left, b, all, TypeParam(0.3));
      for (const Index width : {1, 2, 5, 7, 16, 20, 32}) {
        part = start;
        for (Index j = 0; j < kAll; j += width) {
          const Index size = std::min(width, kAll - j);
          linalg::gemm_add(left, b.middleCols(j, size), part.middleCols(j, size), TypeParam(0.3));
        }
        EXPECT_EQ(all, part) << rows << " rows, " << width << " columns at a time";
      }
    };
    check(a);
    check(at.transpose());
  }
}

TYPED_TEST(Gemm, TakesBlocksOfLargerMatrices) {
  Random random(1);
  const auto left = random_matrix<TypeParam>(20, 30, random);
  const auto right = random_matrix<TypeParam>(30, 30, random);
  const Mat<TypeParam> a = left.block(3, 4, 11, 13), b = right.block(5, 6, 13, 9);
  Mat<TypeParam> around = Mat<TypeParam>::Constant(15, 15, 2);
  const Mat<TypeParam> start = around.block(2, 3, 11, 9);

  linalg::gemm_add(left.block(3, 4, 11, 13), right.block(5, 6, 13, 9), around.block(2, 3, 11, 9));
  const Mat<TypeParam> c = around.block(2, 3, 11, 9);
  EXPECT_TRUE(error(c, reference(a, b, start, 1), 13) <= 2);
  around.block(2, 3, 11, 9).setConstant(2);
  EXPECT_TRUE((around.array() == 2).all()) << "wrote outside its block";

  linalg::gemm(left.block(3, 4, 11, 13), right.block(6, 5, 9, 13).transpose(), around.block(2, 3, 11, 9));
  const Mat<TypeParam> d = around.block(2, 3, 11, 9), e = right.block(6, 5, 9, 13).transpose();
  const Mat<TypeParam> zero = Mat<TypeParam>::Zero(11, 9);
  EXPECT_TRUE(error(d, reference(a, e, zero, 1), 13) <= 2);
}

TYPED_TEST(Gemm, TakesRefsAsModulesDo) {
  Random random(2);
  const auto a = random_matrix<TypeParam>(6, 10, random);
  const auto b = random_matrix<TypeParam>(10, 8, random);
  const auto through = [&](MatIn<TypeParam> x, MatOut<TypeParam> y) { linalg::gemm(a, x, y); };
  Mat<TypeParam> y(6, 5);
  through(b.middleCols(2, 5), y);
  const Mat<TypeParam> zero = Mat<TypeParam>::Zero(6, 5);
  const Mat<TypeParam> columns = b.middleCols(2, 5);
  EXPECT_TRUE(error(y, reference(a, columns, zero, 1), 10) <= 2);
}

TYPED_TEST(Gemm, SeveralOfOneXAreThoseOfEach) {
  using Matrix = Mat<TypeParam>;
  Random random(3);
  const Matrix x = random_matrix<TypeParam>(10, 4, random), a = random_matrix<TypeParam>(6, 10, random),
               b = random_matrix<TypeParam>(17, 10, random);
  const Vec<TypeParam> a_bias = random_matrix<TypeParam>(6, 1, random),
                       b_bias = random_matrix<TypeParam>(17, 1, random);
  Matrix a_alone(6, 4), b_alone(17, 4), a_together(6, 4), b_together(17, 4);
  linalg::gemm(a, x, a_alone, a_bias);
  linalg::gemm(b, x, b_alone, b_bias);
  std::vector<linalg::AffineProduct<Matrix, TypeParam>> both{{a, a_bias, a_together}, {b, b_bias, b_together}};
  linalg::gemm_all(x, std::span(both));
  EXPECT_EQ(a_together, a_alone);
  EXPECT_EQ(b_together, b_alone);
}

TYPED_TEST(Gemm, LetsANonFiniteInputReachTheOutput) {
  Mat<TypeParam> a = Mat<TypeParam>::Ones(5, 5), b = Mat<TypeParam>::Ones(5, 5), c = Mat<TypeParam>::Zero(5, 5);
  a(2, 3) = std::numeric_limits<TypeParam>::quiet_NaN();
  linalg::gemm_add(a, b, c);
  EXPECT_TRUE(c.row(2).array().isNaN().all());
  EXPECT_TRUE((c.row(1).array() == 5).all());
}

TYPED_TEST(Gemm, GivesTheSameBitsInEveryThread) {
  Random random(3);
  const auto a = random_matrix<TypeParam>(65, 130, random);
  const auto b = random_matrix<TypeParam>(130, 40, random);
  const auto big = random_matrix<TypeParam>(300, 300, random);
  Mat<TypeParam> here(65, 40), there(65, 40), scratch(300, 300);
  linalg::gemm(a, b, here);
  std::thread([&] {
    linalg::gemm(big, big, scratch);
    linalg::gemm(a, b, there);
  }).join();
  EXPECT_EQ(here, there);
}

TYPED_TEST(Gemm, DoesNotAllocateTheSecondTime) {
  if (!test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  Random random(4);
  const auto a = random_matrix<TypeParam>(200, 300, random);
  const auto b = random_matrix<TypeParam>(300, 150, random);
  Mat<TypeParam> c(200, 150), da(200, 300), db(300, 150), one(200, 1);
  const auto products = [&] {
    linalg::gemm(a, b, c);
    linalg::gemm_add(c, b.transpose(), da);
    linalg::gemm(a.transpose(), c, db);
    linalg::gemm(a.leftCols(288).transpose(), c.leftCols(32), db.block(0, 0, 288, 32));
    linalg::gemm(a, b.leftCols(1), one);
    linalg::gemm(a.topRows(7), b.leftCols(20), c.topLeftCorner(7, 20));
  };
  da.setZero();
  products();
  const long before = test::allocations();
  products();
  EXPECT_EQ(test::allocations(), before);
}

}  // namespace
}  // namespace qllk
