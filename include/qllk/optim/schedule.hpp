// Learning-rate schedules.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "qllk/config.hpp"

namespace qllk::optim {

/// Linear warm-up, then half a cosine down to a floor.
///
///   factor = min(1, (update + 1) / warmup) · ( floor + (1 - floor) · (1 + cos(π·progress)) / 2 )
///
/// `progress` runs from 0 to 1 over the budget, whether that is counted in steps or in seconds.
/// Source: Loshchilov and Hutter 2017, eq. 5, without restarts.
struct WarmupCosine {
  std::int64_t warmup = 50;  // updates
  double floor = 0.05;       // of the peak learning rate, at the end

  /// What the learning rate is multiplied by.
  double factor(std::int64_t update, double progress) const {
    const double rise = warmup > 0 ? std::min(1.0, static_cast<double>(update + 1) / static_cast<double>(warmup)) : 1.0;
    const double cosine = 0.5 + 0.5 * std::cos(std::numbers::pi * std::clamp(progress, 0.0, 1.0));
    return rise * (floor + (1 - floor) * cosine);
  }
};

}  // namespace qllk::optim
