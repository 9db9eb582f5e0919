// The contract of an optimiser: what it must have, and what all of them share.
#include "qllk/optim/step.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "qllk/core/optimizer.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "support/optimizers.hpp"

namespace qllk::optim {
namespace {

/// The smallest optimiser there can be, each of whose parts can be replaced by one that lacks something.
template <HasFields Params>
struct Momentum {
  Params tree;
  std::int64_t updates = 0;

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("tree", t.tree...);
  }
  auto moments() { return std::tie(tree); }
};
template <Real Scalar>
struct Rule {
  template <class Settings>
  Rule(const Settings&, std::int64_t, double, double) {}
  void apply(std::span<Scalar>, std::span<const Scalar>, std::span<Scalar>, bool) const {}
};
template <template <class> class StateOf = Momentum, template <class> class RuleOf = Rule>
struct Smallest {
  static constexpr const char* kName = "smallest";
  template <HasFields Params>
  using State = StateOf<Params>;
  template <Real Scalar>
  using Update = RuleOf<Scalar>;
  double learning_rate = 1;
  void check() const {}
  static void members(auto& s, auto&& f) { f("learning_rate", s.learning_rate); }
};
static_assert(Optimizer<Smallest<>>);

template <class Params>
struct NoMoments : Momentum<Params> {
  std::tuple<> moments() { return {}; }
};
template <class Params>
struct NotCounted {
  Params tree;
  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("tree", t.tree...);
  }
  auto moments() { return std::tie(tree); }
};
template <class Scalar>
struct TwoMoments : Rule<Scalar> {
  using Rule<Scalar>::Rule;
  void apply(std::span<Scalar>, std::span<const Scalar>, std::span<Scalar>, std::span<Scalar>, bool) const {}
};
template <class Scalar>
struct NotMade {
  void apply(std::span<Scalar>, std::span<const Scalar>, std::span<Scalar>, bool) const {}
};
struct NoRate {
  static constexpr const char* kName = "no rate";
  void check() const {}
  static void members(auto&, auto&&) {}
};
static_assert(!Optimizer<Smallest<NoMoments>> && !Optimizer<Smallest<NotCounted>>);
static_assert(!Optimizer<Smallest<Momentum, TwoMoments>> && !Optimizer<Smallest<Momentum, NotMade>>);
static_assert(!OptimizerSettings<NoRate> && !Optimizer<NoRate> && !Optimizer<int>);

struct Layer {
  Mat<double> weight;
  Vec<double> bias;
  linalg::HashTable<double> table;

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("weight", t.weight...);
    visit("bias", t.bias...);
    visit("table", t.table...);
  }
};
struct LayerGrads {
  Mat<double> weight;
  Vec<double> bias;
  linalg::SparseGrads<double> table;

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("weight", t.weight...);
    visit("bias", t.bias...);
    visit("table", t.table...);
  }
};

template <class Optim>
class EveryOptimizer : public ::testing::Test {
 protected:
  Layer params{Mat<double>::Constant(3, 2, 0.5), Vec<double>::Constant(3, 0.5),
               linalg::HashTable<double>(Mat<double>::Constant(4, 10, 0.5))};
};
TYPED_TEST_SUITE(EveryOptimizer, EveryOptimizerType);

/// All that moments() gives is in fields(), and so in a checkpoint; rows of hashed tables have their moments once.
TYPED_TEST(EveryOptimizer, TheStateBeginsAtZeroAndIsWalkedByFields) {
  auto state = zero_state<TypeParam>(this->params);
  constexpr auto kTrees = static_cast<Index>(std::tuple_size_v<decltype(state.moments())>);
  EXPECT_EQ(state.updates, 0);
  Index size = 0;
  for_each_parameter(
      [&](const Path& path, const auto& leaf) {
        size += leaf.size();
        EXPECT_TRUE((leaf.array() == 0).all()) << path.str();
      },
      state);
  EXPECT_EQ(size, kTrees * (3 * 2 + 3) + RowUpdate<double>::kMoments * 10);
}

/// Against the gradient; without one, matrices shrink as the weight decay says and vectors and rows stay.
TYPED_TEST(EveryOptimizer, AStepGoesAgainstTheGradient) {
  const TypeParam settings{};
  auto state = zero_state<TypeParam>(this->params);
  LayerGrads grads{Mat<double>::Zero(3, 2), Vec<double>::Zero(3), linalg::SparseGrads<double>(4, 10)};
  grads.weight(0, 0) = grads.bias(0) = 1;
  grads.weight(1, 0) = grads.bias(1) = -1;
  grads.table.add(7, grads.table.append(Mat<double>::Ones(4, 1)), false);
  const Layer before = this->params;
  step(settings, this->params, grads, state);
  EXPECT_EQ(state.updates, 1);
  const double kept = 0.5 * (1 - settings.learning_rate * settings.weight_decay);
  EXPECT_LT(this->params.weight(0, 0), kept);
  EXPECT_GT(this->params.weight(1, 0), kept);
  EXPECT_DOUBLE_EQ(this->params.weight(2, 0), kept);
  EXPECT_LT(this->params.bias(0), 0.5);
  EXPECT_GT(this->params.bias(1), 0.5);
  EXPECT_EQ(this->params.bias(2), 0.5);
  EXPECT_LT(this->params.table.col(7).maxCoeff(), 0.5);
  this->params.table.col(7).setConstant(0.5);
  EXPECT_EQ(this->params.table, before.table);
}

TYPED_TEST(EveryOptimizer, AllSettingsAreMembersAndHaveGoodDefaults) {
  TypeParam settings{};
  EXPECT_NO_THROW(settings.check());
  std::vector<std::string> names;
  TypeParam::members(settings, [&](const char* name, double& value) {
    names.push_back(name);
    value = 0.25;
  });
  EXPECT_EQ(names.size() * sizeof(double), sizeof settings);
  EXPECT_EQ(settings.learning_rate, 0.25);
  settings.learning_rate = 0;
  EXPECT_THROW(settings.check(), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::optim
