#include "qllk/mixers/rg_lru.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "qllk/core/concepts.hpp"
#include "support/equations.hpp"

namespace qllk::mixers {
namespace {

static_assert(SequenceMixer<RgLru<float>> && SequenceMixer<RgLru<double>>);

/// The docstring's equations, one position and channel at a time.
TEST(RgLru, ForwardIsTheEquation) {
  for (const Index dim : {1, 5, 140}) {
    SCOPED_TRACE(dim);
    Random random = Random::of(dim);
    const RgLru<double> mixer({.dim = dim});
    const auto p = test::generic(mixer, random);
    const auto x = conformance::random_matrix<double>(dim, 30, random);
    Vec<double> h = Vec<double>::Zero(dim);
    Mat<double> in(dim, x.cols()), expected(dim, x.cols());
    for (Index t = 0; t < x.cols(); ++t) {
      const Vec<double> gate = test::affine(p.gate, x.col(t));
      in.col(t) = test::affine(p.in_proj, x.col(t));
      const Vec<double> u = test::short_conv(p.conv, in, t), r = test::affine(p.reset, u), i = test::affine(p.input, u);
      for (Index k = 0; k < dim; ++k) {
        const double a = std::exp(-8 * test::softplus(p.decay[k]) * test::sigmoid(r[k]));
        h[k] = a * h[k] + std::sqrt(std::max(1 - a * a, 1e-6)) * test::sigmoid(i[k]) * u[k];
      }
      expected.col(t) = test::affine(p.out_proj, h.cwiseProduct(gate.unaryExpr(&test::silu)));
    }
    EXPECT_LE(conformance::relative_error(test::answer(mixer, p, x), expected, 1e-3), 1e-11);
  }
}

TEST(RgLru, BackwardMatchesCentralDifference) {
  for (const Index dim : {1, 5, 140})
    for (const auto& [sequences, length] : {std::pair<Index, Index>{1, 1}, {3, 5}, {1, 20}})
      test::expect_gradients<RgLru<double>>({.dim = dim}, sequences, length);
}

/// a of exactly 0 and 1.
TEST(RgLru, SaturatedDecaysHaveFiniteGradients) {
  for (const float decay : {-1000.0F, 1000.0F}) {
    Random random(1);
    const RgLru<float> mixer({.dim = 4});
    auto p = mixer.init(random), g = mixer.zeros();
    p.decay.setConstant(decay);
    const auto x = conformance::random_matrix<float>(4, 40, random);
    auto state = mixer.initial_state(1), dstate = mixer.initial_state(1);
    RgLru<float>::Cache cache;
    Mat<float> y = x, dx = x;
    mixer.forward(p, x, state, cache, y);
    mixer.backward(p, x, cache, x, dstate, g, dx);
    EXPECT_TRUE(y.allFinite() && dx.allFinite()) << decay;
    for_each_parameter([](const Path& path, const auto& leaf) { EXPECT_TRUE(leaf.allFinite()) << path.str(); }, g);
  }
}

TEST(RgLru, RefusesAWidthOfZero) { EXPECT_NE(test::refusal<RgLru<float>>({.dim = 0}).find("is 0"), std::string::npos); }

}  // namespace
}  // namespace qllk::mixers
