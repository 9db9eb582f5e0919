// Losses and gradients of a batch, through sequences of any length in memory for a part of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/batches.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "qllk/nn/dropout.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/train/borders.hpp"
#include "qllk/train/exchange.hpp"
#include "qllk/train/reduce.hpp"

namespace qllk::train {

/// The sizes that divide a batch, as BasicTrainerSettings has them, and the shards of it to compute.
struct SweepSettings {
  Index batch, context, shards, piece, chunk, borders;  // as in BasicTrainerSettings
  ShardRange share{0, std::min(shards, batch)};         // of all shards
};

/// Forward and backward through a batch, exactly, whatever part of it memory has room for.
///
/// A batch's sequences are divided into `shards` groups. Where these are long, they are cut along their length twice:
/// into chunks, of which one at a time has its activations in memory, and each chunk into pieces, which several threads
/// compute at the same time, handing the state on (Turns). A sweep walks through the chunks once to know the state at
/// each one's begin, and then computes them last first, the gradient of the state going from each to the one before:
/// back-propagation through the whole sequence. Some or all states are kept (Borders). Of these, features of the stream
/// are megabytes, so that but a dozen of them are kept for a sequence of any length, and those between are found by
/// reading the bytes again.
///
/// One seed gives bit-identical results for any number of threads, and for any number of borders.
///
/// Cost     with one chunk, forward and backward (3 forward passes). With c chunks one more walk, which needs no
///          answers (about 0.8 of a pass), as long as all borders are kept: 1.3 times the time; with fewer,
///          Borders::walks() of them at the most. Memory: batch × chunk activations, a border's state for each kept
///          border, and 12 states with features
/// Source   Gruslys et al. 2016; Chen et al. 2016 (activations computed again from states kept)
template <class Model>
class Sweep {
 public:
  using Scalar = typename Model::Scalar;
  using Params = typename Model::Params;
  using State = typename Model::State;
  /// The gradient of a state.
  using StateGrads = typename Model::StateGrads;

  /// What a step computes with. Noise is drawn from (seed, step, piece): the same whenever a piece is computed again.
  struct Step {
    const Model& model;                                     // the model
    const Params& params;                                   // its learned tensors
    const data::BatchText& text;                            // the batch
    ThreadPool& pool;                                       // computes the pieces
    nn::Noise noise;                                        // rates of dropout
    std::uint64_t seed, step;                               // of the run; its number
    linalg::Precision precision = linalg::Precision::full;  // of products with weights
  };

  /// What a part of a group needs for itself.
  struct Piece {
    std::size_t group = 0;                // of sequences
    Index number = 0;                     // of the group's pieces
    std::vector<Byte> inputs, targets;    // bytes, and the ones that follow
    typename Model::DeferredGrads grads;  // of this piece
    typename Model::Cache cache;          // of this piece
    Mat<Scalar> logits;                   // and then their gradient
    double nats = 0;                      // the sum of its losses
  };

  Sweep() = default;
  /// Allocates what all steps need.
  QLLK_COLD Sweep(const Model& model, const Params& params, const SweepSettings& settings)
      : settings_(settings),
        chunk_(settings.chunk > 0 ? std::min(settings.chunk, settings.context) : settings.context) {
    divide(model, params);
    chunks_ = parts(settings.context, chunk_);
    if (chunks_ == 1) return;
    borders_ = Borders(chunks_, settings.borders);
    kept_.resize(borders_.slots());
    if constexpr (kFollows) {
      features_ = Borders(chunks_, kFeatures);
      kept_features_.resize(features_.slots());
    }
    for (const Group& group : groups_) {
      const State state = model.initial_state(group.sequences);
      for (auto& kept : kept_) kept.push_back(state);
      for (auto& kept : kept_features_) kept.push_back(state);
    }
  }

  /// How many chunks a sequence has.
  Index chunks() const { return chunks_; }
  /// Their gradients are those of the last chunk that was computed.
  std::vector<Piece>& pieces() { return pieces_; }

