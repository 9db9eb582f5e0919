// Which states are kept: enough to walk any number of chunks backwards, within the slots and the walks that are
// promised.
#include "qllk/train/borders.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

namespace qllk::train {
namespace {

struct Walk {
  Index most = 0, total = 0;  // walks through a chunk, and through all
};

/// Walks backwards with numbers in the place of states, and checks that each chunk is computed from its own.
Walk walk_backwards(Index chunks, Index slots) {
  Borders borders(chunks, slots);
  std::vector<Index> kept(borders.slots(), -1), walked(static_cast<std::size_t>(chunks), 0);
  kept[0] = 0;
  Index state = 0;
  for (Index end = chunks; end-- > 0;) {
    borders.shorten(end + 1);
    if (state != end) {
      const auto from = borders.nearest(end);
      state = kept[from.slot];
      EXPECT_EQ(state, from.border);
    }
    while (state < end) {
      ++walked[static_cast<std::size_t>(state++)];
      if (const auto slot = borders.keep(state)) kept[*slot] = state;
    }
    EXPECT_EQ(state, end);
    ++state;  // as computing the chunk does
  }
  Walk walk{*std::max_element(walked.begin(), walked.end()), 0};
  for (const Index count : walked) walk.total += count;
  EXPECT_LE(walk.most, borders.walks());
  return walk;
}

TEST(Borders, EveryStateIsKeptWhereThereIsRoom) {
  for (const Index chunks : {1, 2, 3, 10, 100}) {
    EXPECT_EQ(walk_backwards(chunks, 0).total, chunks - 1) << chunks;
    EXPECT_EQ(walk_backwards(chunks, chunks).total, chunks - 1) << chunks;
    EXPECT_EQ(walk_backwards(chunks, 1000).total, chunks - 1) << chunks;
  }
}

/// Walks that the best of all ways to keep states needs, by trying them all.
Index fewest(Index chunks, Index slots, std::vector<std::vector<Index>>& known) {
  if (chunks == 1) return 0;
  if (slots == 1) return chunks * (chunks - 1) / 2;
  Index& best = known[static_cast<std::size_t>(chunks)][static_cast<std::size_t>(slots)];
  if (best >= 0) return best;
  best = fewest(chunks, slots - 1, known);
  for (Index first = 1; first < chunks; ++first)
    best = std::min(best, first + fewest(chunks - first, slots - 1, known) + fewest(first, slots, known));
  return best;
}

TEST(Borders, NoOtherChoiceNeedsFewerWalks) {
  std::vector<std::vector<Index>> known(61, std::vector<Index>(9, -1));
  for (Index chunks = 1; chunks <= 60; ++chunks)
    for (Index slots = 1; slots <= 8; ++slots)
      EXPECT_EQ(walk_backwards(chunks, slots).total, fewest(chunks, slots, known)) << chunks << ", " << slots;
}

TEST(Borders, MemoryGrowsWithTheLogarithm) {
  for (const Index chunks : {64, 1000, 4096, 65536}) {
    Index slots = 1;
    while ((Index{1} << slots) < chunks) ++slots;
    EXPECT_LE(walk_backwards(chunks, slots).total, chunks * (slots / 2)) << chunks;
  }
  EXPECT_EQ(Borders(256, 16).walks(), 3);
  EXPECT_EQ(Borders(4096, 90).walks(), 2);
}

}  // namespace
}  // namespace qllk::train
