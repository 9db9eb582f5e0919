// What a part must offer, stated once. Whoever uses a part requires its concept, and the compiler names what is missing.
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace qllk::inline QLLK_ISA {

/// A sequence mixer: the part of a block that lets a position see the ones before it.
///
///   forward(params, x, state, cache, y)                  writes y, advances the state; column t depends on columns 0 … t of
///                                                        its sequence only
///   backward(params, x, cache, dy, dstate, grads, dx)    adds to grads, overwrites dx; turns dstate from the gradient of the
///                                                        final state into that of the initial one; leaves dy as it is; may
///                                                        overwrite the cache: once for each forward
///   reset(state, sequences)                              makes the state of as many streams' start
///
/// Params and State name their tensors in fields(). A sequence cut anywhere, its state handed on, gives the same answer. Config has
/// a member `dim`, which a model sets. recommended() is the configuration that a model uses unless told otherwise, name what
/// files and command lines call the mixer, flop() the floating-point operations of one position forward.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous; length may be 0
///
/// testing/conformance.hpp and testing/gradient_check.hpp check what a compiler cannot.
template <class M>
concept SequenceMixer = std::copyable<M> && HasFields<typename M::Params> && HasFields<typename M::State> &&
    std::default_initializable<typename M::State> && std::default_initializable<typename M::Cache> &&
    std::equality_comparable<typename M::Config> && std::constructible_from<M, typename M::Config> &&
    requires(const M& mixer, const typename M::Params& params, typename M::Params& grads, typename M::State& state,
             typename M::Cache& cache, const Eigen::Ref<const Mat<typename M::Scalar>>& in,
             Eigen::Ref<Mat<typename M::Scalar>> out, Random& random, Index sequences) {
  { M::name } -> std::convertible_to<std::string_view>;
  { M::recommended() } -> std::same_as<typename M::Config>;
  { mixer.zeros() } -> std::same_as<typename M::Params>;
  { mixer.init(random) } -> std::same_as<typename M::Params>;
  { mixer.flop() } -> std::convertible_to<double>;
  mixer.reset(state, sequences);
  mixer.forward(params, in, state, cache, out);
  mixer.backward(params, in, cache, in, state, grads, out);
};

/// A configuration for blocks of that width.
template <class Config>
Config with_dim(Config config, Index dim) {
  if constexpr (requires { config.set_dim(dim); })
    config.set_dim(dim);
  else
    config.dim = dim;
  return config;
}

namespace detail {
template <class Part, class Matrix>
struct TensorsOf {
  using type = typename Part::Params;
};
template <class Part, class Matrix>
requires requires { typename Part::template Tensors<Matrix>; }
struct TensorsOf<Part, Matrix> {
  using type = typename Part::template Tensors<Matrix>;
};
}  // namespace detail

/// What goes with a part's learned tensors value by value, with Matrix in the place of Mat: gradients whose products are taken
/// later (ProductSum), weights of 8 bits (Int8Matrix). A part without `template <class Matrix> struct Tensors` has Params only, and
/// is computed with these: dense gradients, float weights.
template <class Part, class Matrix>
using TensorsOf = typename detail::TensorsOf<Part, Matrix>::type;

}  // namespace qllk::inline QLLK_ISA
