// A recurrent unit small enough to be trained in parallel.
#pragma once

#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/nn/linear.hpp"

namespace qllk::mixers {

using linalg::column;

/// Minimal gated recurrent unit: the gate and the candidate see the input only.
///
///   z_t = sigmoid(W_z x_t + b_z),   c_t = W_c x_t + b_c
///   h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ c_t
///   y_t = W_o h_t + b_o
///
///   backward, from the last position:   dh_t = W_oᵀ dy_t + (1 - z_{t+1}) ⊙ dh_{t+1}
///                                       dc_t = z_t ⊙ dh_t,   d(W_z x_t) = z_t (1 - z_t) ⊙ (c_t - h_{t-1}) ⊙ dh_t
///
/// Shapes   x, y, dy, dx: [dim, n]    n = sequences × length, each sequence contiguous
/// Cost     6·dim²·n FLOP forward, twice that backward; dim scalars of state a sequence
/// Source   Feng et al. 2024, "Were RNNs all we needed?", section 3.1.2
template <Real S>
class MinGru {
 public:
  using Scalar = S;
  static constexpr std::string_view name = "min_gru";

  struct Config {
    Index dim = 0;

    template <class Self, class F>
    static void members(Self&, F&&) {}
    bool operator==(const Config&) const = default;
  };

  struct Params {
    typename nn::Linear<Scalar>::Params gate, candidate, out_proj;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("gate", t.gate...);
      visit("candidate", t.candidate...);
      visit("out_proj", t.out_proj...);
    }
  };
  using Grads = Params;

  struct State {
    Mat<Scalar> hidden;  // [dim, sequences]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("hidden", t.hidden...);
    }
  };

  struct Cache {
    Mat<Scalar> start;            // the state before the first position
    Mat<Scalar> gate, candidate;  // z, c; after backward the gradients of what the sigmoid saw, and of c
    Mat<Scalar> hidden;           // h
    typename nn::Linear<Scalar>::Cache linear;
  };

  static Config recommended() { return {}; }

  /// Throws std::invalid_argument unless dim > 0.
  explicit MinGru(Config config) : config_(config), linear_({config.dim, config.dim}) {}

  double flop() const { return 6.0 * static_cast<double>(config_.dim) * static_cast<double>(config_.dim); }
  State initial_state(Index sequences) const { return {Mat<Scalar>::Zero(config_.dim, sequences)}; }
  void reset(State& state, Index sequences) const { state.hidden.setZero(config_.dim, sequences); }

  Params zeros() const { return {linear_.zeros(), linear_.zeros(), linear_.zeros()}; }
  /// Gates start spread evenly, in the logarithm, over memories of 2 to 1,024 positions.
  Params init(Random& random) const {
    Params p{linear_.init(random), linear_.init(random), linear_.init(random)};
    for (Index i = 0; i < config_.dim; ++i) {
      const double octave =
          config_.dim > 1 ? 1 + 9.0 * static_cast<double>(i) / static_cast<double>(config_.dim - 1) : 5;
      p.gate.bias[i] = static_cast<Scalar>(-std::log(std::exp2(octave) - 1));  // sigmoid of it is 2^-octave
    }
    return p;
  }

  /// Writes y, advances the state. x and y must not alias.
  void forward(const Params& p, MatIn<Scalar> x, State& state, Cache& c, MatOut<Scalar> y) const {
    const Index sequences = state.hidden.cols(), length = sequences > 0 ? x.cols() / sequences : 0;
    QLLK_ASSERT(x.cols() == sequences * length && x.rows() == config_.dim);
    for (auto* part : {&c.gate, &c.candidate, &c.hidden}) part->resize(config_.dim, x.cols());
    c.start = state.hidden;
    linear_.forward(p.gate, x, c.linear, c.gate);
    linear_.forward(p.candidate, x, c.linear, c.candidate);
    for (Index s = 0; s < sequences; ++s)
      for (Index t = s * length; t < (s + 1) * length; ++t) {
        auto z = column(c.gate, t), h = column(state.hidden, s);
        z = z.logistic();
        h += z * (column(c.candidate, t) - h);
        column(c.hidden, t) = h;
      }
    linear_.forward(p.out_proj, c.hidden, c.linear, y);
  }

  /// Adds to g, overwrites dx; replaces dstate, the gradient of the final state, by that of the initial state. Once for
  /// each forward. x is the x of forward. dx must not alias x or dy.
  void backward(const Params& p, MatIn<Scalar> x, Cache& c, MatIn<Scalar> dy, State& dstate, Grads& g,
                MatOut<Scalar> dx) const {
    const Index sequences = dstate.hidden.cols(), length = sequences > 0 ? x.cols() / sequences : 0;
    linear_.backward(p.out_proj, c.hidden, c.linear, dy, g.out_proj, dx);  // dx: of h, from y
    for (Index s = 0; s < sequences; ++s)
      for (Index t = (s + 1) * length; t-- > s * length;) {
        auto z = column(c.gate, t), candidate = column(c.candidate, t), dh = column(dstate.hidden, s),
             from_y = column(dx, t);
        const auto before = t > s * length ? column(c.hidden, t - 1) : column(c.start, s);
        dh += from_y;
        from_y = z * (Scalar(1) - z) * (candidate - before) * dh;
        candidate = z * dh;
        dh -= candidate;
        z = from_y;
      }
    linear_.backward(p.gate, x, c.linear, c.gate, g.gate, dx);
    linear_.backward_add(p.candidate, x, c.candidate, g.candidate, dx);
  }

 private:
  Config config_;
  nn::Linear<Scalar> linear_;
};

}  // namespace qllk::mixers
