// Averages of weights along a training run.
#pragma once

#include <cstdint>

#include "qllk/config.hpp"

namespace qllk::optim {

/// Polynomial-decay averaging: of the weights w₁, w₂, … that are there after every `every` updates,
///
///   average_n = average_{n-1} + (degree + 1) / (n + degree) · (w_n - average_{n-1})
///
/// in which w_i counts in proportion to i(i+1)…(i+degree-1). Their mean age is 1/(degree + 2) of the run, however
/// long that is: nothing has to know where it ends. Averaging takes the noise of single updates out of the weights, as
/// small learning rates do, but lets larger ones go on learning.
/// Source: Shamir and Zhang 2013, polynomial-decay averaging.
struct WeightAverage {
  std::int64_t every = 8;  // updates; 0: no average
  double degree = 10;      // 0: the plain mean of all

  /// Whether there is an average after so many updates.
  bool begun(std::int64_t updates) const { return every > 0 && updates >= every; }
  /// Whether the weights after so many updates take part.
  bool takes(std::int64_t updates) const { return begun(updates) && updates % every == 0; }
  /// What part of the average they are then.
  double share(std::int64_t updates) const { return (degree + 1) / (static_cast<double>(updates / every) + degree); }
};

}  // namespace qllk::optim
