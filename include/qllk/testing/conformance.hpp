// What every sequence mixer and every model must do, whatever it computes.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
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

/// What a conformance suite found.
struct Conformance : WorstError {       // the largest relative difference between two ways to compute the same tensor
  std::vector<std::string> violations;  // what had to hold bit for bit and did not, in words
  bool reacts = false;                  // whether any output depends on the input: else little was shown

  /// NaN anywhere fails.
  bool passed(double tolerance) const { return error <= tolerance && violations.empty(); }

  /// One line for a test's message.
  std::string str() const {
    char number[32];
    std::snprintf(number, sizeof number, "%.2g", error);
    std::string out = std::string("largest difference ") + number + " in '" + worst + "'";
    for (const auto& violation : violations) out += "; " + violation;
    return out;
  }
};

namespace detail {

/// Columns [begin, begin + size) of each sequence.
template <Real S>
Mat<S> piece(const Mat<S>& x, Index sequences, Index begin, Index size) {
  const Index length = x.cols() / sequences;
  Mat<S> out(x.rows(), sequences * size);
  for (Index s = 0; s < sequences; ++s) out.middleCols(s * size, size) = x.middleCols(s * length + begin, size);
  return out;
}
inline std::vector<Byte> piece(const std::vector<Byte>& bytes, Index sequences, Index begin, Index size) {
  const Index length = std::ssize(bytes) / sequences;
  std::vector<Byte> out;
  for (Index s = 0; s < sequences; ++s)
    out.insert(out.end(), bytes.begin() + s * length + begin, bytes.begin() + s * length + begin + size);
  return out;
}

/// Puts a piece back to where it came from.
template <Real S>
void place(const Mat<S>& part, Index sequences, Index begin, Mat<S>& whole) {
  const Index length = whole.cols() / sequences, size = part.cols() / sequences;
  for (Index s = 0; s < sequences; ++s) whole.middleCols(s * length + begin, size) = part.middleCols(s * size, size);
}

template <Real S>
Index columns(const Mat<S>& x) {
  return x.cols();
}
inline Index columns(const std::vector<Byte>& bytes) { return std::ssize(bytes); }

/// Gives column t another value.
template <Real S>
void change(Mat<S>& x, Index t) {
  x.col(t).array() = x.col(t).array() * S(-2) + S(1);
}
inline void change(std::vector<Byte>& bytes, Index t) {
  auto& byte = bytes[static_cast<std::size_t>(t)];
  byte = static_cast<Byte>(byte ^ 0x55);
}

template <Real S>
bool same_bits(const Mat<S>& a, Index a_begin, const Mat<S>& b, Index b_begin, Index count) {
  return count == 0 || std::memcmp(a.data() + a_begin * a.rows(), b.data() + b_begin * b.rows(),
                                   static_cast<std::size_t>(a.rows() * count) * sizeof(S)) == 0;
}

/// An input of a subject, the state to begin from, and the gradients of the outputs and of the final state.
template <class Subject>
struct Trial {
  const Subject& subject;
  const typename Subject::Params& params;
  typename Subject::Input input;
  Index sequences;
  typename Subject::State start;
  Mat<typename Subject::Scalar> dy;
  typename Subject::State dfinal;

