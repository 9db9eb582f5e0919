// Data-parallel training: each process computes some shards of every batch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/distributed/wire.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/train/exchange.hpp"

namespace qllk::distributed {

using linalg::SparseGrads, train::ShardRange;

/// The exchange of a Trainer whose batches are shared by a team: process r computes the shards [r·S/N, (r+1)·S/N).
///
///   dense    process r receives the r-th part of all others' sums of shards, adds them as the tree says, and sends
///            the part of the total to all others (reduce-scatter, all-gather). Each value is computed once: all have
///            the same bits
///   sparse   every process receives the columns and entries of all others, as they are: a position has one column,
///            which several rows share, so that this is less than their sums would be
///
/// The weights are those of one process that computes all shards, bit for bit, if all processes are one binary.
///
/// Cost     a process sends and receives 2 (N-1)/N D values, D those of all dense gradients, where N is a power of 2
///          that divides S (else up to log2 S times the first half of that); and the sparse gradients of its shards
///          N-1 times. 6 messages after one another for each sum. Memory: 2 D values more than one process
///
/// With Wire::half all values travel as bfloat16, dense ones with error feedback: half the bytes, and weights that are
/// the same in all processes, but not those of one process. The residuals are not part of a checkpoint.
///
/// Errors   std::invalid_argument if there are fewer shards than processes; else those of Team
template <Real Scalar>
class DataParallel final : public train::Exchange<Scalar> {
 public:
  /// `team` must outlive it.
  explicit DataParallel(Team& team, Wire wire = Wire::full) : team_(team), wire_(wire) {}

  ShardRange share(Index shards) override {
    if (shards < team_.size())
      throw Disagreement(std::to_string(team_.size()) + " processes share each batch, but it has " +
                         std::to_string(shards) + (shards == 1 ? " shard" : " shards") +
                         ": start fewer processes, or raise `shards` and `batch`");
    shards_ = shards;
    values_ = 0;
    return share_of(team_.rank());
  }

  void sum(std::span<const std::vector<Scalar>> partials, std::span<Scalar> total) override {
    start(total.size());
    const auto mine = slice(total, team_.rank());
    for_each_other([&](int other) {
      for (std::size_t i = 0; i < partials.size(); ++i)
        send_values(other, slice(std::span<const Scalar>(partials[i]), other), slice(std::span(residuals_[i]), other));
      for (auto& part : received_[index(other)]) receive_values(other, part);
    });
    communicate();
    add_node({0, shards_}, partials, mine, 0);
    send_total(mine);
    for_each_other([&](int other) { receive_values(other, slice(total, other)); });
    communicate();
  }

  void gather(std::span<std::vector<SparseGrads<Scalar>*>> tables) override {
    sizes_.clear();
    for (const auto& lists : tables) {
      Size size{};
      for (const auto* list : lists) {
        size.entries += list->entries().size();
        size.columns += static_cast<std::uint64_t>(list->columns());
      }
      sizes_.push_back(size);
    }
    const auto all = all_gather(team_, std::span<const Size>(sizes_));
    for (std::size_t t = 0; t < tables.size(); ++t) gather_table(tables, t, all);
  }

  std::vector<double> gather(std::span<const double> losses) override {
    std::vector<double> all(static_cast<std::size_t>(shards_));
    const auto part = [&](int rank) {
      const ShardRange share = share_of(rank);
      return std::span(all).subspan(static_cast<std::size_t>(share.first), static_cast<std::size_t>(share.size()));
    };
    std::ranges::copy(losses, part(team_.rank()).begin());
    for_each_other([&](int other) {
      out_.push_back({other, bytes_of(losses)});
      in_.push_back({other, bytes_of(part(other))});
    });
    communicate();
    return all;
  }

  double leaders(double value) override { return from_leader(team_, value); }

  /// What this process has sent so far.
  const Traffic& traffic() const { return traffic_; }

 private:
  struct Size {
    std::uint64_t entries, columns;
  };
  using Entry = typename SparseGrads<Scalar>::Entry;

  static std::size_t index(int rank) { return static_cast<std::size_t>(rank); }

  ShardRange share_of(int rank) const {
    const Index ranks = team_.size();
    return {rank * shards_ / ranks, (rank + 1) * shards_ / ranks};
  }

