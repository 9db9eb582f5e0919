// The optimiser of hashed tables: only rows that occurred are read or written.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/linalg/prefetch.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::optim {

using linalg::column, linalg::HashTable, linalg::SparseGrads, linalg::values;

/// Settings for hashed tables.
struct RowWise {
  double rate = 10;       // of a row, in multiples of the learning rate of everything else
  double beta2 = 0.99;    // share of the second moment that the next one keeps
  double epsilon = 1e-8;  // added to the root of the second moment
};

/// One update of a HashTable: Adam's second moment kept once a row, no first moment, time counted by row.
///
/// For every row that has a gradient g:
///
///   c = c + 1
///   v = β₂ v + (1-β₂) mean(g²)
///   T = T - η·rate · g / ( √(v / (1-β₂ᶜ)) + ε )
///
/// A row that does not occur is neither read nor written, and nothing is owed to it later: v and c are those of the
/// last update it took part in. A rare n-gram thus moves as far on its first occurrence as a frequent one on each of
/// its own.
///
/// Shapes   table: [dim, rows]    moments: [2, rows], v and c
/// Cost     the rows that occurred times dim, and a sort of the occurrences; independent of the size of the table
/// Source   Kingma and Ba 2015 with one second moment a row, as for embeddings in Mudigere et al. 2022, section 4.1
template <Real Scalar>
class RowUpdate {
 public:
  /// Numbers that are kept of a row: v and c.
  static constexpr Index kMoments = 2;
  static constexpr int kShift = 12;  // a bucket, one task, is 2^12 rows

  /// The rule at this learning rate.
  RowUpdate(const RowWise& settings, double learning_rate)
      : rate_(static_cast<Scalar>(settings.rate * learning_rate)),
        beta2_(static_cast<Scalar>(settings.beta2)),
        epsilon_(static_cast<Scalar>(settings.epsilon)) {}

  /// How many buckets so many rows have.
  static Index buckets(Index rows) { return (rows + (Index{1} << kShift) - 1) >> kShift; }

  /// Updates one bucket's rows from the gradients of all shards, which sort_by_bucket(kShift) has put in order: shard
  /// 0, then 1, …, each in the order of its positions. Buckets may be updated in any order, by any thread.
  void apply(HashTable<Scalar>& table, std::span<const SparseGrads<Scalar>* const> shards, HashTable<Scalar>& moments,
             Index bucket) const {
    thread_local std::vector<Occurrence> found;
    thread_local Vec<Scalar> total;
    std::size_t most = 0;
    for (const auto* shard : shards) most += shard->entries().capacity();
    found.reserve(most);
    found.clear();
    for (const auto* shard : shards) {
      const auto b = static_cast<std::size_t>(bucket);
      for (const auto* e = shard->bucket_begin(b); e != shard->bucket_end(b); ++e)
        found.push_back({std::uint64_t{e->row} << 32 | found.size(), e->sign(), shard->value(*e).data()});
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
    total.resize(table.rows());
    auto sum = values(total);
    for (auto at = found.begin(); at != found.end();) {
      const auto row = static_cast<Index>(at->key >> 32);
      sum.setZero();
      for (; at != found.end() && static_cast<Index>(at->key >> 32) == row; ++at) {
        if (found.end() - at > kAhead) {
          const Occurrence& next = at[kAhead];
          const auto later = static_cast<Index>(next.key >> 32);
          linalg::prefetch(next.gradient, table.rows());
          linalg::prefetch(table.col(later).data(), table.rows());
          linalg::prefetch(moments.col(later).data(), moments.rows());
        }
        sum += at->sign * values(at->gradient, table.rows());
      }
      Scalar& v = moments(0, row);
      Scalar& count = moments(1, row);
      count += 1;
      v = beta2_ * v + (1 - beta2_) * sum.square().mean();
      const Scalar root = std::sqrt(v / (1 - std::pow(beta2_, count)));
      column(table, row) -= rate_ / (root + epsilon_) * sum;
    }
  }

 private:
  static constexpr Index kAhead = 6;  // occurrences whose memory, which no processor foresees, is asked for

  struct Occurrence {
    std::uint64_t key;  // row, then order of occurrence: sums are added in a fixed order
    Scalar sign;
    const Scalar* gradient;
  };

  Scalar rate_, beta2_, epsilon_;
};

}  // namespace qllk::optim
