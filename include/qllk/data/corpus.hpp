// Text to learn from or to score, wherever it lies.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/io/input_file.hpp"

namespace qllk::data {

namespace detail {

struct Piece {
  std::uint64_t start;
  io::SharedBytes data;
};

/// Pieces in order, without gaps, none of them empty.
struct Pieces {
  std::vector<Piece> list;
  std::vector<std::string> sources;
  std::uint64_t size = 0;

  void append(io::SharedBytes data) {
    const std::uint64_t start = size;
    size += data.bytes.size();
    if (size != start) list.push_back({start, std::move(data)});
  }
};

/// Adds sources one after the other. Large files are mapped. Streams and small files are packed into blocks: a system
/// allows some 65,000 mappings, and each takes whole pages.
class PiecesBuilder {
 public:
  void add_file(const io::InputFile& file, bool one_of_many) {
    if (file.is_regular() && !(one_of_many && (file.size() < kSmallFile || mappings_ == kMostMappings))) {
      seal();
      pieces_.append(file.map());
      ++mappings_;
    } else {
      pack(file);
    }
    pieces_.sources.push_back(file.name());
  }

  std::uint64_t size() const { return pieces_.size + block_.size(); }

  Pieces finish() {
    seal();
    return std::move(pieces_);
  }

 private:
  static constexpr std::size_t kBlock = std::size_t{1} << 22;
  static constexpr std::size_t kStep = std::size_t{1} << 16;
  static constexpr std::uint64_t kSmallFile = std::uint64_t{1} << 16;
  static constexpr int kMostMappings = 1 << 15;

  void pack(const io::InputFile& file) {
    for (;;) {
      if (block_.size() >= kBlock) seal();
      const std::size_t begin = block_.size();
      block_.resize(begin + kStep);
      const std::size_t count = file.read(std::span(block_).subspan(begin));
      block_.resize(begin + count);
      if (count < kStep) return;
    }
  }

  void seal() {
    block_.shrink_to_fit();
    pieces_.append(io::SharedBytes::of(std::exchange(block_, {})));
  }

  Pieces pieces_;
  std::vector<Byte> block_;
  int mappings_ = 0;
};

inline void list_regular_files(const std::filesystem::path& folder, std::vector<std::string>& files) {
  std::error_code error, ignored;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file(ignored))
      files.push_back(entry->path().string());
    else if (entry->is_directory(ignored) && !entry->is_symlink(ignored))
      list_regular_files(entry->path(), files);
  }
  if (error) throw std::runtime_error("cannot read the folder '" + folder.string() + "': " + error.message());
}

}  // namespace detail

/// A read-only sequence of bytes: files, memory, or a part of another corpus.
///
/// Several files are one text, joined without a separator. A value: copies and slices share the bytes, and any number
/// of threads may read. Large regular files are mapped, so they need no memory of their own, but must not be shortened
/// while they are in use (see io::InputFile::map).
class Corpus {
 public:
  /// No bytes.
  Corpus() : pieces_(std::make_shared<const detail::Pieces>()) {}

  /// A file, a folder, or "-" for standard input, which is read to its end, as are pipes. Of a folder: the regular
  /// files in it and in its folders, sorted by the bytes of their paths, the same on every machine; empty files and
  /// links to folders are passed over.
  ///
  /// Throws std::runtime_error that names the path if it is missing, unreadable, not a thing to read, or has no bytes.
  static Corpus open(const std::string& path) { return open_all({path}); }

  /// All of them, in the order given. Throws as `open`, and std::invalid_argument if there is no path.
  static Corpus open_all(const std::vector<std::string>& paths) {
    if (paths.empty()) throw std::invalid_argument("Corpus: no paths, expected at least one");
    detail::PiecesBuilder builder;
    for (const std::string& path : paths) {
      const std::uint64_t before = builder.size();
      std::error_code ignored;
      const bool folder = path != "-" && std::filesystem::is_directory(path, ignored);
      if (folder) {
        std::vector<std::string> files;
        detail::list_regular_files(path, files);
        std::sort(files.begin(), files.end());  // std::string compares bytes as unsigned
        for (const std::string& file : files)
          if (const io::InputFile input(file); input.size() > 0) builder.add_file(input, files.size() > 1);
      } else {
        builder.add_file(path == "-" ? io::InputFile::standard_input() : io::InputFile(path), paths.size() > 1);
      }
      if (builder.size() == before && folder)
        throw std::runtime_error("the folder '" + path + "' is empty: no regular file in it has any bytes");
      if (builder.size() == before)
        throw std::runtime_error(path == "-" ? "standard input is empty" : "the file '" + path + "' is empty");
    }
    return Corpus(builder.finish());
  }

