// The default model.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/product_sum.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/default.hpp"
#include "qllk/model/transformer_config.hpp"
#include "qllk/nn/block.hpp"
#include "qllk/nn/byte_embedding.hpp"
#include "qllk/nn/contexts/matches.hpp"
#include "qllk/nn/contexts/ngrams.hpp"
#include "qllk/nn/contexts/words.hpp"
#include "qllk/nn/copy_logits.hpp"
#include "qllk/nn/dropout.hpp"
#include "qllk/nn/feature_hashing.hpp"
#include "qllk/nn/layer_norm.hpp"
#include "qllk/nn/linear.hpp"
#include "qllk/nn/patching.hpp"
#include "qllk/nn/recency.hpp"
#include "qllk/nn/stack.hpp"

namespace qllk::linalg {
class Int8Matrix;
class Int8Table;
}  // namespace qllk::linalg

namespace qllk::inline QLLK_ISA {

/// Byte-level blocks around patch-level blocks, linear in the number of bytes.
///
///   x  = ByteEmbedding(b) + FeatureHashing(b)          each byte, dim_local
///   x  = Block × encoder(x)                            each byte
///   h  = Block × layers(Patching(x))                   each patch of P bytes, dim
///   x += Unpatching(LN(h))                             a patch's output for each of the P positions that it serves
///   x  = Block × decoder(x)                            each byte
///   z  = W LN(x) + b + Recency(b) + CopyLogits(b)      256 logits each byte
///
/// FeatureHashing looks up n-grams, words and matches: what followed the same bytes before, within the last 64 kB.
/// Contexts of your own come behind these as `More`. Recency knows what came lately, in a window of the same size.
/// Both begin anew with each document (Config::document_start); mixers carry their state on.
///
/// Causal: position t sees bytes up to t only. Patch p is complete at byte P·p, the first of the P that it serves.
///
/// Shapes   bytes: [sequences × length], each sequence contiguous, any length    logits: [256, sequences × length]
/// Cost     linear in the length; state of constant size: 1.8 MB a sequence, 0.5 MB with windows of 2^14 bytes
template <Real S, class Mixer, nn::StreamContext... More>
class BasicTransformer {
 public:
  using Scalar = S;
  using Noise = nn::Noise;                 // what training leaves out
  using Block = nn::Block<Scalar, Mixer>;  // of either level
  using Stack = nn::Stack<Scalar, Block>;  // blocks one after the other
  /// All contexts.
  using Hashing = nn::FeatureHashing<Scalar, nn::NgramContext, nn::WordContext, nn::MatchContext, More...>;

  using Config = TransformerConfig<Mixer, More...>;

  /// What is learned, or goes with it. Matrix is Mat, or another form of one; Rows what FeatureHashing has of it.
  template <class Matrix, class Rows>
  struct Tensors {
    using Blocks = typename Stack::template Tensors<Matrix>;               // of a stack
    using Linear = typename nn::Linear<Scalar>::template Tensors<Matrix>;  // of a linear map
    using Norm = typename nn::LayerNorm<Scalar>::Params;                   // of a layer norm

    typename nn::ByteEmbedding<Scalar>::Params embedding;
    Rows hashing;       // the table
    Blocks encoder;     // of bytes, before patching
    Linear patching;    // P columns to one
    Blocks blocks;      // of patches
    Norm patch_norm;    // before unpatching
    Linear unpatching;  // one column to P
    Blocks decoder;     // of bytes, after unpatching
    Norm norm;          // before the head
    Linear head;        // to 256 logits
    typename nn::CopyLogits<Scalar>::Params copy;
    typename nn::Recency<Scalar>::Params recency;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("embedding", t.embedding...);
      visit("hashing", t.hashing...);
      visit("encoder", t.encoder...);
      visit("patching", t.patching...);
      visit("blocks", t.blocks...);
      visit("patch_norm", t.patch_norm...);
      visit("unpatching", t.unpatching...);
      visit("decoder", t.decoder...);
      visit("norm", t.norm...);
      visit("head", t.head...);
      visit("copy", t.copy...);
      visit("recency", t.recency...);
    }
  };
  using Params = Tensors<Mat<Scalar>, typename Hashing::Params>;
  /// For inference: to_int8 makes them.
  using Int8Params = Tensors<linalg::Int8Matrix, typename Hashing::template Tensors<linalg::Int8Table>>;
  using Grads = Tensors<Mat<Scalar>, typename Hashing::Grads>;
  /// Gradients whose matrix products are taken later: they refer to the cache and to dlogits.
  using DeferredGrads = Tensors<linalg::ProductSum<Scalar>, typename Hashing::Grads>;

