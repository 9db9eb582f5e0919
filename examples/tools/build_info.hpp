// What the compiler was told, for people who wonder why it is slow.
#pragma once

#include <string>
#include <vector>

namespace tool {

/// The widest vector instructions that this program was compiled for.
inline std::string instruction_set() {
#if defined(__AVX512F__)
  return "AVX-512";
#elif defined(__AVX2__) && defined(__FMA__)
  return "AVX2 with FMA";
#elif defined(__AVX__)
  return "AVX";
#elif defined(__SSE4_2__)
  return "SSE4.2";
#elif defined(__SSE2__)
  return "SSE2";
#elif defined(__ARM_FEATURE_SVE)
  return "SVE";
#elif defined(__ARM_NEON)
  return "NEON";
#else
  return "no vector instructions";
#endif
}

/// One line for each reason why this program is slower than it could be here.
inline std::vector<std::string> build_warnings() {
  std::vector<std::string> out;
#ifndef __OPTIMIZE__
  out.push_back("built without optimisation: training is tens of times slower; use a Release build");
#elif !defined(NDEBUG)
  out.push_back("built with assertions: training is slower; use a Release build");
#endif
#if defined(__x86_64__) && !(defined(__AVX2__) && defined(__FMA__))
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    out.push_back("built for " + instruction_set() + ", but this processor has AVX2: configure with -DQLLK_NATIVE=ON");
#endif
  return out;
}

}  // namespace tool
