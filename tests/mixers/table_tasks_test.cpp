// The generators of bench/mixers: each answer follows from what was read before it, by the task's rule.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../../bench/mixers/tasks.hpp"

namespace mixer_table {
namespace {

/// Calls check(example) for several sequences of several lengths.
template <class Check>
void for_many(const char* task, Check&& check) {
  for (const Index length : {16, 64, 131})
    for (int seed = 0; seed < 20; ++seed) {
      SCOPED_TRACE(::testing::Message() << task << ", length " << length << ", seed " << seed);
      Random random = Random::of(length, seed);
      const Task& of = task_named(task);
      const Example example = of.generate(length, seed % 2 == 0 ? of.most(length) : 1 + seed % of.most(length), random);
      ASSERT_EQ(std::ssize(example.inputs), length);
      ASSERT_EQ(std::ssize(example.targets), length);
      ASSERT_EQ(std::ssize(example.roles), length);
      EXPECT_GT(std::ranges::count(example.roles, Example::kScored), 0);
      check(example);
    }
}

/// Of tasks that predict the next byte.
void expect_next_byte(const Example& example) {
  EXPECT_TRUE(std::equal(example.inputs.begin() + 1, example.inputs.end(), example.targets.begin()));
}

TEST(TableTasks, RecallAnswersWithWhatFollowedTheKeyBefore) {
  for_many("recall", [](const Example& example) {
    expect_next_byte(example);
    std::map<Byte, Byte> follower;
    Index queries = 0, keys = 0;
    std::map<Byte, Index> asked;
    for (std::size_t t = 0; t < example.inputs.size(); ++t) {
      if (example.roles[t] != Example::kScored) {
        EXPECT_TRUE(follower.count(example.inputs[t]) == 0 || example.inputs[t] == ' ' || example.inputs[t] >= 128);
      } else {
        ASSERT_EQ(follower.count(example.inputs[t]), 1u);
        EXPECT_EQ(example.targets[t], follower[example.inputs[t]]);
        ++queries, ++asked[example.inputs[t]];
      }
      follower.emplace(example.inputs[t], example.targets[t]);
    }
    for (const auto& [byte, next] : follower) keys += byte >= '@' && byte < 128 ? 1 : 0;
    EXPECT_EQ(queries % keys, 0);
    EXPECT_EQ(std::ssize(asked), keys);
    for (const auto& [key, times] : asked) EXPECT_EQ(times, queries / keys) << key;
  });
}

TEST(TableTasks, CopyingAnswersWithTheLettersInOrder) {
  for_many("selective_copying", [](const Example& example) {
    expect_next_byte(example);
    const auto bar = std::ranges::find(example.inputs, Byte{'|'});
    ASSERT_NE(bar, example.inputs.end());
    std::vector<Byte> letters, answers;
    std::copy_if(example.inputs.begin(), bar, std::back_inserter(letters), [](Byte byte) { return byte != '.'; });
    for (std::size_t t = 0; t < example.roles.size(); ++t)
      if (example.roles[t] == Example::kScored) answers.push_back(example.targets[t]);
    EXPECT_EQ(answers, letters);
    EXPECT_GE(std::ssize(letters), 1);
  });
}

TEST(TableTasks, InductionAnswersWithWhatFollowedTheMark) {
  for_many("induction", [](const Example& example) {
    expect_next_byte(example);
    const auto mark = std::ranges::find(example.inputs, Byte{'#'});
    ASSERT_LT(mark, example.inputs.end() - 1);
    EXPECT_EQ(example.inputs.back(), '#');
    EXPECT_EQ(example.targets.back(), mark[1]);
    EXPECT_EQ(example.roles.back(), Example::kScored);
    EXPECT_EQ(std::ranges::count(example.roles, Example::kScored), 1);
  });
}

TEST(TableTasks, SumsAnswerWithTheSumSoFar) {
  for (const auto& [task, modulus] : {std::pair("parity", 2), {"modular_addition", 5}})
    for_many(task, [&, m = modulus](const Example& example) {
      int sum = 0;
      for (std::size_t t = 0; t < example.inputs.size(); ++t) {
        sum = (sum + example.inputs[t] - '0') % m;
        EXPECT_EQ(example.targets[t], '0' + sum);
        EXPECT_NE(example.roles[t], Example::kFree);
      }
    });
}

/// Guessing is no better than the table says: answers are spread evenly.
TEST(TableTasks, AnswersAreSpreadEvenly) {
  for (const Task& task : kTasks) {
    SCOPED_TRACE(task.name);
    Random random(1);
    const Example all = examples(task, 4000, 32, task.most(32), Items::most, random);
    std::map<Byte, int> counts;
    int scored = 0, most = 0;
    for (std::size_t t = 0; t < all.roles.size(); ++t)
      if (all.roles[t] == Example::kScored) ++scored, most = std::max(most, ++counts[all.targets[t]]);
    EXPECT_NEAR(static_cast<double>(most) / scored, task.chance, 0.15 * task.chance + 0.01);
    EXPECT_EQ(static_cast<double>(counts.size()) * task.chance, 1);
  }
}

TEST(TableTasks, AreTheSameForTheSameSeed) {
  for (const Task& task : kTasks) {
    Random a(3), b(3), c(4);
    const auto of = [&](Random& random) { return examples(task, 4, 64, task.most(64), Items::any, random).inputs; };
    const auto first = of(a);
    EXPECT_EQ(first, of(b)) << task.name;
    EXPECT_NE(first, of(c)) << task.name;
  }
}

TEST(TableTasks, BadInputIsAnError) {
  Random random(1);
  EXPECT_THROW(task_named("addition"), std::invalid_argument);
  EXPECT_THROW(examples(kTasks[0], 1, 15, 1, Items::most, random), std::invalid_argument);
}

}  // namespace
}  // namespace mixer_table
