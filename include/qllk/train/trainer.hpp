// The training loop.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "qllk/core/optimizer.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/batches.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/optim/row_update.hpp"
#include "qllk/optim/step.hpp"
#include "qllk/train/clock.hpp"
#include "qllk/train/memory.hpp"
#include "qllk/train/progress.hpp"
#include "qllk/train/reduce.hpp"
#include "qllk/train/settings.hpp"

namespace qllk::train {

using linalg::is_hash_table_v, linalg::values;

/// Trains a model on random crops of a corpus, its hashed tables with optim::RowUpdate and all else with an optimiser.
///
/// A batch's sequences are divided into `shards` groups, and where these are long, or fewer than shards, each group along
/// its length into pieces, which hand the state on (Turns). Every piece has gradients and activations of its own, and they
/// are added in a fixed order: one seed gives bit-identical weights for any number of threads. The batch of step i
/// depends on the seed and i only, so that a run restored from `params()`, `optimizer()`, `average()` and `progress()` goes on
/// as if it had never stopped. After the first few no step allocates.
template <TrainableModel Model, Optimizer Optim = optim::AdamW>
class Trainer {
 public:
  using Scalar = typename Model::Scalar;
  using Params = typename Model::Params;
  using Grads = typename Model::Grads;
  using Settings = BasicTrainerSettings<Optim>;
  using State = typename Optim::template State<Params>;
  static_assert(OptimizerState<State, Params> &&
                    OptimizerRule<typename Optim::template Update<Scalar>, Optim, Scalar, State>,
                "the optimiser has no state or no update for this model's parameters");

  /// Weights drawn from settings.seed. Throws std::invalid_argument when a setting makes no sense or the corpus is shorter
  /// than one context.
  QLLK_COLD Trainer(Model model, BasicTrainerSettings<Optim> settings, data::Corpus corpus, int threads)
      : model_(std::move(model)),
        settings_(checked(settings)),
        crops_(std::move(corpus), settings.seed),
        pool_(std::make_unique<ThreadPool>(threads)) {
    Random random = Random::of(settings.seed, 0x57E16475);
    params_ = model_.init(random);
    optimizer_ = optim::zero_state<Optim>(params_);
    average_ = build_like<Params>(params_, [](const auto& p, auto& mean) {
      if constexpr (!is_hash_table_v<std::remove_cvref_t<decltype(p)>>) mean = p;
    });
    inputs_.resize(static_cast<std::size_t>(settings_.batch * settings_.context));
    targets_.resize(inputs_.size());
    const std::size_t before = heap_bytes();
    divide();
    total_ = model_.zero_grads();
    reducer_ = Reducer<Scalar>(params_);
    starts_.resize(static_cast<std::size_t>(settings_.batch));
    differentiate();  // sizes every buffer; the result is not used
    reducer_.sum(pieces_, total_, *pool_);
    reducer_.clear_sparse();
    memory_.parameters = held(params_);
    memory_.optimizer = held(optimizer_) + held(average_);
    memory_.gradients = held(total_);
    const std::size_t grown = heap_bytes() - before;
    memory_.activations = grown > memory_.gradients ? grown - memory_.gradients : 0;
  }

  /// One update; `progress` in [0, 1] is the share of the budget used so far, for the learning-rate schedule.
  ///
  /// `hook(gradients, nats)` is called with StepGradients and the sum of the batch's losses, and may change both, as an
  /// all-reduce over machines does. The norm, clipping and the update follow from what it leaves. When it throws, this
  /// step has not happened.
  template <class Hook = NoHook>
  StepReport step(double progress, Hook&& hook = {}) {
    not_exchanged();
    const double start = working_seconds();
    const auto count = static_cast<std::size_t>(settings_.batch * settings_.context);
    crops_.batch(static_cast<std::uint64_t>(progress_.steps), settings_.batch, settings_.context, inputs_, targets_);
    crops_.for_each_start(static_cast<std::uint64_t>(progress_.steps), settings_.batch, settings_.context,
                          [&](Index s, std::uint64_t at) { starts_[static_cast<std::size_t>(s)] = at; });
    differentiate();
    double nats = 0;
    for (const auto& piece : pieces_) nats += piece.nats;

    const ClearSparse clear{reducer_};
    StepReport report{};
    if constexpr (std::same_as<std::remove_cvref_t<Hook>, NoHook>)
      report.gradient_norm = reducer_.sum(pieces_, total_, *pool_);
    else
      report.gradient_norm = reducer_.sum(pieces_, total_, *pool_, [&](auto& gradients) { hook(gradients, nats); });
    report.bits_per_byte = nats / static_cast<double>(count) * nn::kBitsPerNat;
    report.learning_rate = settings_.optimizer.learning_rate * settings_.schedule.factor(progress_.steps, progress);
    report.skipped = !std::isfinite(nats) || !std::isfinite(report.gradient_norm);
    if (report.skipped) {
      ++progress_.skipped;
    } else {
      const double clip = report.gradient_norm > settings_.clip ? settings_.clip / report.gradient_norm : 1.0;
      const typename Optim::template Update<Scalar> update(settings_.optimizer, ++optimizer_.updates,
                                                           report.learning_rate, clip);
      reducer_.apply(update, optim::RowUpdate<Scalar>(settings_.rows, report.learning_rate), params_, total_,
                     optimizer_, *pool_);
    }
    ++progress_.steps;
    if (settings_.average.takes(progress_.steps)) add_to_average();
    progress_.bytes += count;
    progress_.seconds = std::max(0.0, progress_.seconds + (working_seconds() - start));
    return report;
  }

