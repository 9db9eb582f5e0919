// Texts: plain and compressed files, and what is cut from them.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "fuzz/input.hpp"
#include "qllk/data/batches.hpp"
#include "qllk/data/compressed.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/data/overlap.hpp"
#include "qllk/data/split.hpp"

namespace qllk::fuzz {

/// The first byte says which name the rest has, the next eight where it is cut.
struct Corpora {
  static std::vector<std::string> seeds() {
    const std::string cuts = "\3\1\4\1\5\x09\2\6";
    std::vector<std::string> seeds;
    // "some text of this and that\n", by gzip -9n, xz --check=crc32 and zstd
    const std::string packed[] = {
        std::string("\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\xce\xcf\x4d\x55\x28\x49\xad\x28\x51\xc8\x4f\x53\x28"
                    "\xc9\xc8\x2c\x56\x48\xcc\x4b\x01\x52\x89\x25\x5c\x00",
                    37),
        std::string("\xfd\x37zXZ\0\0\1", 8), std::string("\x28\xb5\x2f\xfd\x04\x00\x41\x00\x00text\n", 14)};
    for (std::size_t kind = 0; kind < 3; ++kind) seeds.push_back(static_cast<char>(kind + 1) + cuts + packed[kind]);
    std::string text = '\0' + cuts;
    for (int i = 0; i < 40; ++i) text += "line " + std::to_string(i * i) + "\n";
    seeds.push_back(text);
    return seeds;
  }

  static void run(Bytes input) {
    static InputPath path;
    data::read_compressed_files();
    Reader reader(input);
    static const char* const kExtensions[] = {"", ".gz", ".xz", ".zst"};
    const std::string extension = kExtensions[reader.take<Byte>() % 4];
    const auto a = reader.take<std::uint32_t>(), b = reader.take<std::uint32_t>();
    try {
      const auto corpus = data::Corpus::open(path.write(reader.rest(), extension));
      const auto all = contents(corpus);
      expect(all.size() == corpus.size() && !all.empty(), "another number of bytes");
      if (extension.empty()) expect(std::ranges::equal(all, reader.rest()), "other bytes");
      cut(corpus, all, a % corpus.size(), b % corpus.size());
    } catch (const RuntimeError& error) {
      expect(std::string(error.what()).find("input") != std::string::npos ||
                 std::string(error.what()).find("/fd/") != std::string::npos,
             "an error does not name the file");
    }
  }

 private:
  static std::vector<Byte> contents(const data::Corpus& corpus) {
    std::vector<Byte> all;
    corpus.for_each_span([&](Bytes bytes) { all.insert(all.end(), bytes.begin(), bytes.end()); });
    return all;
  }

  static void cut(const data::Corpus& corpus, const std::vector<Byte>& all, std::uint64_t a, std::uint64_t b) {
    const auto [begin, end] = std::minmax(a, b);
    const auto part = contents(corpus.slice(begin, end));
    expect(std::ranges::equal(part, Bytes(all).subspan(static_cast<std::size_t>(begin), part.size())) &&
               part.size() == end - begin,
           "a slice has other bytes");
    const data::Corpus::Range ranges[] = {{begin, end}, {0, begin}};
    expect(corpus.select(ranges).size() == end, "a selection has another size");
    std::vector<Byte> inputs(6), targets(6);
    try {
      data::RandomCrops(corpus, a).batch(b, 2, 3, inputs, targets);
      data::ConsecutiveSegments(corpus, a, 2, 3).batch(b, inputs, targets);
      expect(inputs[1] == targets[0] && inputs[4] == targets[3], "targets do not follow their inputs");
    } catch (const InvalidArgument&) {  // too short
    }
    try {
      const auto [training, validation] = data::split_tail(corpus, static_cast<double>(a % 100) / 100);
      expect(training.size() + validation.size() == corpus.size(), "bytes are lost in the split");
    } catch (const InvalidArgument&) {
    }
  }
};

}  // namespace qllk::fuzz
