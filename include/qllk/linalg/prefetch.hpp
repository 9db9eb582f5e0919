// Memory that is needed soon.
#pragma once

#include "qllk/core/types.hpp"

namespace qllk::linalg {

/// What is going to happen to the memory.
enum class Access { read, write };

/// Prefetches the cache lines at data, data + one line, … of `size` values. The addresses may lie outside of any
/// object: nothing is read.
template <Access access = Access::read, class T>
inline void prefetch(const T* data, Index size = 1) {
  constexpr Index kLine = 64 / Index{sizeof(T)};
  for (Index i = 0; i < size; i += kLine) __builtin_prefetch(data + i, access == Access::write);
}

}  // namespace qllk::linalg
