// What a mixer costs by itself, for sequences of any length.
#pragma once

#include <string>

#include "qllk/core/types.hpp"

namespace mixer_table {

struct Speed {
  double train_seconds;     // forward and backward of one sequence
  double generate_seconds;  // forward of one position after that sequence
  double state_bytes;       // of one sequence and layer, after it
  double peak_share;        // FLOP/s of its products in training, as a share of this core's multiply-add peak
};

/// One layer, one sequence from an empty state, no window. Seconds are CPU seconds of this thread, the least of several
/// runs: other programs on the machine change them little. Cost: 0.3 s, or two passes where these take longer.
Speed measure_speed(const std::string& mixer, qllk::Index dim, qllk::Index positions);

}  // namespace mixer_table
