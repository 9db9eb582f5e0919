// The machine's limits: FMA peak, and read bandwidth of every level of the memory, by one core and by all at once.
#include <benchmark/benchmark.h>

#include <string>

#include "roofline/roofline.hpp"

namespace {

using namespace qllk;

/// Time is that of one operation or byte at the best rate seen; there is nothing to repeat.
void show(benchmark::State& state, const char* unit, double rate) {
  for (auto _ : state) state.SetIterationTime(1 / rate);
  state.counters[unit] = rate;
}

void add(const std::string& name, const char* unit, double rate, const std::string& label = "") {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 show(state, unit, rate);
                                 state.SetLabel(label);
                               })
      ->UseManualTime()
      ->Iterations(1);
}

std::string kib(std::size_t bytes) { return std::to_string(bytes >> 10) + " KiB"; }

const bool registered = [] {
  add("FmaPeak/one_core", "flop", bench::fma_peak(1));
  add("FmaPeak/all_cores", "flop", bench::fma_peak(bench::cores()));
  for (const auto& level : bench::bandwidth().levels()) {
    const std::string label =
        (level.bytes > 0 ? "of " + kib(level.bytes) + ", " : std::string()) + "read at " + kib(level.measured_at);
    add("Read/" + level.name + "/one_core", "moved", level.core, label);
    add("Read/" + level.name + "/all_cores", "moved", level.all, label);
  }
  for (const auto& point : bench::bandwidth().curve())
    add("ReadCurve/" + std::to_string(point.bytes), "moved", point.rate, bench::bandwidth().level(point.bytes).name);
  return true;
}();

}  // namespace
