// From bytes to patches and back: which bytes a patch covers, which positions it serves.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::nn {

using linalg::column, linalg::values;

/// How a chunk of a stream divides into patches.
///
/// Patch p is complete at byte P·p and covers bytes P·p-(P-1) … P·p (a left pad of P-1 stands before the stream);
/// it serves positions P·p … P·p+P-1, so no position sees a byte after its own. A chunk may start and end anywhere:
/// positions before its first own patch are served by the patch carried over from the chunk before.
struct PatchPlan {
  Index patch;   // P, bytes a patch
  Index length;  // bytes of the chunk, of each sequence
  Index phase;   // position of the chunk's first byte in the stream, modulo P

  /// Throws std::invalid_argument unless patch is positive.
  static void check(Index patch) {
    if (patch <= 0) throw InvalidArgument("patch is " + std::to_string(patch) + ", expected > 0");
  }

  /// Patches completed in this chunk, of each sequence.
  Index patches() const { return (phase + length + patch - 1) / patch - (phase > 0 ? 1 : 0); }
  /// Position in the chunk of the byte that completes patch p.
  Index completed_at(Index p) const { return p * patch + (phase > 0 ? patch - phase : 0); }
  /// The patch of this chunk that serves position t, or -1 for the one carried over.
  Index serving(Index t) const { return (phase + t) / patch - (phase > 0 ? 1 : 0); }
  /// Which of its patch's P positions position t is.
  Index slot(Index t) const { return (phase + t) % patch; }
  /// The phase of the chunk after this one.
  Index next_phase() const { return (phase + length) % patch; }
  /// Whether the chunk ends with the last position of a patch, so that nothing is carried on. Not an empty one, which
  /// changes nothing.
  bool ends_patch() const { return length > 0 && next_phase() == 0; }
  /// Whether the chunk's own patches serve all its positions and no others: slots then are the positions, in place.
  bool whole() const { return phase == 0 && ends_patch(); }
};

/// Gives every position its share of its patch's answer: give(t, slot t mod P of the patch that serves t), an array of
/// `width`. `carried` [width·P, sequences] serves the positions before the chunk's first own patch, and is replaced by
/// the last one, or by zeros when that has no more positions to serve.
/// Shapes: slots [width·P, patches × sequences]; t counts the columns of [width, length × sequences].
template <Real Scalar, class Give>
void spread(const PatchPlan& plan, Index width, const Mat<Scalar>& slots, Mat<Scalar>& carried, Give&& give) {
  const Index patches = plan.patches();
  for (Index s = 0; s < carried.cols(); ++s) {
    for (Index t = 0; t < plan.length; ++t) {
      const Index patch = plan.serving(t);
      const Scalar* const all = patch < 0 ? carried.col(s).data() : slots.col(s * patches + patch).data();
      give(s * plan.length + t, values(all + plan.slot(t) * width, width));
    }
    if (plan.ends_patch())
      column(carried, s).setZero();
    else if (patches > 0)
      column(carried, s) = column(slots, (s + 1) * patches - 1);
  }
}

/// Overwrites dslots, from dy, the gradient of what `give` got; turns dcarried from the gradient of what the chunk left
/// into that of what it found. See spread.
template <Real Scalar>
void spread_backward(const PatchPlan& plan, MatIn<Scalar> dy, Mat<Scalar>& dcarried, Mat<Scalar>& dslots) {
  const Index width = dy.rows(), patches = plan.patches();
  dslots.resize(dcarried.rows(), patches * dcarried.cols());
  if (plan.ends_patch()) dcarried.setZero();
  for (Index s = 0; s < dcarried.cols(); ++s) {
    if (patches > 0) {
      column(dslots, (s + 1) * patches - 1) = column(dcarried, s);
      column(dcarried, s).setZero();
    }
    for (Index t = 0; t < plan.length; ++t) {
      const Index patch = plan.serving(t);
      Scalar* const all = patch < 0 ? dcarried.col(s).data() : dslots.col(s * patches + patch).data();
      auto slot = values(all + plan.slot(t) * width, width);
      if (patch < 0 || patch == patches - 1)
        slot += column(dy, s * plan.length + t);
      else  // all its positions are in the chunk, each once
        slot = column(dy, s * plan.length + t);
    }
  }
}

