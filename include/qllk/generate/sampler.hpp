// From logits to a byte.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace qllk::generate {

/// Draws bytes from softmax(z / temperature), cut to the likeliest.
///
///   1. keep the likeliest top_k bytes (0: all); of equal ones the lower byte comes first
///   2. keep the fewest likeliest ones whose probabilities, after 1, sum to top_p or more
///   3. scale what is kept to sum to 1
///
/// Temperature 0 takes the likeliest. A value type; the same logits and random numbers give the same bytes.
///
/// Cost     256 exp, and a heap where bytes are cut; allocates nothing
/// Source   Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p)
class Sampler {
 public:
  struct Config {
    double temperature = 1;  // 0: always the likeliest byte
    Index top_k = 0;         // 0: all
    double top_p = 1;        // 1: all
    /// Longest repetition in bytes that costs nothing; 0: any. Whoever keeps the stream sees to it (Repetition).
    Index repeat = 0;
    bool operator==(const Config&) const = default;
  };
  /// One for each value of a byte.
  using Probabilities = std::array<double, static_cast<std::size_t>(kByteValues)>;

  /// Throws std::invalid_argument unless temperature >= 0 and finite, 0 <= top_k <= 256, 0 < top_p <= 1 and repeat >=
  /// 0.
  explicit Sampler(Config config) : config_(config) {
    if (!(config.temperature >= 0 && std::isfinite(config.temperature)))
      throw InvalidArgument("temperature is " + std::to_string(config.temperature) + ", expected 0 or more");
    if (config.top_k < 0 || config.top_k > kByteValues)
      throw InvalidArgument("top-k is " + std::to_string(config.top_k) + ", expected 0 to 256");
    if (!(config.top_p > 0 && config.top_p <= 1))
      throw InvalidArgument("top-p is " + std::to_string(config.top_p) + ", expected more than 0, at most 1");
    if (config.repeat < 0) throw InvalidArgument("repeat is " + std::to_string(config.repeat) + ", expected 0 or more");
  }

  const Config& config() const { return config_; }

  /// What `pick` draws from, in double precision: sums to 1 within rounding, 0 for what was cut.
  /// Throws std::domain_error if a logit is NaN or +infinity, or all are -infinity.
  template <Real Scalar>
  Probabilities probabilities(std::span<const Scalar, static_cast<std::size_t>(kByteValues)> logits) const {
    const auto [weights, likeliest] = weigh<double>(logits);
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    Probabilities out{};
    if (config_.temperature == 0)
      out[likeliest] = 1;
    else
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = weights[i] / total;
    return out;
  }

  /// One byte. Takes one number from `random`; at temperature 0 none. Throws as `probabilities`.
  template <Real Scalar>
  Byte pick(std::span<const Scalar, static_cast<std::size_t>(kByteValues)> logits, Random& random) const {
    const auto [weights, likeliest] = weigh<Scalar>(logits);
    if (config_.temperature == 0) return likeliest;
    constexpr std::size_t kGroup = 16;  // bytes that are passed over together
    using Groups = Eigen::Array<Scalar, kGroup, kByteValues / kGroup>;
    const Eigen::Array<double, Groups::ColsAtCompileTime, 1> sums =
        Eigen::Map<const Groups>(weights.data()).colwise().sum().transpose().template cast<double>();
    double rest = random.uniform() * sums.sum();
    std::size_t i = 0;
    for (; i < weights.size() && rest >= sums[static_cast<Index>(i / kGroup)]; i += kGroup)
      rest -= sums[static_cast<Index>(i / kGroup)];
    for (; i < weights.size(); ++i)
      if ((rest -= static_cast<double>(weights[i])) < 0) return static_cast<Byte>(i);
    return likeliest;  // only rounding comes here
  }

 private:
  template <Real Work>
  struct Weights {
    std::array<Work, static_cast<std::size_t>(kByteValues)> weights;  // the likeliest has 1, what is cut 0
    Byte likeliest;
  };

  template <Real Work, Real Scalar>
  Weights<Work> weigh(std::span<const Scalar, static_cast<std::size_t>(kByteValues)> logits) const {
    using Values = Eigen::Array<Work, kByteValues, 1>;
    const Eigen::Map<const Eigen::Array<Scalar, kByteValues, 1>> z(logits.data());
    const Scalar largest = z.template maxCoeff<Eigen::PropagateNaN>();
    if (!std::isfinite(largest))
      throw DomainError("the largest logit is " + std::to_string(largest) + ", expected a finite number");
    const auto likeliest = std::find(logits.begin(), logits.end(), largest) - logits.begin();
    Weights<Work> w{{}, static_cast<Byte>(likeliest)};
    if (config_.temperature == 0) return w;

    // in single precision a temperature may be 0, and 0 / 0 no number
    const auto temperature = std::max(static_cast<Work>(config_.temperature), std::numeric_limits<Work>::min());
    const Values scaled = (z.template cast<Work>() - static_cast<Work>(largest)) / temperature;
    const Values weights = scaled.exp();
    constexpr Work least = std::is_same_v<Work, float> ? -80 : -700;  // the exp of less may be denormal
    Eigen::Map<Values>(w.weights.data()) = (scaled > least).select(weights, 0);
    if (config_.top_k > 0 || config_.top_p < 1) cut(logits, w.weights);
    return w;
  }

  /// By logits: different ones may have equal weights.
  template <Real Scalar, Real Work>
  void cut(std::span<const Scalar, static_cast<std::size_t>(kByteValues)> z,
           std::array<Work, static_cast<std::size_t>(kByteValues)>& weights) const {
    const auto later = [&](Byte a, Byte b) { return z[a] < z[b] || (z[a] == z[b] && a > b); };
    std::array<Byte, static_cast<std::size_t>(kByteValues)> heap;
    std::iota(heap.begin(), heap.end(), Byte{0});
    auto end = heap.end();
    if (config_.top_k > 0) {
      end = heap.begin() + config_.top_k;
      std::nth_element(heap.begin(), end - 1, heap.end(), [&](Byte a, Byte b) { return later(b, a); });
      std::for_each(end, heap.end(), [&](Byte byte) { weights[byte] = 0; });
    }
    if (config_.top_p >= 1) return;
    const double enough = config_.top_p * std::accumulate(weights.begin(), weights.end(), 0.0);
    std::make_heap(heap.begin(), end, later);
    for (double sum = 0; sum < enough && end != heap.begin(); --end) {
      std::pop_heap(heap.begin(), end, later);
      sum += static_cast<double>(weights[*(end - 1)]);
    }
    std::for_each(heap.begin(), end, [&](Byte byte) { weights[byte] = 0; });
  }

  Config config_;
};

}  // namespace qllk::generate
