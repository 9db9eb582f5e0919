// Training through sequences longer than memory, and on streams that carry their state: the gradients are those of the
// whole sequence, whatever is held of it; the weights are the same for any number of threads, and after a resume.
#include "qllk/train/sweep.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/data/batches.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/mixers/registry.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/testing/subject.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/trainer.hpp"
#include "support/allocations.hpp"
#include "support/models.hpp"
#include "support/temporary_folder.hpp"

namespace qllk::train {
namespace {

/// Pieces of what stood long before come again, also from beyond a window of 256 bytes.
data::Corpus text(std::size_t size) {
  Random random(5);
  std::vector<Byte> bytes;
  while (bytes.size() < size) {
    const auto count = static_cast<std::size_t>(1 + random.below(40)),
               back = static_cast<std::size_t>(1 + random.below(700));
    for (std::size_t i = 0; i < count; ++i)
      bytes.push_back(bytes.size() > back && count > 8 ? bytes[bytes.size() - back]
                                                       : static_cast<Byte>('a' + random.below(6)));
  }
  bytes.resize(size);
  return data::Corpus::from_memory(std::move(bytes));
}

template <class Model>
Model transformer(std::string_view mixer) {
  typename Model::Config config{
      .dim_local = 32, .dim = 64, .patch = 4, .encoder = 1, .layers = 1, .decoder = 2, .orders = 3, .bits = 6};
  config.match = {.lengths = {5, 3}, .window_bits = 8};
  config.mixer = config.mixer_local = {decltype(config.mixer)::value_type::named(mixer)};
  return Model(config);
}

TrainerSettings settings() {
  TrainerSettings s;
  s.batch = 3;
  s.context = 203;
  s.shards = 2;
  s.piece = 24;
  s.dropout = s.order_dropout = s.match_dropout = 0;
  s.optimizer.learning_rate = 4e-3;
  return s;
}

template <Real Scalar>
struct Gradients {
  std::vector<std::string> names;
  std::vector<Mat<Scalar>> values;  // the loss is the first
};

/// What the hook of the first step is given. Weights are disturbed, or tables would be zero.
template <class Model>
Gradients<typename Model::Scalar> gradients(const Model& model, const TrainerSettings& s, int threads = 1) {
  using Scalar = typename Model::Scalar;
  Trainer<Model> trainer(model, s, text(6000), threads);
  auto params = trainer.params();
  Random random(3);
  conformance::disturb(params, 0.1, random);
  trainer.restore(params, trainer.optimizer(), trainer.average(), trainer.progress());
  Gradients<Scalar> found;
  trainer.step(0, [&](auto& step, double& nats) {
    found.names.push_back("loss");
    found.values.push_back(Mat<Scalar>::Constant(1, 1, static_cast<Scalar>(nats)));
    for_each_parameter(
        [&](const Path& path, const auto& leaf) {
          if constexpr (requires { leaf.data(); }) {
            found.names.push_back(path.str());
            found.values.push_back(leaf);
          }
        },
        step.dense);
    for (const auto& lists : step.tables) {
      found.names.push_back("table");
      found.values.push_back(Mat<Scalar>::Zero(lists.front()->rows(), lists.front()->cols()));
      for (const auto* list : lists) found.values.back() += list->dense();
    }
  });
  return found;
}

template <Real Scalar>
void expect_near(const Gradients<Scalar>& found, const Gradients<Scalar>& expected, double tolerance) {
  ASSERT_EQ(found.names, expected.names);
  for (std::size_t i = 0; i < found.values.size(); ++i) {
    if (expected.values[i].size() == 0) continue;
    // a gradient that is zero but for rounding, as that of a bias before a norm, is compared with the loss's
    EXPECT_TRUE(conformance::relative_error(found.values[i], expected.values[i], 1e-4) <= tolerance)
        << found.names[i] << ": " << conformance::relative_error(found.values[i], expected.values[i], 1e-4);
  }
}

template <Real Scalar>
void expect_same(const Gradients<Scalar>& found, const Gradients<Scalar>& expected) {
  ASSERT_EQ(found.names, expected.names);
  for (std::size_t i = 0; i < found.values.size(); ++i)
    EXPECT_TRUE(found.values[i] == expected.values[i]) << found.names[i];
}

template <class Model>
void expect_whole(const Model& model) {
  auto s = settings();
  const auto whole = gradients(model, s);
  ASSERT_GT(whole.values[0](0, 0), 0);
  for (const auto& [chunk, borders] :
       {std::pair{1, 9}, {7, 0}, {7, 4}, {50, 0}, {50, 1}, {50, 2}, {64, 0}, {101, 1}, {202, 0}, {203, 0}, {900, 0}}) {
    SCOPED_TRACE("chunks of " + std::to_string(chunk) + ", " + std::to_string(borders) + " borders");
    s.chunk = chunk;
    s.borders = borders;
    const auto found = gradients(model, s, 2);
    if (chunk >= s.context)
      expect_same(found, whole);
    else
      expect_near(found, whole, 1e-10);
  }
}

TEST(Sweep, GradientsAreThoseOfTheWholeSequenceWithEveryMixer) {
  for (const auto mixer : mixers::Registered<double>::names) {
    SCOPED_TRACE(mixer);
    expect_whole(transformer<QLLKTransformer<double, mixers::Registered>>(mixer));
  }
}

TEST(Sweep, GradientsAreThoseOfTheWholeSequenceOfTheClassicModel) {
  expect_whole(QLLKClassic<double>({.dim = 32, .layers = 2, .patch = 4}));
}

/// More chunks than states with features are kept, and a window that is shorter than the sequence many times over.
TEST(Sweep, FeaturesAreReadAgainExactly) {
  auto s = settings();
  s.batch = 2;
  s.context = 1501;
  const auto model = transformer<QLLKTransformer<double, mixers::Registered>>("latent");
  const auto whole = gradients(model, s);
  s.chunk = 23;
  for (const int borders : {0, 3, 7}) {
    SCOPED_TRACE(borders);
    s.borders = borders;
    expect_near(gradients(model, s, 2), whole, 1e-10);
  }
}

/// What is left out at random is the same when a chunk is computed again.
TEST(Sweep, NeitherBordersNorThreadsChangeABit) {
  auto s = settings();
  s.chunk = 30;
  s.dropout = 0.2;
  s.order_dropout = 0.3;
  s.match_dropout = 0.3;
  const auto model = transformer<QLLKTransformer<float>>("latent");
  const auto all = gradients(model, s, 1);
  for (const Index borders : {0, 1, 2, 3})
    for (const int threads : {1, 2, 4}) {
      SCOPED_TRACE(std::to_string(borders) + " borders, " + std::to_string(threads) + " threads");
      s.borders = borders;
      expect_same(gradients(model, s, threads), all);
    }
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

template <class Model>
Model small();
template <>
QLLKClassic<float> small() {
  return QLLKClassic<float>({.dim = 32, .layers = 1, .patch = 4});
}
template <>
QLLKTransformer<float> small() {
  return transformer<QLLKTransformer<float>>("latent");
}

template <class Model>
class LongTraining : public ::testing::Test {};
using Models = ::testing::Types<QLLKClassic<float>, QLLKTransformer<float>>;
TYPED_TEST_SUITE(LongTraining, Models);

TYPED_TEST(LongTraining, AnyNumberOfThreadsGivesTheSameBits) {
  for (const Crops crops : {Crops::random, Crops::consecutive}) {
    auto s = settings();
    s.chunk = 40;
    if (!std::is_same_v<TypeParam, QLLKClassic<float>>) s.dropout = 0.1;  // which has none
    s.crops = crops;
    const auto train = [&](int threads) {
      Trainer<TypeParam> trainer(small<TypeParam>(), s, text(6000), threads);
      trainer.run({.steps = 12}, [](const StepReport&) { return true; });
      return trainer;
    };
    const auto one = train(1);
    for (const int threads : {2, 3}) {
      const auto many = train(threads);
      expect_same_bits(one.params(), many.params());
      expect_same_bits(one.optimizer(), many.optimizer());
      expect_same_bits(one.carried(), many.carried());
    }
  }
}

/// In the middle of an epoch, and at its begin; whole and in chunks.
TYPED_TEST(LongTraining, ResumingIsNeverHavingStopped) {
  const test::TemporaryFolder folder;
  const auto file = folder / "training.safetensors";
  auto s = settings();
  s.crops = Crops::consecutive;
  s.match_dropout = 0.1;
  const Budget budget{.steps = 23};
  const auto go_on = [](const StepReport&) { return true; };
  for (const Index chunk : {0, 50}) {
    s.chunk = chunk;
    Trainer<TypeParam> whole(small<TypeParam>(), s, text(6000), 2);  // 9 steps an epoch
    whole.run(budget, go_on);
    for (const int stop : {1, 9, 14}) {
      SCOPED_TRACE(stop);
      {
        Trainer<TypeParam> first(small<TypeParam>(), s, text(6000), 1);
        first.run(budget, [&](const StepReport&) { return first.progress().steps < stop; });
        save_checkpoint(file, first, budget);
      }
      const Checkpoint checkpoint(file);
      EXPECT_EQ(checkpoint.settings().chunk, chunk);
      EXPECT_EQ(checkpoint.settings().crops, Crops::consecutive);
      Trainer<TypeParam> second(checkpoint.model<TypeParam>(), checkpoint.settings(), text(6000), 3);
      checkpoint.restore(second);
      second.run(checkpoint.budget(), go_on);
      expect_same_bits(whole.params(), second.params());
      expect_same_bits(whole.optimizer(), second.optimizer());
      expect_same_bits(whole.carried(), second.carried());
    }
  }
}

/// With weights that stand still the losses of an epoch are those of its streams, read from begin to end.
TYPED_TEST(LongTraining, StreamsCarryTheirState) {
  auto s = settings();
  s.crops = Crops::consecutive;
  s.optimizer.learning_rate = 1e-30;
  s.rows.rate = 0;
  const auto bytes = text(6000);
  const data::ConsecutiveSegments segments(bytes, s.seed, s.batch, s.context);
  const auto steps = static_cast<std::int64_t>(segments.batches_per_epoch());
  ASSERT_GT(steps, 5);
  for (const Index chunk : {0, 60}) {
    s.chunk = chunk;
    Trainer<TypeParam> trainer(small<TypeParam>(), s, bytes, 2);
    std::vector<double> found;
    for (std::int64_t i = 0; i < 2 * steps; ++i) found.push_back(trainer.step(0).bits_per_byte);

    const auto& model = trainer.model();
    const auto count = static_cast<std::size_t>(s.batch * s.context);
    std::vector<Byte> inputs(count), targets(count);
    std::vector<typename TypeParam::State> states;
    double carried = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      segments.batch(i, inputs, targets);
      if (segments.starts_anew(i)) {
        states.assign(static_cast<std::size_t>(s.batch), model.initial_state(1));
        if constexpr (requires { model.history(); })
          segments.for_each_start(i, [&](Index j, std::uint64_t start) {
            std::vector<Byte> before(static_cast<std::size_t>(std::min<std::uint64_t>(start, 256)));
            bytes.copy(start - before.size(), before);
            model.prime(states[static_cast<std::size_t>(j)], 0, before);
          });
      }
      double nats = 0, alone = 0;
      for (Index j = 0; j < s.batch; ++j) {
        const auto part = [&](const auto& all) {
          return Bytes(all).subspan(static_cast<std::size_t>(j * s.context), static_cast<std::size_t>(s.context));
        };
        typename TypeParam::Cache cache;
        Mat<float> logits;
        model.forward(trainer.params(), part(inputs), states[static_cast<std::size_t>(j)], cache, logits);
        nats += nn::cross_entropy<float>(part(targets), logits);
        auto fresh = model.initial_state(1);
        model.forward(trainer.params(), part(inputs), fresh, cache, logits);
        alone += nn::cross_entropy<float>(part(targets), logits);
      }
      const double expected = nats / static_cast<double>(count) * nn::kBitsPerNat;
      EXPECT_TRUE(std::abs(found[i] - expected) <= 1e-5 * expected) << i << ": " << found[i] << ", " << expected;
      carried += std::abs(nats - alone) / nats;
    }
    EXPECT_GT(carried, 1e-4);
  }
}

/// A step that failed has not happened: the streams stand where they stood.
TYPED_TEST(LongTraining, AFailedStepLeavesNothingBehind) {
  for (const Index chunk : {0, 50}) {
    auto s = settings();
    s.crops = Crops::consecutive;
    s.chunk = chunk;
    Trainer<TypeParam> whole(small<TypeParam>(), s, text(6000), 2), failing(small<TypeParam>(), s, text(6000), 2);
    for (int i = 0; i < 12; ++i) {
      whole.step(0);
      if (i % 4 == 1) {
        EXPECT_THROW(failing.step(0, [](auto&, double&) { throw std::runtime_error("no network"); }),
                     std::runtime_error);
      }
      failing.step(0);
    }
    expect_same_bits(whole.params(), failing.params());
    expect_same_bits(whole.carried(), failing.carried());
  }
}

/// A state that is not finite would spoil all steps of an epoch.
TYPED_TEST(LongTraining, WhatIsNotFiniteIsNotCarriedOn) {
  auto s = settings();
  s.crops = Crops::consecutive;
  Trainer<TypeParam> trainer(small<TypeParam>(), s, text(6000), 2);
  trainer.step(0);
  auto carried = trainer.carried();
  for_each_parameter(
      [](const Path&, auto& leaf) {
        if (leaf.size() > 0) leaf.data()[0] = std::numeric_limits<float>::quiet_NaN();
      },
      carried);
  trainer.restore(trainer.params(), trainer.optimizer(), trainer.average(), trainer.progress(), carried);
  EXPECT_TRUE(trainer.step(0).skipped);
  EXPECT_FALSE(trainer.step(0).skipped);
}

TYPED_TEST(LongTraining, AStepDoesNotAllocate) {
  if (!test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  auto s = settings();
  s.context = 240;
  s.chunk = 60;
  s.borders = 2;
  Trainer<TypeParam> trainer(small<TypeParam>(), s, text(2000), 2);
  for (int i = 0; i < 20; ++i) trainer.step(0.5);
  long least = std::numeric_limits<long>::max();
  for (int attempt = 0; attempt < 5 && least > 0; ++attempt) {
    const long before = test::allocations();
    for (int i = 0; i < 3; ++i) trainer.step(0.5);
    least = std::min(least, test::allocations() - before);
  }
  EXPECT_EQ(least, 0);
}

TYPED_TEST(LongTraining, SettingsThatMakeNoSenseAreErrors) {
  const auto make = [](auto change, std::size_t bytes = 6000) {
    auto s = settings();
    change(s);
    Trainer<TypeParam>(small<TypeParam>(), s, text(bytes), 1);
  };
  EXPECT_THROW(make([](auto& s) { s.chunk = -1; }), std::invalid_argument);
  EXPECT_THROW(make([](auto& s) { s.borders = -1; }), std::invalid_argument);
  EXPECT_THROW(make([](auto&) {}, 203), std::invalid_argument);
  EXPECT_NO_THROW(make([](auto&) {}, 204));
  EXPECT_THROW(make([](auto& s) { s.crops = Crops::consecutive; }, 609), std::invalid_argument);
  EXPECT_NO_THROW(make([](auto& s) { s.crops = Crops::consecutive; }, 610));
}

}  // namespace
}  // namespace qllk::train
