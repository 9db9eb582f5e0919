// Normalisation of groups of features.
#pragma once

#include <cmath>
#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::nn {

using linalg::part, linalg::values;

/// Normalises every group of `group` features of every column, then scales each feature.
///
///   x̂ = x / √(mean(x²) + ε),   y = w ⊙ x̂                              root mean square
///   x̂ = (x - mean(x)) / √(var(x) + ε),   y = w ⊙ x̂ + b                 `centred`
///   backward   with d = w ⊙ dy:   dx = (d - x̂ · mean(d ⊙ x̂)) / √(…), centred: less mean(d) too
///              dw += Σ dy ⊙ x̂,   db += Σ dy
///
/// Shapes   x, y, dy, dx: [dim, n]
/// Cost     about 6·dim·n FLOP forward, 12·dim·n backward; keeps two scalars a group and position
/// Source   Zhang and Sennrich 2019, eq. 4; Wu and He 2018, eq. 1, one position at a time
template <Real Scalar>
class GroupNorm {
 public:
  struct Config {
    Index dim;
    Index group;           // features
    bool centred = false;  // take off the mean first
    double epsilon = 1e-5;
    bool operator==(const Config&) const = default;
  };

  struct Params {
    Vec<Scalar> weight;  // [dim]
    Vec<Scalar> bias;    // [dim] where centred, else empty

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("weight", t.weight...);
      visit("bias", t.bias...);
    }
  };
  using Grads = Params;

  struct Cache {
    Mat<Scalar> mean;   // [groups, n], zeros where not centred
    Mat<Scalar> scale;  // [groups, n], 1 / √(… + ε)
  };

  /// Throws std::invalid_argument unless group divides dim, and all are positive.
  explicit GroupNorm(Config config) : config_(config) {
    if (config.dim <= 0 || config.group <= 0 || config.dim % config.group != 0 || !(config.epsilon > 0))
      throw InvalidArgument("GroupNorm: dim is " + std::to_string(config.dim) + ", group " +
                            std::to_string(config.group) + " and epsilon " + std::to_string(config.epsilon) +
                            ", expected all > 0 and group to divide dim");
  }

  const Config& config() const { return config_; }

  Params zeros() const {
    Params p;
    p.weight.setZero(config_.dim);
    if (config_.centred) p.bias.setZero(config_.dim);
    return p;
  }
  Params init(Random&) const {
    Params p = zeros();
    p.weight.setOnes();
    return p;
  }

  /// Writes y, which may be x.
  QLLK_NOINLINE void forward(const Params& p, MatIn<Scalar> x, Cache& cache, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == config_.dim && y.rows() == x.rows() && y.cols() == x.cols());
    const Index size = config_.group, groups = config_.dim / size;
    const Scalar share = Scalar(1) / static_cast<Scalar>(size);
    cache.mean.resize(groups, x.cols());
    cache.scale.resize(groups, x.cols());
    for (Index t = 0; t < x.cols(); ++t)
      for (Index j = 0; j < groups; ++j) {
        const auto in = part(x, j * size, t, size);
        auto out = part(y, j * size, t, size);
        const Scalar mean = config_.centred ? in.sum() * share : Scalar(0);
        const Scalar variance = (in - mean).square().sum() * share;
        const Scalar scale = Scalar(1) / std::sqrt(variance + static_cast<Scalar>(config_.epsilon));
        const auto weight = values(p.weight.data() + j * size, size);
        if (config_.centred)
          out = (in - mean) * scale * weight + values(p.bias.data() + j * size, size);
        else
          out = in * scale * weight;
        cache.mean(j, t) = mean;
        cache.scale(j, t) = scale;
      }
  }

  /// Adds to g, overwrites dx, which may be dy or x. x is the x of forward.
  QLLK_NOINLINE void backward(const Params& p, MatIn<Scalar> x, const Cache& cache, MatIn<Scalar> dy, Grads& g,
                              MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == config_.dim && dx.rows() == config_.dim && dy.cols() == x.cols() && dx.cols() == x.cols());
    const Index size = config_.group, groups = config_.dim / size;
    const Scalar share = Scalar(1) / static_cast<Scalar>(size);
    for (Index t = 0; t < x.cols(); ++t)
      for (Index j = 0; j < groups; ++j) {
        const auto out = part(dy, j * size, t, size);
        const Scalar mean = cache.mean(j, t), scale = cache.scale(j, t);
        const auto normal = (part(x, j * size, t, size) - mean) * scale;
        const auto d = out * values(p.weight.data() + j * size, size);
        const Scalar mean_d = config_.centred ? d.sum() * share : Scalar(0), mean_dn = (d * normal).sum() * share;
        values(g.weight.data() + j * size, size) += out * normal;
        if (config_.centred) values(g.bias.data() + j * size, size) += out;
        part(dx, j * size, t, size) = (d - mean_d - normal * mean_dn) * scale;
      }
  }

 private:
  Config config_;
};

}  // namespace qllk::nn
