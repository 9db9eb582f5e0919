#include "qllk/mixers/mamba.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

#include "qllk/core/concepts.hpp"
#include "support/equations.hpp"

namespace qllk::mixers {
namespace {

static_assert(SequenceMixer<Mamba<float>> && SequenceMixer<Mamba<double>>);

/// The docstring's equations, one position, channel and state at a time.
TEST(Mamba, ForwardIsTheEquation) {
  using Config = Mamba<double>::Config;
  for (const auto& config :
       {Config{.dim = 3}, Config{.dim = 6, .expand = 1, .states = 5, .rank = 2}, Config{.dim = 70, .states = 3}}) {
    SCOPED_TRACE(config.dim);
    Random random = Random::of(config.dim);
    const Mamba<double> mixer(config);
    const auto p = test::generic(mixer, random);
    const Index inner = config.expand * config.dim, N = config.states;
    const Index rank = config.rank > 0 ? config.rank : (config.dim + 15) / 16;
    const auto x = conformance::random_matrix<double>(config.dim, 43, random);

    Mat<double> h = Mat<double>::Zero(inner, N), in(2 * inner, x.cols()), expected(config.dim, x.cols());
    for (Index t = 0; t < x.cols(); ++t) {
      in.col(t) = test::affine(p.in_proj, x.col(t));
      const Vec<double> z = in.col(t).tail(inner);
      const Vec<double> u = test::short_conv(p.conv, in.topRows(inner), t).unaryExpr(&test::silu);
      const Vec<double> seen = test::affine(p.x_proj, u);
      const Vec<double> delta = test::affine(p.dt_proj, seen.head(rank));
      Vec<double> out(inner);
      for (Index i = 0; i < inner; ++i) {
        const double dt = test::softplus(delta[i]);
        out[i] = p.skip[i] * u[i];
        for (Index k = 0; k < N; ++k) {
          h(i, k) = std::exp(-dt * std::exp(p.log_a[k * inner + i])) * h(i, k) + dt * u[i] * seen[rank + k];
          out[i] += h(i, k) * seen[rank + N + k];
        }
        out[i] *= test::silu(z[i]);
      }
      expected.col(t) = test::affine(p.out_proj, out);
    }
    EXPECT_LE(conformance::relative_error(test::answer(mixer, p, x), expected, 1e-3), 1e-11);
  }
}

TEST(Mamba, BackwardMatchesCentralDifference) {
  using Config = Mamba<double>::Config;
  for (const auto& config :
       {Config{.dim = 2}, Config{.dim = 6, .expand = 1, .states = 5, .rank = 2}, Config{.dim = 70, .states = 3}})
    for (const auto& [sequences, length] : {std::pair<Index, Index>{1, 1}, {3, 5}, {1, 37}})
      test::expect_gradients<Mamba<double>>(config, sequences, length);
}

TEST(Mamba, RefusesSizesThatDoNotFit) {
  EXPECT_NE(test::refusal<Mamba<float>>({.dim = 0}).find("dim is 0"), std::string::npos);
  EXPECT_NE(test::refusal<Mamba<float>>({.dim = 4, .expand = 0}).find("expand 0"), std::string::npos);
  EXPECT_NE(test::refusal<Mamba<float>>({.dim = 4, .states = 0}).find("states 0"), std::string::npos);
  EXPECT_NE(test::refusal<Mamba<float>>({.dim = 4, .rank = -1}).find("rank -1"), std::string::npos);
}

}  // namespace
}  // namespace qllk::mixers
