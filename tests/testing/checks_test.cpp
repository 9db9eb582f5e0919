// Modules with one mistake each: the checks must find it.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "qllk/nn/linear.hpp"
#include "qllk/testing/conformance.hpp"
#include "qllk/testing/gradient_check.hpp"

namespace qllk::conformance {
namespace {

enum class Mistake {
  none,
  small_error,      // one entry of a gradient is off by a part in a million
  zero,             // a gradient is not computed
  nan,              // a gradient is NaN
  overwrites,       // backward sets g instead of adding to it
  dx_added,         // backward adds to dx instead of writing it
  dx_partial,       // a column of dx is left as it was
  looks_ahead,      // a column sees the next one
  mixes_sequences,  // a sequence begins with what the one before it left
  state_lost,       // the state is not carried over
  dstate_lost,      // nor its gradient
};

/// S_t = S_{t-1} + w ⊙ x_t,  y_t = S_t: the smallest mixer.
class Sum {
 public:
  using Scalar = double;
  static constexpr std::string_view name = "sum";
  struct Config {
    Index dim = 0;
    Mistake mistake = Mistake::none;
    bool operator==(const Config&) const = default;
  };
  struct Params {
    Vec<double> weight;
    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("weight", t.weight...);
    }
  };
  using Grads = Params;
  struct State {
    Mat<double> sum;
    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("sum", t.sum...);
    }
  };
  struct Cache {};

  static Config recommended() { return {}; }
  explicit Sum(const Config& config) : dim(config.dim), mistake(config.mistake) {}

  double flop() const { return 2 * static_cast<double>(dim); }
  void reset(State& state, Index sequences) const { state.sum.setZero(dim, sequences); }
  Params init(Random&) const { return zeros(); }
  Params zeros() const { return {Vec<double>::Zero(dim)}; }
  State initial_state(Index sequences) const { return {Mat<double>::Zero(dim, sequences)}; }

  void forward(const Params& p, MatIn<double> x, State& state, Cache&, MatOut<double> y) const {
    const Index sequences = state.sum.cols(), length = x.cols() / sequences;
    for (Index s = 0; s < sequences; ++s) {
      Vec<double> sum = state.sum.col(s);
      if (mistake == Mistake::state_lost) sum.setZero();
      if (mistake == Mistake::mixes_sequences && s > 0 && length > 0) sum += y.col(s * length - 1);
      for (Index t = s * length; t < (s + 1) * length; ++t) {
        sum += p.weight.cwiseProduct(x.col(t));
        y.col(t) = sum;
        if (mistake == Mistake::looks_ahead && t + 1 < x.cols()) y.col(t) += 1e-12 * x.col(t + 1);
      }
      state.sum.col(s) = sum;
    }
  }

  void backward(const Params& p, MatIn<double> x, const Cache&, MatIn<double> dy, State& dstate, Grads& g,
                MatOut<double> dx) const {
    const Index sequences = dstate.sum.cols(), length = x.cols() / sequences;
    if (mistake == Mistake::overwrites) g.weight.setZero();
    for (Index s = 0; s < sequences; ++s)
      for (Index t = (s + 1) * length; t-- > s * length;) {
        dstate.sum.col(s) += dy.col(t);
        if (mistake != Mistake::zero) g.weight += dstate.sum.col(s).cwiseProduct(x.col(t));
        if (mistake == Mistake::dx_partial && t == 1) continue;
        if (mistake == Mistake::dx_added)
          dx.col(t) += dstate.sum.col(s).cwiseProduct(p.weight);
        else
          dx.col(t) = dstate.sum.col(s).cwiseProduct(p.weight);
      }
    if (mistake == Mistake::small_error) g.weight[0] *= 1 + 1e-6;
    if (mistake == Mistake::nan) g.weight[1] = detail::kNaN<double>;
    if (mistake == Mistake::dstate_lost) dstate.sum.setZero();
  }

 private:
  Index dim;
  Mistake mistake;
};
static_assert(SequenceMixer<Sum>);

GradientReport gradients(Mistake mistake) {
  Random random(1);
  const Sum sum({3, mistake});
  auto state = sum.initial_state(2);
  disturb(state, 1, random);
  return check_mixer_gradients(sum, Sum::Params{random_matrix<double>(3, 1, random)},
                               random_matrix<double>(3, 8, random), state);
}

