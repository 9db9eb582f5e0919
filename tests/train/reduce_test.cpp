#include "qllk/train/reduce.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/optim/adam.hpp"
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

/// What the reducer makes of listed products must be what backward adds up by itself: it is not where a module
/// overwrites something that a list refers to.
template <class Model>
void expect_dense(const Model& model, double dropout) {
  Random random(1);
  auto params = model.init(random);
  conformance::disturb(params, 0.1, random);
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

struct Matrix {
  Mat<float> weight;

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("weight", t.weight...);
  }
};
struct Products {
  linalg::ProductSum<float> weight;

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("weight", t.weight...);
  }
};

/// Of listed products, whose sum the reducer takes in threads of its own.
TEST(ReducePrecision, IsThatOfTheTrainer) {
  struct Shard {
    Products grads{linalg::ProductSum<float>(7, 200)};
  };
  Random random(4);
  const auto factor = [&](Index rows) {
    return Mat<float>(Mat<float>::NullaryExpr(rows, 33, [&] { return static_cast<float>(random.normal()); }));
  };
  const Mat<float> dy = factor(7), x = factor(200), exact = dy * x.transpose();
  Mat<float> rounded = exact;
  {
    const linalg::UsePrecision use(linalg::Precision::bfloat16);
    linalg::weight_gemm(dy, x.transpose(), rounded);
  }
  ASSERT_TRUE((rounded - exact).norm() >= 1e-4f * exact.norm());
  for (const auto precision : {linalg::Precision::full, linalg::Precision::bfloat16}) {
    std::vector<Shard> shards(1);
    shards[0].grads.weight.add(dy, x);
    ThreadPool pool(2);
    Matrix total{Mat<float>(7, 200)};
    Reducer<float> reducer(total, precision);
    const double norm = reducer.sum(shards, total, pool);
    const auto& expected = precision == linalg::Precision::full ? exact : rounded;
    EXPECT_TRUE((total.weight - expected).norm() <= 1e-6f * expected.norm()) << norm;
  }
}

/// A matrix and a hashed table.
struct Values {
  Mat<double> weight;
  linalg::HashTable<double> table;

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("weight", t.weight...);
    visit("table", t.table...);
  }
};
struct ValueGrads {
  Mat<double> weight;
  linalg::SparseGrads<double> table;

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("weight", t.weight...);
    visit("table", t.table...);
  }
};
struct ValueShard {
  ValueGrads grads{Mat<double>::Zero(3, 200), linalg::SparseGrads<double>(4, 50)};
};

/// Gradients of a machine's shards, in which each row of the table occurs that is listed.
std::vector<ValueShard> machine(std::uint64_t seed, const std::vector<std::vector<std::uint32_t>>& rows) {
  Random random(seed);
  std::vector<ValueShard> shards(rows.size());
  for (std::size_t s = 0; s < rows.size(); ++s) {
    auto& [weight, table] = shards[s].grads;
    for (double& value : weight.reshaped()) value = random.uniform() - 0.5;
    for (const std::uint32_t row : rows[s]) {
      const Mat<double> gradient = Mat<double>::NullaryExpr(4, 1, [&] { return random.uniform() - 0.5; });
      table.add(row, table.append(gradient), false);
    }
  }
  return shards;
}

/// Two machines that exchange their gradients end where one machine does that has the shards of both.
TEST(ReduceHook, ExchangedGradientsAreThoseOfOneMachineWithAllShards) {
  const std::vector<std::vector<std::uint32_t>> left{{3, 7, 3}, {9}}, right{{7}, {3, 20}};
  const Values start{Mat<double>::Constant(3, 200, 0.5), linalg::HashTable<double>(Mat<double>::Constant(4, 50, 0.25))};
  ThreadPool pool(2);
  Reducer<double> reducer(start);
  const optim::AdamW settings{.weight_decay = 0.1};
  const auto finish = [&](auto& shards, auto&& hook) {
    Values params = start;
    auto state = optim::zero_state<optim::AdamW>(params);
    ValueGrads total{Mat<double>(3, 200), linalg::SparseGrads<double>(4, 50)};
    const double norm = reducer.sum(shards, total, pool, hook);
    EXPECT_NEAR(norm, total.weight.norm(), 1e-12 * norm);
    reducer.apply(optim::AdamUpdate<double>(settings, 1, 1e-2), optim::RowUpdate<double>({}, 1e-2), params, total,
                  state, pool);
    reducer.clear_sparse();
    return std::pair(params, state);
  };
  auto all = machine(1, left);
  for (auto& shard : machine(2, right)) all.push_back(shard);
  const auto [expected, expected_state] = finish(all, NoHook{});

  auto here = machine(1, left), there = machine(2, right);
  const auto [params, state] = finish(here, [&](auto& gradients) {
    EXPECT_EQ(gradients.tables.size(), 1u);
    EXPECT_EQ(gradients.tables[0].size(), 2u);
    for (auto& shard : there) {
      gradients.dense.weight += shard.grads.weight;
      gradients.tables[0].push_back(&shard.grads.table);
    }
  });
  EXPECT_TRUE((expected.weight - params.weight).cwiseAbs().maxCoeff() <= 1e-12);
  EXPECT_EQ(expected.table, params.table);
  EXPECT_EQ(expected_state.second.table, state.second.table);
  EXPECT_NE(params.table.col(20), start.table.col(20));
  EXPECT_EQ(params.table.col(21), start.table.col(21));
  for (const auto& shard : there) EXPECT_TRUE(shard.grads.table.entries().empty());
}

}  // namespace
}  // namespace qllk::train
