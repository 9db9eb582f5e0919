// What benchmarks are measured against, in the program that runs them.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>

#include "roofline/bandwidth.hpp"
#include "roofline/fma_peak.hpp"

namespace qllk::bench {

inline const Bandwidth& bandwidth() {
  static const Bandwidth measured(cores());
  return measured;
}

/// Of a benchmark that arithmetic bounds. Counters: positions (bytes or patches) a second, FLOP a second, and their
/// share of the FMA peak of as many threads. That is measured here, right after the benchmark: clocks move with load.
inline void report_flop(benchmark::State& state, double positions, double flop, int threads = 1) {
  using benchmark::Counter;
  const double total = static_cast<double>(state.iterations()) * positions;
  state.SetItemsProcessed(static_cast<std::int64_t>(total));
  state.counters["flop"] = Counter(total * flop, Counter::kIsRate);
  state.counters["of_peak"] = Counter(total * flop / fma_peak(std::min(threads, cores()), 3), Counter::kIsRate);
}

/// The same where iterations were timed one by one and the median is what counts, as for whole models: it is in
/// seconds.
inline void report_flop_of_median(benchmark::State& state, double positions, double flop, double seconds, int threads) {
  state.counters["median"] = seconds;
  state.counters["items_per_second"] = positions / seconds;
  state.counters["flop"] = positions * flop / seconds;
  state.counters["of_peak"] = positions * flop / seconds / fma_peak(std::min(threads, cores()), 3);
}

/// Of a benchmark that memory bounds, on one core. Counters: positions a second, bytes read and written a second, and
/// their share of the bandwidth at which a working set of that size is read. The label is the level that it fits in.
/// Caches that write while they read, or a working set of which a part fits a nearer level, may show more than the
/// whole.
inline void report_bytes(benchmark::State& state, double positions, double bytes, std::size_t working_set) {
  using benchmark::Counter;
  const double total = static_cast<double>(state.iterations()) * positions;
  state.SetItemsProcessed(static_cast<std::int64_t>(total));
  state.counters["moved"] = Counter(total * bytes, Counter::kIsRate);
  state.counters["of_bandwidth"] = Counter(total * bytes / bandwidth().at(working_set), Counter::kIsRate);
  state.SetLabel(bandwidth().level(working_set).name);
}

}  // namespace qllk::bench
