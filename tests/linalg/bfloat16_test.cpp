#include "qllk/linalg/bfloat16.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/linalg/product_sum.hpp"
#include "qllk/linalg/weight_gemm.hpp"

namespace qllk::linalg {
namespace {

Mat<float> random_matrix(Index rows, Index cols, Random& random) {
  Mat<float> m(rows, cols);
  fill_uniform(m, 1, random);
  return m;
}

/// Value of a float as bfloat16, found by trying its two neighbours.
float nearest(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const float below = std::bit_cast<float>(bits & 0xFFFF0000u);
  const float above = std::bit_cast<float>((bits & 0xFFFF0000u) + 0x10000u);
  const double to_below = std::abs(static_cast<double>(x) - below), to_above = std::abs(static_cast<double>(x) - above);
  if (to_below != to_above) return to_below < to_above ? below : above;
  return (bits >> 16 & 1u) == 0 ? below : above;
}

TEST(BFloat16, RoundsToNearestEven) {
  Random random(1);
  for (std::uint32_t upper = 0x0080; upper < 0x7F7F;
       ++upper) {  // all normal numbers but the last, whose neighbour is infinite
    for (const std::uint32_t lower :
         {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu, static_cast<std::uint32_t>(random.below(0x10000))}) {
      const float x = std::bit_cast<float>(upper << 16 | lower);
      ASSERT_EQ(bfloat16_value(bfloat16_bits(x)), nearest(x)) << x;
      ASSERT_EQ(bfloat16_value(bfloat16_bits(-x)), -nearest(x)) << x;
    }
  }
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(bfloat16_value(bfloat16_bits(infinity)), infinity);
  EXPECT_EQ(bfloat16_value(bfloat16_bits(-infinity)), -infinity);
  EXPECT_EQ(bfloat16_value(bfloat16_bits(std::numeric_limits<float>::max())), infinity);
  EXPECT_TRUE(
      std::isnan(bfloat16_value(bfloat16_bits(std::bit_cast<float>(0x7F800001u)))));  // whose upper half is infinity
  for (const std::uint32_t denormal : {1u, 0x007FFFFFu, 0x80000001u})
    EXPECT_EQ(bfloat16_bits(std::bit_cast<float>(denormal)), denormal >> 16 & 0x8000u) << denormal;
}

/// Packing by vectors is packing one by one, for every kind of number.
TEST(BFloat16, PacksPairs) {
  Random random(2);
  for (const Index size : {1, 15, 16, 31, 32, 33, 63, 64, 100}) {
    std::vector<float> even(static_cast<std::size_t>(size)), odd(even), pairs(even), side(even.size() / 2 + 1);
    for (auto* all : {&even, &odd})
      for (float& x : *all) x = std::bit_cast<float>(static_cast<std::uint32_t>(random.bits()));
    detail::interleave(even.data(), odd.data(), size, pairs.data());
    for (std::size_t i = 0; i < pairs.size(); ++i)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(pairs[i]), std::bit_cast<std::uint32_t>(detail::pair_of(even[i], odd[i])))
          << even[i] << ' ' << odd[i];
    detail::pair_up(even.data(), size, side.data());
    for (std::size_t i = 0; i < even.size(); i += 2)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(side[i / 2]),
                std::bit_cast<std::uint32_t>(detail::pair_of(even[i], i + 1 < even.size() ? even[i + 1] : 0.f)));
  }
}

/// What a product is, term by term: pairs of the depth, the odd one first, a sum of its own for every 512 terms.
float defined(const Mat<float>& a, const Mat<float>& b, Index row, Index col, float start) {
  const auto rounded = [](float x) { return bfloat16_value(bfloat16_bits(x)); };
  const auto term = [&](Index k, float sum) {
    return k < a.cols() ? std::fma(rounded(a(row, k)), rounded(b(k, col)), sum) : sum;
  };
  for (Index begin = 0; begin < a.cols(); begin += 512) {
    float sum = 0;
    for (Index k = begin; k < std::min<Index>(begin + 512, a.cols()); k += 2) sum = term(k, term(k + 1, sum));
    start += sum;
  }
  return start;
}

