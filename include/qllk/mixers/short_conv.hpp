// A short causal convolution of every channel on its own.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::mixers {

using linalg::column, linalg::part, linalg::values;

/// Depthwise causal convolution: a channel sees its own last `width` values.
///
///   y_t = b + Σ_{w<width} weight_w ⊙ x_{t - width + 1 + w}
///
/// The state, `tail`, holds the last width - 1 inputs of every sequence, the oldest first.
///
/// Shapes   x, y, dy, dx: [channels, n], n = sequences × length    tail: [channels · (width - 1), sequences]
/// Cost     2·width·channels·n FLOP forward, twice that backward
template <Real Scalar>
class ShortConv {
 public:
  struct Params {
    Mat<Scalar> weight;  // [channels, width]; the last column is that of the position itself
    Vec<Scalar> bias;    // [channels]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("weight", t.weight...);
      visit("bias", t.bias...);
    }
  };
  using Grads = Params;

  struct Cache {
    Mat<Scalar> tail;   // before the first position
    Mat<Scalar> dtail;  // of the final tail
  };

  /// Throws std::invalid_argument unless both are positive.
  ShortConv(Index channels, Index width) : channels_(channels), width_(width) {
    if (channels <= 0 || width <= 0)
      throw InvalidArgument("ShortConv: channels is " + std::to_string(channels) + " and width " +
                            std::to_string(width) + ", expected both > 0");
  }

  /// Numbers that a sequence keeps.
  Index tail_size() const { return channels_ * (width_ - 1); }

  QLLK_COLD Params zeros() const {
    Params p;
    p.weight.setZero(channels_, width_);
    p.bias.setZero(channels_);
    return p;
  }
  QLLK_COLD Params init(Random& random) const {
    Params p = zeros();
    const double bound = 1 / std::sqrt(static_cast<double>(width_));
    fill_uniform(p.weight, bound, random);
    fill_uniform(p.bias, bound, random);
    return p;
  }

  /// Writes y, advances tail. x and y must not alias.
  QLLK_NOINLINE void forward(const Params& p, MatIn<Scalar> x, Mat<Scalar>& tail, Cache& cache,
                             MatOut<Scalar> y) const {
    QLLK_ASSERT(x.rows() == channels_ && y.rows() == channels_ && x.cols() == y.cols());
    QLLK_ASSERT(tail.rows() == tail_size());
    const Index sequences = tail.cols(), length = sequences > 0 ? x.cols() / sequences : 0;
    cache.tail = tail;
    for (Index s = 0; s < sequences; ++s) {
      for (Index t = 0; t < length; ++t) {
        auto out = column(y, s * length + t);
        out = input(cache, x, s, length, t) * column(p.weight, 0) + values(p.bias);
        for (Index w = 1; w < width_; ++w) out += input(cache, x, s, length, t + w) * column(p.weight, w);
      }
      for (Index m = 0; m < width_ - 1; ++m)
        part(tail, m * channels_, s, channels_) = input(cache, x, s, length, length + m);
    }
  }

  /// Adds to g, overwrites dx, which may be dy or x; turns dtail from the gradient of the final tail into that of the
  /// initial one. x is the x of forward.
  QLLK_NOINLINE void backward(const Params& p, MatIn<Scalar> x, Cache& cache, MatIn<Scalar> dy, Mat<Scalar>& dtail,
                              Grads& g, MatOut<Scalar> dx) const {
    QLLK_ASSERT(dy.rows() == channels_ && dx.rows() == channels_ && dy.cols() == x.cols() && dx.cols() == x.cols());
    const Index sequences = dtail.cols(), length = sequences > 0 ? x.cols() / sequences : 0;
    cache.dtail = dtail;
    for (Index s = 0; s < sequences; ++s)
      for (Index t = 0; t < length; ++t) {
        const auto d = column(dy, s * length + t);
        values(g.bias) += d;
        for (Index w = 0; w < width_; ++w) column(g.weight, w) += d * input(cache, x, s, length, t + w);
      }
    for (Index s = 0; s < sequences; ++s)
      for (Index i = 0; i < width_ - 1 + length; ++i) {
        // of input i, where dx_t takes the place of dy_t when no other input needs it any more
        const bool in_tail = i < width_ - 1;
        auto d = in_tail ? part(dtail, i * channels_, s, channels_) : column(dx, s * length + i - width_ + 1);
        if (in_tail)
          d.setZero();
        else
          d = column(dy, s * length + i - width_ + 1) * column(p.weight, width_ - 1);
        for (Index w = std::min(i, width_ - 2); w >= 0 && i - w < length; --w)
          d += column(dy, s * length + i - w) * column(p.weight, w);
        if (i >= length) d += part(cache.dtail, (i - length) * channels_, s, channels_);
      }
  }

 private:
  /// The input width - 1 - i positions before the first, or after it.
  auto input(const Cache& cache, MatIn<Scalar> x, Index sequence, Index length, Index i) const {
    return i < width_ - 1 ? part(cache.tail, i * channels_, sequence, channels_)
                          : column(x, sequence * length + i - width_ + 1);
  }

  Index channels_, width_;
};

}  // namespace qllk::mixers
