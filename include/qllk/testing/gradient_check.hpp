// Compares a module's backward pass with finite differences of its forward pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/testing/subject.hpp"

namespace qllk::conformance {

/// How to check.
struct GradientCheckSettings {
  double step = 0x1p-10;   // h; right for values of about 1
  Index entries = 256;     // of a tensor; a larger one is sampled, and checked whole along one direction
  std::uint64_t seed = 1;  // of the cotangent, the direction and the samples
};

/// What a gradient check found.
struct GradientReport : WorstError {    // over tensors, relative: ‖analytic - numeric‖ / ‖numeric‖
  std::vector<std::string> dead;        // tensors whose gradient is zero, so that nothing about it was shown
  std::vector<std::string> violations;  // of the contract of backward, in words

  /// A test names what it expects to be dead, which is nothing as a rule. NaN anywhere fails.
  bool passed(double tolerance = 1e-7, const std::vector<std::string>& expected_dead = {}) const {
    return error <= tolerance && violations.empty() && dead == expected_dead;
  }

  /// One line for a test's message.
  std::string str() const {
    char number[32];
    std::snprintf(number, sizeof number, "%.2g", error);
    std::string out = std::string("largest error ") + number + " in '" + worst + "'";
    for (const auto& name : dead) out += "; gradient of '" + name + "' is zero";
    for (const auto& violation : violations) out += "; " + violation;
    return out;
  }
};

namespace detail {

/// Gradients below this are zero. Rounding of the loss leaves about 1e-12 in a numeric one.
inline constexpr double kDead = 1e-9;

/// f'(0) of f(d), with an error of h⁴ f⁽⁵⁾/30 and of rounding: the 4th-order central difference.
/// Source: Abramowitz and Stegun 1964, eq. 25.3.6.
template <class F>
double central_difference(F&& f, double h) {
  const double near = f(h) - f(-h), far = f(2 * h) - f(-2 * h);
  return (8 * near - far) / (12 * h);
}

/// What the comparisons of one check share.
struct Comparison {
  const GradientCheckSettings& settings;
  Random& random;
  GradientReport& report;
};

/// Compares one tensor's gradient. `loss()` sees the values through `values`.
template <class Loss>
void compare(const std::string& name, double* values, const Vec<double>& analytic, Loss&& loss,
             const Comparison& comparison) {
  const GradientCheckSettings& settings = comparison.settings;
  GradientReport& report = comparison.report;
  const Index size = analytic.size(), count = std::min(size, settings.entries);
  if (size == 0) return;
  std::vector<Index> picked(static_cast<std::size_t>(size));
  std::iota(picked.begin(), picked.end(), Index{0});
  for (std::size_t i = 0; count < size && i < static_cast<std::size_t>(count); ++i)
    std::swap(picked[i], picked[i + static_cast<std::size_t>(comparison.random.below(picked.size() - i))]);

  Vec<double> numeric(count), claimed(count);
  for (Index i = 0; i < count; ++i) {
    const Index at = picked[static_cast<std::size_t>(i)];
    const double value = values[at];
    numeric[i] = central_difference(
        [&](double d) {
          values[at] = value + d;
          return loss();
        },
        settings.step);
    values[at] = value;
    claimed[i] = analytic[at];
  }
  const double whole = std::sqrt(static_cast<double>(size) / static_cast<double>(count));
  const double length = count == size ? numeric.norm() : std::max(numeric.norm() * whole, analytic.norm());
  if (length <= kDead && analytic.norm() <= kDead) {
    report.dead.push_back(name);
    return;
  }
  report.see((claimed - numeric).norm() * whole / std::max(length, kDead), name);
  if (count == size) return;

  // Along a unit vector an error shows with 1/√size of its length.
  Vec<double> direction(size);
  for (Index i = 0; i < size; ++i) direction[i] = comparison.random.below(2) == 0 ? 1 : -1;
  direction.normalize();
  Eigen::Map<Vec<double>> all(values, size);
  const Vec<double> before = all;
  const double along = central_difference(
      [&](double d) {
        all = before + d * direction;
        return loss();
      },
      settings.step);
  all = before;
  report.see(std::abs(analytic.dot(direction) - along) * std::sqrt(static_cast<double>(size)) / length, name);
}

/// A subject at one point, and the loss <dy, y> + <dfinal, final state> there.
template <class Subject>
struct LossAt {
  const Subject& subject;
  typename Subject::Params params;
  typename Subject::Input input;
  typename Subject::State start;  // before the first position
  typename Subject::State dfinal = start;
  typename Subject::Cache cache = {};
  Mat<double> y = {}, dy = {};

  /// Draws dy and dfinal, which have the shapes of what forward computes.
  void draw(Random& random) {
    subject.forward(params, input, dfinal, cache, y);
    dy = random_matrix<double>(y.rows(), y.cols(), random);
    for_each_state_tensor([&](const std::string&, auto& leaf) { fill_normal(leaf, 1, random); }, dfinal);
  }

  double forward() {
    auto state = start;
    subject.forward(params, input, state, cache, y);
    double sum = y.cwiseProduct(dy).sum();
    for_each_state_tensor(
        [&](const std::string&, const auto& leaf, const auto& d) { sum += leaf.cwiseProduct(d).sum(); }, state, dfinal);
    return sum;
  }

