// Each position mixed with the one before it.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::mixers {

using linalg::column, linalg::values;

/// Token shift, with a learned share of the previous position for each channel:
///
///   y_t = x_t + μ ⊙ (x_{t-1} - x_t)
///
/// Several μ share one x. `previous` is the state: the last x of every sequence.
///
/// Shapes   x, y, dy, dx: [dim, n], n = sequences × length    μ: [dim]    previous: [dim, sequences]
/// Source   Peng et al. 2023, section 3.1.1
template <Real Scalar>
class TokenShift {
 public:
  struct Cache {
    Mat<Scalar> start;  // previous, before the first position
  };

  /// Advances the state; before the others.
  static void advance(MatIn<Scalar> x, Mat<Scalar>& previous, Cache& cache) {
    const Index length = previous.cols() > 0 ? x.cols() / previous.cols() : 0;
    QLLK_ASSERT(x.cols() == previous.cols() * length && x.rows() == previous.rows());
    cache.start = previous;
    for (Index s = 0; s < previous.cols() && length > 0; ++s) column(previous, s) = column(x, (s + 1) * length - 1);
  }

  QLLK_NOINLINE static void forward(const Vec<Scalar>& share, MatIn<Scalar> x, const Cache& cache, Mat<Scalar>& y) {
    y.resize(x.rows(), x.cols());
    each(x, cache, [&](Index, Index t, const auto& before) {
      column(y, t) = column(x, t) + values(share) * (before - column(x, t));
    });
  }

  /// Turns dprevious from the gradient of the final state into that of the initial one, as far as that is due to the
  /// state alone, and begins dx with the rest; before backward_add.
  static void backward(Mat<Scalar>& dprevious, MatOut<Scalar> dx) {
    const Index length = dprevious.cols() > 0 ? dx.cols() / dprevious.cols() : 0;
    for (Index t = 0; t < dx.cols(); ++t) column(dx, t).setZero();
    for (Index s = 0; s < dprevious.cols() && length > 0; ++s) {
      column(dx, (s + 1) * length - 1) = column(dprevious, s);
      column(dprevious, s).setZero();
    }
  }

  /// What backward_add adds to.
  struct Gradients {
    Vec<Scalar>& share;     // of μ
    Mat<Scalar>& previous;  // of the column before the chunk
    MatOut<Scalar> x;       // of x
  };

  /// Adds to d, from dy of one forward.
  QLLK_NOINLINE static void backward_add(const Vec<Scalar>& share, MatIn<Scalar> x, const Cache& cache,
                                         MatIn<Scalar> dy, Gradients d) {
    each(x, cache, [&](Index s, Index t, const auto& before) {
      const auto out = column(dy, t);
      auto dbefore = s < 0 ? column(d.x, t - 1) : column(d.previous, s);
      values(d.share) += out * (before - column(x, t));
      dbefore += out * values(share);
      column(d.x, t) += out * (Scalar(1) - values(share));
    });
  }

 private:
  /// f(s, t, x_{t-1}), with s the sequence that begins at t, or -1.
  template <class F>
  static void each(MatIn<Scalar> x, const Cache& cache, F&& f) {
    const Index sequences = cache.start.cols(), length = sequences > 0 ? x.cols() / sequences : 0;
    for (Index s = 0; s < sequences; ++s)
      for (Index t = s * length; t < (s + 1) * length; ++t)
        if (t == s * length)
          f(s, t, column(cache.start, s));
        else
          f(Index{-1}, t, column(x, t - 1));
  }
};

}  // namespace qllk::mixers
