#include "qllk/mixers/linformer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/mixer_checks.hpp"

namespace qllk::mixers {
namespace {

using Mixer = Linformer<double>;
using conformance::random_matrix;

std::vector<Mixer::Config> configs() {
  return {{.dim = 1, .segment = 4, .slots = 2},
          {.dim = 6, .head_dim = 2, .segment = 5, .slots = 3},
          {.dim = 6, .head_dim = 3, .segment = 1, .slots = 1},
          {.dim = 5, .segment = 40, .slots = 8}};
}
std::string name(const Mixer::Config& c) {
  return "dim " + std::to_string(c.dim) + ", head_dim " + std::to_string(c.head_dim) + ", segment " +
         std::to_string(c.segment) + ", slots " + std::to_string(c.slots);
}

/// What each position sees is made anew from the whole stream.
Mat<double> plain(const Mixer::Config& c, Index head_dim, const Mixer::Params& p, const Mat<double>& x) {
  Mat<double> y(x.rows(), x.cols());
  for (Index t = 0; t < x.cols(); ++t) {
    const Index complete = t / c.segment, begin = complete * c.segment;
    Vec<double> u(c.dim);
    for (Index h = 0; h < c.dim; h += head_dim) {
      const auto head = [&](const auto& linear, Index j) -> Vec<double> {
        return test::affine(linear, x.col(j)).segment(h, head_dim);
      };
      const auto key = [&](Index j) { return test::rotated(head(p.k_proj, j), j % c.segment); };
      std::vector<Vec<double>> keys, values;
      for (Index slot = 0; complete > 0 && slot < c.slots; ++slot) {
        Vec<double> a = Vec<double>::Zero(head_dim), b = a;
        for (Index j = 0; j < begin; ++j) {
          a += p.key_slots(slot, j % c.segment) * key(j);
          b += p.value_slots(slot, j % c.segment) * head(p.v_proj, j);
        }
        keys.push_back(a / static_cast<double>(complete));
        values.push_back(b / static_cast<double>(complete));
      }
      for (Index j = begin; j <= t; ++j) {
        keys.push_back(key(j));
        values.push_back(head(p.v_proj, j));
      }
      Vec<double> scores(std::ssize(keys)), mean = Vec<double>::Zero(head_dim);
      for (std::size_t j = 0; j < keys.size(); ++j)
        scores[static_cast<Index>(j)] =
            test::rotated(head(p.q_proj, t), t % c.segment).dot(keys[j]) / std::sqrt(static_cast<double>(head_dim));
      const Vec<double> weights = test::softmax(scores);
      for (std::size_t j = 0; j < keys.size(); ++j) mean += weights[static_cast<Index>(j)] * values[j];
      u.segment(h, head_dim) = mean;
    }
    y.col(t) = test::affine(p.out_proj, u);
  }
  return y;
}

TEST(Linformer, ForwardIsTheEquation) {
  for (const auto& config : configs())
    for (const Index length : {1, 5, 93}) {
      Random random = Random::of(config.dim, length);
      const Mixer mixer(config);
      const auto p = test::generic(mixer, random);
      const auto x = random_matrix<double>(config.dim, length, random);
      const auto expected = plain(config, config.head_dim > 0 ? config.head_dim : config.dim, p, x);
      EXPECT_TRUE(conformance::relative_error(test::output(mixer, p, x), expected, 1e-3) <= 1e-12)
          << name(config) << ", length " << length;
    }
}

TEST(Linformer, BackwardMatchesCentralDifference) {
  for (const auto& config : configs())
    for (const Index length : {1, 4, 13})
      for (const Index before : {5, 13}) {
        SCOPED_TRACE(name(config) + ", length " + std::to_string(length) + ", before " + std::to_string(before));
        // nothing sees a segment that was complete before and is overwritten
        std::vector<std::string> dead;
        if (before % config.segment == 0 && length >= config.segment)
          dead = {"state.keys.segment", "state.values.segment"};
        test::expect_gradients<Mixer>(config, 2, length, before, dead);
      }
}

/// From the start of a stream, whose slots are not seen, over the first segment's end.
TEST(Linformer, BackwardOfAFirstSegmentMatchesCentralDifference) {
  Random random(1);
  const Mixer mixer({.dim = 4, .segment = 5, .slots = 3});
  const auto report =
      conformance::check_mixer_gradients(mixer, test::generic(mixer, random), random_matrix<double>(4, 2 * 7, random),
                                         mixer.initial_state(2), {.step = 0x1p-13});
  // the first segment overwrites what the state held
  EXPECT_TRUE(
      report.passed(1e-6, {"state.keys.segment", "state.keys.slots", "state.values.segment", "state.values.slots"}))
      << report.str();
}

TEST(Linformer, IsCausalAndTheSameInAnyChunks) {
  for (const auto& config : configs())
    for (const Index length : {0, 1, 45})
      for (const Index before : {0, 3, 10}) {
        SCOPED_TRACE(name(config) + ", length " + std::to_string(length) + ", before " + std::to_string(before));
        test::expect_conformance<Mixer>(config, 2, length, before);
      }
}

TEST(Linformer, DoesNotAllocateAfterTheFirstStep) {
  test::expect_no_allocation<Linformer<float>>({.dim = 32, .head_dim = 8, .segment = 24, .slots = 4}, 40, 3);
}

TEST(Linformer, RefusesWhatMakesNoSense) {
  test::expect_refused<Mixer>({.dim = 0}, "Linformer: dim is 0");
  test::expect_refused<Mixer>({.dim = 6, .head_dim = 4}, "dim is 6 and head_dim 4");
  test::expect_refused<Mixer>({.dim = 6, .segment = 0}, "segment is 0");
  test::expect_refused<Mixer>({.dim = 6, .segment = -3}, "segment is -3");
  test::expect_refused<Mixer>({.dim = 6, .slots = 0}, "slots is 0");
}

}  // namespace
}  // namespace qllk::mixers
