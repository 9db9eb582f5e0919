// What every model's training promises: the same weights for any number of threads, the same after a resume, no
// allocation in a step, nothing learned from bytes that a row must not see.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/data/corpus.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/testing/subject.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"
#include "support/allocations.hpp"
#include "support/golden_training.hpp"
#include "support/models.hpp"
#include "support/temporary_folder.hpp"
#include "support/words.hpp"

namespace qllk::train {
namespace {

template <class Model>
Model small();
template <>
QLLKClassic<float> small() {
  return QLLKClassic<float>({.dim = 32, .layers = 1, .patch = 4});
}
template <>
QLLKTransformer<float> small() {
  return QLLKTransformer<float>({.dim_local = 16, .dim = 32, .patch = 4, .layers = 1, .decoder = 1, .bits = 12});
}

/// With the dropout that the model has.
template <class Model>
TrainerSettings settings() {
  TrainerSettings s;
  s.batch = 6;
  s.context = 40;
  if (!std::is_same_v<Model, QLLKClassic<float>>) {
    s.dropout = 0.1;
    s.order_dropout = 0.3;
  }
  s.optimizer.learning_rate = 4e-3;
  s.schedule.warmup = 5;
  s.average.every = 3;
  return s;
}

constexpr linalg::Precision kPrecisions[] = {linalg::Precision::full, linalg::Precision::bfloat16};

data::Corpus random_corpus(std::size_t size, std::uint64_t seed) {
  Random random(seed);
  std::vector<Byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<Byte>(random.bits());
  return data::Corpus::from_memory(std::move(bytes));
}

data::Corpus words(std::size_t size) { return data::Corpus::from_memory(test::words(size)); }

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
class TrainingContracts : public ::testing::Test {};
using Models = ::testing::Types<QLLKClassic<float>, QLLKTransformer<float>>;
TYPED_TEST_SUITE(TrainingContracts, Models);

TYPED_TEST(TrainingContracts, AnyNumberOfThreadsGivesTheSameBits) {
  for (const auto precision : kPrecisions) {
    const auto train = [precision](int threads) {
      auto s = settings<TypeParam>();
      s.precision = precision;
      Trainer<TypeParam> trainer(small<TypeParam>(), s, words(5000), threads);
      trainer.run({.steps = 12}, [](const StepReport&) { return true; });
      return trainer;
    };
    const auto one = train(1);
    for (const int threads : {2, 3, 4}) {
      SCOPED_TRACE(threads);
      const auto many = train(threads);
      expect_same_bits(one.params(), many.params());
      expect_same_bits(one.optimizer(), many.optimizer());
      expect_same_bits(one.average(), many.average());
    }
  }
}

/// Of weights that have learned a little: all dense gradients together, and the loss.
TYPED_TEST(TrainingContracts, GradientsOfBFloat16AreNearThoseOfFloat) {
  Trainer<TypeParam> start(small<TypeParam>(), settings<TypeParam>(), words(5000), 2);
  start.run({.steps = 20}, [](const StepReport&) { return true; });
  const auto gradients = [&](linalg::Precision precision, double& loss) {
    auto s = settings<TypeParam>();
    s.precision = precision;
    Trainer<TypeParam> trainer(small<TypeParam>(), s, words(5000), 2);
    trainer.restore(start.params(), start.optimizer(), start.average(), start.progress());
    std::vector<double> all;
    loss = trainer
               .step(0,
                     [&](auto& step, double) {
                       for_each_parameter(
                           [&](const Path&, const auto& leaf) {
                             if constexpr (requires { leaf.data()[0] * 1.f; })
                               all.insert(all.end(), leaf.data(), leaf.data() + leaf.size());
                           },
                           step.dense);
                     })
               .bits_per_byte;
    return all;
  };
  double exact_loss = 0, rounded_loss = 0;
  const auto exact = gradients(linalg::Precision::full, exact_loss);
  const auto rounded = gradients(linalg::Precision::bfloat16, rounded_loss);
  ASSERT_EQ(exact.size(), rounded.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    difference += (exact[i] - rounded[i]) * (exact[i] - rounded[i]);
    norm += exact[i] * exact[i];
  }
  const double error = std::sqrt(difference / norm);
  EXPECT_TRUE(error <= 0.02) << error;  // a factor is rounded by 2^-9 at the most, and several layers follow each other
  EXPECT_TRUE(error >= 1e-5) << error << ": nothing is rounded";
  EXPECT_TRUE(std::abs(exact_loss - rounded_loss) <= 0.005 * exact_loss) << exact_loss << ", " << rounded_loss;
}

/// Another compiler or processor adds in another order: the score after a training stays within a tolerance.
TYPED_TEST(TrainingContracts, TheScoreIsThatOfEveryMachineWithinATolerance) {
  auto trainer = test::golden_training<TypeParam>();
  const double bits = test::golden_score(trainer);
  constexpr double expected = test::Golden<TypeParam>::kBitsPerByte;
  EXPECT_TRUE(std::abs(bits - expected) <= test::kGoldenTolerance * expected) << bits << ", expected " << expected;
}

/// A long sequence is cut along its length; the state, and its gradient on the way back, go from piece to piece.
TYPED_TEST(TrainingContracts, PiecesOfASequenceAreTheSequence) {
  auto s = settings<TypeParam>();
  s.batch = 3;
  s.context = 101;
  s.shards = 1;
  s.dropout = s.order_dropout = s.match_dropout = 0;
  const auto train = [&](Index piece, int threads) {
    s.piece = piece;
    Trainer<TypeParam> trainer(small<TypeParam>(), s, words(5000), threads);
    std::vector<double> norms;
    trainer.run({.steps = 3}, [&](const StepReport& report) {
      norms.push_back(report.gradient_norm);
      return true;
    });
    return std::pair(std::move(trainer), norms);
  };
  const auto [whole, norms] = train(1000, 1);
  for (const Index piece : {150, 30, 3}) {
    SCOPED_TRACE(piece);
    const auto [one, same] = train(piece, 1);
    ASSERT_TRUE(norms[0] > 0);
    for (std::size_t i = 0; i < norms.size(); ++i) EXPECT_TRUE(std::abs(norms[i] - same[i]) <= 1e-4 * norms[i]) << i;
    for (const int threads : {2, 4}) expect_same_bits(one.params(), train(piece, threads).first.params());
  }
}

TYPED_TEST(TrainingContracts, ResumingIsNeverHavingStopped) {
  const test::TemporaryFolder folder;
  const auto file = folder / "training.safetensors";
  const Budget budget{.steps = 11};
  const auto go_on = [](const StepReport&) { return true; };
  auto s = settings<TypeParam>();
  s.precision = linalg::Precision::bfloat16;  // which the checkpoint has to tell
  Trainer<TypeParam> whole(small<TypeParam>(), s, words(5000), 2);
  whole.run(budget, go_on);
  {
    Trainer<TypeParam> first(small<TypeParam>(), s, words(5000), 1);
    first.run(budget, [&](const StepReport&) { return first.progress().steps < 4; });
    save_checkpoint(file, first, budget);
  }
  const Checkpoint checkpoint(file);
  Trainer<TypeParam> second(checkpoint.model<TypeParam>(), checkpoint.settings(), words(5000), 3);
  checkpoint.restore(second);
  EXPECT_EQ(second.progress().steps, 4);
  second.run(checkpoint.budget(), go_on);
  EXPECT_EQ(second.progress().steps, 11);
  expect_same_bits(whole.params(), second.params());
  expect_same_bits(whole.optimizer(), second.optimizer());
  expect_same_bits(whole.average(), second.average());
}

/// With degree 2 the weights after every third update count as 1, 3, 6, 10, …
TYPED_TEST(TrainingContracts, TheAverageIsOfTheWeightsOnTheWay) {
  auto s = settings<TypeParam>();
  s.average.degree = 2;
  Trainer<TypeParam> trainer(small<TypeParam>(), s, words(5000), 2);
  const auto flat = [](const auto& params) {
    std::vector<double> out;
    for_each_parameter(
        [&](const Path&, const auto& leaf) {
          if constexpr (!linalg::is_hash_table_v<std::remove_cvref_t<decltype(leaf)>>)
            out.insert(out.end(), leaf.data(), leaf.data() + leaf.size());
        },
        params);
    return out;
  };
  std::vector<double> sum(flat(trainer.params()).size());
  double counts = 0;
  for (int step = 1; step <= 16; ++step) {
    trainer.step(0);
    if (step < 3) trainer.with_average([&](const auto& params) { expect_same_bits(params, trainer.params()); });
    if (step % 3 != 0) continue;
    const double n = step / 3, count = n * (n + 1) / 2;
    const auto now = flat(trainer.params());
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += count * now[i];
    counts += count;
  }
  const auto last = trainer.params();
  const auto flat_last = flat(last);
  const auto average = trainer.with_average([&](const auto& params) { return flat(params); });
  EXPECT_EQ(average, flat(trainer.average()));
  expect_same_bits(last, trainer.params());  // exchanged, and back again
  EXPECT_THROW(trainer.with_average([&](const auto&) { trainer.params(); }), std::logic_error);
  EXPECT_THROW(trainer.with_average([&](const auto&) { trainer.step(0); }), std::logic_error);
  double largest = 0;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    EXPECT_TRUE(std::abs(average[i] - sum[i] / counts) <= 1e-6) << i;
    largest = std::max(largest, std::abs(average[i] - flat_last[i]));
  }
  EXPECT_TRUE(largest > 1e-3) << largest;
  EXPECT_THROW(trainer.with_average([](const auto&) { throw std::runtime_error("while it is used"); }),
               std::runtime_error);
  expect_same_bits(last, trainer.params());
  for_each_parameter(
      [](const Path& path, const auto& leaf, const auto& mean) {
        EXPECT_EQ(mean.size(), linalg::is_hash_table_v<std::remove_cvref_t<decltype(leaf)>> ? 0 : leaf.size())
            << path.str();
      },
      trainer.params(), trainer.average());
}

TYPED_TEST(TrainingContracts, WithoutAnAverageTheLastWeightsAreUsed) {
  auto s = settings<TypeParam>();
  s.average.every = 0;
  Trainer<TypeParam> trainer(small<TypeParam>(), s, words(5000), 2);
  for (int step = 0; step < 4; ++step) trainer.step(0);
  trainer.with_average([&](const auto& params) { EXPECT_EQ(&params, &trainer.params()); });
  EXPECT_EQ(parameter_count(trainer.average()), 0);  // no memory for what is not there
}

/// Blocks too few or too many, and tensors of another size.
TYPED_TEST(TrainingContracts, RestoringAnotherModelIsAnError) {
  const auto make = [](Index layers, Index dim) {
    auto config = small<TypeParam>().config();
    config.layers = layers;
    config.dim = dim;
    return Trainer<TypeParam>(TypeParam(config), settings<TypeParam>(), words(5000), 1);
  };
  auto trainer = make(2, 32);
  const auto before = trainer.params();
  const auto restore = [&](const Trainer<TypeParam>& other) {
    trainer.restore(other.params(), other.optimizer(), other.average(), other.progress());
  };
  for (const auto& [layers, dim] : {std::pair{1, 32}, {3, 32}, {2, 48}})
    EXPECT_THROW(restore(make(layers, dim)), std::invalid_argument) << layers << " layers of " << dim;
  expect_same_bits(before, trainer.params());
  EXPECT_NO_THROW(restore(make(2, 32)));
}

TYPED_TEST(TrainingContracts, AStepDoesNotAllocate) {
  if (!test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  auto s = settings<TypeParam>();
  s.batch = 8;
  s.context = 128;
  for (const auto precision : kPrecisions) {
    s.precision = precision;
    Trainer<TypeParam> trainer(small<TypeParam>(), s, words(5000), 2);
    // each thread has buffers that it gets in its first task, which on a busy machine may come late
    long least = std::numeric_limits<long>::max();
    for (int attempt = 0; attempt < 5 && least > 0; ++attempt) {
      const long before = test::allocations();
      for (int i = 0; i < 5; ++i) trainer.step(0.5);
      least = std::min(least, test::allocations() - before);
    }
    EXPECT_EQ(least, 0);
  }
}

/// 4,096 fresh random bytes cost 8 bits each if nothing is known of them; a model that saw what it predicts would pay
/// less.
TYPED_TEST(TrainingContracts, NothingIsLearnedFromRandomBytes) {
  auto s = settings<TypeParam>();
  s.batch = 16;
  s.context = 64;
  Trainer<TypeParam> trainer(small<TypeParam>(), s, random_corpus(1 << 20, 1), 2);
  trainer.run({.steps = 300}, [](const StepReport&) { return true; });
  const Score score = evaluate(trainer.model(), trainer.params(), random_corpus(1 << 15, 2));
  // log-probabilities of a near-uniform model spread by well below 1 bit: 4 standard errors of 2^15 bytes are below
  // 0.02
  EXPECT_TRUE(score.bits_per_byte() >= 8.0 - 0.02) << score.bits_per_byte();
  EXPECT_TRUE(score.bits_per_byte() <= 9.5) << score.bits_per_byte();
}

TYPED_TEST(TrainingContracts, LearnsWords) {
  auto s = settings<TypeParam>();
  s.precision = linalg::kFastestPrecision;
  Trainer<TypeParam> trainer(small<TypeParam>(), s, words(20000), 2);
  const double before = evaluate(trainer.model(), trainer.params(), words(2000)).bits_per_byte();
  trainer.run({.steps = 100}, [](const StepReport&) { return true; });
  const double after = evaluate(trainer.model(), trainer.params(), words(2000)).bits_per_byte();
  // eight words of equal chance are 0.6 bits a byte; what is known before is what matches tell without any training
  const double bound = std::is_same_v<TypeParam, QLLKClassic<float>> ? before - 2 : 1.1;
  EXPECT_TRUE(after < bound && after < before - 0.7) << before << " to " << after;
}

/// Sequences of one text, of which a step leaves out other values each.
TEST(TrainingNoise, SequencesDropValuesOfTheirOwn) {
  using Model = QLLKTransformer<float>;
  auto config = small<Model>().config();
  config.recency = 0;  // nor anything else that knows how far a position is from the text's begin
  config.words = 0;
  config.match.lengths = {};
  auto s = settings<Model>();
  s.dropout = 0.5;
  const auto loss = [&](Index sequences) {
    s.batch = s.shards = sequences;
    return Trainer<Model>(Model(config), s, data::Corpus::from_memory(std::vector<Byte>(500, 'a')), 1)
        .step(0)
        .bits_per_byte;
  };
  const double one = loss(1), two = loss(2);
  EXPECT_TRUE(std::abs(one - two) >= 1e-4 * one) << one << ", " << two;
}

/// A crop's features know the bytes before it, as far as scoring would: the loss of a step is that of its crops, each
/// after as much of the text as the memory holds.
TEST(StreamMemory, TrainingSeesWhatScoringSees) {
  using Model = QLLKTransformer<float>;
  auto config = small<Model>().config();
  config.match = {.lengths = {6, 3}, .window_bits = 8};
  config.recency = 9;
  const Model model(config);
  auto s = settings<QLLKTransformer<float>>();
  s.dropout = s.order_dropout = s.match_dropout = 0;
  const auto text = words(5000);
  for (const Index piece : {4096, 20}) {  // whole, and cut along its length
    s.piece = piece;
    Trainer<Model> trainer(model, s, text, 2);
    auto params = trainer.params();
    Random random(3);
    conformance::disturb(params, 0.1, random);
    trainer.restore(params, trainer.optimizer(), trainer.average(), trainer.progress());
    std::vector<Byte> inputs(static_cast<std::size_t>(s.batch * s.context)), targets(inputs.size());
    const data::RandomCrops crops(text, s.seed);
    crops.batch(0, s.batch, s.context, inputs, targets);
    double primed = 0, alone = 0;
    crops.for_each_start(0, s.batch, s.context, [&](Index i, std::uint64_t start) {
      const auto part = [&](const auto& all) {
        return Bytes(all).subspan(static_cast<std::size_t>(i * s.context), static_cast<std::size_t>(s.context));
      };
      std::vector<Byte> before(static_cast<std::size_t>(std::min<std::uint64_t>(start, 512)));
      text.copy(start - before.size(), before);
      for (double* const nats : {&alone, &primed}) {
        auto state = model.initial_state(1);
        if (nats == &primed) model.prime(state, 0, before);
        Model::Cache cache;
        Mat<float> logits;
        model.forward(params, part(inputs), state, cache, logits);
        *nats += nn::cross_entropy<float>(part(targets), logits);
      }
    });
    const double count = static_cast<double>(inputs.size());
    const double found = trainer.step(0).bits_per_byte;
    EXPECT_TRUE(std::abs(found - primed / count * nn::kBitsPerNat) <= 1e-5 * found)
        << found << ", expected " << primed / count * nn::kBitsPerNat;
    EXPECT_TRUE(std::abs(primed - alone) > 1e-3 * primed) << primed << ", " << alone;
  }
}

/// A block of bytes that comes again and again: what was read once is known, also where its bytes never stood in the
/// text that was trained on.
TEST(StreamMemory, WhatWasReadIsRemembered) {
  using Model = QLLKTransformer<float>;
  auto s = settings<QLLKTransformer<float>>();
  s.batch = 8;
  s.context = 128;
  s.order_dropout = 0;
  Random random(7);
  std::vector<Byte> text;  // of bytes below 128; here and there a piece of what stood before
  while (text.size() < 200000) {
    const std::size_t size = 10 + random.below(400);
    if (text.size() > 1000 && random.below(2) == 0) {
      // from near and far: how far back a copy may be is learned too
      const std::size_t reach = std::min<std::size_t>(text.size(), 8000),
                        from = text.size() - reach + random.below(reach - 500);
      for (std::size_t i = 0; i < size; ++i) text.push_back(text[from + i]);
    } else {
      for (std::size_t i = 0; i < size; ++i) text.push_back(static_cast<Byte>(random.below(128)));
    }
  }
  Trainer<Model> trainer(small<Model>(), s, data::Corpus::from_memory(std::move(text)), 2);
  trainer.run({.steps = 500}, [](const StepReport&) { return true; });
  for (const int first : {0, 128}) {
    const auto block = conformance::random_bytes(4096, random, 128);
    std::vector<Byte> once, thrice;
    for (int i = 0; i < 3; ++i) {
      for (const Byte byte : block) thrice.push_back(static_cast<Byte>(byte + first));
      if (i == 0) once = thrice;
    }
    const auto nats = [&](std::vector<Byte> bytes) {
      return evaluate(trainer.model(), trainer.params(), data::Corpus::from_memory(std::move(bytes))).nats;
    };
    const double bits = (nats(thrice) - nats(once)) / 8192 * nn::kBitsPerNat;
    EXPECT_TRUE(bits < (first == 0 ? 0.3 : 1.0)) << first << ": " << bits;
  }
}

TYPED_TEST(TrainingContracts, ScoresDoNotDependOnTheChunk) {
  const auto model = small<TypeParam>();
  Random random(1);
  const auto params = model.init(random);
  const auto text = words(3000);
  const auto score = [&](Index chunk) { return evaluate(model, params, text, {.chunk = chunk}).nats_per_byte(); };
  const double whole = score(4096);
  for (const Index chunk : {1, 7, 64, 1000}) EXPECT_TRUE(std::abs(score(chunk) - whole) <= 1e-6 * whole) << chunk;
}

TYPED_TEST(TrainingContracts, ScoresDoNotDependOnTheThreads) {
  const auto model = small<TypeParam>();
  Random random(1);
  const auto params = model.init(random);
  const auto text = words(3000);
  const double one = evaluate(model, params, text, {.chunk = 32}).nats;
  EXPECT_TRUE(one > 0);
  for (const int threads : {2, 3, 4})
    EXPECT_EQ(evaluate(model, params, text, {.chunk = 32, .threads = threads}).nats, one);
}

TYPED_TEST(TrainingContracts, AGradientThatIsNotFiniteIsSkippedAndCounted) {
  Trainer<TypeParam> trainer(small<TypeParam>(), settings<TypeParam>(), words(5000), 2);
  trainer.step(0);
  auto poisoned = trainer.params();
  bool first = true;
  for_each_parameter(
      [&](const Path&, auto& leaf) {
        if (std::exchange(first, false)) leaf.setConstant(std::numeric_limits<float>::quiet_NaN());
      },
      poisoned);
  trainer.restore(poisoned, trainer.optimizer(), trainer.average(), trainer.progress());
  const auto before = trainer.optimizer();
  const StepReport report = trainer.step(0);
  EXPECT_TRUE(report.skipped);
  EXPECT_EQ(trainer.progress().skipped, 1);
  EXPECT_EQ(trainer.progress().steps, 2);
  EXPECT_EQ(trainer.optimizer().updates, 1);
  expect_same_bits(before, trainer.optimizer());
  expect_same_bits(poisoned, trainer.params());
}

}  // namespace
}  // namespace qllk::train
