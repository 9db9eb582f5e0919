// What each line of a text costs, as lines of TSV.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "byte_bits.hpp"
#include "names.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/train/score.hpp"

namespace tool {

/// Text in one field of TSV, from which the bytes can be had back: \\, \t, \r, \n, and \xHH for other control
/// characters and what is not UTF-8.
inline std::string tsv_field(qllk::Bytes bytes) {
  std::string out(bytes.begin(), bytes.end());
  const bool text = is_utf8(out);
  out.clear();
  for (const qllk::Byte byte : bytes) {
    switch (byte) {
      case '\\':
        out += "\\\\";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\n':
        out += "\\n";
        break;
      default:
        if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !text))
          out += "\\x" + hex(std::string(1, static_cast<char>(byte)));
        else
          out += static_cast<char>(byte);
    }
  }
  return out;
}

/// "bits, bits per byte, number, text", the first two of the line with its line end, which the text is without.
inline std::string line_row(qllk::Bytes line, double bits, std::uint64_t number) {
  char begin[96];
  std::snprintf(begin, sizeof begin, "%.3f\t%.4f\t%llu\t", bits, bits / static_cast<double>(line.size()),
                static_cast<unsigned long long>(number));
  if (line.back() == '\n') line = line.first(line.size() - 1);
  return begin + tsv_field(line) + "\n";
}

/// Reads a text block by block and calls each_line(line) for one line after the other, with its line end; the last one
/// may have none. after_block(bytes so far) returns false to stop. Memory: a block and the longest line.
template <class EachLine, class AfterBlock>
void for_each_line(const qllk::data::Corpus& text, EachLine&& each_line, AfterBlock&& after_block) {
  constexpr std::uint64_t kBlock = std::uint64_t{1} << 16;
  std::vector<qllk::Byte> block, begun;
  for (std::uint64_t at = 0; at < text.size();) {
    block.resize(static_cast<std::size_t>(std::min(kBlock, text.size() - at)));
    text.copy(at, block);
    at += block.size();
    for (auto from = block.begin(); from != block.end();) {
      const auto end = std::find(from, block.end(), qllk::Byte{'\n'});
      begun.insert(begun.end(), from, end == block.end() ? end : end + 1);
      from = end == block.end() ? end : end + 1;
      if (end == block.end() && at < text.size()) break;  // it goes on in the next block
      each_line(std::exchange(begun, {}));
    }
    if (!after_block(at)) return;
  }
}

/// Scores lines in the order of the text, each given all lines before it.
template <class Model, class Params>
class CarriedLines {
 public:
  CarriedLines(const Model& model, const Params& params) : byte_bits_(model, params) {}

  /// Returns the costs of some lines.
  std::vector<double> operator()(const std::vector<std::vector<qllk::Byte>>& lines) {
    std::vector<double> costs;
    for (const auto& line : lines) costs.push_back(cost(byte_bits_, line, bits_));
    return costs;
  }

  static double cost(ByteBits<Model, Params>& byte_bits, qllk::Bytes line, std::vector<float>& bits) {
    bits.resize(line.size());
    byte_bits(line, bits);
    double sum = 0;
    for (const float each : bits) sum += static_cast<double>(each);
    return sum;
  }

 private:
  ByteBits<Model, Params> byte_bits_;
  std::vector<float> bits_;
};

/// Scores each line as if it were the whole text. Threads share the lines; the costs do not depend on their number.
template <class Model, class Params>
class FreshLines {
 public:
  FreshLines(const Model& model, const Params& params, int threads) : pool_(threads) {
    for (int i = 0; i < threads; ++i) workers_.push_back({ByteBits<Model, Params>(model, params), {}});
  }

  std::vector<double> operator()(const std::vector<std::vector<qllk::Byte>>& lines) {
    std::vector<double> costs(lines.size());
    pool_.run(static_cast<qllk::Index>(workers_.size()), [&](qllk::Index worker) {
      auto& [byte_bits, bits] = workers_[static_cast<std::size_t>(worker)];
      for (auto i = static_cast<std::size_t>(worker); i < lines.size(); i += workers_.size()) {
        byte_bits.restart();
        costs[i] = CarriedLines<Model, Params>::cost(byte_bits, lines[i], bits);
      }
    });
    return costs;
  }

 private:
  struct Worker {
    ByteBits<Model, Params> byte_bits;
    std::vector<float> bits;
  };
  qllk::ThreadPool pool_;
  std::vector<Worker> workers_;
};

/// Writes a row for each line by write(text), and returns the score of all of them. progress(score) returns false to
/// stop.
template <class Lines, class Write, class Progress>
qllk::train::Score score_lines(Lines&& scorer, const qllk::data::Corpus& text, Write&& write, Progress&& progress) {
  constexpr std::size_t kMostBytes = std::size_t{1} << 18, kMostLines = 512;
  std::vector<std::vector<qllk::Byte>> lines;
  std::size_t waiting = 0;
  std::uint64_t number = 0;
  qllk::train::Score score;
  bool stopped = false;
  const auto flush = [&] {
    const auto costs = scorer(lines);
    std::string rows;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      rows += line_row(lines[i], costs[i], ++number);
      score.bytes += lines[i].size();
      score.nats += costs[i] / qllk::nn::kBitsPerNat;
    }
    write(rows);
    lines.clear();
    waiting = 0;
    stopped = !progress(score);
  };
  for_each_line(
      text,
      [&](std::vector<qllk::Byte> line) {
        if (stopped) return;
        waiting += line.size();
        lines.push_back(std::move(line));
        if (waiting >= kMostBytes || lines.size() >= kMostLines) flush();
      },
      [&](std::uint64_t) { return !stopped; });
  if (!stopped && !lines.empty()) flush();
  return score;
}

}  // namespace tool
