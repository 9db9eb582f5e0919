// What a part must offer, stated once. Whoever uses a part requires its concept, and the compiler names what is
// missing.
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"

namespace qllk::inline QLLK_ISA {

/// A layer: what a module computes of each position by itself, or of bytes.
///
///   forward(params, x, cache, y)            writes y
///   backward(params, x, cache, dy, g, dx)   adds to g, overwrites dx; may overwrite the cache: once for each forward
///
/// Shapes   x, dx: [in, n]    y, dy: [out, n]    n may be 0
template <class L, class Scalar>
concept Layer = HasFields<typename L::Params> && std::default_initializable<typename L::Cache> &&
    requires(const L& layer, const typename L::Params& params, typename L::Grads& grads, typename L::Cache& cache,
             const Eigen::Ref<const Mat<Scalar>>& in, Eigen::Ref<Mat<Scalar>> out) {
  layer.forward(params, in, cache, out);
  layer.backward(params, in, cache, in, grads, out);
};

/// A sequence mixer: the part of a block that lets a position see the ones before it.
///
///   forward(params, x, state, cache, y)
///       writes y and advances the state; column t depends on columns 0 … t of its sequence only
///   backward(params, x, cache, dy, dstate, grads, dx)
///       adds to grads and overwrites dx; replaces dstate, the gradient of the final state, by that of the initial
///       state; must not modify dy; may overwrite the cache: call it once per forward
///   reset(state, sequences)
///       makes the state of as many streams at their start
///
/// Params and State name their tensors in fields(). A sequence cut anywhere, its state handed on, gives the same
/// answer. Config has a member `dim`, which a model sets. recommended() is the configuration that a model uses unless
/// told otherwise, name what files and command lines call the mixer, flop() the floating-point operations of one
/// position forward.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous; length may be 0
///
/// testing/conformance.hpp and testing/gradient_check.hpp check what a compiler cannot.
template <class M>
concept SequenceMixer = std::copyable<M> && Real<typename M::Scalar> && HasFields<typename M::Params> &&
    HasFields<typename M::State> && std::default_initializable<typename M::State> &&
    std::default_initializable<typename M::Cache> && std::equality_comparable<typename M::Config> &&
    std::constructible_from<M, typename M::Config> &&
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

/// A model that predicts bytes, over a stream of any length.
///
///   initial_state(sequences)
///       the state of as many streams at their start
///   forward(params, bytes, state, cache, logits)
///       writes logits [256, n] and advances the state; column t predicts the byte after bytes[t], and depends on the
///       bytes up to that one only. Params may be another tree of the same tensors, as of 8 bits
///
/// bytes: [sequences × length], each sequence contiguous. A stream cut anywhere, its state handed on, gives the same
/// answer.
template <class M>
concept ByteModel = HasFields<typename M::Params> && std::default_initializable<typename M::Cache> &&
    requires(const M& model, const typename M::Params& params, typename M::State& state, typename M::Cache& cache,
             Mat<typename M::Scalar>& logits, Bytes bytes, Index sequences) {
  { model.initial_state(sequences) } -> std::same_as<typename M::State>;
  model.forward(params, bytes, state, cache, logits);
};

/// A ByteModel whose chunks several threads can compute at a time, as many as it has stages (core/turns.hpp).
template <class M>
concept PipelinedModel = ByteModel<M> &&
    requires(const M& model, const typename M::Params& params, typename M::State& state, typename M::Cache& cache,
             Mat<typename M::Scalar>& logits, Bytes bytes, Turn turn) {
  { model.stages() } -> std::same_as<Index>;
  model.forward(params, bytes, state, cache, logits, turn);
};

/// A model that a Trainer can train.
///
///   backward(params, bytes, cache, dlogits, dstate, g, turn)
///       adds to g, which may have deferred products; replaces dstate, the gradient of the final state, by that of the
///       initial state; overwrites the cache and dlogits: call it once per forward
///   set_noise(cache, noise)
///       sets what the next forward leaves out at random; throws std::invalid_argument for what the model cannot leave
///       out, so that nobody trains without the dropout that was asked for
///   history(), prime(state, s, bytes)
///       how many bytes before a crop its features see, and how sequence s is told of them
template <class M>
concept TrainableModel = PipelinedModel<M> && std::copyable<M> && std::equality_comparable<typename M::Config> &&
    std::constructible_from<M, typename M::Config> &&
    requires(const M& model, const typename M::Params& params, typename M::Grads& grads,
             typename M::DeferredGrads& deferred, typename M::State& state, typename M::StateGrads& dstate,
             typename M::Cache& cache, Mat<typename M::Scalar>& dlogits, const typename M::Noise& noise, Bytes bytes,
             Index sequences, Random& random, Turn turn) {
  { model.config() } -> std::same_as<const typename M::Config&>;
  { model.zeros() } -> std::same_as<typename M::Params>;
  { model.init(random) } -> std::same_as<typename M::Params>;
  { model.flop() } -> std::convertible_to<double>;
  { model.zero_grads() } -> std::same_as<typename M::Grads>;
  model.reset(state, sequences);
  model.reset(dstate, sequences);
  model.backward(params, bytes, cache, dlogits, dstate, grads, turn);
  model.backward(params, bytes, cache, dlogits, dstate, deferred, turn);
  model.set_noise(cache, noise);
  { model.history() } -> std::same_as<Index>;
  model.prime(state, sequences, bytes);
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

/// What goes with a part's learned tensors value by value, with Matrix in the place of Mat: gradients whose products
/// are taken later (ProductSum), weights of 8 bits (Int8Matrix). A part without `template <class Matrix> struct
/// Tensors` has Params only, and is computed with these: dense gradients, float weights.
template <class Part, class Matrix>
using TensorsOf = typename detail::TensorsOf<Part, Matrix>::type;

}  // namespace qllk::inline QLLK_ISA
