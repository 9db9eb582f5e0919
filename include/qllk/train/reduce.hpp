// Adding shards' gradients, exchanging them, and applying an update, in parallel and in a fixed order.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/product_sum.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "qllk/optim/row_update.hpp"
#include "qllk/optim/step.hpp"
#include "qllk/train/exchange.hpp"
#include "qllk/train/row_sums.hpp"

namespace qllk::train {

using linalg::HashTable, linalg::is_hash_table_v, linalg::ProductSum, linalg::SparseGrads, linalg::values;

/// What a hook is given between the sum of a step's gradients and their norm, and may change.
template <HasFields Grads, Real Scalar>
struct StepGradients {
  /// The sum over all shards, to be changed in place. Its hashed tables are empty.
  Grads& dense;
  /// For each hashed table, in the order of fields(), the lists whose entries RowUpdate adds, in this order. A hook may
  /// add lists of its own, such as other machines'. They must stay alive until the step is over, which clears them.
  std::span<std::vector<SparseGrads<Scalar>*>> tables;
};

/// The hook of one machine: gradients are as they are.
struct NoHook {
  /// Leaves them alone.
  void operator()(const auto& /*gradients*/) const {}
};

/// Cuts all parameters into tiles of whole columns, whatever the number of threads. A tile is one task, and tiles'
/// norms are added in order: the result does not depend on who did what when. Hashed tables go by buckets of rows
/// instead.
///
/// What is added may be pieces of shards (a member `group` says of which): those of one shard are added one after the
/// other, and shards as the tree of ShardRange. An Exchange adds the shards of other processes at its place in that
/// tree.
template <Real Scalar>
class Reducer {
 public:
  Reducer() = default;

  /// Tiles for parameters of these shapes. Listed products are taken in that precision. `exchange`, if any, must
  /// outlive the reducer; shards are of all processes then.
  template <HasFields Params>
  QLLK_COLD explicit Reducer(const Params& params, linalg::Precision precision = linalg::Precision::full,
                             Exchange<Scalar>* exchange = nullptr, Index shards = 0)
      : precision_(precision), exchange_(exchange) {
    for_each_parameter(
        [&](const Path&, const auto& leaf) {
          using Leaf = std::remove_cvref_t<decltype(leaf)>;
          if constexpr (is_hash_table_v<Leaf>) {
            sparse_.emplace_back();
          } else {
            const Index width = std::max(kColumns, kValues / std::max<Index>(leaf.rows(), 1));
            for (Index at = 0; at < leaf.cols(); at += width)
              tiles_.push_back({leaves_, leaf.rows(), at, std::min(width, leaf.cols() - at),
                                dense_size_ + at * leaf.rows(), optim::decays_v<Leaf>});
            dense_size_ += leaf.size();
            ++leaves_;
          }
        },
        params);
    // the largest first, so that no thread starts one when the others are done
    std::ranges::stable_sort(tiles_, std::greater{}, [](const Tile& tile) { return tile.size(); });
    squares_.resize(tiles_.size());
    if (exchange_ == nullptr) return;
    const ShardRange share = exchange_->share(shards);
    for_each_node({0, shards}, share, [&](ShardRange node) {
      nodes_.push_back({node.first - share.first, node.end - share.first});
      partials_.emplace_back(static_cast<std::size_t>(dense_size_));
    });
    exchanged_.resize(static_cast<std::size_t>(dense_size_));
    cut_into_parts();
  }

  /// Sum → hook → norm. Writes the sum of all shards' dense gradients to `total`, calls hook(StepGradients&), which
  /// may change it, and returns its norm. Dense gradients of the shards are zero then and listed products forgotten;
  /// sparse ones are in the order that `apply` needs. When the hook throws, call clear_sparse() before the next sum.
  template <class Shards, HasFields Grads, class Hook = NoHook>
  double sum(Shards& shards, Grads& total, ThreadPool& pool, Hook&& hook = {}) {
    take(shards, total, pool, true);
    return finish(total, pool, hook);
  }