  template <class F>
  void for_each_other(F&& f) {
    for (int other = 0; other < team_.size(); ++other)
      if (other != team_.rank()) f(other);
  }

  /// What is on its way: received values are decoded when it is through.
  struct Packet {
    std::vector<std::byte> bytes;
    std::span<Scalar> values;
  };

  /// The next packet, of as many values.
  Packet& packet(std::size_t values) {
    if (packets_ == packet_store_.size()) packet_store_.emplace_back();
    Packet& next = packet_store_[packets_++];
    next.bytes.resize(wire_bytes<Scalar>(wire_, values));
    next.values = {};
    return next;
  }

  void send_values(int other, std::span<const Scalar> values, std::span<Scalar> residual) {
    Packet& next = packet(values.size());
    encode(wire_, values, residual, next.bytes.data());
    send(other, next.bytes);
  }
  /// To all others. What they decode is what is kept.
  void send_total(std::span<Scalar> values) {
    Packet& next = packet(values.size());
    encode(wire_, std::span<const Scalar>(values), std::span(total_residual_), next.bytes.data());
    for_each_other([&](int other) { send(other, next.bytes); });
    next.values = values;
  }
  void send(int other, std::span<const std::byte> bytes) {
    out_.push_back({other, bytes});
    traffic_.dense += bytes.size();
  }
  void receive_values(int other, std::span<Scalar> values) {
    Packet& next = packet(values.size());
    next.values = values;
    in_.push_back({other, next.bytes});
  }

  void communicate() {
    team_.exchange(out_, in_);
    out_.clear();
    in_.clear();
    for (std::size_t i = 0; i < packets_; ++i)
      if (!packet_store_[i].values.empty()) decode(wire_, packet_store_[i].bytes.data(), packet_store_[i].values);
    packets_ = 0;
  }

  /// The part of all dense values that a process adds.
  template <class T>
  std::span<T> slice(std::span<T> all, int rank) const {
    if (all.empty()) return all;  // no residuals
    const std::size_t ranks = index(team_.size()), begin = index(rank) * all.size() / ranks;
    return all.subspan(begin, index(rank + 1) * all.size() / ranks - begin);
  }

  /// The nodes that each process sends, and room for what comes.
  void start(std::size_t values) {
    if (values_ == values) return;
    values_ = values;
    nodes_.assign(index(team_.size()), {});
    received_.resize(index(team_.size()));
    std::vector<Scalar> room(values);
    const std::size_t mine = slice(std::span(room), team_.rank()).size();
    for (int rank = 0; rank < team_.size(); ++rank) {
      auto& nodes = nodes_[index(rank)];
      train::for_each_node({0, shards_}, share_of(rank), [&](ShardRange node) { nodes.push_back(node); });
      received_[index(rank)].assign(nodes.size(), std::vector<Scalar>(rank == team_.rank() ? 0 : mine));
    }
    const bool rounds = wire_ != Wire::full;
    residuals_.assign(nodes_[index(team_.rank())].size(), std::vector<Scalar>(rounds ? values : 0));
    total_residual_.assign(rounds ? mine : 0, Scalar(0));
  }

  /// Writes a node's sum, of the part that this process adds. `level`: of the buffer for its right half.
  void add_node(ShardRange node, std::span<const std::vector<Scalar>> partials, std::span<Scalar> out,
                std::size_t level) {
    for (int rank = 0; rank < team_.size(); ++rank) {
      const auto& nodes = nodes_[index(rank)];
      const auto at = std::ranges::find(nodes, node);
      if (at == nodes.end()) continue;
      const auto i = static_cast<std::size_t>(at - nodes.begin());
      const auto from = rank == team_.rank() ? slice(std::span<const Scalar>(partials[i]), rank)
                                             : std::span<const Scalar>(received_[index(rank)][i]);
      std::ranges::copy(from, out.begin());
      return;
    }
    if (buffers_.size() <= level) buffers_.resize(level + 1);
    buffers_[level].resize(out.size());
    add_node(node.left(), partials, out, level + 1);
    add_node(node.right(), partials, std::span(buffers_[level]), level + 1);
    const auto size = static_cast<Index>(out.size());
    linalg::values(out.data(), size) += linalg::values(buffers_[level].data(), size);
  }

  /// A table's entries and then its columns.
  std::size_t bytes_of_table(const Size& size, Index dim) const {
    return size.entries * sizeof(Entry) + wire_bytes<Scalar>(wire_, size.columns * static_cast<std::size_t>(dim));
  }

