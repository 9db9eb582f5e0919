// Adding shards' gradients, exchanging them, and applying an update, in parallel and in a fixed order.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/product_sum.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/linalg/weight_gemm.hpp"
#include "qllk/optim/row_update.hpp"
#include "qllk/optim/step.hpp"
#include "qllk/train/row_sums.hpp"

namespace qllk::train {

using linalg::HashTable, linalg::is_hash_table_v, linalg::ProductSum, linalg::SparseGrads, linalg::values;

/// Gradients of zero for parameters of these shapes, in the form that Grads has for each leaf.
template <HasFields Grads, HasFields Params>
Grads zero_grads_like(const Params& params) {
  return build_like<Grads>(params, [](const auto& p, auto& g) {
    using Leaf = std::remove_cvref_t<decltype(g)>;
    if constexpr (requires { g.setZero(p.rows(), p.cols()); })
      g.setZero(p.rows(), p.cols());
    else
      g = Leaf(p.rows(), p.cols());
  });
}

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
  void operator()(const auto& /*gradients*/) const {}
};

/// Cuts all parameters into tiles of whole columns, whatever the number of threads. A tile is one task, and tiles' norms are
/// added in order: the result does not depend on who did what when. Hashed tables go by buckets of rows instead.
template <Real Scalar>
class Reducer {
 public:
  Reducer() = default;

  /// Tiles for parameters of these shapes. Listed products are taken in that precision.
  template <HasFields Params>
  QLLK_COLD explicit Reducer(const Params& params, linalg::Precision precision = linalg::Precision::full)
      : precision_(precision) {
    for_each_parameter(
        [&](const Path&, const auto& leaf) {
          using Leaf = std::remove_cvref_t<decltype(leaf)>;
          if constexpr (is_hash_table_v<Leaf>) {
            sparse_.emplace_back();
          } else {
            const Index width = std::max(kColumns, kValues / std::max<Index>(leaf.rows(), 1));
            for (Index at = 0; at < leaf.cols(); at += width)
              tiles_.push_back({leaves_, leaf.rows(), at, std::min(width, leaf.cols() - at), optim::decays_v<Leaf>});
            ++leaves_;
          }
        },
        params);
    // the largest first, so that no thread starts one when the others are done
    std::ranges::stable_sort(tiles_, std::greater{}, [](const Tile& tile) { return tile.rows * tile.columns; });
    squares_.resize(tiles_.size());
  }

  /// Sum → hook → norm. Writes the sum of all shards' dense gradients to `total`, calls hook(StepGradients&), which may
  /// change it, and returns its norm. Dense gradients of the shards are zero then and listed products forgotten; sparse ones
  /// are in the order that `apply` needs. When the hook throws, call clear_sparse() before the next sum.
  template <class Shards, HasFields Grads, class Hook = NoHook>
  double sum(Shards& shards, Grads& total, ThreadPool& pool, Hook&& hook = {}) {
    take(shards, total, pool, true);
    return finish(total, pool, hook);
  }

  /// Adds the gradients of all shards to a sum that has more than memory has room for at once; the shards have none then.
  /// `first`: there is nothing in it yet. Dense ones are in `total`, sparse ones here. Afterwards, sum_added.
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
    Index rows, column, columns;
    bool decays;
  };
  struct Part {
    Scalar* dense;
    ProductSum<Scalar>* products;
  };

  /// Writes the sum of dense gradients to `total`, or adds it there, and collects the lists of sparse ones.
  template <class Shards, HasFields Grads>
  void take(Shards& shards, Grads& total, ThreadPool& pool, bool fresh) {
    collect_shards(shards, total);
    pool.run(std::ssize(tiles_), [&](Index i) {
      const linalg::UsePrecision use(precision_);
      add_up(tiles_[static_cast<std::size_t>(i)], fresh);
    });
    for (const Part& part : parts_)
      if (part.products != nullptr) part.products->setZero();
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
    for (auto& shard : shards) {
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
          shard.grads);
    }
  }

  /// Writes one tile of the sum of all shards, or adds it to what is not `fresh`, and leaves zeros there.
  void add_up(const Tile& tile, bool fresh) {
    auto sum = values(totals_[tile.leaf], tile);
    for (std::size_t at = tile.leaf; at < parts_.size(); at += leaves_) {
      if (parts_[at].products != nullptr) {
        parts_[at].products->add_to(sum.data(), tile.column, tile.columns, fresh);
        continue;
      }
      auto part = values(parts_[at].dense, tile);
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
    return linalg::values(leaf + tile.column * tile.rows, tile.rows * tile.columns);
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
  std::size_t leaves_ = 0;
  linalg::Precision precision_ = linalg::Precision::full;
};

}  // namespace qllk::train
