// Adam and AdamW.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"
#include "qllk/optim/row_update.hpp"

namespace qllk::optim {

/// Adam's settings. Source: Kingma and Ba 2015, algorithm 1, with the bias corrections as torch.optim.Adam applies them.
struct Adam {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  static constexpr double weight_decay = 0;
};

/// Adam's settings with decoupled weight decay: matrices shrink by learning_rate · weight_decay at every step; vectors
/// (biases, norms) do not. Source: Loshchilov and Hutter 2019, algorithm 2.
struct AdamW {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
};

/// What a run of Adam remembers: two moments for every parameter, and the number of updates made.
template <HasFields Params>
struct AdamState {
  Params first, second;
  std::int64_t updates = 0;

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("first", t.first...);
    visit("second", t.second...);
  }

  /// Zero moments for parameters of these shapes.
  static AdamState of(const Params& params) {
    const auto moment = [&](Index rows_of_table) {
      return build_like<Params>(params, [rows_of_table](const auto& p, auto& m) {
        if constexpr (!is_hash_table_v<std::remove_cvref_t<decltype(p)>>)
          m.setZero(p.rows(), p.cols());
        else if (rows_of_table > 0)
          m.setZero(rows_of_table, p.cols());
      });
    };
    return {moment(0), moment(RowUpdate<float>::kMoments)};
  }
};

/// One update's constants, the same for every value.
///
///   m = β₁ m + (1-β₁) c g,   v = β₂ v + (1-β₂) (c g)²,   p = (1 - η λ) p - η/(1-β₁ᵗ) · m / ( √(v / (1-β₂ᵗ)) + ε )
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
    const auto check = [](const char* name, double value, bool good, const char* expected) {
      if (!good)
        throw std::invalid_argument(std::string("Adam: ") + name + " is " + std::to_string(value) + ", expected " +
                                    expected);
    };
    check("learning_rate", learning_rate, learning_rate >= 0, ">= 0");
    check("beta1", s.beta1, s.beta1 >= 0 && s.beta1 < 1, "in [0, 1)");
    check("beta2", s.beta2, s.beta2 >= 0 && s.beta2 < 1, "in [0, 1)");
    check("epsilon", s.epsilon, s.epsilon > 0, "> 0");
    check("weight_decay", s.weight_decay, s.weight_decay >= 0, ">= 0");
  }

  /// Updates values that lie side by side; all spans have p's size. Pieces may be updated in any order, by any thread.
  void apply(std::span<Scalar> p, std::span<const Scalar> g, std::span<Scalar> m, std::span<Scalar> v,
             bool decays) const {
    const Scalar keep = decays ? keep_ : Scalar(1);
    const auto all = static_cast<Index>(p.size());
    // A tile is asked for kAhead values before three passes over it, each of which would wait where a page begins.
    constexpr Index kTile = 128, kAhead = 512, kLine = 64 / Index{sizeof(Scalar)};
    for (Index at = 0; at < all; at += kTile) {
      const Index size = std::min(kTile, all - at);
      for (Index i = at + kAhead; i < std::min(at + kAhead + kTile, all); i += kLine) {
        __builtin_prefetch(g.data() + i);
        for (Scalar* const written : {m.data(), v.data(), p.data()}) __builtin_prefetch(written + i, 1);
      }
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

/// Whether a leaf is a matrix, and so subject to weight decay.
template <class Leaf>
inline constexpr bool decays_v = Leaf::ColsAtCompileTime != 1;

/// One update of every parameter, by one thread, at settings.learning_rate. Hashed tables are updated as `rows` says.
template <class Settings, HasFields Params, HasFields Grads>
void step(const Settings& settings, Params& params, Grads& grads, AdamState<Params>& state, const RowWise& rows = {}) {
  ++state.updates;
  for_each_parameter(
      [&](const Path&, auto& p, auto& g, auto& m, auto& v) {
        using Leaf = std::remove_cvref_t<decltype(p)>;
        using Scalar = typename Leaf::Scalar;
        if constexpr (is_hash_table_v<Leaf>) {
          g.sort_by_bucket(RowUpdate<Scalar>::kShift);
          const RowUpdate<Scalar> update(rows, settings.learning_rate);
          const SparseGrads<Scalar>* const all[] = {&g};
          for (Index b = 0; b < update.buckets(p.cols()); ++b) update.apply(p, all, v, b);
        } else {
          const auto size = static_cast<std::size_t>(p.size());
          AdamUpdate<Scalar>(settings, state.updates, settings.learning_rate)
              .apply({p.data(), size}, {g.data(), size}, {m.data(), size}, {v.data(), size}, decays_v<Leaf>);
        }
      },
      params, grads, state.first, state.second);
}

}  // namespace qllk::optim
