// Modules made of matrix products, forward and backward, beside the raw Eigen products.
#include <benchmark/benchmark.h>

#include <string>

#include "flops.hpp"
#include "qllk/core/concepts.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/mixers/latent_kernel.hpp"
#include "qllk/mixers/registry.hpp"
#include "qllk/nn/linear.hpp"
#include "qllk/nn/mlp.hpp"
#include "roofline/roofline.hpp"

namespace {

using namespace qllk;
using M = Mat<float>;

constexpr Index kPositions = 1024;
const FlushDenormals flush;

M random(Index rows, Index cols) { return M::Random(rows, cols); }

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
  bench::report_flop(state, kPositions, (backward ? 2 : 1) * bench::linear_flop(dim, dim));
}
BENCHMARK_CAPTURE(EigenProduct, forward, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(EigenProduct, backward, true)->Arg(128)->Arg(256);

/// A module that maps [dim, n] to [dim, n] with `flop` operations a position forward; twice as many backward, which may
/// use up what forward left.
template <class Module>
void Columns(benchmark::State& state, const Module& module, Index dim, bool backward, double flop) {
  Random source(1);
  const auto p = module.init(source);
  auto g = module.zeros();
  typename Module::Cache cache;
  const M x = random(dim, kPositions), dy = random(dim, kPositions);
  M y(dim, kPositions), dx(dim, kPositions);
  for (auto _ : state) {
    module.forward(p, x, cache, y);
    if (backward) module.backward(p, x, cache, dy, g, dx);
    benchmark::ClobberMemory();
  }
  bench::report_flop(state, kPositions, (backward ? 3 : 1) * flop);
}

void Linear(benchmark::State& state, bool backward) {
  const Index dim = state.range(0);
  Columns(state, nn::Linear<float>({dim, dim}), dim, backward, bench::linear_flop(dim, dim));
}
void Mlp(benchmark::State& state, bool backward) {
  const Index dim = state.range(0);
  Columns(state, nn::Mlp<float>({dim, 2 * dim}), dim, backward, 2 * bench::linear_flop(dim, 2 * dim));
}
BENCHMARK_CAPTURE(Linear, forward, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(Linear, training, true)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(Mlp, forward, false)->Arg(128)->Arg(256);
BENCHMARK_CAPTURE(Mlp, training, true)->Arg(128)->Arg(256);

/// Forward, and with `backward` a training pass, of two sequences.
template <SequenceMixer Mixer>
void run(benchmark::State& state, const Mixer& mixer, Index dim, bool backward) {
  Random source(1);
  const auto p = mixer.init(source);
  auto g = mixer.zeros();
  typename Mixer::Cache cache;
  auto memory = mixer.initial_state(2);
  const M x = random(dim, kPositions), dy = random(dim, kPositions);
  M y(dim, kPositions), dx(dim, kPositions);
  for (auto _ : state) {
    mixer.reset(memory, 2);
    mixer.forward(p, x, memory, cache, y);
    if (backward) mixer.backward(p, x, cache, dy, memory, g, dx);  // which uses up what forward left
    benchmark::ClobberMemory();
  }
  bench::report_flop(state, kPositions, (backward ? 3 : 1) * mixer.flop());
}

void LatentKernel(benchmark::State& state, mixers::Decay decay, bool backward) {
  const mixers::LatentKernel<float> kernel(
      {.dim = state.range(0), .head_dim = state.range(1), .decay = decay, .project = decay != mixers::Decay::none});
  run(state, kernel, state.range(0), backward);
}
BENCHMARK_CAPTURE(LatentKernel, cumsum_forward, mixers::Decay::none, false)->Args({256, 1});
BENCHMARK_CAPTURE(LatentKernel, cumsum_training, mixers::Decay::none, true)->Args({256, 1});
BENCHMARK_CAPTURE(LatentKernel, decay_forward, mixers::Decay::data_dependent, false)
    ->Args({128, 1})
    ->Args({128, 16})
    ->Args({256, 1})
    ->Args({256, 16})
    ->Args({256, 32});
BENCHMARK_CAPTURE(LatentKernel, decay_training, mixers::Decay::data_dependent, true)
    ->Args({128, 1})
    ->Args({128, 16})
    ->Args({256, 1})
    ->Args({256, 16})
    ->Args({256, 32});

/// Every mixer of the registry as it is recommended.
const bool registered = [] {
  using Any = mixers::Registered<float>;
  for (const auto name : Any::names)
    for (const bool backward : {false, true})
      benchmark::RegisterBenchmark(("Mixer/" + std::string(name) + (backward ? "_training" : "_forward")).c_str(),
                                   [name, backward](benchmark::State& state) {
                                     const Index dim = state.range(0);
                                     run(state, Any(with_dim(Any::Config::named(name), dim)), dim, backward);
                                   })
          ->Arg(128)
          ->Arg(256);
  return true;
}();

}  // namespace
