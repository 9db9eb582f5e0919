#include "qllk/mixers/retention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/mixer_checks.hpp"

namespace qllk::mixers {
namespace {

using Mixer = Retention<double>;
using conformance::random_matrix;

std::vector<Mixer::Config> configs() {
  return {{.dim = 1}, {.dim = 5, .head_dim = 1}, {.dim = 6, .head_dim = 3}, {.dim = 8}};
}
std::string name(const Mixer::Config& c) {
  return "dim " + std::to_string(c.dim) + ", head_dim " + std::to_string(c.head_dim);
}

/// The parallel form: r_t = (1 - γ) Σ_j γ^(t-j) (q'_t · k'_j) v_j.
Mat<double> plain(Index dim, Index head_dim, const Mixer::Params& p, const Mat<double>& x) {
  Mat<double> y(x.rows(), x.cols());
  for (Index t = 0; t < x.cols(); ++t) {
    const Vec<double> gate = test::affine(p.gate, x.col(t));
    Vec<double> u(dim);
    const Index heads = dim / head_dim;
    for (Index h = 0; h < heads; ++h) {
      const auto head = [&](const auto& linear, Index j) -> Vec<double> {
        return test::affine(linear, x.col(j)).segment(h * head_dim, head_dim);
      };
      const double least = std::log(1.0 / 32), most = std::log(1.0 / 512);
      const double place = heads > 1 ? static_cast<double>(h) / static_cast<double>(heads - 1) : 0;
      const double rate = 1 - std::exp(least + (most - least) * place);
      Vec<double> r = Vec<double>::Zero(head_dim);
      for (Index j = 0; j <= t; ++j)
        r += (1 - rate) * std::pow(rate, t - j) / std::sqrt(static_cast<double>(head_dim)) *
             test::rotated(head(p.q_proj, t), t).dot(test::rotated(head(p.k_proj, j), j)) * head(p.v_proj, j);
      if (head_dim > 1) r /= std::sqrt(r.squaredNorm() / static_cast<double>(head_dim) + 1e-5);
      u.segment(h * head_dim, head_dim) = r;
    }
    for (Index i = 0; i < dim; ++i) u[i] *= gate[i] * test::sigmoid(gate[i]);
    y.col(t) = test::affine(p.out_proj, u);
  }
  return y;
}

TEST(Retention, ForwardIsTheEquation) {
  for (const auto& config : configs())
    for (const Index length : {1, 32, 75}) {
      Random random = Random::of(config.dim, length);
      const Mixer mixer(config);
      const auto p = test::generic(mixer, random);
      const auto x = random_matrix<double>(config.dim, length, random);
      const auto expected = plain(config.dim, config.head_dim > 0 ? config.head_dim : config.dim, p, x);
      EXPECT_TRUE(conformance::relative_error(test::output(mixer, p, x), expected, 1e-3) <= 1e-11)
          << name(config) << ", length " << length;
    }
}

TEST(Retention, BackwardMatchesCentralDifference) {
  for (const auto& config : configs())
    for (const Index length : {1, 11, 40}) {
      SCOPED_TRACE(name(config) + ", length " + std::to_string(length));
      test::expect_gradients<Mixer>(config, 2, length, 6);
    }
}

TEST(Retention, IsCausalAndTheSameInAnyChunks) {
  for (const auto& config : configs())
    for (const Index length : {0, 1, 67}) {
      SCOPED_TRACE(name(config) + ", length " + std::to_string(length));
      test::expect_conformance<Mixer>(config, 2, length, 5);
    }
}

TEST(Retention, DoesNotAllocateAfterTheFirstStep) {
  test::expect_no_allocation<Retention<float>>({.dim = 32, .head_dim = 8}, 40, 3);
}

/// The rates of the paper's smallest model, of eight heads: from 1 - 1/32 to 1 - 1/512.
TEST(Retention, HeadsForgetAtDifferentRates) {
  const Retention<double> mixer({.dim = 16, .head_dim = 2});
  EXPECT_EQ(mixer.rates().size(), 8);
  EXPECT_EQ(mixer.rates()[0], 1 - 1.0 / 32);
  EXPECT_EQ(mixer.rates()[7], 1 - 1.0 / 512);
}

TEST(Retention, RefusesWhatMakesNoSense) {
  test::expect_refused<Mixer>({.dim = 0}, "Retention: dim is 0");
  test::expect_refused<Mixer>({.dim = 6, .head_dim = 4}, "dim is 6 and head_dim 4");
  test::expect_refused<Mixer>({.dim = 6, .head_dim = -2}, "head_dim -2");
}

}  // namespace
}  // namespace qllk::mixers