  /// Adds the gradients of all shards to a sum that has more than memory has room for at once; the shards have none
  /// then. `first`: there is nothing in it yet. Dense ones are in `total`, sparse ones here. Afterwards, sum_added.
  template <class Shards, HasFields Grads>
  void add(Shards& shards, Grads& total, ThreadPool& pool, bool first) {
    take(shards, total, pool, first);
    if (rows_.empty()) {
      rows_.reserve(sparse_.size());
      for (const auto& lists : sparse_) rows_.emplace_back(lists.front()->rows(), lists.front()->cols());
    }
    for (std::size_t t = 0; t < sparse_.size(); ++t) {
      if (first) rows_[t].clear();
      rows_[t].add(sparse_[t], pool);
    }
    clear_sparse();
  }
  /// As `sum`, of all that was added.
  template <HasFields Grads, class Hook = NoHook>
  double sum_added(Grads& total, ThreadPool& pool, Hook&& hook = {}) {
    for (std::size_t t = 0; t < sparse_.size(); ++t) sparse_[t].assign(1, &rows_[t].sums());
    return finish(total, pool, hook);
  }

  /// Applies an optimiser's update with gradients `total` to every tile, and `rows` to every row of a hashed table that
  /// occurred.
  template <class Update, HasFields Params, HasFields Grads, OptimizerState<Params> State>
  void apply(const Update& update, const optim::RowUpdate<Scalar>& rows, Params& params, Grads& total, State& state,
             ThreadPool& pool) {
    constexpr std::size_t kMoments = qllk::detail::moments_v<State>;
    dense_.clear();
    table_.clear();
    ignored_.clear();
    collect(params, dense_, table_);
    collect(total, dense_, ignored_);
    std::apply([&](auto&... moments) { (collect(moments, dense_, table_), ...); }, state.moments());
    pool.run(std::ssize(tiles_), [&](Index i) {
      const Tile& tile = tiles_[static_cast<std::size_t>(i)];
      const auto part = [&](std::size_t which) {
        auto block = values(dense_[which * leaves_ + tile.leaf], tile);
        return std::span(block.data(), static_cast<std::size_t>(block.size()));
      };
      const auto apply_tile = [&]<std::size_t... moment>(std::index_sequence<moment...>) {
        update.apply(part(0), part(1), part(2 + moment)..., tile.decays);
      };
      apply_tile(std::make_index_sequence<kMoments>{});
    });
    for (std::size_t t = 0; t < sparse_.size(); ++t) {
      of_table_.assign(sparse_[t].begin(), sparse_[t].end());
      HashTable<Scalar>& moments = *table_[kMoments * sparse_.size() + t];
      pool.run(rows.buckets(table_[t]->cols()),
               [&](Index bucket) { rows.apply(*table_[t], of_table_, moments, bucket); });
    }
  }

  /// Forgets the sparse gradients of the last sum.
  void clear_sparse() {
    for (const auto& lists : sparse_)
      for (auto* grads : lists) grads->setZero();
  }

 private:
  static constexpr Index kColumns = 128;   // so that a product reads its left factor for many columns at once
  static constexpr Index kValues = 65536;  // else as many as that is worth

  struct Tile {
    std::size_t leaf;
    Index rows, column, columns, offset;  // offset: among all dense values
    bool decays;

    Index size() const { return rows * columns; }
  };
  /// Dense gradients are exchanged in parts of so many values, of which one travels while the next is computed.
  static constexpr Index kPart = Index{1} << 18, kMostParts = 1024;

  struct Part {
    Scalar* dense;
    ProductSum<Scalar>* products;
  };

  void cut_into_parts() {
    by_part_.resize(tiles_.size());
    std::iota(by_part_.begin(), by_part_.end(), std::size_t{0});
    std::ranges::sort(by_part_, {}, [this](std::size_t i) { return tiles_[i].offset; });
    const Index least = std::max(kPart, dense_size_ / kMostParts);
    Index begin = 0;
    for (std::size_t i = 0; i < by_part_.size(); ++i) {
      const Index end = tiles_[by_part_[i]].offset + tiles_[by_part_[i]].size();
      if (end - begin < least && i + 1 < by_part_.size()) continue;
      part_ends_.push_back(static_cast<std::size_t>(end));
      part_tiles_.push_back(static_cast<Index>(i + 1));
      begin = end;
    }
  }