void expect_same(const Mat<float>& c, const Mat<float>& expected) {
  ASSERT_EQ(c.rows(), expected.rows());
  for (Index j = 0; j < c.cols(); ++j)
    for (Index i = 0; i < c.rows(); ++i) ASSERT_EQ(c(i, j), expected(i, j)) << "row " << i << ", column " << j;
}

/// The same bits, or where Arm's instruction rounds otherwise within a rounding for each pair of values below 1.
void expect_defined(const Mat<float>& c, const Mat<float>& expected, Index depth) {
  if (kExactBFloat16Products) return expect_same(c, expected);
  for (Index j = 0; j < c.cols(); ++j)
    for (Index i = 0; i < c.rows(); ++i)
      ASSERT_NEAR(c(i, j), expected(i, j), 1e-6 * static_cast<double>(depth)) << "row " << i << ", column " << j;
}

/// On every processor but Arm's the same bits, those of the definition: of any shape, also of factors that are
/// transposes.
TEST(BFloat16, ProductsAreDefinedToTheBit) {
  const FlushDenormals flush;
  const UsePrecision use(Precision::bfloat16);
  struct Shape {
    Index rows, cols, depth;
  };
  for (const auto [rows, cols, depth] : {Shape{1, 1, 1},
                                         {16, 6, 2},
                                         {17, 7, 3},
                                         {64, 12, 32},
                                         {80, 5, 33},
                                         {130, 11, 31},
                                         {3, 200, 64},
                                         {257, 197, 65},
                                         {5, 9, 1027},
                                         {48, 4, 512},
                                         {0, 3, 5},
                                         {3, 0, 5}}) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols << " x " << depth);
    Random random = Random::of(rows, cols, depth);
    const Mat<float> a = random_matrix(rows, depth, random), at = a.transpose();
    const Mat<float> b = random_matrix(depth, cols, random), bt = b.transpose();
    const Mat<float> start = random_matrix(rows, cols, random), bias = random_matrix(rows, 1, random);
    Mat<float> plain(rows, cols), added(rows, cols), biased(rows, cols);
    for (Index j = 0; j < cols; ++j)
      for (Index i = 0; i < rows; ++i) {
        plain(i, j) = defined(a, b, i, j, 0);
        added(i, j) = defined(a, b, i, j, start(i, j));
        biased(i, j) = defined(a, b, i, j, bias(i, 0));
      }
    Mat<float> c(rows, cols);
    weight_gemm(a, b, c);
    expect_defined(c, plain, depth);
    weight_gemm(at.transpose(), b, c);
    expect_defined(c, plain, depth);
    weight_gemm(a, bt.transpose(), c);
    expect_defined(c, plain, depth);
    weight_gemm(at.transpose(), bt.transpose(), c);
    expect_defined(c, plain, depth);
    weight_gemm(a, b, c, Vec<float>(bias.col(0)));
    expect_defined(c, biased, depth);
    c = start;
    weight_gemm_add(a, bt.transpose(), c);
    expect_defined(c, added, depth);
  }
}

/// Products that share their right factor are those of each alone.
TEST(BFloat16, SeveralAtOnceAreEach) {
  const UsePrecision use(Precision::bfloat16);
  Random random(8);
  const Mat<float> x = random_matrix(600, 203, random);
  std::vector<Mat<float>> weights, alone, together;
  std::vector<Vec<float>> biases;
  for (const Index rows : {3, 64, 17, 128, 16, 33, 1, 40, 5}) {
    weights.push_back(random_matrix(rows, 600, random));
    biases.emplace_back(random_matrix(rows, 1, random).col(0));
    alone.emplace_back(rows, 203);
    together.emplace_back(rows, 203);
  }
  std::vector<AffineProduct<Mat<float>, float>> products;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weight_gemm(weights[i], x, alone[i], biases[i]);
    products.push_back({weights[i], biases[i], together[i]});
  }
  gemm_all(x, std::span(products));
  for (std::size_t i = 0; i < weights.size(); ++i) expect_same(together[i], alone[i]);
}