  /// Makes the states those of streams that begin with this text. Features see what scoring would have shown them: the
  /// bytes of the corpus before it.
  void begin(const Step& s) {
    for_each_group(s.pool, [&](Group& group) {
      s.model.reset(group.state, group.sequences);
      if constexpr (requires { s.model.history(); }) {
        const auto most = static_cast<std::uint64_t>(s.model.history());
        group.bytes.reserve(static_cast<std::size_t>(most));
        for (Index i = 0; i < group.sequences; ++i) {
          s.text.copy_before(group.first + i, most, group.bytes);
          s.model.prime(group.state, i, group.bytes);
        }
      }
    });
  }

  /// Lets the states know the bytes [from, to) of the text as if they had been computed, their tensors aside.
  void follow(const Step& s, std::uint64_t from, std::uint64_t to) {
    constexpr std::uint64_t kMost = 1 << 16;
    for_each_group(s.pool, [&](Group& group) {
      for (std::uint64_t at = from, size; at < to; at += size) {
        size = std::min(kMost, to - at);
        read(s, group, at, static_cast<Index>(size), 0, group.bytes);
        s.model.follow(group.state, group.bytes);
      }
    });
  }

  /// The tensors of the states of all sequences, and the same to be changed.
  template <class F>
  void for_each_state(F&& f) {
    for (std::size_t g = 0; g < groups_.size(); ++g) f(g, static_cast<StateGrads&>(groups_[g].state));
  }
  /// How many groups of sequences have a state.
  std::size_t groups() const { return groups_.size(); }
  /// The loss of each group, in nats, of the last differentiate.
  std::span<const double> nats() const { return nats_; }

  /// Returns the sum of the losses, in nats, and leaves gradients of their mean with the pieces: those of one chunk
  /// after the other, the last chunk first. After each of them calls take(first), which takes them from there. States
  /// go from the sequences' begin to their end. When anything throws, there are no gradients, and the states are of no
  /// use.
  template <class Take>
  double differentiate(const Step& s, Take&& take) {
    try {
      nats_.assign(groups_.size(), 0);
      for_each_group(s.pool, [&](Group& group) { s.model.reset(group.dstate, group.sequences); });
      if (chunks_ > 1) keep_begin(s);
      at_ = 0;
      for (Index chunk = chunks_; chunk-- > 0;) {
        reach(s, chunk);
        compute(s, chunk);
        for (const Piece& piece : pieces_) nats_[piece.group] += piece.nats;
        take(chunk + 1 == chunks_);
      }
      if (chunks_ > 1)
        for (Group& group : groups_) std::swap(group.state, group.last);
      return std::accumulate(nats_.begin(), nats_.end(), 0.0);
    } catch (...) {
      for (Piece& piece : pieces_) set_zero(piece.grads);
      throw;
    }
  }

  /// As the first chunk of a batch, so that every buffer has its size.
  template <class Take>
  void warm_up(const Step& s, Take&& take) {
    begin(s);
    for_each_group(s.pool, [&](Group& group) { s.model.reset(group.dstate, group.sequences); });
    compute(s, 0);
    take(true);
  }

 private:
  /// Whether features of a state are found by reading bytes again, and do not need to be kept.
  static constexpr bool kFollows = !std::is_same_v<State, StateGrads> && std::is_base_of_v<StateGrads, State> &&
                                   requires(const Model& model, State& state, Bytes bytes) {
    model.follow(state, bytes);
  };
  using Border = std::conditional_t<kFollows, StateGrads, State>;
  static constexpr Index kFeatures = 12;  // states with features that are kept: 364 chunks are read 3 times at most

  /// Sequences that are computed together, and what their pieces hand on.
  struct Group {
    Index first, sequences;  // of the batch
    State state, last;       // last: after the last chunk, while others are computed
    StateGrads dstate;
    std::vector<Byte> bytes;
    Turns forward, backward;
  };

