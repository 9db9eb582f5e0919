// What training holds in memory.
#pragma once

#include <cstddef>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "qllk/core/parameters.hpp"

namespace qllk::train {

/// Bytes of memory that a trainer holds; activations are all else that a step needs (0 where the C library
/// does not tell), without what threads already had.
struct Memory {
  std::size_t parameters, gradients, optimizer, activations;  // bytes
  /// All of it.
  std::size_t total() const { return parameters + gradients + optimizer + activations; }
};

/// Bytes of all dense leaves. Sparse gradients follow the positions of a batch and count as activations.
template <HasFields Tree>
QLLK_COLD std::size_t held(const Tree& tree) {
  std::size_t bytes = 0;
  for_each_parameter(
      [&](const Path&, const auto& leaf) {
        if constexpr (requires { leaf.data(); }) bytes += static_cast<std::size_t>(leaf.size()) * sizeof(*leaf.data());
      },
      tree);
  return bytes;
}

/// From now on the C library gives large blocks back to the system as soon as they are freed, where it can, and what
/// was freed before at once. By itself it keeps much of that, which counts for the process as if it were in use.
QLLK_COLD inline void give_back_freed_memory() {
#if defined(__GLIBC__)
  constexpr int kLarge = 1 << 18;
  ::mallopt(M_MMAP_THRESHOLD, kLarge);
  ::mallopt(M_TRIM_THRESHOLD, kLarge);
  ::malloc_trim(0);
#endif
}

/// Bytes that the C library has given out, 0 where it does not tell.
QLLK_COLD inline std::size_t heap_bytes() {
#if defined(__GLIBC__)
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
#else
  return 0;
#endif
}

}  // namespace qllk::train
