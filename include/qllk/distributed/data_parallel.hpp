// Data-parallel training: each process computes some shards of every batch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/distributed/messages.hpp"
#include "qllk/distributed/table_gather.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/distributed/wire.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/train/exchange.hpp"

namespace qllk::distributed {

using train::ShardRange;

/// The exchange of a Trainer whose batches are shared by a team: process r computes the shards [r·S/N, (r+1)·S/N).
///
///   dense    of each part of the values, process r receives the r-th piece of all others' sums of shards, adds them as
///            the tree says, and sends this piece of the total to all others (reduce-scatter, all-gather). Each value
///            is computed once: all have the same bits
///   sparse   every process receives the columns and entries of all others: see TableGather
///
/// A part travels while the next ones are computed, and tables while all of them are.
///
/// The weights are those of one process that computes all shards, bit for bit, if all processes are one binary.
///
/// Cost     a process sends and receives 2 (N-1)/N D values, D those of all dense gradients, where N is a power of 2
///          that divides S (else up to log2 S times the first half of that); and the sparse gradients of its shards
///          N-1 times. Memory: 2 D values more than one process
///
/// With Wire::half all values travel as bfloat16, dense ones with error feedback: half the bytes, and weights that are
/// the same in all processes, but not those of one process. The residuals are not part of a checkpoint.
///
/// Errors   std::invalid_argument if there are fewer shards than processes; else those of Team
template <Real Scalar>
class DataParallel final : public train::Exchange<Scalar> {
 public:
  using typename train::Exchange<Scalar>::Sums;

  /// `team` must outlive it.
  explicit DataParallel(Team& team, Wire wire = Wire::full)
      : team_(team), wire_(wire), tables_(team, wire), loss_messages_(team) {}

  ShardRange share(Index shards) override {
    if (shards < team_.size())
      throw Disagreement(std::to_string(team_.size()) + " processes share each batch, but it has " +
                         std::to_string(shards) + (shards == 1 ? " shard" : " shards") +
                         ": start fewer processes, or raise `shards` and `batch`");
    shards_ = shards;
    ends_.clear();
    return share_of(team_.rank());
  }

  void sum(const Sums& sums) override {
    start(sums.ends);
    tables_.begin_sizes(sums.tables);
    if (parts_.empty()) traffic_.sparse += tables_.begin(sums.tables);
    std::size_t added = 0;
    for (std::size_t p = 0; p < parts_.size(); ++p) {
      sums.compute(p);
      if (p == 0) traffic_.sparse += tables_.begin(sums.tables);
      begin_part(parts_[p], sums);
      while (added < p && parts_[added].partials.through()) add_part(parts_[added++], sums);
    }
    while (added < parts_.size()) add_part(parts_[added++], sums);
    for (Part& part : parts_) part.totals.finish();
    tables_.finish(sums.tables);
  }

  std::vector<double> gather(std::span<const double> losses) override {
    std::vector<double> all(static_cast<std::size_t>(shards_));
    const auto part = [&](int rank) {
      const ShardRange share = share_of(rank);
      return std::span(all).subspan(static_cast<std::size_t>(share.first), static_cast<std::size_t>(share.size()));
    };
    std::ranges::copy(losses, part(team_.rank()).begin());
    team_.for_each_other([&](int other) {
      loss_messages_.send(other, bytes_of(losses));
      loss_messages_.receive_bytes(other, bytes_of(part(other)));
    });
    loss_messages_.begin();
    loss_messages_.finish();
    return all;
  }

  double leaders(double value) override { return from_leader(team_, value); }

  /// What this process has sent so far.
  const Traffic& traffic() const { return traffic_; }

 private:
  /// Dense values [begin, end).
  struct Part {
    std::size_t begin, end;
    std::size_t before;  // values of this process' pieces of the parts before
    Messages<Scalar> partials, totals;
  };

  static std::size_t index(int rank) { return static_cast<std::size_t>(rank); }

  ShardRange share_of(int rank) const {
    const Index ranks = team_.size();
    return {rank * shards_ / ranks, (rank + 1) * shards_ / ranks};
  }

  /// What a process adds of so many values: from where on, and how many.
  struct Share {
    std::size_t begin, size;
  };
  Share share_of_values(std::size_t values, int rank) const {
    const std::size_t ranks = index(team_.size()), begin = index(rank) * values / ranks;
    return {begin, index(rank + 1) * values / ranks - begin};
  }

  /// The piece of a part that a process adds, of all dense values.
  template <class T>
  std::span<T> piece(std::span<T> all, const Part& part, int rank) const {
    if (all.empty()) return all;  // no residuals
    const Share share = share_of_values(part.end - part.begin, rank);
    return all.subspan(part.begin + share.begin, share.size);
  }
  /// Of values that are kept of this process' pieces only, those of a part.
  template <class T>
  std::span<T> mine(std::span<T> pieces, const Part& part) const {
    if (pieces.empty()) return pieces;
    return pieces.subspan(part.before, share_of_values(part.end - part.begin, team_.rank()).size);
  }

