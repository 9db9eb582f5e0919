// Memory for what is used up at once.
#pragma once

#include "qllk/core/types.hpp"

namespace qllk::linalg {

/// A matrix [rows, cols] of undefined values that holds until this thread calls scratch again for that User and Scalar:
/// for a result that is used up at once, and that no ProductSum refers to. Layers that take turns with it find it in
/// the caches, where one of their own each would have to come from memory. The memory stays with the thread.
template <class User, Real Scalar>
Eigen::Map<Mat<Scalar>> scratch(Index rows, Index cols) {
  thread_local Vec<Scalar> memory;
  // with room to spare: the pieces that threads get differ a little, and a later step should not allocate
  if (memory.size() < rows * cols) memory.resize(rows * cols + rows * cols / 8);
  return {memory.data(), rows, cols};
}

}  // namespace qllk::linalg
