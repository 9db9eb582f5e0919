// Streams made to be slow, beside text: the default model's time a byte must not depend on what it reads.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/model/transformer.hpp"
#include "roofline/roofline.hpp"
#include "text.hpp"

namespace {

using namespace qllk;

constexpr std::size_t kBytes = 1 << 17, kChunk = 4096;
const FlushDenormals flush;

std::vector<Byte> random_bytes(std::size_t size) {
  Random random(2);
  std::vector<Byte> out(size);
  for (auto& byte : out) byte = static_cast<Byte>(random.bits());
  return out;
}

/// A de Bruijn sequence: every pair of bytes once in 65,536, so that no match is longer than it must be.
std::vector<Byte> pairs_once(std::size_t size) {
  std::vector<Byte> out;
  while (out.size() < size)
    for (int a = 0; a < 256; ++a) {  // the Lyndon words of length 1 and 2, in order
      out.push_back(static_cast<Byte>(a));
      for (int b = a + 1; b < 256; ++b) out.insert(out.end(), {static_cast<Byte>(a), static_cast<Byte>(b)});
    }
  out.resize(size);
  return out;
}

/// A random block again and again, with another byte now and then: pointers fail, and every comparison is a long one.
std::vector<Byte> broken_repetition(std::size_t size) {
  const std::vector<Byte> block = random_bytes(1024);
  std::vector<Byte> out;
  while (out.size() < size) out.insert(out.end(), block.begin(), block.end());
  out.resize(size);
  for (std::size_t i = 0; i < size; i += 50) out[i] = static_cast<Byte>(i * 167 >> 5);
  return out;
}

double seconds(const QLLKTransformer<float>& model, const QLLKTransformer<float>::Params& params,
               const std::vector<Byte>& text) {
  QLLKTransformer<float>::Cache cache;
  auto state = model.initial_state(1);
  Mat<float> logits;
  return bench::seconds_of([&] {
    for (std::size_t at = 0; at < text.size(); at += kChunk)
      model.forward(params, Bytes(text).subspan(at, std::min(kChunk, text.size() - at)), state, cache, logits);
  });
}

/// In turn with text; of_text is the ratio of the medians.
void Stream(benchmark::State& state, std::vector<Byte> (*make)(std::size_t)) {
  static const QLLKTransformer<float> model{{}};
  static const QLLKTransformer<float>::Params params = [] {
    Random random(1);
    auto p = model.init(random);
    fill_normal(p.hashing.table, 0.1, random);  // rows that were trained, in memory of their own
    return p;
  }();
  static const std::vector<Byte> text = bench::words(kBytes);
  const std::vector<Byte> stream = make(kBytes);
  std::vector<double> streams, texts;
  for (auto _ : state) {
    texts.push_back(seconds(model, params, text));
    streams.push_back(seconds(model, params, stream));
    state.SetIterationTime(streams.back());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kBytes));
  state.counters["of_text"] = bench::median(streams) / bench::median(texts);
}
BENCHMARK_CAPTURE(Stream, one_byte, [](std::size_t size) {
  return std::vector<Byte>(size, Byte{'a'});
})->UseManualTime();
BENCHMARK_CAPTURE(Stream, random, random_bytes)->UseManualTime();
BENCHMARK_CAPTURE(Stream, pairs_once, pairs_once)->UseManualTime();
BENCHMARK_CAPTURE(Stream, broken_repetition, broken_repetition)->UseManualTime();

}  // namespace
