// Adam and AdamW.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <tuple>

#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/prefetch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/optim/step.hpp"

namespace qllk::optim {

using linalg::values;

template <HasFields Params>
struct AdamState;
template <Real Scalar>
class AdamUpdate;

namespace detail {
/// All settings but the learning rate.
template <class Settings>
void check_adam(const Settings& s) {
  expect_setting(s.beta1 >= 0 && s.beta1 < 1, "beta1", s.beta1, ">= 0 and < 1");
  expect_setting(s.beta2 >= 0 && s.beta2 < 1, "beta2", s.beta2, ">= 0 and < 1");
  expect_setting(s.epsilon > 0, "epsilon", s.epsilon, "> 0");
  expect_setting(s.weight_decay >= 0, "weight decay", s.weight_decay, ">= 0");
}
}  // namespace detail

/// Adam's settings. Source: Kingma and Ba 2015, algorithm 1, with the bias corrections as torch.optim.Adam applies
/// them.
struct Adam {
  static constexpr const char* kName = "adam";
  /// What a run remembers.
  template <HasFields Params>
  using State = AdamState<Params>;
  template <Real Scalar>
  using Update = AdamUpdate<Scalar>;

  double learning_rate = 1e-3;               // the peak; a schedule multiplies it
  double beta1 = 0.9;                        // share of the first moment that the next one keeps
  double beta2 = 0.999;                      // share of the second moment that the next one keeps
  double epsilon = 1e-8;                     // added to the root of the second moment
  static constexpr double weight_decay = 0;  // it has none

  /// Throws std::invalid_argument that names a setting outside its range.
  void check() const {
    expect_setting(learning_rate > 0, "learning rate", learning_rate, "> 0");
    detail::check_adam(*this);
  }
  template <class Settings, class F>
  static void members(Settings& s, F&& f) {
    f("learning_rate", s.learning_rate), f("beta1", s.beta1), f("beta2", s.beta2), f("epsilon", s.epsilon);
  }
};

/// Adam's settings with decoupled weight decay: matrices shrink by learning_rate · weight_decay at every step; vectors
/// (biases, norms) do not. The defaults are those of train::Trainer. Source: Loshchilov and Hutter 2019, algorithm 2.
struct AdamW {
  static constexpr const char* kName = "adamw";
  /// What a run remembers.
  template <HasFields Params>
  using State = AdamState<Params>;
  template <Real Scalar>
  using Update = AdamUpdate<Scalar>;

  double learning_rate = 2e-3;  // the peak; a schedule multiplies it
  double beta1 = 0.9;           // share of the first moment that the next one keeps
  double beta2 = 0.99;          // share of the second moment that the next one keeps
  double epsilon = 1e-8;        // added to the root of the second moment
  double weight_decay = 0.01;   // of matrices; see above

  /// Throws std::invalid_argument that names a setting outside its range.
  void check() const {
    expect_setting(learning_rate > 0, "learning rate", learning_rate, "> 0");
    detail::check_adam(*this);
  }
  template <class Settings, class F>
  static void members(Settings& s, F&& f) {
    f("learning_rate", s.learning_rate), f("beta1", s.beta1), f("beta2", s.beta2), f("epsilon", s.epsilon);
    f("weight_decay", s.weight_decay);
  }
};

/// What a run of Adam or AdamW remembers: two moments for every parameter, and the number of updates made.
template <HasFields Params>
struct AdamState {
  Params first, second;      // moments, in the shapes of the parameters
  std::int64_t updates = 0;  // made so far

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("first", t.first...);
    visit("second", t.second...);
  }
  auto moments() { return std::tie(first, second); }

  /// Zero moments for parameters of these shapes.
  static AdamState of(const Params& params) { return zero_state<AdamW>(params); }
};

/// One update's constants, the same for every value.
///
///   m = β₁ m + (1-β₁) c g
///   v = β₂ v + (1-β₂) (c g)²
///   p = (1 - η λ) p - η/(1-β₁ᵗ) · m / ( √(v / (1-β₂ᵗ)) + ε )
///
/// with η the learning rate, λ the weight decay, c the factor of gradient clipping, t the number of this update.
template <Real Scalar>
class AdamUpdate {
 public:
  /// Throws std::invalid_argument when a setting is outside its range.
  template <class Settings>
  AdamUpdate(const Settings& s, std::int64_t update, double learning_rate, double clip = 1)
      : beta1_(static_cast<Scalar>(s.beta1)),
        beta2_(static_cast<Scalar>(s.beta2)),
        rest1_(static_cast<Scalar>((1 - s.beta1) * clip)),
        rest2_(static_cast<Scalar>((1 - s.beta2) * clip * clip)),
        rate_(static_cast<Scalar>(learning_rate / (1 - std::pow(s.beta1, static_cast<double>(update))))),
        root_(static_cast<Scalar>(1 / std::sqrt(1 - std::pow(s.beta2, static_cast<double>(update))))),
        epsilon_(static_cast<Scalar>(s.epsilon)),
        keep_(static_cast<Scalar>(1 - learning_rate * s.weight_decay)) {
    expect_setting(learning_rate >= 0, "learning rate", learning_rate, ">= 0");
    detail::check_adam(s);
  }

  /// Updates values that lie side by side; all spans have p's size. Pieces may be updated in any order, by any thread.
  void apply(std::span<Scalar> p, std::span<const Scalar> g, std::span<Scalar> m, std::span<Scalar> v,
             bool decays) const {
    const Scalar keep = decays ? keep_ : Scalar(1);
    const auto all = static_cast<Index>(p.size());
    // A tile is asked for kAhead values before three passes over it, each of which would wait where a page begins.
    constexpr Index kTile = 128, kAhead = 512;
    for (Index at = 0; at < all; at += kTile) {
      const Index size = std::min(kTile, all - at);
      const Index ahead = std::clamp<Index>(all - at - kAhead, 0, kTile);
      linalg::prefetch(g.data() + at + kAhead, ahead);
      for (Scalar* const written : {m.data(), v.data(), p.data()})
        linalg::prefetch<linalg::Access::write>(written + at + kAhead, ahead);
      auto param = values(p.data() + at, size), first = values(m.data() + at, size),
           second = values(v.data() + at, size);
      const auto grad = values(g.data() + at, size);
      first = beta1_ * first + rest1_ * grad;
      second = beta2_ * second + rest2_ * grad.square();
      param = param * keep - rate_ * first / (second.sqrt() * root_ + epsilon_);
    }
  }

 private:
  Scalar beta1_, beta2_, rest1_, rest2_, rate_, root_, epsilon_, keep_;
};

}  // namespace qllk::optim
