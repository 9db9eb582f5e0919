// The original QLLK network, made causal: the baseline.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/product_sum.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/model/classic_layer.hpp"
#include "qllk/nn/byte_embedding.hpp"
#include "qllk/nn/dropout.hpp"
#include "qllk/nn/feature_shortcut.hpp"
#include "qllk/nn/linear.hpp"
#include "qllk/nn/patching.hpp"

namespace qllk::linalg {
class Int8Matrix;
}  // namespace qllk::linalg

namespace qllk::inline QLLK_ISA {

/// The classic network: byte embedding, mean over patches of P bytes, dense shortcut, layers, one projection that
/// predicts the P bytes after a patch independently of each other.
///
/// Rows: row t of the logits predicts byte t+1 and depends on bytes 0 … t only. The original code lets every row but
/// the last of a patch see the byte that it must predict; here patches are shifted by P-1 bytes (see nn::PatchPlan),
/// and the left pad is byte 0. At dim 256, 4 layers and patch 8 there are 2,765,824 parameters.
///
/// Shapes   bytes: [sequences × length], each sequence contiguous, any length    logits: [256, sequences × length]
/// Cost     about 0.68 MFLOP a byte forward at the default size, 2.0 in training; linear in the length
template <Real S>
class QLLKClassic {
 public:
  using Scalar = S;
  /// What training leaves out; this model leaves out nothing.
  using Noise = nn::Noise;

