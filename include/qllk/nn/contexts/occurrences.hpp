// Where the last bytes and words of a stream stood before.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::nn {

/// The occurrences of three contexts in the last 2^bits bytes of a stream, most recent first: the last byte, the last
/// two bytes, and the word so far, lower-cased (between words: the word before and the last byte).
///
/// Every place of the window knows the one before it that had the same slot of a table, so that a list of them of any
/// length can be followed. The answer is exact: a place that shares the slot only, or is left from a time before the
/// window or the stream, is told by what the place itself holds. That is why a reset need not clear anything.
///
/// Words are made of letters as in WordContext, at most 32; a longer one has no context, nor has a stream's first one,
/// of which the beginning may be missing.
///
/// Cost     a byte takes three look-ups and stores, whatever the stream; state: 16 bytes for each byte of the window
/// Source   chains of places with the same hash: Deutsch 1996 (RFC 1951), section 4
class Occurrences {
 public:
  /// The same byte, the same two bytes, the same beginning of a word.
  static constexpr std::size_t kContexts = 3;

  /// Between two bytes.
  struct Place {
    std::array<std::uint16_t, kContexts> before;  // for each context the place before, in the window
    std::uint16_t pair;                           // the last two bytes, the last one low
    std::uint32_t word;                           // hash of the word context; 0: none
  };
  struct State {
    std::vector<Place> window;                                 // by place, modulo its size
    std::array<std::vector<std::uint16_t>, kContexts> newest;  // for each slot the place after its last occurrence
    std::array<std::uint64_t, kByteValues> last{};             // for each byte the place before its last occurrence
    std::uint64_t start = 1, now = 1;                          // places, counted through all streams
    std::uint64_t word = 0, word_before = 0;                   // hashes; 0: none
    std::uint32_t letters = 0, gap = 0;                        // of this word; bytes since the last one
    std::uint16_t pair = 0;                                    // the last two bytes
  };

  /// Throws std::invalid_argument unless bits is 0, which remembers nothing, or 8 to 16.
  explicit Occurrences(int bits) : bits_(bits) {
    if (bits != 0 && (bits < 8 || bits > 16))
      throw InvalidArgument("recency is " + std::to_string(bits) + ", expected 0, or 8 to 16");
  }

  /// As it was made with.
  int bits() const { return bits_; }
  /// Bytes of the window.
  Index window() const { return Index{1} << bits_; }

  void reset(State& s) const {
    if (bits_ == 0) return;
    s.window.resize(static_cast<std::size_t>(window()));
    for (std::size_t c = 0; c < kContexts; ++c) s.newest[c].resize(std::size_t{1} << slot_bits(c));
    s.start = s.now;
    s.word = s.word_before = 0;
    s.letters = kMostLetters + 1;
    s.gap = 0;
    s.pair = 0;
  }

  /// Adds bytes to the stream.
  void read(Bytes bytes, State& state) const {
    if (bits_ == 0) return;
    Place* const window = state.window.data();
    std::array<std::uint16_t*, kContexts> newest;
    for (std::size_t c = 0; c < kContexts; ++c) newest[c] = state.newest[c].data();
    const std::uint64_t mask = this->mask();
    const int shift1 = 16 - slot_bits(1), shift2 = 32 - slot_bits(2);
    std::uint64_t now = state.now;
    std::uint16_t pair = state.pair;
    for (const Byte byte : bytes) {
      state.last[byte] = now++;
      pair = static_cast<std::uint16_t>(pair << 8 | byte);
      const auto here = static_cast<std::uint16_t>(now & mask);
      const auto swap_in = [here](std::uint16_t& slot) {
        const std::uint16_t before = slot;
        slot = here;
        return before;
      };
      Place& place = window[here];
      place.pair = pair;
      place.word = spell(byte, state);
      place.before[0] = swap_in(newest[0][byte]);
      place.before[1] = swap_in(newest[1][static_cast<std::uint16_t>(pair * 40503U) >> shift1]);
      place.before[2] = place.word != 0 ? swap_in(newest[2][place.word >> shift2]) : here;
    }
    state.now = now, state.pair = pair;
  }

  /// Calls found(distance, byte) for the last occurrences of a context before this place, most recent first: how far
  /// back each is, and the byte that followed. Until it returns false, or `most` places were looked at.
  template <class Found>
  void each(const State& s, std::size_t context, int most, Found&& found) const {
    const Place* const window = s.window.data();
    const std::uint64_t mask = this->mask(), read = s.now - s.start, needed = context < kWord ? 2 : 1;
    const Place& here = window[s.now & mask];
    // what decides the context must have been read, and be in the window
    const std::uint64_t farthest =
        std::min(mask + 1 - (context < kWord ? needed : kReach), read < needed ? 0 : read - needed);
    std::uint64_t last = 0;
    const Place* place = &here;
    for (int i = 0; i < most; ++i) {
      const std::uint64_t at = place->before[context], distance = (s.now - at) & mask;
      if (distance <= last || distance > farthest) return;
      last = distance;
      place = window + at;
      const bool same = context == kWord ? place->word == here.word
                        : context == 1   ? place->pair == here.pair
                                         : (place->pair & 0xFF) == (here.pair & 0xFF);
      if (same && !found(static_cast<std::uint32_t>(distance), byte_after(s, at))) return;
    }
  }

  /// The byte that followed the place `distance` bytes ago.
  Byte byte_at(const State& s, std::uint64_t distance) const { return byte_after(s, s.now - distance); }

 private:
  static constexpr std::size_t kWord = 2;
  static constexpr std::uint32_t kMostLetters = 32;
  static constexpr std::uint64_t kReach = 128;  // two words of most letters and what is around them

  std::uint64_t mask() const { return (std::uint64_t{1} << bits_) - 1; }
  int slot_bits(std::size_t context) const { return context == 0 ? 8 : context == 1 ? bits_ : bits_ - 1; }
  Byte byte_after(const State& s, std::uint64_t place) const {
    return static_cast<Byte>(s.window[static_cast<std::size_t>((place + 1) & mask())].pair & 0xFF);
  }

  static constexpr bool is_letter(Byte byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || byte >= 0x80;
  }

  /// Reads a byte, and returns the word context then.
  static std::uint32_t spell(Byte byte, State& s) {
    const auto scatter = [](std::uint64_t hash) {
      return static_cast<std::uint32_t>((hash ^ hash >> 29) * kOdd >> 32) | 1;
    };
    if (is_letter(byte)) {
      const Byte lower = byte >= 'A' && byte <= 'Z' ? static_cast<Byte>(byte + ('a' - 'A')) : byte;
      s.word = (s.word + lower + 1) * kOdd;
      if (s.letters <= kMostLetters) ++s.letters;
      return s.letters <= kMostLetters ? scatter(s.word) : 0;
    }
    if (s.word != 0) {
      s.word_before = s.letters <= kMostLetters ? s.word : 0;
      s.word = 0;
      s.gap = 0;
    } else if (++s.gap == kMostLetters) {
      s.word_before = 0;
    }
    s.letters = 0;
    return s.word_before != 0 ? scatter(s.word_before + byte) : 0;
  }
  static constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15u;

  int bits_;
};

}  // namespace qllk::nn
