// What a byte costs as the context grows: a text is scored in chunks, its state carried from the first byte to the last.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cmath>
#include <map>

#include "flops.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/train/evaluate.hpp"
#include "roofline/roofline.hpp"
#include "text.hpp"

namespace {

using namespace qllk;

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
  const auto corpus = data::Corpus::from_memory(bench::words(static_cast<std::size_t>(length)));
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) benchmark::DoNotOptimize(train::evaluate(model, params, corpus));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  times[length] = elapsed.count() / static_cast<double>(state.iterations());
  bench::report_flop(state, static_cast<double>(length), bench::flop_of(model.config()));
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
