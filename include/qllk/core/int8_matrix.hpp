// Weights in a byte each, for inference.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"

namespace qllk {
namespace detail {

/// kRows rows by four columns at a time: sums[r] += Σ_{j<4} weights[4 r + j] · x[j], by the dot-product instruction of the
/// processor this is compiled for, if it has one. x86 multiplies unsigned by signed bytes: there x is moved up by kOffset.
struct Int8Dot {
  static constexpr Index kRows = 16;
#if defined(__AVX512VNNI__)
  static constexpr int kOffset = 128;
  using Sums = __m512i;
  static Sums zero() { return _mm512_setzero_si512(); }
  static Sums add(Sums sums, const std::int8_t* weights, std::int32_t x) {
    return _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(x), _mm512_loadu_si512(weights));
  }
  static void store(std::int32_t* out, Sums sums) { _mm512_storeu_si512(out, sums); }
#elif defined(__AVXVNNI__)
  static constexpr int kOffset = 128;
  using Sums = std::array<__m256i, 2>;
  static Sums zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Sums add(Sums sums, const std::int8_t* weights, std::int32_t x) {
    const auto* const both = reinterpret_cast<const __m256i*>(weights);
    const __m256i all = _mm256_set1_epi32(x);
    return {_mm256_dpbusd_avx_epi32(sums[0], all, _mm256_loadu_si256(both)),
            _mm256_dpbusd_avx_epi32(sums[1], all, _mm256_loadu_si256(both + 1))};
  }
  static void store(std::int32_t* out, Sums sums) {
    for (int i = 0; i < 2; ++i)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out) + i, sums[static_cast<unsigned>(i)]);
  }
#elif defined(__ARM_FEATURE_DOTPROD)
  static constexpr int kOffset = 0;
  using Sums = std::array<int32x4_t, 4>;
  static Sums zero() { return {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}; }
  static Sums add(Sums sums, const std::int8_t* weights, std::int32_t x) {
    const int8x16_t all = vreinterpretq_s8_s32(vdupq_n_s32(x));
    for (unsigned i = 0; i < 4; ++i) sums[i] = vdotq_s32(sums[i], vld1q_s8(weights + 16 * i), all);
    return sums;
  }
  static void store(std::int32_t* out, Sums sums) {
    for (unsigned i = 0; i < 4; ++i) vst1q_s32(out + 4 * i, sums[i]);
  }
#else
  static constexpr int kOffset = 0;
  using Sums = std::array<std::int32_t, 16>;
  static Sums zero() { return {}; }
  static Sums add(Sums sums, const std::int8_t* weights, std::int32_t x) {
    std::array<std::int8_t, 4> four;
    std::memcpy(four.data(), &x, 4);
    for (unsigned r = 0; r < 16; ++r)
      for (unsigned j = 0; j < 4; ++j) sums[r] += std::int32_t{weights[4 * r + j]} * four[j];
    return sums;
  }
  static void store(std::int32_t* out, Sums sums) { std::copy(sums.begin(), sums.end(), out); }
#endif
};

}  // namespace detail

/// A matrix rounded to 8 bits, each row with a scale of its own:
///
///   W ≈ diag(s) Q,   s_r = max_k |W_rk| / 127,   Q = round(diag(s)⁻¹ W) in [-127, 127]
///
/// Products round each column of x in the same way: |y - W x| of a row is at most n · (127.25 / 127²) · max|W_r| · max|x| for n
/// columns of W, and in practice far less. In memory it is fours of blocks of 16 rows and then single ones, each by fours of
/// columns: products read it front to back.
///
/// Source   Jacob et al. 2018, section 2; dynamic scales of activations as in Dettmers et al. 2022, section 2
class Int8Matrix {
 public:
  Int8Matrix() = default;
  explicit Int8Matrix(const Mat<float>& weights) : rows_(weights.rows()), cols_(weights.cols()) {
    const Index blocks = (rows_ + kRows - 1) / kRows, fours = (cols_ + 3) / 4;
    values_.assign(static_cast<std::size_t>(blocks * fours * kRows * 4), 0);
    scales_.setZero(blocks * kRows);
    sums_.assign(static_cast<std::size_t>(blocks * kRows), 0);
    for (Index r = 0; r < rows_; ++r) {
      const float largest = cols_ > 0 ? weights.row(r).cwiseAbs().maxCoeff() : 0.0f;
      scales_[r] = largest / 127;
      if (largest < kSmallest) continue;
      for (Index k = 0; k < cols_; ++k) {
        const auto value = static_cast<std::int8_t>(std::lrint(weights(r, k) * (127 / largest)));
        values_[static_cast<std::size_t>((place(r / kRows, k / 4) * kRows + r % kRows) * 4 + k % 4)] = value;
        sums_[static_cast<std::size_t>(r)] += value;
      }
    }
  }

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index size() const { return rows_ * cols_; }

