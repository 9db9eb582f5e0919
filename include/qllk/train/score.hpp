// What a model makes of a text.
#pragma once

#include <cstdint>
#include <numbers>

#include "qllk/config.hpp"

namespace qllk::train {

/// The sum of -log p(byte | all bytes before it) over every byte of a text.
struct Score {
  std::uint64_t bytes = 0;  // of the text
  double nats = 0;          // the sum

  /// Their mean; 0 for no bytes.
  double nats_per_byte() const { return bytes > 0 ? nats / static_cast<double>(bytes) : 0; }
  /// The mean in bits.
  double bits_per_byte() const { return nats_per_byte() * std::numbers::log2e; }
};

}  // namespace qllk::train
