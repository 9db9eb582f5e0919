// How much of a text occurs in another one.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"

namespace qllk::data {

namespace detail {

/// Calls f(hash) for blocks of `window` bytes, at most 64, that end where a hash of the last 64 bytes has `bits` zeros:
/// about one in 2^bits, at the same places of equal texts, wherever these begin.
template <class F>
void for_each_sampled_block(const Corpus& text, std::size_t window, int bits, F&& f) {
  constexpr std::uint64_t kStep = std::uint64_t{1} << 20;
  static const auto table = [] {
    std::array<std::uint64_t, kByteValues> numbers{};
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = mix64(i + 1);
    return numbers;
  }();
  std::vector<Byte> buffer;
  std::uint64_t rolling = 0;  // every byte is shifted out of it after 64 more
  for (std::uint64_t at = 0; at < text.size(); at += kStep) {
    const std::uint64_t before = std::min<std::uint64_t>(at, window - 1);
    const std::uint64_t end = std::min(at + kStep, text.size());
    buffer.resize(static_cast<std::size_t>(end - at + before));
    text.copy(at - before, buffer);
    for (std::size_t i = static_cast<std::size_t>(before); i < buffer.size(); ++i) {
      rolling = (rolling << 1) + table[buffer[i]];
      if (i + 1 < window || (bits > 0 && rolling >> (64 - bits) != 0)) continue;
      std::uint64_t hash = 0;
      const Byte* const block = buffer.data() + (i + 1 - window);
      for (std::size_t j = 0; j < window; j += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, block + j, std::min<std::size_t>(8, window - j));
        hash = mix64(hash ^ word);
      }
      f(hash);
    }
  }
}

}  // namespace detail

/// The share of `text`, 0 to 1, that occurs in `other` in pieces of 64 bytes or more, whatever their order. Estimated
/// by up to about 30,000 blocks that are chosen by their content: within 0.01 of the truth, mostly. A text shorter than
/// that counts as one piece.
///
/// Cost     a pass over both, about 0.5 GB/s, and some megabytes of memory
/// Errors   std::runtime_error as Corpus::copy
inline double overlap(const Corpus& text, const Corpus& other) {
  constexpr std::uint64_t kWindow = 64, kBlocks = 32768, kFewest = 256;
  const auto window = static_cast<std::size_t>(std::min(kWindow, text.size()));
  if (window == 0 || other.size() < window) return 0;
  // Of a short text every block counts; a long one that has few places to choose repeats itself.
  int bits = text.size() < kBlocks ? 0 : static_cast<int>(std::bit_width(text.size() / kBlocks));
  struct Block {
    std::uint64_t times = 0;
    bool found = false;
  };
  std::unordered_map<std::uint64_t, Block> blocks;
  std::uint64_t all = 0;
  for (;; bits = 0) {
    detail::for_each_sampled_block(text, window, bits, [&](std::uint64_t hash) { ++all, ++blocks[hash].times; });
    if (all >= kFewest || bits == 0) break;
    all = 0;
    blocks.clear();
  }
  // Most blocks of the other text are not there: a bit tells that faster than the table.
  constexpr std::size_t kFilter = std::size_t{1} << 20;
  std::vector<bool> filter(kFilter);
  for (const auto& [hash, block] : blocks) filter[hash % kFilter] = true;
  std::uint64_t found = 0;
  detail::for_each_sampled_block(other, window, bits, [&](std::uint64_t hash) {
    if (!filter[hash % kFilter]) return;
    const auto block = blocks.find(hash);
    if (block == blocks.end() || block->second.found) return;
    block->second.found = true;
    found += block->second.times;
  });
  return static_cast<double>(found) / static_cast<double>(all);
}

}  // namespace qllk::data
