// Text to learn from or to score, wherever it lies.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/data/pieces.hpp"
#include "qllk/files/input_file.hpp"

namespace qllk::data {

/// A read-only sequence of bytes: files, memory, or a part of another corpus.
///
/// Several files are one text, joined without a separator. A value: copies and slices share the bytes, and any number
/// of threads may read. Large regular files are read where they lie and need no memory of their own. They keep the size
/// that they had when they were opened. To read what was cut off since then is an error; `change` tells of other edits.
class Corpus {
 public:
  /// No bytes.
  Corpus() : pieces_(std::make_shared<const detail::Pieces>()) {}

  /// A file, a folder, or "-" for standard input, which is read to its end, as are pipes. Of a folder: the regular
  /// files in it and in its folders, sorted by the bytes of their paths, the same on every machine; empty files and
  /// links to folders are passed over. Hidden folders, models, checkpoints and compressed files of qllk, and what
  /// cannot be read are left out: see `skipped`. A file counts once, by whatever names it is there. A path that is not
  /// there may be a pattern of glob(7): what it matches, sorted likewise.
  ///
  /// Compressed files (data/compressed.hpp) are decompressed when they are opened. Where they are large, that needs
  /// disk space for a scratch file, and no memory; crops and their history are read from there.
  ///
  /// Throws std::runtime_error that names the path if it is missing, unreadable, not a thing to read, or has no bytes.
  static Corpus open(const std::string& path) { return open_all({path}); }

  /// All of them, in the order given. `weights`, if there are any, tell for each path how often training draws its
  /// bytes, relative to their number: of bytes of weight 2 twice as often as of those of weight 1.
  ///
  /// Throws as `open`, and std::invalid_argument if there is no path, or weights are not one for each path and from
  /// 0.001 to 1000.
  static Corpus open_all(const std::vector<std::string>& paths, std::span<const double> weights = {});

  /// One text, which errors call by that name.
  static Corpus from_memory(std::vector<Byte> bytes, std::string name = "memory");

  /// The least weight of a path; the most is its inverse.
  static constexpr double kLeastWeight = 0.001;

  /// The number of bytes.
  std::uint64_t size() const { return end_ - begin_; }

  /// How many of the bytes are held in memory; the others stay in files and are read when they are needed.
  std::uint64_t bytes_in_memory() const;

  /// Bytes [begin, end) of a corpus.
  struct Range {
    std::uint64_t begin, end;  // places in the corpus
    bool operator==(const Range&) const = default;
  };

  /// Where each file's bytes stand in this corpus, in order; those of files that a slice leaves out are not there.
  std::vector<Range> files() const;

  /// The weight of each of `files`: see open_all. 1 if none was given.
  std::vector<double> weights() const;

  /// Paths of the files, in order. A slice names those of the whole.
  const std::vector<std::string>& sources() const { return pieces_->sources; }

  /// Why files or folders were left out, a message for each.
  const std::vector<std::string>& skipped() const { return pieces_->skipped; }

  /// What another program did to the first file that is not as it was when it was opened, slices or not; nothing if
  /// there is none. See files::InputFile::change. Cost: a system call for each large file.
  std::optional<std::string> change() const;

  /// Fills `out` with the bytes from `offset` on. Cost: a binary search among the pieces, then a copy or a system call
  /// for each piece that it touches. Throws std::out_of_range if they are not all there, and std::runtime_error if a
  /// file was shortened or cannot be read.
  void copy(std::uint64_t offset, std::span<Byte> out) const;

  /// The bytes [begin, end) as a corpus, without a copy. Throws std::out_of_range unless begin <= end <= size().
  Corpus slice(std::uint64_t begin, std::uint64_t end) const;

  /// Some parts of this corpus as one text, without a copy; each counts as a file. Throws std::out_of_range as `slice`.
  Corpus select(std::span<const Range> parts) const;

  /// Calls f(Bytes) for one run of bytes after the other: everything, in order. They are gone when f returns. Throws
  /// std::runtime_error as `copy`.
  template <class F>
  void for_each_span(F&& f) const {
    constexpr std::uint64_t kBuffer = std::uint64_t{1} << 20;
    std::vector<Byte> buffer;
    for_each_part(begin_, end_, [&](const detail::PieceData& data, std::uint64_t from, std::uint64_t count) {
      if (const Bytes memory = data.in_memory(); !memory.empty()) {
        f(memory.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(count)));
        return;
      }
      for (const std::uint64_t end = from + count; from < end; from += buffer.size()) {
        buffer.resize(static_cast<std::size_t>(std::min(kBuffer, end - from)));
        data.read(from, buffer);
        f(Bytes(buffer));
      }
    });
  }

 private:
  explicit Corpus(detail::Pieces pieces)
      : pieces_(std::make_shared<const detail::Pieces>(std::move(pieces))), end_(pieces_->size) {}

  static void check_weights(std::span<const double> weights, std::size_t paths);

  /// Calls f(number among the sources, range) for each file that has bytes here.
  template <class F>
  void for_each_file(F&& f) const {
    const auto& begins = pieces_->begins;
    for (std::size_t i = 0; i < begins.size(); ++i) {
      const std::uint64_t after = i + 1 < begins.size() ? begins[i + 1] : pieces_->size;
      const std::uint64_t begin = std::max(begins[i], begin_), end = std::min(after, end_);
      if (begin < end) f(i, Range{begin - begin_, end - begin_});
    }
  }

  /// Calls f(bytes of a piece, first, count) for positions of the whole, begin <= end.
  template <class F>
  void for_each_part(std::uint64_t begin, std::uint64_t end, F&& f) const {
    if (begin == end) return;
    const auto after = [](std::uint64_t position, const detail::Piece& piece) { return position < piece.start; };
    auto piece = std::upper_bound(pieces_->list.begin(), pieces_->list.end(), begin, after) - 1;
    for (; begin < end; ++piece) {
      const std::uint64_t first = begin - piece->start;
      const std::uint64_t count = std::min(piece->size - first, end - begin);
      f(piece->data, piece->from + first, count);
      begin += count;
    }
  }

  std::shared_ptr<const detail::Pieces> pieces_;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
};

/// Bits per byte of the best model that knows only how often each byte value occurs, -Σ p log2 p; 0 for no bytes.
double order0_entropy(const Corpus& corpus);

}  // namespace qllk::data

#ifndef QLLK_COMPILED
#include "qllk/data/corpus_impl.hpp"
#endif