  /// Steps until the budget is used up or on_step(report) returns false. What on_step takes is not counted as training.
  template <class OnStep, class Hook = NoHook>
  void run(const Budget& budget, OnStep&& on_step, Hook&& hook = {}) {
    for (double used; (used = budget.used(progress_.steps, progress_.seconds)) < 1;)
      if (!on_step(step(used, hook))) return;
  }

  /// Goes on from a checkpoint. Throws std::invalid_argument when the shapes are not this model's.
  void restore(Params params, State optimizer, Params average, Progress progress) {
    expect_shapes("cannot resume", params_, params);
    expect_shapes("cannot resume", optimizer_, optimizer);  // hashed tables have moments of other shapes than their own
    expect_shapes("cannot resume", average_, average);
    params_ = std::move(params);
    optimizer_ = std::move(optimizer);
    average_ = std::move(average);
    progress_ = progress;
    reducer_ = Reducer<Scalar>(params_);
  }

  /// Returns use(params) with the averaged weights for params: those to score, to keep and to write with, where the last
  /// ones, params(), are those to train on. Hashed tables are the last ones, and are not copied; so is everything until there
  /// is an average. `use` must not call step, params or average: they throw std::logic_error then.
  template <class Use>
  decltype(auto) with_average(Use&& use) {
    struct Back {
      Trainer* trainer;
      ~Back() {
        trainer->exchange_average();
        trainer->exchanged_ = false;
      }
    };
    if (!settings_.average.begun(progress_.steps)) return std::forward<Use>(use)(std::as_const(params_));
    not_exchanged();
    exchange_average();
    exchanged_ = true;
    const Back back{this};
    return std::forward<Use>(use)(std::as_const(params_));
  }

  const Model& model() const { return model_; }
  const Settings& settings() const { return settings_; }
  const Params& params() const {
    not_exchanged();
    return params_;
  }
  /// Without hashed tables.
  const Params& average() const {
    not_exchanged();
    return average_;
  }
  const State& optimizer() const { return optimizer_; }
  const Progress& progress() const { return progress_; }
  const Memory& memory() const { return memory_; }
  int threads() const { return pool_->size(); }

 private:
  struct ClearSparse {
    Reducer<Scalar>& reducer;
    ~ClearSparse() { reducer.clear_sparse(); }
  };

  /// Sequences that are computed together, and what their pieces hand on.
  struct Group {
    Index first, sequences;  // of the batch
    typename Model::State state;
    typename Model::StateGrads dstate;
    std::vector<Byte> history;  // of one of them, in turn
    Turns forward, backward;
  };

  /// What a part of a group needs for itself.
  struct Piece {
    std::size_t group = 0;
    Index number = 0, begin = 0, length = 0;  // of the group's pieces; of each of its sequences
    std::vector<Byte> inputs, targets;
    typename Model::DeferredGrads grads;
    typename Model::Cache cache;
    Mat<Scalar> logits;
    double nats = 0;
  };

  /// Pieces are in the order in which threads take them: of all groups the first piece, then of all the second.
  QLLK_COLD void divide() {
    const auto parts = [](Index whole, Index most) { return (whole + most - 1) / most; };
    const Index groups = std::min(settings_.shards, settings_.batch), sequences = parts(settings_.batch, groups);
    const Index each = std::min(settings_.context, std::max(parts(sequences * settings_.context, settings_.piece),
                                                            parts(settings_.shards, groups)));
    for (Index g = 0; g < groups; ++g) {
      const Index first = g * settings_.batch / groups, end = (g + 1) * settings_.batch / groups;
      groups_.push_back({first, end - first, {}, {}, {}, Turns(model_.stages()), Turns(model_.stages())});
    }
    pieces_ = std::vector<Piece>(static_cast<std::size_t>(each * groups));
    for (Index i = 0; i < each * groups; ++i) {
      Piece& piece = pieces_[static_cast<std::size_t>(i)];
      piece.group = static_cast<std::size_t>(i % groups);
      piece.number = i / groups;
      piece.begin = piece.number * settings_.context / each;
      piece.length = (piece.number + 1) * settings_.context / each - piece.begin;
      piece.grads = zero_grads_like<typename Model::DeferredGrads>(params_);
    }
  }