  static Index parts(Index whole, Index most) { return (whole + most - 1) / most; }

  /// Pieces are in the order in which threads take them: of all groups the first piece, then of all the second.
  QLLK_COLD void divide(const Model& model, const Params& params) {
    const auto& [batch, context, shards, most, chunk, borders, share] = settings_;
    all_groups_ = std::min(shards, batch);
    const Index groups = share.size(), sequences = parts(batch, all_groups_);
    each_ = std::min(chunk_, std::max(parts(sequences * chunk_, most), parts(shards, all_groups_)));
    for (Index g = share.first; g < share.end; ++g) {
      const Index first = g * batch / all_groups_, end = (g + 1) * batch / all_groups_;
      groups_.push_back({first, end - first, {}, {}, {}, {}, Turns(model.stages()), Turns(model.stages())});
    }
    pieces_ = std::vector<Piece>(static_cast<std::size_t>(each_ * groups));
    for (Index i = 0; i < each_ * groups; ++i) {
      Piece& piece = pieces_[static_cast<std::size_t>(i)];
      piece.group = static_cast<std::size_t>(i % groups);
      piece.number = i / groups;
      piece.grads = zero_grads_like<typename Model::DeferredGrads>(params);
    }
  }

  template <class F>
  void for_each_group(ThreadPool& pool, F&& f) {
    pool.run(std::ssize(groups_), [&](Index g) { f(groups_[static_cast<std::size_t>(g)]); });
  }

  /// Bytes [from, from + length) of each of a group's sequences, and as many from `ahead` on.
  static void read(const Step& s, const Group& group, std::uint64_t from, Index length, std::uint64_t ahead,
                   std::vector<Byte>& out) {
    out.resize(static_cast<std::size_t>(group.sequences * length));
    for (Index i = 0; i < group.sequences; ++i)
      s.text.copy(group.first + i, from + ahead,
                  std::span(out).subspan(static_cast<std::size_t>(i * length), static_cast<std::size_t>(length)));
  }

  Index length(Index chunk) const { return std::min(chunk_, settings_.context - chunk * chunk_); }

  /// Runs task(i, piece, group) for all pieces of a chunk in order, with its bytes and noise.
  template <class Task>
  void for_each_piece(const Step& s, Index chunk, Task&& task) {
    for (Group& group : groups_) group.forward.reset();
    const Index count = std::ssize(pieces_), size = length(chunk);
    s.pool.run(count, [&](Index i) {
      const linalg::UsePrecision use(s.precision);
      Piece& piece = pieces_[static_cast<std::size_t>(i)];
      Group& group = groups_[piece.group];
      const Turn turn(group.forward, piece.number);
      turn.guard([&] {
        const Index begin = piece.number * size / each_, end = (piece.number + 1) * size / each_;
        const auto from = static_cast<std::uint64_t>(chunk * chunk_ + begin);
        read(s, group, from, end - begin, 0, piece.inputs);
        read(s, group, from, end - begin, 1, piece.targets);
        nn::Noise noise = s.noise;
        const Index group_number = settings_.share.first + static_cast<Index>(piece.group);
        noise.random = Random::of(s.seed, s.step, (chunk * each_ + piece.number) * all_groups_ + group_number);
        s.model.set_noise(piece.cache, noise);
        task(piece, group, turn);
      });
    });
  }

