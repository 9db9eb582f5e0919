// Each module forward and backward, beside the raw Eigen products that it cannot do without.
#include <benchmark/benchmark.h>

#include "peak.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/nn/byte_embedding.hpp"
#include "qllk/nn/feature_hashing.hpp"
#include "qllk/nn/latent_kernel.hpp"
#include "qllk/nn/layer_norm.hpp"
#include "qllk/nn/linear.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/nn/mlp.hpp"

namespace {

using namespace qllk;
using M = Mat<float>;

constexpr Index kPositions = 1024;
const FlushDenormals flush;

M random(Index rows, Index cols) { return M::Random(rows, cols); }

std::vector<Byte> text() {
  Random source(1);
  std::vector<Byte> bytes(kPositions);
  for (auto& byte : bytes) byte = static_cast<Byte>(source.below(96));
  return bytes;
}

/// The products of one Linear, as plain Eigen: forward is one, backward two.
void EigenProduct(benchmark::State& state, bool backward) {
  const Index dim = state.range(0);
  const M w = random(dim, dim), x = random(dim, kPositions), dy = random(dim, kPositions);
  M y(dim, kPositions), dw(dim, dim), dx(dim, kPositions);
  for (auto _ : state) {
    if (backward) {
      dw.noalias() = dy * x.transpose();
      dx.noalias() = w.transpose() * dy;
    } else {
      y.noalias() = w * x;
    }
    benchmark::ClobberMemory();
  }
  bench::report(state, kPositions, static_cast<double>((backward ? 4 : 2) * dim * dim));
}
BENCHMARK_CAPTURE(EigenProduct, forward, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(EigenProduct, backward, true)->Arg(128)->Arg(256);

/// A module that maps [dim, n] to [dim, n]; `products` of its forward pass are dim × dim.
template <class Module>
void Columns(benchmark::State& state, const Module& module, Index dim, bool backward, double products) {
  Random source(1);
  const auto p = module.init(source);
  auto g = module.zeros();
  typename Module::Cache cache;
  const M x = random(dim, kPositions), dy = random(dim, kPositions);
  M y(dim, kPositions), dx(dim, kPositions);
  module.forward(p, x, cache, y);
  for (auto _ : state) {
    if (backward)
      module.backward(p, x, cache, dy, g, dx);
    else
      module.forward(p, x, cache, y);
    benchmark::ClobberMemory();
  }
  bench::report(state, kPositions, products * static_cast<double>((backward ? 4 : 2) * dim * dim));
}

void Linear(benchmark::State& state, bool backward) {
  const Index dim = state.range(0);
  Columns(state, nn::Linear<float>({dim, dim}), dim, backward, 1);
}
void LayerNorm(benchmark::State& state, bool backward) {
  const Index dim = state.range(0);
  Columns(state, nn::LayerNorm<float>({.dim = dim}), dim, backward, 0);
}
void Mlp(benchmark::State& state, bool backward) {
  const Index dim = state.range(0);
  Columns(state, nn::Mlp<float>({dim, 2 * dim}), dim, backward, 4);
}
BENCHMARK_CAPTURE(Linear, forward, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(Linear, backward, true)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(LayerNorm, forward, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(LayerNorm, backward, true)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(Mlp, forward, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(Mlp, backward, true)->Arg(128)->Arg(256);

void LatentKernel(benchmark::State& state, nn::Decay decay, bool backward) {
  const Index dim = state.range(0);
  const nn::LatentKernel<float> kernel(
      {.dim = dim, .head_dim = state.range(1), .decay = decay, .project = decay != nn::Decay::none});
  Random source(1);
  const auto p = kernel.init(source);
  auto g = kernel.zeros();
  nn::LatentKernel<float>::Cache cache;
  auto memory = kernel.initial_state(2);
  const M x = random(dim, kPositions), dy = random(dim, kPositions);
  M y(dim, kPositions), dx(dim, kPositions);
  kernel.forward(p, x, memory, cache, y);
  for (auto _ : state) {
    kernel.reset(memory, 2);
    if (backward)
      kernel.backward(p, x, cache, dy, memory, g, dx);
    else
      kernel.forward(p, x, memory, cache, y);
    benchmark::ClobberMemory();
  }
  const double products = decay == nn::Decay::none ? 4 : 5 + 1.0 / static_cast<double>(state.range(1));
  bench::report(state, kPositions, products * static_cast<double>((backward ? 4 : 2) * dim * dim));
}
BENCHMARK_CAPTURE(LatentKernel, cumsum_forward, nn::Decay::none, false)->Args({256, 1});
BENCHMARK_CAPTURE(LatentKernel, cumsum_backward, nn::Decay::none, true)->Args({256, 1});
BENCHMARK_CAPTURE(LatentKernel, decay_forward, nn::Decay::data_dependent, false)
    ->Args({128, 1})
    ->Args({128, 16})
    ->Args({256, 1})
    ->Args({256, 16})
    ->Args({256, 32});
BENCHMARK_CAPTURE(LatentKernel, decay_backward, nn::Decay::data_dependent, true)
    ->Args({128, 1})
    ->Args({128, 16})
    ->Args({256, 1})
    ->Args({256, 16})
    ->Args({256, 32});

void ByteEmbedding(benchmark::State& state) {
  const nn::ByteEmbedding<float> embedding({.dim = state.range(0)});
  Random source(1);
  const auto p = embedding.init(source);
  nn::ByteEmbedding<float>::Cache cache;
  const auto bytes = text();
  M y(state.range(0), kPositions);
  for (auto _ : state) {
    embedding.forward(p, bytes, cache, y);
    benchmark::ClobberMemory();
  }
  bench::report(state, kPositions, 0);
}
BENCHMARK(ByteEmbedding)->Arg(128);

void FeatureHashing(benchmark::State& state) {
  const nn::FeatureHashing<float> hashing(
      {.dim = state.range(0), .orders = 6, .bits = static_cast<int>(state.range(1))});
  Random source(1);
  const auto p = hashing.init(source);
  nn::FeatureHashing<float>::State memory;
  nn::FeatureHashing<float>::Cache cache;
  hashing.reset(memory, 1);
  nn::Noise none;
  const auto bytes = text();
  M y = M::Zero(state.range(0), kPositions);
  for (auto _ : state) {
    hashing.forward(p, bytes, 1, memory, none, cache, y);
    benchmark::ClobberMemory();
  }
  bench::report(state, kPositions, 0);
}
BENCHMARK(FeatureHashing)->Args({128, 12})->Args({128, 16})->Args({128, 18});

void CrossEntropy(benchmark::State& state) {
  const auto bytes = text();
  const M logits = random(kByteValues, kPositions);
  M z = logits;
  for (auto _ : state) {
    z = logits;
    benchmark::DoNotOptimize(nn::softmax_cross_entropy<float>(bytes, z, 1.0F));
  }
  bench::report(state, kPositions, 0);
}
BENCHMARK(CrossEntropy);

}  // namespace
