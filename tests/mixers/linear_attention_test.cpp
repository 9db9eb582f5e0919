#include "qllk/mixers/linear_attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <string>
#include <vector>

#include "support/long_stream.hpp"
#include "support/mixer_checks.hpp"

namespace qllk::mixers {
namespace {

using Mixer = LinearAttention<double>;
using conformance::random_matrix;

std::vector<Mixer::Config> configs() {
  return {{.dim = 1}, {.dim = 5, .head_dim = 1}, {.dim = 6, .head_dim = 3}, {.dim = 8}};
}
std::string name(const Mixer::Config& c) {
  return "dim " + std::to_string(c.dim) + ", head_dim " + std::to_string(c.head_dim);
}

/// As attention whose weights are φ(q_t) · φ(k_j) in place of exponentials.
Mat<double> plain(Index dim, Index head_dim, const Mixer::Params& p, const Mat<double>& x) {
  const auto feature = [](double z) { return z > 0 ? z + 1 : std::exp(z); };
  Mat<double> y(x.rows(), x.cols());
  for (Index t = 0; t < x.cols(); ++t) {
    Vec<double> u(dim);
    for (Index h = 0; h < dim; h += head_dim) {
      const auto head = [&](const auto& linear, Index j) -> Vec<double> {
        return test::affine(linear, x.col(j)).segment(h, head_dim);
      };
      Vec<double> sum = Vec<double>::Zero(head_dim);
      double weights = 1e-3;
      for (Index j = 0; j <= t; ++j) {
        const double weight = head(p.q_proj, t).unaryExpr(feature).dot(head(p.k_proj, j).unaryExpr(feature));
        sum += weight * head(p.v_proj, j);
        weights += weight;
      }
      u.segment(h, head_dim) = sum / weights;
    }
    y.col(t) = test::affine(p.out_proj, u);
  }
  return y;
}

TEST(LinearAttention, ForwardIsTheEquation) {
  for (const auto& config : configs())
    for (const Index length : {1, 32, 75}) {
      Random random = Random::of(config.dim, length);
      const Mixer mixer(config);
      const auto p = test::generic(mixer, random);
      const auto x = random_matrix<double>(config.dim, length, random);
      const auto expected = plain(config.dim, config.head_dim > 0 ? config.head_dim : config.dim, p, x);
      EXPECT_TRUE(conformance::relative_error(test::output(mixer, p, x), expected, 1e-3) <= 1e-12)
          << name(config) << ", length " << length;
    }
}

TEST(LinearAttention, BackwardMatchesCentralDifference) {
  for (const auto& config : configs())
    for (const Index length : {1, 11, 40}) {
      // with heads of 1, φ(q) cancels but for ε: the more keys, the more a difference of outputs is rounding
      if (length == 40 && (config.dim == 1 || config.head_dim == 1)) continue;
      SCOPED_TRACE(name(config) + ", length " + std::to_string(length));
      test::expect_gradients<Mixer>(config, 2, length, 6);
    }
}

TEST(LinearAttention, IsCausalAndTheSameInAnyChunks) {
  for (const auto& config : configs())
    for (const Index length : {0, 1, 67}) {
      SCOPED_TRACE(name(config) + ", length " + std::to_string(length));
      test::expect_conformance<Mixer>(config, 2, length, 5);
    }
}

/// QLLK_LONG_STREAM=10000000 is what bench/README.md has.
TEST(LinearAttention, SinglePrecisionStaysNearDoubleOnALongStream) {
  for (const Index head_dim : {1, 4}) {
    Random random(1);
    const LinearAttention<float> single({.dim = 8, .head_dim = head_dim});
    const qllk::test::Drift drift =
        qllk::test::drift(single, Mixer({.dim = 8, .head_dim = head_dim}), 8, qllk::test::long_stream(), random);
    std::cout << "head_dim " << head_dim << ": " << drift << '\n';
    EXPECT_LE(drift.largest, 1e-4) << drift;
  }
}

/// Where every feature underflows there is nothing to divide by.
TEST(LinearAttention, VanishingFeaturesStayFinite) {
  Random random(1);
  const LinearAttention<float> mixer({.dim = 4});
  auto p = mixer.init(random);
  p.q_proj.bias.setConstant(-300);
  p.k_proj.bias.setConstant(-300);
  const Mat<float> x = random_matrix<float>(4, 9, random);
  auto state = mixer.initial_state(1), dstate = mixer.initial_state(1);
  LinearAttention<float>::Cache cache;
  auto g = mixer.zeros();
  Mat<float> y = x, dx = x;
  mixer.forward(p, x, state, cache, y);
  mixer.backward(p, x, cache, x, dstate, g, dx);
  EXPECT_TRUE(y.allFinite() && dx.allFinite() && g.v_proj.weight.allFinite());
}

TEST(LinearAttention, DoesNotAllocateAfterTheFirstStep) {
  test::expect_no_allocation<LinearAttention<float>>({.dim = 32, .head_dim = 8}, 40, 3);
}

TEST(LinearAttention, RefusesWhatMakesNoSense) {
  test::expect_refused<Mixer>({.dim = 0}, "LinearAttention: dim is 0");
  test::expect_refused<Mixer>({.dim = 6, .head_dim = 4}, "dim is 6 and head_dim 4");
  test::expect_refused<Mixer>({.dim = 6, .head_dim = -2}, "head_dim -2");
}

}  // namespace
}  // namespace qllk::mixers
