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
#include <span>
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
#include "qllk/linalg/int8_table.hpp"
#include "qllk/linalg/prefetch.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/linalg/weight_gemm.hpp"

namespace qllk::linalg {
namespace detail {

/// kRows rows by four columns at a time: sums[r] += Σ_{j<4} weights[4 r + j] · x[j], by the dot-product instruction
/// of the processor this is compiled for, if it has one. x86 multiplies unsigned by signed bytes: there x is moved up
/// by kOffset.
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
/// Products round each column of x in the same way: |y - W x| of a row is at most n · (127.25 / 127²) · max|W_r| ·
/// max|x| for n columns of W, and in practice far less. In memory it is fours of blocks of 16 rows and then single
/// ones, each by fours of columns: products read it front to back.
///
/// Source   Jacob et al. 2018, section 2; dynamic scales of activations as in Dettmers et al. 2022, section 2
class Int8Matrix {
 public:
  /// No weights.
  Int8Matrix() = default;
  /// Rounds weights [rows, cols].
  explicit Int8Matrix(const Mat<float>& weights) : rows_(weights.rows()), cols_(weights.cols()) {
    const Index blocks = (rows_ + kRows - 1) / kRows, fours = (cols_ + 3) / 4;
    values_.assign(static_cast<std::size_t>(blocks * fours * kRows * 4), 0);
    scales_.setZero(blocks * kRows);
    sums_.assign(static_cast<std::size_t>(blocks * kRows), 0);
    for (Index first = 0; first < blocks; first += together(first))
      for (Index r = first * kRows; r < std::min(rows_, (first + together(first)) * kRows); ++r) {
        const float largest = cols_ > 0 ? weights.row(r).cwiseAbs().maxCoeff<Eigen::PropagateNaN>() : 0.0f;
        scales_[r] = std::isfinite(largest) ? largest / 127 : std::numeric_limits<float>::quiet_NaN();
        if (largest < kSmallest || !std::isfinite(largest)) continue;
        for (Index k = 0; k < cols_; ++k) {
          const auto value = static_cast<std::int8_t>(std::lrint(weights(r, k) * (127 / largest)));
          const Index piece = first * fours + k / 4 * together(first) + r / kRows - first;
          values_[static_cast<std::size_t>((piece * kRows + r % kRows) * 4 + k % 4)] = value;
          sums_[static_cast<std::size_t>(r)] += value;
        }
      }
  }

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index size() const { return rows_ * cols_; }

  /// x ≈ scale · (byte - Int8Dot::kOffset), for products by any matrix with as many columns as x has rows.
  struct Rounded {
    std::vector<std::int32_t> fours;  // four bytes of a column each, the last filled up with zeros
    std::vector<float> scales;        // of each column; NaN where one of its values is not finite
  };
  /// Rounds activations [rows, n], each column by its own scale.
  static void round(MatIn<float> x, Rounded& out) {
    const auto size = static_cast<std::size_t>((x.rows() + 3) / 4), columns = static_cast<std::size_t>(x.cols());
    out.fours.resize(size * columns);
    out.scales.resize(columns);
    for (std::size_t t = 0; t < columns; ++t) {
      const float* const values = x.data() + static_cast<Index>(t) * x.outerStride();
      const float largest = largest_magnitude(values, x.rows());
      out.scales[t] = std::isfinite(largest) ? largest / 127 : std::numeric_limits<float>::quiet_NaN();
      const bool any = largest >= kSmallest && std::isfinite(largest);
      round(values, x.rows(), any ? 127 / largest : 0.0f, reinterpret_cast<std::uint8_t*>(out.fours.data() + t * size));
    }
  }

  /// Y = bias 1ᵀ + W X. A column of Y depends on that column of X only. Cost: 2·rows·cols operations on bytes a
  /// column.
  void multiply(const Rounded& x, const Vec<float>& bias, MatOut<float> y) const {
    const Index fours = (cols_ + 3) / 4;
    QLLK_ASSERT(y.rows() == rows_ && bias.size() == rows_ && std::ssize(x.scales) == y.cols());
    QLLK_ASSERT(std::ssize(x.fours) == fours * y.cols());
    for (Index t = 0; t < y.cols(); ++t) {
      const std::span column(x.fours.data() + t * fours, static_cast<std::size_t>(fours));
      const float scale = x.scales[static_cast<std::size_t>(t)];
      for (Index block = 0; block * kRows < rows_;) {
        const Index count = together(block);
        if (count == kTogether)
          blocks(block, column, scale, bias, y.col(t).data(), std::make_index_sequence<kTogether>());
        else
          blocks(block, column, scale, bias, y.col(t).data(), std::make_index_sequence<1>());
        block += count;
      }
    }
  }

