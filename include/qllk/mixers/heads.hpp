// What mixers with several heads share: their size, vectors of length 1, and the SiLU gate.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::mixers {

using linalg::column, linalg::part, linalg::values;

/// The head size that a configuration means: `wanted`, or for 0 the largest divisor of dim that is at most `most`.
/// Throws std::invalid_argument, which begins with the mixer's name, unless dim > 0 and the size divides it.
QLLK_COLD inline Index head_size(const char* mixer, Index dim, Index wanted, Index most) {
  if (dim > 0 && wanted == 0) {
    wanted = std::min(dim, most);
    while (dim % wanted != 0) --wanted;
  }
  if (dim > 0 && wanted > 0 && dim % wanted == 0) return wanted;
  std::string what(mixer);
  what += ": dim is ";
  what += std::to_string(dim);
  what += " and head_dim ";
  what += std::to_string(wanted);
  what += ", expected dim > 0 and head_dim to divide it (0: chosen)";
  throw InvalidArgument(what);
}

/// The ε of norms over one head. A head of one channel has no direction, only a sign: there ε is 1, so that its size
/// still counts.
constexpr double head_epsilon(Index head_dim, double usual) { return head_dim > 1 ? usual : 1; }

/// x̂ = x / √(‖x‖² + ε) for every head of every column, in place; scale [heads, n] keeps 1 / √(‖x‖² +
/// ε).
template <Real Scalar>
QLLK_NOINLINE void unit_heads(MatOut<Scalar> x, Mat<Scalar>& scale, Index head_dim, double epsilon) {
  const Index heads = x.rows() / head_dim;
  scale.resize(heads, x.cols());
  for (Index t = 0; t < x.cols(); ++t)
    for (Index h = 0; h < heads; ++h) {
      auto head = part(x, h * head_dim, t, head_dim);
      scale(h, t) = Scalar(1) / std::sqrt(head.square().sum() + static_cast<Scalar>(epsilon));
      head *= scale(h, t);
    }
}

/// dx from the gradient of x̂, in place:   dx = (dx̂ - x̂ · <x̂, dx̂>) · scale
template <Real Scalar>
QLLK_NOINLINE void unit_heads_backward(std::type_identity_t<MatIn<Scalar>> unit, const Mat<Scalar>& scale,
                                       MatOut<Scalar> d, Index head_dim) {
  for (Index t = 0; t < d.cols(); ++t)
    for (Index h = 0; h < scale.rows(); ++h) {
      const auto head = part(unit, h * head_dim, t, head_dim);
      auto dhead = part(d, h * head_dim, t, head_dim);
      const Scalar along = (head * dhead).sum();
      dhead = (dhead - head * along) * scale(h, t);
    }
}

/// y = u ⊙ silu(g),   silu(g) = g · sigmoid(g)
template <Real Scalar>
QLLK_NOINLINE void silu_gate(std::type_identity_t<MatIn<Scalar>> u, std::type_identity_t<MatIn<Scalar>> g,
                             Mat<Scalar>& y) {
  y.resize(u.rows(), u.cols());
  for (Index t = 0; t < u.cols(); ++t) column(y, t) = column(u, t) * column(g, t) * column(g, t).logistic();
}

/// Turns u and g into their gradients, from that of y.
template <Real Scalar>
QLLK_NOINLINE void silu_gate_backward(std::type_identity_t<MatIn<Scalar>> dy, MatOut<Scalar> u, MatOut<Scalar> g) {
  constexpr Index kTile = 128;
  alignas(64) Scalar buffer[kTile];
  for (Index t = 0; t < u.cols(); ++t)
    for (Index at = 0; at < u.rows(); at += kTile) {
      const Index size = std::min(kTile, u.rows() - at);
      auto sigmoid = values(buffer, size), ut = part(u, at, t, size), gt = part(g, at, t, size);
      const auto d = part(dy, at, t, size);
      sigmoid = gt.logistic();
      const auto slope = sigmoid * (Scalar(1) + gt * (Scalar(1) - sigmoid));
      ut *= d * slope;  // what g gets
      sigmoid *= gt * d;
      gt = ut;
      ut = sigmoid;
    }
}

/// Turns z into its gradient, from that of silu(z).
template <Real Scalar>
QLLK_NOINLINE void silu_backward(std::type_identity_t<MatIn<Scalar>> dy, MatOut<Scalar> z) {
  constexpr Index kTile = 128;
  alignas(64) Scalar buffer[kTile];
  for (Index t = 0; t < z.cols(); ++t)
    for (Index at = 0; at < z.rows(); at += kTile) {
      const Index size = std::min(kTile, z.rows() - at);
      auto sigmoid = values(buffer, size), zt = part(z, at, t, size);
      sigmoid = zt.logistic();
      zt = part(dy, at, t, size) * sigmoid * (Scalar(1) + zt * (Scalar(1) - sigmoid));
    }
}

/// log(1 + eᶻ), without overflow.
template <class Array>
auto softplus(const Array& z) {
  using Scalar = typename Array::Scalar;
  return z.max(Scalar(0)) + (-z.abs()).exp().log1p();
}

}  // namespace qllk::mixers
