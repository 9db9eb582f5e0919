// Makes layers, mixers and models look alike, so that each check is written once.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/sparse_table.hpp"

namespace qllk::conformance {

using linalg::SparseGrads;

/// A leaf as a matrix: itself, or the whole of a sparse gradient.
template <class Leaf>
const Leaf& dense(const Leaf& leaf) {
  return leaf;
}
/// [dim, rows].
template <Real Scalar>
Mat<Scalar> dense(const SparseGrads<Scalar>& leaf) {
  return leaf.dense();
}

/// Adds N(0, deviation²) to every value of a params, grads or state struct: zeros and ones can hide mistakes.
/// (Bytes and counters of a state are not in its `fields()` and stay.)
template <HasFields Tree>
void disturb(Tree& tree, double deviation, Random& random) {
  for_each_parameter(
      [&]<class Leaf>(const Path&, Leaf& leaf) {
        if constexpr (requires { leaf.dense(); }) {  // a sparse gradient: its first row stands for all
          auto column = leaf.dense().leftCols(std::min<Index>(leaf.cols(), 1)).eval();
          fill_normal(column, deviation, random);
          if (column.size() > 0) leaf.add(0, leaf.append(column), false);
        } else {
          using Scalar = typename Leaf::Scalar;
          for (Index i = 0; i < leaf.size(); ++i) leaf.data()[i] += static_cast<Scalar>(random.normal() * deviation);
        }
      },
      tree);
}

/// [rows, cols] of N(0, deviation²).
template <Real Scalar>
Mat<Scalar> random_matrix(Index rows, Index cols, Random& random, double deviation = 1) {
  Mat<Scalar> m(rows, cols);
  fill_normal(m, deviation, random);
  return m;
}

/// Random bytes, each below `alphabet`.
inline std::vector<Byte> random_bytes(Index count, Random& random, Index alphabet = kByteValues) {
  std::vector<Byte> bytes(static_cast<std::size_t>(count));
  for (auto& byte : bytes) byte = static_cast<Byte>(random.below(static_cast<std::uint64_t>(alphabet)));
  return bytes;
}

/// ‖found - expected‖ / max(‖expected‖, tiny) in the Frobenius norm; infinite where shapes differ or a value is
/// NaN.
template <class A, class B>
double relative_error(const A& found, const B& expected, double tiny) {
  constexpr double worst = std::numeric_limits<double>::infinity();
  if (found.rows() != expected.rows() || found.cols() != expected.cols()) return worst;
  if (found.size() == 0) return 0;
  const double error = (found.template cast<double>() - expected.template cast<double>()).norm() /
                       std::max(expected.template cast<double>().norm(), tiny);
  return error <= worst ? error : worst;
}

/// The largest of several errors, and what had it.
struct WorstError {
  double error = 0;   // the largest
  std::string worst;  // what had it

  /// NaN counts as infinite.
  void see(double candidate, const std::string& name) {
    if (candidate <= error) return;
    error = candidate > error ? candidate : std::numeric_limits<double>::infinity();
    worst = name;
  }
};

namespace detail {

template <class Module>
auto zero_grads(const Module& module) {
  if constexpr (requires { module.zero_grads(); })
    return module.zero_grads();
  else
    return module.zeros();
}

template <Real Scalar>
inline constexpr Scalar kNaN = std::numeric_limits<Scalar>::quiet_NaN();

/// Stands for the state of a module that has none.
struct NoState {};

/// f(name, leaf, leaves…) for each tensor of a state that has a gradient.
template <class F, class State, class... Rest>
void for_each_state_tensor(F&& f, State& state, Rest&... rest) {
  if constexpr (!std::is_same_v<std::remove_cv_t<State>, NoState>) {
    static_assert(HasFields<State>, "a State lists the tensors that have a gradient in fields()");
    for_each_parameter([&](const Path& path, auto&... leaves) { f("state." + path.str(), leaves...); }, state, rest...);
  }
}

/// A position-wise layer: forward(p, x, cache, y), backward(p, x, cache, dy, g, dx), or both without dx for bytes.
/// What is to be overwritten is handed over full of NaN.
template <class Layer, class In, Real S>
struct LayerSubject {
  using Scalar = S;
  using Params = typename Layer::Params;
  using Grads = typename Layer::Grads;
  using Cache = typename Layer::Cache;
  using State = NoState;
  using Input = In;

  const Layer& layer;
  Index outputs;

  Grads zero_grads() const { return detail::zero_grads(layer); }
  void forward(const Params& p, const Input& x, State&, Cache& cache, Mat<S>& y) const {
    if constexpr (std::is_same_v<Input, Mat<S>>)
      y.setConstant(outputs, x.cols(), kNaN<S>);
    else
      y.setConstant(outputs, std::ssize(x), kNaN<S>);
    layer.forward(p, x, cache, y);
  }
  void backward(const Params& p, const Input& x, Cache& cache, const Mat<S>& dy, State&, Grads& g, Mat<S>& dx) const {
    if constexpr (std::is_same_v<Input, Mat<S>>) {
      dx.setConstant(x.rows(), x.cols(), kNaN<S>);
      layer.backward(p, x, cache, dy, g, dx);
    } else {
      layer.backward(p, x, cache, dy, g);
    }
  }
};

/// A sequence mixer: forward(p, x, state, cache, y), backward(p, x, cache, dy, dstate, g, dx); y has the shape of x.
template <class Mixer, Real S>
struct MixerSubject {
  using Scalar = S;
  using Params = typename Mixer::Params;
  using Grads = Params;
  using Cache = typename Mixer::Cache;
  using State = typename Mixer::State;
  using Input = Mat<S>;

  const Mixer& mixer;

  Grads zero_grads() const { return mixer.zeros(); }
  State initial_state(Index sequences) const {
    State state;
    mixer.reset(state, sequences);
    return state;
  }
  void forward(const Params& p, const Input& x, State& state, Cache& cache, Mat<S>& y) const {
    y.setConstant(x.rows(), x.cols(), kNaN<S>);
    mixer.forward(p, x, state, cache, y);
  }
  void backward(const Params& p, const Input& x, Cache& cache, const Mat<S>& dy, State& dstate, Grads& g,
                Mat<S>& dx) const {
    dx.setConstant(x.rows(), x.cols(), kNaN<S>);
    mixer.backward(p, x, cache, dy, dstate, g, dx);
  }
};

/// A model of bytes; bytes have no gradient, and dx stays empty.
template <class Model>
struct ModelSubject {
  using Scalar = typename Model::Scalar;
  using Params = typename Model::Params;
  using Grads = typename Model::Grads;
  using Cache = typename Model::Cache;
  using State = typename Model::State;
  using Input = std::vector<Byte>;

  const Model& model;

  Grads zero_grads() const { return detail::zero_grads(model); }
  State initial_state(Index sequences) const { return model.initial_state(sequences); }
  void forward(const Params& p, const Input& bytes, State& state, Cache& cache, Mat<Scalar>& logits) const {
    model.forward(p, bytes, state, cache, logits);
  }
  void backward(const Params& p, const Input& bytes, Cache& cache, Mat<Scalar> dlogits, State& dstate, Grads& g,
                Mat<Scalar>&) const {
    model.backward(p, bytes, cache, dlogits, dstate, g);
  }
};

}  // namespace detail
}  // namespace qllk::conformance
