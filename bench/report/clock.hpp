// The clock at which a core really runs.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "qllk/core/threads.hpp"
#include "roofline/fma_peak.hpp"
#include "roofline/timing.hpp"

namespace qllk::bench {

/// Cycles a second: additions that wait for each other take one cycle each, on every processor since long. Works where
/// no file tells the clock, as in most virtual machines. The best of `attempts` of about a millisecond.
inline double measured_clock(int attempts) {
  constexpr int kRounds = 100'000, kEach = 32;
  double best = 0;
  std::uint64_t sum = 1, step = 3;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    const double start = thread_seconds();
#pragma GCC unroll 1
    for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 32
      for (int i = 0; i < kEach; ++i) {
        sum += step;
        asm volatile("" : "+r"(sum), "+r"(step));  // neither merged with the next one nor added as a constant
      }
    }
    best = std::max(best, static_cast<double>(kRounds) * kEach / (thread_seconds() - start));
  }
  return best;
}

/// measured_clock of one core while the others multiply; `look` is called just after, while they still do.
template <class Look>
double clock_under_load(Look&& look) {
  std::atomic<bool> done = false;
  double clock = 0;
  ThreadPool pool(cores());
  pool.run(pool.size(), [&](Index thread) {
    if (thread != 0) {
      while (!done.load(std::memory_order_relaxed)) {
        volatile float factor = 0.5F, addend = 0.001F, sink;
        sink = run_chains(100'000, factor, addend, std::make_index_sequence<12>{});
        static_cast<void>(sink);
      }
      return;
    }
    measured_clock(150);  // until the governor has followed
    clock = measured_clock(150);
    look();
    done = true;
  });
  return clock;
}

}  // namespace qllk::bench
