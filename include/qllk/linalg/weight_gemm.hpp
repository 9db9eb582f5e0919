// Products with weights, in the precision that a thread was told to compute them in.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/gemm_bfloat16.hpp"

namespace qllk::linalg {

/// What the factors of a product are rounded to. Its sums are of the matrices' own scalar always.
enum class Precision { full, bfloat16 };
constexpr auto enum_names(Precision) { return std::array{"float", "bfloat16"}; }

/// That in which the processor that this is compiled for takes most products a second.
inline constexpr Precision kFastestPrecision = kHasBFloat16Products ? Precision::bfloat16 : Precision::full;

/// While it lives, this thread takes products of float matrices with weights in that precision, as torch.autocast does;
/// everything else, double included, stays as it is. Training opens one in each of its tasks.
class UsePrecision {
 public:
  /// From here on.
  explicit UsePrecision(Precision precision) : before_(std::exchange(current(), precision)) {}
  ~UsePrecision() { current() = before_; }
  UsePrecision(const UsePrecision&) = delete;
  UsePrecision& operator=(const UsePrecision&) = delete;

  /// That of this thread.
  static Precision now() { return current(); }

 private:
  static Precision& current() {
    thread_local Precision precision = Precision::full;
    return precision;
  }
  Precision before_;
};

namespace detail {

template <class A>
FloatFactor float_factor(const A& a) {
  return {a.data(), a.outerStride(), is_transpose_v<A>};
}

/// Whether A is a matrix of floats, and this thread rounds them.
template <class A>
bool rounds() {
  if constexpr (std::is_base_of_v<Eigen::MatrixBase<A>, A>)
    return std::is_same_v<typename A::Scalar, float> && UsePrecision::now() == Precision::bfloat16;
  else
    return false;
}

template <class A, class B, class C>
void rounded_gemm(const A& a, const B& b, C& c, GemmStart<typename A::Scalar> start) {
  QLLK_ASSERT(a.cols() == b.rows() && a.rows() == c.rows() && b.cols() == c.cols());
  if constexpr (std::is_same_v<typename A::Scalar, float>) {
    PairProduct product{a.rows(), float_factor(a), {c.data(), c.outerStride(), start.data, start.stride}};
    gemm_bfloat16(b.cols(), a.cols(), float_factor(b), {&product, 1});
  }
}

}  // namespace detail

/// C = bias 1ᵀ + A B, where A or B is a weight or the other factor of its gradient; A may be a matrix of another
/// form, as Int8Matrix.
///
/// With bfloat16, both factors are rounded to nearest even, each sum is taken in float in the order of the depth, two
/// terms after each other, and a column of C depends on that column of B only. Denormals are zero. The same bits on
/// every x86 processor, with or without such an instruction. C must not alias A or B.
/// Cost     2·rows·cols·depth FLOP; a copy of the factors in 16 bits, of a part of the depth
template <class A, class B, class C, class Bias>
void weight_gemm(const A& a, const B& b, C&& c, const Bias& bias) {
  if constexpr (std::is_base_of_v<Eigen::MatrixBase<A>, A>)
    if (detail::rounds<A>()) return detail::rounded_gemm(a, b, c, {bias.data(), 0});
  gemm(a, b, c, bias);
}

/// C = A B; otherwise likewise.
template <class A, class B, class C>
void weight_gemm(const A& a, const B& b, C&& c) {
  if (detail::rounds<A>()) return detail::rounded_gemm(a, b, c, detail::gemm_zeros<typename A::Scalar>(c.rows()));
  gemm(a, b, c);
}

/// C += A B; otherwise likewise.
template <class A, class B, class C>
void weight_gemm_add(const A& a, const B& b, C&& c) {
  if (detail::rounds<A>()) return detail::rounded_gemm(a, b, c, {c.data(), c.outerStride()});
  gemm_add(a, b, c);
}

/// One of the products that gemm_all takes.
template <class Matrix, Real Scalar>
struct AffineProduct {
  const Matrix& weight;     // [out, in]
  const Vec<Scalar>& bias;  // [out]
  MatOut<Scalar> y;         // [out, n]
};

/// Of each: y = bias 1ᵀ + weight · x. Another form of matrix may have a gemm_all of its own, which prepares x once
/// for all.
template <class Matrix, Real Scalar>
void gemm_all(std::type_identity_t<MatIn<Scalar>> x, std::span<AffineProduct<Matrix, Scalar>> products) {
  if constexpr (std::is_same_v<Matrix, Mat<float>>) {
    constexpr std::size_t kMost = 8;  // at a time
    std::array<detail::PairProduct, kMost> pairs;
    while (detail::rounds<Matrix>() && !products.empty()) {
      const std::size_t count = std::min(products.size(), kMost);
      for (std::size_t i = 0; i < count; ++i) {
        auto& [weight, bias, y] = products[i];
        QLLK_ASSERT(weight.cols() == x.rows() && weight.rows() == y.rows() && y.cols() == x.cols());
        pairs[i] = {weight.rows(), detail::float_factor(weight), {y.data(), y.outerStride(), bias.data(), 0}};
      }
      detail::gemm_bfloat16(x.cols(), x.rows(), detail::float_factor(x), std::span(pairs).first(count));
      products = products.subspan(count);
    }
  }
  for (auto& each : products) weight_gemm(each.weight, x, each.y, each.bias);
}

}  // namespace qllk::linalg
