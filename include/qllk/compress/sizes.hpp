// What compression made of a text.
#pragma once

#include <cstdint>

#include "qllk/config.hpp"

namespace qllk::compress {

/// Sizes of the two sides.
struct Sizes {
  std::uint64_t original = 0;    // bytes
  std::uint64_t compressed = 0;  // bytes

  /// Of the original; 0 where it is empty.
  double bits_per_byte() const {
    return original > 0 ? 8 * static_cast<double>(compressed) / static_cast<double>(original) : 0;
  }
};

}  // namespace qllk::compress
