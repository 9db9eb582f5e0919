// What a context is: the features of a byte stream that FeatureHashing looks up.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::nn {

/// Where a context writes what it found: for each position and each of its orders a row of that context's part of the
/// table, or nothing.
class RowWriter {
 public:
  /// An entry is row · 2 + sign, and this bit where the row is to be left out.
  static constexpr std::uint32_t kLeftOut = 0x80000000;
  /// The entry of a position that has no row.
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  /// Whether the row is to be left out.
  static constexpr bool left_out(std::uint32_t entry) { return (entry & kLeftOut) != 0; }
  /// Whether the row counts with a minus.
  static constexpr bool minus(std::uint32_t entry) { return (entry & 1) != 0; }
  /// The row of the table.
  static constexpr Index row_of(std::uint32_t entry) { return static_cast<Index>((entry & ~kLeftOut) >> 1); }

  /// `entries` [positions, stride] begins with this context's first order; its rows begin at `first_row` of the table.
  RowWriter(std::uint32_t* entries, std::size_t stride, std::uint64_t first_row)
      : entries_(entries), stride_(stride), first_row_(first_row) {}

  /// Gives a position a row of this context, and its sign.
  void row(Index position, Index order, std::uint64_t row, bool minus = false) const {
    at(position, order) = static_cast<std::uint32_t>((first_row_ + row) << 1 | static_cast<std::uint64_t>(minus));
  }
  /// Gives a position no row.
  void none(Index position, Index order) const { at(position, order) = kNone; }

 private:
  std::uint32_t& at(Index position, Index order) const {
    return entries_[static_cast<std::size_t>(position) * stride_ + static_cast<std::size_t>(order)];
  }

  std::uint32_t* entries_;
  std::size_t stride_;
  std::uint64_t first_row_;
};

/// What a training pass may leave out of a context: nothing; its longer orders, which know the training text by heart;
/// or all of its orders together.
enum class LeftOut { never, longer, together };

/// Features of a stream as rows of a hashed table: `orders()` rows a position, out of `rows()` in all.
///
///   look_up   reads the next bytes of one stream. The rows of position t depend on bytes 0 … t of that stream only,
///             however it is cut into calls
///   prime     reads bytes without asking for rows: what came before a training crop. At most the last history() bytes
///             of what was read decide later rows
///   reset     makes a state that of a stream's start; the same memory whatever was read
///   forget    may be there: makes a state that gives the rows of a stream's start, at less cost than reset
///   follow    may be there: leaves the state, bit by bit, as look_up does, and asks for no rows. See nn::follow
///
/// A State is a value of constant size: of one stream, without a gradient. kLeftOut says what training may leave out.
template <class C>
concept StreamContext = std::copyable<C> && std::default_initializable<typename C::State> &&
    std::equality_comparable<typename C::Config> &&
    requires(const C& context, typename C::State& state, Bytes bytes, const RowWriter& out) {
  { context.orders() } -> std::same_as<Index>;
  { context.rows() } -> std::same_as<Index>;
  { context.history() } -> std::same_as<Index>;
  { C::kLeftOut } -> std::convertible_to<LeftOut>;
  context.reset(state);
  context.look_up(bytes, state, out);
  context.prime(bytes, state);
};

/// What is read from now on gives the rows that it gives at a stream's start.
template <StreamContext Context>
void forget(const Context& context, typename Context::State& state) {
  if constexpr (requires { context.forget(state); })
    context.forget(state);
  else
    context.reset(state);
}

/// Reads bytes of a stream that no row is wanted for, and leaves the state as look_up does.
template <StreamContext Context>
void follow(const Context& context, Bytes bytes, typename Context::State& state) {
  if constexpr (requires { context.follow(bytes, state); }) {
    context.follow(bytes, state);
  } else {
    constexpr std::size_t kPositions = 256;
    const auto orders = static_cast<std::size_t>(context.orders());
    thread_local std::vector<std::uint32_t> rows;
    rows.resize(kPositions * orders);
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(kPositions, bytes.size())))
      context.look_up(bytes.first(std::min(kPositions, bytes.size())), state, RowWriter(rows.data(), orders, 0));
  }
}

}  // namespace qllk::nn
