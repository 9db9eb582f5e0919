// Register tiles of matrix products.
#pragma once

#include <Eigen/Core>
#include <algorithm>

#include "qllk/core/types.hpp"
#include "qllk/linalg/prefetch.hpp"

namespace qllk::linalg::detail {

/// Shape of the register tile: kRows packets by up to kCols columns of C, so that accumulators, a column of A and a
/// value of B fit the registers (24 + 4 + 1 of 32, or 12 + 2 + 1 of 16).
template <Real Scalar>
struct GemmTile {
  using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
  static constexpr int kPacket = Eigen::internal::unpacket_traits<Packet>::size;
  static constexpr int kRows = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 4 : 2;
  static constexpr int kCols = 6;
  static constexpr Index kDepth = 256;
  static constexpr Index kLine = 64 / Index{sizeof(Scalar)};  // values of a cache line
  static constexpr Index kLater = 4;  // lines of A and of B that are asked for in advance with every kLine values of k
  static constexpr Index kFew = 64;   // columns of B for which a transposed A is not worth packing
  /// Rows of A that are packed at a time: 128 KiB, to stay in a second-level cache.
  static constexpr Index kPanelRows =
      std::max<Index>(kRows * kPacket, (Index{1} << 17) / Index{sizeof(Scalar)} / kDepth);
};

/// Where A, B and C begin, and their strides. A packed A is a series of strips, each as wide as the tile that reads it.
template <Real Scalar>
struct GemmPart {
  Index depth;
  bool packed;
  const Scalar* a;
  Index a_stride;
  const Scalar* b;
  Index b_stride;
  Scalar* c;
  Index c_stride;
  Scalar alpha;
  const Scalar* start;  // what a product is added to: columns of C itself, or one column for all
  Index start_stride;   // 0 for one column
  Index next = 0;       // how many columns on B and C are needed next
  bool far = false;     // whether this A was not read before
  // A gradient's factors come from beyond the caches of this core. What is read after this part, from these addresses
  // on, is asked for while this one is computed, as if it had no gaps and no end; null for nothing.
  const Scalar* a_later = nullptr;
  const Scalar* b_later = nullptr;
};

/// C[R packets, Cols] = start + alpha · A B, all sums in registers. Each is taken in the order of k, whatever the
/// tile's shape: a column of C does not depend on how many columns are computed with it. A `far` A comes from beyond
/// the caches of this core. What differs from tile to tile is not in `part`: a processor waits where what was just
/// written is read in larger pieces. `later` is how many values of the next part were asked for by the tiles before, or
/// -1 where there is none.
template <Real Scalar, int R, int Cols, bool b_transposed, bool far = false>
QLLK_NOINLINE void gemm_tile(const GemmPart<Scalar>& part, const Scalar* a, const Index a_stride, Scalar* const c,
                             const Scalar* const start, const Index later) {
  using Eigen::internal::pload1, Eigen::internal::ploadu, Eigen::internal::pmadd, Eigen::internal::pset1,
      Eigen::internal::pstoreu;
  using Packet = typename GemmTile<Scalar>::Packet;
  constexpr int kPacket = GemmTile<Scalar>::kPacket;
  Packet sum[R][Cols];
  const Scalar* b = part.b;
  const Index b_stride = part.b_stride, c_stride = part.c_stride, start_stride = part.start_stride;
#pragma GCC unroll 8
  for (int j = 0; j < Cols; ++j)
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) sum[i][j] = pset1<Packet>(Scalar(0));
  // The next columns of B and C are too short for the processor to see a pattern in time. B's are asked for little by
  // little: all at once would be more than can be under way. With Bᵀ they lie beside those read now.
  constexpr Index kLine = GemmTile<Scalar>::kLine, kLaterValues = GemmTile<Scalar>::kLater * kLine;
  for (Index j = part.next; j < part.next + Cols; ++j) prefetch(c + j * c_stride, R * kPacket);
  const Index ahead = kLine * a_stride;
#pragma GCC unroll 1
  for (Index k = 0; k < part.depth; k += kLine) {
    if constexpr (!b_transposed)
#pragma GCC unroll 8
      for (int j = 0; j < Cols; ++j) prefetch(b + (part.next + j) * b_stride);
    if constexpr (b_transposed)
      if (later >= 0)
#pragma GCC unroll 4
        for (Index i = 0; i < kLaterValues; i += kLine) {
          prefetch(part.a_later + later + k / kLine * kLaterValues + i);
          prefetch(part.b_later + later + k / kLine * kLaterValues + i);
        }
    const Index size = std::min(kLine, part.depth - k);
#pragma GCC unroll 1
    for (Index i = 0; i < size; ++i) {
      if constexpr (far) prefetch(a + ahead, R * kPacket);
      Packet column[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) column[r] = ploadu<Packet>(a + r * kPacket);
#pragma GCC unroll 8
      for (int j = 0; j < Cols; ++j) {
        const Packet value = pload1<Packet>(b_transposed ? b + j : b + j * b_stride);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[r][j] = pmadd(column[r], value, sum[r][j]);
      }
      a += a_stride;
      b += b_transposed ? b_stride : 1;
    }
  }
  const Packet alpha = pset1<Packet>(part.alpha);
#pragma GCC unroll 8
  for (int j = 0; j < Cols; ++j)
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const Packet from = ploadu<Packet>(start + j * start_stride + i * kPacket);
      pstoreu(c + j * c_stride + i * kPacket, pmadd(alpha, sum[i][j], from));
    }
}