  Index length() const { return columns(input) / sequences; }
};

/// All that a subject computes from one input.
template <class Subject>
struct Answer {
  Mat<typename Subject::Scalar> y, dx;
  typename Subject::State final, dinitial;
  typename Subject::Grads grads;
};

/// Forward through the last positions and backward through the first, so that the cache has been used.
template <class Subject>
void use(const Trial<Subject>& trial, typename Subject::Cache& cache) {
  const Index few = std::min<Index>(7, trial.length());
  auto state = trial.start, dstate = trial.dfinal;
  auto grads = trial.subject.zero_grads();
  const auto input = piece(trial.input, trial.sequences, trial.length() - few, few);
  Mat<typename Subject::Scalar> y, dx;
  trial.subject.forward(trial.params, input, state, cache, y);
  trial.subject.backward(trial.params, input, cache, piece(trial.dy, trial.sequences, 0, few), dstate, grads, dx);
}

/// Forward through pieces of these lengths, one after the other, then backward through them in reverse. Caches are new,
/// or were `used` before on a few other positions.
template <class Subject>
Answer<Subject> run(const Trial<Subject>& trial, const std::vector<Index>& lengths, bool used = false) {
  using S = typename Subject::Scalar;
  const auto& [subject, params, input, sequences, start, dy, dfinal] = trial;
  Answer<Subject> a{dy, {}, start, dfinal, subject.zero_grads()};
  std::vector<typename Subject::Cache> caches(lengths.size());
  std::vector<typename Subject::Input> inputs;
  Mat<S> part, dpart;
  Index at = 0;
  if (used)
    for (auto& cache : caches) use(trial, cache);
  for (std::size_t i = 0; i < lengths.size(); at += lengths[i++]) {
    inputs.push_back(piece(input, sequences, at, lengths[i]));
    subject.forward(params, inputs.back(), a.final, caches[i], part);
    place(part, sequences, at, a.y);
  }
  if constexpr (std::is_same_v<typename Subject::Input, Mat<S>>) a.dx = input;
  for (std::size_t i = lengths.size(); i-- > 0;) {
    at -= lengths[i];
    subject.backward(params, inputs[i], caches[i], piece(dy, sequences, at, lengths[i]), a.dinitial, a.grads, dpart);
    if (a.dx.size() > 0) place(dpart, sequences, at, a.dx);
  }
  return a;
}

/// Adds the differences between two answers. Values below `tiny` are compared absolutely.
template <class Subject>
void compare(const Answer<Subject>& found, const Answer<Subject>& expected, const std::string& how,
             Conformance& result) {
  constexpr double tiny = 1e-3;
  result.see(relative_error(found.y, expected.y, tiny), "y " + how);
  result.see(relative_error(found.dx, expected.dx, tiny), "dx " + how);
  const auto states = [&](const char* what) {
    return [&, what](const std::string& name, const auto& a, const auto& b) {
      result.see(relative_error(a, b, tiny), what + name + " " + how);
    };
  };
  for_each_state_tensor(states("final "), found.final, expected.final);
  for_each_state_tensor(states("gradient of initial "), found.dinitial, expected.dinitial);
  for_each_parameter(
      [&](const Path& path, const auto& a, const auto& b) {
        result.see(relative_error(dense(a), dense(b), tiny), "gradient of " + path.str() + " " + how);
      },
      found.grads, expected.grads);
}

/// Ways to cut a length, empty pieces included.
inline std::vector<std::pair<std::string, std::vector<Index>>> cuts(Index length, Random& random) {
  std::vector<std::pair<std::string, std::vector<Index>>> all;
  for (const Index size : {1, 2, 3, 7, 31, 32, 33}) {
    if (size >= length && size > 1) break;
    std::vector<Index> lengths(static_cast<std::size_t>(length / size), size);
    if (length % size != 0) lengths.push_back(length % size);
    all.emplace_back("in pieces of " + std::to_string(size), lengths);
  }
  for (int i = 0; i < 3; ++i) {
    std::vector<Index> lengths{0};
    for (Index left = length; left > 0; left -= lengths.back())
      lengths.push_back(static_cast<Index>(random.below(static_cast<std::uint64_t>(left) + 1)));
    all.emplace_back("in uneven pieces", lengths);
  }
  return all;
}

/// Any chunking, one position at a time among them.
template <class Subject>
void check_chunking(const Trial<Subject>& trial, const Answer<Subject>& whole, Random& random, Conformance& result) {
  for (const auto& [how, lengths] : cuts(trial.length(), random)) {
    compare(run(trial, lengths), whole, how, result);
    compare(run(trial, lengths, true), whole, how + ", again", result);
  }
}

/// Causality, in all sequences at once.
template <class Subject>
void check_causality(const Trial<Subject>& trial, typename Subject::Cache& cache,
                     const Mat<typename Subject::Scalar>& y, Conformance& result) {
  const Index length = trial.length();
  for (Index t = 0; t < length; ++t) {
    auto changed = trial.input;
    for (Index s = 0; s < trial.sequences; ++s) change(changed, s * length + t);
    auto state = trial.start;
    Mat<typename Subject::Scalar> other;
    trial.subject.forward(trial.params, changed, state, cache, other);
    for (Index s = 0; s < trial.sequences; ++s)
      if (!same_bits(other, s * length, y, s * length, t))
        result.violations.push_back("column " + std::to_string(t) + " of the input reaches an earlier column");
    result.reacts = result.reacts || !same_bits(other, 0, y, 0, y.cols());
  }
}

/// Independence of sequences: what the others hold must not matter, bit for bit.
template <class Subject>
void check_independence(const Trial<Subject>& trial, const Answer<Subject>& whole, Conformance& result) {
  const Index length = trial.length();
  for (Index s = 0; trial.sequences > 1 && s < trial.sequences; ++s) {
    auto changed = trial;
    for (Index t = 0; t < columns(trial.input); ++t)
      if (t / length != s) {
        change(changed.input, t);
        changed.dy.col(t) *= typename Subject::Scalar(-3);
      }
    const auto other = run(changed, {length});
    if (!same_bits(other.y, s * length, whole.y, s * length, length) ||
        (other.dx.size() > 0 && !same_bits(other.dx, s * length, whole.dx, s * length, length)))
      result.violations.push_back("sequence " + std::to_string(s) + " depends on others");
  }
}

/// No position in, nothing changed.
template <class Subject>
void check_empty(const Trial<Subject>& trial, Conformance& result) {
  auto nothing = trial;
  nothing.input = piece(trial.input, trial.sequences, 0, 0);
  nothing.dy = piece(trial.dy, trial.sequences, 0, 0);
  const auto empty = run(nothing, {0});
  const auto same = [&](const char* what) {
    return [&result, what](const std::string& name, const auto& a, const auto& b) {
      if (a != b) result.violations.push_back(std::string(what) + name + " changes where there is no position");
    };
  };
  for_each_state_tensor(same(""), empty.final, trial.start);
  for_each_state_tensor(same("the gradient of "), empty.dinitial, trial.dfinal);
  for_each_parameter(
      [&](const Path& path, const auto& leaf) {
        if ((dense(leaf).array() != typename Subject::Scalar(0)).any())
          result.violations.push_back("the gradient of " + path.str() + " changes where there is no position");
      },
      empty.grads);
}

template <class Subject>
Conformance check(const Subject& subject, const typename Subject::Params& params, const typename Subject::Input& input,
                  Index sequences, const typename Subject::State& start, std::uint64_t seed) {
  using S = typename Subject::Scalar;
  Conformance result;
  Random random(seed);
  typename Subject::Cache cache;
  Mat<S> y;
  auto dfinal = start;
  subject.forward(params, input, dfinal, cache, y);
  for_each_state_tensor([&](const std::string&, auto& leaf) { fill_normal(leaf, 1, random); }, dfinal);
  const Mat<S> dy = random_matrix<S>(y.rows(), y.cols(), random);
  const Trial<Subject> trial{subject, params, input, sequences, start, dy, dfinal};
  const auto whole = run(trial, {trial.length()});
  check_chunking(trial, whole, random, result);
  check_causality(trial, cache, y, result);
  check_independence(trial, whole, result);
  check_empty(trial, result);
  return result;
}

/// From initial states, and with no gradient of the final ones: dfinal has the shape of a state after the input.
template <class Subject>
Trial<Subject> initial_trial(const Subject& subject, const typename Subject::Params& params,
                             const typename Subject::Input& input, Index sequences) {
  const auto start = subject.initial_state(sequences);
  auto dfinal = start;
  typename Subject::Cache cache;
  Mat<typename Subject::Scalar> y;
  subject.forward(params, input, dfinal, cache, y);
  for_each_state_tensor([](const std::string&, auto& leaf) { leaf.setZero(); }, dfinal);
  return {subject, params, input, sequences, start, std::move(y), std::move(dfinal)};
}

/// Each sequence alone gives what it gives among others, and gradients are the sum over sequences. From initial states.
template <class Subject>
Conformance check_alone(const Subject& subject, const typename Subject::Params& params,
                        const typename Subject::Input& input, Index sequences, std::uint64_t seed) {
  constexpr double tiny = 1e-3;
  Conformance result;
  Random random(seed);
  auto all = initial_trial(subject, params, input, sequences);
  all.dy = random_matrix<typename Subject::Scalar>(all.dy.rows(), all.dy.cols(), random);
  const Index length = all.length();
  const auto together = run(all, {length});

  auto joined = together;
  std::vector<Mat<double>> sums;
  for (Index s = 0; s < sequences; ++s) {
    auto one = initial_trial(subject, params, piece(input, 1, s * length, length), 1);
    one.dy = piece(all.dy, 1, s * length, length);
    const auto alone = run(one, {length});
    place(alone.y, 1, s * length, joined.y);
    if (alone.dx.size() > 0) place(alone.dx, 1, s * length, joined.dx);
    std::size_t i = 0;
    for_each_parameter(
        [&](const Path&, const auto& leaf) {
          if (sums.size() == i) sums.push_back(Mat<double>::Zero(leaf.rows(), leaf.cols()));
          sums[i++] += dense(leaf).template cast<double>();
        },
        alone.grads);
  }
  result.see(relative_error(joined.y, together.y, tiny), "y of sequences alone");
  result.see(relative_error(joined.dx, together.dx, tiny), "dx of sequences alone");
  std::size_t i = 0;
  for_each_parameter(
      [&](const Path& path, const auto& leaf) {
        result.see(relative_error(dense(leaf), sums[i++], tiny), "gradient of " + path.str() + " over sequences alone");
      },
      together.grads);
  return result;
}

template <class Subject>
Conformance check_all(const Subject& subject, const typename Subject::Params& params,
                      const typename Subject::Input& input, Index sequences, const typename Subject::State& start,
                      std::uint64_t seed) {
  Conformance result = check(subject, params, input, sequences, start, seed);
  const Conformance alone = check_alone(subject, params, input, sequences, seed);
  result.see(alone.error, alone.worst);
  return result;
}

}  // namespace detail

