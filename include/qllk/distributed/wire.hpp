// Values as they travel: whole, or in 16 bits with error feedback.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "qllk/core/types.hpp"

namespace qllk::distributed {

/// The form of values on the network: as they are, or as bfloat16.
enum class Wire { full, half };
constexpr auto enum_names(Wire) { return std::array{"full", "half"}; }

/// Bytes of dense and of sparse values that a process has sent.
struct Traffic {
  std::uint64_t dense = 0, sparse = 0;  // bytes
};

/// The upper half of a float, rounded to nearest, ties to even: 8 bits of mantissa, the range of a float. NaN stays
/// NaN.
inline std::uint16_t to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
/// The float with these upper 16 bits.
inline float from_bfloat16(std::uint16_t half) { return std::bit_cast<float>(std::uint32_t{half} << 16); }

/// Bytes that so many values take on the network.
template <Real Scalar>
std::size_t wire_bytes(Wire wire, std::size_t values) {
  return values * (wire == Wire::full ? sizeof(Scalar) : sizeof(std::uint16_t));
}

/// Writes wire_bytes of `values`. In 16 bits these are values + residual, and what rounding takes off stays in
/// `residual` for the next time (empty: is lost): over many calls the sum of what arrives is the sum of what was sent.
/// A residual that is not finite is dropped.
///
/// Source   Seide et al. 2014 (1-bit SGD); Karimireddy et al. 2019
template <Real Scalar>
void encode(Wire wire, std::span<const Scalar> values, std::span<Scalar> residual, std::byte* out) {
  if (wire == Wire::full) {
    if (!values.empty()) std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  for (std::size_t i = 0; i < values.size(); ++i, out += sizeof(std::uint16_t)) {
    const Scalar value = residual.empty() ? values[i] : values[i] + residual[i];
    const std::uint16_t half = to_bfloat16(static_cast<float>(value));
    std::memcpy(out, &half, sizeof half);
    if (residual.empty()) continue;
    const Scalar rest = value - static_cast<Scalar>(from_bfloat16(half));
    residual[i] = std::isfinite(rest) ? rest : Scalar(0);
  }
}

/// Reads what encode wrote of as many values.
template <Real Scalar>
void decode(Wire wire, const std::byte* in, std::span<Scalar> values) {
  if (wire == Wire::full) {
    if (!values.empty()) std::memcpy(values.data(), in, values.size_bytes());
    return;
  }
  for (Scalar& value : values) {
    std::uint16_t half;
    std::memcpy(&half, in, sizeof half);
    value = static_cast<Scalar>(from_bfloat16(half));
    in += sizeof half;
  }
}

}  // namespace qllk::distributed