 private:
  using Dot = detail::Int8Dot;
  static constexpr Index kRows = Dot::kRows, kTogether = 4;
  static constexpr float kSmallest =
      127 / std::numeric_limits<float>::max();  // less counts as 0: it has no finite scale
  // Weights come from afar, each once. Processors see that for themselves, but begin anew with every page: a line here
  // and there, so many bytes ahead, keeps them going. To ask for all lines is slower on Zen 4.
  static constexpr Index kAhead = 4096;

  /// Blocks that are together from this one on, which is not with any before it.
  Index together(Index block) const { return (block + kTogether - 1) * kRows < rows_ ? kTogether : 1; }

  /// max|x|, or NaN where there is one: without its sign a float is in the order of its bits, infinity and NaN last.
  static float largest_magnitude(const float* x, Index count) {
    std::int32_t most = 0;
    for (Index k = 0; k < count; ++k) most = std::max(most, std::bit_cast<std::int32_t>(x[k]) & 0x7FFFFFFF);
    return std::bit_cast<float>(most);
  }

  static void round(const float* x, Index count, float scale, std::uint8_t* out) {
    if (scale > 0)  // 0 times infinity has no integer
      for (Index k = 0; k < count; ++k)
        out[k] = static_cast<std::uint8_t>(static_cast<std::int32_t>(std::nearbyint(x[k] * scale)) + Dot::kOffset);
    else
      std::fill_n(out, count, static_cast<std::uint8_t>(Dot::kOffset));
    for (Index k = count; k % 4 != 0; ++k) out[k] = 0;  // meets weights of 0
  }

  /// sizeof...(I) blocks of rows at once, so that their sums do not wait for each other. Indices are constants, and
  /// sums registers.
  template <std::size_t... I>
  void blocks(Index block, std::span<const std::int32_t> x, float scale, const Vec<float>& bias, float* y,
              std::index_sequence<I...>) const {
    constexpr Index kPiece = kRows * 4, kBlocks = sizeof...(I);
    const Index row = block * kRows, count = std::min(kRows * kBlocks, rows_ - row);
    for (Index r = row; r < row + count; r += 16) {  // a line of each
      prefetch(bias.data() + r);
      prefetch(scales_.data() + r);
      prefetch(sums_.data() + r);
    }
    const std::int8_t* weights = values_.data() + block * std::ssize(x) * kPiece;
    Dot::Sums sums[] = {(static_cast<void>(I), Dot::zero())...};
    for (const std::int32_t four : x) {
      prefetch(weights + kAhead);
      ((sums[I] = Dot::add(sums[I], weights + static_cast<Index>(I) * kPiece, four)), ...);
      weights += kBlocks * kPiece;
    }
    std::int32_t out[kRows * kBlocks];
    (Dot::store(out + static_cast<Index>(I) * kRows, sums[I]), ...);
    for (Index r = 0; r < count; ++r) {
      const std::int32_t sum = out[r] - Dot::kOffset * sums_[static_cast<std::size_t>(row + r)];
      y[row + r] = bias[row + r] + static_cast<float>(sum) * scales_[row + r] * scale;
    }
  }

  Index rows_ = 0, cols_ = 0;
  std::vector<std::int8_t, Eigen::aligned_allocator<std::int8_t>> values_;  // a packet crosses no cache line
  Vec<float> scales_;               // 0 for the rows that fill up the last block
  std::vector<std::int32_t> sums_;  // of each row of Q: what the offset of x adds
};

/// As for a Mat; x is rounded once for all, to a buffer of this thread with a byte for each of its values.
inline void gemm_all(MatIn<float> x, std::span<AffineProduct<Int8Matrix, float>> products) {
  thread_local Int8Matrix::Rounded rounded;
  Int8Matrix::round(x, rounded);
  for (const auto& each : products) {
    QLLK_ASSERT(x.rows() == each.weight.cols());
    each.weight.multiply(rounded, each.bias, each.y);
  }
}

/// Y = bias 1ᵀ + W X, as for a Mat.
inline void gemm(const Int8Matrix& weights, MatIn<float> x, MatOut<float> y, const Vec<float>& bias) {
  AffineProduct<Int8Matrix, float> one{weights, bias, y};
  gemm_all(x, {&one, 1});
}

/// A model's parameters with every weight matrix and hash table rounded to 8 bits; other tables, biases and norms stay
/// as they are. For inference with the same model: forward takes either.
template <class Model>
typename Model::Int8Params to_int8(const typename Model::Params& params) {
  typename Model::Int8Params out;
  qllk::detail::build(params, out, [](const auto& from, auto& to) {
    using To = std::remove_cvref_t<decltype(to)>;
    if constexpr (std::is_same_v<To, Int8Matrix> || std::is_same_v<To, Int8Table>)
      to = To(from);
    else
      to = from;
  });
  return out;
}

}  // namespace qllk::linalg
