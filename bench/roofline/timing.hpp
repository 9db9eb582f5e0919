// Times and rates, and how to tell them on a busy machine.
#pragma once

#include <algorithm>
#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

#include "qllk/core/threads.hpp"

namespace qllk::bench {

/// Number of threads that "all cores" means.
inline int cores() { return static_cast<int>(std::max(1U, std::thread::hardware_concurrency())); }

/// Of an even number the mean of the middle two.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

/// Seconds that work() takes by the clock on the wall: what other programs take counts.
template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Seconds for which this thread has been running: time that other programs had its core does not count.
inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// `amount` a second that every thread of the pool does in `work(thread)`, added up. By one thread the best of
/// `attempts`; by several the median: a best one would be one in which they hardly ran at the same time.
template <class Work>
double rate_at_once(ThreadPool& pool, double amount, int attempts, Work&& work) {
  std::vector<double> rates, seconds(static_cast<std::size_t>(pool.size()));
  for (int attempt = 0; attempt < attempts; ++attempt) {
    pool.run(pool.size(), [&](Index thread) {
      const double start = thread_seconds();
      work(thread);
      seconds[static_cast<std::size_t>(thread)] = thread_seconds() - start;
    });
    double sum = 0;
    for (const double each : seconds) sum += amount / each;
    rates.push_back(sum);
  }
  return pool.size() == 1 ? *std::max_element(rates.begin(), rates.end()) : median(rates);
}

}  // namespace qllk::bench