/// Checks that a sequence mixer
/// - gives the same outputs, states and gradients (of x, the parameters and the initial state) in one piece, one
///   position at a time, and cut anywhere, empty pieces included, up to rounding: the `error`;
/// - is causal: another column t leaves the columns before t bit-identical;
/// - keeps sequences apart: what others hold changes nothing in one, bit for bit; alone it is the same up to rounding.
///
/// Shapes   x: [dim, sequences × length]; length may be 0. `start` is the state of `sequences` streams to begin from.
/// Cost     about 30 passes forward and backward, and one forward and a short pass more for each position
template <SequenceMixer Mixer, Real Scalar>
Conformance check_mixer(const Mixer& mixer, const typename Mixer::Params& params, const Mat<Scalar>& x, Index sequences,
                        const typename Mixer::State& start, std::uint64_t seed = 1) {
  return detail::check_all(detail::MixerSubject<Mixer, Scalar>{mixer}, params, x, sequences, start, seed);
}

/// As check_mixer, for a whole model. bytes: [sequences × length], each sequence contiguous.
template <ByteModel Model>
Conformance check_model(const Model& model, const typename Model::Params& params, const std::vector<Byte>& bytes,
                        Index sequences, const typename Model::State& start, std::uint64_t seed = 1) {
  return detail::check_all(detail::ModelSubject<Model>{model}, params, bytes, sequences, start, seed);
}

}  // namespace qllk::conformance
