// What the command-line tools share: standard output, numbers for people, signals.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "qllk/core/types.hpp"

namespace tool {

/// Writes all of it now. Throws std::runtime_error if standard output is closed or full.
inline void write_stdout(qllk::Bytes bytes) {
  while (!bytes.empty()) {
    const auto count = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error = count < 0 ? errno : EIO;
      throw std::runtime_error("cannot write to standard output: " + std::generic_category().message(error));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}
inline void write_stdout(std::string_view text) {
  write_stdout(qllk::Bytes(reinterpret_cast<const qllk::Byte*>(text.data()), text.size()));
}

/// One object on a line of its own.
inline void print_json(const nlohmann::ordered_json& object) {
  write_stdout(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

/// "1,234,567"
inline std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  return digits;
}

/// "12.3 MB"
inline std::string readable_bytes(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 999.5 && unit < 4) bytes /= 1000, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || bytes >= 99.5 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
  return text;
}

/// SIGINT and SIGTERM ask a tool to finish what it does; a second one ends it at once.
class Interrupt {
 public:
  static void watch() {
    struct sigaction action {};
    action.sa_handler = [](int signal) { received_ = signal; };
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
  }
  static bool requested() { return received_ != 0; }
  static int exit_status() { return 128 + received_; }

 private:
  static inline std::atomic<int> received_{0};
  static_assert(std::atomic<int>::is_always_lock_free);
};

}  // namespace tool
