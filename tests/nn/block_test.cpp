#include "qllk/nn/block.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "qllk/mixers/latent_kernel.hpp"
#include "qllk/nn/stack.hpp"
#include "qllk/testing/gradient_check.hpp"

namespace qllk::nn {
namespace {

using conformance::random_matrix;
using Kernel = mixers::LatentKernel<double>;
using Blocks = Stack<double, Block<double, Kernel>>;

Block<double, Kernel>::Config config(Index dim) {
  return {.mixer = {.decay = mixers::Decay::data_dependent, .project = true}, .dim = dim, .hidden = 2 * dim};
}

/// A stack as a mixer, so that the checks of mixers check it: noise, stages and the cache's matrices are set up around
/// it.
class StackAsMixer {
 public:
  using Scalar = double;
  static constexpr std::string_view name = "stack";
  struct Config {
    Index dim = 0, count = 0;
    double dropout = 0;
    bool operator==(const Config&) const = default;
  };
  struct Params {
    Blocks::Params blocks;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("blocks", t.blocks...);
    }
  };
  using Grads = Params;
  struct State {
    Blocks::State blocks;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("blocks", t.blocks...);
    }
  };
  using Cache = Blocks::Cache;

  static Config recommended() { return {}; }
  explicit StackAsMixer(const Config& c)
      : config_(c), stack_({static_cast<std::size_t>(c.count), config(c.dim)}, c.dim) {}
  double flop() const { return stack_.flop(); }
  Params zeros() const { return {stack_.zeros()}; }
  Params init(Random& random) const { return {stack_.init(random)}; }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const { stack_.reset(state.blocks, sequences); }
  void forward(const Params& p, MatIn<double> x, State& state, Cache& cache, MatOut<double> y) const {
    stack_.resize(cache, x.cols());
    cache.in() = x;
    Noise noise{.rate = config_.dropout, .random = Random(7)};
    stack_.forward(p.blocks, state.blocks, noise, cache, 0, {});
    y = cache.out();
  }
  void backward(const Params& p, MatIn<double>, Cache& cache, MatIn<double> dy, State& dstate, Grads& g,
                MatOut<double> dx) const {
    cache.out() = dy;
    stack_.backward(p.blocks, cache, dstate.blocks, g.blocks, 0, {});
    dx = cache.in();
  }

 private:
  Config config_;
  Blocks stack_;
};

void expect_gradients(const StackAsMixer::Config& c, Index sequences, Index length) {
  SCOPED_TRACE(std::to_string(c.count) + " blocks, dropout " + std::to_string(c.dropout));
  Random random = Random::of(c.dim, c.count, length);
  const StackAsMixer stack(c);
  auto p = stack.init(random);
  conformance::disturb(p, 0.2, random);
  auto start = stack.initial_state(sequences);
  conformance::disturb(start, 0.3, random);
  const auto report = conformance::check_mixer_gradients(
      stack, p, random_matrix<double>(c.dim, sequences * length, random), start, {.entries = 40});
  EXPECT_TRUE(report.passed(1e-6)) << report.str();
}

TEST(Block, BackwardMatchesCentralDifference) {
  for (const Index dim : {3, 8}) expect_gradients({.dim = dim, .count = 1}, 2, 5);
}

TEST(Block, BackwardThroughDropoutMatchesCentralDifference) {
  expect_gradients({.dim = 6, .count = 1, .dropout = 0.25}, 1, 7);
}

TEST(Stack, BackwardMatchesCentralDifference) {
  expect_gradients({.dim = 4, .count = 3}, 2, 4);
  expect_gradients({.dim = 4, .count = 2, .dropout = 0.5}, 1, 6);
}

TEST(Stack, OfNothingIsTheIdentity) {
  Random random(1);
  const StackAsMixer stack({.dim = 3});
  const auto p = stack.init(random);
  auto state = stack.initial_state(1), dstate = state;
  StackAsMixer::Cache cache;
  const auto x = random_matrix<double>(3, 5, random), dy = random_matrix<double>(3, 5, random);
  Mat<double> y(3, 5), dx(3, 5);
  auto g = stack.zeros();
  stack.forward(p, x, state, cache, y);
  stack.backward(p, x, cache, dy, dstate, g, dx);
  EXPECT_EQ(y, x);
  EXPECT_EQ(dx, dy);
}

TEST(Block, CountsTheOperationsOfMixerAndMlp) {
  const Block<double, Kernel> block(config(8));
  EXPECT_EQ(block.flop(), Kernel(with_dim(config(8).mixer, 8)).flop() + Mlp<double>({8, 16}).flop());
}

}  // namespace
}  // namespace qllk::nn
