// How Trainer does what trainer.hpp says. Include that one. The definitions are not in the class: there they would be
// inline, and compiled once more in every program of the compiled library.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <memory>
#include <numeric>
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
#include "qllk/train/trainer.hpp"

namespace qllk::train {

template <TrainableModel Model, Optimizer Optim>
Trainer<Model, Optim>::Trainer(Model model, BasicTrainerSettings<Optim> settings, data::Corpus corpus, int threads,
                               Exchange<Scalar>* exchange)
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
    throw InvalidArgument("several processes need random crops: consecutive ones carry states that are not exchanged");
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

template <TrainableModel Model, Optimizer Optim>
template <class Hook>
StepReport Trainer<Model, Optim>::step(double progress, Hook&& hook) {
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
    reducer_.apply(update, optim::RowUpdate<Scalar>(settings_.rows, report.learning_rate), params_, total_, optimizer_,
                   *pool_);
  }
  if (exchange_ != nullptr) exchange_->after_update();
  ++progress_.steps;
  if (segments_) carry_on(report.skipped);
  if (settings_.average.takes(progress_.steps)) add_to_average();
  progress_.bytes += count * batches().each_step;
  progress_.seconds = std::max(0.0, progress_.seconds + (working_seconds() - start));
  return report;
}

template <TrainableModel Model, Optimizer Optim>
void Trainer<Model, Optim>::restore(Params params, State optimizer, Params average, Progress progress,
                                    Carried carried) {
  expect_shapes("cannot resume", params_, params);
  expect_shapes("cannot resume", optimizer_, optimizer);  // hashed tables have moments of other shapes than their own
  expect_shapes("cannot resume", average_, average);
  expect_shapes("cannot resume", carried_, carried);
  fill(progress, [&](Params& p, State& o, Params& a, Carried& c) {
    p = std::move(params), o = std::move(optimizer), a = std::move(average), c = std::move(carried);
  });
}

template <TrainableModel Model, Optimizer Optim>
void Trainer<Model, Optim>::attach() {
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

template <TrainableModel Model, Optimizer Optim>
void Trainer<Model, Optim>::warm_up() {
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
          throw InvalidArgument(
              "consecutive crops carry states of constant size, but a mixer's grows with the stream ('" + path.str() +
              "'): choose other mixers, or random crops");
      },
      carried_);
  set_zero(carried_);
}

template <TrainableModel Model, Optimizer Optim>
void Trainer<Model, Optim>::begin_batch() {
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

template <TrainableModel Model, Optimizer Optim>
void Trainer<Model, Optim>::carry_on(bool skipped) {
  sweep_.for_each_state([&](std::size_t g, auto& state) {
    if (skipped) set_zero(state);
    copy_tensors(state, carried_.groups[g]);
  });
  states_of_ = steps();
}

template <TrainableModel Model, Optimizer Optim>
void Trainer<Model, Optim>::add_to_average() {
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

template <TrainableModel Model, Optimizer Optim>
void Trainer<Model, Optim>::exchange_average() {
  for_each_parameter(
      [](const Path&, auto& p, auto& mean) {
        if constexpr (!is_hash_table_v<std::remove_cvref_t<decltype(p)>>) std::swap(p, mean);
      },
      params_, average_);
}

}  // namespace qllk::train
