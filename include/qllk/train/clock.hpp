// Time of work: without that in which the process was stopped.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <mutex>
#include <thread>

#include "qllk/config.hpp"

namespace qllk::train {

namespace detail {
/// Of the process as a whole, in nanoseconds: what it was stopped for, and when its SuspensionWatch last looked (0: it
/// has none).
inline std::atomic<std::int64_t> suspended{0}, watched_at{0};

inline std::int64_t nanoseconds(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}
}  // namespace detail

/// Seconds of the monotonic clock, which stands still while a machine sleeps, less those that a SuspensionWatch saw
/// this process stopped, by Ctrl-Z, SIGSTOP, a debugger or the freezer of a container. Only differences mean anything.
inline double working_seconds() {
  constexpr std::int64_t kLate = 250'000'000;
  for (int i = 0; i < 50; ++i) {  // the watch has to look first: this process may just have gone on
    const std::int64_t seen = detail::watched_at;
    if (seen == 0 || detail::nanoseconds(CLOCK_MONOTONIC) - seen < kLate) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return static_cast<double>(detail::nanoseconds(CLOCK_MONOTONIC) - detail::suspended) * 1e-9;
}

/// While it lives, working_seconds() knows of suspensions of half a second and more. One for a process.
///
/// A thread looks twenty times a second. When it wakes up late, and the whole process has hardly used a processor
/// meanwhile, then the process was stopped: it was not merely busy, or waiting for a disk.
class SuspensionWatch {
 public:
  /// Starts the thread.
  SuspensionWatch() : thread_([this] { look(); }) {}
  /// Ends the thread.
  ~SuspensionWatch() {
    {
      const std::lock_guard lock(mutex_);
      end_ = true;
    }
    ended_.notify_one();
    thread_.join();
    detail::watched_at = 0;
  }
  SuspensionWatch(const SuspensionWatch&) = delete;
  SuspensionWatch& operator=(const SuspensionWatch&) = delete;

 private:
  void look() {
    constexpr std::int64_t kTick = 50'000'000, kShortest = 500'000'000;
    const auto processors = static_cast<std::int64_t>(std::thread::hardware_concurrency());
    const std::int64_t most_used = 2 * kTick * (processors > 0 ? processors : 1);  // before it stopped, and after
    std::int64_t before = detail::nanoseconds(CLOCK_MONOTONIC),
                 used_before = detail::nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    detail::watched_at = before;
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, std::chrono::nanoseconds(kTick), [this] { return end_; })) {
      const std::int64_t now = detail::nanoseconds(CLOCK_MONOTONIC),
                         used = detail::nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
      const std::int64_t gap = now - before, used_in_it = used - used_before;
      if (gap >= kShortest && used_in_it <= most_used && used_in_it < gap / 4) detail::suspended += gap - kTick;
      before = now;
      used_before = used;
      detail::watched_at = now;
    }
  }

  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace qllk::train
