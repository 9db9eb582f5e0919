// Recency: what came lately, straight on the logits.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/nn/contexts/documents.hpp"
#include "qllk/nn/contexts/occurrences.hpp"

namespace qllk::nn {

using linalg::column, linalg::values;

/// A learned bias for each byte value by how long ago it came last: anywhere, and in each context of Occurrences.
///
///   z'[b] = z[b] + 4 w[ age(b) ] + 4 Σ_c v[ c, rank_c(b), age_c(b) ]    the sum: where c's last occurrences have b
///
///   age      of a distance of d bytes: ⌊log₂ d⌋; for w also 16: not in the window
///   rank     0, 1, 2: the byte that came last in this context, the last but one, any other of the last 12 different
///            ones among the last 32 places that Occurrences looks at
///
/// What text repeats, it repeats soon: names, topics, the alphabet of a language. A net's state forgets that; its
/// weights cannot know it. The factor 4 lets an optimiser with one rate for all move biases, which reach 2, faster than
/// weights of matrices.
///
/// Shapes   bytes: [sequences × length]    z, dz: [256, sequences × length]
/// Cost     forward 256 additions and at most 36 more a byte, and at most 96 places of Occurrences; backward the same
///          additions: an age changes for few bytes at a time. State: that of Occurrences, 1 MB for 2^16 bytes
/// Source   the bias: cache models, Kuhn and De Mori 1990; the ranks: move to front, Bentley et al. 1986
template <Real Scalar>
class Recency {
 public:
  /// Classes of distance.
  static constexpr Index kAges = 16;
  /// Classes of rank.
  static constexpr Index kRanks = 3;

  struct Params {
    Vec<Scalar> anywhere;    // w [17]
    Vec<Scalar> in_context;  // v [16 · kRanks · contexts], ages next to each other

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("anywhere", t.anywhere...);
      visit("in_context", t.in_context...);
    }
  };
  using Grads = Params;

  /// What was read, of each sequence.
  struct State {
    std::vector<Occurrences::State> streams;  // one for each sequence
  };

  /// An entry is weight · 256 + byte.
  struct Cache {
    std::vector<std::uint8_t> ages;      // [256, sequences]: before the first position
    std::vector<std::uint32_t> entries;  // of each position: bytes whose age changes, then those of contexts
    std::vector<std::uint32_t> ends;     // [2, n]: where the ones and the others end
  };

  /// Of the last 2^bits bytes, of this document where there are several; 0: nothing is added. Throws
  /// std::invalid_argument for other bits than 0 and 8 to 16.
  explicit Recency(int bits, Documents documents = Documents()) : occurrences_(bits), documents_(documents) {}

  /// How many bytes before a training crop decide what is added in it, at most.
  Index history() const { return on() ? occurrences_.window() : 0; }

  Params zeros() const {
    return {Vec<Scalar>::Zero(on() ? kAges + 1 : 0),
            Vec<Scalar>::Zero(on() ? kAges * kRanks * static_cast<Index>(Occurrences::kContexts) : 0)};
  }
  Params init(Random&) const { return zeros(); }

  void reset(State& s, Index sequences) const {
    s.streams.resize(on() ? static_cast<std::size_t>(sequences) : 0);
    for (auto& stream : s.streams) occurrences_.reset(stream);
  }
  /// Reads bytes of a sequence that no bias is wanted for: those before a training crop.
  void prime(State& s, Index sequence, Bytes bytes) const {
    if (!on()) return;
    const auto known = std::min(bytes.size(), static_cast<std::size_t>(history()));
    read(bytes.last(known), s.streams[static_cast<std::size_t>(sequence)]);
  }

  /// Advances the state as look_up does.
  void follow(Bytes bytes, State& s) const {
    const std::size_t length = s.streams.empty() ? 0 : bytes.size() / s.streams.size();
    for (std::size_t i = 0; i < s.streams.size(); ++i) read(bytes.subspan(i * length, length), s.streams[i]);
  }

  /// Finds what each position's logits are to be given, and advances the state.
  void look_up(Bytes bytes, State& s, Cache& c) const {
    c.ages.clear();
    c.entries.clear();
    c.ends.clear();
    if (!on()) return;
    constexpr std::size_t kMost = 1 + kAges + Occurrences::kContexts * kBytes;
    // so that a later step with more of them does not allocate; a new document changes ages of all that was read before
    c.entries.reserve(bytes.size() * kMost + s.streams.size() * static_cast<std::size_t>(kByteValues));
    const std::size_t length = s.streams.empty() ? 0 : bytes.size() / s.streams.size();
    for (std::size_t i = 0; i < s.streams.size(); ++i) {
      Occurrences::State& stream = s.streams[i];
      for (const std::uint64_t last : stream.last) c.ages.push_back(static_cast<std::uint8_t>(age(stream, last)));
      for (const Byte& byte : bytes.subspan(i * length, length)) {
        if (documents_.start_with(byte)) forget_all(stream, c);
        occurrences_.read(Bytes(&byte, 1), stream);
        find_changes(byte, stream, c);
        c.ends.push_back(static_cast<std::uint32_t>(c.entries.size()));
        for (std::size_t context = 0; context < Occurrences::kContexts; ++context) find_bytes(context, stream, c);
        c.ends.push_back(static_cast<std::uint32_t>(c.entries.size()));
      }
    }
  }

