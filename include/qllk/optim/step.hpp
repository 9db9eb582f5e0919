// What all optimisers share: a state of zeros, one update by one thread, and the check of a setting.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

#include "qllk/core/optimizer.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/optim/row_update.hpp"

namespace qllk::optim {

using linalg::is_hash_table_v, linalg::SparseGrads;

/// Throws std::invalid_argument "name is value, expected …" unless the setting is good.
template <class Value>
QLLK_COLD void expect_setting(bool good, const char* name, Value value, const char* expected) {
  if (!good) throw InvalidArgument(std::string(name) + " is " + std::to_string(value) + ", expected " + expected);
}

/// Whether a leaf is a matrix, and so subject to weight decay.
template <class Leaf>
inline constexpr bool decays_v = Leaf::ColsAtCompileTime != 1;

/// The state of an optimiser before its first update, for parameters of these shapes: zeros. A hashed table has the
/// moments of RowUpdate in the last tree and nothing in the others.
template <Optimizer Optim, HasFields Params>
QLLK_COLD typename Optim::template State<Params> zero_state(const Params& params) {
  typename Optim::template State<Params> state;
  std::apply(
      [&](auto&... trees) {
        std::size_t left = sizeof...(trees);
        const auto zero = [&](Params& tree) {
          const Index table_rows = --left == 0 ? RowUpdate<float>::kMoments : 0;
          tree = build_like<Params>(params, [table_rows](const auto& p, auto& m) {
            if constexpr (!is_hash_table_v<std::remove_cvref_t<decltype(p)>>)
              m.setZero(p.rows(), p.cols());
            else if (table_rows > 0)
              m.setZero(table_rows, p.cols());
          });
        };
        (zero(trees), ...);
      },
      state.moments());
  return state;
}

/// One update of every parameter, by one thread, at settings.learning_rate. Hashed tables are updated as `rows` says.
template <Optimizer Optim, HasFields Params, HasFields Grads>
void step(const Optim& settings, Params& params, Grads& grads, typename Optim::template State<Params>& state,
          const RowWise& rows = {}) {
  ++state.updates;
  const auto update = [&](const Path&, auto& p, auto& g, auto&... moments) {
    using Leaf = std::remove_cvref_t<decltype(p)>;
    using Scalar = typename Leaf::Scalar;
    if constexpr (is_hash_table_v<Leaf>) {
      g.sort_by_bucket(RowUpdate<Scalar>::kShift);
      const RowUpdate<Scalar> rule(rows, settings.learning_rate);
      const SparseGrads<Scalar>* const all[] = {&g};
      auto& of_rows = std::get<sizeof...(moments) - 1>(std::tie(moments...));
      for (Index b = 0; b < rule.buckets(p.cols()); ++b) rule.apply(p, all, of_rows, b);
    } else {
      const auto span = [](auto& leaf) { return std::span(leaf.data(), static_cast<std::size_t>(leaf.size())); };
      const typename Optim::template Update<Scalar> rule(settings, state.updates, settings.learning_rate, 1.0);
      rule.apply(span(p), span(g), span(moments)..., decays_v<Leaf>);
    }
  };
  std::apply([&](auto&... trees) { for_each_parameter(update, params, grads, trees...); }, state.moments());
}

}  // namespace qllk::optim
