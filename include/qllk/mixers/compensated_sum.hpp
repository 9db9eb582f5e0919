// Sums of so many terms that rounding would add up.
#pragma once

#include <algorithm>

#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::mixers {

using linalg::Values;

/// sum += terms, where `rest` is what rounding has added too much to sum so far: 0 at first.
///
///   t = terms - rest,   s = fl(sum + t),   rest = (s - sum) - t,   sum = s
///
/// Without it, ten million terms that do not cancel leave an error of 3 % in float; with it, one of rounding. In exact
/// arithmetic rest is 0, and its gradient the negative one of the sum.
///
/// Shapes   all the same    Cost  4 additions a term
/// Source   Kahan 1965, "Further remarks on reducing truncation errors"
template <Real Scalar, class Terms>
void add_compensated(Values<Scalar> sum, Values<Scalar> rest, const Terms& terms) {
  constexpr Index kTile = 128;
  alignas(64) Scalar corrected[kTile], added[kTile];
  for (Index at = 0; at < sum.size(); at += kTile) {
    const Index size = std::min(kTile, sum.size() - at);
    auto term = linalg::values(corrected, size), total = linalg::values(added, size);
    auto before = sum.segment(at, size), lost = rest.segment(at, size);
    term = terms.segment(at, size) - lost;
    total = before + term;
    lost = (total - before) - term;
    before = total;
  }
}

}  // namespace qllk::mixers
