#include "qllk/mixers/melf.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "support/mixer_checks.hpp"

namespace qllk::mixers {
namespace {

using Mixer = Melf<double>;
using conformance::random_matrix;

std::vector<Mixer::Config> configs() {
  return {{.dim = 1}, {.dim = 6, .head_dim = 2, .window = 3}, {.dim = 6, .head_dim = 3}, {.dim = 5, .window = 2}};
}
std::string name(const Mixer::Config& c) {
  return "dim " + std::to_string(c.dim) + ", head_dim " + std::to_string(c.head_dim) + ", window " +
         std::to_string(c.window);
}

Mat<double> plain(const Mixer::Config& c, Index head_dim, const Mixer::Params& p, const Mat<double>& x) {
  const Index dim = c.dim;
  std::vector<Vec<double>> folds;
  for (Index end = 0; end < x.cols(); end += 4) {
    Vec<double> columns = Vec<double>::Zero(4 * dim);
    for (Index i = 0; i < 4; ++i)
      if (end - 3 + i >= 0) columns.segment(i * dim, dim) = x.col(end - 3 + i);
    folds.push_back(test::affine(p.fold, columns));
  }
  const auto& a = p.attention;
  Mat<double> y(dim, x.cols());
  for (Index t = 0; t < x.cols(); ++t) {
    const Index last = t / 4, first = c.window > 0 ? std::max<Index>(0, last + 1 - c.window) : 0;
    Vec<double> u(dim);
    for (Index h = 0; h < dim; h += head_dim) {
      const auto head = [&](const auto& linear, Index fold) -> Vec<double> {
        return test::affine(linear, folds[static_cast<std::size_t>(fold)]).segment(h, head_dim);
      };
      Vec<double> scores(last + 1 - first), mean = Vec<double>::Zero(head_dim);
      for (Index j = first; j <= last; ++j)
        scores[j - first] = test::rotated(head(a.q_proj, last), last).dot(test::rotated(head(a.k_proj, j), j)) /
                            std::sqrt(static_cast<double>(head_dim));
      const Vec<double> weights = test::softmax(scores);
      for (Index j = first; j <= last; ++j) mean += weights[j - first] * head(a.v_proj, j);
      u.segment(h, head_dim) = mean;
    }
    y.col(t) = test::affine(a.out_proj, u).segment(t % 4 * dim, dim);
  }
  return y;
}

TEST(Melf, ForwardIsTheEquation) {
  for (const auto& config : configs())
    for (const Index length : {1, 4, 75}) {
      Random random = Random::of(config.dim, length);
      const Mixer mixer(config);
      const auto p = test::generic(mixer, random);
      const auto x = random_matrix<double>(config.dim, length, random);
      const auto expected = plain(config, config.head_dim > 0 ? config.head_dim : config.dim, p, x);
      EXPECT_TRUE(conformance::relative_error(test::output(mixer, p, x), expected, 1e-3) <= 1e-12)
          << name(config) << ", length " << length;
    }
}

TEST(Melf, BackwardMatchesCentralDifference) {
  for (const auto& config : configs())
    for (const Index length : {5, 8, 18})
      for (const Index before : {6, 12}) {
        SCOPED_TRACE(name(config) + ", length " + std::to_string(length) + ", before " + std::to_string(before));
        // where a fold begins, nothing is left to give of the one before
        std::vector<std::string> dead;
        if (before % 4 == 0) dead = {"state.slots"};
        test::expect_gradients<Mixer>(config, 2, length, before, dead);
      }
}

TEST(Melf, IsCausalAndTheSameInAnyChunks) {
  for (const auto& config : configs())
    for (const Index length : {0, 1, 45})
      for (const Index before : {0, 3, 8}) {
        SCOPED_TRACE(name(config) + ", length " + std::to_string(length) + ", before " + std::to_string(before));
        test::expect_conformance<Mixer>(config, 2, length, before);
      }
}

TEST(Melf, DoesNotAllocateAfterTheFirstStep) {
  for (const Index window : {0, 8})
    test::expect_no_allocation<Melf<float>>({.dim = 32, .head_dim = 8, .window = window}, 42, 4);
}

TEST(Melf, RefusesWhatMakesNoSense) {
  test::expect_refused<Mixer>({.dim = 0}, "dim is 0");
  test::expect_refused<Mixer>({.dim = 6, .head_dim = 4}, "dim is 6 and head_dim 4");
  test::expect_refused<Mixer>({.dim = 6, .window = -1}, "window is -1");
}

}  // namespace
}  // namespace qllk::mixers
