// Matrix products at the speed of the processor's multiply-adds, with any compiler.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <type_traits>

#include "qllk/core/types.hpp"

namespace qllk {
namespace detail {

/// Shape of the register tile: kRows packets by up to kCols columns of C, so that accumulators, a column of A and a value of B
/// fit the registers (24 + 4 + 1 of 32, or 12 + 2 + 1 of 16).
template <Real Scalar>
struct GemmTile {
  using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
  static constexpr int kPacket = Eigen::internal::unpacket_traits<Packet>::size;
  static constexpr int kRows = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 4 : 2;
  static constexpr int kCols = 6;
  static constexpr Index kDepth = 256;
  static constexpr Index kFew = 64;  // columns of B for which a transposed A is not worth packing
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
  Index next;           // how many columns on B and C are needed next
  bool far;             // whether this A was not read before
};

/// C[R packets, Cols] = start + alpha · A B, all sums in registers. Each is taken in the order of k, whatever the tile's shape:
/// a column of C does not depend on how many columns are computed with it. A `far` A comes from beyond the caches of this core.
/// What differs from tile to tile is not in `part`: a processor waits where what was just written is read in larger pieces.
template <Real Scalar, int R, int Cols, bool b_transposed, bool far = false>
[[gnu::noinline]] void gemm_tile(const GemmPart<Scalar>& part, const Scalar* a, const Index a_stride, Scalar* const c,
                                 const Scalar* const start) {
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
  // The next columns of B and C are too short for the processor to see a pattern in time. B's are asked for little by little:
  // all at once would be more than can be under way. With Bᵀ they lie beside those read now, a line for a value of k.
  constexpr Index kLine = 64 / sizeof(Scalar);
  for (Index j = part.next; j < part.next + Cols; ++j)
    for (Index i = 0; i < R * kPacket; i += kLine) __builtin_prefetch(c + j * c_stride + i);
  const Index step = b_transposed ? part.depth : kLine, ahead = kLine * a_stride;
#pragma GCC unroll 1
  for (Index k = 0; k < part.depth; k += step) {
    if constexpr (!b_transposed)
#pragma GCC unroll 8
      for (int j = 0; j < Cols; ++j) __builtin_prefetch(b + (part.next + j) * b_stride);
    const Index size = std::min(step, part.depth - k);
#pragma GCC unroll 1
    for (Index i = 0; i < size; ++i) {
      if constexpr (far)
#pragma GCC unroll 8
        for (int r = 0; r < R * kPacket; r += static_cast<int>(kLine)) __builtin_prefetch(a + ahead + r);
      if constexpr (b_transposed) __builtin_prefetch(b + kLine);
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
void gemm_rows(Index rows, const GemmPart<Scalar>& part, const Scalar* a, Scalar* c, const Scalar* start) {
  constexpr Index kPacket = GemmTile<Scalar>::kPacket;
  constexpr bool largest = R == GemmTile<Scalar>::kRows && Cols == GemmTile<Scalar>::kCols;  // others hardly matter
  const Index a_stride = part.packed ? R * kPacket : part.a_stride;
  for (; rows >= R * kPacket; rows -= R * kPacket) {
    if (largest && part.far)
      gemm_tile<Scalar, R, Cols, b_transposed, largest>(part, a, a_stride, c, start);
    else
      gemm_tile<Scalar, R, Cols, b_transposed>(part, a, a_stride, c, start);
    a += R * kPacket * (part.packed ? part.depth : 1);
    c += R * kPacket;
    start += R * kPacket;
  }
  if (rows == 0) return;
  if constexpr (R > 1) {
    gemm_rows<Scalar, R / 2, Cols, b_transposed>(rows, part, a, c, start);
  } else {
    Scalar padded[kPacket * Cols] = {};
    for (Index j = 0; j < Cols; ++j)
      for (Index i = 0; i < rows; ++i) padded[j * kPacket + i] = start[j * part.start_stride + i];
    auto whole = part;
    whole.start_stride = whole.c_stride = kPacket;
    gemm_tile<Scalar, 1, Cols, b_transposed>(whole, a, a_stride, padded, padded);
    for (Index j = 0; j < Cols; ++j)
      for (Index i = 0; i < rows; ++i) c[j * part.c_stride + i] = padded[j * kPacket + i];
  }
}

/// `count` strips of Cols columns; moves part behind them.
template <Real Scalar, int R, int Cols, bool b_transposed>
void gemm_strips(Index rows, Index count, GemmPart<Scalar>& part) {
  for (; count > 0; --count) {
    part.next = count > 1 ? Cols : 0;
    gemm_rows<Scalar, R, Cols, b_transposed>(rows, part, part.a, part.c, part.start);
    part.far = false;
    part.b += b_transposed ? Cols : Cols * part.b_stride;
    part.c += Cols * part.c_stride;
    part.start += Cols * part.start_stride;
  }
}

/// All columns: strips of six, one or two of four so that an even number leaves no rest, and single ones. Each width more
/// would cost every user of the header a second to compile.
template <Real Scalar, int R, bool b_transposed>
void gemm_columns(Index rows, Index cols, GemmPart<Scalar> part) {
  const Index rest = cols % 6, fours = cols < 6 ? cols / 4 : rest >= 4 ? 1 : rest >= 2 ? 2 : 0;
  const Index sixes = (cols - 4 * fours) / 6;
  gemm_strips<Scalar, R, 6, b_transposed>(rows, sixes, part);
  gemm_strips<Scalar, R, 4, b_transposed>(rows, fours, part);
  gemm_strips<Scalar, R, 1, b_transposed>(rows, cols - 6 * sixes - 4 * fours, part);
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
      for (int j = 0; j < Cols; ++j) __builtin_prefetch(a + (2 * Cols + j) * a_stride + i);
    Packet total = ploadu<Packet>(sum + i);
#pragma GCC unroll 4
    for (int j = 0; j < Cols; ++j) total = pmadd(ploadu<Packet>(a + j * a_stride + i), value[j], total);
    pstoreu(sum + i, total);
  }
}

/// One column. Nothing of A is used twice, and it comes from afar: it is read front to back, four columns side by side, as
/// processors expect, and asked for eight columns ahead where a packet is a line. The sums are those of a tile.
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

/// Copies rows × depth of A so that tiles read it front to back: strips of R packets of rows, k by k; the rest in strips of
/// half as many, the last packet padded with zeros.
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

/// Zeros for a C of that many rows, valid until this thread asks for more.
template <Real Scalar>
GemmStart<Scalar> gemm_zeros(Index rows) {
  thread_local Vec<Scalar> zeros;
  if (zeros.size() < rows) zeros.setZero(rows);
  return {zeros.data(), 0};
}

template <Real Scalar, bool a_transposed, bool b_transposed>
void gemm(Index rows, Index cols, Index depth, const Scalar* a, Index a_stride, const Scalar* b, Index b_stride,
          Scalar* c, Index c_stride, Scalar alpha, GemmStart<Scalar> start);

/// C = start + alpha · Aᵀ B as (startᵀ + alpha · Bᵀ A)ᵀ, of whole packets: when B has few columns, packing them and turning C
/// is less work than packing A. The sums are the same, bit for bit.
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
[[gnu::noinline]] void gemm(Index rows, Index cols, Index depth, const Scalar* a, Index a_stride, const Scalar* b,
                            Index b_stride, Scalar* c, Index c_stride, Scalar alpha, GemmStart<Scalar> start) {
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
                                   start.values, start.stride, 0, false});
    for (Index row = 0; row < rows && !vector; row += Tile::kPanelRows) {
      const Index part_rows = std::min(Tile::kPanelRows, rows - row);
      const Scalar* const a_part = a_transposed ? a + row * a_stride + k : a + row + k * a_stride;
      GemmPart<Scalar> part{part_depth,   !direct, a_part,   a_stride, b_part,
                            b_stride,     c + row, c_stride, alpha,    start.values + row,
                            start.stride, 0,       direct};
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

}  // namespace qllk