  struct Config {
    Index dim = 256;
    Index layers = 4;  // blocks of the patch level
    Index patch = 8;   // P, bytes of a patch
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors {
    typename nn::ByteEmbedding<Scalar>::Params byte_embedding;
    typename nn::FeatureShortcut<Scalar>::Params hash_proj;
    std::vector<typename ClassicLayer<Scalar>::template Tensors<Matrix>> layers;  // one for each
    typename nn::Linear<Scalar>::template Tensors<Matrix> decoder_head;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("byte_embedding", t.byte_embedding...);
      visit("hash_proj", t.hash_proj...);
      visit("layers", t.layers...);
      visit("decoder_head", t.decoder_head...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  /// For inference: to_int8 makes them.
  using Int8Params = Tensors<linalg::Int8Matrix>;
  using Grads = Params;
  /// Gradients whose matrix products are taken later: they refer to the cache and to dlogits.
  using DeferredGrads = Tensors<linalg::ProductSum<Scalar>>;

  /// What a stream remembers between chunks; also the gradient of that (bytes and phase have none).
  struct State {
    std::vector<mixers::LatentState<Scalar>> layers;  // one for each
    Mat<Scalar> rows;         // [256·P, sequences]: the logits of the P positions that the current patch serves
    std::vector<Byte> bytes;  // the last P-1 of each sequence
    Index phase = 0;          // bytes seen so far, modulo P

    /// The tensors that have a gradient.
    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("layers", t.layers...);
      visit("rows", t.rows...);
    }
    Index sequences() const { return rows.cols(); }
  };
  /// The gradient of a state.
  using StateGrads = State;

  struct Cache {
    nn::PatchPlan plan;
    std::vector<Byte> covered;  // the P bytes of each patch completed here
    Mat<Scalar> patches, rows;
    std::vector<Mat<Scalar>> hidden;  // input of each layer, and the output of the last
    typename nn::ByteEmbedding<Scalar>::Cache embedding;
    typename nn::FeatureShortcut<Scalar>::Cache shortcut;
    std::vector<typename ClassicLayer<Scalar>::Cache> layers;
    typename nn::Linear<Scalar>::Cache head;
    Mat<Scalar> drows, dhidden, dinput;
  };

  /// Throws std::invalid_argument unless dim, layers and patch are positive.
  explicit QLLKClassic(Config config)
      : config_(config),
        embedding_({.dim = config.dim, .patch = config.patch}),
        shortcut_({config.dim}),
        layer_(config.dim),
        head_({config.dim, kByteValues * config.patch}) {
    if (config.layers <= 0)
      throw InvalidArgument("QLLKClassic: layers is " + std::to_string(config.layers) + ", expected > 0");
  }

  const Config& config() const { return config_; }
  /// Floating-point operations of one byte forward: matrix products and mixers.
  double flop() const {
    const auto dim = static_cast<double>(config_.dim), patch = static_cast<double>(config_.patch);
    return (2 * dim * dim + static_cast<double>(config_.layers) * layer_.flop() + 2 * dim * kByteValues * patch) /
           patch;
  }

  Params zeros() const {
    return {embedding_.zeros(),
            shortcut_.zeros(),
            {static_cast<std::size_t>(config_.layers), layer_.zeros()},
            head_.zeros()};
  }
  Grads zero_grads() const { return zeros(); }
  Params init(Random& random) const {
    Params p;
    p.byte_embedding = embedding_.init(random);
    p.hash_proj = shortcut_.init(random);
    for (Index i = 0; i < config_.layers; ++i) p.layers.push_back(layer_.init(random));
    p.decoder_head = head_.init(random);
    return p;
  }

  State initial_state(Index sequences) const {
    State s;
    reset(s, sequences);
    return s;
  }
  /// Makes s an initial state again, without allocating where it was one of as many sequences.
  void reset(State& s, Index sequences) const {
    s.layers.resize(static_cast<std::size_t>(config_.layers));
    for (auto& layer : s.layers) layer_.reset(layer, sequences);
    s.rows.setZero(kByteValues * config_.patch, sequences);
    s.bytes.assign(static_cast<std::size_t>((config_.patch - 1) * sequences), Byte{0});
    s.phase = 0;
  }

  /// The original has no dropout. Throws std::invalid_argument if there is to be some.
  void set_noise(Cache&, const Noise& noise) const {
    if (noise.rate > 0 || noise.orders > 0)
      throw InvalidArgument("QLLKClassic: dropout is " + std::to_string(noise.rate) + " and order_dropout " +
                            std::to_string(noise.orders) + ", expected 0: the model has none");
  }
  /// No feature sees further back than the state.
  Index history() const { return 0; }
  void prime(State&, Index, Bytes) const {}
  /// Advances what a state knows of the bytes themselves, as forward does, and leaves its tensors alone.
  void follow(State& s, Bytes bytes) const {
    const Index pad = config_.patch - 1, sequences = s.sequences();
    const Index length = sequences > 0 ? std::ssize(bytes) / sequences : 0, fresh = std::min(length, pad);
    for (Index i = 0; i < sequences; ++i) {
      const auto last = s.bytes.begin() + i * pad;
      std::copy(last + fresh, last + pad, last);
      std::copy_n(bytes.begin() + (i + 1) * length - fresh, fresh, last + pad - fresh);
    }
    s.phase = nn::PatchPlan{config_.patch, length, s.phase}.next_phase();
  }

  /// Stages of a Turn: the bytes, every layer, and the rows.
  Index stages() const { return config_.layers + 2; }

  /// Writes logits, advances the state.
  template <class P>
  void forward(const P& p, Bytes bytes, State& state, Cache& c, Mat<Scalar>& logits, Turn turn = {}) const;

  /// Adds to g, Grads or DeferredGrads; replaces dstate, the gradient of the final state, by that of the initial state.
  /// Once for each forward, as it overwrites the cache. Pieces take turns last first.
  template <class G>
  void backward(const Params& p, [[maybe_unused]] Bytes bytes, Cache& c, const Mat<Scalar>& dlogits, State& dstate,
                G& g, Turn turn = {}) const;

 private:
  /// Columns [256, P·n] as what they are for each patch, [256·P, n].
  template <class T>
  auto by_patch(T* data, Index columns) const {
    using Plain = std::conditional_t<std::is_const_v<T>, const Mat<Scalar>, Mat<Scalar>>;
    return Eigen::Map<Plain>(data, kByteValues * config_.patch, columns);
  }

  /// Collects the bytes that each new patch covers, and keeps the last P-1 for the next chunk.
  void gather(Bytes bytes, State& state, Cache& c) const {
    const Index patch = config_.patch, pad = patch - 1, sequences = state.sequences(), length = c.plan.length;
    c.covered.resize(static_cast<std::size_t>(patch * c.plan.patches() * sequences));
    auto out = c.covered.begin();
    for (Index s = 0; s < sequences; ++s) {
      Byte* const before = state.bytes.data() + s * pad;  // positions -pad … -1
      const Byte* const chunk = bytes.data() + s * length;
      const auto at = [&](Index t) { return t < 0 ? before[pad + t] : chunk[t]; };
      for (Index p = 0; p < c.plan.patches(); ++p)
        for (Index i = -pad; i <= 0; ++i) *out++ = at(c.plan.completed_at(p) + i);
      for (Index i = -pad; i < 0; ++i) before[pad + i] = at(length + i);
    }
  }

  Config config_;
  nn::ByteEmbedding<Scalar> embedding_;
  nn::FeatureShortcut<Scalar> shortcut_;
  ClassicLayer<Scalar> layer_;
  nn::Linear<Scalar> head_;
};

// Defined here and not in the class, where they would be inline: a program with the compiled library then has none of
// what they call to compile.

template <Real S>
template <class P>
void QLLKClassic<S>::forward(const P& p, Bytes bytes, State& state, Cache& c, Mat<Scalar>& logits, Turn turn) const {
  const Index sequences = state.sequences(), length = sequences > 0 ? std::ssize(bytes) / sequences : 0;
  QLLK_ASSERT(std::ssize(bytes) == sequences * length && std::ssize(p.layers) == config_.layers);
  turn(0, [&] {
    c.plan = {config_.patch, length, state.phase};
    gather(bytes, state, c);
    state.phase = c.plan.next_phase();
  });
  const Index columns = c.plan.patches() * sequences;
  if (columns > 0) {  // else what is there of the last patches stays, so that no byte of generation allocates
    c.patches.resize(config_.dim, columns);
    c.hidden.resize(p.layers.size() + 1);
    for (auto& hidden : c.hidden) hidden.resize(config_.dim, columns);
    c.rows.resize(c.plan.whole() ? 0 : kByteValues * config_.patch, columns);
    c.layers.resize(p.layers.size());
    embedding_.forward(p.byte_embedding, c.covered, c.embedding, c.patches);
    shortcut_.forward(p.hash_proj, c.patches, c.shortcut, c.hidden[0]);
  }
  for (std::size_t i = 0; i < p.layers.size(); ++i)
    turn(1 + static_cast<Index>(i), [&] {
      if (columns > 0) layer_.forward(p.layers[i], c.hidden[i], state.layers[i], c.layers[i], c.hidden[i + 1]);
    });
  logits.resize(kByteValues, std::ssize(bytes));
  if (c.plan.whole()) {
    head_.forward(p.decoder_head, c.hidden.back(), c.head, by_patch(logits.data(), columns));
    turn(1 + config_.layers, [&] { state.rows.setZero(); });
    return;
  }
  if (columns > 0) head_.forward(p.decoder_head, c.hidden.back(), c.head, c.rows);
  turn(1 + config_.layers, [&] {
    nn::spread<Scalar>(c.plan, kByteValues, c.rows, state.rows,
                       [&](Index t, const auto& row) { linalg::column(logits, t) = row; });
  });
}

template <Real S>
template <class G>
void QLLKClassic<S>::backward(const Params& p, [[maybe_unused]] Bytes bytes, Cache& c, const Mat<Scalar>& dlogits,
                              State& dstate, G& g, Turn turn) const {
  const Index sequences = dstate.sequences(), columns = c.plan.patches() * sequences;
  QLLK_ASSERT(dlogits.cols() == std::ssize(bytes) && dlogits.cols() == sequences * c.plan.length);
  turn(1 + config_.layers, [&] {
    if (c.plan.whole())
      dstate.rows.setZero();
    else
      nn::spread_backward<Scalar>(c.plan, dlogits, dstate.rows, c.drows);
  });
  c.dhidden.resize(config_.dim, columns);
  c.dinput.resize(config_.dim, columns);
  if (columns > 0)
    head_.backward(p.decoder_head, c.hidden.back(), c.head,
                   by_patch(c.plan.whole() ? dlogits.data() : std::as_const(c.drows).data(), columns), g.decoder_head,
                   c.dhidden);
  for (std::size_t i = p.layers.size(); i-- > 0;) {
    turn(1 + static_cast<Index>(i), [&] {
      if (columns > 0)
        layer_.backward(p.layers[i], c.hidden[i], c.layers[i], c.dhidden, dstate.layers[i], g.layers[i], c.dinput);
    });
    std::swap(c.dhidden, c.dinput);
  }
  if (columns == 0) return;
  shortcut_.backward(p.hash_proj, c.patches, c.shortcut, c.dhidden, g.hash_proj, c.dhidden);
  embedding_.backward(p.byte_embedding, c.covered, c.embedding, c.dhidden, g.byte_embedding);
}

}  // namespace qllk::inline QLLK_ISA

#ifdef QLLK_COMPILED
#include "qllk/model/compiled.hpp"
#endif
