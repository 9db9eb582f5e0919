// Strings that end a generated text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"

namespace tool {

/// Passes bytes on until one of some strings is complete. The string itself is not passed on, so bytes that may begin
/// one wait until it is clear whether they do.
class StopStrings {
 public:
  /// Throws std::invalid_argument if one is empty: it would end every text at once.
  explicit StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
    for (const std::string& string : strings_)
      if (string.empty()) throw std::invalid_argument("--stop is empty, expected a byte at least");
  }

  /// The bytes that may be written after this one came. Cost: the square of the longest string.
  std::string take(qllk::Byte byte) {
    waiting_ += static_cast<char>(byte);
    std::size_t kept = 0;
    for (const std::string& string : strings_) {
      if (waiting_.ends_with(string)) {
        found_ = true;
        kept = std::max(kept, string.size());
      }
    }
    if (!found_)
      for (const std::string& string : strings_) kept = std::max(kept, begun(string));
    std::string out = waiting_.substr(0, waiting_.size() - kept);
    waiting_.erase(0, out.size());
    return out;
  }

  bool found() const { return found_; }

  /// What still waits, when there will be no more bytes; nothing of a string that was found. The next text may begin.
  std::string finish() {
    std::string out = found_ ? std::string() : waiting_;
    waiting_.clear();
    found_ = false;
    return out;
  }

 private:
  /// How many bytes of the string stand at the end of what waits, less than all.
  std::size_t begun(std::string_view string) const {
    for (std::size_t length = std::min(string.size() - 1, waiting_.size()); length > 0; --length)
      if (std::string_view(waiting_).ends_with(string.substr(0, length))) return length;
    return 0;
  }

  std::vector<std::string> strings_;
  std::string waiting_;
  bool found_ = false;
};

}  // namespace tool
