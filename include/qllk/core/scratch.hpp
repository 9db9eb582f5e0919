// Memory for what is used up at once.
#pragma once

#include "qllk/core/types.hpp"

namespace qllk {

/// A matrix of undefined values for a result that no other User of this thread lives beside. Layers that take turns with it find it
/// in the caches, where one of their own each would have to come from memory. It keeps the largest size asked for.
template <class User, Real Scalar>
Eigen::Map<Mat<Scalar>> scratch(Index rows, Index cols) {
  thread_local Vec<Scalar> memory;
  if (memory.size() < rows * cols) memory.resize(rows * cols);
  return {memory.data(), rows, cols};
}

}  // namespace qllk
