// Which states of a long sequence are kept on the way through it, so that it can be walked backwards.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::train {

/// Which of the borders of a sequence's chunks have their state kept, of at most `slots` at a time.
///
/// Chunks are computed last first, each from the state at its begin. Where that is not kept, it is computed anew from
/// the last one before it that is, and some of those on the way are kept for the chunks to come. With s slots and r
/// such walks through a chunk at the most, sequences of up to C(s + r, s) chunks can be walked backwards; so
///
///   s > chunks - 1        r = 1     every state is kept
///   s ≈ √(2·chunks)       r = 2
///   s = log2(chunks)      r <= s    memory grows with the logarithm of the length, and so does the time of a chunk
///
/// and no choice of what to keep needs fewer walks.
///
/// Cost     of a call: the number of slots
/// Source   Griewank and Walther 2000 (Revolve), section 3; Griewank 1992
class Borders {
 public:
  /// A state that is kept.
  struct Kept {
    Index border;      // before which chunk
    std::size_t slot;  // where it is
  };

  /// slots 0: as many as there are chunks. There is a slot for the state at the sequence's begin always.
  explicit Borders(Index chunks = 1, Index slots = 0)
      : chunks_(chunks), slots_(slots > 0 ? std::min(slots, chunks) : chunks) {
    kept_.reserve(static_cast<std::size_t>(slots_));
    free_.reserve(static_cast<std::size_t>(slots_));
    reset();
  }

  /// How many states are kept at the most.
  std::size_t slots() const { return static_cast<std::size_t>(slots_); }
  /// The most walks through a chunk before it is computed for good.
  Index walks() const { return walks(chunks_, slots_); }

  /// Slot 0 holds the sequence's begin, border 0, and all others are free.
  void reset() {
    end_ = chunks_;
    kept_.assign(1, {0, 0});
    free_.clear();
    for (std::size_t slot = slots(); slot-- > 1;) free_.push_back(slot);
  }
  /// Only chunks before `end` are still to come: frees what only others need.
  void shorten(Index end) {
    end_ = end;
    while (kept_.size() > 1 && kept_.back().border >= end) {
      free_.push_back(kept_.back().slot);
      kept_.pop_back();
    }
  }
  /// The last one kept that is not after `border`.
  Kept nearest(Index border) const { return *(after(border) - 1); }

  /// The slot in which to keep the state at `border`, which is at hand now, if it is to be kept and is not yet.
  std::optional<std::size_t> keep(Index border) {
    const auto next = after(border);
    const Index from = (next - 1)->border, to = next == kept_.end() ? end_ : next->border;
    if (free_.empty() || border == from || border >= end_) return std::nullopt;
    if (border != from + first_part(to - from, std::ssize(free_) + 1)) return std::nullopt;
    const std::size_t slot = free_.back();
    free_.pop_back();
    kept_.insert(next, {border, slot});
    return slot;
  }

 private:
  std::vector<Kept>::const_iterator after(Index border) const {
    return std::ranges::upper_bound(kept_, border, {}, &Kept::border);
  }

  /// n over k, or more than any number of chunks.
  static Index choose(Index n, Index k) {
    constexpr auto kMany = std::min(std::int64_t{1} << 40, std::int64_t{std::numeric_limits<Index>::max() / 2});
    if (k < 0 || k > n) return 0;
    std::int64_t value = 1;
    for (Index i = 1; i <= std::min(k, n - k); ++i) {
      value = value * (n - i + 1) / i;
      if (value > kMany) return static_cast<Index>(kMany);
    }
    return static_cast<Index>(value);
  }
  static Index walks(Index chunks, Index slots) {
    Index r = 0;
    while (choose(slots + r, slots) < chunks) ++r;
    return r;
  }
  /// Of that many chunks, whose begin has one of `slots` slots: how many are walked through before the next state is
  /// kept.
  static Index first_part(Index chunks, Index slots) {
    const Index r = walks(chunks, slots);
    return std::max({Index{1}, choose(slots + r - 2, slots), chunks - choose(slots + r - 1, slots - 1)});
  }

  Index chunks_, slots_, end_ = 0;
  std::vector<Kept> kept_;         // border 0 first
  std::vector<std::size_t> free_;  // slots
};

}  // namespace qllk::train
