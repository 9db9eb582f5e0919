// How far a run of training is.
#pragma once

#include <cstdint>

#include "qllk/config.hpp"

namespace qllk::train {

/// Where a run stands. With the parameters and the optimiser's state this is all that a resumed run needs.
struct Progress {
  std::int64_t steps = 0;    // updates tried, and so the number of the next batch
  std::int64_t skipped = 0;  // of these, updates left out because the loss or gradient was not finite
  std::uint64_t bytes = 0;   // bytes trained on
  double seconds = 0;        // spent in step()
};

/// What a step did.
struct StepReport {
  double bits_per_byte;  // of this batch, before the update
  double gradient_norm;  // of all but hashed tables, before clipping
  double learning_rate;  // of the update
  bool skipped;          // the loss or gradient was not finite: no update
};

}  // namespace qllk::train