  /// The part of a stream's state that has a gradient, or that gradient.
  struct StateGrads {
    typename Stack::State encoder, blocks, decoder;  // of the mixers
    Mat<Scalar> columns;                             // Patching's
    Mat<Scalar> slots;  // [dim_local·P, sequences]: the current patch's output for the P positions that it serves

    Index sequences() const { return slots.cols(); }
    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("encoder", t.encoder...);
      visit("blocks", t.blocks...);
      visit("decoder", t.decoder...);
      visit("columns", t.columns...);
      visit("slots", t.slots...);
    }
  };
  /// What a stream remembers between chunks.
  struct State : StateGrads {
    typename Hashing::State hashing;              // of the contexts
    typename nn::Recency<Scalar>::State recency;  // what came lately
    Index phase = 0;                              // bytes seen so far, modulo P
  };

  struct Cache {
    nn::Noise noise;
    nn::PatchPlan plan;
    typename nn::ByteEmbedding<Scalar>::Cache embedding;
    typename Hashing::Cache hashing;
    typename Stack::Cache encoder, blocks, decoder;
    typename nn::Patching<Scalar>::Cache patching;
    typename nn::LayerNorm<Scalar>::Cache patch_norm, norm;
    typename nn::Linear<Scalar>::Cache linear;
    typename nn::Dropout<Scalar>::Cache dropout;
    typename nn::CopyLogits<Scalar>::Cache copy;
    typename nn::Recency<Scalar>::Cache recency;
    Mat<Scalar> patch_normal, slots, normal;
    Mat<Scalar> dslots;
  };

  /// Throws std::invalid_argument when the configuration makes no sense.
  QLLK_COLD explicit BasicTransformer(Config config)
      : config_(config),
        embedding_({.dim = config.dim_local, .deviation = 0.5}),
        hashing_(hashing(config)),
        encoder_(stack(config, "encoder", config.mixer_local, config.dim_local, config.encoder)),
        blocks_(stack(config, "layers", config.mixer, config.dim, config.layers)),
        decoder_(stack(config, "decoder", config.mixer_local, config.dim_local, config.decoder)),
        patching_({config.dim_local, config.dim, config.patch}),
        patch_norm_({.dim = config.dim}),
        unpatching_({config.dim, config.dim_local * config.patch}),
        norm_({.dim = config.dim_local}),
        head_({config.dim_local, kByteValues}),
        copy_(std::ssize(config.match.lengths), hashing_.template first_row<kMatches>()),
        recency_(config.recency, nn::Documents(config.document_start)) {}

  const Config& config() const { return config_; }
  /// Floating-point operations of one byte forward: matrix products and mixers.
  double flop() const {
    const auto product = [](Index in, Index out) { return 2.0 * static_cast<double>(in) * static_cast<double>(out); };
    const double byte = encoder_.flop() + decoder_.flop() + product(config_.dim_local, kByteValues);
    const double patch = blocks_.flop() + 2 * product(config_.dim_local * config_.patch, config_.dim);
    return byte + patch / static_cast<double>(config_.patch);
  }

  QLLK_COLD Params zeros() const {
    Params p;
    fill_zeros(p);
    p.hashing = hashing_.zeros();
    return p;
  }
  QLLK_COLD Grads zero_grads() const {
    Grads g;
    fill_zeros(g);
    g.hashing = hashing_.zero_grads();
    return g;
  }
  QLLK_COLD Params init(Random& random) const {
    Params p;
    p.embedding = embedding_.init(random);
    p.hashing = hashing_.init(random);
    p.encoder = encoder_.init(random);
    p.patching = patching_.init(random);
    p.blocks = blocks_.init(random);
    p.patch_norm = patch_norm_.init(random);
    p.unpatching = unpatching_.init(random);
    p.decoder = decoder_.init(random);
    p.norm = norm_.init(random);
    p.head = head_.init(random);
    p.copy = copy_.init(random);
    p.recency = recency_.init(random);
    return p;
  }

  State initial_state(Index sequences) const {
    State s;
    reset(s, sequences);
    return s;
  }
  /// Makes s an initial state again, without allocating where it was one of as many sequences.
  void reset(State& s, Index sequences) const {
    reset(static_cast<StateGrads&>(s), sequences);
    hashing_.reset(s.hashing, sequences);
    recency_.reset(s.recency, sequences);
    s.phase = 0;
  }
  /// A gradient of zero.
  void reset(StateGrads& s, Index sequences) const {
    encoder_.reset(s.encoder, sequences);
    blocks_.reset(s.blocks, sequences);
    decoder_.reset(s.decoder, sequences);
    patching_.reset(s.columns, sequences);
    s.slots.setZero(config_.dim_local * config_.patch, sequences);
  }

  /// What the next forward leaves out; nothing unless this is called.
  void set_noise(Cache& c, const Noise& noise) const { c.noise = noise; }
  /// How many bytes before a training crop decide its features, at most.
  Index history() const { return std::max(hashing_.history(), recency_.history()); }
  /// Tells a state that has read nothing what came before: its features know these bytes as if it had read them.
  void prime(State& s, Index sequence, Bytes before) const {
    hashing_.prime(s.hashing, sequence, before);
    recency_.prime(s.recency, sequence, before);
  }

  /// Advances the features and the phase of a state as forward does, bit by bit, and leaves its tensors alone.
  void follow(State& s, Bytes bytes) const {
    const Index sequences = s.sequences(), length = sequences > 0 ? std::ssize(bytes) / sequences : 0;
    hashing_.follow(bytes, s.hashing);
    recency_.follow(bytes, s.recency);
    s.phase = nn::PatchPlan{config_.patch, length, s.phase}.next_phase();
  }

  /// Stages of a Turn: the bytes, patching, unpatching, and every block.
  Index stages() const { return kBlocks + config_.encoder + config_.layers + config_.decoder; }

  /// Writes logits, advances the state.
  template <class P>
  void forward(const P& p, Bytes bytes, State& state, Cache& c, Mat<Scalar>& logits, Turn turn = {}) const;

  /// Advances the state as forward does, in about 0.8 of its time, and has no answer.
  template <class P>
  void advance(const P& p, Bytes bytes, State& state, Cache& c, Turn turn = {}) const;

  /// Adds to g, Grads or DeferredGrads; replaces dstate, the gradient of the final state, by that of the initial state.
  /// Once for each forward, as it overwrites the cache and dlogits. Pieces take turns last first.
  template <class G>
  void backward(const Params& p, Bytes bytes, Cache& c, Mat<Scalar>& dlogits, StateGrads& dstate, G& g,
                Turn turn = {}) const;

 private:
  static Stack stack(const Config& config, const char* name, const std::vector<typename Mixer::Config>& mixers,
                     Index dim, Index count) {
    return {level_blocks<Block>(name, mixers, count, dim, config.hidden * dim), dim};
  }

  template <class Tree>
  void fill_zeros(Tree& t) const {
    t.embedding = embedding_.zeros();
    t.encoder = encoder_.zeros();
    t.patching = patching_.zeros();
    t.blocks = blocks_.zeros();
    t.patch_norm = patch_norm_.zeros();
    t.unpatching = unpatching_.zeros();
    t.decoder = decoder_.zeros();
    t.norm = norm_.zeros();
    t.head = head_.zeros();
    t.copy = copy_.zeros();
    t.recency = recency_.zeros();
  }

  static constexpr std::size_t kMatches = 2;  // the place of MatchContext among the contexts
  static Hashing hashing(const Config& c) {
    return std::apply(
        [&](const auto&... more) {
          return Hashing(
              c.dim_local, nn::Documents(c.document_start), nn::NgramContext({.orders = c.orders, .bits = c.bits}),
              nn::WordContext({.orders = c.words, .bits = c.bits}), nn::MatchContext(c.match), More(more)...);
        },
        c.more);
  }
  std::size_t stride() const { return static_cast<std::size_t>(hashing_.orders()); }
  std::span<const std::uint32_t> matches(const Cache& c) const {
    const auto first = static_cast<std::size_t>(hashing_.template first_order<kMatches>());
    return std::span(c.hashing.rows).subspan(std::min(first, c.hashing.rows.size()));
  }

  template <class P>
  void up_to_decoder(const P& p, Bytes bytes, State& state, Cache& c, Turn turn) const {
    const Index sequences = state.sequences(), n = std::ssize(bytes), length = sequences > 0 ? n / sequences : 0;
    QLLK_ASSERT(n == sequences * length);
    turn(kBytes, [&] {
      c.plan = {config_.patch, length, state.phase};
      prepare(c, n, c.plan.patches() * sequences);
      embedding_.forward(p.embedding, bytes, c.embedding, c.encoder.in());
      hashing_.forward(p.hashing, bytes, state.hashing, c.noise, c.hashing, c.encoder.in());
      recency_.look_up(bytes, state.recency, c.recency);
      state.phase = c.plan.next_phase();
    });
    nn::Dropout<Scalar>::forward(c.noise, c.dropout, c.encoder.in());
    encoder_.forward(p.encoder, state.encoder, c.noise, c.encoder, kBlocks, turn);

    turn(kPatching,
         [&] { patching_.forward(p.patching, c.encoder.out(), c.plan, state.columns, c.patching, c.blocks.in()); });
    blocks_.forward(p.blocks, state.blocks, c.noise, c.blocks, first_block(), turn, c.plan.patches() > 0);
    if (c.plan.patches() > 0) {
      patch_norm_.forward(p.patch_norm, c.blocks.out(), c.patch_norm, c.patch_normal);
      unpatching_.forward(p.unpatching, c.patch_normal, c.linear, c.slots);
    }

    turn(kUnpatching, [&] {
      nn::spread<Scalar>(c.plan, config_.dim_local, c.slots, state.slots, [&](Index t, const auto& slot) {
        linalg::column(c.decoder.in(), t) = linalg::column(c.encoder.out(), t) + slot;
      });
    });
  }

  void prepare(Cache& c, Index n, Index patches) const {
    encoder_.resize(c.encoder, n);
    decoder_.resize(c.decoder, n);
    c.normal.resize(config_.dim_local, n);
    if (patches == 0 && !c.blocks.x.empty()) return;  // the last ones stay, so that no byte of generation allocates
    blocks_.resize(c.blocks, patches);
    c.patch_normal.resize(config_.dim, patches);
    c.slots.resize(config_.dim_local * config_.patch, patches);
  }

  static constexpr Index kBytes = 0, kPatching = 1, kUnpatching = 2, kBlocks = 3;  // stages
  Index first_block() const { return kBlocks + config_.encoder; }
  Index first_decoder() const { return first_block() + config_.layers; }

  Config config_;
  nn::ByteEmbedding<Scalar> embedding_;
  Hashing hashing_;
  Stack encoder_, blocks_, decoder_;
  nn::Patching<Scalar> patching_;
  nn::LayerNorm<Scalar> patch_norm_;
  nn::Linear<Scalar> unpatching_;
  nn::LayerNorm<Scalar> norm_;
  nn::Linear<Scalar> head_;
  nn::CopyLogits<Scalar> copy_;
  nn::Recency<Scalar> recency_;
};

/// The default model, with a mixer by its template: mixers::Default, mixers::Registered, or one of your own.
template <Real Scalar, template <Real> class Mixer = mixers::Default, nn::StreamContext... More>
using QLLKTransformer = BasicTransformer<Scalar, Mixer<Scalar>, More...>;

}  // namespace qllk::inline QLLK_ISA

#include "qllk/model/transformer_passes.hpp"
#ifdef QLLK_COMPILED
#include "qllk/model/compiled.hpp"
#endif
