// From logits to a byte.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace qllk::generate {

/// Draws bytes from softmax(z / temperature), cut to the likeliest.
///
///   1. order bytes by falling logit; of equal ones the lower byte comes first
///   2. keep the first top_k (0: all)
///   3. keep the fewest first ones whose probabilities, after 2, sum to top_p or more
///   4. scale what is kept to sum to 1
///
/// Temperature 0 takes the first of the order. A value type; the same logits and random numbers give the same bytes.
///
/// Cost     256 exp and a sort; allocates nothing
/// Source   Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p)
class Sampler {
 public:
  struct Config {
    double temperature = 1;
    Index top_k = 0;
    double top_p = 1;
    bool operator==(const Config&) const = default;
  };
  using Probabilities = std::array<double, static_cast<std::size_t>(kByteValues)>;

  /// Throws std::invalid_argument unless temperature >= 0 and finite, 0 <= top_k <= 256 and 0 < top_p <= 1.
  explicit Sampler(Config config) : config_(config) {
    if (!(config.temperature >= 0 && std::isfinite(config.temperature)))
      throw std::invalid_argument("temperature is " + std::to_string(config.temperature) + ", expected 0 or more");
    if (config.top_k < 0 || config.top_k > kByteValues)
      throw std::invalid_argument("top-k is " + std::to_string(config.top_k) + ", expected 0 to 256");
    if (!(config.top_p > 0 && config.top_p <= 1))
      throw std::invalid_argument("top-p is " + std::to_string(config.top_p) + ", expected more than 0, at most 1");
  }

  const Config& config() const { return config_; }

  /// What `pick` draws from: sums to 1 within rounding, 0 for what was cut.
  /// Throws std::domain_error if a logit is NaN or +infinity, or all are -infinity.
  template <Real Scalar>
  Probabilities probabilities(std::span<const Scalar, static_cast<std::size_t>(kByteValues)> logits) const {
    const Ranking ranking = rank(logits);
    Probabilities out{};
    for (std::size_t i = 0; i < ranking.kept; ++i) out[ranking.order[i]] = ranking.weights[i] / ranking.total;
    return out;
  }

  /// One byte. Takes one number from `random`; at temperature 0 none. Throws as `probabilities`.
  template <Real Scalar>
  Byte pick(std::span<const Scalar, static_cast<std::size_t>(kByteValues)> logits, Random& random) const {
    const Ranking ranking = rank(logits);
    if (config_.temperature == 0) return ranking.order[0];
    double rest = random.uniform() * ranking.total;
    std::size_t i = 0;
    while (i + 1 < ranking.kept && rest >= ranking.weights[i]) rest -= ranking.weights[i++];
    return ranking.order[i];
  }

 private:
  struct Ranking {
    std::array<Byte, static_cast<std::size_t>(kByteValues)> order;
    Probabilities weights;  // of order[i]; that of the likeliest is 1
    double total;           // of those that are kept
    std::size_t kept;
  };

  /// Steps 1 to 3.
  template <Real Scalar>
  Ranking rank(std::span<const Scalar, static_cast<std::size_t>(kByteValues)> logits) const {
    for (const Scalar logit : logits)
      if (!(logit < std::numeric_limits<Scalar>::infinity()))
        throw std::domain_error("a logit is " + std::to_string(logit) + ", expected a finite number");
    Ranking r;
    std::iota(r.order.begin(), r.order.end(), Byte{0});
    std::sort(r.order.begin(), r.order.end(),
              [&](Byte a, Byte b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
    const auto largest = static_cast<double>(logits[r.order[0]]);
    if (!std::isfinite(largest)) throw std::domain_error("all logits are -infinity, expected finite numbers");
    r.weights[0] = r.total = 1;
    r.kept = 1;
    if (config_.temperature == 0) return r;

    auto most = static_cast<std::size_t>(config_.top_k > 0 ? config_.top_k : kByteValues);
    for (std::size_t i = 1; i < most; ++i) {
      r.weights[i] = std::exp((static_cast<double>(logits[r.order[i]]) - largest) / config_.temperature);
      r.total += r.weights[i];
    }
    while (r.weights[most - 1] == 0) --most;  // or rounding in `pick` could reach one that has no probability
    r.kept = most;
    if (config_.top_p >= 1) return r;
    const double enough = config_.top_p * r.total;
    for (r.kept = 1, r.total = 1; r.total < enough && r.kept < most; ++r.kept) r.total += r.weights[r.kept];
    return r;
  }

  Config config_;
};

}  // namespace qllk::generate
