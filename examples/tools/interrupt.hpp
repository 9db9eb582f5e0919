// Signals that ask a tool to end, or to save.
#pragma once

#include <signal.h>

#include <atomic>

#include "qllk/files/input_file.hpp"

namespace tool {

/// Thrown where a tool gives up what it does because of a signal: on its way out it leaves no half-written file.
struct Interrupted {};

/// SIGINT, SIGTERM, SIGHUP (a terminal or an ssh connection that closes) and SIGXCPU (a limit of processor time) ask a
/// tool to finish what it does; a second SIGINT or SIGTERM ends it at once. A second SIGHUP or SIGXCPU does not: a
/// shell and the system both send the one, and the other comes every second. SIGUSR1 asks for a save.
///
/// A signal that whoever started the tool had it ignore stays ignored: SIGHUP after nohup, SIGINT in the background.
class Interrupt {
 public:
  static void watch() {
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGUSR1}) {
      struct sigaction action {};
      if (sigaction(number, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
      action = {};
      action.sa_handler = number == SIGUSR1 ? on_save : on_end;  // without SA_RESTART: what waits for others gives up
      sigaction(number, &action, nullptr);
    }
    qllk::files::on_wait = [] {
      if (requested()) throw Interrupted();
    };
  }
  static bool requested() { return received_ != 0; }
  static int exit_status() { return 128 + received_; }

  /// Whether a save was asked for since the last call.
  static bool take_save_request() { return save_.load(std::memory_order_relaxed) && save_.exchange(false); }

 private:
  static void on_end(int number) {
    int none = 0;
    if (received_.compare_exchange_strong(none, number)) return;
    if (number != SIGINT && number != SIGTERM) return;
    signal(number, SIG_DFL);
    raise(number);
  }
  static void on_save(int /*number*/) { save_ = true; }

  static inline std::atomic<int> received_{0};
  static inline std::atomic<bool> save_{false};
  static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);
};

}  // namespace tool
