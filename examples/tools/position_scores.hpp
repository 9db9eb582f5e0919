// What bytes cost by their position: what a model makes of the context that it has.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "byte_bits.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/train/score.hpp"

namespace tool {

/// Bytes with 2^i to 2^(i+1) - 1 bytes of their document before them; the very first byte is with the second.
struct PositionScore {
  std::uint64_t bytes = 0;
  double fresh = 0, carried = 0;  // bits: given the document so far, given the whole text so far
};

/// Cuts a text into documents of `document` bytes and scores each byte twice: given its document so far, and given all
/// of the text before it. The first document, where both are the same, is left out, as are bytes after the last whole
/// document. So both scores of a row are of the same bytes. progress(score) returns false to stop.
///
/// Cost     two forward passes, by one thread
/// Errors   std::invalid_argument if the text has fewer than two documents
template <class Model, class Params, class Progress>
std::vector<PositionScore> score_positions(const Model& model, const Params& params, const qllk::data::Corpus& text,
                                           std::uint64_t document, Progress&& progress) {
  constexpr std::uint64_t kBlock = 1 << 14;
  const auto row = [](std::uint64_t before) { return static_cast<std::size_t>(std::bit_width(before | 1)) - 1; };
  if (text.size() / document < 2)
    throw std::invalid_argument("--positions cuts the text into documents of " + std::to_string(document) +
                                " bytes, but it has " + std::to_string(text.size()) +
                                ": give at least twice as much text, or a smaller number");
  std::vector<PositionScore> scores(row(document - 1) + 1);
  ByteBits<Model, Params> fresh(model, params), carried(model, params);
  std::vector<qllk::Byte> bytes;
  std::vector<float> bits, carried_bits;
  qllk::train::Score so_far;
  for (std::uint64_t begin = 0; begin + document <= text.size(); begin += document) {
    fresh.restart();
    for (std::uint64_t at = 0; at < document; at += bytes.size()) {
      bytes.resize(static_cast<std::size_t>(std::min(kBlock, document - at)));
      bits.resize(bytes.size()), carried_bits.resize(bytes.size());
      text.copy(begin + at, bytes);
      carried(bytes, carried_bits);
      if (begin > 0) fresh(bytes, bits);
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        so_far.nats += static_cast<double>(carried_bits[i]) / qllk::nn::kBitsPerNat;
        if (begin == 0) continue;
        PositionScore& score = scores[row(at + i)];
        ++score.bytes;
        score.fresh += static_cast<double>(bits[i]), score.carried += static_cast<double>(carried_bits[i]);
      }
      so_far.bytes += bytes.size();
      if (!progress(std::as_const(so_far))) return {};
    }
  }
  return scores;
}

/// Lines "fresh" or "carried", bytes of the document before (the least of the row), bits per byte.
inline std::string position_rows(const std::vector<PositionScore>& scores) {
  std::string rows;
  for (const auto& [name, member] :
       {std::pair("fresh", &PositionScore::fresh), std::pair("carried", &PositionScore::carried)})
    for (std::size_t i = 0; i < scores.size(); ++i) {
      char row[64];
      std::snprintf(row, sizeof row, "%s\t%llu\t%.4f\n", name, 1ULL << i,
                    scores[i].*member / static_cast<double>(scores[i].bytes));
      rows += row;
    }
  return rows;
}

}  // namespace tool
