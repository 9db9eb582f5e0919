// The training loop.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "qllk/core/optimizer.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
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
#include "qllk/train/exchange.hpp"
#include "qllk/train/memory.hpp"
#include "qllk/train/progress.hpp"
#include "qllk/train/reduce.hpp"
#include "qllk/train/settings.hpp"
#include "qllk/train/sweep.hpp"

namespace qllk::train {

using linalg::is_hash_table_v, linalg::values;

/// Trains a model on a corpus, its hashed tables with optim::RowUpdate and all else with an optimiser.
///
/// Sweep computes a batch's gradients, exactly, in memory for `chunk` bytes of each sequence, and they are added in a
/// fixed order: one seed gives bit-identical weights for any number of threads. The batch of step i depends on the seed
/// and i only, so that a run restored from `params()`, `optimizer()`, `average()`, `carried()` and `progress()` goes on
/// as if it had never stopped. After the first few no step allocates.
template <TrainableModel Model, Optimizer Optim = optim::AdamW>
class Trainer {
 public:
  using Scalar = typename Model::Scalar;
  using Params = typename Model::Params;
  using Grads = typename Model::Grads;
  /// Of this optimiser.
  using Settings = BasicTrainerSettings<Optim>;
  using State = typename Optim::template State<Params>;
  static_assert(OptimizerState<State, Params> &&
                    OptimizerRule<typename Optim::template Update<Scalar>, Optim, Scalar, State>,
                "the optimiser has no state or no update for this model's parameters");

  /// What the streams of consecutive crops carry from step to step: the tensors of their states, those of the features
  /// aside.
  struct Carried {
    std::vector<typename Model::StateGrads> groups;  // none with random crops

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("groups", t.groups...);
    }
  };

  /// Weights drawn from settings.seed. With an exchange, which must outlive the trainer, several processes train one
  /// model, and each computes its share of the shards: all must have the same model, settings and corpus, and make the
  /// same calls. Throws std::invalid_argument when a setting makes no sense or the corpus is shorter than one context
  /// (than all sequences of a batch, where these are consecutive).
  QLLK_COLD Trainer(Model model, BasicTrainerSettings<Optim> settings, data::Corpus corpus, int threads,
                    Exchange<Scalar>* exchange = nullptr);

  /// One update; `progress` in [0, 1] is the share of the budget used so far, for the learning-rate schedule.
  ///
  /// `hook(gradients, nats)` is called with StepGradients and the sum of the batch's losses, and may change both, as an
  /// all-reduce over machines does. The norm, clipping and the update follow from what it leaves. When it throws, this
  /// step has not happened.
  template <class Hook = NoHook>
  StepReport step(double progress, Hook&& hook = {});

  /// Steps until the budget is used up or on_step(report) returns false. What on_step takes is not counted as training.
  /// Of several processes the first one's clock and on_step decide for all.
  template <class OnStep, class Hook = NoHook>
  void run(const Budget& budget, OnStep&& on_step, Hook&& hook = {}) {
    for (bool go_on = true;;) {
      double used = go_on ? budget.used(progress_.steps, progress_.seconds) : 1;
      if (exchange_ != nullptr) used = exchange_->leaders(used);
      if (!(used < 1)) return;
      go_on = on_step(step(used, hook));
    }
  }

  /// Goes on from a checkpoint. Throws std::invalid_argument when the shapes are not this model's.
  void restore(Params params, State optimizer, Params average, Progress progress) {
    restore(std::move(params), std::move(optimizer), std::move(average), progress, carried_);
  }
  /// Likewise, with what its streams carried.
  void restore(Params params, State optimizer, Params average, Progress progress, Carried carried);
  /// Likewise, from what load(params, optimizer, average, carried) writes to their places: without a second copy of
  /// them. It must keep all shapes. When it throws, the trainer has parts of both, and is of no use.
  template <class Load>
  void fill(Progress progress, Load&& load) {
    not_exchanged();
    load(params_, optimizer_, average_, carried_);
    progress_ = progress;
    states_of_ = kNoStep;
    reducer_ = Reducer<Scalar>(params_, settings_.precision, exchange_, std::min(settings_.shards, settings_.batch));
    attach();
  }