  /// Turns z into z'.
  void forward(const Params& p, const Cache& c, Mat<Scalar>& z) const {
    std::array<Scalar, kByteValues> bias;
    walk(
        c, [&](std::size_t byte, Index age) { bias[byte] = kScale * p.anywhere[age]; },
        [&](Index t) { column(z, t) += values(bias.data(), kByteValues); },
        [&](Index t, Index byte, Index weight) { z(byte, t) += kScale * p.in_context[weight]; });
  }

  /// dz is dz'. Adds to g.
  void backward(const Cache& c, const Mat<Scalar>& dz, Grads& g) const {
    if (!on()) return;
    std::array<Scalar, kByteValues> sums{};  // of dz since a byte's age changed
    std::array<Index, kByteValues> ages{};
    const auto change = [&](std::size_t byte, Index age) {
      g.anywhere[ages[byte]] += kScale * sums[byte];
      sums[byte] = 0;
      ages[byte] = age;
    };
    walk(
        c, change, [&](Index t) { values(sums.data(), kByteValues) += column(dz, t); },
        [&](Index t, Index byte, Index weight) { g.in_context[weight] += kScale * dz(byte, t); });
    for (std::size_t byte = 0; byte < sums.size(); ++byte) change(byte, 0);
  }

 private:
  static constexpr std::size_t kBytes = 12;  // of a context's last occurrences, at most
  static constexpr int kPlaces = 32;         // that these are looked for in
  static constexpr Scalar kScale = 4;

  bool on() const { return occurrences_.bits() > 0; }

  void read(Bytes bytes, Occurrences::State& stream) const {
    const Bytes last = documents_.last(bytes);
    if (!last.empty()) occurrences_.reset(stream);
    occurrences_.read(last.empty() ? bytes : last, stream);
  }

  /// A document begins.
  void forget_all(Occurrences::State& stream, Cache& c) const {
    for (std::size_t byte = 0; byte < kByteValues; ++byte)
      if (age(stream, stream.last[byte]) != kAges) add(kAges, static_cast<Byte>(byte), c);
    occurrences_.reset(stream);
  }

  static void add(Index weight, Byte byte, Cache& c) {
    c.entries.push_back(static_cast<std::uint32_t>(weight << 8) | byte);
  }

  Index age(const Occurrences::State& stream, std::uint64_t last) const {
    const std::uint64_t distance = stream.now - last;
    if (last < stream.start || distance >= static_cast<std::uint64_t>(occurrences_.window())) return kAges;
    return static_cast<Index>(std::bit_width(distance)) - 1;
  }

  /// The byte just read, and those that came last a power of two bytes ago.
  void find_changes(Byte byte, const Occurrences::State& stream, Cache& c) const {
    add(0, byte, c);
    const std::uint64_t read = stream.now - stream.start;
    for (int i = 1; i <= occurrences_.bits() && read >> i != 0; ++i) {
      const std::uint64_t distance = std::uint64_t{1} << i;
      const Byte old = occurrences_.byte_at(stream, distance);
      if (stream.last[old] == stream.now - distance) add(i == occurrences_.bits() ? kAges : i, old, c);
    }
  }

  void find_bytes(std::size_t context, const Occurrences::State& stream, Cache& c) const {
    std::array<Byte, kBytes> seen{};
    std::size_t count = 0;
    occurrences_.each(stream, context, kPlaces, [&](std::uint32_t distance, Byte byte) {
      const auto end = seen.begin() + static_cast<std::ptrdiff_t>(count);
      if (std::find(seen.begin(), end, byte) != end) return true;
      const Index rank = std::min(static_cast<Index>(count), kRanks - 1), last = std::bit_width(distance) - 1;
      add((static_cast<Index>(context) * kRanks + rank) * kAges + last, byte, c);
      seen[count++] = byte;
      return count < kBytes;
    });
  }

  /// For each position: change(byte, age) for bytes whose age is another than before, position(t), and entry(t, byte,
  /// weight) for those of contexts.
  template <class Change, class Position, class Entry>
  static void walk(const Cache& c, Change&& change, Position&& position, Entry&& entry) {
    const std::size_t sequences = c.ages.size() / kByteValues, n = c.ends.size() / 2;
    const std::uint32_t* at = c.entries.data();
    for (std::size_t t = 0, next = 0; t < n; ++t) {
      if (t == next * (n / sequences)) {
        for (std::size_t byte = 0; byte < kByteValues; ++byte) change(byte, Index{c.ages[next * kByteValues + byte]});
        ++next;
      }
      const auto end = [&](std::size_t which) { return c.entries.data() + c.ends[2 * t + which]; };
      for (; at != end(0); ++at) change(*at & 0xFF, static_cast<Index>(*at >> 8));
      position(static_cast<Index>(t));
      for (; at != end(1); ++at)
        entry(static_cast<Index>(t), static_cast<Index>(*at & 0xFF), static_cast<Index>(*at >> 8));
    }
  }

  Occurrences occurrences_;
  Documents documents_;
};

}  // namespace qllk::nn
