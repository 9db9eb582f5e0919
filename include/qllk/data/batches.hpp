// What a training step reads: batches as pure functions of a seed and a number.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"

namespace qllk::data {

namespace detail {

/// Throws std::invalid_argument unless both are positive and both spans hold `sequences` × `length` bytes.
inline void check_batch(Index sequences, Index length, std::span<Byte> inputs, std::span<Byte> targets) {
  if (sequences <= 0 || length <= 0)
    throw InvalidArgument("batch of " + std::to_string(sequences) + " sequences of " + std::to_string(length) +
                          " bytes, expected both > 0");
  const auto columns = static_cast<std::size_t>(length);
  const auto fits = [&](std::size_t size) {
    return size % columns == 0 && size / columns == static_cast<std::size_t>(sequences);
  };
  if (!fits(inputs.size()) || !fits(targets.size()))
    throw InvalidArgument("batch of " + std::to_string(sequences) + " sequences of " + std::to_string(length) +
                          " bytes, but room for " + std::to_string(inputs.size()) + " inputs and " +
                          std::to_string(targets.size()) + " targets");
}

/// The `length` bytes of sequence s.
inline std::span<Byte> sequence(std::span<Byte> batch, Index s, Index length) {
  return batch.subspan(static_cast<std::size_t>(s * length), static_cast<std::size_t>(length));
}

/// Whether a file has another weight than 1.
inline bool has_weights(const Corpus& corpus) {
  return std::ranges::any_of(corpus.weights(), [](double weight) { return weight != 1; });
}

}  // namespace detail

/// Where the sequences of a batch begin in a text, whose last byte is followed by its first.
struct BatchText {
  Corpus corpus;                      // the text
  std::vector<std::uint64_t> starts;  // of each sequence: its first byte in the text

  /// Fills `out` with what sequence s has from its byte `offset` on. Any number of threads. Errors: as Corpus::copy.
  void copy(Index s, std::uint64_t offset, std::span<Byte> out) const {
    const std::uint64_t position = (starts[static_cast<std::size_t>(s)] + offset) % corpus.size();
    const auto to_end = static_cast<std::size_t>(std::min<std::uint64_t>(corpus.size() - position, out.size()));
    corpus.copy(position, out.first(to_end));
    corpus.copy(0, out.subspan(to_end));
  }
  /// Fills `out` with the bytes of the text before sequence s, at most `most`, and none from beyond the text's begin.
  void copy_before(Index s, std::uint64_t most, std::vector<Byte>& out) const {
    const std::uint64_t start = starts[static_cast<std::size_t>(s)] % corpus.size(), size = std::min(start, most);
    out.resize(static_cast<std::size_t>(size));
    corpus.copy(start - size, out);
  }
};

/// Independent crops of a corpus, each start equally likely; where its files have weights, in proportion to these.
///
/// Batch b is a pure function of (corpus, seed, b): the same bytes on every compiler and machine, in any order of
/// calls, for a run that was resumed as for one that was not.
class RandomCrops {
 public:
  /// Throws std::invalid_argument if the corpus is empty.
  RandomCrops(Corpus corpus, std::uint64_t seed) : corpus_(std::move(corpus)), seed_(seed) {
    if (!detail::has_weights(corpus_)) return;
    const std::vector<double> weights = corpus_.weights();
    const std::vector<Corpus::Range> files = corpus_.files();
    for (std::size_t i = 0; i < files.size(); ++i) {
      const auto tickets = static_cast<std::uint64_t>(std::llround(weights[i] / Corpus::kLeastWeight));
      weighted_.push_back({files[i].begin, tickets_, tickets});
      tickets_ += tickets * (files[i].end - files[i].begin);
    }
  }

  /// The text.
  const Corpus& corpus() const { return corpus_; }

  /// Crops length + 1 bytes for each sequence: inputs are the first `length`, targets the last `length`.
  ///
  /// Shapes   inputs, targets: sequences × length, each sequence contiguous
  /// Errors   std::invalid_argument if the corpus is shorter than length + 1 bytes, or a span has another size
  void batch(std::uint64_t b, Index sequences, Index length, std::span<Byte> inputs, std::span<Byte> targets) const {
    detail::check_batch(sequences, length, inputs, targets);
    check_length(length);
    for_each_start(b, sequences, length, [&](Index s, std::uint64_t start) {
      corpus_.copy(start, detail::sequence(inputs, s, length));
      corpus_.copy(start + 1, detail::sequence(targets, s, length));
    });
  }

  /// Throws std::invalid_argument if the corpus is shorter than length + 1 bytes.
  void check_length(Index length) const {
    if (corpus_.size() <= static_cast<std::uint64_t>(length))
      throw InvalidArgument("the corpus has " + std::to_string(corpus_.size()) + " bytes, but a crop of length " +
                            std::to_string(length) + " needs " + std::to_string(length) + " + 1");
  }

  /// Calls f(s, start) with the position in the corpus at which sequence s of batch b begins: what stands before it is
  /// its history. The corpus is longer than `length`. With weights, a crop that would go beyond the end begins earlier.
  template <class F>
  void for_each_start(std::uint64_t b, Index sequences, Index length, F&& f) const {
    Random random = Random::of(kPurpose, seed_, b);
    const std::uint64_t starts = corpus_.size() - static_cast<std::uint64_t>(length);
    for (Index s = 0; s < sequences; ++s)
      f(s, weighted_.empty() ? random.below(starts) : std::min(weighted_start(random.below(tickets_)), starts - 1));
  }

