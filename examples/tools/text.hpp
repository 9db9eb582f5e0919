// Texts that other programs may edit while a tool is at work on them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "display.hpp"
#include "qllk/compress/checksum.hpp"
#include "qllk/data/corpus.hpp"

namespace tool {

/// Checksum of every byte, to tell a text from any other. Cost: about 2 GB/s.
inline std::uint64_t fingerprint(const qllk::data::Corpus& text) {
  qllk::compress::Checksum checksum;
  text.for_each_span([&](qllk::Bytes bytes) { checksum.update(bytes); });
  return checksum.value();
}

/// A text as it was, to see later whether it is the same still.
class UnchangedText {
 public:
  UnchangedText() = default;
  explicit UnchangedText(qllk::data::Corpus text) : text_(std::move(text)), fingerprint_(tool::fingerprint(text_)) {}

  std::uint64_t fingerprint() const { return fingerprint_; }

  /// Throws std::runtime_error that names the file if bytes of the text are not what they were. A file that only grew
  /// has the same bytes at its beginning: that is no error. Cost: a system call for each large file, and where one was
  /// touched a checksum of the whole text.
  void check() const {
    const auto change = text_.change();
    if (change && tool::fingerprint(text_) != fingerprint_) throw std::runtime_error(*change);
  }

 private:
  qllk::data::Corpus text_;
  std::uint64_t fingerprint_ = 0;
};

/// Names what was left out: the first few, and how many more.
inline void warn_of_skipped(Display& display, const qllk::data::Corpus& text) {
  constexpr std::size_t kMostLines = 10;
  const auto& skipped = text.skipped();
  for (std::size_t i = 0; i < std::min(kMostLines, skipped.size()); ++i)
    display.line("warning: left out: " + skipped[i]);
  if (skipped.size() > kMostLines)
    display.line("warning: and " + std::to_string(skipped.size() - kMostLines) + " more");
}

}  // namespace tool