/// One patch from the P columns that it covers.
///
///   forward    y_p = W [x_{P·p-(P-1)}; …; x_{P·p}] + b        columns before the stream are zero
///   backward   Linear's, each column's gradient back where it came from
///
/// Shapes   x, dx: [in, n]    y, dy: [out, patches × sequences]    the state: the last P-1 columns of each sequence
/// Cost     2·in·out·n FLOP forward, twice that backward
template <Real Scalar>
class Patching {
 public:
  struct Config {
    Index in, out, patch;  // features of a byte, and of a patch; P
  };
  using Params = typename Linear<Scalar>::Params;
  using Grads = Params;
  /// [in·(P-1), sequences]; also the gradient of that.
  using State = Mat<Scalar>;

  struct Cache {
    Mat<Scalar> covered;  // [in·P, patches × sequences]
    Mat<Scalar> dcovered;
    PatchPlan plan{};  // of the chunk
    typename Linear<Scalar>::Cache linear;
  };

  /// Throws std::invalid_argument unless all sizes are positive.
  explicit Patching(Config config) : config_(config), linear_({config.in * config.patch, config.out}) {
    PatchPlan::check(config.patch);
  }

  void reset(State& state, Index sequences) const { state.setZero(config_.in * (config_.patch - 1), sequences); }
  Params zeros() const { return linear_.zeros(); }
  Params init(Random& random) const { return linear_.init(random); }

  /// Writes y, which a chunk that completes no patch leaves alone; advances the state.
  template <class P>
  void forward(const P& p, MatIn<Scalar> x, const PatchPlan& plan, State& state, Cache& c, MatOut<Scalar> y) const {
    const Index pad = config_.patch - 1, patches = plan.patches();
    c.plan = plan;
    if (patches > 0) c.covered.resize(config_.in * config_.patch, patches * state.cols());
    for (Index s = 0; s < state.cols(); ++s) {
      const auto at = [&](Index t) {
        return t < 0 ? part(std::as_const(state), (s + 1) * pad + t) : column(x, s * plan.length + t);
      };
      for (Index j = 0; j < patches; ++j)
        for (Index i = 0; i <= pad; ++i)
          part(c.covered, (s * patches + j) * config_.patch + i) = at(plan.completed_at(j) - pad + i);
      for (Index i = 0; i < pad; ++i) part(state, s * pad + i) = at(plan.length - pad + i);
    }
    if (patches > 0) linear_.forward(p, c.covered, c.linear, y);
  }

  /// Adds to g and to dx; replaces dstate, the gradient of the final state, by that of the initial state.
  /// A g of ProductSum refers to dy and the cache.
  template <class G>
  void backward(const Params& p, Cache& c, MatIn<Scalar> dy, State& dstate, G& g, MatOut<Scalar> dx) const {
    const PatchPlan& plan = c.plan;
    const Index pad = config_.patch - 1, patches = plan.patches();
    if (patches > 0) {
      c.dcovered.resize(c.covered.rows(), c.covered.cols());
      linear_.backward(p, c.covered, c.linear, dy, g, c.dcovered);
    }
    for (Index s = 0; s < dstate.cols(); ++s) {
      // each column the chunk left behind came from the chunk or, where that is shorter than the pad, from the state
      // before; oldest first, no state column is read after it was written
      for (Index i = 0; i < pad; ++i) {
        const Index t = plan.length - pad + i;
        auto left = part(dstate, s * pad + i);
        if (t >= 0) {
          column(dx, s * plan.length + t) += left;
          left.setZero();
        }
      }
      if (plan.length < pad && plan.length > 0)
        for (Index i = pad; i-- > 0;) {
          auto found = part(dstate, s * pad + i);
          if (i >= plan.length)
            found = part(dstate, s * pad + i - plan.length);
          else
            found.setZero();
        }
      for (Index j = 0; j < patches; ++j)
        for (Index i = 0; i <= pad; ++i) {
          const Index t = plan.completed_at(j) - pad + i;
          const auto d = part(c.dcovered, (s * patches + j) * config_.patch + i);
          if (t < 0)
            part(dstate, (s + 1) * pad + t) += d;
          else
            column(dx, s * plan.length + t) += d;
        }
    }
  }

 private:
  /// Column i of a matrix [in, …] that is stored as taller columns.
  auto part(auto& m, Index i) const { return values(m.data() + i * config_.in, config_.in); }

  Config config_;
  Linear<Scalar> linear_;
};

}  // namespace qllk::nn
