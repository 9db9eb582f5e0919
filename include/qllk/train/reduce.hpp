// Adding shards' gradients and applying an update, in parallel and in a fixed order.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/optim/adam.hpp"

namespace qllk::train {

/// Cuts all parameters into tiles of one size, whatever the number of threads. A tile is one task, and tiles' norms are
/// added in order: the result does not depend on who did what when.
template <Real Scalar>
class Reducer {
 public:
  Reducer() = default;

  /// Tiles for parameters of these shapes.
  template <HasFields Params>
  explicit Reducer(const Params& params) {
    for_each_parameter(
        [&](const Path&, const auto& leaf) {
          for (Index at = 0; at < leaf.size(); at += kTile)
            tiles_.push_back({leaves_, static_cast<std::size_t>(at),
                              static_cast<std::size_t>(std::min(kTile, leaf.size() - at)),
                              optim::decays_v<std::remove_cvref_t<decltype(leaf)>>});
          ++leaves_;
        },
        params);
    squares_.resize(tiles_.size());
  }

  /// Adds the gradients of all shards into those of the first; returns the norm of the sum.
  template <class Shards>
  double sum(Shards& shards, ThreadPool& pool) {
    sources_.clear();
    for (auto& shard : shards) collect(shard.grads, sources_);
    pool.run(std::ssize(tiles_), [&](Index i) {
      const Tile& tile = tiles_[static_cast<std::size_t>(i)];
      auto total = values(sources_[tile.leaf], tile);
      for (std::size_t s = 1; s < shards.size(); ++s) total += values(sources_[s * leaves_ + tile.leaf], tile);
      squares_[static_cast<std::size_t>(i)] = total.square().template cast<double>().sum();
    });
    double square = 0;
    for (const double part : squares_) square += part;
    return std::sqrt(square);
  }

  /// Applies an optimiser's update to every tile.
  template <class Update, HasFields Params, class State>
  void apply(const Update& update, Params& params, Params& grads, State& state, ThreadPool& pool) {
    sources_.clear();
    collect(params, sources_);
    collect(grads, sources_);
    collect(state.first, sources_);
    collect(state.second, sources_);
    pool.run(std::ssize(tiles_), [&](Index i) {
      const Tile& tile = tiles_[static_cast<std::size_t>(i)];
      const auto part = [&](std::size_t which) {
        return std::span(sources_[which * leaves_ + tile.leaf] + tile.begin, tile.size);
      };
      update.apply(part(0), part(1), part(2), part(3), tile.decays);
    });
  }

 private:
  static constexpr Index kTile = 16384;  // four tiles of floats fit a second-level cache of 256 KiB

  struct Tile {
    std::size_t leaf, begin, size;
    bool decays;
  };

  template <class Tree>
  static void collect(Tree& tree, std::vector<Scalar*>& into) {
    for_each_parameter([&](const Path&, auto& leaf) { into.push_back(leaf.data()); }, tree);
  }

  static auto values(Scalar* leaf, const Tile& tile) {
    return Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>>(leaf + tile.begin, static_cast<Index>(tile.size));
  }

  std::vector<Tile> tiles_;
  std::vector<double> squares_;
  std::vector<Scalar*> sources_;
  std::size_t leaves_ = 0;
};

}  // namespace qllk::train