  /// Once after each forward or draw. Adds to grads, overwrites dx, returns the gradient of start.
  typename Subject::State backward(typename Subject::Grads& grads, Mat<double>& dx) {
    auto dstate = dfinal;
    subject.backward(params, input, cache, dy, dstate, grads, dx);
    return dstate;
  }
};

/// backward must add to gradients that hold something already.
template <class Subject>
void check_adds(LossAt<Subject>& loss, const typename Subject::Grads& grads, Random& random, GradientReport& report) {
  typename Subject::Grads sum = loss.subject.zero_grads();
  disturb(sum, 1, random);
  const typename Subject::Grads before = sum;
  Mat<double> dx;
  loss.forward();
  loss.backward(sum, dx);
  for_each_parameter(
      [&](const Path& path, const auto& leaf, const auto& already, const auto& added) {
        if (!(relative_error(dense(leaf), (dense(already) + dense(added)).eval(), 1) <= 1e-12))
          report.violations.push_back("backward does not add to the gradient of '" + path.str() + "'");
      },
      sum, before, grads);
}

/// The check itself, for whatever subject.hpp makes alike. `start` is the state before the first position.
template <class Subject>
GradientReport check_gradients(const Subject& subject, typename Subject::Params params, typename Subject::Input input,
                               typename Subject::State start, const GradientCheckSettings& settings) {
  static_assert(std::is_same_v<typename Subject::Scalar, double>, "gradients are checked in double");
  constexpr bool has_dx = std::is_same_v<typename Subject::Input, Mat<double>>;
  GradientReport report;
  Random random(settings.seed);
  LossAt<Subject> loss{subject, std::move(params), std::move(input), std::move(start)};
  loss.draw(random);
  auto grads = subject.zero_grads();
  Mat<double> dx;
  const auto dstart = loss.backward(grads, dx);
  if (has_dx && dx.array().isNaN().any()) report.violations.push_back("backward leaves values of dx unwritten, or NaN");
  check_adds(loss, grads, random, report);

  const auto check = [&](const std::string& name, auto& values, const auto& leaf) {
    const Mat<double> gradient = dense(leaf);
    if (values.rows() != gradient.rows() || values.cols() != gradient.cols())
      report.violations.push_back("the gradient of '" + name + "' has another shape than its values");
    else
      compare(name, values.data(), gradient.reshaped(), [&] { return loss.forward(); }, {settings, random, report});
  };
  for_each_parameter([&](const Path& path, auto& values, const auto& gradient) { check(path.str(), values, gradient); },
                     loss.params, grads);
  for_each_state_tensor(check, loss.start, dstart);
  if constexpr (has_dx) check("x", loss.input, dx);
  return report;
}

}  // namespace detail

/// Checks a position-wise layer: `forward(p, x, cache, y)` and `backward(p, x, cache, dy, g, dx)`.
///
///   loss     <dy, y>, with a fixed random cotangent dy
///   numeric  ( 8 (f(h) - f(-h)) - (f(2h) - f(-2h)) ) / 12h
///
/// Every tensor of `params` is compared by its name, and x as "x". Also checks that backward adds to g and
/// overwrites all of dx.
/// Shapes   x: [in, n]    y: [outputs, n]
/// Cost     four forward passes for each of up to `entries` values of every tensor: choose small sizes, odd ones too
template <Layer<double> L>
GradientReport check_layer_gradients(const L& layer, const typename L::Params& params, const Mat<double>& x,
                                     Index outputs, const GradientCheckSettings& settings = {}) {
  return detail::check_gradients(detail::LayerSubject<L, Mat<double>, double>{layer, outputs}, params, x, {}, settings);
}

/// As above, for a layer whose input is bytes, which have no gradient: `backward(p, bytes, cache, dy, g)`.
template <class Layer>
GradientReport check_layer_gradients(const Layer& layer, const typename Layer::Params& params,
                                     const std::vector<Byte>& bytes, Index outputs,
                                     const GradientCheckSettings& settings = {}) {
  return detail::check_gradients(detail::LayerSubject<Layer, std::vector<Byte>, double>{layer, outputs}, params, bytes,
                                 {}, settings);
}

/// Checks a sequence mixer: `forward(p, x, state, cache, y)` and `backward(p, x, cache, dy, dstate, g, dx)`.
///
/// As check_layer_gradients; the loss is <dy, y> + <dfinal, final state>, and the gradient of the initial state is
/// compared as "state.…" for every tensor in `State::fields()`. `start` is the state to begin from: a disturbed one,
/// or one after some positions, shows more than zeros.
template <SequenceMixer Mixer>
GradientReport check_mixer_gradients(const Mixer& mixer, const typename Mixer::Params& params, const Mat<double>& x,
                                     const typename Mixer::State& start, const GradientCheckSettings& settings = {}) {
  return detail::check_gradients(detail::MixerSubject<Mixer, double>{mixer}, params, x, start, settings);
}

/// Checks a whole model: as check_mixer_gradients, with bytes (sequences × length) for input and logits for y.
template <ByteModel Model>
GradientReport check_model_gradients(const Model& model, const typename Model::Params& params,
                                     const std::vector<Byte>& bytes, const typename Model::State& start,
                                     const GradientCheckSettings& settings = {}) {
  return detail::check_gradients(detail::ModelSubject<Model>{model}, params, bytes, start, settings);
}

}  // namespace qllk::conformance
