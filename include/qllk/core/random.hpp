// Random numbers that are the same on every compiler and machine.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "qllk/core/types.hpp"

namespace qllk::inline QLLK_ISA {

/// One round of splitmix64: a bijection of 64-bit words that scatters close inputs.
/// Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", fig. 16.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// xoshiro256**: 32 bytes of state, a value type. Copy it to fork a stream, save `state()` to resume one.
/// Source: Blackman and Vigna 2021, "Scrambled linear pseudorandom number generators".
class Random {
 public:
  /// All there is to know of a stream of numbers.
  using State = std::array<std::uint64_t, 4>;

  /// The stream of that seed.
  explicit constexpr Random(std::uint64_t seed) {
    for (auto& word : state_) word = seed = mix64(seed);
  }
  /// Goes on where `state()` was taken.
  explicit constexpr Random(const State& state) : state_(state) {}

  /// A stream of its own for each of several numbers, e.g. (seed, step, shard).
  template <class... Numbers>
  static constexpr Random of(Numbers... numbers) {
    std::uint64_t key = 0;
    ((key = mix64(key ^ static_cast<std::uint64_t>(numbers))), ...);
    return Random(key);
  }

  /// 64 random bits.
  constexpr std::uint64_t bits() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in [0, 1), 53 bits.
  constexpr double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

  /// Uniform in [0, bound); bound > 0. Without bias: the few words past the last whole multiple are drawn again.
  constexpr std::uint64_t below(std::uint64_t bound) {
    const std::uint64_t excess = (0 - bound) % bound;
    for (;;)
      if (const std::uint64_t word = bits(); word >= excess) return word % bound;
  }

  /// Standard normal to the eye (Irwin-Hall: twelve uniforms less six, |x| <= 6). It needs additions only, so no
  /// mathematical library can change a seed's weights.
  constexpr double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }

  /// To go on from later.
  constexpr const State& state() const { return state_; }

 private:
  State state_{};
};

/// Fills with U(-bound, bound).
template <class Tensor>
void fill_uniform(Tensor& tensor, double bound, Random& random) {
  using Scalar = typename Tensor::Scalar;
  for (Index i = 0; i < tensor.size(); ++i) tensor.data()[i] = static_cast<Scalar>((2 * random.uniform() - 1) * bound);
}

/// Fills with N(0, deviation²).
template <class Tensor>
void fill_normal(Tensor& tensor, double deviation, Random& random) {
  using Scalar = typename Tensor::Scalar;
  for (Index i = 0; i < tensor.size(); ++i) tensor.data()[i] = static_cast<Scalar>(random.normal() * deviation);
}

}  // namespace qllk::inline QLLK_ISA
