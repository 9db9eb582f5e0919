// Modules that do little more than move memory, beside the bandwidth of the level that their working set fits in.
#include <benchmark/benchmark.h>

#include <unordered_set>

#include "qllk/core/threads.hpp"
#include "qllk/mixers/latent_scan.hpp"
#include "qllk/nn/byte_embedding.hpp"
#include "qllk/nn/contexts/ngrams.hpp"
#include "qllk/nn/feature_hashing.hpp"
#include "qllk/nn/layer_norm.hpp"
#include "qllk/nn/loss.hpp"
#include "roofline/roofline.hpp"
#include "text.hpp"

namespace {

using namespace qllk;
using M = Mat<float>;

constexpr Index kPositions = 1024;
const FlushDenormals flush;

/// Bytes of `columns` columns of `dim` floats.
double bytes_of(Index dim, double columns) { return static_cast<double>(dim) * columns * sizeof(float); }

/// Every position reads or writes so many columns, each of them once: they are the working set.
void report(benchmark::State& state, Index dim, double columns) {
  bench::report_bytes(state, kPositions, bytes_of(dim, columns),
                      static_cast<std::size_t>(bytes_of(dim, columns * kPositions)));
}

/// What all else is to be compared with: y = x + y.
void EigenAdd(benchmark::State& state) {
  const Index dim = state.range(0);
  const M x = M::Random(dim, kPositions);
  M y = M::Zero(dim, kPositions);
  for (auto _ : state) {
    y += x;
    benchmark::ClobberMemory();
  }
  bench::report_bytes(state, kPositions, bytes_of(dim, 3), static_cast<std::size_t>(bytes_of(dim, 2 * kPositions)));
}
BENCHMARK(EigenAdd)->Arg(128)->Arg(256);

void LayerNorm(benchmark::State& state, bool backward) {
  const Index dim = state.range(0);
  const nn::LayerNorm<float> norm({.dim = dim});
  Random source(1);
  const auto p = norm.init(source);
  auto g = norm.zeros();
  nn::LayerNorm<float>::Cache cache;
  const M x = M::Random(dim, kPositions), dy = M::Random(dim, kPositions);
  M y(dim, kPositions);
  norm.forward(p, x, cache, y);
  for (auto _ : state) {
    if (backward)
      norm.backward(p, x, cache, dy, g, y);
    else
      norm.forward(p, x, cache, y);
    benchmark::ClobberMemory();
  }
  report(state, dim, backward ? 3 : 2);
}
BENCHMARK_CAPTURE(LayerNorm, forward, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(LayerNorm, backward, true)->Arg(128)->Arg(256);

/// head_dim 1. Forward: q, k, v (and a) are read, S and y written; backward: those but y, and dy, are read, their
/// gradients written.
void Scan(benchmark::State& state, bool decays, bool backward) {
  const Index dim = state.range(0), heads = decays ? dim : 0;
  const mixers::LatentScan<float> scan(dim, 1);
  mixers::LatentScan<float>::Cache cache;
  mixers::LatentState<float> memory;
  scan.reset(memory, 2);
  const M q = M::Random(dim, kPositions), k = M::Random(dim, kPositions), v = M::Random(dim, kPositions);
  const M a = M::Constant(heads, decays ? kPositions : 0, 0.9F), dy = M::Random(dim, kPositions);
  M y(dim, kPositions), dq = y, dk = y, dv = y, da = a;
  const mixers::RecurrenceInputs<float> in{.q = q, .k = k, .v = v, .decay = a};
  scan.forward(in, memory, cache, y);
  for (auto _ : state) {
    scan.reset(memory, 2);
    if (backward)
      scan.backward(in, cache, dy, memory, {.q = dq, .k = dk, .v = dv, .decay = da});
    else
      scan.forward(in, memory, cache, y);
    benchmark::ClobberMemory();
  }
  report(state, dim, backward ? (decays ? 10 : 8) : (decays ? 6 : 5));
}
BENCHMARK_CAPTURE(Scan, cumsum_forward, false, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(Scan, cumsum_backward, false, true)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(Scan, decay_forward, true, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(Scan, decay_backward, true, true)->Arg(128)->Arg(256);

void ByteEmbedding(benchmark::State& state) {
  const Index dim = state.range(0);
  const nn::ByteEmbedding<float> embedding({.dim = dim});
  Random source(1);
  const auto p = embedding.init(source);
  nn::ByteEmbedding<float>::Cache cache;
  const auto bytes = bench::words(kPositions);
  M y(dim, kPositions);
  for (auto _ : state) {
    embedding.forward(p, bytes, cache, y);
    benchmark::ClobberMemory();
  }
  bench::report_bytes(state, kPositions, bytes_of(dim, 2),
                      static_cast<std::size_t>(bytes_of(dim, kPositions + kByteValues)));
}
BENCHMARK(ByteEmbedding)->Arg(128)->Arg(256);

/// Goes through a long text, so that rows are where they would be in training. The working set: all rows it touches.
void FeatureHashing(benchmark::State& state) {
  constexpr std::size_t kChunks = 256;
  const Index dim = 128, orders = 6;
  using Hashing = nn::FeatureHashing<float, nn::NgramContext>;
  const Hashing hashing(dim, nn::NgramContext({.orders = orders, .bits = static_cast<int>(state.range(0))}));
  Random source(1);
  const auto p = hashing.init(source);
  Hashing::State memory;
  Hashing::Cache cache;
  hashing.reset(memory, 1);
  nn::Noise none;
  const auto text = bench::words(kPositions * kChunks);
  M y = M::Zero(dim, kPositions);
  std::size_t chunk = 0;
  const auto forward = [&] {
    const auto bytes = Bytes(text).subspan(chunk * kPositions, kPositions);
    hashing.forward(p, bytes, memory, none, cache, y);
    chunk = (chunk + 1) % kChunks;
  };
  std::unordered_set<std::uint32_t> touched;
  for (std::size_t i = 0; i < kChunks; ++i) {
    forward();
    for (const auto entry : cache.rows) touched.insert(entry >> 1);
  }
  for (auto _ : state) {
    forward();
    benchmark::ClobberMemory();
  }
  bench::report_bytes(state, kPositions, bytes_of(dim, orders - 1 + 2),
                      static_cast<std::size_t>(bytes_of(dim, static_cast<double>(touched.size()))));
}
BENCHMARK(FeatureHashing)->Arg(12)->Arg(16);

/// Reads and writes every logit twice: the exponentials, then their scaling.
void CrossEntropy(benchmark::State& state) {
  const auto bytes = bench::words(kPositions);
  const M logits = M::Random(kByteValues, kPositions);
  M z = logits;
  for (auto _ : state) benchmark::DoNotOptimize(nn::softmax_cross_entropy<float>(bytes, z, 1.0F));
  bench::report_bytes(state, kPositions, bytes_of(kByteValues, 4),
                      static_cast<std::size_t>(bytes_of(kByteValues, kPositions)));
}
BENCHMARK(CrossEntropy);

}  // namespace
