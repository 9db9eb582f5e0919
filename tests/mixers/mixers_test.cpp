// What every mixer of the registry promises, whatever it computes.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "qllk/mixers/registry.hpp"
#include "qllk/testing/conformance.hpp"
#include "qllk/testing/gradient_check.hpp"
#include "support/allocations.hpp"

namespace qllk::mixers {
namespace {

using conformance::random_matrix;

static_assert(SequenceMixer<Registered<float>> && SequenceMixer<Registered<double>>);

/// Every QLLK_TEST_PARTS-th mixer of the registry, from number QLLK_TEST_PART on: this file is compiled once for each
/// part, as all mixers at once would take a compiler minutes and gigabytes.
template <class All, std::size_t... I>
auto part_of(std::index_sequence<I...>) -> AnyMixer<std::tuple_element_t<QLLK_TEST_PARTS * I + QLLK_TEST_PART, All>...>;
template <class... All>
auto part_of(std::type_identity<AnyMixer<All...>>) -> decltype(part_of<std::tuple<All...>>(
    std::make_index_sequence<(sizeof...(All) - QLLK_TEST_PART + QLLK_TEST_PARTS - 1) / QLLK_TEST_PARTS>()));
template <Real S>
using Part = decltype(part_of(std::type_identity<Registered<S>>()));

class Mixers : public ::testing::TestWithParam<std::string_view> {
 protected:
  template <Real S>
  Part<S> make(Index dim) const {
    return Part<S>(with_dim(Part<S>::Config::named(GetParam()), dim));
  }
  template <class M>
  typename M::Params generic(const M& mixer, Random& random) const {
    auto p = mixer.init(random);
    conformance::disturb(p, 0.2, random);
    return p;
  }
  /// One that streams have come to, disturbed besides.
  template <class M>
  typename M::State state_after(const M& mixer, const typename M::Params& p, Index dim, Index sequences, Index length,
                                Random& random) const {
    using S = typename M::Scalar;
    auto state = mixer.initial_state(sequences);
    typename M::Cache cache;
    Mat<S> y(dim, sequences * length);
    mixer.forward(p, random_matrix<S>(dim, sequences * length, random), state, cache, y);
    return state;
  }
};

/// From a state after some positions; a mixer that works by groups of positions may not use all of it in each case.
TEST_P(Mixers, BackwardMatchesCentralDifference) {
  for (const Index dim : {1, 2, 6}) {
    std::vector<std::string> dead;  // in all cases so far
    for (const auto& [sequences, length, before] : {std::array<Index, 3>{1, 1, 4}, {1, 9, 5}, {3, 5, 6}}) {
      SCOPED_TRACE(std::to_string(dim) + ", " + std::to_string(sequences) + " x " + std::to_string(length));
      Random random = Random::of(dim, sequences, length, before);
      const auto mixer = make<double>(dim);
      const auto p = generic(mixer, random);
      auto start = state_after(mixer, p, dim, sequences, before, random);
      conformance::disturb(start, 0.2, random);
      // a small step, as a second derivative may jump
      const auto report = conformance::check_mixer_gradients(
          mixer, p, random_matrix<double>(dim, sequences * length, random), start, {.step = 0x1p-13});
      EXPECT_TRUE(report.passed(1e-6, report.dead)) << report.str();
      if (length == 1)
        dead = report.dead;
      else
        std::erase_if(dead, [&](const auto& name) { return std::ranges::count(report.dead, name) == 0; });
    }
    EXPECT_EQ(dead, std::vector<std::string>{});
  }
}

TEST_P(Mixers, IsCausalAndTheSameInAnyChunks) {
  for (const Index sequences : {1, 3})
    for (const Index length : {0, 1, 7, 67}) {
      SCOPED_TRACE(std::to_string(sequences) + " x " + std::to_string(length));
      Random random = Random::of(sequences, length);
      const auto mixer = make<double>(4);
      const auto p = generic(mixer, random);
      const auto result = conformance::check_mixer(mixer, p, random_matrix<double>(4, sequences * length, random),
                                                   sequences, state_after(mixer, p, 4, sequences, 4, random));
      EXPECT_TRUE(result.passed(1e-9)) << result.str();
      EXPECT_TRUE(result.reacts || length == 0);
    }
}

TEST_P(Mixers, StaysFiniteOverALongStream) {
  Random random(1);
  const auto mixer = make<float>(8);
  const auto p = generic(mixer, random);
  auto state = mixer.initial_state(1);
  Part<float>::Cache cache;
  Mat<float> y(8, 1000);
  for (int i = 0; i < 100; ++i) mixer.forward(p, random_matrix<float>(8, 1000, random), state, cache, y);
  EXPECT_TRUE(y.allFinite());
  EXPECT_TRUE(y.norm() > 0);
}

TEST_P(Mixers, DoesNotAllocateAfterTheFirstPass) {
  if (!test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  Random random(2);
  const auto mixer = make<float>(32);
  const auto p = mixer.init(random);
  auto g = mixer.zeros();
  auto state = mixer.initial_state(2), dstate = mixer.initial_state(2);
  Part<float>::Cache cache;
  const auto x = random_matrix<float>(32, 128, random), dy = random_matrix<float>(32, 128, random);
  Mat<float> y = x, dx = x;
  long before = 0;
  for (int i = 0; i < 4; ++i) {
    if (i == 2) before = test::allocations();
    mixer.reset(state, 2);  // as a training step does: a state may grow with its stream
    mixer.reset(dstate, 2);
    mixer.forward(p, x, state, cache, y);
    mixer.backward(p, x, cache, dy, dstate, g, dx);
  }
  EXPECT_EQ(test::allocations(), before);
}

TEST_P(Mixers, CountsItsOperations) { EXPECT_TRUE(make<float>(64).flop() >= 2 * 64 * 64) << make<float>(64).flop(); }

TEST_P(Mixers, RefusesAWidthOfZero) { EXPECT_THROW(make<double>(0), std::invalid_argument); }

INSTANTIATE_TEST_SUITE_P(Registry, Mixers, ::testing::ValuesIn(Part<float>::names),
                         [](const auto& mixer) { return std::string(mixer.param); });

TEST(Registry, NamesThatAreNotThereAreErrors) {
  try {
    Registered<float>::Config::named("softmax");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("'softmax'"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("latent"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace qllk::mixers
