// Floating-point operations of whole models, counted from their shapes.
#pragma once

#include "qllk/core/types.hpp"

namespace qllk::bench {

/// Matrix products only, a multiply-add counted as two operations: norms, activations, scans over vectors and the loss
/// are left out. Training counts as three forward passes: each product has two in backward.
inline constexpr double kTraining = 3;

constexpr double linear_flop(Index in, Index out) { return 2.0 * static_cast<double>(in) * static_cast<double>(out); }

}  // namespace qllk::bench
