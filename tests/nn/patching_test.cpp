#include "qllk/nn/patching.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "qllk/testing/gradient_check.hpp"

namespace qllk::nn {
namespace {

using conformance::random_matrix;

/// The patch that serves byte t of a whole stream is t / P; it covers bytes P·p-(P-1) … P·p.
TEST(PatchPlan, AgreesWithTheWholeStreamWhereverItIsCut) {
  for (const Index patch : {1, 2, 3, 4, 8})
    for (Index begin = 0; begin < 2 * patch + 1; ++begin)
      for (Index length = 0; length < 3 * patch + 2; ++length) {
        const PatchPlan plan{patch, length, begin % patch};
        Index first = -1, count = 0;  // stream's patches that are complete in [begin, begin + length)
        for (Index t = begin; t < begin + length; ++t)
          if (t % patch == 0) {
            if (first < 0) first = t / patch;
            EXPECT_EQ(plan.completed_at(count), t - begin);
            ++count;
          }
        ASSERT_EQ(plan.patches(), count);
        for (Index t = 0; t < length; ++t) {
          const Index serving = (begin + t) / patch;
          EXPECT_EQ(plan.serving(t), first < 0 || serving < first ? -1 : serving - first);
          EXPECT_EQ(plan.slot(t), (begin + t) % patch);
          const Index newest = plan.serving(t) < 0 ? -1 : plan.completed_at(plan.serving(t));
          EXPECT_LE(newest, t) << "a row sees the future";
        }
        EXPECT_EQ(plan.next_phase(), (begin + length) % patch);
        EXPECT_EQ(plan.whole(), begin % patch == 0 && length > 0 && length == count * patch);
      }
}

/// Patching as a map of columns: a stateful layer whose output has one column for each patch.
struct PatchingStream {
  using Scalar = double;
  using Params = Patching<double>::Params;
  using Grads = Params;
  using Input = Mat<double>;
  struct State {
    Patching<double>::State columns;
    Index phase = 0;
    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("columns", t.columns...);
    }
  };
  using Cache = Patching<double>::Cache;

  Patching<double> patching;
  Index in, out, patch;

  PatchingStream(Index in_, Index out_, Index patch_)
      : patching({in_, out_, patch_}), in(in_), out(out_), patch(patch_) {}
  Grads zero_grads() const { return patching.zeros(); }
  void forward(const Params& p, const Input& x, State& state, Cache& cache, Mat<double>& y) const {
    const PatchPlan plan{patch, x.cols() / state.columns.cols(), state.phase};
    y.setConstant(out, plan.patches() * state.columns.cols(), conformance::detail::kNaN<double>);
    patching.forward(p, x, plan, state.columns, cache, y);
    state.phase = plan.next_phase();
  }
  void backward(const Params& p, const Input& x, Cache& cache, const Mat<double>& dy, State& dstate, Grads& g,
                Mat<double>& dx) const {
    dx.setZero(x.rows(), x.cols());  // Patching adds to dx
    patching.backward(p, cache, dy, dstate.columns, g, dx);
  }
};

TEST(Patching, BackwardMatchesCentralDifferenceWhereverTheChunkIsCut) {
  for (const Index patch : {1, 2, 3, 5})
    for (Index phase = 0; phase < patch; ++phase)
      for (Index length = 0; length <= 2 * patch + 1; ++length) {
        Random random = Random::of(patch, phase, length);
        const PatchingStream stream(3, 2, patch);
        auto p = stream.patching.init(random);
        conformance::disturb(p, 0.3, random);
        PatchingStream::State start;
        stream.patching.reset(start.columns, 2);
        conformance::disturb(start, 1, random);
        start.phase = phase;
        const auto report =
            conformance::detail::check_gradients(stream, p, random_matrix<double>(3, 2 * length, random), start, {});
        EXPECT_TRUE(report.error <= 1e-9 && report.violations.empty())
            << "patch " << patch << ", phase " << phase << ", length " << length << ": " << report.str();
        const bool any = PatchPlan{patch, length, phase}.patches() > 0;
        EXPECT_EQ(std::ranges::count(report.dead, "weight"), any ? 0 : 1);
      }
}

TEST(Patching, RefusesSizesThatAreNotPositive) {
  EXPECT_THROW(PatchPlan::check(0), std::invalid_argument);
  EXPECT_THROW(Patching<float>({0, 2, 2}), std::invalid_argument);
  EXPECT_THROW(Patching<float>({2, 0, 2}), std::invalid_argument);
  EXPECT_THROW(Patching<float>({2, 2, 0}), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::nn
