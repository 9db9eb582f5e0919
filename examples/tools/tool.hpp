// What the command-line tools share: standard output, numbers for people.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "interrupt.hpp"
#include "names.hpp"
#include "qllk/core/types.hpp"

namespace tool {

/// Opens standard descriptors that are closed on /dev/null. Call it before anything else: the next file to be opened
/// would get the free number, and messages would be written into it. Input is opened for writing and output for
/// reading, so that to use them is an error still; messages vanish.
inline void open_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1 || errno != EBADF) continue;
    const int opened = ::open("/dev/null", stream == STDOUT_FILENO ? O_RDONLY : O_WRONLY);  // the lowest that is free
    if (opened < 0 && ::open("/", O_RDONLY | O_DIRECTORY) < 0) ::_exit(1);
  }
}

/// A folder of many large files keeps each of them open: as many as this process may.
inline void allow_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Writes all of it now, also to a pipe that whoever opened it made non-blocking. Returns 0 or the errno: EINTR if a
/// signal came while it waited, and gives_up() says that this ends it.
template <class GivesUp>
int write_all(int descriptor, std::string_view bytes, GivesUp&& gives_up) {
  while (!bytes.empty()) {
    const auto count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) {
      if (gives_up()) return EINTR;
      continue;
    }
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      pollfd wait{descriptor, POLLOUT, 0};
      if (::poll(&wait, 1, -1) < 0 && gives_up()) return EINTR;
      continue;
    }
    if (count <= 0) return count < 0 ? errno : EIO;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return 0;
}

inline int write_all(int descriptor, std::string_view bytes) {
  return write_all(descriptor, bytes, [] { return false; });
}

/// Nobody is left to tell if it fails. Whoever has stopped to read must not keep an interrupted tool from its end.
inline void write_stderr(std::string_view text) {
  constexpr int kPatience = 1000;  // ms
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (Interrupt::requested() && ::poll(&ready, 1, kPatience) <= 0) return;
  write_all(STDERR_FILENO, text, Interrupt::requested);
}

/// Throws std::runtime_error if standard output is closed or full.
inline void write_stdout(std::string_view text) {
  if (const int error = write_all(STDOUT_FILENO, text))
    throw std::runtime_error("cannot write to standard output: " + std::generic_category().message(error));
}
inline void write_stdout(qllk::Bytes bytes) {
  write_stdout(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

/// One object on a line of its own.
inline void print_json(const nlohmann::ordered_json& object) {
  write_stdout(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

/// Text is UTF-8 as it is. JSON has nothing for other bytes: they are replaced, and another member, KEY_hex, has all of
/// them.
inline void set_text(nlohmann::ordered_json& object, const std::string& key, const std::string& text) {
  object[key] = text;
  if (!is_utf8(text)) object[key + "_hex"] = hex(text);
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

}  // namespace tool
