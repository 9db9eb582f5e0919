// How Corpus finds its bytes. Include qllk/data/corpus.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/data/pieces.hpp"
#include "qllk/files/input_file.hpp"

namespace qllk::data {

QLLK_INLINE Corpus Corpus::open_all(const std::vector<std::string>& paths, std::span<const double> weights) {
  if (paths.empty()) throw InvalidArgument("Corpus: no paths, expected at least one");
  check_weights(weights, paths.size());
  detail::PiecesBuilder builder;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    if (!weights.empty()) builder.set_weight(weights[i]);
    for (const std::string& path : detail::expand(paths[i])) detail::add_path(builder, path);
  }
  return Corpus(builder.finish());
}

QLLK_INLINE Corpus Corpus::from_memory(std::vector<Byte> bytes, std::string name) {
  detail::Pieces pieces;
  pieces.append(files::StoredBytes(files::SharedBytes::of(std::move(bytes))));
  pieces.sources.push_back(std::move(name));
  pieces.begins.push_back(0);
  pieces.weights.push_back(1);
  return Corpus(std::move(pieces));
}

QLLK_INLINE std::uint64_t Corpus::bytes_in_memory() const {
  std::uint64_t bytes = 0;
  for_each_part(begin_, end_, [&](const detail::PieceData& data, std::uint64_t, std::uint64_t count) {
    if (!data.in_memory().empty()) bytes += count;
  });
  return bytes;
}

QLLK_INLINE std::vector<Corpus::Range> Corpus::files() const {
  std::vector<Range> files;
  for_each_file([&](std::size_t, Range range) { files.push_back(range); });
  return files;
}

QLLK_INLINE std::vector<double> Corpus::weights() const {
  std::vector<double> weights;
  for_each_file([&](std::size_t file, Range) { weights.push_back(pieces_->weights[file]); });
  return weights;
}

QLLK_INLINE std::optional<std::string> Corpus::change() const {
  for (const detail::Piece& piece : pieces_->list)
    if (auto what = piece.data.change()) return what;
  return std::nullopt;
}

QLLK_INLINE void Corpus::copy(std::uint64_t offset, std::span<Byte> out) const {
  if (offset > size() || out.size() > size() - offset)
    throw OutOfRange("Corpus: bytes " + std::to_string(offset) + " + " + std::to_string(out.size()) +
                     " of a corpus of " + std::to_string(size()));
  for_each_part(begin_ + offset, begin_ + offset + out.size(),
                [&](const detail::PieceData& data, std::uint64_t from, std::uint64_t count) {
                  data.read(from, out.first(static_cast<std::size_t>(count)));
                  out = out.subspan(static_cast<std::size_t>(count));
                });
}

QLLK_INLINE Corpus Corpus::slice(std::uint64_t begin, std::uint64_t end) const {
  if (begin > end || end > size())
    throw OutOfRange("Corpus: slice [" + std::to_string(begin) + ", " + std::to_string(end) + ") of a corpus of " +
                     std::to_string(size()));
  Corpus part = *this;
  part.begin_ = begin_ + begin;
  part.end_ = begin_ + end;
  return part;
}

QLLK_INLINE Corpus Corpus::select(std::span<const Range> parts) const {
  detail::Pieces selected;
  for (const auto [begin, end] : parts) {
    const Corpus part = slice(begin, end);
    if (part.size() == 0) continue;
    const auto& begins = pieces_->begins;
    const auto file = std::upper_bound(begins.begin(), begins.end(), part.begin_) - begins.begin() - 1;
    selected.sources.push_back(pieces_->sources[static_cast<std::size_t>(file)]);
    selected.weights.push_back(pieces_->weights[static_cast<std::size_t>(file)]);
    selected.begins.push_back(selected.size);
    part.for_each_part(part.begin_, part.end_,
                       [&](const detail::PieceData& data, std::uint64_t from, std::uint64_t count) {
                         selected.append(data, from, count);
                       });
  }
  selected.skipped = pieces_->skipped;
  return Corpus(std::move(selected));
}

QLLK_INLINE void Corpus::check_weights(std::span<const double> weights, std::size_t paths) {
  if (!weights.empty() && weights.size() != paths)
    throw InvalidArgument("Corpus: " + std::to_string(weights.size()) + " weights for " + std::to_string(paths) +
                          " paths, expected one for each");
  for (const double weight : weights)
    if (!(weight >= kLeastWeight && weight <= 1 / kLeastWeight))
      throw InvalidArgument("Corpus: a weight is " + std::to_string(weight) + ", expected 0.001 to 1000");
}

QLLK_INLINE double order0_entropy(const Corpus& corpus) {
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

}  // namespace qllk::data
