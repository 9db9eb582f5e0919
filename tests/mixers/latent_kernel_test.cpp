#include "qllk/mixers/latent_kernel.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <iostream>
#include <string>
#include <vector>

#include "qllk/testing/conformance.hpp"
#include "qllk/testing/gradient_check.hpp"
#include "support/allocations.hpp"
#include "support/long_stream.hpp"

namespace qllk::mixers {
namespace {

using conformance::random_matrix;

template <Real Scalar>
using Config = typename LatentKernel<Scalar>::Config;

std::string name(const Config<double>& c) {
  return "dim " + std::to_string(c.dim) + ", head_dim " + std::to_string(c.head_dim) + ", decay " +
         std::to_string(static_cast<int>(c.decay)) + (c.normalise ? ", norm" : "") + (c.project ? ", project" : "");
}

/// Every head size, decay, norm and projection.
std::vector<Config<double>> all_configs() {
  std::vector<Config<double>> all;
  for (const auto& [dim, head_dim] : {std::pair<Index, Index>{5, 1}, {6, 2}, {8, 4}, {16, 16}})
    for (const Decay decay : {Decay::none, Decay::learned, Decay::data_dependent})
      for (const bool normalise : {false, true})
        for (const bool project : {false, true})
          all.push_back({.dim = dim, .head_dim = head_dim, .decay = decay, .normalise = normalise, .project = project});
  return all;
}

template <Real Scalar>
typename LatentKernel<Scalar>::Params generic(const LatentKernel<Scalar>& kernel, Random& random) {
  auto p = kernel.init(random);
  conformance::disturb(p, 0.3, random);
  return p;
}

template <Real Scalar>
LatentState<Scalar> warm(const LatentKernel<Scalar>& kernel, Index sequences, Random& random) {
  auto state = kernel.initial_state(sequences);
  conformance::disturb(state, 0.5, random);
  return state;
}

/// The docstring's equations, one position at a time.
TEST(LatentKernel, ForwardIsTheEquation) {
  for (const auto& config : all_configs()) {
    SCOPED_TRACE(name(config));
    Random random = Random::of(config.dim, config.head_dim);
    const LatentKernel<double> kernel(config);
    const auto p = generic(kernel, random);
    const Index d = config.head_dim, length = 37;
    const auto x = random_matrix<double>(config.dim, length, random);
    auto state = kernel.initial_state(1);
    LatentKernel<double>::Cache cache;
    Mat<double> y(config.dim, length), expected(config.dim, length);
    kernel.forward(p, x, state, cache, y);

    const auto affine = [&](const auto& linear, const Vec<double>& in) -> Vec<double> {
      return linear.weight * in + linear.bias;
    };
    const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
    std::vector<Mat<double>> S(static_cast<std::size_t>(config.dim / d), Mat<double>::Zero(d, d));
    for (Index t = 0; t < length; ++t) {
      const Vec<double> q = affine(p.q_proj, x.col(t)), k = affine(p.k_proj, x.col(t)), v = affine(p.v_proj, x.col(t));
      Vec<double> u(config.dim);
      for (Index h = 0; h < config.dim / d; ++h) {
        auto& M = S[static_cast<std::size_t>(h)];
        const Mat<double> kv = k.segment(h * d, d) * v.segment(h * d, d).transpose();
        if (config.decay == Decay::none) {
          M += kv;
        } else {
          double logit = p.decay_bias[h];
          if (config.decay == Decay::data_dependent) logit += p.decay_weight.row(h).dot(x.col(t));
          M = sigmoid(logit) * M + (1 - sigmoid(logit)) * kv;
        }
        u.segment(h * d, d) = M.transpose() * q.segment(h * d, d);
      }
      if (config.normalise) {
        const double mean = u.mean(), variance = (u.array() - mean).square().mean();
        u = ((u.array() - mean) / std::sqrt(variance + 1e-5) * p.norm.weight.array() + p.norm.bias.array()).matrix();
      }
      const Vec<double> gated = u.cwiseProduct(affine(p.gate, x.col(t)).unaryExpr(sigmoid));
      expected.col(t) = config.project ? affine(p.out_proj, gated) : gated;
    }
    EXPECT_TRUE(conformance::relative_error(y, expected, 1e-3) <= 1e-12);
  }
}

TEST(LatentKernel, BackwardMatchesCentralDifference) {
  for (const auto& config : all_configs())
    for (const auto& [length, sequences] : {std::pair<Index, Index>{1, 1}, {5, 3}, {33, 1}}) {
      Random random = Random::of(config.dim, config.head_dim, static_cast<int>(config.decay), length);
      const LatentKernel<double> kernel(config);
      const auto report = conformance::check_mixer_gradients(
          kernel, generic(kernel, random), random_matrix<double>(config.dim, sequences * length, random),
          warm(kernel, sequences, random), {.step = config.normalise ? 0x1p-12 : 0x1p-10, .entries = 48});
      EXPECT_TRUE(report.passed()) << name(config) << ", length " << length << ": " << report.str();
    }
}

/// Wider than the tiles that backward goes by.
TEST(LatentKernel, BackwardOfManyFeaturesMatchesCentralDifference) {
  for (const bool ours : {false, true}) {
    Random random = Random::of(ours);
    const LatentKernel<double> kernel(
        {.dim = 300, .decay = ours ? Decay::data_dependent : Decay::none, .normalise = ours, .project = ours});
    const auto report =
        conformance::check_mixer_gradients(kernel, generic(kernel, random), random_matrix<double>(300, 2 * 3, random),
                                           warm(kernel, 2, random), {.step = 0x1p-12, .entries = 12});
    EXPECT_TRUE(report.passed()) << ours << ": " << report.str();
  }
}

TEST(LatentKernel, SaturatedDecaysHaveFiniteGradients) {
  for (const Index head_dim : {1, 2, 4, 16})
    for (const double bias : {-1000.0, 1000.0}) {
      Random random = Random::of(head_dim, bias > 0);
      const LatentKernel<double> kernel({.dim = 2 * head_dim, .head_dim = head_dim, .decay = Decay::learned});
      auto p = generic(kernel, random);
      p.decay_bias.setConstant(bias);  // a is exactly 0 or 1
      const auto report = conformance::check_mixer_gradients(kernel, p, random_matrix<double>(2 * head_dim, 40, random),
                                                             warm(kernel, 1, random), {.entries = 16});
      std::vector<std::string> dead{"decay.bias"};
      if (bias > 0) dead.insert(dead.begin() + 0, {"k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias"});
      if (bias < 0) dead.push_back("state.memory");
      EXPECT_TRUE(report.passed(1e-7, dead)) << head_dim << ", " << bias << ": " << report.str();
    }
}

TEST(LatentKernel, ScanIsStepByStepIsAnyChunking) {
  for (const auto& config : all_configs()) {
    if (config.normalise != config.project) continue;
    for (const Index length : {0, 1, 5, 31, 32, 33, 67})
      for (const Index sequences : {1, 3}) {
        Random random = Random::of(config.dim, length, sequences);
        const LatentKernel<double> kernel(config);
        const auto result = conformance::check_mixer(kernel, generic(kernel, random),
                                                     random_matrix<double>(config.dim, sequences * length, random),
                                                     sequences, warm(kernel, sequences, random));
        // After one position u is a multiple of v, whose length the norm takes away again: little is left of the
        // terms of dq and dk, and rounding weighs more in it.
        EXPECT_TRUE(result.passed(1e-10))
            << name(config) << ", length " << length << ", sequences " << sequences << ": " << result.str();
        EXPECT_EQ(result.reacts, length > 0);
      }
  }
}

TEST(LatentKernel, ConformsInFloat) {
  for (const Index head_dim : {1, 8}) {
    Random random(1);
    const LatentKernel<float> kernel(
        {.dim = 16, .head_dim = head_dim, .decay = Decay::data_dependent, .normalise = true, .project = true});
    const auto result = conformance::check_mixer(kernel, generic(kernel, random),
                                                 random_matrix<float>(16, 2 * 67, random), 2, warm(kernel, 2, random));
    EXPECT_TRUE(result.passed(1e-4)) << result.str();
  }
}

TEST(LatentKernel, DoesNotAllocateAfterTheFirstStep) {
  if (!test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  for (const Index head_dim : {1, 16}) {
    Random random(1);
    const LatentKernel<float> kernel(
        {.dim = 32, .head_dim = head_dim, .decay = Decay::data_dependent, .normalise = true, .project = true});
    const auto p = generic(kernel, random);
    const auto x = random_matrix<float>(32, 140, random), dy = random_matrix<float>(32, 140, random);
    auto g = kernel.zeros();
    auto state = kernel.initial_state(2), dstate = state;
    LatentKernel<float>::Cache cache;
    Mat<float> y(32, 140), dx(32, 140);
    long before = 0;
    for (int step = 0; step < 3; ++step) {
      if (step == 1) before = test::allocations();
      kernel.reset(state, 2);
      kernel.reset(dstate, 2);
      kernel.forward(p, x, state, cache, y);
      kernel.backward(p, x, cache, dy, dstate, g, dx);
    }
    EXPECT_EQ(test::allocations(), before) << "head_dim " << head_dim;
  }
}

TEST(LatentKernel, InitialDecaysSpreadOverMemoriesOf2To1024Positions) {
  Random random(1);
  const auto p = LatentKernel<double>({.dim = 10, .decay = Decay::learned}).init(random);
  for (Index h = 0; h < 10; ++h)
    EXPECT_TRUE(std::abs(1 / (1 + std::exp(-p.decay_bias[h])) - (1 - std::exp2(-1 - static_cast<double>(h)))) <= 1e-14);
}

TEST(LatentKernel, HoldsOnlyWhatItsConfigurationNeeds) {
  const Index dim = 6;
  EXPECT_EQ(parameter_count(LatentKernel<float>({.dim = dim}).zeros()), 4 * (dim * dim + dim));
  EXPECT_EQ(parameter_count(LatentKernel<float>({.dim = dim, .head_dim = 2, .decay = Decay::learned}).zeros()),
            4 * (dim * dim + dim) + 3);
  EXPECT_EQ(parameter_count(
                LatentKernel<float>(
                    {.dim = dim, .head_dim = 2, .decay = Decay::data_dependent, .normalise = true, .project = true})
                    .zeros()),
            5 * (dim * dim + dim) + 3 * dim + 3 + 2 * dim);
}

/// QLLK_LONG_STREAM=10000000 is what bench/README.md has.
TEST(LatentKernel, SinglePrecisionStaysNearDoubleOnALongStream) {
  for (const Index head_dim : {1, 4})
    for (const Decay decay : {Decay::none, Decay::learned, Decay::data_dependent}) {
      Random random(1);
      const auto config = [&](auto c) {
        c.dim = 8, c.head_dim = head_dim, c.decay = decay, c.project = true;
        return c;
      };
      const LatentKernel<float> single(config(Config<float>{}));
      const LatentKernel<double> exact(config(Config<double>{}));
      const test::Drift drift = test::drift(single, exact, 8, test::long_stream(), random);
      std::cout << "head_dim " << head_dim << ", decay " << enum_names(decay)[static_cast<std::size_t>(decay)] << ": "
                << drift << '\n';
      EXPECT_LE(drift.largest, 1e-4) << drift;
    }
}

}  // namespace
}  // namespace qllk::mixers