  /// Y = bias 1ᵀ + W X. A column of Y depends on that column of X only. Cost: 2·rows·cols operations on bytes a column.
  void multiply(MatIn<float> x, const Vec<float>& bias, MatOut<float> y) const {
    QLLK_ASSERT(x.rows() == cols_ && y.rows() == rows_ && bias.size() == rows_ && x.cols() == y.cols());
    thread_local std::vector<std::int32_t> fours;
    fours.resize(static_cast<std::size_t>((cols_ + 3) / 4));
    for (Index t = 0; t < x.cols(); ++t) {
      const float largest = largest_magnitude(x.col(t).data());
      if (!std::isfinite(largest)) {
        y.col(t).setConstant(std::numeric_limits<float>::quiet_NaN());
        continue;
      }
      round(x.col(t).data(), largest < kSmallest ? 0.0f : 127 / largest, fours);
      for (Index row = 0; row < rows_;) {
        const Index left = rows_ - row;
        row += left > 3 * kRows ? blocks<4>(row, fours, largest / 127, bias, y.col(t).data())
                                : blocks<1>(row, fours, largest / 127, bias, y.col(t).data());
      }
    }
  }

 private:
  using Dot = detail::Int8Dot;
  static constexpr Index kRows = Dot::kRows;
  static constexpr float kSmallest =
      127 / std::numeric_limits<float>::max();  // less counts as 0: it has no finite scale
  static constexpr Index kAhead = 4096;         // bytes: weights come from afar, each once

  /// Where 16 rows by four columns are, counted in such pieces.
  Index place(Index block, Index four) const {
    const Index blocks = (rows_ + kRows - 1) / kRows, fours = (cols_ + 3) / 4;
    const Index first = block / 4 * 4, together = first + 4 <= blocks ? 4 : 1, begin = together == 4 ? first : block;
    return begin * fours + four * together + block - begin;
  }

  /// max|x|, or NaN where there is one: without its sign a float is in the order of its bits, infinity and NaN last.
  float largest_magnitude(const float* x) const {
    std::int32_t most = 0;
    for (Index k = 0; k < cols_; ++k) most = std::max(most, std::bit_cast<std::int32_t>(x[k]) & 0x7FFFFFFF);
    return std::bit_cast<float>(most);
  }

  void round(const float* x, float scale, std::vector<std::int32_t>& fours) const {
    auto* const out = reinterpret_cast<std::uint8_t*>(fours.data());
    const Index cols = cols_;  // a member could change by what is written to out
    for (Index k = 0; k < cols; ++k)
      out[k] = static_cast<std::uint8_t>(static_cast<std::int32_t>(std::nearbyint(x[k] * scale)) + Dot::kOffset);
    std::fill(out + cols, out + 4 * fours.size(), std::uint8_t{0});
  }

  /// Count blocks of rows at once, so that their sums do not wait for each other.
  template <unsigned Count>
  Index blocks(Index row, const std::vector<std::int32_t>& x, float scale, const Vec<float>& bias, float* y) const {
    const std::int8_t* weights = values_.data() + place(row / kRows, 0) * kRows * 4;
    for (Index r = row; r < row + kRows * Count; r += 16) {  // a line of each
      __builtin_prefetch(bias.data() + r);
      __builtin_prefetch(scales_.data() + r);
      __builtin_prefetch(sums_.data() + r);
    }
    Dot::Sums sums[Count];
    for (auto& sum : sums) sum = Dot::zero();
    for (const std::int32_t four : x)
#pragma GCC unroll 4
      for (unsigned i = 0; i < Count; ++i, weights += kRows * 4) {
        __builtin_prefetch(weights + kAhead);
        sums[i] = Dot::add(sums[i], weights, four);
      }
    std::array<std::int32_t, static_cast<std::size_t>(kRows) * Count> out;
    for (unsigned i = 0; i < Count; ++i) Dot::store(out.data() + i * kRows, sums[i]);
    const Index count = std::min<Index>(kRows * Count, rows_ - row);
    for (Index r = 0; r < count; ++r) {
      const std::int32_t sum =
          out[static_cast<std::size_t>(r)] - Dot::kOffset * sums_[static_cast<std::size_t>(row + r)];
      y[row + r] = bias[row + r] + static_cast<float>(sum) * scales_[row + r] * scale;
    }
    return kRows * Count;
  }

  Index rows_ = 0, cols_ = 0;
  std::vector<std::int8_t> values_;
  Vec<float> scales_;               // 0 for the rows that fill up the last block
  std::vector<std::int32_t> sums_;  // of each row of Q: what the offset of x adds
};

/// Y = bias 1ᵀ + W X, as for a Mat.
inline void gemm(const Int8Matrix& weights, MatIn<float> x, MatOut<float> y, const Vec<float>& bias) {
  weights.multiply(x, bias, y);
}

/// A model's parameters with every weight matrix rounded to 8 bits; tables, biases and norms stay as they are, and are
/// moved. For inference with the same model: forward takes either.
template <class Model>
typename Model::Int8Params to_int8(typename Model::Params params) {
  typename Model::Int8Params out;
  detail::build(params, out, [](auto& from, auto& to) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(to)>, Int8Matrix>)
      to = Int8Matrix(from);
    else
      to = std::move(from);
  });
  return out;
}

}  // namespace qllk
