// Lines of standard input, as they come.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "qllk/files/input_file.hpp"

namespace tool {

/// Also from a pipe that whoever opened it made non-blocking.
class LineReader {
 public:
  /// The next line without its line end; nothing at the end of the input. Throws std::runtime_error if it cannot be
  /// read.
  std::optional<std::string> next() {
    for (;;) {
      if (const std::size_t end = read_.find('\n'); end != std::string::npos) {
        std::string line = read_.substr(0, end);
        read_.erase(0, end + 1);
        return line;
      }
      if (!more()) break;
    }
    if (read_.empty()) return std::nullopt;
    return std::exchange(read_, {});
  }

 private:
  bool more() {
    std::array<char, 4096> buffer;
    for (;;) {
      const auto count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (count >= 0) {
        read_.append(buffer.data(), static_cast<std::size_t>(count));
        return count > 0;
      }
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        pollfd wait{STDIN_FILENO, POLLIN, 0};
        ::poll(&wait, 1, -1);
      } else if (errno != EINTR) {
        qllk::files::throw_errno("cannot read", "standard input", errno);
      }
    }
  }

  std::string read_;
};

}  // namespace tool
