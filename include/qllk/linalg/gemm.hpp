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

/// Transposes a packet's worth of columns of `size` values: to(i, k) = from(k, i).
template <Real Scalar>
void gemm_transpose(const Scalar* from, Index stride, Index size, Scalar* to, Index to_stride) {
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
        gemm_transpose(a + (row + r) * stride, stride, depth, out + r, kStrip);
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

/// A matrix in memory: column j begins at data + j · stride. With a stride of 0 all columns are one.
template <class Scalar>
struct GemmMatrix {
  Scalar* data;
  Index stride;
};

/// What C starts from.
template <Real Scalar>
using GemmStart = GemmMatrix<const Scalar>;

/// The factors of the gradient's product that follows on this one, or null.
template <Real Scalar>
struct GemmLater {
  const Scalar* a = nullptr;
  const Scalar* b = nullptr;
};

/// C = start + alpha · A B, of [rows, depth] by [depth, cols], where A or B may lie in memory as its transpose.
template <Real Scalar>
struct GemmProduct {
  Index rows, cols, depth;
  GemmMatrix<const Scalar> a, b;
  GemmMatrix<Scalar> c;
  GemmStart<Scalar> start;
  Scalar alpha = 1;
  GemmLater<Scalar> later = {};
};

/// Zeros for a C of that many rows, valid until this thread asks for more.
template <Real Scalar>
GemmStart<Scalar> gemm_zeros(Index rows) {
  thread_local Vec<Scalar> zeros;
  if (zeros.size() < rows) zeros.setZero(rows);
  return {zeros.data(), 0};
}

template <Real Scalar, bool a_transposed, bool b_transposed>
void gemm(const GemmProduct<Scalar>& product);

/// C = start + alpha · Aᵀ B as (startᵀ + alpha · Bᵀ A)ᵀ, of whole packets: when B has few columns, packing
/// them and transposing C is less work than packing A. The sums are the same, bit for bit.
template <Real Scalar>
void gemm_transposed(const GemmProduct<Scalar>& product) {
  using Tile = GemmTile<Scalar>;
  constexpr Index kPacket = Tile::kPacket, kColumns = 4 * Tile::kFew;
  thread_local Vec<Scalar> memory(Tile::kFew * kColumns);
  const auto& [rows, cols, depth, a, b, c, start, alpha, later] = product;
  for (Index row = 0; row < rows; row += kColumns) {
    const Index size = std::min(kColumns, rows - row);
    for (Index j = 0; j < cols; j += kPacket)
      gemm_transpose(start.data + row + j * start.stride, start.stride, size, memory.data() + j, cols);
    gemm<Scalar, true, false>({.rows = cols,
                               .cols = size,
                               .depth = depth,
                               .a = b,
                               .b = {a.data + row * a.stride, a.stride},
                               .c = {memory.data(), cols},
                               .start = {memory.data(), cols},
                               .alpha = alpha});
    for (Index i = 0; i < size; i += kPacket)
      gemm_transpose(memory.data() + i * cols, cols, cols, c.data + row + i, c.stride);
  }
}

/// A, B and C from row `row` of A and position `k` of the depth on, and what C starts from there.
template <Real Scalar, bool a_transposed, bool b_transposed>
GemmPart<Scalar> gemm_part(const GemmProduct<Scalar>& product, Index row, Index k, GemmStart<Scalar> start) {
  const auto& [rows, cols, depth, a, b, c, first, alpha, later] = product;
  return {.depth = std::min(GemmTile<Scalar>::kDepth, depth - k),
          .packed = false,
          .a = a.data + (a_transposed ? row * a.stride + k : row + k * a.stride),
          .a_stride = a.stride,
          .b = b.data + (b_transposed ? k * b.stride : k),
          .b_stride = b.stride,
          .c = c.data + row,
          .c_stride = c.stride,
          .alpha = alpha,
          .start = start.data + row,
          .start_stride = start.stride};
}

/// Every call ends here. Panels of A go to a buffer of this thread, as large as a second-level cache holds, or are read
/// where they are when copying them would not pay; B is read in place, by tiles of columns that stay in the first-level
/// cache while all rows of the panel pass.
template <Real Scalar, bool a_transposed, bool b_transposed>
QLLK_NOINLINE void gemm(const GemmProduct<Scalar>& product) {
  using Tile = GemmTile<Scalar>;
  const auto& [rows, cols, depth, a, b, c, first, alpha, later] = product;
  if (rows == 0 || cols == 0) return;
  if (depth == 0) {  // A and B may be null
    for (Index j = 0; j < cols; ++j)
      for (Index i = 0; i < rows; ++i) c.data[j * c.stride + i] = first.data[j * first.stride + i];
    return;
  }
  if constexpr (a_transposed && !b_transposed)
    if (cols <= Tile::kFew && rows > Tile::kFew && cols % Tile::kPacket == 0 && rows % Tile::kPacket == 0)
      return gemm_transposed(product);
  thread_local Vec<Scalar> packed(Tile::kPanelRows * Tile::kDepth);
  // A strip of several cache lines is fetched well at any stride; a narrower one only when it is used once.
  constexpr bool wide_strip = Tile::kRows * Tile::kPacket * sizeof(Scalar) > 128;
  const bool direct = !a_transposed && rows % Tile::kPacket == 0 && (wide_strip || cols <= Tile::kCols);
  const bool vector = !a_transposed && !b_transposed && cols == 1 && rows % Tile::kPacket == 0;
  GemmStart<Scalar> start = first;
  for (Index k = 0; k < depth; k += Tile::kDepth) {
    if constexpr (!a_transposed && !b_transposed)
      if (vector) gemm_vector<Scalar>(rows, gemm_part<Scalar, false, false>(product, 0, k, start));
    for (Index row = 0; row < rows && !vector; row += Tile::kPanelRows) {
      const Index panel_rows = std::min(Tile::kPanelRows, rows - row);
      auto part = gemm_part<Scalar, a_transposed, b_transposed>(product, row, k, start);
      part.packed = !direct;
      part.far = direct;
      if (!a_transposed && b_transposed && row + panel_rows == rows) {
        const bool last = k + part.depth == depth;
        part.a_later = last ? later.a : part.a - row + part.depth * a.stride;
        part.b_later = last ? later.b : part.b + part.depth * b.stride;
      }
      if (part.packed) {
        gemm_pack<Scalar, a_transposed>(part.a, a.stride, panel_rows, part.depth, packed.data());
        part.a = packed.data();
      }
      gemm_columns<Scalar, Tile::kRows, b_transposed>(panel_rows, cols, part);
    }
    start = {c.data, c.stride};
  }
}

template <class T>
inline constexpr bool is_transpose_v = false;
template <class T>
inline constexpr bool is_transpose_v<Eigen::Transpose<T>> = true;

template <class A, class B, class C>
void gemm_from(const A& a, const B& b, C& c, typename A::Scalar alpha, GemmStart<typename A::Scalar> start) {
  QLLK_ASSERT(a.cols() == b.rows() && a.rows() == c.rows() && b.cols() == c.cols());
  gemm<typename A::Scalar, is_transpose_v<A>, is_transpose_v<B>>({.rows = a.rows(),
                                                                  .cols = b.cols(),
                                                                  .depth = a.cols(),
                                                                  .a = {a.data(), a.outerStride()},
                                                                  .b = {b.data(), b.outerStride()},
                                                                  .c = {c.data(), c.outerStride()},
                                                                  .start = start,
                                                                  .alpha = alpha});
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

#ifdef QLLK_COMPILED
namespace qllk::linalg::detail {
extern template void gemm<float, false, false>(const GemmProduct<float>&);
extern template void gemm<float, false, true>(const GemmProduct<float>&);
extern template void gemm<float, true, false>(const GemmProduct<float>&);
extern template void gemm<float, true, true>(const GemmProduct<float>&);
extern template void gemm<double, false, false>(const GemmProduct<double>&);
extern template void gemm<double, false, true>(const GemmProduct<double>&);
extern template void gemm<double, true, false>(const GemmProduct<double>&);
extern template void gemm<double, true, true>(const GemmProduct<double>&);
}  // namespace qllk::linalg::detail
#endif
