// What the benchmarks are measured against.
#pragma once

#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <algorithm>
#include <chrono>

namespace qllk::bench {

/// Most floating-point operations a second that one core has shown on independent multiply-adds in registers, measured once.
inline double peak_flops() {
  static const double peak = [] {
    using Packet = Eigen::internal::packet_traits<float>::type;
    constexpr int kChains = 10, kRounds = 2'000'000;  // enough chains to hide the latency of a multiply-add
    const Packet x = Eigen::internal::pset1<Packet>(0.999F), y = Eigen::internal::pset1<Packet>(0.001F);
    double best = 0;
    for (int attempt = 0; attempt < 5; ++attempt) {
      Packet sum[kChains];
      for (auto& chain : sum) chain = y;
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kRounds; ++i)
        for (auto& chain : sum) chain = Eigen::internal::pmadd(chain, x, y);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      for (auto& chain : sum) benchmark::DoNotOptimize(chain);
      constexpr double flop = 2.0 * kChains * kRounds * (sizeof(Packet) / sizeof(float));
      best = std::max(best, flop / seconds);
    }
    return best;
  }();
  return peak;
}

/// Counters of one benchmark: positions (bytes or patches) a second, and the share of peak that `flop` a position make.
inline void report(benchmark::State& state, double positions, double flop, int threads = 1) {
  const double total = static_cast<double>(state.iterations()) * positions;
  state.SetItemsProcessed(static_cast<std::int64_t>(total));
  state.counters["of_peak"] = benchmark::Counter(total * flop / (peak_flops() * threads), benchmark::Counter::kIsRate);
}

}  // namespace qllk::bench
