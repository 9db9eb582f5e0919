#include "qllk/linalg/int8_matrix.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/testing/subject.hpp"
#include "support/models.hpp"

namespace qllk {
namespace {

using qllk::conformance::random_matrix;

TEST(Int8Matrix, ProductsAreWithinTheBoundOfRounding) {
  Random random(1);
  for (const Index rows : {0, 1, 15, 16, 17, 64, 65, 130})
    for (const Index cols : {0, 1, 3, 4, 5, 127, 256})
      for (const Index positions : {0, 1, 3}) {
        SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(cols) + "x" + std::to_string(positions));
        const Mat<float> w = random_matrix<float>(rows, cols, random),
                         x = random_matrix<float>(cols, positions, random);
        const Vec<float> bias = random_matrix<float>(rows, 1, random);
        Mat<float> y = Mat<float>::Constant(rows, positions, std::numeric_limits<float>::quiet_NaN());
        linalg::gemm(linalg::Int8Matrix(w), x, y, bias);
        for (Index t = 0; t < positions; ++t)
          for (Index r = 0; r < rows; ++r) {
            const double exact = static_cast<double>(bias[r]) + w.row(r).cast<double>().dot(x.col(t).cast<double>());
            const float largest_w = cols > 0 ? w.row(r).cwiseAbs().maxCoeff() : 0;
            const float largest_x = cols > 0 ? x.col(t).cwiseAbs().maxCoeff() : 0;
            const double bound = static_cast<double>(cols) * 127.25 / (127.0 * 127.0) * largest_w * largest_x + 1e-5;
            EXPECT_TRUE(std::abs(y(r, t) - exact) <= bound) << y(r, t) << " for " << exact;
          }
      }
}

/// Values that 8 bits hold exactly: any slip in the order of rows and columns shows.
TEST(Int8Matrix, IntegersAreExact) {
  Random random(2);
  for (const Index rows : {17, 50, 64, 70, 82, 130})
    for (const Index cols : {4, 6, 7, 37}) {
      Mat<float> w(rows, cols), x(cols, 5), y(rows, 5);
      for (Mat<float>* m : {&w, &x})
        for (Index i = 0; i < m->size(); ++i) m->data()[i] = static_cast<float>(random.below(255)) - 127;
      w.col(0).setConstant(-127);
      x.row(0).setConstant(127);
      linalg::gemm(linalg::Int8Matrix(w), x, y, Vec<float>::Zero(rows));
      const Mat<float> exact = w * x;
      for (Index i = 0; i < y.size(); ++i)
        EXPECT_TRUE(std::abs(y.data()[i] - exact.data()[i]) <= 1e-6f * std::abs(exact.data()[i]))
            << rows << "x" << cols << ", " << i;
    }
}

TEST(Int8Matrix, AColumnDoesNotDependOnTheOthers) {
  Random random(3);
  const linalg::Int8Matrix w(random_matrix<float>(40, 30, random));
  const Mat<float> x = random_matrix<float>(30, 7, random);
  const Vec<float> bias = Vec<float>::Zero(40);
  Mat<float> all(40, 7), one(40, 1);
  linalg::gemm(w, x, all, bias);
  for (Index t = 0; t < 7; ++t) {
    linalg::gemm(w, x.col(t), one, bias);
    EXPECT_EQ(one, all.col(t)) << t;
  }
}

TEST(Int8Matrix, ProductsOfOneXAreTheSameTogether) {
  Random random(5);
  const Mat<float> x = random_matrix<float>(30, 3, random);
  const linalg::Int8Matrix a(random_matrix<float>(70, 30, random)), b(random_matrix<float>(17, 30, random));
  const Vec<float> a_bias = random_matrix<float>(70, 1, random), b_bias = random_matrix<float>(17, 1, random);
  Mat<float> a_alone(70, 3), b_alone(17, 3), a_together(70, 3), b_together(17, 3);
  linalg::gemm(a, x, a_alone, a_bias);
  linalg::gemm(b, x, b_alone, b_bias);
  linalg::AffineProduct<linalg::Int8Matrix, float> both[] = {{a, a_bias, a_together}, {b, b_bias, b_together}};
  linalg::gemm_all(x, std::span(both));
  EXPECT_EQ(a_together, a_alone);
  EXPECT_EQ(b_together, b_alone);
}

TEST(Int8Matrix, RowsAndColumnsOfZerosGiveTheBias) {
  const Vec<float> bias = Vec<float>::LinSpaced(20, 0, 1);
  Mat<float> y(20, 1);
  linalg::gemm(linalg::Int8Matrix(Mat<float>::Zero(20, 9)), Mat<float>::Ones(9, 1), y, bias);
  EXPECT_EQ(y, bias);
  linalg::gemm(linalg::Int8Matrix(Mat<float>::Ones(20, 9)), Mat<float>::Zero(9, 1), y, bias);
  EXPECT_EQ(y, bias);
}

TEST(Int8Matrix, WhatIsTooSmallToHaveAScaleGivesTheBias) {
  const Vec<float> bias = Vec<float>::LinSpaced(5, -1, 1);
  for (const auto& [weight, value] : {std::pair{1e-37f, 1.0f}, {1.0f, 1e-37f}}) {
    Mat<float> y(5, 2);
    linalg::gemm(linalg::Int8Matrix(Mat<float>::Constant(5, 7, weight)), Mat<float>::Constant(7, 2, value), y, bias);
    for (Index t = 0; t < 2; ++t) EXPECT_EQ(y.col(t), bias);
  }
}

TEST(Int8Matrix, WhatIsNotFiniteStaysSo) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Mat<float> x = Mat<float>::Ones(9, 2), y(20, 2);
    x(4, 1) = bad;
    linalg::gemm(linalg::Int8Matrix(Mat<float>::Ones(20, 9)), x, y, Vec<float>::Zero(20));
    EXPECT_TRUE(y.col(0).allFinite());
    EXPECT_FALSE(y.col(1).array().isFinite().any());
    Mat<float> w = Mat<float>::Ones(20, 9);
    w(7, 3) = bad;
    linalg::gemm(linalg::Int8Matrix(w), Mat<float>::Ones(9, 2), y, Vec<float>::Zero(20));
    for (Index t = 0; t < 2; ++t)
      for (Index r = 0; r < 20; ++r) EXPECT_EQ(std::isfinite(y(r, t)), r != 7) << r;
  }
}

template <class Model>
class Int8Model : public ::testing::Test {};
using Models = ::testing::Types<QLLKClassic<float>, QLLKTransformer<float>>;
TYPED_TEST_SUITE(Int8Model, Models);

TYPED_TEST(Int8Model, LogitsAreNearThoseOfTheModelItWasMadeFrom) {
  typename TypeParam::Config config;
  config.dim = 64;
  config.layers = 2;
  if constexpr (requires { config.bits; }) config.bits = 8;
  const TypeParam model(config);
  Random random(4);
  const auto params = model.init(random);
  const auto rounded = linalg::to_int8<TypeParam>(params);
  EXPECT_EQ(parameter_count(rounded), parameter_count(params));
  std::vector<Byte> bytes(100);
  for (auto& byte : bytes) byte = static_cast<Byte>(random.bits());
  const auto logits = [&](const auto& p) {
    typename TypeParam::Cache cache;
    auto state = model.initial_state(1);
    Mat<float> z;
    model.forward(p, bytes, state, cache, z);
    return z;
  };
  const Mat<float> exact = logits(params), near = logits(rounded);
  const float error = (near - exact).norm() / exact.norm();
  EXPECT_TRUE(error > 0 && error <= 0.05) << error;
}

}  // namespace
}  // namespace qllk