  /// Returns use(params) with the averaged weights for params: those to score, to keep and to write with, where the
  /// last ones, params(), are those to train on. Hashed tables are the last ones, and are not copied; so is everything
  /// until there is an average. `use` must not call step, params or average: they throw std::logic_error then.
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

  /// The model.
  const Model& model() const { return model_; }
  /// The settings of the run.
  const Settings& settings() const { return settings_; }
  /// The weights that are trained on. Throws std::logic_error inside of with_average.
  const Params& params() const {
    not_exchanged();
    return params_;
  }
  /// Without hashed tables; all are empty where settings().average has none.
  const Params& average() const {
    not_exchanged();
    return average_;
  }
  /// The state of the optimiser.
  const State& optimizer() const { return optimizer_; }
  /// The states of the streams.
  const Carried& carried() const { return carried_; }
  /// Where the run stands.
  const Progress& progress() const { return progress_; }
  /// What the trainer holds.
  const Memory& memory() const { return memory_; }
  /// How many threads compute.
  int threads() const { return pool_->size(); }

 private:
  static constexpr std::uint64_t kNoStep = std::numeric_limits<std::uint64_t>::max();

  struct ClearSparse {
    Reducer<Scalar>& reducer;
    ~ClearSparse() { reducer.clear_sparse(); }
  };

  std::uint64_t steps() const { return static_cast<std::uint64_t>(progress_.steps); }

  typename Exchange<Scalar>::Batches batches() const {
    return exchange_ != nullptr ? exchange_->batches() : typename Exchange<Scalar>::Batches{};
  }
  /// The number of the batch of this step.
  std::uint64_t batch_number() const { return steps() * batches().each_step + batches().mine; }

  void attach();

  typename Sweep<Model>::Step sweep_step() const {
    return {.model = model_,
            .params = params_,
            .text = text_,
            .pool = *pool_,
            .noise = {settings_.dropout, settings_.order_dropout, settings_.match_dropout},
            .seed = settings_.seed,
            .step = batch_number(),
            .precision = settings_.precision};
  }

  /// Sizes every buffer; what it computes is not used.
  QLLK_COLD void warm_up();

  /// Finds the next batch, and makes the states those at its sequences' begins.
  void begin_batch();

  /// Keeps what the next step begins with. What is not finite is not carried on.
  void carry_on(bool skipped);

  template <class Tree>
  static void copy_tensors(const Tree& from, Tree& to) {
    for_each_parameter([](const Path&, const auto& a, auto& b) { b = a; }, from, to);
  }

  void add_to_average();

  void not_exchanged() const {
    if (exchanged_)
      throw LogicError("the trainer was called from within with_average, which has exchanged its weights");
  }
  void exchange_average();

  Model model_;
  Settings settings_;
  data::RandomCrops crops_;
  std::unique_ptr<ThreadPool> pool_;
  Exchange<Scalar>* exchange_ = nullptr;
  Params params_;
  State optimizer_;
  Params average_;
  bool exchanged_ = false;  // params_ and average_, while with_average runs
  Progress progress_;
  std::optional<data::ConsecutiveSegments> segments_;
  data::BatchText text_;  // of the step
  Sweep<Model> sweep_;
  Carried carried_;                    // at the begin of the next step
  std::uint64_t states_of_ = kNoStep;  // the step whose sequences begin with the sweep's states, if any
  Grads total_;
  Reducer<Scalar> reducer_;
  Memory memory_{};
};

}  // namespace qllk::train

#include "qllk/train/trainer_impl.hpp"
#ifdef QLLK_COMPILED
#include "qllk/train/compiled.hpp"
#endif