  /// Writes the sum of dense gradients to `total`, or adds it there, and collects the lists of sparse ones.
  template <class Shards, HasFields Grads>
  void take(Shards& shards, Grads& total, ThreadPool& pool, bool fresh) {
    collect_shards(shards, total);
    if (exchange_ == nullptr)
      for_each_tile(pool, [&](const Tile& tile) { add_up(tile, fresh); });
    else
      add_up_all(pool, fresh);
    for (const Part& part : parts_)
      if (part.products != nullptr) part.products->setZero();
  }

  template <class F>
  void for_each_tile(ThreadPool& pool, F&& f) {
    pool.run(std::ssize(tiles_), [&](Index i) { f(tiles_[static_cast<std::size_t>(i)]); });
  }

  template <HasFields Grads, class Hook>
  double finish(Grads& total, ThreadPool& pool, Hook&& hook) {
    StepGradients<Grads, Scalar> gradients{total, sparse_};
    hook(gradients);
    lists_.clear();
    for (const auto& lists : sparse_) lists_.insert(lists_.end(), lists.begin(), lists.end());
    pool.run(std::ssize(lists_),
             [&](Index i) { lists_[static_cast<std::size_t>(i)]->sort_by_bucket(optim::RowUpdate<Scalar>::kShift); });
    return norm(pool);
  }

  template <class Shards, HasFields Grads>
  void collect_shards(Shards& shards, Grads& total) {
    totals_.clear();
    parts_.clear();
    ignored_.clear();
    for (auto& lists : sparse_) lists.clear();
    collect(total, totals_, ignored_);
    order(shards);
    for (const std::size_t i : order_) {
      std::size_t table = 0;
      for_each_parameter(
          [&](const Path&, auto& leaf) {
            using Leaf = std::remove_cvref_t<decltype(leaf)>;
            if constexpr (std::is_same_v<Leaf, SparseGrads<Scalar>>)
              sparse_[table++].push_back(&leaf);
            else if constexpr (std::is_same_v<Leaf, ProductSum<Scalar>>)
              parts_.push_back({nullptr, &leaf});
            else
              parts_.push_back({leaf.data(), nullptr});
          },
          shards[i].grads);
    }
  }

