// What the tests of single mixers share: the functions of their equations, plainly, and what is checked of each.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <string>

#include "qllk/testing/gradient_check.hpp"

namespace qllk::mixers::test {

inline double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }
inline double silu(double z) { return z * sigmoid(z); }
inline double softplus(double z) { return std::log(1 + std::exp(z)); }

template <class Linear>
Vec<double> affine(const Linear& linear, const Vec<double>& x) {
  return linear.weight * x + linear.bias;
}

/// Each group of `group` values by the root of its mean square.
inline Vec<double> rms_norm(Vec<double> x, const Vec<double>& weight, Index group, double epsilon) {
  for (Index at = 0; at < x.size(); at += group)
    x.segment(at, group) /= std::sqrt(x.segment(at, group).squaredNorm() / static_cast<double>(group) + epsilon);
  return x.cwiseProduct(weight);
}

/// y_t of a causal convolution of every channel on its own, with zeros before the first position.
template <class Conv>
Vec<double> short_conv(const Conv& conv, const Mat<double>& x, Index t) {
  Vec<double> y = conv.bias;
  const Index width = conv.weight.cols();
  for (Index w = 0; w < width; ++w)
    if (const Index at = t - width + 1 + w; at >= 0) y += conv.weight.col(w).cwiseProduct(x.col(at));
  return y;
}

template <class Mixer>
typename Mixer::Params generic(const Mixer& mixer, Random& random) {
  auto p = mixer.init(random);
  conformance::disturb(p, 0.3, random);
  return p;
}

/// y of one sequence from the initial state.
template <class Mixer>
Mat<double> answer(const Mixer& mixer, const typename Mixer::Params& p, const Mat<double>& x) {
  auto state = mixer.initial_state(1);
  typename Mixer::Cache cache;
  Mat<double> y(x.rows(), x.cols());
  mixer.forward(p, x, state, cache, y);
  return y;
}

/// Backward against central differences, from a state that streams have come to, disturbed besides.
template <class Mixer>
void expect_gradients(const typename Mixer::Config& config, Index sequences, Index length) {
  SCOPED_TRACE("dim " + std::to_string(config.dim) + ", " + std::to_string(sequences) + " x " + std::to_string(length));
  Random random = Random::of(config.dim, sequences, length);
  const Mixer mixer(config);
  const auto p = generic(mixer, random);
  auto state = mixer.initial_state(sequences);
  typename Mixer::Cache cache;
  Mat<double> y(config.dim, 5 * sequences);
  mixer.forward(p, conformance::random_matrix<double>(config.dim, 5 * sequences, random), state, cache, y);
  conformance::disturb(state, 0.2, random);
  const auto x = conformance::random_matrix<double>(config.dim, sequences * length, random);
  const auto report = conformance::check_mixer_gradients(mixer, p, x, state, {.step = 0x1p-12, .entries = 32});
  EXPECT_TRUE(report.passed(1e-7)) << report.str();
}

/// What the error of a configuration says; empty where there is none.
template <class Mixer>
std::string refusal(const typename Mixer::Config& config) {
  try {
    const Mixer mixer(config);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

}  // namespace qllk::mixers::test
