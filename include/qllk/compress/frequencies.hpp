// From logits to the whole-numbered probabilities of an arithmetic coder.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>
#include <stdexcept>

#include "qllk/compress/arithmetic_coder.hpp"
#include "qllk/core/types.hpp"

namespace qllk::compress {

/// How often each byte value occurs in kTotal: softmax of its logit, at least 1, so that any byte can be coded.
///
///   f_i = 1 + ⌊ (kTotal - 256) · w_i / Σ w ⌋,   w_i = e^{z_i - max z}; what rounding leaves goes to the largest
///
/// The same logits give the same frequencies on every machine, compiler and mathematical library: but for a subtraction
/// and a product, which IEEE 754 defines to the bit, everything is whole numbers, the exponential too.
///
/// Cost      about 2 µs
/// Error     at most 2^-21 bits a byte more than the softmax's entropy; w_i is 0 below e^-21.5 (then f_i = 1)
class Frequencies {
 public:
  /// Throws std::runtime_error if a logit is not finite.
  template <Real Scalar>
  void assign(std::span<const Scalar, kByteValues> logits) {
    bool finite = true;
    Scalar top = logits[0];
    for (const Scalar logit : logits) {
      finite &= std::abs(logit) <= std::numeric_limits<Scalar>::max();  // false for NaN
      top = std::max(top, logit);
    }
    if (!finite) throw RuntimeError("the model gives a logit that is not a finite number");

    std::array<std::uint32_t, kByteValues> weights;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < weights.size(); ++i)
      weights[i] = exp_minus(static_cast<double>(top) - static_cast<double>(logits[i]));
    for (const std::uint32_t weight : weights) sum += weight;

    // sum >= 2^31, the weight of the largest, so that share < 2^32
    constexpr std::uint64_t kShared = kTotal - kByteValues;
    const std::uint64_t share = (kShared << 33) / sum;
    std::uint32_t end = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      ends_[i] = end;
      end += 1 + static_cast<std::uint32_t>((weights[i] * share) >> 33);
    }
    ends_[kByteValues] = end;
    const auto largest = static_cast<std::size_t>(std::find(weights.begin(), weights.end(), kOne) - weights.begin());
    for (std::size_t i = largest + 1; i < ends_.size(); ++i) ends_[i] += kTotal - end;
  }

  /// The byte's part of [0, kTotal).
  std::uint32_t begin(Byte byte) const { return ends_[byte]; }
  std::uint32_t size(Byte byte) const { return ends_[std::size_t{byte} + 1] - ends_[byte]; }

  /// The byte in whose part a target < kTotal lies.
  Byte find(std::uint32_t target) const {
    return static_cast<Byte>(std::upper_bound(ends_.begin() + 1, ends_.end(), target) - ends_.begin() - 1);
  }

 private:
  static constexpr std::uint32_t kOne = std::uint32_t{1} << 31;

  /// ln(2)^k / k! in units of 2^-31: the Taylor series of 2^-x without its signs.
  static constexpr std::array<std::uint32_t, 11> kSeries = [] {
    std::array<std::uint32_t, 11> series{};
    double term = static_cast<double>(kOne);
    for (std::size_t k = 0; k < series.size(); ++k) {
      series[k] = static_cast<std::uint32_t>(term + 0.5);
      term *= std::numbers::ln2 / static_cast<double>(k + 1);
    }
    return series;
  }();

  /// e^-d in units of 2^-31, within 8 of them; d >= 0.
  static std::uint32_t exp_minus(double d) {
    // 2^-(n + f/2^32), n < 32
    const auto x =
        static_cast<std::uint32_t>(static_cast<std::int32_t>(std::min(d, 22.0) * (std::numbers::log2e * 0x1p26)));
    const std::uint32_t n = x >> 26, f = x << 6;
    std::uint32_t e = kSeries.back();
    for (std::size_t k = kSeries.size() - 1; k-- > 0;)
      e = kSeries[k] - static_cast<std::uint32_t>((std::uint64_t{f} * e) >> 32);
    return e >> n;
  }

  std::array<std::uint32_t, kByteValues + 1> ends_{};  // ends_[i] is where byte i begins and byte i-1 ends
};

}  // namespace qllk::compress