/// Of blocks of larger matrices, whose columns do not follow each other.
TEST(BFloat16, ProductsTakeBlocks) {
  const UsePrecision use(Precision::bfloat16);
  Random random(3);
  const Mat<float> a = random_matrix(40, 50, random), b = random_matrix(50, 30, random);
  const Mat<float> a_part = a.block(3, 5, 20, 33), b_part = b.block(5, 2, 33, 17);
  Mat<float> all = Mat<float>::Zero(25, 20), expected(20, 17);
  weight_gemm(a_part, b_part, expected);
  weight_gemm(a.block(3, 5, 20, 33), b.block(5, 2, 33, 17), all.block(2, 1, 20, 17));
  expect_same(all.block(2, 1, 20, 17), expected);
  all.block(2, 1, 20, 17).setZero();
  EXPECT_EQ(all.cwiseAbs().maxCoeff(), 0.f);
}

/// A position's logits must not depend on what is computed beside it.
TEST(BFloat16, AColumnDoesNotDependOnItsNeighbours) {
  const UsePrecision use(Precision::bfloat16);
  Random random(4);
  const Mat<float> a = random_matrix(70, 90, random), b = random_matrix(90, 215, random);
  Mat<float> all(70, 215), part(70, 215);
  weight_gemm(a, b, all);
  for (const Index columns : {1, 2, 5, 6, 10, 200}) {
    for (Index j = 0; j < 215; j += columns) {
      const Index size = std::min<Index>(columns, 215 - j);
      weight_gemm(a, b.middleCols(j, size), part.middleCols(j, size));
    }
    expect_same(part, all);
  }
}

TEST(BFloat16, IsOfOneThreadAndScopeAndOfFloatsOnly) {
  Random random(5);
  const Mat<float> a = random_matrix(20, 30, random), b = random_matrix(30, 10, random);
  const Mat<double> da = a.cast<double>(), db = b.cast<double>();
  const auto product = [&] {
    Mat<float> c(20, 10);
    weight_gemm(a, b, c);
    return c;
  };
  const Mat<float> full = product();
  {
    const UsePrecision use(Precision::bfloat16);
    EXPECT_NE(product(), full);
    {
      const UsePrecision inner(Precision::full);
      expect_same(product(), full);
    }
    EXPECT_EQ(UsePrecision::now(), Precision::bfloat16);
    Mat<double> c(20, 10);
    weight_gemm(da, db, c);
    EXPECT_TRUE((c - da * db).norm() <= 1e-13 * c.norm());
    Mat<float> chunk(20, 10);
    gemm(a, b, chunk);  // not a product with weights
    expect_same(chunk, full);
  }
  expect_same(product(), full);
}

/// Σ dY Xᵀ, taken in parts as a reducer does.
TEST(BFloat16, ListedProductsAreRoundedToo) {
  Random random(6);
  const Mat<float> dy[] = {random_matrix(20, 33, random), random_matrix(20, 64, random)};
  const Mat<float> x[] = {random_matrix(24, 33, random), random_matrix(24, 64, random)};
  ProductSum<float> sum(20, 24);
  for (int i = 0; i < 2; ++i) sum.add(dy[i], x[i]);
  const UsePrecision use(Precision::bfloat16);
  Mat<float> expected(20, 24), total(20, 24);
  weight_gemm(dy[0], x[0].transpose(), expected);
  weight_gemm_add(dy[1], x[1].transpose(), expected);
  for (const auto& [begin, columns] : {std::pair{0, 7}, {7, 17}}) {
    bool fresh = true;
    sum.add_to(total.data() + begin * 20, begin, columns, fresh);
  }
  expect_same(total, expected);
}

}  // namespace
}  // namespace qllk::linalg