  /// Shard by shard, the pieces of each in their order.
  template <class Shards>
  void order(const Shards& shards) {
    const auto group = [&](std::size_t i) {
      if constexpr (requires { shards[i].group; })
        return static_cast<std::size_t>(shards[i].group);
      else
        return i;
    };
    order_.resize(shards.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::ranges::sort(order_, {}, [&](std::size_t i) { return std::pair(group(i), i); });
    begins_.clear();
    for (std::size_t i = 0; i < order_.size(); ++i)
      for (const std::size_t g = group(order_[i]); begins_.size() <= g;) begins_.push_back(i);
    begins_.push_back(order_.size());
  }

  /// Writes one tile of the sum of all shards, or adds it to what is not `fresh`, and leaves zeros there.
  void add_up(const Tile& tile, bool fresh) {
    const ShardRange all{0, std::ssize(begins_) - 1};
    auto sum = values(totals_[tile.leaf], tile);
    if (all.size() == 0) {
      if (fresh) sum.setZero();
      return;
    }
    Scalar* const buffers = this->buffers(tile, all);
    if (fresh) return add_node(tile, all, sum.data(), buffers);
    add_node(tile, all, buffers, buffers + tile.size());
    sum += linalg::values(buffers, tile.size());
  }

  /// Likewise all tiles, of the shards of all processes.
  void add_up_all(ThreadPool& pool, bool fresh) {
    const auto compute = [&](std::size_t part) {
      const Index first = part == 0 ? 0 : part_tiles_[part - 1];
      pool.run(part_tiles_[part] - first, [&](Index i) {
        const Tile& tile = tiles_[by_part_[static_cast<std::size_t>(first + i)]];
        for (std::size_t n = 0; n < nodes_.size(); ++n)
          add_node(tile, nodes_[n], partials_[n].data() + tile.offset, buffers(tile, nodes_[n]));
      });
    };
    exchange_->sum(
        {.tables = sparse_, .partials = partials_, .ends = part_ends_, .compute = compute, .total = exchanged_});
    for_each_tile(pool, [&](const Tile& tile) {
      auto sum = values(totals_[tile.leaf], tile);
      const auto part = linalg::values(exchanged_.data() + tile.offset, tile.size());
      if (fresh)
        sum = part;
      else
        sum += part;
    });
  }

  /// As many tiles as add_node needs for that node, and one more.
  static Scalar* buffers(const Tile& tile, ShardRange node) {
    const auto depth = static_cast<Index>(std::bit_width(static_cast<std::size_t>(node.size())));
    return linalg::scratch<Reducer, Scalar>(tile.size(), depth + 1).data();
  }

  /// Writes one tile of the sum of a node's shards to `out`, and leaves zeros there. `buffers`: a tile for each level
  /// below.
  void add_node(const Tile& tile, ShardRange node, Scalar* out, Scalar* buffers) {
    if (node.is_shard()) return add_shard(tile, static_cast<std::size_t>(node.first), out);
    add_node(tile, node.left(), out, buffers);
    add_node(tile, node.right(), buffers, buffers + tile.size());
    linalg::values(out, tile.size()) += linalg::values(buffers, tile.size());
  }

  void add_shard(const Tile& tile, std::size_t shard, Scalar* out) {
    auto sum = linalg::values(out, tile.size());
    bool fresh = true;
    for (std::size_t piece = begins_[shard]; piece < begins_[shard + 1]; ++piece) {
      const Part& of = parts_[piece * leaves_ + tile.leaf];
      if (of.products != nullptr) {
        const linalg::UsePrecision use(precision_);
        of.products->add_to(out, tile.column, tile.columns, fresh);
        continue;
      }
      auto part = values(of.dense, tile);
      if (fresh)
        sum = part;
      else
        sum += part;
      fresh = false;
      part.setZero();
    }
    if (fresh) sum.setZero();
  }

  /// The norm of all dense gradients of `total`.
  double norm(ThreadPool& pool) {
    pool.run(std::ssize(tiles_), [&](Index i) {
      const Tile& tile = tiles_[static_cast<std::size_t>(i)];
      const auto sum = values(totals_[tile.leaf], tile);
      double square = 0;
      for (Index j = 0; j < tile.columns; ++j)
        square += static_cast<double>(linalg::values(sum.data() + j * tile.rows, tile.rows).square().sum());
      squares_[static_cast<std::size_t>(i)] = square;
    });
    double square = 0;
    for (const double part : squares_) square += part;
    return std::sqrt(square);
  }

  template <class Tree, class Sparse>
  static void collect(Tree& tree, std::vector<Scalar*>& dense, std::vector<Sparse*>& sparse) {
    for_each_parameter(
        [&](const Path&, auto& leaf) {
          if constexpr (std::is_same_v<std::remove_cvref_t<decltype(leaf)>, Sparse>)
            sparse.push_back(&leaf);
          else
            dense.push_back(leaf.data());
        },
        tree);
  }

  static auto values(Scalar* leaf, const Tile& tile) {
    return linalg::values(leaf + tile.column * tile.rows, tile.size());
  }

  std::vector<Tile> tiles_;
  std::vector<double> squares_;
  std::vector<Scalar*> dense_, totals_;
  std::vector<Part> parts_;
  std::vector<std::vector<SparseGrads<Scalar>*>> sparse_;  // of each table: of shard 0, 1, …, and what a hook added
  std::vector<RowSums<Scalar>> rows_;                      // of each table, where there is more than one sum to a step
  std::vector<SparseGrads<Scalar>*> lists_, ignored_;
  std::vector<const SparseGrads<Scalar>*> of_table_;
  std::vector<HashTable<Scalar>*> table_;
  std::vector<std::size_t> order_, begins_;  // the pieces, shard by shard, and where each shard's begin
  std::size_t leaves_ = 0;
  Index dense_size_ = 0;  // values of all dense leaves
  linalg::Precision precision_ = linalg::Precision::full;
  Exchange<Scalar>* exchange_ = nullptr;
  std::vector<ShardRange> nodes_;  // the largest nodes that this process' shards make up, counted from its first
  std::vector<std::vector<Scalar>> partials_;  // of each node
  std::vector<Scalar> exchanged_;
  std::vector<std::size_t> by_part_, part_ends_;  // tiles in the order of their values; where each part's values end
  std::vector<Index> part_tiles_;                 // where each part's tiles end in by_part_
};

}  // namespace qllk::train
