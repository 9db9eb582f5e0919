#include "training.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "clock.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/optim/schedule.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/reduce.hpp"
#include "qllk/train/trainer.hpp"

namespace mixer_table {

namespace {

using qllk::Bytes, qllk::Mat;
using qllk::optim::AdamW;

constexpr qllk::optim::WarmupCosine kSchedule{.warmup = 30, .floor = 0.1};

AdamW optimizer(double learning_rate) {
  return {.learning_rate = learning_rate, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1};
}

/// Bytes a second, one after the other, after a context of text.
double generation_speed(const Model& model, const Model::Params& params, Bytes text) {
  auto state = model.initial_state(1);
  Model::Cache cache;
  Mat<float> logits;
  model.forward(params, text, state, cache, logits);
  const double start = cpu_seconds();
  for (std::size_t i = 0; i < text.size(); ++i) model.forward(params, text.subspan(i, 1), state, cache, logits);
  return static_cast<double>(text.size()) / (cpu_seconds() - start);
}

/// Trains and scores on a task, with the gradients of one part and one thread.
class TaskTrainer {
 public:
  TaskTrainer(const Model::Config& config, const TaskRun& run, const Task& task)
      : run_(run), task_(task), model_(config) {
    qllk::Random random = qllk::Random::of(run.seed, 0);
    params_ = model_.init(random);
    parts_[0].grads = qllk::zero_grads_like<Model::DeferredGrads>(params_);
    total_ = model_.zero_grads();
    moments_ = qllk::optim::zero_state<AdamW>(params_);
    reducer_ = qllk::train::Reducer<float>(params_);
  }

  void step(Index number) {
    qllk::Random random = qllk::Random::of(run_.seed, 1, number);
    const Example batch = examples(task_, run_.batch, run_.length, task_.most(run_.length), Items::any, random);
    forward(batch, run_.batch);
    mask(batch);
    model_.reset(dstate_, run_.batch);
    model_.backward(params_, batch.inputs, cache_, logits_, dstate_, parts_[0].grads);
    const double norm = reducer_.sum(parts_, total_, pool_);
    if (std::isfinite(norm)) {
      const double rate =
          run_.learning_rate * kSchedule.factor(number, static_cast<double>(number) / static_cast<double>(run_.steps));
      const qllk::optim::AdamUpdate<float> update(optimizer(run_.learning_rate), ++moments_.updates, rate,
                                                  norm > 1 ? 1 / norm : 1.0);
      reducer_.apply(update, qllk::optim::RowUpdate<float>({}, rate), params_, total_, moments_, pool_);
    }
    reducer_.clear_sparse();
  }

  /// On sequences of `length`, with the most items that the trained length has.
  double accuracy(Index length) {
    constexpr Index kSequences = 512;
    qllk::Random random = qllk::Random::of(run_.seed, 2);
    const Example test = examples(task_, kSequences, length, task_.most(run_.length), Items::most, random);
    forward(test, kSequences);
    Index scored = 0, right = 0;
    for (std::size_t t = 0; t < test.roles.size(); ++t) {
      if (test.roles[t] != Example::kScored) continue;
      Index best = 0;
      logits_.col(static_cast<Index>(t)).maxCoeff(&best);
      ++scored;
      right += best == test.targets[t] ? 1 : 0;
    }
    return static_cast<double>(right) / static_cast<double>(scored);
  }

 private:
  struct Part {
    Model::DeferredGrads grads;
  };

  void forward(const Example& batch, Index sequences) {
    model_.reset(state_, sequences);
    model_.forward(params_, batch.inputs, state_, cache_, logits_);
  }

  /// Gradients of the mean loss of positions that have an answer.
  void mask(const Example& batch) {
    const auto answers = std::count_if(batch.roles.begin(), batch.roles.end(),
                                       [](Example::Role role) { return role != Example::kFree; });
    qllk::nn::softmax_cross_entropy<float>(batch.targets, logits_, 1.0F / static_cast<float>(answers));
    for (std::size_t t = 0; t < batch.roles.size(); ++t)
      if (batch.roles[t] == Example::kFree) logits_.col(static_cast<Index>(t)).setZero();
  }

  TaskRun run_;
  const Task& task_;
  Model model_;
  Model::Params params_;
  std::array<Part, 1> parts_;
  Model::Grads total_;
  AdamW::State<Model::Params> moments_;
  qllk::train::Reducer<float> reducer_;
  qllk::ThreadPool pool_{1};
  Model::State state_;
  Model::StateGrads dstate_;
  Model::Cache cache_;
  Mat<float> logits_;
};

}  // namespace

TextResult train_on_text(const Model::Config& config, const TextRun& run, const Text& text) {
  qllk::train::TrainerSettings settings;
  settings.batch = run.batch;
  settings.context = run.context;
  settings.optimizer = optimizer(run.learning_rate);
  settings.schedule = kSchedule;
  settings.seed = run.seed;
  qllk::train::Trainer<Model> trainer(Model(config), settings, text.training, 1);
  double used = 0;
  const double start = cpu_seconds();
  while (used < 1) {
    trainer.step(used);
    used = std::max(static_cast<double>(trainer.progress().bytes) / static_cast<double>(run.bytes),
                    (cpu_seconds() - start) / run.seconds);
  }
  TextResult result{};
  result.seconds = cpu_seconds() - start;
  result.bytes_seen = trainer.progress().bytes;
  std::vector<qllk::Byte> prompt(static_cast<std::size_t>(run.context));
  text.held_out.copy(0, prompt);
  trainer.with_average([&](const auto& params) {
    result.bits_per_byte = qllk::train::evaluate(trainer.model(), params, text.held_out).bits_per_byte();
    result.choosing_bits_per_byte = qllk::train::evaluate(trainer.model(), params, text.choosing).bits_per_byte();
    result.generate_bytes_per_second = generation_speed(trainer.model(), params, prompt);
  });
  return result;
}

TaskResult train_on_task(const Model::Config& config, const TaskRun& run, const Task& task) {
  const double start = cpu_seconds();
  TaskTrainer trainer(config, run, task);
  for (Index step = 0; step < run.steps; ++step) trainer.step(step);
  const double accuracy = trainer.accuracy(run.length), longer = trainer.accuracy(kLonger * run.length);
  return {accuracy, longer, cpu_seconds() - start};
}

}  // namespace mixer_table