/// All rows of a strip of Cols columns, by tiles of R packets and then of half as many. A last packet that is not whole
/// goes through a tile of its own: A is padded there, C is not.
template <Real Scalar, int R, int Cols, bool b_transposed>
void gemm_rows(Index rows, const GemmPart<Scalar>& part, const Scalar* a, Scalar* c, const Scalar* start,
               Index& later) {
  constexpr Index kPacket = GemmTile<Scalar>::kPacket;
  constexpr bool largest = R == GemmTile<Scalar>::kRows && Cols == GemmTile<Scalar>::kCols;  // others hardly matter
  const Index a_stride = part.packed ? R * kPacket : part.a_stride;
  for (; rows >= R * kPacket; rows -= R * kPacket) {
    if (largest && part.far)
      gemm_tile<Scalar, R, Cols, b_transposed, largest>(part, a, a_stride, c, start, later);
    else
      gemm_tile<Scalar, R, Cols, b_transposed>(part, a, a_stride, c, start, later);
    if (later >= 0) later += GemmTile<Scalar>::kLater * part.depth;
    a += R * kPacket * (part.packed ? part.depth : 1);
    c += R * kPacket;
    start += R * kPacket;
  }
  if (rows == 0) return;
  if constexpr (R > 1) {
    gemm_rows<Scalar, R / 2, Cols, b_transposed>(rows, part, a, c, start, later);
  } else {
    Scalar padded[kPacket * Cols] = {};
    for (Index j = 0; j < Cols; ++j)
      for (Index i = 0; i < rows; ++i) padded[j * kPacket + i] = start[j * part.start_stride + i];
    auto whole = part;
    whole.start_stride = whole.c_stride = kPacket;
    gemm_tile<Scalar, 1, Cols, b_transposed>(whole, a, a_stride, padded, padded, later);
    for (Index j = 0; j < Cols; ++j)
      for (Index i = 0; i < rows; ++i) c[j * part.c_stride + i] = padded[j * kPacket + i];
  }
}

/// `count` strips of Cols columns; moves part behind them.
template <Real Scalar, int R, int Cols, bool b_transposed>
void gemm_strips(Index rows, Index count, GemmPart<Scalar>& part, Index& later) {
  for (; count > 0; --count) {
    part.next = count > 1 ? Cols : 0;
    gemm_rows<Scalar, R, Cols, b_transposed>(rows, part, part.a, part.c, part.start, later);
    part.far = false;
    part.b += b_transposed ? Cols : Cols * part.b_stride;
    part.c += Cols * part.c_stride;
    part.start += Cols * part.start_stride;
  }
}

