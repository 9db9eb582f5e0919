#include "qllk/core/parameters.hpp"

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "support/allocations.hpp"

namespace qllk {
namespace {

template <Real Scalar>
struct Affine {
  Mat<Scalar> weight;
  Vec<Scalar> bias;
  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("weight", t.weight...);
    visit("bias", t.bias...);
  }
};

template <Real Scalar>
struct Nested {
  Vec<Scalar> first;
  std::vector<Affine<Scalar>> blocks;
  Affine<Scalar> head;
  int not_learned = 7;
  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("first", t.first...);
    visit("blocks", t.blocks...);
    visit("head", t.head...);
  }
};

template <Real Scalar>
Affine<Scalar> affine(Index out, Index in, double value) {
  const auto scalar = static_cast<Scalar>(value);
  return {Mat<Scalar>::Constant(out, in, scalar), Vec<Scalar>::Constant(out, scalar)};
}

template <Real Scalar>
Nested<Scalar> nested(double value) {
  return {Vec<Scalar>::Constant(3, static_cast<Scalar>(value)),
          {affine<Scalar>(2, 4, value), affine<Scalar>(1, 5, value)},
          affine<Scalar>(2, 3, value)};
}

/// A leaf that is no matrix: values and the rows touched, as gradients of a table could be.
struct Touched {
  std::vector<int> rows;
  void setZero() { rows.clear(); }
  Index size() const { return static_cast<Index>(rows.size()); }
};
struct NestedTouched {
  Touched first;
  std::vector<std::tuple<Touched, Touched>> unused;
  struct Block {
    Touched weight, bias;
    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("weight", t.weight...);
      visit("bias", t.bias...);
    }
  };
  std::vector<Block> blocks;
  Block head;
  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("first", t.first...);
    visit("blocks", t.blocks...);
    visit("head", t.head...);
  }
};

template <class Params>
std::vector<std::string> names(Params& params) {
  std::vector<std::string> out;
  for_each_parameter([&](const Path& path, auto&) { out.push_back(path.str()); }, params);
  return out;
}

TEST(ForEachParameter, WalksInDeclarationOrderAndNamesWithDots) {
  const auto params = nested<float>(1);
  const std::vector<std::string> expected = {"first",         "blocks.0.weight", "blocks.0.bias", "blocks.1.weight",
                                             "blocks.1.bias", "head.weight",     "head.bias"};
  EXPECT_EQ(names(params), expected);
}

TEST(ForEachParameter, NamesVectorsBeyondNineByTheirNumber) {
  Nested<float> params;
  params.blocks.resize(12);
  EXPECT_EQ(names(params).at(1 + 2 * 11), "blocks.11.weight");
}

TEST(ForEachParameter, SkipsEmptyVectors) {
  Nested<double> params;
  const std::vector<std::string> expected = {"first", "head.weight", "head.bias"};
  EXPECT_EQ(names(params), expected);
}

TEST(ForEachParameter, ZipsStructsOfOtherScalars) {
  const auto params = nested<float>(2);
  auto sums = nested<double>(0.5);
  int leaves = 0;
  for_each_parameter(
      [&](const Path&, const auto& p, auto& s) {
        static_assert(std::is_same_v<typename std::decay_t<decltype(p)>::Scalar, float>);
        static_assert(std::is_same_v<typename std::decay_t<decltype(s)>::Scalar, double>);
        s += p.template cast<double>();
        ++leaves;
      },
      params, sums);
  EXPECT_EQ(leaves, 7);
  for_each_parameter([](const Path& path, const auto& s) { EXPECT_TRUE((s.array() == 2.5).all()) << path.str(); },
                     sums);
}

TEST(ForEachParameter, ZipsLeavesOfAnotherKind) {
  const auto params = nested<float>(0);
  NestedTouched touched;
  touched.blocks.resize(2);
  for_each_parameter([](const Path&, const auto& p, Touched& t) { t.rows.push_back(static_cast<int>(p.rows())); },
                     params, touched);
  EXPECT_EQ(touched.first.rows, std::vector<int>{3});
  EXPECT_EQ(touched.blocks[1].weight.rows, std::vector<int>{1});
  EXPECT_EQ(touched.head.bias.rows, std::vector<int>{2});
  EXPECT_EQ(parameter_count(touched), 7);
  set_zero(touched);
  EXPECT_EQ(parameter_count(touched), 0);
}

TEST(ForEachParameter, ZipsThree) {
  auto a = nested<double>(1), b = nested<double>(2), c = nested<double>(3);
  for_each_parameter([](const Path&, auto& x, auto& y, auto& z) { x += y.cwiseProduct(z); }, a, b, c);
  EXPECT_EQ(a.blocks[1].weight(0, 4), 7);
  EXPECT_EQ(a.head.bias(1), 7);
}

TEST(ForEachParameter, CallsACallableWithStateByReference) {
  struct Counter {
    int calls = 0;
    void operator()(const Path&, const Mat<float>&) { ++calls; }
    void operator()(const Path&, const Vec<float>&) { ++calls; }
  } counter;
  const auto params = nested<float>(1);
  for_each_parameter(counter, params);
  EXPECT_EQ(counter.calls, 7);
}

TEST(ForEachParameter, DoesNotAllocate) {
  if (!test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  auto params = nested<float>(1), grads = nested<float>(2);
  const long before = test::allocations();
  double sum = 0;
  for_each_parameter(
      [&](const Path&, auto& p, auto& g) {
        p += g;
        sum += static_cast<double>(p.sum());
      },
      params, grads);
  set_zero(grads);
  const Index count = parameter_count(params);
  EXPECT_EQ(test::allocations(), before);
  EXPECT_EQ(sum, 3 * static_cast<double>(count));
}

TEST(Allocations, AreCounted) {
  if (!test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  const void* volatile keep;  // or a compiler leaves out what is not used
  long before = test::allocations();
  Mat<float> matrix(10, 10);
  keep = matrix.data();
  EXPECT_EQ(test::allocations(), before + 1);
  before = test::allocations();
  std::vector<int> vector(100);
  keep = vector.data();
  EXPECT_EQ(test::allocations(), before + 1);
  EXPECT_NE(keep, nullptr);
}

TEST(ParameterCount, AddsTheSizesOfAllLeaves) {
  EXPECT_EQ(parameter_count(nested<float>(1)), 3 + (8 + 2) + (5 + 1) + (6 + 2));
  EXPECT_EQ(parameter_count(Nested<float>{}), 0);
}

TEST(SetZero, KeepsShapesAndWhatIsNotLearned) {
  auto params = nested<double>(1);
  params.head.weight(0, 0) = std::numeric_limits<double>::quiet_NaN();
  set_zero(params);
  EXPECT_EQ(parameter_count(params), 27);
  EXPECT_EQ(params.not_learned, 7);
  for_each_parameter([](const Path& path, const auto& p) { EXPECT_TRUE((p.array() == 0).all()) << path.str(); },
                     params);
}

TEST(Path, OfTheRootIsEmpty) { EXPECT_EQ(Path().str(), ""); }

}  // namespace
}  // namespace qllk
