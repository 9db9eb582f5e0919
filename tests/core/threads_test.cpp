#include "qllk/core/threads.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace qllk {
namespace {

/// The smallest normal number over four, computed where it is called: a denormal, or zero where those are flushed.
float denormal() {
  volatile float smallest = std::numeric_limits<float>::min();
  volatile float four = 4;
  return smallest / four;
}

#if defined(__SSE2__) || defined(__aarch64__)
constexpr bool kFlushes = true;
#else
constexpr bool kFlushes = false;
#endif

class Pool : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, Pool, testing::Values(1, 2, 3, 4, 7), testing::PrintToStringParamName());

TEST_P(Pool, HasTheSizeAskedFor) { EXPECT_EQ(ThreadPool(GetParam()).size(), GetParam()); }

TEST_P(Pool, RunsEveryTaskOnce) {
  ThreadPool pool(GetParam());
  for (const Index count : {0, 1, 2, 3, 8, 1000}) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(count));
    pool.run(count, [&](Index i) { ++calls.at(static_cast<std::size_t>(i)); });
    for (const auto& n : calls) EXPECT_EQ(n, 1);
  }
}

TEST_P(Pool, RunsAgainAndAgain) {
  ThreadPool pool(GetParam());
  std::vector<long> sums(3);
  for (long round = 0; round < 5000; ++round)
    pool.run(3,
             [&](Index i) { sums[static_cast<std::size_t>(i)] += round; });  // unguarded: tasks of a round are distinct
  for (const long sum : sums) EXPECT_EQ(sum, 5000 * 4999 / 2);
}

TEST_P(Pool, ReturnsAfterTheSlowestTask) {
  ThreadPool pool(GetParam());
  std::atomic<int> ended{0};
  pool.run(4, [&](Index i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5 * i));
    ++ended;
  });
  EXPECT_EQ(ended, 4);
}

TEST_P(Pool, ThrowsWhatATaskThrewAfterAllHaveEnded) {
  ThreadPool pool(GetParam());
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::atomic<int> ended{0};
    std::string what;
    try {
      pool.run(10, [&](Index i) {
        ++ended;
        if (i == 3) throw std::runtime_error("task 3");
      });
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    EXPECT_EQ(what, "task 3");
    EXPECT_EQ(ended, 10);
  }
}

TEST_P(Pool, ThrowsOneOfSeveralAndIsUsableAfterwards) {
  ThreadPool pool(GetParam());
  EXPECT_THROW(pool.run(50, [](Index i) { throw std::out_of_range(std::to_string(i)); }), std::out_of_range);
  std::atomic<int> calls{0};
  EXPECT_NO_THROW(pool.run(50, [&](Index) { ++calls; }));
  EXPECT_EQ(calls, 50);
}

TEST_P(Pool, UsesNoMoreThreadsThanItsSize) {
  ThreadPool pool(GetParam());
  std::mutex mutex;
  std::set<std::thread::id> threads;
  pool.run(100, [&](Index) {
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_GE(threads.size(), 1u);
  EXPECT_LE(threads.size(), static_cast<std::size_t>(GetParam()));
}

TEST_P(Pool, RunsTasksAtTheSameTime) {
  // Each task waits for all the others: with fewer threads at work than the size, this would not end.
  const int size = GetParam();
  ThreadPool pool(size);
  std::atomic<int> arrived{0};
  pool.run(size, [&](Index) {
    ++arrived;
    while (arrived < size) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, size);
}

TEST_P(Pool, GivesTheSameResultForAnyNumberOfThreads) {
  const auto work = [](ThreadPool& pool) {
    std::vector<double> out(64);
    pool.run(64, [&](Index i) {
      double x = static_cast<double>(i);
      for (int k = 0; k < 100; ++k) x = x * 0.99 + 1 / (x + 1);
      out[static_cast<std::size_t>(i)] = x;
    });
    return out;
  };
  ThreadPool one(1), many(GetParam());
  EXPECT_EQ(work(one), work(many));
}

TEST_P(Pool, FlushesDenormalsInTasksOnly) {
  if (!kFlushes) GTEST_SKIP() << "this processor's denormals are left alone";
  ThreadPool pool(GetParam());
  ASSERT_NE(denormal(), 0);
  std::vector<float> seen(32, -1);
  pool.run(32, [&](Index i) { seen[static_cast<std::size_t>(i)] = denormal(); });
  for (const float x : seen) EXPECT_EQ(x, 0);
  EXPECT_NE(denormal(), 0);
  EXPECT_THROW(pool.run(4, [](Index) { throw std::runtime_error("thrown with denormals flushed"); }),
               std::runtime_error);
  EXPECT_NE(denormal(), 0);
}

TEST(FlushDenormals, RestoresWhatWasThereAndNests) {
  if (!kFlushes) GTEST_SKIP() << "this processor's denormals are left alone";
  {
    const FlushDenormals outer;
    EXPECT_EQ(denormal(), 0);
    {
      const FlushDenormals inner;
      EXPECT_EQ(denormal(), 0);
    }
    EXPECT_EQ(denormal(), 0);
  }
  EXPECT_NE(denormal(), 0);
}

TEST(FlushDenormals, TakesDenormalInputsForZero) {
  if (!kFlushes) GTEST_SKIP() << "this processor's denormals are left alone";
  volatile float small = std::numeric_limits<float>::denorm_min();
  volatile float large = 1e30f;
  EXPECT_GT(small * large, 0);
  const FlushDenormals flush;
  EXPECT_EQ(small * large, 0);
}

TEST(ThreadPool, RefusesSizesOutOfRangeAndNamesThem) {
  for (const int size : {0, -1, 1025}) {
    try {
      ThreadPool pool(size);
      FAIL() << size << " was accepted";
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(std::to_string(size)), std::string::npos) << error.what();
    }
  }
}

TEST(ThreadPool, IsDestroyedWithoutHavingRun) {
  for (int i = 0; i < 100; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace qllk