/// All columns: strips of six, one or two of four so that an even number leaves no rest, and single ones. Each width
/// more would cost every user of the header a second to compile.
template <Real Scalar, int R, bool b_transposed>
void gemm_columns(Index rows, Index cols, GemmPart<Scalar> part) {
  const Index rest = cols % 6, fours = cols < 6 ? cols / 4 : rest >= 4 ? 1 : rest >= 2 ? 2 : 0;
  const Index sixes = (cols - 4 * fours) / 6;
  Index later = part.a_later == nullptr ? -1 : 0;
  gemm_strips<Scalar, R, 6, b_transposed>(rows, sixes, part, later);
  gemm_strips<Scalar, R, 4, b_transposed>(rows, fours, part, later);
  gemm_strips<Scalar, R, 1, b_transposed>(rows, cols - 6 * sixes - 4 * fours, part, later);
}

/// sum += A b, of Cols columns of A and whole packets of rows.
template <Real Scalar, int Cols>
inline void gemm_add_columns(Index rows, const Scalar* a, Index a_stride, const Scalar* b, Scalar* sum) {
  using Eigen::internal::ploadu, Eigen::internal::pmadd, Eigen::internal::pset1, Eigen::internal::pstoreu;
  using Packet = typename GemmTile<Scalar>::Packet;
  constexpr bool ahead = sizeof(Packet) == 64;  // several narrower ones would ask for the same line
  Packet value[Cols];
#pragma GCC unroll 4
  for (int j = 0; j < Cols; ++j) value[j] = pset1<Packet>(b[j]);
#pragma GCC unroll 1
  for (Index i = 0; i < rows; i += GemmTile<Scalar>::kPacket) {
    if constexpr (ahead)
#pragma GCC unroll 4
      for (int j = 0; j < Cols; ++j) prefetch(a + (2 * Cols + j) * a_stride + i);
    Packet total = ploadu<Packet>(sum + i);
#pragma GCC unroll 4
    for (int j = 0; j < Cols; ++j) total = pmadd(ploadu<Packet>(a + j * a_stride + i), value[j], total);
    pstoreu(sum + i, total);
  }
}

/// One column. Nothing of A is used twice, and it comes from afar: it is read front to back, four columns side by side,
/// as processors expect, and asked for eight columns ahead where a packet is a line. The sums are those of a tile.
template <Real Scalar>
void gemm_vector(Index rows, const GemmPart<Scalar>& part) {
  using Eigen::internal::ploadu, Eigen::internal::pmadd, Eigen::internal::pset1, Eigen::internal::pstoreu;
  using Packet = typename GemmTile<Scalar>::Packet;
  constexpr Index kMost = 1024;  // rows whose sums stay in the first-level cache
  alignas(64) Scalar sum[kMost];
  for (Index row = 0; row < rows; row += kMost) {
    const Index size = std::min(kMost, rows - row);
    std::fill_n(sum, size, Scalar(0));
    const Scalar* const a = part.a + row;
    Index k = 0;
    for (; k + 4 <= part.depth; k += 4)
      gemm_add_columns<Scalar, 4>(size, a + k * part.a_stride, part.a_stride, part.b + k, sum);
    for (; k < part.depth; ++k)
      gemm_add_columns<Scalar, 1>(size, a + k * part.a_stride, part.a_stride, part.b + k, sum);
    const Packet alpha = pset1<Packet>(part.alpha);
    for (Index i = 0; i < size; i += GemmTile<Scalar>::kPacket)
      pstoreu(part.c + row + i, pmadd(alpha, ploadu<Packet>(sum + i), ploadu<Packet>(part.start + row + i)));
  }
}

}  // namespace qllk::linalg::detail
