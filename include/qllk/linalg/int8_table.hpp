// Lookup tables in a byte a value, for inference.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "qllk/core/types.hpp"
#include "qllk/linalg/prefetch.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::linalg {

/// A HashTable rounded to 8 bits, each column (= key) with a scale of its own, as a row of Int8Matrix has:
///
///   T[k] ≈ s_k q_k,   s_k = max |T[k]| / 127,   q_k = round(T[k] / s_k) in [-127, 127]
///
/// An error is at most s_k / 2. A column with a value that is not finite becomes NaN.
///
/// Cost     dim + 4 bytes a key, a quarter of a HashTable; adding a column reads a quarter of the memory
/// Source   Jacob et al. 2018, section 2
class Int8Table {
 public:
  Int8Table() = default;
  explicit Int8Table(const HashTable<float>& table)
      : values_(table.rows(), table.cols()), scales_(Vec<float>::Zero(table.cols())) {
    constexpr float kSmallest = 127 / std::numeric_limits<float>::max();  // less counts as 0: it has no finite scale
    for (Index key = 0; key < table.cols(); ++key) {
      const auto from = column(table, key);
      const float largest = from.size() > 0 ? from.abs().maxCoeff<Eigen::PropagateNaN>() : 0.0f;
      values_.col(key).setZero();
      if (!std::isfinite(largest)) scales_[key] = std::numeric_limits<float>::quiet_NaN();
      if (!(largest >= kSmallest) || !std::isfinite(largest)) continue;
      scales_[key] = largest / 127;
      const float scale = 127 / largest;
      for (Index i = 0; i < from.size(); ++i)
        values_(i, key) = static_cast<std::int8_t>(std::nearbyint(from[i] * scale));
    }
  }

  /// The shape of the table: dim, and keys.
  Index rows() const { return values_.rows(); }
  Index cols() const { return values_.cols(); }
  Index size() const { return values_.size(); }

  /// The rounded values of a key.
  const std::int8_t* column_of(Index key) const { return values_.data() + key * values_.rows(); }
  /// What the values of a key are multiplied by; NaN where one was not finite.
  const float& scale_of(Index key) const { return scales_[key]; }

 private:
  Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic> values_;
  Vec<float> scales_;
};

/// y ± T[key]
inline void add_key(const Int8Table& table, Index key, bool minus, Values<float> y) {
  QLLK_ASSERT(y.size() == table.rows());
  const std::int8_t* const from = table.column_of(key);
  const float scale = minus ? -table.scale_of(key) : table.scale_of(key);
  float* const out = y.data();
  for (Index i = 0; i < y.size(); ++i) out[i] += scale * static_cast<float>(from[i]);
}

/// Whether training has written this key, as for a HashTable.
inline bool is_trained(const Int8Table& table, Index key) { return table.scale_of(key) != 0; }

/// Asks for a column that is added soon.
inline void prefetch_key(const Int8Table& table, Index key) {
  prefetch(table.column_of(key), table.rows());
  prefetch(&table.scale_of(key), 1);
}

}  // namespace qllk::linalg
