#include "qllk/train/reduce.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/testing/gradient_check.hpp"

namespace qllk::train {
namespace {

template <class Model>
Model small();
template <>
QLLKClassic<double> small() {
  return QLLKClassic<double>({.dim = 12, .layers = 2, .patch = 4});
}
template <>
QLLKTransformer<double> small() {
  return QLLKTransformer<double>(
      {.dim_local = 12, .dim = 20, .patch = 4, .encoder = 1, .layers = 2, .decoder = 2, .orders = 3, .bits = 6});
}

template <class Model>
class Reduce : public ::testing::Test {};
using Models = ::testing::Types<QLLKClassic<double>, QLLKTransformer<double>>;
TYPED_TEST_SUITE(Reduce, Models);

/// What the reducer makes of listed products must be what backward adds up by itself: it is not where a module overwrites
/// something that a list refers to.
TYPED_TEST(Reduce, DeferredGradientsOfManyShardsAreTheDenseOnes) {
  using Model = TypeParam;
  const Model model = small<Model>();
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
    const Index sequences = 2, length = i == 0 ? 21 : 20;  // one with a patch that is not whole
    std::vector<Byte> bytes(static_cast<std::size_t>(sequences * length));
    for (auto& byte : bytes) byte = static_cast<Byte>(random.below(20));
    const auto run = [&](auto& cache, auto& logits, auto& grads) {
      shard.state = model.initial_state(sequences);
      shard.dstate = model.initial_state(sequences);
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

}  // namespace
}  // namespace qllk::train
