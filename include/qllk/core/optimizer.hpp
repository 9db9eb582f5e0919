// What an optimiser is: settings, what a run of it remembers, and the rule of one update.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"

namespace qllk::inline QLLK_ISA {

namespace detail {

/// Parameters of one matrix, with which the concepts below are tried.
struct OneMatrix {
  Mat<float> weight;

  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("weight", t.weight...);
  }
};

struct VisitMember {
  void operator()(const char* name, const auto& member, const auto&... in_old_files) const;
};

template <class Tuple, class Params>
inline constexpr bool refers_to_trees_of_v = false;
template <class Params, class... Trees>
inline constexpr bool refers_to_trees_of_v<std::tuple<Trees...>, Params> = sizeof...(Trees) > 0 &&
                                                                           (std::same_as<Trees, Params&> && ...);

template <class State>
inline constexpr std::size_t moments_v = std::tuple_size_v<decltype(std::declval<State&>().moments())>;

template <class Rule, class Scalar, class Number>
inline constexpr bool apply_takes_params_gradient_every_moment_and_decays_v = false;
template <class Rule, class Scalar, std::size_t... moment>
inline constexpr bool
    apply_takes_params_gradient_every_moment_and_decays_v<Rule, Scalar, std::index_sequence<moment...>> =
        requires(const Rule& rule, std::span<Scalar> p, std::span<const Scalar> g, bool decays) {
  rule.apply(p, g, (static_cast<void>(moment), p)..., decays);
};

}  // namespace detail

/// Settings of an optimiser: a plain struct, whose type also stands for the optimiser.
///
///   kName           "lion": what checkpoints and messages call it
///   learning_rate   the peak that a schedule scales
///   check()         throws std::invalid_argument that names a setting outside its range
///   members(s, f)   calls f("beta1", s.beta1) for every setting, const or not: what a checkpoint keeps
template <class O>
concept OptimizerSettings = std::is_aggregate_v<O> && std::copyable<O> && requires(const O& settings, O& to_read) {
  { O::kName } -> std::convertible_to<const char*>;
  { settings.learning_rate } -> std::convertible_to<double>;
  settings.check();
  O::members(settings, detail::VisitMember{});
  O::members(to_read, detail::VisitMember{});
};

/// What a run remembers: trees of the parameters' structure, such as a momentum, and the number of updates made.
///
///   fields()    names every tree, as parameters do: walked for checkpoints and shapes
///   moments()   std::tie of the same trees, in the order in which the rule takes them
///   updates     std::int64_t
///
/// optim::zero_state makes it. Hashed tables have the moments of optim::RowUpdate in the last tree, none in the others.
template <class State, class Params>
concept OptimizerState = HasFields<State> && std::default_initializable<State> && requires(State& state) {
  { state.updates } -> std::same_as<std::int64_t&>;
  {state.moments()};
  requires detail::refers_to_trees_of_v<decltype(state.moments()), Params>;
};

/// One update, made from (settings, number of the update from 1, learning rate, factor of gradient clipping).
///
///   apply(params, gradient, moments…, decays)   updates values that lie side by side, all spans of one size
///
/// `decays` says whether the values are subject to weight decay. A value's update must depend on its own values only:
/// tiles are updated in any order, by any thread.
template <class Rule, class Settings, class Scalar, class State>
concept OptimizerRule = std::constructible_from<Rule, const Settings&, std::int64_t, double, double> &&
    detail::apply_takes_params_gradient_every_moment_and_decays_v<Rule, Scalar,
                                                                  std::make_index_sequence<detail::moments_v<State>>>;

/// An optimiser of dense parameters: settings that name their State<Params> and Update<Scalar>. Hashed tables are
/// updated by optim::RowUpdate, whatever the optimiser. optim/lion.hpp is an example.
template <class O>
concept Optimizer = OptimizerSettings<O> && requires {
  typename O::template State<detail::OneMatrix>;
  typename O::template Update<float>;
} && OptimizerState<typename O::template State<detail::OneMatrix>, detail::OneMatrix> &&
    OptimizerRule < typename O::template Update<float>,
    O,
float, typename O::template State < detail::OneMatrix >> ;

}  // namespace qllk::inline QLLK_ISA
