#include "qllk/mixers/softmax_attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "support/mixer_checks.hpp"

namespace qllk::mixers {
namespace {

using Mixer = SoftmaxAttention<double>;
using conformance::random_matrix;

std::vector<Mixer::Config> configs() {
  return {{.dim = 1},
          {.dim = 6, .head_dim = 2, .window = 5},
          {.dim = 6, .head_dim = 3},
          {.dim = 5, .head_dim = 1, .window = 1},
          {.dim = 8, .window = 33}};
}
std::string name(const Mixer::Config& c) {
  return "dim " + std::to_string(c.dim) + ", head_dim " + std::to_string(c.head_dim) + ", window " +
         std::to_string(c.window);
}

/// The docstring's equations with the whole matrix of scores.
Mat<double> plain(const Mixer::Config& c, Index head_dim, const Mixer::Params& p, const Mat<double>& x) {
  Mat<double> y(x.rows(), x.cols());
  for (Index t = 0; t < x.cols(); ++t) {
    Vec<double> u(c.dim);
    for (Index h = 0; h < c.dim; h += head_dim) {
      const Index first = c.window > 0 ? std::max<Index>(0, t + 1 - c.window) : 0;
      const auto head = [&](const auto& linear, Index j) -> Vec<double> {
        return test::affine(linear, x.col(j)).segment(h, head_dim);
      };
      Vec<double> scores(t + 1 - first), mean = Vec<double>::Zero(head_dim);
      for (Index j = first; j <= t; ++j)
        scores[j - first] = test::rotated(head(p.q_proj, t), t).dot(test::rotated(head(p.k_proj, j), j)) /
                            std::sqrt(static_cast<double>(head_dim));
      const Vec<double> weights = test::softmax(scores);
      for (Index j = first; j <= t; ++j) mean += weights[j - first] * head(p.v_proj, j);
      u.segment(h, head_dim) = mean;
    }
    y.col(t) = test::affine(p.out_proj, u);
  }
  return y;
}

TEST(SoftmaxAttention, ForwardIsTheEquation) {
  for (const auto& config : configs())
    for (const Index length : {1, 40, 300}) {  // more than a tile
      Random random = Random::of(config.dim, length);
      const Mixer mixer(config);
      const auto p = test::generic(mixer, random);
      const auto x = random_matrix<double>(config.dim, length, random);
      const Index head_dim = config.head_dim > 0 ? config.head_dim : config.dim;
      EXPECT_TRUE(conformance::relative_error(test::output(mixer, p, x), plain(config, head_dim, p, x), 1e-3) <= 1e-12)
          << name(config) << ", length " << length;
    }
}

TEST(SoftmaxAttention, BackwardMatchesCentralDifference) {
  for (const auto& config : configs())
    for (const Index before : {0, 3, 40}) {
      SCOPED_TRACE(name(config) + ", before " + std::to_string(before));
      // alone with itself a position has no choice, and its query and key do not matter
      std::vector<std::string> dead;
      if (config.window == 1) dead = {"q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias"};
      test::expect_gradients<Mixer>(config, 2, 11, before, dead);
    }
}

/// Several tiles of queries and of keys.
TEST(SoftmaxAttention, BackwardOfManyPositionsMatchesCentralDifference) {
  for (const Index window : {0, 70, 290}) {
    SCOPED_TRACE(window);
    Random random = Random::of(window);
    const Mixer mixer({.dim = 4, .head_dim = 2, .window = window});
    const auto p = test::generic(mixer, random);
    const auto report =
        conformance::check_mixer_gradients(mixer, p, random_matrix<double>(4, 400, random),
                                           test::state_after(mixer, p, 4, 1, 150, random), {.entries = 6});
    EXPECT_TRUE(report.passed(1e-6)) << report.str();
  }
}

TEST(SoftmaxAttention, IsCausalAndTheSameInAnyChunks) {
  for (const auto& config : configs())
    for (const Index length : {0, 1, 40})
      for (const Index before : {0, 3, 40}) {
        SCOPED_TRACE(name(config) + ", length " + std::to_string(length) + ", before " + std::to_string(before));
        test::expect_conformance<Mixer>(config, 2, length, before);
      }
}

/// Scores of several hundred, where exp of one overflows.
TEST(SoftmaxAttention, LargeScoresStayFinite) {
  Random random(1);
  const SoftmaxAttention<float> mixer({.dim = 4});
  auto p = mixer.init(random);
  p.q_proj.weight *= 100.F;
  const Mat<float> x = random_matrix<float>(4, 300, random, 50), dy = random_matrix<float>(4, 300, random);
  auto state = mixer.initial_state(1), dstate = mixer.initial_state(1);
  SoftmaxAttention<float>::Cache cache;
  auto g = mixer.zeros();
  Mat<float> y = x, dx = x;
  mixer.forward(p, x, state, cache, y);
  mixer.backward(p, x, cache, dy, dstate, g, dx);
  EXPECT_TRUE(y.allFinite() && dx.allFinite() && y.norm() > 0 && dx.norm() > 0);
}

TEST(SoftmaxAttention, DoesNotAllocateAfterTheFirstStep) {
  for (const Index window : {0, 1, 20})
    test::expect_no_allocation<SoftmaxAttention<float>>({.dim = 32, .head_dim = 8, .window = window}, 16, 7);
}

/// With a window memory does not grow, and columns that leave make room for those that come.
TEST(SoftmaxAttention, StateHoldsWhatLaterPositionsCanSee) {
  Random random(1);
  const Mixer mixer({.dim = 4, .window = 8});
  const auto p = mixer.init(random);
  auto state = mixer.initial_state(1);
  Mixer::Cache cache;
  const auto x = random_matrix<double>(4, 1, random);
  Mat<double> y = x;
  long before = 0;
  for (Index t = 0; t < 1000; ++t) {
    if (t == 20) before = qllk::test::allocations();
    mixer.forward(p, x, state, cache, y);
    EXPECT_EQ(state.keys[0].cols(), std::min<Index>(t + 1, 7));
  }
  EXPECT_EQ(qllk::test::allocations(), before);
  EXPECT_EQ(state.position, 1000);
}

/// A state is a value: what is done to a copy, or to the state after a forward, reaches neither the other nor the
/// cache.
TEST(SoftmaxAttention, StatesAreValues) {
  Random random(1);
  const Mixer mixer({.dim = 4});
  const auto p = test::generic(mixer, random);
  const auto x = random_matrix<double>(4, 6, random), dy = random_matrix<double>(4, 6, random);
  const auto start = test::state_after(mixer, p, 4, 1, 5, random);
  const auto gradient = [&](auto&& change) {
    auto state = start, other = state, dstate = mixer.initial_state(1);
    Mixer::Cache cache, other_cache;
    auto g = mixer.zeros();
    Mat<double> y = x, dx = x;
    mixer.forward(p, x, state, cache, y);
    change(state, other);
    mixer.forward(p, dy, state, other_cache, y);
    mixer.forward(p, dy, other, other_cache, y);
    mixer.backward(p, x, cache, dy, dstate, g, dx);
    return dx;
  };
  const auto expected = gradient([](auto&, auto&) {});
  EXPECT_EQ(gradient([&](auto& state, auto&) { mixer.reset(state, 1); }), expected);
  EXPECT_EQ(gradient([&](auto& state, auto&) { conformance::disturb(state, 1, random); }), expected);
  EXPECT_EQ(gradient([&](auto&, auto& other) { conformance::disturb(other, 1, random); }), expected);
  EXPECT_EQ(gradient([&](auto& state, auto& other) { state = other; }), expected);
}

TEST(SoftmaxAttention, RefusesWhatMakesNoSense) {
  test::expect_refused<Mixer>({.dim = 0}, "dim is 0");
  test::expect_refused<Mixer>({.dim = 6, .head_dim = 4}, "dim is 6 and head_dim 4");
  test::expect_refused<Mixer>({.dim = 6, .head_dim = -1}, "head_dim -1");
  test::expect_refused<Mixer>({.dim = 6, .window = -1}, "window is -1");
}

TEST(SoftmaxAttention, HeadsAreAsWideAsDimAllows) {
  EXPECT_EQ(head_width("", 256, 0), 64);
  EXPECT_EQ(head_width("", 96, 0), 48);
  EXPECT_EQ(head_width("", 67, 0), 1);
  EXPECT_EQ(head_width("", 6, 0), 6);
  EXPECT_EQ(head_width("", 6, 2), 2);
}

}  // namespace
}  // namespace qllk::mixers
