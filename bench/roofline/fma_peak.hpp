// The most floating-point operations a second that this machine's cores do.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <utility>

#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "roofline/timing.hpp"

namespace qllk::bench {

using Packet = Eigen::internal::packet_traits<float>::type;
inline constexpr Index kPacket = static_cast<Index>(sizeof(Packet) / sizeof(float));

// The accumulator must be what the instruction overwrites, or NEON copies a register every time. Where a multiply-add
// is two instructions it must be a factor, or the product is the same in every round and is taken out of the loop.
#ifdef EIGEN_HAS_SINGLE_INSTRUCTION_MADD
inline constexpr bool kFused = true;
#else
inline constexpr bool kFused = false;
#endif

/// `rounds` of multiply-adds in each of sizeof...(I) independent chains; returns a value that depends on all of them.
/// No address of a chain is taken, and every index is a constant: compilers keep them in registers.
template <std::size_t... I>
float run_chains(Index rounds, float factor, float addend, std::index_sequence<I...>) {
  using Eigen::internal::padd, Eigen::internal::pmadd, Eigen::internal::pset1;
  const Packet x = pset1<Packet>(factor), y = pset1<Packet>(addend);
  Packet chain[sizeof...(I)] = {pset1<Packet>(factor + static_cast<float>(I))...};
#pragma GCC unroll 1
  for (Index i = 0; i < rounds; ++i) {
    if constexpr (kFused)
      ((chain[I] = pmadd(x, y, chain[I])), ...);
    else
      ((chain[I] = pmadd(chain[I], x, y)), ...);
  }
  Packet sum = pset1<Packet>(0.0F);
  ((sum = padd(sum, chain[I])), ...);
  return Eigen::internal::predux(sum);
}

/// FLOP/s of all threads at once with so many chains each.
template <std::size_t kChains>
double chains_rate(ThreadPool& pool, int attempts) {
  constexpr Index kRounds = 500'000;
  return rate_at_once(pool, 2.0 * kChains * kRounds * static_cast<double>(kPacket), attempts, [](Index) {
    volatile float factor = 0.5F, addend = 0.001F, sink;  // neither known before the clock starts nor unused after it
    sink = run_chains(kRounds, factor, addend, std::make_index_sequence<kChains>{});
    static_cast<void>(sink);
  });
}

/// FLOP/s of independent multiply-adds in registers, by `threads` threads at once. Few chains do not hide the latency,
/// many do not fit the registers; how many is best differs between processors, so that several numbers are tried.
inline double fma_peak(int threads, int attempts = 15) {
  ThreadPool pool(threads);
  double best = std::max(chains_rate<8>(pool, attempts), chains_rate<10>(pool, attempts));
  best = std::max({best, chains_rate<12>(pool, attempts), chains_rate<14>(pool, attempts)});
  if constexpr (EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32)
    best = std::max({best, chains_rate<16>(pool, attempts), chains_rate<24>(pool, attempts)});
  return best;
}

}  // namespace qllk::bench
