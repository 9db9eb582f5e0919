#include "qllk/mixers/mamba2.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "support/equations.hpp"

namespace qllk::mixers {
namespace {

static_assert(SequenceMixer<Mamba2<float>> && SequenceMixer<Mamba2<double>>);

/// The docstring's equations, one position at a time.
TEST(Mamba2, ForwardIsTheEquation) {
  using Config = Mamba2<double>::Config;
  for (const auto& config : {Config{.dim = 3}, Config{.dim = 6, .expand = 1, .states = 5, .head_dim = 2},
                             Config{.dim = 24, .states = 7, .head_dim = 16}}) {
    SCOPED_TRACE(config.dim);
    Random random = Random::of(config.dim);
    const Mamba2<double> mixer(config);
    const auto p = test::generic(mixer, random);
    const Index inner = config.expand * config.dim, N = config.states;
    const Index P = config.head_dim > 0 ? config.head_dim : inner, heads = inner / P;
    const auto x = conformance::random_matrix<double>(config.dim, 75, random);

    std::vector<Mat<double>> S(static_cast<std::size_t>(heads), Mat<double>::Zero(N, P));
    Mat<double> in(2 * inner + 2 * N + heads, x.cols()), expected(config.dim, x.cols());
    for (Index t = 0; t < x.cols(); ++t) {
      in.col(t) = test::affine(p.in_proj, x.col(t));
      const Vec<double> z = in.col(t).head(inner);
      const Vec<double> xBC = test::short_conv(p.conv, in.middleRows(inner, inner + 2 * N), t).unaryExpr(&test::silu);
      Vec<double> u(inner);
      for (Index h = 0; h < heads; ++h) {
        const double dt = test::softplus(in(2 * inner + 2 * N + h, t)), a = std::exp(-std::exp(p.log_a[h]) * dt);
        const Vec<double> xh = xBC.segment(h * P, P);
        auto& M = S[static_cast<std::size_t>(h)];
        M = a * M + dt * xBC.segment(inner, N) * xh.transpose();
        u.segment(h * P, P) = M.transpose() * xBC.segment(inner + N, N) + p.skip[h] * xh;
      }
      const Vec<double> gated = u.cwiseProduct(z.unaryExpr(&test::silu));
      expected.col(t) = test::affine(p.out_proj, test::rms_norm(gated, p.norm.weight, inner, 1e-5));
    }
    EXPECT_LE(conformance::relative_error(test::answer(mixer, p, x), expected, 1e-3), 1e-11);
  }
}

TEST(Mamba2, BackwardMatchesCentralDifference) {
  using Config = Mamba2<double>::Config;
  for (const auto& config : {Config{.dim = 2}, Config{.dim = 6, .expand = 1, .states = 5, .head_dim = 2},
                             Config{.dim = 4, .states = 3, .head_dim = 4}})
    for (const auto& [sequences, length] : {std::pair<Index, Index>{1, 1}, {3, 5}, {1, 43}})
      test::expect_gradients<Mamba2<double>>(config, sequences, length);
}

TEST(Mamba2, RefusesSizesThatDoNotFit) {
  EXPECT_NE(test::refusal<Mamba2<float>>({.dim = 6, .head_dim = 5}).find("head_dim 5"), std::string::npos);
  EXPECT_NE(test::refusal<Mamba2<float>>({.dim = 0}).find("dim is 0"), std::string::npos);
  EXPECT_NE(test::refusal<Mamba2<float>>({.dim = 4, .expand = 0}).find("expand 0"), std::string::npos);
  EXPECT_NE(test::refusal<Mamba2<float>>({.dim = 4, .states = -1}).find("states -1"), std::string::npos);
}

}  // namespace
}  // namespace qllk::mixers
