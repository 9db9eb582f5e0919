#include "qllk/mixers/gated_delta.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "support/equations.hpp"

namespace qllk::mixers {
namespace {

static_assert(SequenceMixer<GatedDelta<float>> && SequenceMixer<GatedDelta<double>>);

/// silu(conv(z)) at position t, of what position `t` and the width - 1 before it project to.
Vec<double> convolved(const ShortConv<double>::Params& p, const std::vector<Vec<double>>& z, Index dim, Index which) {
  Vec<double> sum = p.bias.segment(which * dim, dim);
  const Index width = p.weight.cols(), last = static_cast<Index>(z.size()) - 1;
  for (Index back = 0; back < width && back <= last; ++back)
    sum +=
        p.weight.col(width - 1 - back).segment(which * dim, dim).cwiseProduct(z[static_cast<std::size_t>(last - back)]);
  return sum.unaryExpr(&test::silu);
}

/// The docstring's equations, one position at a time.
TEST(GatedDelta, ForwardIsTheEquation) {
  for (const auto& [dim, head_dim, conv] :
       {std::array<Index, 3>{5, 1, 0}, {6, 2, 1}, {8, 4, 0}, {8, 4, 4}, {33, 11, 3}, {64, 0, 4}}) {
    SCOPED_TRACE(std::to_string(dim) + ", " + std::to_string(head_dim) + ", " + std::to_string(conv));
    Random random = Random::of(dim, head_dim);
    const GatedDelta<double> mixer({.dim = dim, .head_dim = head_dim, .conv = conv});
    const auto p = test::generic(mixer, random);
    const Index d = head_dim > 0 ? head_dim : 32, heads = dim / d;
    const auto x = conformance::random_matrix<double>(dim, 75, random);

    std::vector<Mat<double>> S(static_cast<std::size_t>(heads), Mat<double>::Zero(d, d));
    Mat<double> expected(dim, x.cols());
    std::vector<Vec<double>> qs, ks, vs;
    for (Index t = 0; t < x.cols(); ++t) {
      qs.push_back(test::affine(p.q_proj, x.col(t)));
      ks.push_back(test::affine(p.k_proj, x.col(t)));
      vs.push_back(test::affine(p.v_proj, x.col(t)));
      const Vec<double> q = conv > 0 ? convolved(p.conv, qs, dim, 0) : qs.back(),
                        k = conv > 0 ? convolved(p.conv, ks, dim, 1) : ks.back(),
                        v = conv > 0 ? convolved(p.conv, vs, dim, 2) : vs.back(), gate = test::affine(p.gate, x.col(t)),
                        a = test::affine(p.decay, x.col(t)), b = test::affine(p.beta, x.col(t));
      Vec<double> u(dim);
      for (Index h = 0; h < heads; ++h) {
        const auto unit = [&](const Vec<double>& of) -> Vec<double> {
          const Vec<double> head = of.segment(h * d, d);
          return head / std::sqrt(head.squaredNorm() + (d == 1 ? 1 : 1e-6));
        };
        const double alpha = std::exp(-std::exp(p.rate[h]) * test::softplus(a[h])), beta = test::sigmoid(b[h]);
        auto& M = S[static_cast<std::size_t>(h)];
        M = alpha * (Mat<double>::Identity(d, d) - beta * unit(k) * unit(k).transpose()) * M;
        M += beta * unit(k) * v.segment(h * d, d).transpose();
        u.segment(h * d, d) = M.transpose() * unit(q);
      }
      const Vec<double> normal = test::rms_norm(u, p.norm.weight, d, d == 1 ? 1 : 1e-5);
      expected.col(t) = test::affine(p.out_proj, normal.cwiseProduct(gate.unaryExpr(&test::silu)));
    }
    EXPECT_LE(conformance::relative_error(test::answer(mixer, p, x), expected, 1e-3), 1e-11);
  }
}

TEST(GatedDelta, BackwardMatchesCentralDifference) {
  for (const auto& [dim, head_dim, conv] : {std::array<Index, 3>{3, 1, 0}, {6, 2, 0}, {6, 2, 4}, {8, 8, 2}})
    for (const auto& [sequences, length] : {std::pair<Index, Index>{1, 1}, {3, 5}, {1, 43}})
      test::expect_gradients<GatedDelta<double>>({.dim = dim, .head_dim = head_dim, .conv = conv}, sequences, length);
}

/// α and β of exactly 0 and 1.
TEST(GatedDelta, SaturatedGatesHaveFiniteGradients) {
  for (const double decay : {-1000.0, 1000.0})
    for (const double beta : {-1000.0, 1000.0}) {
      Random random(1);
      const GatedDelta<float> mixer({.dim = 8, .head_dim = 4});
      auto p = mixer.init(random), g = mixer.zeros();
      p.decay.bias.setConstant(static_cast<float>(decay));
      p.beta.bias.setConstant(static_cast<float>(beta));
      const auto x = conformance::random_matrix<float>(8, 40, random);
      auto state = mixer.initial_state(1), dstate = mixer.initial_state(1);
      GatedDelta<float>::Cache cache;
      Mat<float> y = x, dx = x;
      mixer.forward(p, x, state, cache, y);
      mixer.backward(p, x, cache, x, dstate, g, dx);
      EXPECT_TRUE(y.allFinite() && dx.allFinite() && dstate.memory.allFinite()) << decay << ", " << beta;
      for_each_parameter([](const Path& path, const auto& leaf) { EXPECT_TRUE(leaf.allFinite()) << path.str(); }, g);
    }
}

TEST(GatedDelta, RefusesSizesThatDoNotFit) {
  EXPECT_NE(test::refusal<GatedDelta<float>>({.dim = 6, .head_dim = 4}).find("head_dim 4"), std::string::npos);
  EXPECT_NE(test::refusal<GatedDelta<float>>({.dim = 6, .head_dim = -1}).find("head_dim -1"), std::string::npos);
  EXPECT_NE(test::refusal<GatedDelta<float>>({.dim = 0}).find("dim is 0"), std::string::npos);
  EXPECT_NE(test::refusal<GatedDelta<float>>({.dim = 6, .conv = -1}).find("conv is -1"), std::string::npos);
  EXPECT_EQ(test::refusal<GatedDelta<float>>({.dim = 6, .head_dim = 3}), "");
}

}  // namespace
}  // namespace qllk::mixers
