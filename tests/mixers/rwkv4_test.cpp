#include "qllk/mixers/rwkv4.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

#include "qllk/core/concepts.hpp"
#include "support/equations.hpp"

namespace qllk::mixers {
namespace {

static_assert(SequenceMixer<Rwkv4<float>> && SequenceMixer<Rwkv4<double>>);

/// The sums over all positions before, as they are written.
TEST(Rwkv4, ForwardIsTheEquation) {
  for (const Index dim : {1, 5, 131}) {
    SCOPED_TRACE(dim);
    Random random = Random::of(dim);
    const Rwkv4<double> mixer({.dim = dim});
    const auto p = test::generic(mixer, random);
    const auto x = conformance::random_matrix<double>(dim, 30, random);
    Mat<double> k(dim, 30), v(dim, 30), expected(dim, 30);
    for (Index t = 0; t < x.cols(); ++t) {
      const Vec<double> before = t > 0 ? Vec<double>(x.col(t - 1)) : Vec<double>::Zero(dim);
      const auto mixed = [&](const Vec<double>& share) -> Vec<double> {
        return x.col(t) + share.cwiseProduct(before - x.col(t));
      };
      k.col(t) = test::affine(p.k_proj, mixed(p.k_mix));
      v.col(t) = test::affine(p.v_proj, mixed(p.v_mix));
      const Vec<double> r = test::affine(p.r_proj, mixed(p.r_mix));
      Vec<double> gated(dim);
      for (Index i = 0; i < dim; ++i) {
        double numerator = std::exp(p.bonus[i] + k(i, t)) * v(i, t), denominator = std::exp(p.bonus[i] + k(i, t));
        for (Index j = 0; j < t; ++j) {
          const double weight = std::exp(-static_cast<double>(t - 1 - j) * std::exp(p.decay[i]) + k(i, j));
          numerator += weight * v(i, j);
          denominator += weight;
        }
        gated[i] = test::sigmoid(r[i]) * numerator / denominator;
      }
      expected.col(t) = test::affine(p.out_proj, gated);
    }
    EXPECT_LE(conformance::relative_error(test::answer(mixer, p, x), expected, 1e-3), 1e-11);
  }
}

/// (Where a key ties with the running maximum the state has no derivative. With these numbers none does.)
TEST(Rwkv4, BackwardMatchesCentralDifference) {
  for (const Index dim : {1, 5, 131})
    for (const auto& [sequences, length] : {std::pair<Index, Index>{1, 1}, {3, 5}, {1, 20}})
      test::expect_gradients<Rwkv4<double>>({.dim = dim}, sequences, length);
}

/// Keys whose exponentials no float holds.
TEST(Rwkv4, LargeKeysStayFinite) {
  for (const float key : {-500.0F, 500.0F}) {
    Random random(1);
    const Rwkv4<float> mixer({.dim = 4});
    auto p = mixer.init(random), g = mixer.zeros();
    p.k_proj.bias.setConstant(key);
    const auto x = conformance::random_matrix<float>(4, 40, random);
    auto state = mixer.initial_state(1), dstate = mixer.initial_state(1);
    Rwkv4<float>::Cache cache;
    Mat<float> y = x, dx = x;
    mixer.forward(p, x, state, cache, y);
    mixer.backward(p, x, cache, x, dstate, g, dx);
    EXPECT_TRUE(y.allFinite() && dx.allFinite()) << key;
    for_each_parameter([](const Path& path, const auto& leaf) { EXPECT_TRUE(leaf.allFinite()) << path.str(); }, g);
    for_each_parameter([](const Path& path, const auto& leaf) { EXPECT_TRUE(leaf.allFinite()) << path.str(); }, dstate);
  }
}

TEST(Rwkv4, RefusesAWidthOfZero) { EXPECT_NE(test::refusal<Rwkv4<float>>({.dim = 0}).find("is 0"), std::string::npos); }

}  // namespace
}  // namespace qllk::mixers
