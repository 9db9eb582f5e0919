#include "qllk/core/turns.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "qllk/core/threads.hpp"

namespace qllk {
namespace {

TEST(Turns, EveryStageIsPassedInOrder) {
  constexpr Index kStages = 5, kItems = 40;
  ThreadPool pool(4);
  Turns turns(kStages);
  std::vector<std::vector<Index>> order(kStages);  // a stage is entered by one at a time, which is what is tested
  for (int round = 0; round < 20; ++round) {
    turns.reset();
    for (auto& stage : order) stage.clear();
    pool.run(kItems, [&](Index i) {
      const Turn turn(turns, i);
      for (Index stage = 0; stage < kStages; ++stage)
        turn(stage, [&] { order[static_cast<std::size_t>(stage)].push_back(i); });
    });
    for (const auto& stage : order) {
      ASSERT_EQ(stage.size(), static_cast<std::size_t>(kItems));
      for (Index i = 0; i < kItems; ++i) EXPECT_EQ(stage[static_cast<std::size_t>(i)], i);
    }
  }
}

TEST(Turns, NobodyWaitsForOneThatFailed) {
  ThreadPool pool(3);
  Turns turns(2);
  turns.reset();
  EXPECT_THROW(pool.run(10,
                        [&](Index i) {
                          const Turn turn(turns, i);
                          turn.guard([&] {
                            turn(0, [&] {
                              if (i == 3) throw std::runtime_error("the fourth fails");
                            });
                            turn(1, [] {});
                          });
                        }),
               std::runtime_error);
}

TEST(Turn, WithoutTurnsWaitsForNobody) {
  bool ran = false;
  Turn()(17, [&] { ran = true; });
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace qllk
