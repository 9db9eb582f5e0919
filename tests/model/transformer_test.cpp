#include "qllk/model/transformer.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/nn/loss.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/testing/conformance.hpp"
#include "qllk/testing/gradient_check.hpp"
#include "support/allocations.hpp"
#include "support/models.hpp"

namespace qllk {
namespace {

using conformance::random_bytes;

template <Real Scalar>
typename QLLKTransformer<Scalar>::Config small(Index patch, Index head_dim, mixers::Decay decay, bool normalise) {
  typename QLLKTransformer<Scalar>::Config config{.dim_local = 4,
                                                  .dim = 8,
                                                  .patch = patch,
                                                  .encoder = 1,
                                                  .layers = 1,
                                                  .decoder = 1,
                                                  .orders = 3,
                                                  .words = 1,
                                                  .bits = 5,
                                                  .match = {.lengths = {2, 1}, .window_bits = 8},
                                                  .recency = 8};
  config.mixer = config.mixer_local = {typename mixers::LatentKernel<Scalar>::Config{
      .head_dim = head_dim, .decay = decay, .normalise = normalise, .project = true}};
  return config;
}

template <Real Scalar>
auto generic(const QLLKTransformer<Scalar>& model, Random& random) {
  auto p = model.init(random);
  conformance::disturb(p, 0.2, random);
  return p;
}

template <Real Scalar>
auto state_after(const QLLKTransformer<Scalar>& model, const typename QLLKTransformer<Scalar>::Params& p,
                 Index sequences, Index length, Random& random) {
  auto state = model.initial_state(sequences);
  typename QLLKTransformer<Scalar>::Cache cache;
  Mat<Scalar> logits;
  model.forward(p, random_bytes(sequences * length, random, 5), state, cache, logits);
  return state;
}

TEST(QLLKTransformer, WholeModelGradientMatchesCentralDifference) {
  struct Case {
    Index patch, head_dim;
    mixers::Decay decay;
    bool normalise;
    Index sequences, before, length;
  };
  for (const Case& c :
       {Case{3, 1, mixers::Decay::none, false, 2, 5, 7}, Case{3, 2, mixers::Decay::learned, true, 1, 2, 8},
        Case{4, 1, mixers::Decay::data_dependent, false, 2, 6, 6},
        Case{3, 4, mixers::Decay::data_dependent, true, 1, 2, 35}}) {
    SCOPED_TRACE("patch " + std::to_string(c.patch) + ", head_dim " + std::to_string(c.head_dim));
    Random random = Random::of(c.patch, c.head_dim, c.length);
    const QLLKTransformer<double> model(small<double>(c.patch, c.head_dim, c.decay, c.normalise));
    const auto p = generic(model, random);
    auto start = state_after(model, p, c.sequences, c.before, random);
    conformance::disturb(start, 0.3, random);
    const auto report = conformance::check_model_gradients(model, p, random_bytes(c.sequences * c.length, random, 5),
                                                           start, {.step = 0x1p-12, .entries = 60});
    // every row is a trained one here; the test with dropout has the others
    EXPECT_TRUE(report.passed(1e-7, {"copy.log_odds"})) << report.str();
  }
}

/// Leaves out the same in every forward pass.
struct WithDropout : QLLKTransformer<double> {
  using BasicTransformer::BasicTransformer;
  void forward(const Params& p, Bytes bytes, State& state, Cache& c, Mat<double>& logits) const {
    c.noise = {0.3, 0.5, 0.3, Random(9)};
    BasicTransformer::forward(p, bytes, state, c, logits);
  }
};

TEST(QLLKTransformer, GradientWithDropoutMatchesCentralDifference) {
  Random random(5);
  const WithDropout model(small<double>(3, 1, mixers::Decay::data_dependent, false));
  const auto p = generic<double>(model, random);
  const auto report =
      conformance::check_model_gradients(model, p, random_bytes(2 * 8, random, 5),
                                         state_after<double>(model, p, 2, 5, random), {.step = 0x1p-12, .entries = 60});
  EXPECT_TRUE(report.passed(1e-7)) << report.str();
}

TEST(QLLKTransformer, IsCausalAndTheSameInAnyChunks) {
  for (const Index patch : {1, 2, 5})
    for (const Index sequences : {1, 3})
      for (const Index before : {0, 3}) {
        Random random = Random::of(patch, sequences, before);
        const QLLKTransformer<double> model(
            small<double>(patch, before > 0 ? 2 : 1, mixers::Decay::data_dependent, true));
        const auto p = generic(model, random);
        const auto start = state_after(model, p, sequences, before, random);
        for (const Index length : std::array<Index, 4>{0, 1, 3 * patch + 1, 35}) {
          const auto result =
              conformance::check_model(model, p, random_bytes(sequences * length, random), sequences, start);
          EXPECT_TRUE(result.passed(1e-10)) << "patch " << patch << ", sequences " << sequences << ", before " << before
                                            << ", length " << length << ": " << result.str();
        }
      }
}

TEST(QLLKTransformer, IsCausalInFloatAtTheDefaultShape) {
  Random random(1);
  QLLKTransformer<float>::Config config;
  config.bits = 8;
  const QLLKTransformer<float> model(config);
  const auto p = model.init(random);
  const auto result = conformance::check_model(model, p, random_bytes(2 * 40, random), 2, model.initial_state(2));
  EXPECT_TRUE(result.passed(1e-3)) << result.str();
  EXPECT_TRUE(result.reacts);
}

TEST(QLLKTransformer, ProbabilitiesSumToOne) {
  Random random(2);
  const QLLKTransformer<float> model(small<float>(4, 1, mixers::Decay::data_dependent, false));
  const auto p = generic(model, random);
  auto state = model.initial_state(1);
  QLLKTransformer<float>::Cache cache;
  Mat<float> logits;
  const auto bytes = random_bytes(50, random);
  model.forward(p, bytes, state, cache, logits);
  Mat<float> z = logits;
  nn::softmax_cross_entropy<float>(bytes, z, 1.0F);
  for (Index t = 0; t < z.cols(); ++t) {
    z(bytes[static_cast<std::size_t>(t)], t) += 1;  // the gradient is softmax less one at the target
    EXPECT_TRUE(std::abs(z.col(t).cast<double>().sum() - 1) <= 1e-6) << t;
    EXPECT_TRUE(z.col(t).minCoeff() >= -1e-6F);
  }
}

TEST(QLLKTransformer, Overfits64BytesAndThenDoesNotAllocate) {
  Random random(3);
  auto config = small<float>(4, 1, mixers::Decay::data_dependent, false);
  config.dim_local = 16;
  config.bits = 10;
  const QLLKTransformer<float> model(config);
  auto p = model.init(random);
  const auto targets = random_bytes(64, random);
  std::vector<Byte> inputs{0};
  inputs.insert(inputs.end(), targets.begin(), targets.end() - 1);
  auto adam = optim::AdamState<QLLKTransformer<float>::Params>::of(p);
  auto g = model.zero_grads();
  auto state = model.initial_state(1), dstate = state;
  QLLKTransformer<float>::Cache cache;
  Mat<float> logits;
  double bits = 8;
  long before = 0;
  for (int i = 0; i < 400 && !(bits < 0.05); ++i) {
    if (i == 2) before = test::allocations();
    set_zero(g);
    model.reset(state, 1);
    model.reset(dstate, 1);
    model.forward(p, inputs, state, cache, logits);
    bits = nn::softmax_cross_entropy<float>(targets, logits, 1.0F / 64) / 64 * nn::kBitsPerNat;
    model.backward(p, inputs, cache, logits, dstate, g);
    optim::step(optim::Adam{.learning_rate = 3e-3}, p, g, adam);
  }
  EXPECT_TRUE(bits < 0.05) << bits;
  if (test::kCountsAllocations) {
    EXPECT_EQ(test::allocations(), before);
  }
}

TEST(QLLKTransformer, DropoutLeavesOutAndScoringDoesNot) {
  Random random(4);
  const QLLKTransformer<float> model(small<float>(2, 1, mixers::Decay::data_dependent, false));
  const auto p = generic(model, random);
  const auto bytes = random_bytes(20, random);
  const auto logits = [&](nn::Noise noise) {
    QLLKTransformer<float>::Cache cache;
    cache.noise = noise;
    auto state = model.initial_state(1);
    Mat<float> out;
    model.forward(p, bytes, state, cache, out);
    return out;
  };
  const auto plain = logits({});
  EXPECT_EQ(plain, logits({0, 0, 0, Random(9)}));
  EXPECT_NE(plain, logits({0.5, 0, 0, Random(9)}));
  EXPECT_NE(plain, logits({0, 0.9, 0, Random(9)}));
  EXPECT_NE(plain, logits({0, 0, 0.9, Random(9)}));
  EXPECT_EQ(logits({0.5, 0.5, 0.5, Random(9)}), logits({0.5, 0.5, 0.5, Random(9)}));
  EXPECT_NE(logits({0.5, 0, 0, Random(9)}), logits({0.5, 0, 0, Random(10)}));
}

TEST(QLLKTransformer, RefusesBadSettings) {
  const auto with = [](auto change) {
    QLLKTransformer<float>::Config config;
    change(config);
    return QLLKTransformer<float>(config);
  };
  EXPECT_THROW(with([](auto& c) { c.dim = 0; }), std::invalid_argument);
  EXPECT_THROW(with([](auto& c) { c.patch = 0; }), std::invalid_argument);
  EXPECT_THROW(with([](auto& c) { c.layers = -1; }), std::invalid_argument);
  EXPECT_THROW(with([](auto& c) { c.orders = 0; }), std::invalid_argument);
  EXPECT_THROW(with([](auto& c) { c.bits = 60; }), std::invalid_argument);
  EXPECT_THROW(with([](auto& c) { c.mixer = {}; }), std::invalid_argument);
  EXPECT_THROW(with([](auto& c) { c.words = -1; }), std::invalid_argument);
  EXPECT_THROW(with([](auto& c) { c.match.lengths = {3, 6}; }), std::invalid_argument);
  EXPECT_THROW(with([](auto& c) { c.mixer = {mixers::LatentKernel<float>::Config{.head_dim = 3}}; }),
               std::invalid_argument);
}

}  // namespace
}  // namespace qllk
