// How far single precision leads a mixer away from double precision on a long stream.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iomanip>
#include <limits>
#include <ostream>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/testing/conformance.hpp"

namespace qllk::test {

/// Positions of a test of long streams: 30,000, or QLLK_LONG_STREAM.
inline Index long_stream() {
  const char* const given = std::getenv("QLLK_LONG_STREAM");
  return given != nullptr ? std::atoll(given) : 30'000;
}

/// Errors of single precision: the largest difference of any output of a block of positions, over the root mean square
/// of the block's outputs in double precision.
struct Drift {
  double first, last, largest;

  friend std::ostream& operator<<(std::ostream& out, const Drift& d) {
    return out << std::setprecision(2) << "error at first " << d.first << ", at last " << d.last << ", at most "
               << d.largest;
  }
};

/// Inputs whose channels have means other than zero, so that sums grow. A NaN is infinitely wrong.
template <class Single, class Double>
Drift drift(const Single& single, const Double& exact, Index dim, Index positions, Random& random) {
  constexpr Index kBlock = 1000;
  const FlushDenormals flush;
  auto params = single.init(random);
  conformance::disturb(params, 0.2, random);
  auto exact_params = exact.zeros();
  for_each_parameter([](const Path&, const auto& from, auto& to) { to = from.template cast<double>(); }, params,
                     exact_params);
  auto state = single.initial_state(1);
  auto exact_state = exact.initial_state(1);
  typename Single::Cache cache;
  typename Double::Cache exact_cache;
  const Vec<float> mean = conformance::random_matrix<float>(dim, 1, random);
  Mat<float> y(dim, kBlock);
  Mat<double> exact_y(dim, kBlock);
  Drift drift{0, 0, 0};
  for (Index at = 0; at < positions; at += kBlock) {
    const Mat<float> x = conformance::random_matrix<float>(dim, kBlock, random).colwise() + mean;
    single.forward(params, x, state, cache, y);
    exact.forward(exact_params, x.template cast<double>(), exact_state, exact_cache, exact_y);
    const double size = std::sqrt(exact_y.squaredNorm() / static_cast<double>(exact_y.size()));
    drift.last = (y.template cast<double>() - exact_y).cwiseAbs().maxCoeff() / size;
    if (!y.allFinite() || !std::isfinite(drift.last)) drift.last = std::numeric_limits<double>::infinity();
    if (at == 0) drift.first = drift.last;
    drift.largest = std::max(drift.largest, drift.last);
  }
  return drift;
}

}  // namespace qllk::test
