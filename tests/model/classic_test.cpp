#include "qllk/model/classic.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/io/safetensors.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/testing/conformance.hpp"
#include "qllk/testing/gradient_check.hpp"
#include "support/allocations.hpp"
#include "support/models.hpp"

namespace qllk {
namespace {

using conformance::random_bytes;
using conformance::relative_error;

/// Parameters away from their initial values, and larger, so that everything matters.
template <Real Scalar>
typename QLLKClassic<Scalar>::Params generic(const QLLKClassic<Scalar>& model, Random& random) {
  auto p = model.init(random);
  conformance::disturb(p, 0.2, random);
  return p;
}

/// The state after some bytes of each sequence.
template <Real Scalar>
auto state_after(const QLLKClassic<Scalar>& model, const typename QLLKClassic<Scalar>::Params& p, Index sequences,
                 Index length, Random& random) {
  auto state = model.initial_state(sequences);
  typename QLLKClassic<Scalar>::Cache cache;
  Mat<Scalar> logits;
  model.forward(p, random_bytes(sequences * length, random, 5), state, cache, logits);
  return state;
}

TEST(QLLKClassic, WholeModelGradientMatchesCentralDifference) {
  struct Case {
    Index dim, layers, patch, sequences, before, length;
    std::vector<std::string> dead;
  };
  const std::string carried = "state.rows";  // serves no row where a patch is complete at the first byte
  for (const Case& c :
       {Case{4, 2, 3, 2, 0, 7, {carried}}, Case{4, 2, 3, 2, 4, 6, {}}, Case{3, 1, 1, 1, 2, 5, {carried}},
        Case{5, 1, 4, 3, 6, 9, {}}, Case{4, 2, 3, 2, 0, 6, {carried}}, Case{4, 2, 3, 2, 4, 5, {}},
        Case{3, 2, 4, 1, 0, 1, {"state.layers.0.memory"}}}) {
    SCOPED_TRACE("dim " + std::to_string(c.dim) + ", patch " + std::to_string(c.patch) + ", before " +
                 std::to_string(c.before) + ", length " + std::to_string(c.length));
    Random random = Random::of(c.dim, c.patch, c.length);
    const QLLKClassic<double> model({.dim = c.dim, .layers = c.layers, .patch = c.patch});
    const auto p = generic(model, random);
    auto start = state_after(model, p, c.sequences, c.before, random);
    conformance::disturb(start, 0.3, random);
    const auto report = conformance::check_model_gradients(model, p, random_bytes(c.sequences * c.length, random, 5),
                                                           start, {.step = 0x1p-12, .entries = 120});
    if (c.length == 1)
      EXPECT_TRUE(report.error <= 1e-7 && report.violations.empty()) << report.str();
    else
      EXPECT_TRUE(report.passed(1e-7, c.dead)) << report.str();
  }
}

TEST(QLLKClassic, IsCausalAndTheSameInAnyChunks) {
  for (const Index patch : {1, 2, 4, 5})
    for (const Index sequences : {1, 3})
      for (const Index before : {0, 1, 3, 4}) {
        Random random = Random::of(patch, sequences, before);
        const QLLKClassic<double> model({.dim = 6, .layers = 2, .patch = patch});
        const auto p = generic(model, random);
        const auto start = state_after(model, p, sequences, before, random);
        for (const Index length : std::array<Index, 5>{0, 1, 2, 3 * patch + 1, 35}) {
          const auto result =
              conformance::check_model(model, p, random_bytes(sequences * length, random), sequences, start);
          EXPECT_TRUE(result.passed(1e-11)) << "patch " << patch << ", sequences " << sequences << ", before " << before
                                            << ", length " << length << ": " << result.str();
          EXPECT_TRUE(result.reacts || length <= patch);
        }
      }
}

TEST(QLLKClassic, IsCausalInFloatAtLargerSizes) {
  Random random(1);
  const QLLKClassic<float> model({.dim = 64, .layers = 2, .patch = 8});
  const auto p = model.init(random);
  const auto result = conformance::check_model(model, p, random_bytes(2 * 50, random), 2, model.initial_state(2));
  EXPECT_TRUE(result.passed(1e-4)) << result.str();
  EXPECT_TRUE(result.reacts);
}

/// What each row may see, byte by byte: all of the patches that are complete, and nothing of the patch in the making.
TEST(QLLKClassic, RowsReactToExactlyTheBytesOfCompletePatches) {
  Random random(2);
  const Index patch = 4, length = 17;
  const QLLKClassic<double> model({.dim = 6, .layers = 1, .patch = patch});
  const auto p = generic(model, random);
  const auto bytes = random_bytes(length, random);
  QLLKClassic<double>::Cache cache;
  Mat<double> logits, changed;
  auto state = model.initial_state(1);
  model.forward(p, bytes, state, cache, logits);
  for (Index t = 0; t < length; ++t) {
    auto other = bytes;
    other[static_cast<std::size_t>(t)] ^= 1;
    model.reset(state, 1);
    model.forward(p, other, state, cache, changed);
    const Index first = (t + patch - 1) / patch * patch;  // of the first patch that covers byte t
    for (Index row = 0; row < length; ++row)
      EXPECT_EQ(logits.col(row) == changed.col(row), row < first) << t << ", " << row;
  }
}

TEST(QLLKClassic, HasTheParametersOfTheOriginal) {
  EXPECT_EQ(parameter_count(QLLKClassic<float>({}).zeros()), 2'765'824);
}

TEST(QLLKClassic, RefusesBadSettings) {
  EXPECT_THROW(QLLKClassic<float>({.dim = 0}), std::invalid_argument);
  EXPECT_THROW(QLLKClassic<float>({.layers = 0}), std::invalid_argument);
  EXPECT_THROW(QLLKClassic<float>({.patch = 0}), std::invalid_argument);
}

/// One training step's work; returns the loss in nats.
template <Real Scalar>
struct Step {
  typename QLLKClassic<Scalar>::Cache cache;
  typename QLLKClassic<Scalar>::State state, dstate;
  typename QLLKClassic<Scalar>::Grads grads;
  Mat<Scalar> logits;

