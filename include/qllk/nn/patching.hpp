// From bytes to patches and back: which bytes a patch covers, which rows it serves.
#pragma once

#include <stdexcept>
#include <string>

#include "qllk/core/types.hpp"

namespace qllk::nn {

/// How a chunk of a stream divides into patches.
///
/// Patch p is complete at byte P·p and covers bytes P·p-(P-1) … P·p (a left pad of P-1 stands before the stream); it serves
/// rows P·p … P·p+P-1, so no row sees a byte after its own. A chunk may start and end anywhere: rows before its first own
/// patch are served by the patch carried over from the chunk before.
struct PatchPlan {
  Index patch;   // P, bytes a patch
  Index length;  // bytes of the chunk, of each sequence
  Index phase;   // position of the chunk's first byte in the stream, modulo P

  /// Throws std::invalid_argument unless patch is positive.
  static void check(Index patch) {
    if (patch <= 0) throw std::invalid_argument("patch is " + std::to_string(patch) + ", expected > 0");
  }

  /// Patches completed in this chunk, of each sequence.
  Index patches() const { return (phase + length + patch - 1) / patch - (phase > 0 ? 1 : 0); }
  /// Position in the chunk of the byte that completes patch p.
  Index completed_at(Index p) const { return p * patch + (phase > 0 ? patch - phase : 0); }
  /// The patch of this chunk that serves row t, or -1 for the one carried over.
  Index serving(Index t) const { return (phase + t) / patch - (phase > 0 ? 1 : 0); }
  /// Which of its patch's P rows row t is.
  Index slot(Index t) const { return (phase + t) % patch; }
  Index next_phase() const { return (phase + length) % patch; }
};

/// Mean over each patch's columns: the original QLLK's patching.
///
///   forward    y_p  = 1/P Σ_{i<P} x_{P·p+i}
///   backward   dx_{P·p+i} = dy_p / P
///
/// Shapes   x, dx: [dim, P·m]    y, dy: [dim, m]
template <Real Scalar>
class MeanPatching {
 public:
  explicit MeanPatching(Index patch) : patch_(patch) { PatchPlan::check(patch); }

  /// Writes y.
  void forward(MatIn<Scalar> x, MatOut<Scalar> y) const {
    QLLK_ASSERT(x.cols() == patch_ * y.cols() && x.rows() == y.rows());
    const Scalar share = Scalar(1) / static_cast<Scalar>(patch_);
    for (Index p = 0; p < y.cols(); ++p) {
      y.col(p) = x.col(p * patch_) * share;
      for (Index i = 1; i < patch_; ++i) y.col(p) += x.col(p * patch_ + i) * share;
    }
  }

  /// Overwrites dx.
  void backward(MatIn<Scalar> dy, MatOut<Scalar> dx) const {
    QLLK_ASSERT(dx.cols() == patch_ * dy.cols() && dx.rows() == dy.rows());
    const Scalar share = Scalar(1) / static_cast<Scalar>(patch_);
    for (Index t = 0; t < dx.cols(); ++t) dx.col(t) = dy.col(t / patch_) * share;
  }

 private:
  Index patch_;
};

}  // namespace qllk::nn
