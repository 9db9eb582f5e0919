// Rates that other programs of a busy machine hardly disturb.
#pragma once

#include <algorithm>
#include <ctime>
#include <thread>
#include <vector>

#include "qllk/core/threads.hpp"

namespace qllk::bench {

/// Number of threads that "all cores" means.
inline int cores() { return static_cast<int>(std::max(1U, std::thread::hardware_concurrency())); }

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
  std::sort(rates.begin(), rates.end());
  return pool.size() == 1 ? rates.back() : rates[rates.size() / 2];
}

}  // namespace qllk::bench
