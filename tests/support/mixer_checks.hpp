// What the tests of single mixers share.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/testing/conformance.hpp"
#include "qllk/testing/gradient_check.hpp"
#include "support/allocations.hpp"

namespace qllk::mixers::test {

using conformance::random_matrix;

template <class Linear>
Vec<double> affine(const Linear& linear, const Vec<double>& x) {
  return linear.weight * x + linear.bias;
}

inline double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

/// Of the scores, which are not empty.
inline Vec<double> softmax(const Vec<double>& scores) {
  const Vec<double> p = (scores.array() - scores.maxCoeff()).exp();
  return p / p.sum();
}

/// Rotary positions of one head, each pair of channels as a complex number.
inline Vec<double> rotated(const Vec<double>& x, Index position) {
  const Index half = x.size() / 2;
  Vec<double> out = x;
  for (Index i = 0; i < half; ++i) {
    const double angle =
        static_cast<double>(position) * std::pow(10000, -static_cast<double>(i) / static_cast<double>(half));
    out[i] = x[i] * std::cos(angle) - x[half + i] * std::sin(angle);
    out[half + i] = x[i] * std::sin(angle) + x[half + i] * std::cos(angle);
  }
  return out;
}

template <class Mixer>
typename Mixer::Params generic(const Mixer& mixer, Random& random) {
  auto p = mixer.init(random);
  conformance::disturb(p, 0.3, random);
  return p;
}

/// The state after `length` random positions.
template <class Mixer>
typename Mixer::State state_after(const Mixer& mixer, const typename Mixer::Params& p, Index dim, Index sequences,
                                  Index length, Random& random) {
  using S = typename Mixer::Scalar;
  auto state = mixer.initial_state(sequences);
  typename Mixer::Cache cache;
  Mat<S> y(dim, sequences * length);
  mixer.forward(p, random_matrix<S>(dim, sequences * length, random), state, cache, y);
  return state;
}

/// What the mixer makes of x from the start of a stream.
template <class Mixer>
Mat<double> output(const Mixer& mixer, const typename Mixer::Params& p, const Mat<double>& x) {
  auto state = mixer.initial_state(1);
  typename Mixer::Cache cache;
  Mat<double> y(x.rows(), x.cols());
  mixer.forward(p, x, state, cache, y);
  return y;
}

/// Gradients of a stream that begins, and of one after `before` positions.
template <class Mixer>
void expect_gradients(const typename Mixer::Config& config, Index sequences, Index length, Index before,
                      const std::vector<std::string>& dead = {}) {
  Random random = Random::of(config.dim, sequences, length, before);
  const Mixer mixer(config);
  const auto p = generic(mixer, random);
  auto start = state_after(mixer, p, config.dim, sequences, before, random);
  conformance::disturb(start, 0.2, random);
  const auto report = conformance::check_mixer_gradients(
      mixer, p, random_matrix<double>(config.dim, sequences * length, random), start, {.step = 0x1p-13, .entries = 64});
  EXPECT_TRUE(report.passed(1e-6, dead)) << report.str();
}

/// Causal, and the same in any chunks.
template <class Mixer>
void expect_conformance(const typename Mixer::Config& config, Index sequences, Index length, Index before) {
  Random random = Random::of(config.dim, sequences, length, before);
  const Mixer mixer(config);
  const auto p = generic(mixer, random);
  const auto result = conformance::check_mixer(mixer, p, random_matrix<double>(config.dim, sequences * length, random),
                                               sequences, state_after(mixer, p, config.dim, sequences, before, random));
  EXPECT_TRUE(result.passed(1e-9)) << result.str();
  EXPECT_TRUE(result.reacts || length <= 1);
}

/// The error's text names what was wrong.
template <class Mixer>
void expect_refused(const typename Mixer::Config& config, const std::string& what) {
  try {
    const Mixer mixer(config);
    FAIL() << "expected an error about: " << what;
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
  }
}

/// A step of several chunks, forward and backward, finds all memory that it needs where one went before.
template <class Mixer>
void expect_no_allocation(const typename Mixer::Config& config, Index length, Index chunks) {
  if (!qllk::test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  using S = typename Mixer::Scalar;
  Random random(2);
  const Mixer mixer(config);
  const auto p = mixer.init(random);
  auto g = mixer.zeros();
  auto state = mixer.initial_state(2), dstate = mixer.initial_state(2);
  std::vector<typename Mixer::Cache> caches(static_cast<std::size_t>(chunks));
  const auto x = random_matrix<S>(config.dim, 2 * length, random),
             dy = random_matrix<S>(config.dim, 2 * length, random);
  Mat<S> y = x, dx = x;
  long before = 0;
  for (int step = 0; step < 4; ++step) {
    if (step == 2) before = qllk::test::allocations();
    mixer.reset(state, 2);
    mixer.reset(dstate, 2);
    for (auto& cache : caches) mixer.forward(p, x, state, cache, y);
    for (std::size_t i = caches.size(); i-- > 0;) mixer.backward(p, x, caches[i], dy, dstate, g, dx);
  }
  EXPECT_EQ(qllk::test::allocations(), before);
}

}  // namespace qllk::mixers::test
