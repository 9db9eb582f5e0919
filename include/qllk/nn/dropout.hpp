// Dropout.
#pragma once

#include <cstdint>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace qllk::nn {

/// What a training pass leaves out, and where it draws that from. Default: nothing, as in scoring and generation.
struct Noise {
  double rate = 0;     // Dropout: share of values
  double orders = 0;   // FeatureHashing: share of positions that lose their longer orders
  double matches = 0;  // FeatureHashing: share of positions that lose the rows of matches
  Random random{0};    // where the draws come from
};

/// Zeroes a share of the values and scales the rest up, so that the expectation stays.
///
///   forward    x ← x ⊙ mask / (1 - rate)       mask: 1 with probability 1 - rate
///   backward   the same, with the same mask
///
/// Cost: one random byte a value; the rate is rounded to 1/256. Source: Srivastava et al. 2014.
template <Real Scalar>
class Dropout {
 public:
  struct Cache {
    std::vector<std::uint8_t> kept;  // empty: nothing was dropped
    Scalar scale = 1;
  };

  QLLK_NOINLINE static void forward(Noise& noise, Cache& cache, MatOut<Scalar> x) {
    const auto drop = static_cast<std::uint64_t>(noise.rate * 256);
    cache.kept.clear();
    if (drop == 0) return;
    cache.kept.resize(static_cast<std::size_t>(x.size()));
    cache.scale = Scalar(256) / static_cast<Scalar>(256 - drop);
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < cache.kept.size(); ++i, word >>= 8) {
      if (i % 8 == 0) word = noise.random.bits();
      cache.kept[i] = (word & 255) >= drop;
    }
    backward(cache, x);
  }

  /// Returns dx: dy itself if nothing was dropped, else `dropped`, which is overwritten.
  static Eigen::Ref<const Mat<Scalar>> backward(const Cache& cache, MatIn<Scalar> dy, Mat<Scalar>& dropped) {
    if (cache.kept.empty()) return dy;
    dropped = dy;
    backward(cache, dropped);
    return dropped;
  }

  QLLK_NOINLINE static void backward(const Cache& cache, MatOut<Scalar> dx) {
    if (cache.kept.empty()) return;
    const std::uint8_t* kept = cache.kept.data();
    for (Index t = 0; t < dx.cols(); ++t, kept += dx.rows())
      for (Index i = 0; i < dx.rows(); ++i) dx(i, t) *= static_cast<Scalar>(kept[i]) * cache.scale;
  }
};

}  // namespace qllk::nn
