// Matrix products at the speed of the processor's multiply-adds, with any compiler.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <type_traits>

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm_tile.hpp"

namespace qllk::linalg {
namespace detail {

// GCC warns of any template argument that is a vector type, and every PacketBlock has one.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"

/// Turns a packet's worth of columns of `size` values into rows: to(i, k) = from(k, i).
template <Real Scalar>
void gemm_turn(const Scalar* from, Index stride, Index size, Scalar* to, Index to_stride) {
  using Packet = typename GemmTile<Scalar>::Packet;
  constexpr Index kPacket = GemmTile<Scalar>::kPacket;
  Index k = 0;
  for (; k + kPacket <= size; k += kPacket) {
    Eigen::internal::PacketBlock<Packet, kPacket> block;
    for (Index i = 0; i < kPacket; ++i) block.packet[i] = Eigen::internal::ploadu<Packet>(from + i * stride + k);
    Eigen::internal::ptranspose(block);
    for (Index i = 0; i < kPacket; ++i) Eigen::internal::pstoreu(to + (k + i) * to_stride, block.packet[i]);
  }
  for (; k < size; ++k)
    for (Index i = 0; i < kPacket; ++i) to[k * to_stride + i] = from[i * stride + k];
}

/// Copies rows × depth of A so that tiles read it front to back: strips of R packets of rows, k by k; the rest in
/// strips of half as many, the last packet padded with zeros.
template <Real Scalar, bool transposed, int R = GemmTile<Scalar>::kRows>
void gemm_pack(const Scalar* a, Index stride, Index rows, Index depth, Scalar* out) {
  using Packet = typename GemmTile<Scalar>::Packet;
  constexpr Index kPacket = GemmTile<Scalar>::kPacket, kStrip = R * kPacket;
  Index row = 0;
  for (; row + kStrip <= rows; row += kStrip, out += kStrip * depth)
    for (Index r = 0; r < kStrip; r += kPacket) {
      if constexpr (transposed)
        gemm_turn(a + (row + r) * stride, stride, depth, out + r, kStrip);
      else
        for (Index k = 0; k < depth; ++k)
          Eigen::internal::pstoreu(out + k * kStrip + r, Eigen::internal::ploadu<Packet>(a + row + r + k * stride));
    }
  if (row == rows) return;
  const Scalar* const rest = transposed ? a + row * stride : a + row;
  if constexpr (R > 1) {
    gemm_pack<Scalar, transposed, R / 2>(rest, stride, rows - row, depth, out);
  } else {
    for (Index k = 0; k < depth; ++k)
      for (Index i = 0; i < kPacket; ++i)
        out[k * kPacket + i] = i < rows - row ? rest[transposed ? i * stride + k : i + k * stride] : Scalar(0);
  }
}
#pragma GCC diagnostic pop

/// What C starts from.
template <Real Scalar>
struct GemmStart {
  const Scalar* values;
  Index stride;
};

/// The factors of the gradient's product that follows on this one, or null.
template <Real Scalar>
struct GemmLater {
  const Scalar* a = nullptr;
  const Scalar* b = nullptr;
};

/// Zeros for a C of that many rows, valid until this thread asks for more.
template <Real Scalar>
GemmStart<Scalar> gemm_zeros(Index rows) {
  thread_local Vec<Scalar> zeros;
  if (zeros.size() < rows) zeros.setZero(rows);
  return {zeros.data(), 0};
}

template <Real Scalar, bool a_transposed, bool b_transposed>
void gemm(Index rows, Index cols, Index depth, const Scalar* a, Index a_stride, const Scalar* b, Index b_stride,
          Scalar* c, Index c_stride, Scalar alpha, GemmStart<Scalar> start, GemmLater<Scalar> later = {});

/// C = start + alpha · Aᵀ B as (startᵀ + alpha · Bᵀ A)ᵀ, of whole packets: when B has few columns, packing
/// them and turning C is less work than packing A. The sums are the same, bit for bit.
template <Real Scalar>
void gemm_turned(Index rows, Index cols, Index depth, const Scalar* a, Index a_stride, const Scalar* b, Index b_stride,
                 Scalar* c, Index c_stride, Scalar alpha, GemmStart<Scalar> start) {
  using Tile = GemmTile<Scalar>;
  constexpr Index kPacket = Tile::kPacket, kColumns = 4 * Tile::kFew;
  thread_local Vec<Scalar> turned(Tile::kFew * kColumns);
  for (Index row = 0; row < rows; row += kColumns) {
    const Index size = std::min(kColumns, rows - row);
    for (Index j = 0; j < cols; j += kPacket)
      gemm_turn(start.values + row + j * start.stride, start.stride, size, turned.data() + j, cols);
    gemm<Scalar, true, false>(cols, size, depth, b, b_stride, a + row * a_stride, a_stride, turned.data(), cols, alpha,
                              {turned.data(), cols});
    for (Index i = 0; i < size; i += kPacket) gemm_turn(turned.data() + i * cols, cols, cols, c + row + i, c_stride);
  }
}

/// Every call ends here. Pieces of A go to a buffer of this thread, as large as a second-level cache holds, or are read
/// where they are when copying them would not pay; B is read in place, by tiles of columns that stay in the first-level
/// cache while all rows of the piece pass.
template <Real Scalar, bool a_transposed, bool b_transposed>
QLLK_NOINLINE void gemm(Index rows, Index cols, Index depth, const Scalar* a, Index a_stride, const Scalar* b,
                        Index b_stride, Scalar* c, Index c_stride, Scalar alpha, GemmStart<Scalar> start,
                        GemmLater<Scalar> later) {
  using Tile = GemmTile<Scalar>;
  if (rows == 0 || cols == 0) return;
  if (depth == 0) {  // A and B may be null
    for (Index j = 0; j < cols; ++j)
      for (Index i = 0; i < rows; ++i) c[j * c_stride + i] = start.values[j * start.stride + i];
    return;
  }
  if constexpr (a_transposed && !b_transposed)
    if (cols <= Tile::kFew && rows > Tile::kFew && cols % Tile::kPacket == 0 && rows % Tile::kPacket == 0)
      return gemm_turned(rows, cols, depth, a, a_stride, b, b_stride, c, c_stride, alpha, start);
  thread_local Vec<Scalar> packed(Tile::kPanelRows * Tile::kDepth);
  // A strip of several cache lines is fetched well at any stride; a narrower one only when it is used once.
  constexpr bool wide_strip = Tile::kRows * Tile::kPacket * sizeof(Scalar) > 128;
  const bool direct = !a_transposed && rows % Tile::kPacket == 0 && (wide_strip || cols <= Tile::kCols);
  const bool vector = !a_transposed && !b_transposed && cols == 1 && rows % Tile::kPacket == 0;
  for (Index k = 0; k < depth; k += Tile::kDepth) {
    const Index part_depth = std::min(Tile::kDepth, depth - k);
    const Scalar* const b_part = b_transposed ? b + k * b_stride : b + k;
    if constexpr (!a_transposed && !b_transposed)
      if (vector)
        gemm_vector<Scalar>(rows, {part_depth, false, a + k * a_stride, a_stride, b_part, b_stride, c, c_stride, alpha,
                                   start.values, start.stride, 0, false, nullptr, nullptr});
    for (Index row = 0; row < rows && !vector; row += Tile::kPanelRows) {
      const Index part_rows = std::min(Tile::kPanelRows, rows - row);
      const Scalar* const a_part = a_transposed ? a + row * a_stride + k : a + row + k * a_stride;
      GemmPart<Scalar> part{part_depth,   !direct, a_part,   a_stride, b_part,
                            b_stride,     c + row, c_stride, alpha,    start.values + row,
                            start.stride, 0,       direct,   nullptr,  nullptr};
      if (!a_transposed && b_transposed && row + part_rows == rows) {
        const bool last = k + part_depth == depth;
        part.a_later = last ? later.a : a_part - row + part_depth * a_stride;
        part.b_later = last ? later.b : b_part + part_depth * b_stride;
      }
      if (part.packed) {
        gemm_pack<Scalar, a_transposed>(a_part, a_stride, part_rows, part_depth, packed.data());
        part.a = packed.data();
      }
      gemm_columns<Scalar, Tile::kRows, b_transposed>(part_rows, cols, part);
    }
    start = {c, c_stride};
  }
}

template <class T>
inline constexpr bool is_transpose_v = false;
template <class T>
inline constexpr bool is_transpose_v<Eigen::Transpose<T>> = true;

template <class A, class B, class C>
void gemm_from(const A& a, const B& b, C& c, typename A::Scalar alpha, GemmStart<typename A::Scalar> start) {
  QLLK_ASSERT(a.cols() == b.rows() && a.rows() == c.rows() && b.cols() == c.cols());
  gemm<typename A::Scalar, is_transpose_v<A>, is_transpose_v<B>>(a.rows(), b.cols(), a.cols(), a.data(),
                                                                 a.outerStride(), b.data(), b.outerStride(), c.data(),
                                                                 c.outerStride(), alpha, start);
}

}  // namespace detail

/// C += alpha · A B, where A and B are matrices, blocks or transposes of them, with contiguous columns.
///
/// A column of C depends on that column of B only, bit for bit, for any number of columns. C must not alias A or B.
/// Cost     2·rows·cols·depth FLOP; a buffer of 128 KiB a thread
/// Source   Goto and van de Geijn 2008, section 4, with A packed and B read in place
template <class A, class B, class C>
void gemm_add(const A& a, const B& b, C&& c, typename A::Scalar alpha = 1) {
  detail::gemm_from(a, b, c, alpha, {c.data(), c.outerStride()});
}

/// C = bias 1ᵀ + A B; otherwise as gemm_add.
template <class A, class B, class C>
void gemm(const A& a, const B& b, C&& c, const Vec<typename A::Scalar>& bias) {
  QLLK_ASSERT(bias.size() == c.rows());
  detail::gemm_from(a, b, c, typename A::Scalar(1), {bias.data(), 0});
}

/// C = A B; otherwise as gemm_add.
template <class A, class B, class C>
void gemm(const A& a, const B& b, C&& c) {
  using Scalar = typename A::Scalar;
  detail::gemm_from(a, b, c, Scalar(1), detail::gemm_zeros<Scalar>(c.rows()));
}

}  // namespace qllk::linalg
