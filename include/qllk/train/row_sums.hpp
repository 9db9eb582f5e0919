// The gradient of a hashed table over more positions than memory has room for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/prefetch.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/optim/row_update.hpp"

namespace qllk::train {

using linalg::SparseGrads;

/// Adds up sparse gradients row by row: one entry for each row that occurred, whatever the number of positions.
///
/// Cost     of an addition: the entries times dim, and a sort of them; memory: rows that occurred times dim, and 4
///          bytes for each row of the table
template <Real Scalar>
class RowSums {
 public:
  /// Of a table [dim, rows].
  RowSums(Index dim, Index rows)
      : sums_(dim, rows), column_(static_cast<std::size_t>(rows)), fresh_(static_cast<std::size_t>(buckets())) {}

  /// Adds the gradients of all lists, in their order. Which thread adds which bucket of rows is of no consequence to
  /// the sums.
  void add(std::span<SparseGrads<Scalar>* const> lists, ThreadPool& pool) {
    pool.run(std::ssize(lists), [&](Index i) { lists[static_cast<std::size_t>(i)]->sort_by_bucket(kShift); });
    pool.run(buckets(), [&](Index bucket) { find_fresh(lists, static_cast<std::size_t>(bucket)); });
    for (const auto& rows : fresh_)
      for (const std::uint32_t row : rows) {
        const Index column = sums_.grow(1);
        sums_.value_of(column).setZero();
        sums_.add(row, column, false);
        column_[row] = static_cast<std::uint32_t>(column) + 1;
      }
    pool.run(buckets(), [&](Index bucket) { add_bucket(lists, static_cast<std::size_t>(bucket)); });
  }

  /// What was added so far.
  SparseGrads<Scalar>& sums() { return sums_; }

  /// Forgets all, also after an addition that failed, and keeps the memory.
  void clear() {
    std::fill(column_.begin(), column_.end(), kNone);
    sums_.setZero();
  }

 private:
  static constexpr int kShift = optim::RowUpdate<Scalar>::kShift;
  static constexpr std::uint32_t kNone = 0, kFound = 0xFFFFFFFF;
  static constexpr std::ptrdiff_t kAhead = 4;  // entries whose sum, which no processor foresees, is asked for

  Index buckets() const { return optim::RowUpdate<Scalar>::buckets(sums_.cols()); }

  void find_fresh(std::span<SparseGrads<Scalar>* const> lists, std::size_t bucket) {
    auto& rows = fresh_[bucket];
    rows.clear();
    for (const auto* list : lists)
      for (const auto* e = list->bucket_begin(bucket); e != list->bucket_end(bucket); ++e) {
        if (column_[e->row] != kNone) continue;
        column_[e->row] = kFound;
        rows.push_back(e->row);
      }
  }

  void add_bucket(std::span<SparseGrads<Scalar>* const> lists, std::size_t bucket) {
    const auto sum = [&](const auto& entry) { return sums_.value_of(static_cast<Index>(column_[entry.row]) - 1); };
    for (const auto* list : lists) {
      const auto* const end = list->bucket_end(bucket);
      for (const auto* e = list->bucket_begin(bucket); e != end; ++e) {
        if (end - e > kAhead) {
          const auto later = sum(e[kAhead]);
          linalg::prefetch<linalg::Access::write>(later.data(), later.size());
        }
        if (e->sign() < 0)
          sum(*e) -= list->value(*e);
        else
          sum(*e) += list->value(*e);
      }
    }
  }

  SparseGrads<Scalar> sums_;
  std::vector<std::uint32_t> column_;              // of each row of the table in sums_, and 1 more
  std::vector<std::vector<std::uint32_t>> fresh_;  // of each bucket: rows that occur for the first time
};

}  // namespace qllk::train
