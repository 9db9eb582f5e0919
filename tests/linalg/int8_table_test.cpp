#include "qllk/linalg/int8_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/sparse_table.hpp"

namespace qllk::linalg {
namespace {

HashTable<float> random_table(Index dim, Index keys) {
  Random random = Random::of(dim, keys);
  HashTable<float> table(dim, keys);
  for (Index k = 0; k < keys; ++k)
    for (Index i = 0; i < dim; ++i) table(i, k) = static_cast<float>(std::exp2(k % 40 - 20) * random.normal());
  return table;
}

TEST(Int8Table, IsWithinHalfAStepOfTheTable) {
  for (const Index dim : {1, 7, 64, 130}) {
    const HashTable<float> table = random_table(dim, 100);
    const Int8Table rounded(table);
    ASSERT_EQ(rounded.rows(), dim);
    ASSERT_EQ(rounded.cols(), 100);
    double worst = 0;
    for (Index key = 0; key < 100; ++key) {
      const float step = table.col(key).cwiseAbs().maxCoeff() / 127;
      Vec<float> sum = Vec<float>::Zero(dim);
      add_key(rounded, key, false, values(sum));
      const double error = (sum - table.col(key)).cwiseAbs().maxCoeff() / step;
      worst = std::max(worst, error);
      EXPECT_LE(error, 0.501) << dim << ", " << key;
      Vec<float> difference = sum;
      add_key(rounded, key, true, values(difference));
      EXPECT_LE(difference.cwiseAbs().maxCoeff(), 1e-5F * step) << "plus and minus do not cancel";
    }
    EXPECT_TRUE(dim == 1 || worst > 0.1) << worst << ": nothing was rounded";
  }
}

TEST(Int8Table, KnowsWhichKeysAreTrained) {
  HashTable<float> table = random_table(8, 4);
  table.col(1).setZero();
  table.col(2) << 1e-6f, 1, 1, 1, 1, 1, 1, 1;  // whose first value rounds to 0
  const Int8Table rounded(table);
  for (Index key = 0; key < 4; ++key) EXPECT_EQ(is_trained(rounded, key), is_trained(table, key)) << key;
}

TEST(Int8Table, WhatIsNotFiniteStaysSo) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    HashTable<float> table = random_table(8, 3);
    table(5, 1) = bad;
    const Int8Table rounded(table);
    for (Index key = 0; key < 3; ++key) {
      Vec<float> sum = Vec<float>::Zero(8);
      add_key(rounded, key, false, values(sum));
      EXPECT_EQ(sum.allFinite(), key != 1) << bad << ", " << key;
    }
  }
}

}  // namespace
}  // namespace qllk::linalg
