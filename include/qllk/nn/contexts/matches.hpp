// Contexts of what followed the same bytes before.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/nn/contexts/context.hpp"

namespace qllk::nn {

/// The byte that followed an earlier occurrence of the last bytes, and how long that occurrence agrees: an exact memory
/// of the last 2^window_bits bytes of the stream.
///
///   order 0       a pointer into the window that moves along while it predicts rightly; when it fails, it is set to
///                 the most recent occurrence of the last lengths[0] bytes, or else of the last lengths[1], …
///   order i > 0   the most recent occurrence of the last lengths[i] bytes
///
///   row = i · 4096 + bucket(agreement) · 256 + predicted byte           no row where nothing agrees
///
/// Occurrences are found by hash tables of positions and compared byte by byte: whatever collides, a match is one.
///
/// Cost     per byte a table look-up, a comparison of at most 48 bytes and a store for each order, whatever the stream;
///          state: 2^window_bits bytes and 4 bytes more for each of these and each order (0.6 MB for two orders)
/// Source   Mahoney 2005, section 3.3 (match model); Ziv and Lempel 1977
class MatchContext {
 public:
  /// Classes of how long an occurrence agrees.
  static constexpr Index kBuckets = 16;
  /// Rows of the table that an order has.
  static constexpr Index kRowsPerOrder = kBuckets * kByteValues;

  struct Config {
    std::vector<int> lengths{};  // falling; how many there are is the number of orders
    int window_bits = 16;        // log2 of the bytes of the window
    bool operator==(const Config&) const = default;
  };
  struct State {
    std::vector<Byte> ring;               // the last kReach bytes once more in front, so that none wraps around
    std::vector<std::uint16_t> tables;    // for each order positions in the ring, by the hash of what stood before them
    std::uint64_t count = 0;              // bytes read
    std::uint64_t recent = 0, older = 0;  // the last 8 bytes, and the 8 before
    std::uint32_t agreement = 0;          // of the pointer; 0: there is none
    std::uint32_t pointer = 0;            // where the byte that it predicts stands in the ring
  };
  static constexpr LeftOut kLeftOut = LeftOut::together;

  /// Throws std::invalid_argument when lengths or window_bits make no sense.
  explicit MatchContext(Config config) : config_(std::move(config)) {
    const auto& lengths = config_.lengths;
    const auto fail = [](const std::string& what) { throw InvalidArgument("MatchContext: " + what); };
    if (lengths.size() > kMostOrders) fail(std::to_string(lengths.size()) + " lengths, expected at most 4");
    for (std::size_t i = 0; i < lengths.size(); ++i)
      if (lengths[i] < 1 || lengths[i] > 16 || (i > 0 && lengths[i] >= lengths[i - 1]))
        fail("length " + std::to_string(lengths[i]) + ", expected 1 to 16, each below the one before");
    if (config_.window_bits < 8 || config_.window_bits > 16)
      fail("window_bits is " + std::to_string(config_.window_bits) + ", expected 8 to 16");
  }

  Index orders() const { return std::ssize(config_.lengths); }
  Index rows() const { return orders() * kRowsPerOrder; }
  Index history() const { return orders() == 0 ? 0 : window(); }

  void reset(State& state) const {
    if (orders() == 0) return;
    state.ring.assign(static_cast<std::size_t>(kReach + window()), Byte{0});
    state.tables.assign(static_cast<std::size_t>(orders()) << table_bits(), std::uint16_t{0});
    forget(state);
  }

  /// What tables and ring hold stays, and is not found again: a position counts only where as many bytes before it were
  /// read since then, and agree. Where they do, it was written since then.
  void forget(State& state) const {
    state.count = state.recent = state.older = 0;
    state.agreement = state.pointer = 0;
  }

  void look_up(Bytes bytes, State& state, const RowWriter& out) const {
    read(bytes, state, [&](Index t, Index order, std::uint32_t agreement, Byte predicted) {
      if (agreement == 0)
        out.none(t, order);
      else
        out.row(t, order,
                static_cast<std::uint64_t>(order * kRowsPerOrder) + static_cast<std::uint64_t>(bucket(agreement) << 8) +
                    predicted);
    });
  }

  void follow(Bytes bytes, State& state) const {
    read(bytes, state, [](Index, Index, std::uint32_t, Byte) {});
  }

  /// The pointer is followed through the last kFollowed bytes only, as looking up costs more than remembering.
  void prime(Bytes bytes, State& state) const {
    if (orders() == 0) return;
    const std::size_t followed = std::min(bytes.size(), kFollowed);
    if (bytes.size() > followed) {
      state.agreement = 0;
      remember(bytes.first(bytes.size() - followed), state);
    }
    read(bytes.last(followed), state, [](Index, Index, std::uint32_t, Byte) {});
  }

  /// Of an agreement of 1 byte or more: each length up to 8 is its own, longer ones share more and more.
  static Index bucket(std::uint32_t agreement) {
    if (agreement <= 8) return static_cast<Index>(agreement) - 1;
    constexpr std::uint32_t kFrom[] = {9, 11, 13, 16, 20, 28, 48, 96};
    return 7 + (std::upper_bound(std::begin(kFrom), std::end(kFrom), agreement) - std::begin(kFrom));
  }