  void gather_table(std::span<std::vector<SparseGrads<Scalar>*>> tables, std::size_t t, std::span<const Size> all) {
    auto& lists = tables[t];
    const Index dim = lists.front()->rows(), rows = lists.front()->cols();
    const auto size_of = [&](int rank) { return all[index(rank) * tables.size() + t]; };
    pack(lists, size_of(team_.rank()), dim);
    others_.resize(tables.size());
    packed_others_.resize(index(team_.size()));
    for_each_other([&](int other) {
      packed_others_[index(other)].resize(bytes_of_table(size_of(other), dim));
      out_.push_back({other, packed_});
      in_.push_back({other, packed_others_[index(other)]});
      traffic_.sparse += packed_.size();
    });
    communicate();
    while (others_[t].size() < index(team_.size())) others_[t].emplace_back(dim, rows);
    const std::vector<SparseGrads<Scalar>*> mine(lists.begin(), lists.end());
    lists.clear();
    for (int rank = 0; rank < team_.size(); ++rank) {
      if (rank == team_.rank()) {
        lists.insert(lists.end(), mine.begin(), mine.end());
      } else {
        auto& list = others_[t][index(rank)];
        unpack(packed_others_[index(rank)], size_of(rank), list);
        lists.push_back(&list);
      }
    }
  }

  void pack(const std::vector<SparseGrads<Scalar>*>& lists, const Size& size, Index dim) {
    packed_.resize(bytes_of_table(size, dim));
    std::byte* at = packed_.data();
    std::uint32_t before = 0;  // columns of the lists before
    for (const auto* list : lists) {
      for (Entry entry : list->entries()) {
        entry.signed_column += before << 1;
        at = put(at, &entry, sizeof entry);
      }
      before += static_cast<std::uint32_t>(list->columns());
    }
    const auto each = wire_bytes<Scalar>(wire_, static_cast<std::size_t>(dim));
    for (auto* list : lists)
      for (Index column = 0; column < list->columns(); ++column, at += each) {
        const std::span values(list->value_of(column).data(), static_cast<std::size_t>(dim));
        encode(wire_, std::span<const Scalar>(values), std::span<Scalar>(), at);
        if (wire_ != Wire::full) decode(wire_, at, values);  // all processes add the same
      }
  }

  void unpack(std::span<const std::byte> packed, const Size& size, SparseGrads<Scalar>& list) const {
    list.setZero();
    const std::byte* at = packed.data();
    for (std::uint64_t i = 0; i < size.entries; ++i, at += sizeof(Entry)) {
      Entry entry;
      std::memcpy(&entry, at, sizeof entry);
      list.add(entry.row, entry.column(), entry.sign() < 0);
    }
    const auto dim = static_cast<std::size_t>(list.rows());
    const Index first = list.grow(static_cast<Index>(size.columns));
    for (Index column = 0; column < static_cast<Index>(size.columns); ++column, at += wire_bytes<Scalar>(wire_, dim))
      decode(wire_, at, std::span(list.value_of(first + column).data(), dim));
  }

  static std::byte* put(std::byte* at, const void* from, std::size_t bytes) {
    std::memcpy(at, from, bytes);
    return at + bytes;
  }

  Team& team_;
  Wire wire_;
  Index shards_ = 0;
  std::size_t values_ = 0;
  std::vector<std::vector<ShardRange>> nodes_;              // of each process
  std::vector<std::vector<std::vector<Scalar>>> received_;  // likewise: my part of its nodes' sums
  std::vector<std::vector<Scalar>> buffers_;
  std::vector<Size> sizes_;
  std::vector<std::byte> packed_;
  std::vector<std::vector<std::byte>> packed_others_;
  std::vector<std::vector<SparseGrads<Scalar>>> others_;  // [table][process]
  std::vector<std::vector<Scalar>> residuals_;            // of each of my nodes
  std::vector<Scalar> total_residual_;                    // of my part of the total
  std::deque<Packet> packet_store_;                       // of which the first packets_ are on their way
  std::size_t packets_ = 0;
  std::vector<Team::Outgoing> out_;
  std::vector<Team::Incoming> in_;
  Traffic traffic_;
};

}  // namespace qllk::distributed
