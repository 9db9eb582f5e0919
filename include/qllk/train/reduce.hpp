// Adding shards' gradients and applying an update, in parallel and in a fixed order.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <type_traits>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/sparse_table.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/optim/row_update.hpp"

namespace qllk::train {

/// Cuts all parameters into tiles of one size, whatever the number of threads. A tile is one task, and tiles' norms are
/// added in order: the result does not depend on who did what when. Hashed tables go by buckets of rows instead.
template <Real Scalar>
class Reducer {
 public:
  Reducer() = default;

  /// Tiles for parameters of these shapes.
  template <HasFields Params>
  explicit Reducer(const Params& params) {
    for_each_parameter(
        [&](const Path&, const auto& leaf) {
          using Leaf = std::remove_cvref_t<decltype(leaf)>;
          if constexpr (is_hash_table_v<Leaf>) {
            ++tables_;
          } else {
            for (Index at = 0; at < leaf.size(); at += kTile)
              tiles_.push_back({leaves_, static_cast<std::size_t>(at),
                                static_cast<std::size_t>(std::min(kTile, leaf.size() - at)), optim::decays_v<Leaf>});
            ++leaves_;
          }
        },
        params);
    squares_.resize(tiles_.size());
  }

  /// Moves the dense gradients of all shards into those of the first, the others are zero then, and returns the norm of the
  /// sum; puts sparse gradients in the order that `apply` needs.
  template <class Shards>
  double sum(Shards& shards, ThreadPool& pool) {
    dense_.clear();
    sparse_.clear();
    for (auto& shard : shards) collect(shard.grads, sparse_);
    pool.run(std::ssize(sparse_),
             [&](Index i) { sparse_[static_cast<std::size_t>(i)]->sort_by_bucket(optim::RowUpdate<Scalar>::kShift); });
    pool.run(std::ssize(tiles_), [&](Index i) {
      const Tile& tile = tiles_[static_cast<std::size_t>(i)];
      auto total = values(dense_[tile.leaf], tile);
      for (std::size_t s = 1; s < shards.size(); ++s) {
        auto part = values(dense_[s * leaves_ + tile.leaf], tile);
        total += part;
        part.setZero();
      }
      squares_[static_cast<std::size_t>(i)] = total.square().template cast<double>().sum();
    });
    double square = 0;
    for (const double part : squares_) square += part;
    return std::sqrt(square);
  }

  /// Applies an optimiser's update to every tile, and `rows` to every row of a hashed table that occurred. All gradients are
  /// zero then: it costs least while they are in the cache.
  template <class Update, HasFields Params, HasFields Grads, class State>
  void apply(const Update& update, const optim::RowUpdate<Scalar>& rows, Params& params, Grads& grads, State& state,
             ThreadPool& pool) {
    dense_.clear();
    table_.clear();
    ignored_.clear();
    collect(params, table_);
    collect(grads, ignored_);
    collect(state.first, table_);
    collect(state.second, table_);
    pool.run(std::ssize(tiles_), [&](Index i) {
      const Tile& tile = tiles_[static_cast<std::size_t>(i)];
      const auto part = [&](std::size_t which) {
        return std::span(dense_[which * leaves_ + tile.leaf] + tile.begin, tile.size);
      };
      update.apply(part(0), part(1), part(2), part(3), tile.decays);
      values(part(1).data() - tile.begin, tile).setZero();
    });
    for (std::size_t t = 0; t < tables_; ++t) {
      of_table_.clear();
      for (std::size_t s = t; s < sparse_.size(); s += tables_) of_table_.push_back(sparse_[s]);
      pool.run(rows.buckets(table_[t]->cols()),
               [&](Index bucket) { rows.apply(*table_[t], of_table_, *table_[2 * tables_ + t], bucket); });
    }
    for (auto* grads : sparse_) grads->setZero();
  }

 private:
  static constexpr Index kTile = 16384;  // four tiles of floats fit a second-level cache of 256 KiB

  struct Tile {
    std::size_t leaf, begin, size;
    bool decays;
  };

  template <class Tree, class Sparse>
  void collect(Tree& tree, std::vector<Sparse*>& sparse) {
    for_each_parameter(
        [&](const Path&, auto& leaf) {
          if constexpr (std::is_same_v<std::remove_cvref_t<decltype(leaf)>, Sparse>)
            sparse.push_back(&leaf);
          else
            dense_.push_back(leaf.data());
        },
        tree);
  }

  static auto values(Scalar* leaf, const Tile& tile) {
    return Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>>(leaf + tile.begin, static_cast<Index>(tile.size));
  }

  std::vector<Tile> tiles_;
  std::vector<double> squares_;
  std::vector<Scalar*> dense_;
  std::vector<SparseGrads<Scalar>*> sparse_, ignored_;
  std::vector<const SparseGrads<Scalar>*> of_table_;
  std::vector<HashTable<Scalar>*> table_;
  std::size_t leaves_ = 0, tables_ = 0;
};

}  // namespace qllk::train
