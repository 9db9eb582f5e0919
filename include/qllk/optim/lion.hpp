// Lion.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>

#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"
#include "qllk/optim/step.hpp"

namespace qllk::optim {

template <HasFields Params>
struct LionState;
template <Real Scalar>
class LionUpdate;

/// Lion's settings. Every value moves by exactly the learning rate: choose it 3 to 10 times smaller than AdamW's, and
/// the weight decay as much larger. RowWise::rate is a multiple of the learning rate: raise it as much too where a
/// model has hashed tables.
struct Lion {
  static constexpr const char* kName = "lion";
  /// What a run remembers.
  template <HasFields Params>
  using State = LionState<Params>;
  template <Real Scalar>
  using Update = LionUpdate<Scalar>;

  double learning_rate = 4e-4;  // how far a value moves at the peak; a schedule multiplies it
  double beta1 = 0.9;           // share of the momentum in an update's direction
  double beta2 = 0.99;          // share of the momentum that the next one keeps
  double weight_decay = 0.05;   // of matrices

  /// Throws std::invalid_argument that names a setting outside its range.
  void check() const {
    expect_setting(learning_rate > 0, "learning rate", learning_rate, "> 0");
    expect_setting(beta1 >= 0 && beta1 < 1, "beta1", beta1, ">= 0 and < 1");
    expect_setting(beta2 >= 0 && beta2 < 1, "beta2", beta2, ">= 0 and < 1");
    expect_setting(weight_decay >= 0, "weight decay", weight_decay, ">= 0");
  }
  template <class Settings, class F>
  static void members(Settings& s, F&& f) {
    f("learning_rate", s.learning_rate), f("beta1", s.beta1), f("beta2", s.beta2);
    f("weight_decay", s.weight_decay);
  }
};

/// What a run of Lion remembers: the momentum of every parameter, and the number of updates made.
template <HasFields Params>
struct LionState {
  Params momentum;           // in the shapes of the parameters
  std::int64_t updates = 0;  // made so far

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("momentum", t.momentum...);
  }
  auto moments() { return std::tie(momentum); }
};

/// One update of Lion.
///
///   p = (1 - η λ) p - η sign( β₁ m + (1-β₁) c g ),   m = β₂ m + (1-β₂) c g
///
/// with η the learning rate, λ the weight decay (0 for vectors), c the factor of gradient clipping, and sign(0) = 0.
///
/// Shapes   p, g, m: any number of values side by side, the same for all
/// Cost     5 values read or written for each parameter, where Adam has 7; one moment instead of two
/// Errors   std::invalid_argument when the learning rate is negative; settings are checked by Lion::check
/// Source   Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2
template <Real Scalar>
class LionUpdate {
 public:
  /// The rule of one update at this learning rate.
  LionUpdate(const Lion& s, std::int64_t /*update*/, double learning_rate, double clip = 1)
      : beta1_(static_cast<Scalar>(s.beta1)),
        beta2_(static_cast<Scalar>(s.beta2)),
        rest1_(static_cast<Scalar>((1 - s.beta1) * clip)),
        rest2_(static_cast<Scalar>((1 - s.beta2) * clip)),
        rate_(static_cast<Scalar>(learning_rate)),
        keep_(static_cast<Scalar>(1 - learning_rate * s.weight_decay)) {
    expect_setting(learning_rate >= 0, "learning rate", learning_rate, ">= 0");
  }

  /// Updates values that lie side by side; all spans have p's size and none overlap.
  void apply(std::span<Scalar> p, std::span<const Scalar> g, std::span<Scalar> m, bool decays) const {
    const Scalar keep = decays ? keep_ : Scalar(1);
    Scalar* __restrict const param = p.data();
    Scalar* __restrict const momentum = m.data();
    const Scalar* __restrict const grad = g.data();
    for (std::size_t i = 0; i < p.size(); ++i) {
      const Scalar direction = beta1_ * momentum[i] + rest1_ * grad[i];
      const Scalar sign = static_cast<Scalar>(direction > 0) - static_cast<Scalar>(direction < 0);
      param[i] = keep * param[i] - rate_ * sign;
      momentum[i] = beta2_ * momentum[i] + rest2_ * grad[i];
    }
  }

 private:
  Scalar beta1_, beta2_, rest1_, rest2_, rate_, keep_;
};

}  // namespace qllk::optim