 private:
  static constexpr std::size_t kMostOrders = 4;
  static constexpr std::size_t kFollowed = 256;
  static constexpr std::uint32_t kCompared = 48;   // most bytes of an agreement that are compared
  static constexpr Index kReach = 64;              // bytes before the ring, more than are compared
  static constexpr std::uint32_t kMost = 1 << 20;  // a pointer's agreement counts up to this

  Index window() const { return Index{1} << config_.window_bits; }
  int table_bits() const { return config_.window_bits + 1; }

  /// A table's slot for the last `length` bytes.
  std::size_t slot(std::size_t order, std::uint64_t recent, std::uint64_t older) const {
    const int length = config_.lengths[order];
    const auto last = [](std::uint64_t bytes, int count) { return bytes << (64 - 8 * count); };
    std::uint64_t key = last(recent, std::min(length, 8)) * 0x9E3779B97F4A7C15u;
    if (length > 8) key = (key ^ key >> 32 ^ last(older, length - 8)) * 0xD6E8FEB86659FD93u;
    return (order << table_bits()) +
           static_cast<std::size_t>((key ^ key >> 29) * 0x9E3779B97F4A7C15u >> (64 - table_bits()));
  }

  /// Writes the next byte into the ring, and once more in front of it where comparisons reach from the other end.
  void store(Byte* ring, std::uint64_t count, Byte byte) const {
    const Index at = static_cast<Index>(count & static_cast<std::uint64_t>(window() - 1));
    ring[kReach + at] = byte;
    if (at >= window() - kReach) ring[at - (window() - kReach)] = byte;
  }

  void remember(Bytes bytes, State& state) const {
    Byte* const ring = state.ring.data();
    std::uint16_t* const tables = state.tables.data();
    const auto orders = static_cast<std::size_t>(this->orders());
    const std::uint64_t mask = static_cast<std::uint64_t>(window() - 1);
    std::uint64_t count = state.count, recent = state.recent,
                  older = state.older;  // stores of bytes may alias the state
    for (const Byte byte : bytes) {
      store(ring, count++, byte);
      older = older << 8 | recent >> 56;
      recent = recent << 8 | byte;
      for (std::size_t i = 0; i < orders; ++i)
        tables[slot(i, recent, older)] = static_cast<std::uint16_t>(count & mask);
    }
    state.count = count, state.recent = recent, state.older = older;
  }

  /// How many bytes before ring positions a and b are the same, at most kCompared and at most `most`.
  static std::uint32_t agreement(const Byte* ring, Index a, Index b, std::uint64_t most) {
    static_assert(std::endian::native == std::endian::little, "the last of eight bytes is the highest");
    for (std::uint32_t length = 0; length < kCompared; length += 8) {
      std::uint64_t x, y;
      std::memcpy(&x, ring + kReach + a - length - 8, 8);
      std::memcpy(&y, ring + kReach + b - length - 8, 8);
      if (x != y)
        return static_cast<std::uint32_t>(
            std::min<std::uint64_t>(most, length + static_cast<std::uint32_t>(std::countl_zero(x ^ y)) / 8));
    }
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(most, kCompared));
  }

  /// Calls found(t, order, agreement, predicted byte) after each byte; agreement 0: nothing is predicted.
  template <class Found>
  void read(Bytes bytes, State& state, Found&& found) const {
    Byte* const ring = state.ring.data();
    std::uint16_t* const tables = state.tables.data();
    const auto orders = static_cast<std::size_t>(this->orders());
    if (orders == 0) return;
    const auto mask = static_cast<std::uint64_t>(window() - 1);
    std::uint64_t count = state.count, recent = state.recent, older = state.older;
    std::uint32_t agreed = state.agreement, pointer = state.pointer;
    for (std::size_t t = 0; t < bytes.size(); ++t) {
      const Byte byte = bytes[t];
      if (agreed > 0) {
        agreed = ring[kReach + pointer] == byte ? std::min(agreed + 1, kMost) : 0;
        pointer = static_cast<std::uint32_t>((pointer + 1) & mask);
      }
      store(ring, count++, byte);
      older = older << 8 | recent >> 56;
      recent = recent << 8 | byte;
      const auto now = static_cast<Index>(count & mask);
      std::uint32_t candidates[kMostOrders], lengths[kMostOrders];
      for (std::size_t i = 0; i < orders; ++i) {
        std::uint16_t& slot = tables[this->slot(i, recent, older)];
        candidates[i] = slot;
        slot = static_cast<std::uint16_t>(now);
      }
      for (std::size_t i = agreed > 0 ? 1 : 0; i < orders; ++i) {
        const std::uint64_t distance = (count - candidates[i]) & mask;
        lengths[i] = 0;
        // all that is compared must still be there
        if (distance == 0 || distance >= count || distance > mask + 1 - kCompared) continue;
        const std::uint32_t length = agreement(ring, candidates[i], now, count - distance);
        if (length >= static_cast<std::uint32_t>(config_.lengths[i])) lengths[i] = length;
      }
      for (std::size_t i = 0; agreed == 0 && i < orders; ++i) agreed = lengths[i], pointer = candidates[i];
      found(static_cast<Index>(t), Index{0}, agreed, agreed > 0 ? ring[kReach + pointer] : Byte{0});
      for (std::size_t i = 1; i < orders; ++i)
        found(static_cast<Index>(t), static_cast<Index>(i), lengths[i], ring[kReach + candidates[i]]);
    }
    state.count = count, state.recent = recent, state.older = older;
    state.agreement = agreed, state.pointer = pointer;
  }

  Config config_;
};

}  // namespace qllk::nn
