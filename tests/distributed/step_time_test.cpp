#include "qllk/distributed/step_time.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "distributed/training_cases.hpp"
#include "qllk/distributed/data_parallel.hpp"
#include "support/models.hpp"
#include "support/thread_team.hpp"

namespace qllk::distributed {
namespace {

TEST(StepTime, HidesBytesBehindProducts) {
  const StepWork work{.shared = 0.8, .products = 0.2, .each = 0.1, .dense = 4e6, .sparse = 2e6, .parts = 4};
  const Network slow{.bytes_per_second = 1e7, .latency = 1e-3}, fast{.bytes_per_second = 1e9, .latency = 1e-3};
  EXPECT_DOUBLE_EQ(step_seconds(work, slow, 1), 0.9);
  EXPECT_DOUBLE_EQ(step_seconds(work, slow, 2), 0.3 + 0.1 + (0.5 + 0.1 / 4) + 5e-3);
  EXPECT_DOUBLE_EQ(step_seconds(work, fast, 2), 0.3 + 0.1 + (0.1 + 0.005 / 4) + 5e-3);
  EXPECT_DOUBLE_EQ(local_step_seconds(work, slow, 1, 50, 1e6), 0.9);
  EXPECT_DOUBLE_EQ(local_step_seconds(work, slow, 2, 50, 1e6), 0.9 + (5e6 / 1e7 + 5e-3) / 50);
}

/// The bytes of the model are those that an exchange counts.
TEST(StepTime, KnowsTheBytes) {
  for (const int processes : {2, 4}) {
    std::vector<Traffic> sent(4);
    std::uint64_t dense = 0;
    test::run_team(processes, [&](Team& team) {
      DataParallel<float> exchange(team);
      train::Trainer<QLLKTransformer<float>> trainer(test::tiny_model<QLLKTransformer<float>>(), test::tiny_settings(),
                                                     test::tiny_text(), 1, &exchange);
      const Traffic before = exchange.traffic();
      trainer.run({.steps = 1}, [](const train::StepReport&) { return true; });
      sent[static_cast<std::size_t>(team.rank())] = {exchange.traffic().dense - before.dense,
                                                     exchange.traffic().sparse - before.sparse};
      if (team.leads())
        for_each_parameter(
            [&](const Path&, const auto& leaf) {
              if constexpr (!linalg::is_hash_table_v<std::remove_cvref_t<decltype(leaf)>>)
                dense += static_cast<std::uint64_t>(leaf.size()) * sizeof(float);
            },
            trainer.params());
    });
    double sparse = 0, most = 0;
    for (const Traffic& process : sent) {
      sparse += static_cast<double>(process.sparse) / (processes - 1);
      most = std::max(most, static_cast<double>(process.dense));
    }
    const StepWork work{.shared = 0, .products = 0, .each = 0, .dense = static_cast<double>(dense), .sparse = sparse};
    const double expected = step_seconds(work, {.bytes_per_second = 1, .latency = 0}, processes);
    double mean = 0;
    for (const Traffic& process : sent) mean += static_cast<double>(process.dense + process.sparse) / processes;
    EXPECT_NEAR(mean, expected, 1e-3 * expected) << processes;
    EXPECT_NEAR(most, 2 * static_cast<double>(dense) * (processes - 1) / processes, 1e-3 * most) << processes;
  }
}

}  // namespace
}  // namespace qllk::distributed
