// What the trainer and its checkpoints promise for every optimiser, and for a hook between sum and norm.
#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"
#include "support/models.hpp"
#include "support/optimizers.hpp"
#include "support/temporary_folder.hpp"
#include "support/words.hpp"

namespace qllk::train {
namespace {

using test::message_of, test::TemporaryFolder;
using Model = QLLKTransformer<float>;

Model small() { return Model({.dim_local = 16, .dim = 32, .patch = 4, .layers = 1, .decoder = 1, .bits = 12}); }

template <class Optim>
BasicTrainerSettings<Optim> settings() {
  BasicTrainerSettings<Optim> s;
  s.batch = 6;
  s.context = 40;
  s.order_dropout = 0.3;
  s.optimizer.learning_rate *= 4;  // for a run of few steps
  s.rows.rate = 0.04 / s.optimizer.learning_rate;
  s.schedule.warmup = 5;
  return s;
}

data::Corpus words(std::size_t size) { return data::Corpus::from_memory(test::words(size)); }

template <class Optim>
Trainer<Model, Optim> trainer(int threads) {
  return {small(), settings<Optim>(), words(20000), threads};
}

template <class Tree>
void expect_same_bits(const Tree& a, const Tree& b) {
  for_each_parameter(
      [](const Path& path, const auto& x, const auto& y) {
        ASSERT_EQ(x.size(), y.size()) << path.str();
        if (x.size() == 0) return;
        EXPECT_EQ(std::memcmp(x.data(), y.data(), static_cast<std::size_t>(x.size()) * sizeof(x.data()[0])), 0)
            << path.str();
      },
      a, b);
}

const auto go_on = [](const StepReport&) { return true; };

template <class Optim>
class EveryOptimizer : public ::testing::Test {};
TYPED_TEST_SUITE(EveryOptimizer, optim::EveryOptimizerType);

TYPED_TEST(EveryOptimizer, LearnsWords) {
  auto t = trainer<TypeParam>(2);
  const double before = evaluate(t.model(), t.params(), words(2000)).bits_per_byte();
  t.run({.steps = 300}, go_on);
  const double after = evaluate(t.model(), t.params(), words(2000)).bits_per_byte();
  // words of equal chance are 0.6 bits a byte; what is known before is what matches tell without any training
  EXPECT_TRUE(after < 1.5 && after < before - 0.5) << before << " to " << after;
}

TYPED_TEST(EveryOptimizer, ResumesWithTheSameBitsOnAnyNumberOfThreads) {
  const TemporaryFolder folder;
  const auto file = folder / "training.safetensors";
  auto whole = trainer<TypeParam>(2);
  whole.run({.steps = 11}, go_on);
  {
    auto first = trainer<TypeParam>(1);
    first.run({.steps = 11}, [&](const StepReport&) { return first.progress().steps < 4; });
    save_checkpoint(file, first, {.steps = 11});
  }
  const Checkpoint checkpoint(file);
  EXPECT_EQ(checkpoint.optimizer(), TypeParam::kName);
  Trainer<Model, TypeParam> second(checkpoint.model<Model>(), checkpoint.settings<TypeParam>(), words(20000), 3);
  checkpoint.restore(second);
  EXPECT_EQ(second.optimizer().updates, 4);
  second.run(checkpoint.budget(), go_on);
  expect_same_bits(whole.params(), second.params());
  expect_same_bits(whole.optimizer(), second.optimizer());
  expect_same_bits(whole.average(), second.average());
}

TYPED_TEST(EveryOptimizer, ACheckpointOfAnotherIsAnErrorThatNamesBoth) {
  const TemporaryFolder folder;
  const auto file = folder / "training.safetensors";
  auto mine = trainer<TypeParam>(1);
  save_checkpoint(file, mine, {.steps = 11});
  const Checkpoint checkpoint(file);
  using Other = std::conditional_t<std::is_same_v<TypeParam, optim::AdamW>, optim::Adam, optim::AdamW>;
  auto other = trainer<Other>(1);
  for (const auto& message : {message_of<std::runtime_error>([&] { return checkpoint.settings<Other>(); }),
                              message_of<std::runtime_error>([&] { checkpoint.restore(other); })})
    for (const std::string& name : {file, std::string(TypeParam::kName), std::string(Other::kName)})
      EXPECT_NE(message.find("'" + name + "'"), std::string::npos) << message;
}

TEST(TrainerHook, OneThatChangesNothingGivesTheSameBits) {
  auto plain = trainer<optim::AdamW>(2), hooked = trainer<optim::AdamW>(2);
  plain.run({.steps = 5}, go_on);
  int calls = 0;
  hooked.run({.steps = 5}, go_on, [&](auto& gradients, double& nats) {
    ++calls;
    EXPECT_TRUE(nats > 0);
    EXPECT_EQ(gradients.tables.size(), 1u);
  });
  EXPECT_EQ(calls, 5);
  expect_same_bits(plain.params(), hooked.params());
  expect_same_bits(plain.optimizer(), hooked.optimizer());
}

TEST(TrainerHook, NormAndLossAreOfWhatItLeaves) {
  auto plain = trainer<optim::AdamW>(2), hooked = trainer<optim::AdamW>(2);
  const StepReport once = plain.step(0);
  const StepReport twice = hooked.step(0, [](auto& gradients, double& nats) {
    nats *= 2;
    for_each_parameter(
        [](const Path&, auto& leaf) {
          if constexpr (requires { leaf.data(); }) leaf *= 2;
        },
        gradients.dense);
  });
  EXPECT_DOUBLE_EQ(twice.bits_per_byte, 2 * once.bits_per_byte);
  EXPECT_DOUBLE_EQ(twice.gradient_norm, 2 * once.gradient_norm);
}

/// A network that fails must not leave half an update behind.
TEST(TrainerHook, AStepWhoseHookThrowsHasNotHappened) {
  auto plain = trainer<optim::AdamW>(2), interrupted = trainer<optim::AdamW>(2);
  for (int step = 0; step < 3; ++step) plain.step(0);
  interrupted.step(0);
  const auto fail = [](auto&, double&) { throw std::runtime_error("the network is down"); };
  EXPECT_THROW(interrupted.step(0, fail), std::runtime_error);
  EXPECT_EQ(interrupted.progress().steps, 1);
  for (int step = 0; step < 2; ++step) interrupted.step(0);
  expect_same_bits(plain.params(), interrupted.params());
  expect_same_bits(plain.optimizer(), interrupted.optimizer());
}

}  // namespace
}  // namespace qllk::train