 private:
  /// A file, each of whose bytes has so many tickets: whole numbers, for the same draws on every machine.
  struct Weighted {
    std::uint64_t begin, first_ticket, tickets;
  };

  std::uint64_t weighted_start(std::uint64_t ticket) const {
    const Weighted& file = *(std::ranges::upper_bound(weighted_, ticket, {}, &Weighted::first_ticket) - 1);
    return file.begin + (ticket - file.first_ticket) / file.tickets;
  }

  static constexpr std::uint64_t kPurpose = 0x63726F7073;  // no other user of the seed draws the same numbers

  Corpus corpus_;
  std::uint64_t seed_;
  std::vector<Weighted> weighted_;  // empty if all weights are 1
  std::uint64_t tickets_ = 0;
};

/// Parallel streams through a corpus, for training with a state that is carried from batch to batch.
///
/// In an epoch the corpus is a ring, cut into `sequences` streams that follow one another; batch by batch each stream
/// yields its next `length` bytes as targets, and as inputs the bytes just before them. No byte is a target twice in
/// an epoch, and less than sequences × length bytes are left out. Each epoch begins at another place of the
/// ring, drawn from the seed, so other bytes are left out and other places are cut. Once in an epoch some stream passes
/// from the end of the corpus to its beginning.
///
/// Batch b is a pure function of (corpus, seed, sequences, length, b), as that of RandomCrops.
class ConsecutiveSegments {
 public:
  /// Throws std::invalid_argument unless both are positive, the corpus has more than sequences × length bytes, and its
  /// files have no weights but 1: every byte is read once.
  ConsecutiveSegments(Corpus corpus, std::uint64_t seed, Index sequences, Index length)
      : corpus_(std::move(corpus)), seed_(seed), sequences_(sequences), length_(length) {
    if (sequences <= 0 || length <= 0)
      throw InvalidArgument("batch of " + std::to_string(sequences) + " sequences of " + std::to_string(length) +
                            " bytes, expected both > 0");
    if (corpus_.size() == 0 ||
        (corpus_.size() - 1) / static_cast<std::uint64_t>(length) < static_cast<std::uint64_t>(sequences))
      throw InvalidArgument("the corpus has " + std::to_string(corpus_.size()) + " bytes, but " +
                            std::to_string(sequences) + " streams of length " + std::to_string(length) + " need " +
                            std::to_string(sequences) + " × " + std::to_string(length) + " + 1");
    if (detail::has_weights(corpus_))
      throw InvalidArgument(
          "consecutive crops read every byte once, but the files of the corpus have weights: leave these out, or "
          "choose random crops");
    stream_ = corpus_.size() / static_cast<std::uint64_t>(sequences);
    batches_per_epoch_ = stream_ / static_cast<std::uint64_t>(length);
  }

  /// The text.
  const Corpus& corpus() const { return corpus_; }
  Index sequences() const { return sequences_; }
  /// Bytes of a segment.
  Index length() const { return length_; }
  /// How many batches read the text once.
  std::uint64_t batches_per_epoch() const { return batches_per_epoch_; }

  /// Whether batch b does not continue batch b - 1: before it, a carried state must be reset.
  bool starts_anew(std::uint64_t b) const { return batches_since_start(b) == 0; }
  /// How many batches before batch b it continues.
  std::uint64_t batches_since_start(std::uint64_t b) const { return b % batches_per_epoch_; }

  /// Shapes   inputs, targets: sequences × length, each sequence contiguous
  /// Errors   std::invalid_argument if a span has another size
  void batch(std::uint64_t b, std::span<Byte> inputs, std::span<Byte> targets) const {
    detail::check_batch(sequences_, length_, inputs, targets);
    for_each_start(b, [&](Index s, std::uint64_t start) {
      copy_from_ring(start, detail::sequence(inputs, s, length_));
      copy_from_ring(start + 1, detail::sequence(targets, s, length_));
    });
  }

  /// Calls f(s, start) with the position in the corpus at which sequence s of batch b begins.
  template <class F>
  void for_each_start(std::uint64_t b, F&& f) const {
    const std::uint64_t begin = Random::of(kPurpose, seed_, b / batches_per_epoch_).below(corpus_.size());
    const std::uint64_t walked = b % batches_per_epoch_ * static_cast<std::uint64_t>(length_);
    for (Index s = 0; s < sequences_; ++s)
      f(s, (begin + static_cast<std::uint64_t>(s) * stream_ + walked) % corpus_.size());
  }

 private:
  static constexpr std::uint64_t kPurpose = 0x7365676D656E7473;  // no other user of the seed draws the same numbers

  void copy_from_ring(std::uint64_t position, std::span<Byte> out) const {
    position %= corpus_.size();
    const auto to_end = static_cast<std::size_t>(std::min<std::uint64_t>(corpus_.size() - position, out.size()));
    corpus_.copy(position, out.first(to_end));
    corpus_.copy(0, out.subspan(to_end));
  }

  Corpus corpus_;
  std::uint64_t seed_;
  Index sequences_;
  Index length_;
  std::uint64_t stream_ = 0;  // bytes from the start of one stream to that of the next
  std::uint64_t batches_per_epoch_ = 0;
};

}  // namespace qllk::data
