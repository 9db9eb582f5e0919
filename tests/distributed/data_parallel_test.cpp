#include "qllk/distributed/data_parallel.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "distributed/training_cases.hpp"
#include "qllk/train/checkpoint.hpp"
#include "support/models.hpp"
#include "support/temporary_folder.hpp"
#include "support/thread_team.hpp"

namespace qllk::distributed {
namespace {

template <class Model>
class DataParallelTraining : public ::testing::Test {};
using Models = ::testing::Types<QLLKClassic<float>, QLLKTransformer<float>>;
TYPED_TEST_SUITE(DataParallelTraining, Models);

struct Outcome {
  std::uint64_t weights = 0;
  std::vector<double> losses, norms;
  bool operator==(const Outcome&) const = default;
};

constexpr std::int64_t kSteps = 6;

template <class Model>
Outcome train(const train::TrainerSettings& settings, int threads, train::Exchange<float>* exchange,
              std::int64_t steps = kSteps) {
  train::Trainer<Model> trainer(test::tiny_model<Model>(), settings, test::tiny_text(), threads, exchange);
  Outcome outcome;
  trainer.run({.steps = steps}, [&](const train::StepReport& report) {
    outcome.losses.push_back(report.bits_per_byte);
    outcome.norms.push_back(report.gradient_norm);
    return true;
  });
  outcome.weights = test::checksum_of(trainer);
  return outcome;
}

template <class Model>
std::vector<Outcome> train_together(const train::TrainerSettings& settings, int processes) {
  std::vector<Outcome> outcomes(static_cast<std::size_t>(processes));
  test::run_team(processes, [&](Team& team) {
    DataParallel<float> exchange(team);
    outcomes[static_cast<std::size_t>(team.rank())] = train<Model>(settings, 1 + team.rank() % 2, &exchange);
  });
  return outcomes;
}

TYPED_TEST(DataParallelTraining, AnyNumberOfProcessesGivesTheBitsOfOne) {
  auto settings = test::tiny_settings();
  const Outcome one = train<TypeParam>(settings, 2, nullptr);
  ASSERT_EQ(one.losses.size(), std::size_t{kSteps});
  for (const int processes : {1, 2, 3, 4})
    for (const Outcome& outcome : train_together<TypeParam>(settings, processes)) {
      SCOPED_TRACE(processes);
      EXPECT_EQ(outcome.losses, one.losses);
      EXPECT_EQ(outcome.norms, one.norms);
      EXPECT_EQ(outcome.weights, one.weights);
    }
}

TYPED_TEST(DataParallelTraining, ShardsThatAreNoPowerOfTwoAreAddedAlike) {
  auto settings = test::tiny_settings();
  for (const Index shards : {5, 6}) {
    settings.shards = shards;
    const Outcome one = train<TypeParam>(settings, 1, nullptr);
    for (const int processes : {2, 3, 5})
      for (const Outcome& outcome : train_together<TypeParam>(settings, processes))
        EXPECT_EQ(outcome, one) << shards << " shards, " << processes << " processes";
  }
}

/// Long sequences are computed in chunks and these in pieces.
TYPED_TEST(DataParallelTraining, ChunksAreExchangedOneByOne) {
  auto settings = test::tiny_settings();
  settings.context = 61;
  settings.chunk = 16;
  settings.piece = 24;
  const Outcome one = train<TypeParam>(settings, 2, nullptr);
  for (const Outcome& outcome : train_together<TypeParam>(settings, 2)) EXPECT_EQ(outcome, one);
}

TYPED_TEST(DataParallelTraining, AnotherNumberOfProcessesResumes) {
  const test::TemporaryFolder folder;
  const auto file = folder / "training.safetensors";
  const auto settings = test::tiny_settings();
  const train::Budget budget{.steps = kSteps};
  using Trainer = train::Trainer<TypeParam>;
  test::run_team(4, [&](Team& team) {
    DataParallel<float> exchange(team);
    Trainer trainer(test::tiny_model<TypeParam>(), settings, test::tiny_text(), 1, &exchange);
    trainer.run(budget, [&](const train::StepReport&) { return trainer.progress().steps < 2; });
    EXPECT_EQ(trainer.progress().steps, 2);
    if (team.leads()) train::save_checkpoint(file, trainer, budget);
  });
  const std::uint64_t expected = train<TypeParam>(settings, 1, nullptr).weights;
  for (const int processes : {1, 3})
    test::run_team(processes, [&](Team& team) {
      DataParallel<float> exchange(team);
      const train::Checkpoint checkpoint(file);
      Trainer trainer(checkpoint.model<TypeParam>(), checkpoint.settings(), test::tiny_text(), 1, &exchange);
      checkpoint.restore(trainer);
      trainer.run(checkpoint.budget(), [](const train::StepReport&) { return true; });
      EXPECT_EQ(test::checksum_of(trainer), expected) << processes;
    });
}

/// Gradients of more values than travel at once: parts pass each other, and each is added when all of it has come.
TEST(DataParallel, PartsThatTravelOneByOneAreTheSum) {
  const std::vector<std::size_t> ends{7, 8, 40, 41, 100};
  for (const int processes : {2, 3, 4})
    test::run_team(processes, [&](Team& team) {
      DataParallel<float> exchange(team);
      exchange.share(processes);
      for (int step = 0; step < 20; ++step) {
        std::vector<std::vector<float>> partials(1, std::vector<float>(ends.back(), -1));
        std::vector<float> total(ends.back()), expected(ends.back(), 0);
        const auto value = [&](int rank, std::size_t i) {
          return static_cast<float>(1000 * step + 10 * static_cast<int>(i) + rank);
        };
        for (std::size_t i = 0; i < expected.size(); ++i)
          for (int rank = 0; rank < processes; ++rank) expected[i] += value(rank, i);
        exchange.sum({.tables = {},
                      .partials = partials,
                      .ends = ends,
                      .compute =
                          [&](std::size_t part) {
                            for (std::size_t i = part == 0 ? 0 : ends[part - 1]; i < ends[part]; ++i)
                              partials[0][i] = value(team.rank(), i);
                          },
                      .total = total});
        ASSERT_EQ(total, expected) << processes << " processes, step " << step;
      }
    });
}

/// A process computes with what all decoded: rounding takes nothing from their equality.
TYPED_TEST(DataParallelTraining, HalfTheBytesGiveNearlyTheSameTraining) {
  auto settings = test::tiny_settings();
  const auto run = [&](Wire wire) {
    std::vector<Outcome> outcomes(3);
    std::uint64_t bytes = 0;
    test::run_team(3, [&](Team& team) {
      DataParallel<float> exchange(team, wire);
      outcomes[static_cast<std::size_t>(team.rank())] = train<TypeParam>(settings, 1, &exchange, 150);
      if (team.leads()) bytes = exchange.traffic().dense;
    });
    EXPECT_EQ(outcomes[0], outcomes[1]);
    EXPECT_EQ(outcomes[0], outcomes[2]);
    return std::pair(outcomes[0], bytes);
  };
  const auto [full, full_bytes] = run(Wire::full);
  const auto [half, half_bytes] = run(Wire::half);
  EXPECT_EQ(half_bytes * 2, full_bytes);
  EXPECT_NE(half.weights, full.weights);
  const auto last = [](const Outcome& outcome) {
    double sum = 0;
    for (std::size_t i = outcome.losses.size() - 30; i < outcome.losses.size(); ++i) sum += outcome.losses[i] / 30;
    return sum;
  };
  std::printf("full %.4f, half %.4f bits per byte\n", last(full), last(half));
  EXPECT_LT(last(full), full.losses[0] / 2);
  EXPECT_TRUE(std::abs(last(half) - last(full)) <= 0.01 * last(full)) << last(half) << " against " << last(full);
}

/// Only the leader's clock and its on_step count.
TEST(DataParallel, TheLeaderEndsTheRunOfAll) {
  test::run_team(3, [&](Team& team) {
    DataParallel<float> exchange(team);
    train::Trainer<QLLKClassic<float>> trainer(test::tiny_model<QLLKClassic<float>>(), test::tiny_settings(),
                                               test::tiny_text(), 1, &exchange);
    trainer.run({.steps = kSteps},
                [&](const train::StepReport&) { return team.leads() ? trainer.progress().steps < 3 : false; });
    EXPECT_EQ(trainer.progress().steps, 3) << team.rank();
  });
}

TEST(DataParallel, RefusesMoreProcessesThanShards) {
  auto settings = test::tiny_settings();
  settings.batch = 2;
  try {
    train_together<QLLKClassic<float>>(settings, 3);
    FAIL() << "expected an error";
  } catch (const Disagreement& error) {
    EXPECT_STREQ(error.what(),
                 "3 processes share each batch, but it has 2 shards: start fewer processes, or raise `shards` and "
                 "`batch`");
  }
}

TEST(DataParallel, RefusesCarriedStates) {
  auto settings = test::tiny_settings();
  settings.crops = train::Crops::consecutive;
  EXPECT_THROW(train_together<QLLKTransformer<float>>(settings, 2), InvalidArgument);
  EXPECT_EQ(train_together<QLLKTransformer<float>>(settings, 1)[0],
            train<QLLKTransformer<float>>(settings, 1, nullptr));
}

TEST(DataParallel, TablesTravelSparsely) {
  const auto settings = test::tiny_settings();
  const auto model = test::tiny_model<QLLKTransformer<float>>();
  std::mutex mutex;
  test::run_team(2, [&](Team& team) {
    DataParallel<float> exchange(team);
    train::Trainer<QLLKTransformer<float>> trainer(model, settings, test::tiny_text(), 1, &exchange);
    const auto before = exchange.traffic();
    trainer.run({.steps = 1}, [](const train::StepReport&) { return true; });
    const auto dense = exchange.traffic().dense - before.dense, sparse = exchange.traffic().sparse - before.sparse;
    Index dense_values = 0, table_values = 0;
    for_each_parameter(
        [&](const Path&, const auto& leaf) {
          (linalg::is_hash_table_v<std::remove_cvref_t<decltype(leaf)>> ? table_values : dense_values) += leaf.size();
        },
        trainer.params());
    const std::lock_guard lock(mutex);
    EXPECT_NEAR(static_cast<double>(dense), static_cast<double>(dense_values) * sizeof(float), 16);
    EXPECT_GT(sparse, 0u);
    EXPECT_LT(sparse, static_cast<std::uint64_t>(table_values) * sizeof(float) / 10);
  });
}

TEST(Team, NamesWhoDiffers) {
  std::mutex mutex;
  int disagreements = 0;
  EXPECT_THROW(test::run_team(3,
                              [&](Team& team) {
                                expect_same(team, 7, "build", "install the same on all");
                                try {
                                  expect_same(team, team.rank() == 1 ? 8 : 9, "training text", "give all the same");
                                } catch (const Disagreement& error) {
                                  const std::lock_guard lock(mutex);
                                  ++disagreements;
                                  EXPECT_STREQ(error.what(),
                                               "process 1 (on thread1) has another training text than process 0 (on "
                                               "thread0): give all the same");
                                  throw;
                                }
                              }),
               Disagreement);
  EXPECT_EQ(disagreements, 3);
}

TEST(Team, TheLeadersTextReachesAll) {
  test::run_team(3, [&](Team& team) {
    EXPECT_EQ(from_leader(team, std::string(static_cast<std::size_t>(team.rank()), 'x') + "text"), "text");
  });
}

}  // namespace
}  // namespace qllk::distributed
