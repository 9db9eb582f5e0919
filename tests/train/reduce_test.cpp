#include "qllk/train/reduce.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/testing/gradient_check.hpp"

namespace qllk::train {
namespace {

template <class Model>
std::vector<Model> small();
template <>
std::vector<QLLKClassic<double>> small() {
  return {QLLKClassic<double>({.dim = 12, .layers = 2, .patch = 4})};
}
template <>
std::vector<QLLKTransformer<double>> small() {
  std::vector<QLLKTransformer<double>> all;
  for (const auto& [encoder, layers, decoder] : {std::array<Index, 3>{1, 2, 2}, {0, 1, 2}, {2, 1, 0}, {0, 0, 0}})
    all.push_back(QLLKTransformer<double>({.dim_local = 12,
                                           .dim = 20,
                                           .patch = 4,
                                           .encoder = encoder,
                                           .layers = layers,
                                           .decoder = decoder,
                                           .orders = 3,
                                           .bits = 6,
                                           .match = {.lengths = {2, 1}, .window_bits = 8}}));
  return all;
}

template <class Model>
class Reduce : public ::testing::Test {};
using Models = ::testing::Types<QLLKClassic<double>, QLLKTransformer<double>>;
TYPED_TEST_SUITE(Reduce, Models);

/// What the reducer makes of listed products must be what backward adds up by itself: it is not where a module overwrites
/// something that a list refers to.
template <class Model>
void expect_dense(const Model& model, double dropout) {
  Random random(1);
  auto params = model.init(random);
  testing::disturb(params, 0.1, random);
  struct Shard {
    typename Model::DeferredGrads grads;
    typename Model::Cache cache;
    typename Model::State state, dstate;
    Mat<double> logits;
  };
  std::vector<Shard> shards(3);
  typename Model::Grads dense = model.zero_grads(), total = model.zero_grads();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    Shard& shard = shards[i];
    shard.grads = zero_grads_like<typename Model::DeferredGrads>(params);
    const Index sequences = 2, length = i == 0 ? 21 : i == 1 ? 20 : 2;  // a patch that is not whole, whole ones, none
    std::vector<Byte> bytes(static_cast<std::size_t>(sequences * length));
    for (auto& byte : bytes) byte = static_cast<Byte>(random.below(20));
    const auto run = [&](auto& cache, auto& logits, auto& grads) {
      shard.state = model.initial_state(sequences);
      shard.dstate = model.initial_state(sequences);
      if constexpr (requires { cache.noise; }) cache.noise = {dropout, dropout, 0.5, Random(i)};
      if (i == 2) model.forward(params, Bytes(bytes).first(2), shard.state, cache, logits);
      model.forward(params, bytes, shard.state, cache, logits);
      nn::softmax_cross_entropy<double>(bytes, logits, 1.0);
      model.backward(params, bytes, cache, logits, shard.dstate, grads);
    };
    typename Model::Cache cache;
    Mat<double> logits;
    run(cache, logits, dense);
    run(shard.cache, shard.logits, shard.grads);
  }
  ThreadPool pool(2);
  Reducer<double> reducer(params);
  const double norm = reducer.sum(shards, total, pool);
  double square = 0;
  const auto compare = [&](const Path& path, const auto& a, const auto& b) {
    if constexpr (requires { a.data(); }) {
      if (a.size() == 0) return;
      square += a.squaredNorm();
      EXPECT_GT(a.squaredNorm(), 0) << path.str();
      EXPECT_TRUE((a - b).cwiseAbs().maxCoeff() <= 1e-12 * (1 + a.cwiseAbs().maxCoeff())) << path.str();
    }
  };
  for_each_parameter(compare, dense, total);
  EXPECT_NEAR(norm, std::sqrt(square), 1e-9 * norm);

  // all was taken: a second sum has nothing in it
  EXPECT_EQ(reducer.sum(shards, total, pool), 0);
}

TYPED_TEST(Reduce, DeferredGradientsOfManyShardsAreTheDenseOnes) {
  for (const auto& model : small<TypeParam>())
    for (const double dropout : {0.0, 0.3}) expect_dense(model, dropout);
}

}  // namespace
}  // namespace qllk::train
