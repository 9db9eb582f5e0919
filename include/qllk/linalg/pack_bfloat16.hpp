// Factors of a matrix product, rounded to bfloat16 and laid out as its tiles read them.
#pragma once

#include <Eigen/Core>
#include <algorithm>

#include "qllk/core/types.hpp"
#include "qllk/linalg/bfloat16.hpp"
#include "qllk/linalg/gemm.hpp"

namespace qllk::linalg::detail {

/// A float matrix, or the transpose of one.
struct FloatFactor {
  const float* values;
  Index stride;
  bool transposed;

  const float* at(Index row, Index col) const {
    return values + (transposed ? col + row * stride : row + col * stride);
  }
  /// The same from (row, col) on.
  FloatFactor from(Index row, Index col) const { return {at(row, col), stride, transposed}; }
};

/// How many vectors of rows the next strip has, where `left` rows are to come: 4, 2 or 1. Only one may be partly
/// filled. Without the instruction strips have one, as wider tiles would take long to compile and gain nothing.
inline Index strip_vectors(Index left) {
  if (!kHasBFloat16Products) return 1;
  return left >= 4 * kPairLanes ? 4 : left >= 2 * kPairLanes ? 2 : 1;
}

/// Rows with those that fill up the last vector.
inline Index whole_vectors(Index rows) { return (rows + kPairLanes - 1) / kPairLanes * kPairLanes; }

/// At least `size` values of this thread and User, which hold until it asks for more.
template <class User>
float* pair_memory(Index size) {
  thread_local Vec<float> memory;
  if (memory.size() < size) memory.setZero(size + size / 8);
  return memory.data();
}

/// The first `size` rows of A, 16 at most, each with its values side by side, as columns of out: pair p of row i goes
/// to out[p · stride + i].
inline void pack_rows(const FloatFactor& a, Index size, Index depth, PairBits* out, Index stride) {
  constexpr Index kPacket = GemmTile<float>::kPacket;
  static_assert(kPairLanes % kPacket == 0);
  struct Lines;
  const Index pairs = (depth + 1) / 2;
  float* const lines = pair_memory<Lines>(kPairLanes * pairs);
  for (Index i = 0; i < size; ++i) pair_up(a.at(i, 0), depth, lines + i * pairs);
  std::fill(lines + size * pairs, lines + kPairLanes * pairs, 0.f);
  for (Index i = 0; i < kPairLanes; i += kPacket) gemm_transpose(lines + i * pairs, pairs, pairs, out + i, stride);
}

/// Rows × depth of A from (row, col) on, as strips of 4, 2 or 1 vectors of rows, pair by pair along the depth. The
/// last vector is padded with zeros. Returns the end.
inline PairBits* pack_left(const FloatFactor& a, Index row, Index col, Index rows, Index depth, PairBits* out) {
  const Index pairs = (depth + 1) / 2;
  while (rows > 0) {
    const Index width = kPairLanes * strip_vectors(rows);
    if (a.transposed) {
      for (Index i = 0; i < width; i += kPairLanes)
        pack_rows(a.from(row + i, col), std::clamp<Index>(rows - i, 0, kPairLanes), depth, out + i, width);
    } else {
      const Index size = std::min(width, rows);
      for (Index p = 0; p < pairs; ++p) {
        const float* const even = a.at(row, col + 2 * p);
        if (2 * p + 1 < depth)
          interleave(even, a.at(row, col + 2 * p + 1), size, out + p * width);
        else
          for (Index i = 0; i < size; ++i) out[p * width + i] = pair_of(even[i], 0.f);
        std::fill(out + p * width + size, out + (p + 1) * width, 0.f);
      }
    }
    out += width * pairs;
    row += width;
    rows -= width;
  }
  return out;
}

/// Depth × cols of B from (row, col) on: pair p of column j goes to out[j · pairs + p], or to out[p · cols + j]
/// where B is a transpose.
inline void pack_right(const FloatFactor& b, Index row, Index col, Index depth, Index cols, PairBits* out) {
  const Index pairs = (depth + 1) / 2;
  if (!b.transposed) {
    for (Index j = 0; j < cols; ++j) pair_up(b.at(row, col + j), depth, out + j * pairs);
    return;
  }
  for (Index p = 0; p < depth / 2; ++p)
    interleave(b.at(row + 2 * p, col), b.at(row + 2 * p + 1, col), cols, out + p * cols);
  if (depth % 2 == 1)
    for (Index j = 0; j < cols; ++j) out[(pairs - 1) * cols + j] = pair_of(*b.at(row + depth - 1, col + j), 0.f);
}

}  // namespace qllk::linalg::detail
