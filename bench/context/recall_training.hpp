// Training a model on the recall task, and its accuracy by distance.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/batches.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/model/compiled.hpp"
#include "qllk/optim/step.hpp"
#include "qllk/train/reduce.hpp"
#include "qllk/train/settings.hpp"
#include "qllk/train/sweep.hpp"
#include "recall_task.hpp"

namespace recall {

using qllk::EveryTransformer, qllk::Mat;

/// The default model, but its loss is that of answers only: the mean of `weight` times as many positions.
class AnswersOnly : public EveryTransformer {
 public:
  AnswersOnly(Config config, double weight)
      : EveryTransformer(std::move(config)), weight_(static_cast<float>(weight)) {}

  void backward(const Params& p, Bytes bytes, Cache& cache, Mat<float>& dlogits, StateGrads& dstate, DeferredGrads& g,
                qllk::Turn turn = {}) const {
    const Index length = std::ssize(bytes) / dstate.sequences();
    for (Index t = 0; t < std::ssize(bytes); ++t) {
      const auto sequence = bytes.subspan(static_cast<std::size_t>(t / length * length));
      if (asks(sequence, static_cast<std::size_t>(t % length)))
        dlogits.col(t) *= weight_;
      else
        dlogits.col(t).setZero();
    }
    EveryTransformer::backward(p, bytes, cache, dlogits, dstate, g, turn);
  }

 private:
  float weight_;
};

/// Texts of growing length, up to settings.context: each part of the run trains on as many bytes. Gradients go through
/// whole texts, in chunks of settings.chunk bytes (train::Sweep). One thread.
class Training {
 public:
  using Config = EveryTransformer::Config;

  Training(const Config& config, const qllk::train::TrainerSettings& settings)
      : config_(config), settings_(settings), model_(config) {
    Random random = Random::of(settings.seed, 0);
    params_ = model_.init(random);
    moments_ = qllk::optim::zero_state<qllk::optim::AdamW>(params_);
    total_ = model_.zero_grads();
    reducer_ = qllk::train::Reducer<float>(params_);
  }

  const EveryTransformer& model() const { return model_; }
  EveryTransformer::Params& params() { return params_; }

  /// Calls report(context, bytes so far, share of them, skipped updates) after each part.
  template <class Report>
  void run(std::uint64_t bytes, Report&& report) {
    std::vector<Index> contexts;
    for (Index context = settings_.context; context >= kShortest; context /= kGrowth) contexts.push_back(context);
    std::ranges::reverse(contexts);
    const double part = static_cast<double>(bytes) / static_cast<double>(contexts.size());
    std::uint64_t done = 0;
    for (const Index context : contexts) {
      const Index batch = std::max(kLeastBatch, settings_.batch * kShortest / context);
      const AnswersOnly model(config_, static_cast<double>(context) / static_cast<double>(kKeys));
      qllk::train::Sweep<AnswersOnly> sweep(model, params_,
                                            {batch, context, 1, settings_.piece, settings_.chunk, settings_.borders});
      const auto steps = static_cast<Index>(std::ceil(part / static_cast<double>(batch * context)));
      for (Index i = 0; i < steps; ++i, done += static_cast<std::uint64_t>(batch * context))
        step(model, sweep, batch, context, static_cast<double>(done) / static_cast<double>(bytes));
      report(context, done, skipped_);
    }
  }

 private:
  static constexpr Index kShortest = 128, kGrowth = 4, kLeastBatch = 4;

  void step(const AnswersOnly& model, qllk::train::Sweep<AnswersOnly>& sweep, Index batch, Index context,
            double progress) {
    Random random = Random::of(settings_.seed, 1, steps_);
    qllk::data::BatchText text;
    std::vector<Byte> all;
    for (Index i = 0; i < batch; ++i) {
      text.starts.push_back(all.size());
      const auto one = episode(static_cast<std::size_t>(context) + 1,
                               log_uniform(kLeastDistance, static_cast<double>(context), random), random);
      all.insert(all.end(), one.begin(), one.end());
    }
    text.corpus = qllk::data::Corpus::from_memory(std::move(all));
    const bool whole = sweep.chunks() == 1;
    const qllk::train::Sweep<AnswersOnly>::Step now{.model = model,
                                                    .params = params_,
                                                    .text = text,
                                                    .pool = pool_,
                                                    .noise = {},
                                                    .seed = settings_.seed,
                                                    .step = steps_};
    sweep.begin(now);
    sweep.differentiate(now, [&](bool first) {
      if (!whole) reducer_.add(sweep.pieces(), total_, pool_, first);
    });
    const double norm = whole ? reducer_.sum(sweep.pieces(), total_, pool_) : reducer_.sum_added(total_, pool_);
    const double rate =
        settings_.optimizer.learning_rate * settings_.schedule.factor(static_cast<std::int64_t>(steps_), progress);
    ++steps_;
    if (std::isfinite(norm)) {
      const qllk::optim::AdamUpdate<float> update(settings_.optimizer, ++moments_.updates, rate,
                                                  std::min(1.0, settings_.clip / norm));
      reducer_.apply(update, qllk::optim::RowUpdate<float>(settings_.rows, rate), params_, total_, moments_, pool_);
    } else {
      ++skipped_;
    }
    reducer_.clear_sparse();
  }

  static constexpr double kLeastDistance = 16;

  Config config_;
  qllk::train::TrainerSettings settings_;
  EveryTransformer model_;
  EveryTransformer::Params params_;
  EveryTransformer::Grads total_;
  qllk::optim::AdamW::State<EveryTransformer::Params> moments_;
  qllk::train::Reducer<float> reducer_;
  qllk::ThreadPool pool_{1};
  std::uint64_t steps_ = 0, skipped_ = 0;
};

/// The share of right answers to at least `questions` questions that stand `distance` bytes behind their pairs, each
/// text a stream of its own.
inline double accuracy(const EveryTransformer& model, const EveryTransformer::Params& params, std::size_t distance,
                       std::size_t questions, std::uint64_t seed) {
  constexpr std::size_t kStreams = 4, kChunk = 512, kRoom = 512;
  const qllk::FlushDenormals flush;
  EveryTransformer::Cache cache;
  EveryTransformer::State state;
  Mat<float> logits;
  std::vector<Byte> chunk;
  std::size_t asked = 0, right = 0;
  for (std::uint64_t round = 0; asked < questions; ++round) {
    Random random = Random::of(seed, 2, distance, round);
    std::vector<std::vector<Byte>> texts;
    for (std::size_t s = 0; s < kStreams; ++s)
      texts.push_back(episode(
          distance + kRoom, [&] { return static_cast<double>(distance); }, random));
    model.reset(state, kStreams);
    for (std::size_t at = 0; at < texts[0].size(); at += kChunk) {
      const std::size_t size = std::min(kChunk, texts[0].size() - at);
      chunk.clear();
      for (const auto& text : texts)
        chunk.insert(chunk.end(), text.begin() + static_cast<std::ptrdiff_t>(at),
                     text.begin() + static_cast<std::ptrdiff_t>(at + size));
      model.forward(params, Bytes(chunk), state, cache, logits);
      for (std::size_t s = 0; s < kStreams; ++s)
        for (std::size_t t = 0; t < size && at + t + 1 < texts[s].size(); ++t) {
          if (!asks(texts[s], at + t)) continue;
          Index best = 0;
          logits.col(static_cast<Index>(s * size + t)).maxCoeff(&best);
          ++asked;
          right += best == texts[s][at + t + 1] ? 1 : 0;
        }
    }
  }
  return static_cast<double>(right) / static_cast<double>(asked);
}

}  // namespace recall
