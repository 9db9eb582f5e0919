// What keeps generated text from going round in circles.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::generate {

/// How far the end of a stream repeats what stands before it.
///
/// A model that remembers its stream copies from it, its own writing included: at low temperatures it soon says the
/// same for ever. Text repeats names and phrases, but seldom long ones at once. So a byte that would lengthen a
/// repetition beyond `free` bytes is made less likely, the less the longer it is already:
///
///   z'[b] = z[b] - max(0, L(b) - free) / 4
///
/// L(b) is the length of the longest string that ends here, stood within the last kWindow bytes, and was followed by b
/// there.
///
/// Cost     a comparison for each byte of the window, about 0.5 µs a byte; 12 kB
/// Source   after DRY sampling (Weidmann 2024), with a linear penalty
class Repetition {
 public:
  /// Bytes that it looks back.
  static constexpr std::size_t kWindow = 4096;
  static constexpr std::uint16_t kLongest = 1024;            // what L(b) is counted up to
  static constexpr std::size_t kReach = kWindow + kLongest;  // of what was read, so many bytes decide

  Repetition() : bytes_(2 * kWindow), lengths_(kWindow + 1) {}

  /// Adds a byte to the stream.
  void read(Byte byte) {
    if (end_ == bytes_.size()) {  // keep the last kWindow bytes
      std::copy(bytes_.end() - static_cast<std::ptrdiff_t>(kWindow), bytes_.end(), bytes_.begin());
      end_ = kWindow;
    }
    const std::size_t most = std::min(end_, kWindow);
    const Byte* const now = bytes_.data() + end_;
    for (std::size_t distance = 1; distance <= most; ++distance) {
      const auto longer = static_cast<std::uint16_t>(lengths_[distance] + (lengths_[distance] < kLongest ? 1 : 0));
      lengths_[distance] = *(now - distance) == byte ? longer : std::uint16_t{0};
    }
    bytes_[end_++] = byte;
  }

  /// Turns z into z'.
  template <Real Scalar>
  void lower(std::span<Scalar, static_cast<std::size_t>(kByteValues)> logits, Index free) const {
    std::array<std::uint16_t, static_cast<std::size_t>(kByteValues)> longest{};
    const std::size_t most = std::min(end_, kWindow);
    for (std::size_t distance = 1; distance < most; ++distance) {
      if (lengths_[distance] <= free) continue;
      auto& length = longest[bytes_[end_ - distance]];
      length = std::max(length, lengths_[distance]);
    }
    for (std::size_t b = 0; b < longest.size(); ++b)
      if (longest[b] > free) logits[b] -= static_cast<Scalar>(longest[b] - free) / 4;
  }

 private:
  std::vector<Byte> bytes_;
  std::size_t end_ = 0;                 // of what was read
  std::vector<std::uint16_t> lengths_;  // of the repetition from each distance
};

}  // namespace qllk::generate
