// Cross-entropy of bytes.
#pragma once

#include <cmath>
#include <numbers>

#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::nn {

using linalg::column;

/// log₂ e.
inline constexpr double kBitsPerNat = std::numbers::log2e;

/// Softmax cross-entropy, its gradient written over the logits, so that nothing else of their size exists.
///
///   loss      Σ_t ( log Σ_c exp(z_ct) - z_{b_t,t} )                      in nats, summed over positions
///   gradient  z  becomes  scale · ( softmax(z) - onehot(b) )
///
/// Shapes   targets: [n]    logits: [256, n]
/// Cost     one exp a logit
/// Errors   NaN, +inf anywhere or -inf at a target gives a non-finite loss: callers must look
template <Real Scalar>
double softmax_cross_entropy(Bytes targets, MatOut<Scalar> logits, Scalar scale) {
  QLLK_ASSERT(logits.rows() == kByteValues && logits.cols() == std::ssize(targets));
  double nats = 0;
  for (Index t = 0; t < logits.cols(); ++t) {
    auto z = column(logits, t);
    const Index target = targets[static_cast<std::size_t>(t)];
    const Scalar largest = z.template maxCoeff<Eigen::PropagateNaN>();
    const Scalar target_logit = z[target] - largest;
    z = (z - largest).exp();
    const Scalar sum = z.sum();
    nats += std::log(static_cast<double>(sum)) - static_cast<double>(target_logit);
    z *= scale / sum;
    z[target] -= scale;
  }
  return nats;
}

/// The loss alone, for scoring; logits are left as they are. See softmax_cross_entropy.
template <Real Scalar>
double cross_entropy(Bytes targets, MatIn<Scalar> logits) {
  QLLK_ASSERT(logits.rows() == kByteValues && logits.cols() == std::ssize(targets));
  double nats = 0;
  for (Index t = 0; t < logits.cols(); ++t) {
    const auto z = column(logits, t);
    const Scalar largest = z.template maxCoeff<Eigen::PropagateNaN>();
    const Scalar sum = (z - largest).exp().sum();
    nats += std::log(static_cast<double>(sum)) - static_cast<double>(z[targets[static_cast<std::size_t>(t)]] - largest);
  }
  return nats;
}

}  // namespace qllk::nn
