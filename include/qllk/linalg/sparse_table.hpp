// Large lookup tables of which a step touches few rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/linalg/prefetch.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::linalg {

/// A learned table whose gradient is sparse. Otherwise a Table: a column [dim] for each key.
template <Real Scalar>
class HashTable : public Table<Scalar> {
 public:
  using Table<Scalar>::Table;
  using Table<Scalar>::operator=;
};

/// Whether a leaf is a HashTable.
template <class Leaf>
inline constexpr bool is_hash_table_v = false;
/// It is one.
template <class Scalar>
inline constexpr bool is_hash_table_v<HashTable<Scalar>> = true;

/// y ± T[key], where y has the table's dim.
template <Real Scalar>
void add_key(const HashTable<Scalar>& table, Index key, bool minus, Values<Scalar> y) {
  if (minus)
    y -= column(table, key);
  else
    y += column(table, key);
}

/// Whether training has written this key: those it has not are zero.
template <Real Scalar>
bool is_trained(const HashTable<Scalar>& table, Index key) {
  return table(0, key) != Scalar(0);
}

/// Asks for a column that is added soon.
template <Real Scalar>
void prefetch_key(const HashTable<Scalar>& table, Index key) {
  prefetch(table.data() + key * table.rows(), table.rows());
}

/// The gradient of a HashTable: a list of (row, ±column), meaning that the row's gradient has ±values.col(column) in
/// it. Memory and cost follow the positions seen, not the size of the table. Cleared, it keeps its memory, which grows
/// in blocks: no column ever moves.
template <Real Scalar>
class SparseGrads {
 public:
  /// An occurrence of a row.
  struct Entry {
    std::uint32_t row;            // of the table
    std::uint32_t signed_column;  // column, and the sign in the lowest bit: 1 is minus

    /// Which of the appended columns is its gradient.
    std::uint32_t column() const { return signed_column >> 1; }
    /// What the column is multiplied by.
    Scalar sign() const { return (signed_column & 1) != 0 ? Scalar(-1) : Scalar(1); }
  };

  /// No gradient, of a table [dim, rows].
  explicit SparseGrads(Index dim = 0, Index rows = 0) : dim_(dim), rows_(rows) {}

  /// No occurrences; the memory stays.
  void setZero() {
    entries_.clear();
    columns_ = 0;
  }

  /// Appends columns, and returns the number of the first: what entries refer to.
  Index append(MatIn<Scalar> columns) {
    QLLK_ASSERT(columns.rows() == dim_);
    const Index first = grow(columns.cols());
    for (Index done = 0; done < columns.cols();) {
      const Index at = (first + done) % kBlock, size = std::min(kBlock - at, columns.cols() - done);
      block(first + done).middleCols(at, size) = columns.middleCols(done, size);
      done += size;
    }
    return first;
  }
  /// Appends columns of undefined values, to be written by value_of, and returns the number of the first.
  Index grow(Index columns) {
    const Index first = columns_;
    columns_ += columns;
    while (std::ssize(blocks_) * kBlock < columns_) blocks_.emplace_back(dim_, kBlock);
    return first;
  }
  /// How many columns were appended.
  Index columns() const { return columns_; }
  /// An appended column, to be written.
  Values<Scalar> value_of(Index column) { return linalg::column(block(column), column % kBlock); }
  /// An appended column.
  ConstValues<Scalar> value_of(Index column) const { return linalg::column(block(column), column % kBlock); }
  /// Room for as many entries, so that a later step with more of them does not allocate.
  void reserve(std::size_t entries) { entries_.reserve(entries); }
  /// Adds an occurrence of a row.
  void add(std::uint32_t row, Index column, bool minus) {
    entries_.push_back({row, static_cast<std::uint32_t>(column << 1) | static_cast<std::uint32_t>(minus)});
  }

  /// Orders the entries by bucket (row >> shift), keeping their order inside a bucket: a counting sort.
  void sort_by_bucket(int shift) {
    const auto buckets = static_cast<std::size_t>(std::max<Index>(rows_ - 1, 0) >> shift) + 1;
    starts_.assign(buckets + 1, 0);
    for (const Entry& e : entries_) ++starts_[(e.row >> shift) + 1];
    for (std::size_t b = 0; b < buckets; ++b) starts_[b + 1] += starts_[b];
    sorted_.reserve(entries_.capacity());
    sorted_.resize(entries_.size());
    next_.assign(starts_.begin(), starts_.end());
    for (const Entry& e : entries_) sorted_[next_[e.row >> shift]++] = e;
  }
  /// The first entry of a bucket, after sort_by_bucket.
  const Entry* bucket_begin(std::size_t b) const { return sorted_.data() + starts_[b]; }
  /// Behind the last entry of a bucket.
  const Entry* bucket_end(std::size_t b) const { return sorted_.data() + starts_[b + 1]; }

  /// The gradient of an occurrence, but for its sign.
  ConstValues<Scalar> value(const Entry& e) const { return column(block(e.column()), e.column() % kBlock); }
  /// All occurrences, in the order in which they were added.
  const std::vector<Entry>& entries() const { return entries_; }

  /// The whole gradient, for tests and small tables.
  Mat<Scalar> dense() const {
    Mat<Scalar> out = Mat<Scalar>::Zero(dim_, rows_);
    for (const Entry& e : entries_) column(out, e.row) += e.sign() * value(e);
    return out;
  }

  Index rows() const { return dim_; }  // shape of the table, as an Eigen matrix reports it
  Index cols() const { return rows_; }
  Index size() const { return dim_ * rows_; }

 private:
  static constexpr Index kBlock = 256;

  Mat<Scalar>& block(Index column) { return blocks_[static_cast<std::size_t>(column / kBlock)]; }
  const Mat<Scalar>& block(Index column) const { return blocks_[static_cast<std::size_t>(column / kBlock)]; }

  Index dim_, rows_, columns_ = 0;
  std::vector<Entry> entries_, sorted_;
  std::vector<std::size_t> starts_, next_;
  std::vector<Mat<Scalar>> blocks_;  // of kBlock columns each, of which the first columns_ are in use
};

}  // namespace qllk::linalg
