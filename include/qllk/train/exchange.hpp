// The sum over the shards of a batch: a fixed tree, which several processes may compute together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/linalg/sparse_table.hpp"

namespace qllk::train {

/// Shards [first, end) of a batch. As a node of the tree it is the sum of its halves, or one shard: the tree, and with
/// it every bit of the sum, depends on the number of shards only.
struct ShardRange {
  Index first = 0, end = 0;  // the first shard, and the one after the last

  /// The number of shards.
  Index size() const { return end - first; }
  /// Whether it is a leaf of the tree.
  bool is_shard() const { return size() == 1; }
  /// The first half, rounded down.
  ShardRange left() const { return {first, first + size() / 2}; }
  /// The other half.
  ShardRange right() const { return {first + size() / 2, end}; }
  bool operator==(const ShardRange&) const = default;
};

/// Calls f(node) for the largest nodes of the tree below `node` whose shards are all in `range`, from left to right.
template <class F>
void for_each_node(ShardRange node, ShardRange range, F&& f) {
  if (node.first >= range.end || node.end <= range.first) return;
  if (range.first <= node.first && node.end <= range.end) return f(node);
  for_each_node(node.left(), range, f);
  for_each_node(node.right(), range, f);
}

/// The gradients of one process' shards, while they are added up. The last of a backward pass, the products that make
/// the gradients of weights, are taken during this: what is ready can travel meanwhile.
template <Real Scalar>
struct ShardSums {
  /// Sparse gradients, complete. Each table's lists are those of this process' shards, and are to become those of all
  /// shards, in their order. Added lists belong to the exchange, and hold until its next call.
  std::span<std::vector<linalg::SparseGrads<Scalar>*>> tables;
  /// Dense gradients: partials[i] is to be the sum of the i-th of the largest nodes of the tree that this process'
  /// shards make up.
  std::span<const std::vector<Scalar>> partials;
  /// They come in parts, 10,000 at most: where the values of each end.
  std::span<const std::size_t> ends;
  /// Makes the values of a part, [ends[p-1], ends[p]). To be called once for each, in their order.
  std::function<void(std::size_t)> compute;
  /// To be written: the sum of all shards.
  std::span<Scalar> total;
};

/// How the processes that train one model together come to the sum over all shards. A Trainer that is given one
/// computes the shards of share() only, and calls the others in the same order in every process.
///
/// Errors   what the implementation throws ends the step: it has not happened
template <Real Scalar>
class Exchange {
 public:
  /// What is to be summed.
  using Sums = ShardSums<Scalar>;

  virtual ~Exchange() = default;

  /// The shards that this process computes. Throws std::invalid_argument if there are too few for all processes.
  virtual ShardRange share(Index shards) = 0;

  /// The gradients of this process' shards become those of all, the same bits in every process. See ShardSums.
  virtual void sum(const Sums& sums) = 0;

  /// The losses of all shards, in their order, of those of this process' shards.
  virtual std::vector<double> gather(std::span<const double> losses) = 0;

  /// What the first process passes.
  virtual double leaders(double value) = 0;

  /// How many batches a step takes in all processes together, and which of them this one computes.
  struct Batches {
    std::uint64_t each_step = 1, mine = 0;  // the number, and which one
  };
  /// One batch for all processes, unless an exchange says otherwise.
  virtual Batches batches() const { return {}; }

  /// What is learned, where it stays until the next call: dense tensors, and hashed tables [dim, rows] with moments
  /// […, rows].
  struct Table {
    std::span<Scalar> values, moments;  // column-major
    Index rows;                         // of the table: its columns in memory
  };
  /// All that is learned.
  struct Learned {
    std::vector<std::span<Scalar>> dense;  // one for each tensor
    std::vector<Table> tables;             // one for each hashed table
  };
  /// Called before the first step with what is learned.
  virtual void attach(Learned /*learned*/) {}
  /// After each update of what was attached.
  virtual void after_update() {}
};

}  // namespace qllk::train
