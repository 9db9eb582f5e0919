// The main function of every benchmark program: JSON output says how it was compiled and what it was measured against.
#include <benchmark/benchmark.h>

#include <string>

#include "roofline/roofline.hpp"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("compiler", QLLK_BENCH_COMPILER);
  benchmark::AddCustomContext("flags", QLLK_BENCH_FLAGS);
  benchmark::AddCustomContext("cores", std::to_string(qllk::bench::cores()));
  benchmark::AddCustomContext("fma_peak_core", std::to_string(qllk::bench::fma_peak(1)));
  benchmark::AddCustomContext("fma_peak_all", std::to_string(qllk::bench::fma_peak(qllk::bench::cores())));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
