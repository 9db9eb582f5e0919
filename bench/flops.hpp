// Floating-point operations of whole models, counted from their shapes.
#pragma once

#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"

namespace qllk::bench {

/// Matrix products only, a multiply-add counted as two operations: norms, activations, scans over vectors and the loss
/// are left out. Training counts as three forward passes: each product has two in backward.
inline constexpr double kTraining = 3;

constexpr double linear_flop(Index in, Index out) { return 2.0 * static_cast<double>(in) * static_cast<double>(out); }
constexpr double mlp_flop(Index dim, Index hidden) { return 2 * linear_flop(dim, hidden); }

/// Of one position. Heads wider than 1 run by chunks of products, as nn::LatentChunk says.
inline double flop_of(const nn::LatentKernel<float>::Config& c) {
  constexpr Index kChunk = nn::LatentChunk<float>::kSize;
  double flop = (c.project ? 5 : 4) * linear_flop(c.dim, c.dim);
  if (c.decay == nn::Decay::data_dependent) flop += linear_flop(c.dim, c.dim / c.head_dim);
  if (c.head_dim > 1) flop += 2 * linear_flop(c.dim, c.head_dim + kChunk);
  return flop;
}

/// Forward, of one byte.
inline double flop_of(const QLLKClassic<float>::Config& c) {
  const double layer = flop_of(nn::LatentKernel<float>::Config{.dim = c.dim}) + mlp_flop(c.dim, 2 * c.dim);
  const double patch =
      linear_flop(c.dim, c.dim) + static_cast<double>(c.layers) * layer + linear_flop(c.dim, kByteValues * c.patch);
  return patch / static_cast<double>(c.patch);
}

/// Forward, of one byte: byte-level blocks and head run for each, all else for each patch.
inline double flop_of(const QLLKTransformer<float>::Config& c) {
  const auto block = [&](auto mixer, Index dim) {
    mixer.dim = dim;
    return flop_of(mixer) + mlp_flop(dim, c.hidden * dim);
  };
  const double byte = static_cast<double>(c.encoder + c.decoder) * block(c.mixer_local, c.dim_local) +
                      linear_flop(c.dim_local, kByteValues);
  const double patch = linear_flop(c.dim_local * c.patch, c.dim) +
                       static_cast<double>(c.layers) * block(c.mixer, c.dim) +
                       linear_flop(c.dim, c.dim_local * c.patch);
  return byte + patch / static_cast<double>(c.patch);
}

}  // namespace qllk::bench