  double operator()(const QLLKClassic<Scalar>& model, const typename QLLKClassic<Scalar>::Params& p, Bytes inputs,
                    Bytes targets, Index sequences) {
    if (grads.layers.empty()) grads = model.zero_grads();
    set_zero(grads);
    model.reset(state, sequences);
    model.reset(dstate, sequences);
    model.forward(p, inputs, state, cache, logits);
    const double nats =
        nn::softmax_cross_entropy<Scalar>(targets, logits, Scalar(1) / static_cast<Scalar>(std::ssize(targets)));
    model.backward(p, inputs, cache, logits, dstate, grads);
    return nats;
  }
};

TEST(QLLKClassic, DoesNotAllocateAfterTheFirstStep) {
  if (!test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  struct Case {
    Index dim, layers, patch, sequences, length;
  };
  for (const Case& c : {Case{64, 2, 4, 4, 50}, Case{256, 2, 8, 16, 128}}) {
    Random random(1);
    const QLLKClassic<float> model({.dim = c.dim, .layers = c.layers, .patch = c.patch});
    const auto p = model.init(random);
    const auto inputs = random_bytes(c.sequences * c.length, random),
               targets = random_bytes(c.sequences * c.length, random);
    Step<float> step;
    step(model, p, inputs, targets, c.sequences);
    const long before = test::allocations();
    step(model, p, inputs, targets, c.sequences);
    EXPECT_EQ(test::allocations(), before) << "dim " << c.dim;
  }
}

TEST(QLLKClassic, Overfits64Bytes) {
  Random random(3);
  const QLLKClassic<float> model({.dim = 32, .layers = 1, .patch = 4});
  auto p = model.init(random);
  const auto targets = random_bytes(64, random);
  std::vector<Byte> inputs{0};
  inputs.insert(inputs.end(), targets.begin(), targets.end() - 1);
  auto adam = optim::AdamState<QLLKClassic<float>::Params>::of(p);
  Step<float> step;
  double bits = 8;
  for (int i = 0; i < 400 && !(bits < 0.05); ++i) {
    bits = step(model, p, inputs, targets, 1) / 64 * nn::kBitsPerNat;
    optim::step(optim::Adam{.learning_rate = 1e-2}, p, step.grads, adam);
  }
  EXPECT_TRUE(bits < 0.05) << bits;
}

/// What PyTorch computed; golden/regenerate.py wrote it.
template <Real Scalar>
struct Golden {
  io::SafetensorsReader checkpoint{QLLK_TEST_DATA "/classic_checkpoint.safetensors"};
  io::SafetensorsReader expected{QLLK_TEST_DATA "/classic_expected.safetensors"};
  QLLKClassic<Scalar> model{{.dim = 16, .layers = 2, .patch = 4}};
  typename QLLKClassic<Scalar>::Params params = model.zeros();
  std::vector<Byte> inputs = std::vector<Byte>(2 * 24), targets = inputs;

  Golden() {
    io::load_parameters(checkpoint, "", params);
    expected.read_values<Byte>("inputs", inputs);
    expected.read_values<Byte>("targets", targets);
  }

  Vec<double> values(const std::string& name) const {
    Vec<double> out(static_cast<Index>(expected.entry(name).size / sizeof(double)));
    expected.read_values<double>(name, {out.data(), static_cast<std::size_t>(out.size())});
    return out;
  }

  /// As regenerate.py's: in the order of the file; runs of 16 of a large tensor are one number.
  template <class Tensor>
  static Vec<double> digest(const Tensor& tensor) {
    const auto form = io::tensor_form(tensor);
    const Eigen::Map<const Mat<Scalar>> view(tensor.data(), form.rows, form.cols);
    const Vec<double> flat = view.transpose().template cast<double>().reshaped();
    if (flat.size() <= 256) return flat;
    const Vec<double> weights = Vec<double>::LinSpaced(16, 1, 1 + 15.0 / 16);
    return flat.reshaped(16, flat.size() / 16).transpose() * weights;
  }

  template <class Tree>
  void expect_tree(const std::string& prefix, const Tree& tree, double tolerance) const {
    int leaves = 0;
    for_each_parameter(
        [&](const Path& path, const auto& leaf) {
          if (leaf.size() == 0) return;
          const double error = relative_error(digest(leaf), values(prefix + path.str()), 1e-30);
          EXPECT_TRUE(error <= tolerance) << prefix << path.str() << ": " << error;
          ++leaves;
        },
        tree);
    EXPECT_EQ(leaves, 2 + 2 * 16 + 2);
  }

  void expect_parity(double tolerance, double tolerance_after) {
    auto state = model.initial_state(2);
    typename QLLKClassic<Scalar>::Cache cache;
    Mat<Scalar> logits;
    model.forward(params, inputs, state, cache, logits);
    const Mat<Scalar> rows = logits.transpose();  // the file's order: a row for each byte
    EXPECT_TRUE(relative_error(digest(rows), values("logits"), 1e-30) <= tolerance);

    const auto positions = static_cast<double>(targets.size());
    const double loss = values("loss")[0], loss_after = values("loss_after")[0];
    Step<Scalar> step;
    EXPECT_TRUE(std::abs(step(model, params, inputs, targets, 2) / positions - loss) <= tolerance * loss);
    expect_tree("grad.", step.grads, tolerance);

    auto adam = optim::AdamState<typename QLLKClassic<Scalar>::Params>::of(params);
    for (int i = 0; i < 10; ++i) {
      step(model, params, inputs, targets, 2);
      optim::step(optim::Adam{.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8}, params, step.grads,
                  adam);
    }
    expect_tree("after.", params, tolerance_after);
    EXPECT_TRUE(std::abs(step(model, params, inputs, targets, 2) / positions - loss_after) <= tolerance_after * loss);
    EXPECT_TRUE(loss_after < loss - 0.1);
  }
};

TEST(QLLKClassic, AgreesWithPyTorchInDouble) { Golden<double>().expect_parity(1e-10, 1e-9); }
TEST(QLLKClassic, AgreesWithPyTorchInFloat) { Golden<float>().expect_parity(1e-4, 1e-4); }

}  // namespace
}  // namespace qllk
