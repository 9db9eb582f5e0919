// Products of float matrices whose factors are rounded to bfloat16, with sums in float.
#pragma once

#include <algorithm>
#include <span>

#include "qllk/core/types.hpp"
#include "qllk/linalg/bfloat16.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/pack_bfloat16.hpp"

namespace qllk::linalg::detail {

/// What is packed at a time, so that a panel of A stays in a second-level cache and a strip of B in the first-level
/// one.
struct PairBlocking {
  static constexpr Index kDepth = 512;      // values, two to a pair
  static constexpr Index kPanelRows = 128;  // of A, that all packed columns of B pass by: 128 KiB
  static constexpr Index kColumns = 192;    // of B: 192 KiB
};

/// C and what it starts from: columns of C itself, or one column for all (start_stride 0).
struct PairTarget {
  float* c;
  Index stride;
  const float* start;
  Index start_stride;

  PairTarget at(Index row, Index col) const {
    return {c + row + col * stride, stride, start + row + col * start_stride, start_stride};
  }
};

/// Packed factors: a strip of A of R vectors of rows, and columns of B.
struct PairFactors {
  Index pairs;
  const PairBits* a;
  const PairBits* b;
  Index b_stride;  // from column to column, or from pair to pair where B is a transpose
};

/// C[R vectors, Cols] = start + A B, all sums in registers, in the order of the depth. A column of C does not depend on
/// how many columns are computed with it.
template <int R, int Cols, bool b_transposed>
QLLK_NOINLINE void pair_tile(const PairFactors& factors, const PairTarget& target) {
  PairSums sum[R][Cols];
#pragma GCC unroll 8
  for (int j = 0; j < Cols; ++j)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r][j] = no_sums();
  const PairBits *a = factors.a, *b = factors.b;
  const Index b_stride = factors.b_stride;
#pragma GCC unroll 1
  for (Index p = 0; p < factors.pairs; ++p) {
    PairRow rows[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) rows[r] = load_pairs(a + r * kPairLanes);
#pragma GCC unroll 8
    for (int j = 0; j < Cols; ++j)
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) multiply_add(sum[r][j], rows[r], b_transposed ? b[j] : b[j * b_stride]);
    a += R * kPairLanes;
    b += b_transposed ? b_stride : 1;
  }
#pragma GCC unroll 8
  for (int j = 0; j < Cols; ++j)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
      add_sums(sum[r][j], target.start + j * target.start_stride + r * kPairLanes,
               target.c + j * target.stride + r * kPairLanes);
}

/// A tile whose last vector of rows is not whole: A is padded there, C is not.
template <int Cols, bool b_transposed>
void pair_tile_padded(Index rows, const PairFactors& factors, const PairTarget& target) {
  float padded[kPairLanes * Cols] = {};
  for (Index j = 0; j < Cols; ++j) std::copy_n(target.start + j * target.start_stride, rows, padded + j * kPairLanes);
  pair_tile<1, Cols, b_transposed>(factors, {padded, kPairLanes, padded, kPairLanes});
  for (Index j = 0; j < Cols; ++j) std::copy_n(padded + j * kPairLanes, rows, target.c + j * target.stride);
}

/// All rows of a packed panel of A, by Cols columns.
template <int Cols, bool b_transposed>
void pair_rows(Index rows, PairFactors factors, PairTarget target) {
  while (rows > 0) {
    const Index vectors = strip_vectors(rows), width = vectors * kPairLanes;
    if (kHasBFloat16Products && vectors == 4)
      pair_tile<kHasBFloat16Products ? 4 : 1, Cols, b_transposed>(factors, target);
    else if (kHasBFloat16Products && vectors == 2)
      pair_tile<kHasBFloat16Products ? 2 : 1, Cols, b_transposed>(factors, target);
    else if (rows >= width)
      pair_tile<1, Cols, b_transposed>(factors, target);
    else
      pair_tile_padded<Cols, b_transposed>(rows, factors, target);
    factors.a += width * factors.pairs;
    target = target.at(width, 0);
    rows -= width;
  }
}

/// `count` strips of Cols columns; moves factors and target behind them.
template <int Cols, bool b_transposed>
void pair_strips(Index rows, Index count, PairFactors& factors, PairTarget& target) {
  for (; count > 0; --count) {
    pair_rows<Cols, b_transposed>(rows, factors, target);
    factors.b += b_transposed ? Cols : Cols * factors.b_stride;
    target = target.at(0, Cols);
  }
}

/// A packed panel of A by all packed columns of B.
template <bool b_transposed>
void pair_columns(Index rows, Index cols, PairFactors factors, PairTarget target) {
  if constexpr (kHasBFloat16Products) {
    const Index sixes = cols / 6, fours = cols % 6 / 4;
    pair_strips<6, b_transposed>(rows, sixes, factors, target);
    pair_strips<4, b_transposed>(rows, fours, factors, target);
    cols -= 6 * sixes + 4 * fours;
  }
  pair_strips<1, b_transposed>(rows, cols, factors, target);
}

/// One of several products with the same right factor.
struct PairProduct {
  Index rows;
  FloatFactor a;
  PairTarget target;
};

/// Of each: C = start + A B, of [rows, depth] by [depth, cols]. B is packed once for all.
void gemm_bfloat16(Index cols, Index depth, const FloatFactor& b, std::span<PairProduct> products);

}  // namespace qllk::linalg::detail

#ifndef QLLK_COMPILED
#include "qllk/linalg/gemm_bfloat16_impl.hpp"
#endif
