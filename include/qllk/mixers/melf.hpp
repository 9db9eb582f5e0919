// Attention between folds of positions.
#pragma once

#include <string_view>
#include <utility>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/softmax_attention.hpp"
#include "qllk/nn/linear.hpp"
#include "qllk/nn/patching.hpp"

namespace qllk::mixers {

using linalg::column;

/// Folding attention: four positions are folded to one, folds attend to folds, and what they see is unfolded to
/// positions again.
///
///   f_p = W_f [x_{4p-3}; …; x_{4p}] + b_f          complete at position 4p; columns before the stream are zero
///   [z_0; z_1; z_2; z_3] of p = W_o u_p + b_o      u SoftmaxAttention's, of f_0 … f_p
///   y_t = z_{t mod 4} of the last fold complete at t, p = ⌊t / 4⌋
///
/// So position t sees positions up to 4·⌊t / 4⌋: causal, with a lag of up to three positions.
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous
/// Cost     5.5·dim² FLOP a position, and dim for each fold that its own sees: a 16th of the pairs of
///          SoftmaxAttention; backward 2 and 2.5 times that
/// State    2·dim scalars a fold of each sequence, of at most window - 1 folds, and 7·dim for the fold that is not
///          complete
/// Source   the first QLLK's MELF (folding of latents); attention: SoftmaxAttention's sources
template <Real S>
class Melf {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "melf";
  /// Positions of a fold.
  static constexpr Index kFold = 4;

  struct Config {
    Index dim = 0;
    Index head_dim = 0;  // 0: the largest divisor of dim up to 64
    Index window = 0;    // folds that one sees, itself among them; 0: all

    template <class Self, class F>
    static void members(Self& c, F&& f) {
      f("head_dim", c.head_dim), f("window", c.window);
    }
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors {
    typename nn::Linear<Scalar>::template Tensors<Matrix> fold;
    typename SoftmaxAttention<Scalar>::template Tensors<Matrix> attention;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("fold", t.fold...);
      visit("attention", t.attention...);
    }
  };
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;

  struct State {
    Mat<Scalar> columns;  // the last positions, of which folds are made [3·dim, sequences]
    typename SoftmaxAttention<Scalar>::State attention;  // of the folds
    Mat<Scalar> slots;  // what the last fold gives to its positions, until all are there [4·dim, sequences]
    Index phase = 0;    // positions seen so far, modulo 4

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("columns", t.columns...);
      visit("attention", t.attention...);
      visit("slots", t.slots...);
    }
  };

  struct Cache {
    nn::PatchPlan plan{kFold, 0, 0};
    typename nn::Patching<Scalar>::Cache patching;
    typename SoftmaxAttention<Scalar>::Cache attention;
    Mat<Scalar> folds, slots;
    Mat<Scalar> dfolds, dslots;
  };

  /// A stream has no end; memory has.
  static Config recommended() { return {.window = 1024}; }

  /// Throws std::invalid_argument unless dim > 0, head_dim is 0 or divides it, and window >= 0.
  explicit Melf(Config config)
      : config_(config),
        attention_({config.dim, config.head_dim, config.window}, kFold * config.dim),
        patching_({config.dim, config.dim, kFold}) {}

  /// Of a position whose fold sees `window` of them; without a window, of the projections only.
  double flop() const {
    const auto dim = static_cast<double>(config_.dim);
    return 2 * dim * dim + attention_.flop() / static_cast<double>(kFold);
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    patching_.reset(state.columns, sequences);
    attention_.reset(state.attention, sequences);
    state.slots.setZero(kFold * config_.dim, sequences);
    state.phase = 0;
  }
  Params zeros() const { return {patching_.zeros(), attention_.zeros()}; }
  Params init(Random& random) const {
    auto fold = patching_.init(random);
    return {std::move(fold), attention_.init(random)};
  }

  /// Writes y, advances the state. x and y must not alias.
  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    const Index sequences = state.slots.cols();
    c.plan = {kFold, sequences > 0 ? x.cols() / sequences : 0, state.phase};
    QLLK_ASSERT(x.cols() == sequences * c.plan.length && x.rows() == config_.dim);
    c.folds.resize(config_.dim, c.plan.patches() * sequences);
    c.slots.resize(kFold * config_.dim, c.folds.cols());
    patching_.forward(p.fold, x, c.plan, state.columns, c.patching, c.folds);
    attention_.forward(p.attention, c.folds, state.attention, c.attention, c.slots);
    nn::spread<Scalar>(c.plan, config_.dim, c.slots, state.slots,
                       [&](Index t, const auto& slot) { column(y, t) = slot; });
    state.phase = c.plan.next_phase();
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state, and much
  /// of the cache into gradients: once for each forward. x is the x of forward. dx must not alias x or dy. A g of
  /// ProductSum refers to the cache.
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar>, Cache& c, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    nn::spread_backward<Scalar>(c.plan, dy, dstate.slots, c.dslots);
    c.dfolds.resize(c.folds.rows(), c.folds.cols());
    attention_.backward(p.attention, c.folds, c.attention, c.dslots, dstate.attention, g.attention, c.dfolds);
    for (Index t = 0; t < dx.cols(); ++t) column(dx, t).setZero();
    patching_.backward(p.fold, c.patching, c.dfolds, dstate.columns, g.fold, dx);
  }

 private:
  Config config_;
  SoftmaxAttention<Scalar> attention_;
  nn::Patching<Scalar> patching_;
};

}  // namespace qllk::mixers
