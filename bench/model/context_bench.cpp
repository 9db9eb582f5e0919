// What a byte costs as the context grows: a text is scored in chunks, the state carried from first to last.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "flops.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/nn/loss.hpp"
#include "roofline/roofline.hpp"
#include "text.hpp"

namespace {

using namespace qllk;

constexpr Index kChunk = 512;
const FlushDenormals flush;

/// Slope of the least-squares line through (log length, log time): 1 is linear, 2 quadratic.
double slope(const std::map<Index, double>& times) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (const auto& [length, seconds] : times) {
    const double u = std::log(static_cast<double>(length)), v = std::log(seconds);
    n += 1, x += u, y += v, xx += u * u, xy += u * v;
  }
  return (n * xy - x * y) / (n * xx - x * x);
}

/// Small models, so that 4 MiB take seconds: what is asked is how cost grows, not what it is.
QLLKClassic<float>::Config small(const QLLKClassic<float>&) { return {.dim = 64, .layers = 2}; }
QLLKTransformer<float>::Config small(const QLLKTransformer<float>&) {
  return {.dim_local = 32, .dim = 64, .encoder = 1, .layers = 2, .decoder = 1, .orders = 4, .bits = 12};
}

/// Counters: bytes a second, FLOP a second and share of peak; from the second length on, the slope so far.
template <class Model>
void Context(benchmark::State& state) {
  static const Model model(small(Model(typename Model::Config{})));
  static const auto params = [] {
    Random random(1);
    return model.init(random);
  }();
  static std::map<Index, double> times;
  const Index length = state.range(0);
  const auto text = bench::words(static_cast<std::size_t>(length) + 1);
  static typename Model::State memory;  // kept, as are their pages: what is measured is the streaming
  static typename Model::Cache cache;
  static Mat<float> logits;
  const auto stream = [&](Index end) {
    double nats = 0;
    model.reset(memory, 1);
    for (Index at = 0; at < end; at += kChunk) {
      const auto begin = static_cast<std::size_t>(at), size = static_cast<std::size_t>(std::min(kChunk, end - at));
      model.forward(params, Bytes(text).subspan(begin, size), memory, cache, logits);
      nats += nn::cross_entropy<float>(Bytes(text).subspan(begin + 1, size), logits);
    }
    return nats;
  };
  stream(std::min(kChunk, length));
  const double start = bench::thread_seconds();
  for (auto _ : state) benchmark::DoNotOptimize(stream(length));
  times[length] = (bench::thread_seconds() - start) / static_cast<double>(state.iterations());
  bench::report_flop(state, static_cast<double>(length), model.flop());
  if (times.size() > 1) state.counters["slope"] = slope(times);
}
BENCHMARK(Context<QLLKClassic<float>>)
    ->Name("ContextClassic")
    ->RangeMultiplier(4)
    ->Range(1 << 10, 4 << 20)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(Context<QLLKTransformer<float>>)
    ->Name("ContextDefault")
    ->RangeMultiplier(4)
    ->Range(1 << 10, 4 << 20)
    ->Unit(benchmark::kMillisecond);

}  // namespace
