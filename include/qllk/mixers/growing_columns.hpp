// A matrix that a stream appends columns to.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "qllk/core/types.hpp"

namespace qllk::mixers {

/// A matrix [rows, cols] with room for more columns: what a state remembers of every position.
///
/// A copy has memory of its own. A cache can refer to the columns as they are now, without copying them, by share():
/// columns that follow do not disturb it, and own() gives this matrix memory of its own before its values are changed.
///
/// Cost     a column appended or dropped is O(rows), averaged over many; the memory at most twice what is in use, or 32
///          times while caches share it, so that a training step of the same length as the one before finds room
template <Real Scalar>
class GrowingColumns : public Eigen::Map<Mat<Scalar>> {
  using Base = Eigen::Map<Mat<Scalar>>;

 public:
  /// No rows, no columns.
  GrowingColumns() : Base(nullptr, 0, 0) {}
  /// A copy in memory of its own.
  GrowingColumns(const GrowingColumns& other) : GrowingColumns() { *this = other; }
  /// Takes the memory of the other one.
  GrowingColumns(GrowingColumns&& other) noexcept : GrowingColumns() { *this = std::move(other); }
  /// A copy in memory of its own.
  GrowingColumns& operator=(const GrowingColumns& other) {
    if (this != &other) assign(other);
    return *this;
  }
  /// Takes the memory of the other one.
  GrowingColumns& operator=(GrowingColumns&& other) noexcept {
    if (this == &other) return *this;
    memory_ = std::move(other.memory_);
    capacity_ = std::exchange(other.capacity_, 0);
    see(other.data(), other.rows(), other.cols());
    other.see(nullptr, other.rows(), 0);
    return *this;
  }
  ~GrowingColumns() = default;

  /// No columns, of that many rows.
  void clear(Index rows) {
    if (shared()) release();
    see(memory_.get(), rows, 0);
  }
  /// Values that do not lie in this matrix.
  void assign(MatIn<Scalar> columns) {
    clear(columns.rows());
    append(columns);
  }
  /// Adds columns behind the last one.
  void append(MatIn<Scalar> columns) {
    QLLK_ASSERT(columns.rows() == this->rows());
    make_room(columns.cols());
    Base(this->data() + this->size(), columns.rows(), columns.cols()) = columns;
    see(this->data(), this->rows(), this->cols() + columns.cols());
  }
  /// Keeps the last ones.
  void keep(Index cols) {
    const Index dropped = std::max<Index>(this->cols() - cols, 0);
    see(this->data() + dropped * this->rows(), this->rows(), this->cols() - dropped);
  }

  /// The columns of now, in the same memory.
  GrowingColumns share() const {
    GrowingColumns other;
    other.memory_ = memory_;
    other.capacity_ = capacity_;
    other.see(const_cast<Scalar*>(this->data()), this->rows(), this->cols());
    return other;
  }
  /// To be called before values are changed.
  void own() {
    if (shared()) *this = GrowingColumns(std::as_const(*this));
  }
  /// No columns and no memory.
  void release() {
    memory_.reset();
    capacity_ = 0;
    see(nullptr, this->rows(), 0);
  }

 private:
  void see(Scalar* data, Index rows, Index cols) { ::new (static_cast<Base*>(this)) Base(data, rows, cols); }
  bool shared() const { return memory_.use_count() > 1; }

  void make_room(Index cols) {
    const Index used = this->data() - memory_.get(), needed = this->size() + cols * this->rows();
    if (used + needed <= capacity_) return;
    const bool move = !shared() && 2 * needed <= capacity_;
    auto memory = memory_;
    if (!move) {
      capacity_ = std::clamp(shared() ? 2 * capacity_ : 0, 2 * needed, 32 * needed);
      memory = std::shared_ptr<Scalar[]>(new Scalar[static_cast<std::size_t>(capacity_)]);
    }
    std::copy(this->data(), this->data() + this->size(), memory.get());
    memory_ = std::move(memory);
    see(memory_.get(), this->rows(), this->cols());
  }

  std::shared_ptr<Scalar[]> memory_;
  Index capacity_ = 0;
};

}  // namespace qllk::mixers