Conformance conformance(Mistake mistake) {
  Random random(1);
  const Sum sum({3, mistake});
  auto state = sum.initial_state(2);
  disturb(state, 1, random);
  return check_mixer(sum, {random_matrix<double>(3, 1, random)}, random_matrix<double>(3, 2 * 9, random), 2, state);
}

TEST(GradientCheck, PassesARightModule) {
  const auto report = gradients(Mistake::none);
  EXPECT_TRUE(report.passed(1e-11)) << report.str();
}

TEST(GradientCheck, NamesTheWrongTensor) {
  const auto report = gradients(Mistake::small_error);
  EXPECT_FALSE(report.passed());
  EXPECT_EQ(report.worst, "weight");
  EXPECT_TRUE(report.error < 2e-6);
  EXPECT_EQ(gradients(Mistake::dstate_lost).worst, "state.sum");
  EXPECT_FALSE(gradients(Mistake::dstate_lost).passed());
}

TEST(GradientCheck, FindsGradientsThatAreMissingOrNaN) {
  EXPECT_FALSE(gradients(Mistake::zero).passed());
  EXPECT_FALSE(gradients(Mistake::nan).passed(1e300));
  EXPECT_EQ(gradients(Mistake::nan).worst, "weight");
}

TEST(GradientCheck, FindsBrokenContracts) {
  for (const Mistake mistake : {Mistake::overwrites, Mistake::dx_added, Mistake::dx_partial}) {
    const auto report = gradients(mistake);
    EXPECT_FALSE(report.passed(1e300));
    EXPECT_EQ(report.violations.size(), 1u) << report.str();
  }
}

TEST(GradientCheck, AParameterWithoutEffectIsDead) {
  // Nothing is wrong with a gradient of zero here, but nothing is shown either.
  Random random(1);
  const Sum sum({3});
  const auto report =
      check_mixer_gradients(sum, {random_matrix<double>(3, 1, random)}, Mat<double>::Zero(3, 4), sum.initial_state(1));
  EXPECT_FALSE(report.passed());
  EXPECT_TRUE(report.passed(1e-9, {"weight"})) << report.str();
}

TEST(GradientCheck, SamplesLargeTensorsAndStillSeesAllOfThem) {
  struct Wrong : nn::Linear<double> {
    using Linear::Linear;
    Index at;
    void backward(const Params& p, MatIn<double> x, const Cache& c, MatIn<double> dy, Grads& g,
                  MatOut<double> dx) const {
      Linear::backward(p, x, c, dy, g, dx);
      if (at >= 0) g.weight.data()[at] += 1;
    }
  };
  Random random(1);
  Wrong linear(nn::Linear<double>::Config{40, 50});
  const auto p = linear.init(random);
  const auto x = random_matrix<double>(40, 3, random);
  const auto check = [&](Index at) {
    linear.at = at;
    return check_layer_gradients(linear, p, x, 50, {.entries = 8});
  };
  EXPECT_TRUE(check(-1).passed(1e-9)) << check(-1).str();
  for (const Index at : {0, 777, 1999}) EXPECT_FALSE(check(at).passed(1e-3)) << at;
}

TEST(Conformance, PassesARightMixer) {
  const auto result = conformance(Mistake::none);
  EXPECT_TRUE(result.passed(1e-13)) << result.str();
  EXPECT_TRUE(result.reacts);
}

TEST(Conformance, FindsLookingAhead) {
  const auto result = conformance(Mistake::looks_ahead);
  EXPECT_FALSE(result.violations.empty());
}

TEST(Conformance, FindsSequencesThatMix) {
  const auto result = conformance(Mistake::mixes_sequences);
  EXPECT_TRUE(std::ranges::any_of(result.violations, [](const std::string& v) { return v.find("others") != v.npos; }));
  EXPECT_FALSE(result.error <= 1e-3);
}

TEST(Conformance, FindsLostStates) {
  EXPECT_FALSE(conformance(Mistake::state_lost).error <= 1e-3);
  EXPECT_FALSE(conformance(Mistake::dstate_lost).error <= 1e-3);
  EXPECT_FALSE(conformance(Mistake::dstate_lost).violations.empty());  // nor does it pass through an empty piece
}

TEST(Conformance, FindsNaNAndOverwrittenGradients) {
  EXPECT_FALSE(conformance(Mistake::nan).passed(1e300));
  EXPECT_FALSE(conformance(Mistake::overwrites).passed(1e-3));
}

}  // namespace
}  // namespace qllk::conformance
