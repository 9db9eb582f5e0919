// The loss as a run shows it.
#pragma once

#include <limits>

namespace train_tool {

/// A mean of the last updates, the latest of which count most.
struct Smooth {
  double sum = 0, weight = 0;
  void add(double value) {
    constexpr double kKeep = 0.95;  // about the last 20 updates
    sum = kKeep * sum + (1 - kKeep) * value;
    weight = kKeep * weight + (1 - kKeep);
  }
  double value() const { return weight > 0 ? sum / weight : std::numeric_limits<double>::quiet_NaN(); }
};

}  // namespace train_tool
