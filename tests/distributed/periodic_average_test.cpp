#include "qllk/distributed/periodic_average.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "distributed/training_cases.hpp"
#include "qllk/train/evaluate.hpp"
#include "support/models.hpp"
#include "support/thread_team.hpp"

namespace qllk::distributed {
namespace {

using Model = QLLKTransformer<float>;
using Trainer = train::Trainer<Model>;

constexpr auto kGoOn = [](const train::StepReport&) { return true; };

template <class Tree>
std::uint64_t checksum(const Tree& tree) {
  files::Checksum sum;
  for_each_parameter(
      [&](const Path&, const auto& leaf) {
        sum.update(Bytes(reinterpret_cast<const Byte*>(leaf.data()), static_cast<std::size_t>(leaf.size()) * 4));
      },
      tree);
  return sum.value();
}

TEST(PeriodicAverage, AllHaveTheSameParametersAfterAMeeting) {
  for (const Averaging& averaging : {Averaging{.steps = 4}, Averaging{.steps = 4, .rate = 0.7, .momentum = 0.9}})
    for (const Wire wire : {Wire::full, Wire::half}) {
      std::vector<std::uint64_t> weights(3);
      test::run_team(3, [&](Team& team) {
        PeriodicAverage<float> exchange(team, averaging, wire);
        Trainer trainer(test::tiny_model<Model>(), test::tiny_settings(), test::tiny_text(), 1, &exchange);
        trainer.run({.steps = 10}, kGoOn);
        EXPECT_EQ(trainer.progress().steps, 12) << "a run ends at a meeting";
        EXPECT_EQ(trainer.progress().bytes, 12u * 7 * 40 * 3);
        weights[static_cast<std::size_t>(team.rank())] = checksum(trainer.params());
      });
      EXPECT_EQ(weights[0], weights[1]);
      EXPECT_EQ(weights[0], weights[2]);
    }
}

/// Two processes with one step between averages: dense parameters are the mean, a row that one of them touched is its
/// own.
TEST(PeriodicAverage, IsTheMean) {
  struct Leaves {
    std::vector<float> dense{1, 2}, table{0, 0, 0, 0, 0, 0}, moments{0, 0, 0, 0, 0, 0};  // 3 rows of 2
  };
  std::vector<Leaves> leaves(2);
  test::run_team(2, [&](Team& team) {
    const bool first = team.leads();
    Leaves& mine = leaves[first ? 0 : 1];
    PeriodicAverage<float> exchange(team, {.steps = 1});
    exchange.attach({{mine.dense}, {{mine.table, mine.moments, 3}}});
    SparseGrads<float> list(2, 3);
    list.add(first ? 0 : 2, list.grow(1), false);
    list.add(1, list.grow(1), false);
    std::vector<std::vector<SparseGrads<float>*>> tables{{&list}};
    const std::vector<std::vector<float>> no_dense(1);
    exchange.sum({.tables = tables, .partials = no_dense, .ends = {}, .compute = [](std::size_t) {}, .total = {}});
    std::ranges::copy(first ? std::vector<float>{3, 2} : std::vector<float>{5, 0}, mine.dense.begin());
    std::ranges::copy(first ? std::vector<float>{1, 2, 3, 4, 0, 0} : std::vector<float>{0, 0, 5, 0, 7, 8},
                      mine.table.begin());
    std::ranges::copy(first ? std::vector<float>{1, 1, 1, 3, 0, 0} : std::vector<float>{0, 0, 3, 2, 9, 1},
                      mine.moments.begin());
    exchange.after_update();
  });
  for (const Leaves& mine : leaves) {
    EXPECT_EQ(mine.dense, (std::vector<float>{4, 1}));
    EXPECT_EQ(mine.table, (std::vector<float>{1, 2, 4, 2, 7, 8}));
    EXPECT_EQ(mine.moments, (std::vector<float>{1, 1, 2, 3, 9, 1}));
  }
}

TEST(PeriodicAverage, TheOuterStepIsNesterovs) {
  std::vector<float> values(2);
  test::run_team(2, [&](Team& team) {
    std::vector<float> dense{1};
    PeriodicAverage<float> exchange(team, {.steps = 1, .rate = 0.5, .momentum = 0.5});
    exchange.attach({{dense}, {}});
    for (int i = 0; i < 2; ++i) {
      dense[0] -= team.leads() ? 1.0f : 3.0f;  // mean 2
      exchange.after_update();
    }
    values[team.leads() ? 0 : 1] = dense[0];
  });
  // u = 2, θ = 1 - 0.5 (2 + 1) = -0.5; u = 3, θ = -0.5 - 0.5 (2 + 1.5) = -2.25
  EXPECT_EQ(values, (std::vector<float>{-2.25f, -2.25f}));
}

/// The same number of bytes, a fraction of the traffic, nearly the score.
TEST(PeriodicAverage, ReachesTheScoreOfExchangedGradients) {
  auto settings = test::tiny_settings();
  settings.batch = 8;
  const auto held_out = test::tiny_text(9);
  const auto bits = [&](const Trainer& trainer) {
    return train::evaluate(trainer.model(), trainer.params(), held_out, [](const train::Score&) { return true; }, {})
        .bits_per_byte();
  };
  double together = 0, apart = 0;
  std::uint64_t together_bytes = 0, apart_bytes = 0;
  test::run_team(2, [&](Team& team) {
    DataParallel<float> exchange(team);
    Trainer trainer(test::tiny_model<Model>(), settings, test::tiny_text(), 1, &exchange);
    trainer.run({.steps = 600}, kGoOn);
    if (team.leads()) together = bits(trainer), together_bytes = exchange.traffic().dense;
  });
  settings.batch = 4;
  test::run_team(2, [&](Team& team) {
    PeriodicAverage<float> exchange(team, {.steps = 50});
    Trainer trainer(test::tiny_model<Model>(), settings, test::tiny_text(), 1, &exchange);
    trainer.run({.steps = 600}, kGoOn);
    if (team.leads()) apart = bits(trainer), apart_bytes = exchange.traffic().dense;
  });
  const double ratio = static_cast<double>(together_bytes) / static_cast<double>(apart_bytes);
  std::printf("together %.4f, apart %.4f bits per byte; dense bytes 1/%.1f\n", together, apart, ratio);
  EXPECT_TRUE(together > 0 && apart <= 1.01 * together) << apart << " against " << together;
  EXPECT_GT(ratio, 49);
}

TEST(PeriodicAverage, RefusesSettingsThatMakeNoSense) {
  test::run_team(1, [&](Team& team) {
    const auto make = [&](const Averaging& settings) { PeriodicAverage<float>(team, settings); };
    EXPECT_THROW(make({.steps = 0}), InvalidArgument);
    EXPECT_THROW(make({.steps = 1, .rate = 0}), InvalidArgument);
    EXPECT_THROW(make({.steps = 1, .rate = 1, .momentum = 1}), InvalidArgument);
    EXPECT_NO_THROW(make({.steps = 1, .rate = 0.7, .momentum = 0.9}));
  });
}

}  // namespace
}  // namespace qllk::distributed
