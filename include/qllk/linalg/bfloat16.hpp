// Pairs of bfloat16 values, and sums of their products in float.
#pragma once

#include <Eigen/Core>
#include <bit>
#include <cmath>
#include <cstdint>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#include <arm_neon.h>
#endif

#include "qllk/core/types.hpp"

namespace qllk::linalg {

/// Whether this program was compiled for processors that multiply pairs of bfloat16 values, at twice their rate for
/// float.
#if defined(__AVX512BF16__) || defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
inline constexpr bool kHasBFloat16Products = true;
#else
inline constexpr bool kHasBFloat16Products = false;
#endif

/// Whether products are those of x86's instruction to the bit, as everywhere but on Arm's: that adds both products of a
/// pair before it rounds.
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
inline constexpr bool kExactBFloat16Products = false;
#else
inline constexpr bool kExactBFloat16Products = true;
#endif

/// The upper half of a float, rounded to nearest, ties to even. Denormals become zero and NaN stays NaN, as in x86's
/// VCVTNEPS2BF16.
inline std::uint16_t bfloat16_bits(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t exponent = bits & 0x7F800000u, mantissa = bits & 0x007FFFFFu;
  if (exponent == 0) return static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  if (exponent == 0x7F800000u && mantissa != 0) return static_cast<std::uint16_t>(bits >> 16 | 0x0040u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

/// The value that bits stand for.
inline float bfloat16_value(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

namespace detail {

/// Two bfloat16 values, the even one in the low half, in the memory of one float: moved as one, never computed with as
/// one.
using PairBits = float;

inline PairBits pair_of(float even, float odd) {
  return std::bit_cast<PairBits>(std::uint32_t{bfloat16_bits(even)} | std::uint32_t{bfloat16_bits(odd)} << 16);
}

#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
inline constexpr Index kPairLanes = 4;
#else
inline constexpr Index kPairLanes = 16;
#endif

#if defined(__AVX512BF16__)

/// Sums side by side, one for each row of a tile.
using PairSums = __m512;
/// As many pairs.
using PairRow = __m512bh;

inline PairSums no_sums() { return _mm512_setzero_ps(); }
inline PairRow load_pairs(const PairBits* a) { return std::bit_cast<PairRow>(_mm512_loadu_ps(a)); }
inline void multiply_add(PairSums& sums, const PairRow& a, PairBits b) {
  sums = _mm512_dpbf16_ps(sums, a, std::bit_cast<PairRow>(_mm512_set1_ps(b)));
}
inline void add_sums(const PairSums& sums, const float* start, float* c) {
  _mm512_storeu_ps(c, _mm512_add_ps(_mm512_loadu_ps(start), sums));
}

#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)

using PairSums = float32x4_t;
using PairRow = bfloat16x8_t;

inline PairSums no_sums() { return vdupq_n_f32(0); }
inline PairRow load_pairs(const PairBits* a) { return vreinterpretq_bf16_f32(vld1q_f32(a)); }
inline void multiply_add(PairSums& sums, const PairRow& a, PairBits b) {
  sums = vbfdotq_f32(sums, a, vreinterpretq_bf16_f32(vdupq_n_f32(b)));
}
inline void add_sums(const PairSums& sums, const float* start, float* c) {
  vst1q_f32(c, vaddq_f32(vld1q_f32(start), sums));
}

#else

struct PairSums {
  float value[kPairLanes];
};
using PairRow = const PairBits*;

inline PairSums no_sums() { return {}; }
inline PairRow load_pairs(const PairBits* a) { return a; }

/// sum = (sum + odd·odd) + even·even: two fused multiply-adds, rounded to nearest even, denormals flushed. That is
/// what x86's VDPBF16PS computes. This form equals it bit for bit in a thread whose denormals are flushed.
inline void multiply_add(PairSums& sums, PairRow a, PairBits b) {
  const auto b_bits = std::bit_cast<std::uint32_t>(b);
  const float b_odd = std::bit_cast<float>(b_bits & 0xFFFF0000u), b_even = std::bit_cast<float>(b_bits << 16);
  for (Index i = 0; i < kPairLanes; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(a[i]);
    const float odd = std::bit_cast<float>(bits & 0xFFFF0000u), even = std::bit_cast<float>(bits << 16);
    sums.value[i] = std::fma(even, b_even, std::fma(odd, b_odd, sums.value[i]));
  }
}
inline void add_sums(const PairSums& sums, const float* start, float* c) {
  for (Index i = 0; i < kPairLanes; ++i) c[i] = start[i] + sums.value[i];
}

#endif

/// out[i] = (even[i], odd[i])
inline void interleave(const float* even, const float* odd, Index size, PairBits* out) {
  Index i = 0;
#if defined(__AVX512BF16__)
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  for (; i + 16 <= size; i += 16) {
    const auto halves = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(odd + i), _mm512_loadu_ps(even + i));
    _mm512_storeu_si512(out + i, _mm512_permutexvar_epi16(order, std::bit_cast<__m512i>(halves)));
  }
#endif
  for (; i < size; ++i) out[i] = pair_of(even[i], odd[i]);
}

/// out[i] = (x[2i], x[2i + 1]), of (size + 1) / 2 pairs. Zero stands for a last value that is missing.
inline void pair_up(const float* x, Index size, PairBits* out) {
  Index i = 0;
#if defined(__AVX512BF16__)
  for (; i + 32 <= size; i += 32) {
    const auto halves = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    _mm512_storeu_ps(out + i / 2, std::bit_cast<__m512>(halves));
  }
#endif
  for (; i < size; i += 2) out[i / 2] = pair_of(x[i], i + 1 < size ? x[i + 1] : 0.f);
}

}  // namespace detail
}  // namespace qllk::linalg