  static Corpus from_memory(std::vector<Byte> bytes, std::string name = "memory") {
    detail::Pieces pieces;
    pieces.append(io::SharedBytes::of(std::move(bytes)));
    pieces.sources.push_back(std::move(name));
    return Corpus(std::move(pieces));
  }

  std::uint64_t size() const { return end_ - begin_; }

  /// Paths of the files, in order. A slice names those of the whole.
  const std::vector<std::string>& sources() const { return pieces_->sources; }

  /// Fills `out` with the bytes from `offset` on. Cost: a binary search among the pieces, then plain copies.
  /// Throws std::out_of_range if they are not all there.
  void copy(std::uint64_t offset, std::span<Byte> out) const {
    if (offset > size() || out.size() > size() - offset)
      throw std::out_of_range("Corpus: bytes " + std::to_string(offset) + " + " + std::to_string(out.size()) +
                              " of a corpus of " + std::to_string(size()));
    for_each_span(begin_ + offset, begin_ + offset + out.size(), [&](Bytes bytes) {
      std::memcpy(out.data(), bytes.data(), bytes.size());
      out = out.subspan(bytes.size());
    });
  }

  /// The bytes [begin, end) as a corpus, without a copy. Throws std::out_of_range unless begin <= end <= size().
  Corpus slice(std::uint64_t begin, std::uint64_t end) const {
    if (begin > end || end > size())
      throw std::out_of_range("Corpus: slice [" + std::to_string(begin) + ", " + std::to_string(end) +
                              ") of a corpus of " + std::to_string(size()));
    Corpus part = *this;
    part.begin_ = begin_ + begin;
    part.end_ = begin_ + end;
    return part;
  }

  /// Calls f(Bytes) for each contiguous run of bytes, in order: everything, without a copy.
  template <class F>
  void for_each_span(F&& f) const {
    for_each_span(begin_, end_, f);
  }

 private:
  explicit Corpus(detail::Pieces pieces)
      : pieces_(std::make_shared<const detail::Pieces>(std::move(pieces))), end_(pieces_->size) {}

  /// Positions in the whole, begin <= end.
  template <class F>
  void for_each_span(std::uint64_t begin, std::uint64_t end, F&& f) const {
    if (begin == end) return;
    const auto after = [](std::uint64_t position, const detail::Piece& piece) { return position < piece.start; };
    auto piece = std::upper_bound(pieces_->list.begin(), pieces_->list.end(), begin, after) - 1;
    for (; begin < end; ++piece) {
      const auto first = static_cast<std::size_t>(begin - piece->start);
      const Bytes rest = piece->data.bytes.subspan(first);
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(rest.size(), end - begin));
      f(rest.first(count));
      begin += count;
    }
  }

  std::shared_ptr<const detail::Pieces> pieces_;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
};

/// Bits per byte of the best model that knows only how often each byte value occurs, -Σ p log2 p; 0 for no bytes.
inline double order0_entropy(const Corpus& corpus) {
  std::array<std::uint64_t, kByteValues> counts{};
  corpus.for_each_span([&](Bytes bytes) {
    for (const Byte byte : bytes) ++counts[byte];
  });
  double bits = 0;
  for (const std::uint64_t count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / static_cast<double>(corpus.size());
    bits -= p * std::log2(p);
  }
  return bits;
}

/// (training, validation): the last `fraction` of the corpus is for validation, the first ⌊size · (1 - fraction)⌋ bytes
/// for training. Throws std::invalid_argument unless 0 < fraction < 1 and both parts have bytes.
inline std::pair<Corpus, Corpus> split_tail(const Corpus& corpus, double fraction) {
  if (!(fraction > 0 && fraction < 1))
    throw std::invalid_argument("validation fraction is " + std::to_string(fraction) +
                                ", expected more than 0, less than 1");
  const auto training = static_cast<std::uint64_t>(static_cast<double>(corpus.size()) * (1 - fraction));
  if (training == 0 || training >= corpus.size())
    throw std::invalid_argument("a corpus of " + std::to_string(corpus.size()) + " bytes is too short to hold out " +
                                std::to_string(fraction) + " of it for validation: one part would be empty");
  return {corpus.slice(0, training), corpus.slice(training, corpus.size())};
}

}  // namespace qllk::data
