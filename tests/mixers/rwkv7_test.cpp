#include "qllk/mixers/rwkv7.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "support/equations.hpp"

namespace qllk::mixers {
namespace {

static_assert(SequenceMixer<Rwkv7<float>> && SequenceMixer<Rwkv7<double>>);

/// Less its mean, by its deviation; one or two values by their size.
Vec<double> normalised(const Vec<double>& x) {
  if (x.size() == 1) return x / std::sqrt(x[0] * x[0] + 1);
  const Vec<double> centred = x.array() - (x.size() > 2 ? x.mean() : 0);
  const auto size = static_cast<double>(x.size());
  return centred / std::sqrt(centred.squaredNorm() / size + 1e-5 * size);
}

/// The docstring's equations, one position at a time.
TEST(Rwkv7, ForwardIsTheEquation) {
  using Config = Rwkv7<double>::Config;
  for (const auto& config : {Config{.dim = 3, .head_dim = 1}, Config{.dim = 6, .head_dim = 2, .rank = 4},
                             Config{.dim = 33, .head_dim = 11}, Config{.dim = 64}}) {
    SCOPED_TRACE(config.dim);
    Random random = Random::of(config.dim);
    const Rwkv7<double> mixer(config);
    const auto p = test::generic(mixer, random);
    const Index dim = config.dim, d = config.head_dim > 0 ? config.head_dim : 32, heads = dim / d;
    const auto x = conformance::random_matrix<double>(dim, 75, random);

    std::vector<Mat<double>> S(static_cast<std::size_t>(heads), Mat<double>::Zero(d, d));
    Mat<double> expected(dim, x.cols());
    for (Index t = 0; t < x.cols(); ++t) {
      const Vec<double> before = t > 0 ? Vec<double>(x.col(t - 1)) : Vec<double>::Zero(dim);
      const auto mixed = [&](const Vec<double>& share) -> Vec<double> {
        return x.col(t) + share.cwiseProduct(before - x.col(t));
      };
      const Vec<double> r = test::affine(p.r_proj, mixed(p.r_mix)), k = test::affine(p.k_proj, mixed(p.k_mix)),
                        v = test::affine(p.v_proj, mixed(p.v_mix));
      const Vec<double> w_low = test::affine(p.decay.down, mixed(p.w_mix)).array().tanh();
      const Vec<double> decay = test::affine(p.decay.up, w_low).unaryExpr(&test::sigmoid);
      const Vec<double> w = (-std::exp(-0.5) * decay.array()).exp();
      const Vec<double> a =
          test::affine(p.rate.up, test::affine(p.rate.down, mixed(p.a_mix))).unaryExpr(&test::sigmoid);
      const Vec<double> g_low = test::affine(p.gate.down, mixed(p.g_mix)).unaryExpr(&test::sigmoid);
      const Vec<double> g = test::affine(p.gate.up, g_low);
      Vec<double> gated(dim);
      for (Index h = 0; h < heads; ++h) {
        const auto head = [&](const Vec<double>& of) -> Vec<double> { return of.segment(h * d, d); };
        Vec<double> kappa = head(k).cwiseProduct(head(p.key_scale));
        kappa /= std::sqrt(kappa.squaredNorm() + (d == 1 ? 1 : 1e-6));
        const Vec<double> key = head(k).array() * (1 + (head(a).array() - 1) * head(p.key_rate).array());
        auto& M = S[static_cast<std::size_t>(h)];
        const Mat<double> transition =
            Mat<double>(head(w).asDiagonal()) - head(a).cwiseProduct(kappa) * kappa.transpose();
        M = transition * M + key * head(v).transpose();
        const Vec<double> normal = normalised(M.transpose() * head(r)).cwiseProduct(head(p.norm.weight));
        Vec<double> u = normal + head(r).dot(head(p.bonus).cwiseProduct(key)) * head(v);
        if (d > 2) u += head(p.norm.bias);
        gated.segment(h * d, d) = u.cwiseProduct(head(g));
      }
      expected.col(t) = test::affine(p.out_proj, gated);
    }
    EXPECT_LE(conformance::relative_error(test::answer(mixer, p, x), expected, 1e-3), 1e-10);
  }
}

TEST(Rwkv7, BackwardMatchesCentralDifference) {
  using Config = Rwkv7<double>::Config;
  for (const auto& config :
       {Config{.dim = 3, .head_dim = 1}, Config{.dim = 6, .head_dim = 3, .rank = 4}, Config{.dim = 8}})
    for (const auto& [sequences, length] : {std::pair<Index, Index>{1, 1}, {3, 5}, {1, 43}})
      test::expect_gradients<Rwkv7<double>>(config, sequences, length);
}

/// The fastest decay, for many chunks.
TEST(Rwkv7, FastDecaysStayFinite) {
  Random random(1);
  const Rwkv7<float> mixer({.dim = 8, .head_dim = 4});
  auto p = mixer.init(random), g = mixer.zeros();
  p.decay.up.bias.setConstant(100);
  const auto x = conformance::random_matrix<float>(8, 200, random);
  auto state = mixer.initial_state(1), dstate = mixer.initial_state(1);
  Rwkv7<float>::Cache cache;
  Mat<float> y = x, dx = x;
  mixer.forward(p, x, state, cache, y);
  mixer.backward(p, x, cache, x, dstate, g, dx);
  EXPECT_TRUE(y.allFinite() && dx.allFinite() && dstate.memory.allFinite());
  for_each_parameter([](const Path& path, const auto& leaf) { EXPECT_TRUE(leaf.allFinite()) << path.str(); }, g);
}

TEST(Rwkv7, RefusesSizesThatDoNotFit) {
  EXPECT_NE(test::refusal<Rwkv7<float>>({.dim = 6, .head_dim = 4}).find("head_dim 4"), std::string::npos);
  EXPECT_NE(test::refusal<Rwkv7<float>>({.dim = 0}).find("dim is 0"), std::string::npos);
  EXPECT_NE(test::refusal<Rwkv7<float>>({.dim = 6, .rank = -2}).find("rank is -2"), std::string::npos);
}

}  // namespace
}  // namespace qllk::mixers
