// The one place where threads live.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "qllk/core/types.hpp"

namespace qllk::inline QLLK_ISA {

/// While it lives, this thread's denormal results are zero: decayed states otherwise slow a processor a hundredfold.
class FlushDenormals {
 public:
  FlushDenormals() : saved_(get()) { set(saved_ | kMask); }
  ~FlushDenormals() { set(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__SSE2__)
  static constexpr std::uint64_t kMask = 0x8040;  // flush-to-zero and denormals-are-zero
  static std::uint64_t get() { return _mm_getcsr(); }
  static void set(std::uint64_t word) { _mm_setcsr(static_cast<unsigned>(word)); }
#elif defined(__aarch64__)
  static constexpr std::uint64_t kMask = std::uint64_t{1} << 24;  // FPCR.FZ
  static std::uint64_t get() {
    std::uint64_t word;
    asm volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void set(std::uint64_t word) { asm volatile("msr fpcr, %0" : : "r"(word)); }
#else
  static constexpr std::uint64_t kMask = 0;
  static std::uint64_t get() { return 0; }
  static void set(std::uint64_t) {}
#endif
  std::uint64_t saved_;
};

/// A fixed number of threads, the caller included, that share out numbered tasks. Threads that wait for work or for
/// each other stay awake for a tenth of a millisecond, unless they are more than the machine's cores: to wake one takes
/// as long as a small task.
///
/// A task's result may depend on its number only, never on the thread that ran it; then any number of threads gives
/// the same bits. The first exception of a task is thrown again by `run`, after all tasks have ended.
class ThreadPool {
 public:
  /// Throws std::invalid_argument unless 1 <= threads <= 1024, std::runtime_error when the system has no more threads.
  explicit ThreadPool(int threads) {
    if (threads < 1 || threads > 1024)
      throw InvalidArgument("threads is " + std::to_string(threads) + ", expected 1 to 1024");
    spins_ = static_cast<unsigned>(threads) <= std::thread::hardware_concurrency();
    workers_.reserve(static_cast<std::size_t>(threads) - 1);
    try {
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      stop();
      throw RuntimeError("cannot start " + std::to_string(threads) + " threads: " + error.code().message());
    } catch (...) {  // no memory
      stop();
      throw;
    }
  }

  ~ThreadPool() { stop(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls task(i) once for each i in [0, count), with denormals flushed, and returns when all have ended.
  /// Not to be called from a task, nor by two threads at once.
  template <class Task>
  void run(Index count, Task&& task) {
    {
      const std::lock_guard lock(mutex_);
      call_ = [](void* context, Index i) { (*static_cast<std::remove_reference_t<Task>*>(context))(i); };
      context_ = const_cast<void*>(static_cast<const void*>(&task));
      count_ = count;
      next_.store(0, std::memory_order_relaxed);
      running_.store(workers_.size(), std::memory_order_relaxed);
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    drain();
    await(done_, [this] { return running_.load(std::memory_order_acquire) == 0; });
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void work() {
    for (std::uint64_t seen = 0;;) {
      await(wake_, [&] {
        return stopping_.load(std::memory_order_acquire) || round_.load(std::memory_order_acquire) != seen;
      });
      if (stopping_.load(std::memory_order_relaxed)) return;
      ++seen;  // a round ends with all threads, none can be missed
      drain();
      if (running_.fetch_sub(1, std::memory_order_acq_rel) > 1) continue;
      const std::lock_guard lock(mutex_);  // or the caller could be between looking and sleeping
      done_.notify_one();
    }
  }

  /// Returns when `ready`, which changes under the mutex or is followed by a notification under it.
  template <class Ready>
  void await(std::condition_variable& changed, Ready&& ready) {
    if (ready()) return;
    if (spins_) {
      const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(100);
      do {
        for (int i = 0; i < 64; ++i, pause())
          if (ready()) return;
        std::this_thread::yield();  // to whoever else needs this core
      } while (std::chrono::steady_clock::now() < end);
    }
    std::unique_lock lock(mutex_);
    changed.wait(lock, ready);
  }

  static void pause() {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  void drain() {
    const FlushDenormals flush;
    for (Index i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) {
      try {
        call_(context_, i);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
      }
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  void (*call_)(void*, Index) = nullptr;
  void* context_ = nullptr;
  Index count_ = 0;
  std::atomic<Index> next_{0};
  std::atomic<std::size_t> running_{0};
  std::atomic<std::uint64_t> round_{0};
  std::atomic<bool> stopping_{false};
  bool spins_ = false;
  std::exception_ptr error_;
};

}  // namespace qllk::inline QLLK_ISA
