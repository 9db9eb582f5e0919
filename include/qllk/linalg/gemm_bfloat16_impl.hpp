// How products of bfloat16 are cut into tiles. Include qllk/linalg/gemm_bfloat16.hpp.
#pragma once

#include <algorithm>
#include <span>

#include "qllk/core/types.hpp"
#include "qllk/linalg/bfloat16.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/gemm_bfloat16.hpp"
#include "qllk/linalg/pack_bfloat16.hpp"

namespace qllk::linalg::detail {

/// Packed panels of A by packed columns of B, which begin at column `col` of C.
inline void pair_panels(const PairProduct& product, Index col, Index columns, bool b_transposed, PairFactors factors) {
  for (Index row = 0; row < product.rows; row += PairBlocking::kPanelRows) {
    const Index panel = std::min(PairBlocking::kPanelRows, product.rows - row);
    if (b_transposed)
      pair_columns<true>(panel, columns, factors, product.target.at(row, col));
    else
      pair_columns<false>(panel, columns, factors, product.target.at(row, col));
    factors.a += panel * factors.pairs;
  }
}

QLLK_NOINLINE QLLK_INLINE void gemm_bfloat16(Index cols, Index depth, const FloatFactor& b,
                                             std::span<PairProduct> products) {
  struct Left;
  struct Right;
  using Blocking = PairBlocking;
  Index rows = 0;
  for (const auto& [own, a, target] : products) {
    rows += whole_vectors(own);
    for (Index j = 0; j < cols && depth == 0; ++j)
      std::copy_n(target.start + j * target.start_stride, own, target.c + j * target.stride);
  }
  for (Index k = 0; k < depth; k += Blocking::kDepth) {
    const Index part = std::min(Blocking::kDepth, depth - k), pairs = (part + 1) / 2;
    PairBits* const left = pair_memory<Left>(rows * pairs);
    PairBits* const right = pair_memory<Right>(std::min(cols, Blocking::kColumns) * pairs);
    PairBits* end = left;
    for (const auto& product : products) end = pack_left(product.a, 0, k, product.rows, part, end);
    for (Index col = 0; col < cols; col += Blocking::kColumns) {
      const Index columns = std::min(Blocking::kColumns, cols - col);
      pack_right(b, k, col, part, columns, right);
      const PairBits* a = left;
      for (const auto& product : products) {
        pair_panels(product, col, columns, b.transposed, {pairs, a, right, b.transposed ? columns : pairs});
        a += whole_vectors(product.rows) * pairs;
      }
    }
    for (auto& [own, a, target] : products) target.start = target.c, target.start_stride = target.stride;
  }
}

}  // namespace qllk::linalg::detail
