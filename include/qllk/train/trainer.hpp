// The training loop.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
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
                    Exchange<Scalar>* exchange = nullptr)
      : model_(std::move(model)),
        settings_(checked(settings)),
        crops_(std::move(corpus), settings.seed),
        pool_(std::make_unique<ThreadPool>(threads)),
        exchange_(exchange) {
    Random random = Random::of(settings.seed, 0x57E16475);
    params_ = model_.init(random);
    optimizer_ = optim::zero_state<Optim>(params_);
    average_ = build_like<Params>(params_, [this](const auto& p, auto& mean) {
      if constexpr (!is_hash_table_v<std::remove_cvref_t<decltype(p)>>)
        if (settings_.average.every > 0) mean = p;
    });
    crops_.check_length(settings_.context);
    if (settings_.crops == Crops::consecutive)
      segments_.emplace(crops_.corpus(), settings_.seed, settings_.batch, settings_.context);
    text_ = {crops_.corpus(), std::vector<std::uint64_t>(static_cast<std::size_t>(settings_.batch))};
    const std::size_t before = heap_bytes();
    SweepSettings sizes{settings_.batch, settings_.context, settings_.shards,
                        settings_.piece, settings_.chunk,   settings_.borders};
    const Index shards = sizes.share.end;
    if (exchange_ != nullptr) sizes.share = exchange_->share(shards);
    if (segments_ && (sizes.share.size() < shards || batches().each_step > 1))
      throw InvalidArgument(
          "several processes need random crops: consecutive ones carry states that are not exchanged");
    sweep_ = Sweep<Model>(model_, params_, sizes);
    total_ = model_.zero_grads();
    reducer_ = Reducer<Scalar>(params_, settings_.precision, exchange_, shards);
    warm_up();
    memory_.parameters = held(params_);
    memory_.optimizer = held(optimizer_) + held(average_);
    memory_.gradients = held(total_);
    const std::size_t grown = heap_bytes() - before;
    memory_.activations = grown > memory_.gradients ? grown - memory_.gradients : 0;
    attach();
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
    const bool whole = sweep_.chunks() == 1;
    begin_batch();
    const ClearSparse clear{reducer_};
    double nats = sweep_.differentiate(sweep_step(), [&](bool first) {
      if (!whole) reducer_.add(sweep_.pieces(), total_, *pool_, first);
    });
    if (exchange_ != nullptr) {
      const std::vector<double> losses = exchange_->gather(sweep_.nats());
      nats = std::accumulate(losses.begin(), losses.end(), 0.0);
    }
    StepReport report{};
    const auto sum = [&](auto&& change) {
      report.gradient_norm =
          whole ? reducer_.sum(sweep_.pieces(), total_, *pool_, change) : reducer_.sum_added(total_, *pool_, change);
    };
    if constexpr (std::same_as<std::remove_cvref_t<Hook>, NoHook>)
      sum(NoHook{});
    else
      sum([&](auto& gradients) { hook(gradients, nats); });
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
    if (exchange_ != nullptr) exchange_->after_update();
    ++progress_.steps;
    if (segments_) carry_on(report.skipped);
    if (settings_.average.takes(progress_.steps)) add_to_average();
    progress_.bytes += count * batches().each_step;
    progress_.seconds = std::max(0.0, progress_.seconds + (working_seconds() - start));
    return report;
  }

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
  void restore(Params params, State optimizer, Params average, Progress progress, Carried carried) {
    expect_shapes("cannot resume", params_, params);
    expect_shapes("cannot resume", optimizer_, optimizer);  // hashed tables have moments of other shapes than their own
    expect_shapes("cannot resume", average_, average);
    expect_shapes("cannot resume", carried_, carried);
    fill(progress, [&](Params& p, State& o, Params& a, Carried& c) {
      p = std::move(params), o = std::move(optimizer), a = std::move(average), c = std::move(carried);
    });
  }
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

  void attach() {
    if (exchange_ == nullptr) return;
    typename Exchange<Scalar>::Learned learned;
    const auto all = [](auto& leaf) { return std::span(leaf.data(), static_cast<std::size_t>(leaf.size())); };
    for_each_parameter(
        [&](const Path&, auto& leaf, auto& moments) {
          if constexpr (is_hash_table_v<std::remove_cvref_t<decltype(leaf)>>)
            learned.tables.push_back({all(leaf), all(moments), leaf.cols()});
          else
            learned.dense.push_back(all(leaf));
        },
        params_, std::get<qllk::detail::moments_v<State> - 1>(optimizer_.moments()));
    exchange_->attach(std::move(learned));
  }

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
  QLLK_COLD void warm_up() {
    sweep_.warm_up(sweep_step(), [&](bool first) {
      if (sweep_.chunks() > 1) return reducer_.add(sweep_.pieces(), total_, *pool_, first);
      reducer_.sum(sweep_.pieces(), total_, *pool_);
    });
    reducer_.clear_sparse();
    if (!segments_) return;
    sweep_.for_each_state([&](std::size_t, const auto& state) { carried_.groups.push_back(state); });
    for_each_parameter(
        [](const Path& path, const auto& leaf) {
          if constexpr (requires(std::remove_cvref_t<decltype(leaf)> grown) { grown.keep(Index{1}); })
            throw InvalidArgument("consecutive crops carry states of constant size, but '" + path.str() +
                                  "' grows with the stream: choose other mixers, or random crops");
        },
        carried_);
    set_zero(carried_);
  }

  /// Finds the next batch, and makes the states those at its sequences' begins.
  void begin_batch() {
    const std::uint64_t now = steps();
    const auto place = [&](Index s, std::uint64_t at) { text_.starts[static_cast<std::size_t>(s)] = at; };
    if (!segments_) {
      crops_.for_each_start(batch_number(), settings_.batch, settings_.context, place);
      return sweep_.begin(sweep_step());
    }
    const std::uint64_t behind = segments_->batches_since_start(now);
    if (behind == 0 || states_of_ != now) {
      segments_->for_each_start(now - behind, place);
      sweep_.begin(sweep_step());
    }
    if (behind == 0) {
      set_zero(carried_);
    } else if (states_of_ != now) {  // restored, or after an error: features are found by reading, all else is carried_
      sweep_.follow(sweep_step(), 0, behind * static_cast<std::uint64_t>(settings_.context));
      sweep_.for_each_state([&](std::size_t g, auto& state) { copy_tensors(carried_.groups[g], state); });
    }
    segments_->for_each_start(now, place);
    states_of_ = kNoStep;  // unless it ends well
  }

  /// Keeps what the next step begins with. What is not finite is not carried on.
  void carry_on(bool skipped) {
    sweep_.for_each_state([&](std::size_t g, auto& state) {
      if (skipped) set_zero(state);
      copy_tensors(state, carried_.groups[g]);
    });
    states_of_ = steps();
  }

  template <class Tree>
  static void copy_tensors(const Tree& from, Tree& to) {
    for_each_parameter([](const Path&, const auto& a, auto& b) { b = a; }, from, to);
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

#ifdef QLLK_COMPILED
#include "qllk/train/compiled.hpp"
#endif