  /// Forward and backward through a chunk from the states at its begin.
  QLLK_NOINLINE void compute(const Step& s, Index chunk) {
    for_each_piece(s, chunk, [&](Piece& piece, Group& group, const Turn& turn) {
      s.model.forward(s.params, piece.inputs, group.state, piece.cache, piece.logits, turn);
      piece.nats = nn::softmax_cross_entropy<Scalar>(
          piece.targets, piece.logits, Scalar(1) / static_cast<Scalar>(settings_.batch * settings_.context));
    });
    at_ = chunk + 1;
    if (chunks_ > 1 && at_ == chunks_) for_each_group(s.pool, [](Group& group) { group.last = group.state; });
    for (Group& group : groups_) group.backward.reset();
    const Index count = std::ssize(pieces_);
    s.pool.run(count, [&](Index i) {
      const linalg::UsePrecision use(s.precision);
      Piece& piece = pieces_[static_cast<std::size_t>(count - 1 - i)];
      Group& group = groups_[piece.group];
      const Turn turn(group.backward, each_ - 1 - piece.number);
      turn.guard([&] {
        s.model.backward(s.params, piece.inputs, piece.cache, piece.logits, group.dstate, piece.grads, turn);
      });
    });
  }

  /// Walks through a chunk.
  void advance(const Step& s, Index chunk) {
    for_each_piece(s, chunk, [&](Piece& piece, Group& group, const Turn& turn) {
      if constexpr (requires { s.model.advance(s.params, piece.inputs, group.state, piece.cache, turn); })
        s.model.advance(s.params, piece.inputs, group.state, piece.cache, turn);
      else
        s.model.forward(s.params, piece.inputs, group.state, piece.cache, piece.logits, turn);
    });
    at_ = chunk + 1;
  }

  void keep_begin(const Step& s) {
    borders_.reset();
    features_.reset();
    keep(s.pool, kept_[0]);
    if constexpr (kFollows) keep(s.pool, kept_features_[0]);
  }

  template <class Kept>
  void keep(ThreadPool& pool, std::vector<Kept>& kept) {
    pool.run(std::ssize(groups_), [&](Index g) {
      const auto i = static_cast<std::size_t>(g);
      kept[i] = groups_[i].state;
    });
  }

  /// Makes the states those at the begin of a chunk, the last that is still to be computed.
  void reach(const Step& s, Index chunk) {
    borders_.shorten(chunk + 1);
    features_.shorten(chunk + 1);
    if (at_ > chunk) restore(s, borders_.nearest(chunk));
    while (at_ < chunk) {
      advance(s, at_);
      if (const auto slot = borders_.keep(at_)) keep(s.pool, kept_[*slot]);
      keep_features(s, at_);
    }
  }

  void keep_features([[maybe_unused]] const Step& s, [[maybe_unused]] Index border) {
    if constexpr (kFollows)
      if (const auto slot = features_.keep(border)) keep(s.pool, kept_features_[*slot]);
  }

  void restore(const Step& s, Borders::Kept from) {
    if constexpr (kFollows) {
      const auto features = features_.nearest(from.border);
      s.pool.run(std::ssize(groups_), [&](Index g) {
        const auto i = static_cast<std::size_t>(g);
        groups_[i].state = kept_features_[features.slot][i];
      });
      for (Index border = features.border; border < from.border;) {
        const auto begin = static_cast<std::uint64_t>(border * chunk_);
        follow(s, begin, begin + static_cast<std::uint64_t>(length(border)));
        keep_features(s, ++border);
      }
    }
    s.pool.run(std::ssize(groups_), [&](Index g) {
      const auto i = static_cast<std::size_t>(g);
      static_cast<Border&>(groups_[i].state) = kept_[from.slot][i];
    });
    at_ = from.border;
  }

  SweepSettings settings_{};
  Index chunk_ = 0, chunks_ = 0, each_ = 0;  // bytes of a chunk; chunks; pieces of each group
  Index all_groups_ = 0;                     // of the batch, those that others compute included
  Index at_ = 0;                             // the border that the states stand at
  std::vector<Group> groups_;
  std::vector<Piece> pieces_;
  std::vector<double> nats_;  // of each group
  Borders borders_, features_;
  std::vector<std::vector<Border>> kept_;          // [slot, group]
  std::vector<std::vector<State>> kept_features_;  // likewise
};

}  // namespace qllk::train