  /// The parts, the nodes that each process sends, and room for what comes.
  void start(std::span<const std::size_t> ends) {
    if (!ends_.empty() && std::ranges::equal(ends, ends_)) return;
    ends_.assign(ends.begin(), ends.end());
    parts_.clear();
    std::size_t begin = 0, pieces = 0;
    for (const std::size_t end : ends) {
      const int channel = TableGather<Scalar>::kChannel + 1 + 2 * static_cast<int>(parts_.size());
      parts_.push_back(
          {begin, end, pieces, Messages<Scalar>(team_, wire_, channel), Messages<Scalar>(team_, wire_, channel + 1)});
      pieces += share_of_values(end - begin, team_.rank()).size;
      begin = end;
    }
    nodes_.assign(index(team_.size()), {});
    received_.resize(index(team_.size()));
    for (int rank = 0; rank < team_.size(); ++rank) {
      auto& nodes = nodes_[index(rank)];
      train::for_each_node({0, shards_}, share_of(rank), [&](ShardRange node) { nodes.push_back(node); });
      received_[index(rank)].assign(nodes.size(), std::vector<Scalar>(rank == team_.rank() ? 0 : pieces));
    }
    const bool rounds = wire_ != Wire::full;
    residuals_.assign(nodes_[index(team_.rank())].size(), std::vector<Scalar>(rounds ? begin : 0));
    total_residual_.assign(rounds ? pieces : 0, Scalar(0));
  }

  /// Sends the others their pieces of what this process has computed.
  void begin_part(Part& part, const Sums& sums) {
    team_.for_each_other([&](int other) {
      for (std::size_t i = 0; i < sums.partials.size(); ++i)
        traffic_.dense += part.partials.send(other, piece(std::span<const Scalar>(sums.partials[i]), part, other),
                                             piece(std::span(residuals_[i]), part, other));
      for (auto& values : received_[index(other)]) part.partials.receive(other, mine(std::span(values), part));
    });
    part.partials.begin();
  }

  /// Adds this process' piece when all of it has come, and sends it to the others.
  void add_part(Part& part, const Sums& sums) {
    part.partials.finish();
    const auto total = piece(sums.total, part, team_.rank());
    const auto sum = sum_of({0, shards_}, part, sums, total, 0);
    if (sum.data() != total.data()) std::ranges::copy(sum, total.begin());
    traffic_.dense += part.totals.send_to_all(total, mine(std::span(total_residual_), part));
    team_.for_each_other([&](int other) { part.totals.receive(other, piece(sums.total, part, other)); });
    part.totals.begin();
  }

  /// A node's sum, where it is, or else in `out`. `level`: of the buffers for its halves.
  std::span<const Scalar> sum_of(ShardRange node, const Part& part, const Sums& sums, std::span<Scalar> out,
                                 std::size_t level) {
    for (int rank = 0; rank < team_.size(); ++rank) {
      const auto& nodes = nodes_[index(rank)];
      const auto at = std::ranges::find(nodes, node);
      if (at == nodes.end()) continue;
      const auto i = static_cast<std::size_t>(at - nodes.begin());
      if (rank == team_.rank()) return piece(std::span<const Scalar>(sums.partials[i]), part, rank);
      return mine(std::span<const Scalar>(received_[index(rank)][i]), part);
    }
    while (buffers_.size() <= level) buffers_.emplace_back();
    auto& buffer = buffers_[level];
    buffer.resize(std::max(buffer.size(), out.size()));
    const auto left = sum_of(node.left(), part, sums, out, level + 1);
    const auto right = sum_of(node.right(), part, sums, std::span(buffer).first(out.size()), level + 1);
    const auto size = static_cast<Index>(out.size());
    linalg::values(out.data(), size) = linalg::values(left.data(), size) + linalg::values(right.data(), size);
    return out;
  }

  Team& team_;
  Wire wire_;
  Index shards_ = 0;
  TableGather<Scalar> tables_;
  Messages<Scalar> loss_messages_;
  std::vector<std::size_t> ends_;
  std::vector<Part> parts_;
  std::vector<std::vector<ShardRange>> nodes_;              // of each process
  std::vector<std::vector<std::vector<Scalar>>> received_;  // likewise: my pieces of its nodes' sums
  std::deque<std::vector<Scalar>> buffers_;                 // of each level; never moved while in use
  std::vector<std::vector<Scalar>> residuals_;              // of each of my nodes
  std::vector<Scalar> total_residual_;                      // of my pieces of the total
  Traffic traffic_;
};

}  // namespace qllk::distributed
