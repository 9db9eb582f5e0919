// Sparse gradients of hashed tables, from every process to all others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/distributed/messages.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/distributed/wire.hpp"
#include "qllk/linalg/sparse_table.hpp"

namespace qllk::distributed {

using linalg::SparseGrads;

/// Lists of sparse gradients become those of all processes, in the order of the processes: columns and entries travel
/// as they are. A position has one column, which several rows share, so that this is less than their sums would be.
///
/// Three calls, between which there is time to compute: `begin_sizes`, `begin`, `finish`.
///
/// Cost     a process sends its lists N-1 times
template <Real Scalar>
class TableGather {
 public:
  /// The lists of each table.
  using Tables = std::span<std::vector<SparseGrads<Scalar>*>>;
  /// Of the lists.
  static constexpr int kChannel = 1;

  /// `team` must outlive it.
  TableGather(Team& team, Wire wire)
      : team_(team), wire_(wire), size_messages_(team), messages_(team, Wire::full, kChannel) {}

  /// Tells the others how much there is. With no tables there is nothing to do.
  void begin_sizes(Tables tables) {
    if (tables.empty()) return;
    const std::size_t ranks = index(team_.size());
    mine_.assign(tables.size(), {});
    sizes_.assign(ranks, mine_);
    for (std::size_t t = 0; t < tables.size(); ++t)
      for (const auto* list : tables[t]) {
        mine_[t].entries += list->entries().size();
        mine_[t].columns += static_cast<std::uint64_t>(list->columns());
      }
    team_.for_each_other([&](int other) {
      size_messages_.send(other, bytes_of(std::span<const Size>(mine_)));
      size_messages_.receive_bytes(other, bytes_of(std::span<Size>(sizes_[index(other)])));
    });
    size_messages_.begin();
  }

  /// The lists are on their way. Returns the bytes that are sent.
  std::uint64_t begin(Tables tables) {
    if (tables.empty()) return 0;
    size_messages_.finish();
    std::uint64_t sent = 0;
    packed_.resize(tables.size());
    for (std::size_t t = 0; t < tables.size(); ++t) {
      auto& packed = packed_[t];
      packed.resize(index(team_.size()));
      const Index dim = tables[t].front()->rows();
      pack(tables[t], mine_[t], packed[index(team_.rank())]);
      team_.for_each_other([&](int other) {
        packed[index(other)].resize(bytes_of_table(sizes_[index(other)][t], dim));
        sent += messages_.send(other, packed[index(team_.rank())]);
        messages_.receive_bytes(other, packed[index(other)]);
      });
    }
    messages_.begin();
    return sent;
  }

  /// Puts the lists of the others, which belong to this, around one's own.
  void finish(Tables tables) {
    if (tables.empty()) return;
    messages_.finish();
    others_.resize(tables.size());
    for (std::size_t t = 0; t < tables.size(); ++t) {
      auto& lists = tables[t];
      const Index dim = lists.front()->rows(), rows = lists.front()->cols();
      while (others_[t].size() < index(team_.size())) others_[t].emplace_back(dim, rows);
      const std::vector<SparseGrads<Scalar>*> mine(lists.begin(), lists.end());
      lists.clear();
      for (int rank = 0; rank < team_.size(); ++rank) {
        if (rank == team_.rank()) {
          lists.insert(lists.end(), mine.begin(), mine.end());
          continue;
        }
        auto& list = others_[t][index(rank)];
        unpack(packed_[t][index(rank)], sizes_[index(rank)][t], list);
        lists.push_back(&list);
      }
    }
  }

 private:
  struct Size {
    std::uint64_t entries, columns;
  };
  using Entry = typename SparseGrads<Scalar>::Entry;

  static std::size_t index(int rank) { return static_cast<std::size_t>(rank); }

  /// A table's entries and then its columns.
  std::size_t bytes_of_table(const Size& size, Index dim) const {
    const auto entries = static_cast<std::size_t>(size.entries), columns = static_cast<std::size_t>(size.columns);
    return entries * sizeof(Entry) + wire_bytes<Scalar>(wire_, columns * static_cast<std::size_t>(dim));
  }

  void pack(const std::vector<SparseGrads<Scalar>*>& lists, const Size& size, std::vector<std::byte>& packed) {
    const Index dim = lists.front()->rows();
    packed.resize(bytes_of_table(size, dim));
    std::byte* at = packed.data();
    std::uint32_t before = 0;  // columns of the lists before
    for (const auto* list : lists) {
      for (Entry entry : list->entries()) {
        entry.signed_column += before << 1;
        std::memcpy(at, &entry, sizeof entry);
        at += sizeof entry;
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

  Team& team_;
  Wire wire_;
  Messages<Scalar> size_messages_, messages_;
  std::vector<Size> mine_;                                   // of each table
  std::vector<std::vector<Size>> sizes_;                     // [process][table]
  std::vector<std::vector<std::vector<std::byte>>> packed_;  // [table][process]
  std::vector<std::vector<SparseGrads<Scalar>>> others_;     // [table][process]
};

}  // namespace qllk::distributed