  /// Losses and gradients of all pieces, the latter of the mean over the whole batch. The reducer has left all gradients zero.
  QLLK_NOINLINE void differentiate() {
    for (Group& group : groups_) {
      model_.reset(group.state, group.sequences);
      model_.reset(group.dstate, group.sequences);
      group.forward.reset();
      group.backward.reset();
    }
    const Index count = std::ssize(pieces_), last = count / std::ssize(groups_) - 1;
    pool_->run(count, [&](Index i) {
      Piece& piece = pieces_[static_cast<std::size_t>(i)];
      const Turn turn(groups_[piece.group].forward, piece.number);
      turn.guard([&] { forward(i, piece, groups_[piece.group], turn); });
    });
    pool_->run(count, [&](Index i) {
      Piece& piece = pieces_[static_cast<std::size_t>(count - 1 - i)];
      Group& group = groups_[piece.group];
      const Turn turn(group.backward, last - piece.number);
      turn.guard(
          [&] { model_.backward(params_, piece.inputs, piece.cache, piece.logits, group.dstate, piece.grads, turn); });
    });
  }

  QLLK_NOINLINE void forward(Index i, Piece& piece, Group& group, const Turn& turn) {
    for (const auto& [all, part] : {std::pair(&inputs_, &piece.inputs), {&targets_, &piece.targets}}) {
      part->clear();
      for (Index s = group.first; s < group.first + group.sequences; ++s) {
        const auto begin = all->begin() + s * settings_.context + piece.begin;
        part->insert(part->end(), begin, begin + piece.length);
      }
    }
    if (piece.number == 0) prime(group);  // the others wait for it at the first stage
    model_.set_noise(piece.cache, {settings_.dropout, settings_.order_dropout, settings_.match_dropout,
                                   Random::of(settings_.seed, progress_.steps, i)});
    model_.forward(params_, piece.inputs, group.state, piece.cache, piece.logits, turn);
    piece.nats = nn::softmax_cross_entropy<Scalar>(
        piece.targets, piece.logits, Scalar(1) / static_cast<Scalar>(settings_.batch * settings_.context));
  }

  /// Features see what scoring would have shown them: the bytes of the corpus before the crop.
  void prime(Group& group) {
    const auto most = static_cast<std::uint64_t>(model_.history());
    if (most == 0) return;
    group.history.reserve(static_cast<std::size_t>(most));
    for (Index s = 0; s < group.sequences; ++s) {
      const std::uint64_t start = starts_[static_cast<std::size_t>(group.first + s)], size = std::min(start, most);
      group.history.resize(static_cast<std::size_t>(size));
      crops_.corpus().copy(start - size, group.history);
      model_.prime(group.state, s, group.history);
    }
  }

  void add_to_average() {
    const auto share = static_cast<Scalar>(settings_.average.share(progress_.steps));
    for_each_parameter(
        [share](const Path&, const auto& p, auto& mean) {
          if constexpr (!is_hash_table_v<std::remove_cvref_t<decltype(p)>>) {
            auto average = values(mean.data(), mean.size());
            average += share * (values(p.data(), p.size()) - average);
          }
        },
        params_, average_);
  }

  void not_exchanged() const {
    if (exchanged_)
      throw LogicError("the trainer was called from within with_average, which has exchanged its weights");
  }
  void exchange_average() {
    for_each_parameter(
        [](const Path&, auto& p, auto& mean) {
          if constexpr (!is_hash_table_v<std::remove_cvref_t<decltype(p)>>) std::swap(p, mean);
        },
        params_, average_);
  }

  Model model_;
  Settings settings_;
  data::RandomCrops crops_;
  std::unique_ptr<ThreadPool> pool_;
  Params params_;
  State optimizer_;
  Params average_;
  bool exchanged_ = false;  // params_ and average_, while with_average runs
  Progress progress_;
  std::vector<Byte> inputs_, targets_;
  std::vector<std::uint64_t> starts_;  // of each sequence in the corpus
  std::vector<Group> groups_;
  std::vector<Piece> pieces_;
  Grads total_;
  Reducer<Scalar> reducer_;
  Memory memory_{};
};

}  // namespace qllk::train

#ifdef QLLK_COMPILED
#include "qllk/train/compiled.hpp"
#endif
