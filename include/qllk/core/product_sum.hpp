// The gradient of a weight matrix before its matrix products are taken.
#pragma once

#include <type_traits>
#include <vector>

#include "qllk/core/gemm.hpp"
#include "qllk/core/types.hpp"

namespace qllk {

/// Σ dY Xᵀ as a list of the factors, which stay where they are: the sum is taken later, a range of columns at a time, so
/// that many backward passes can share one matrix and many threads can share the work. The factors must live and keep their
/// values until then. Otherwise as the dense gradient [rows, cols] that it stands for.
template <Real Scalar>
class ProductSum {
 public:
  explicit ProductSum(Index rows = 0, Index cols = 0) : rows_(rows), cols_(cols) {}

  /// Forgets the terms, and keeps the memory of the list.
  void setZero() { terms_.clear(); }

  void add(MatIn<Scalar> dy, MatIn<Scalar> x) {
    QLLK_ASSERT(dy.rows() == rows_ && x.rows() == cols_ && dy.cols() == x.cols());
    terms_.push_back({{dy.data(), dy.rows(), dy.cols(), Eigen::OuterStride<>(dy.outerStride())},
                      {x.data(), x.rows(), x.cols(), Eigen::OuterStride<>(x.outerStride())}});
  }

  /// Adds columns [begin, begin + out.cols()) of the sum to out; overwrites out when it is `fresh`, which it is no longer.
  void add_to(MatOut<Scalar> out, Index begin, bool& fresh) const {
    for (const Term& term : terms_) {
      const auto x = term.x.middleRows(begin, out.cols());
      if (fresh)
        gemm(term.dy, x.transpose(), out);
      else
        gemm_add(term.dy, x.transpose(), out);
      fresh = false;
    }
  }

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index size() const { return rows_ * cols_; }

 private:
  using Factor = Eigen::Map<const Mat<Scalar>, 0, Eigen::OuterStride<>>;
  struct Term {
    Factor dy, x;
  };

  Index rows_, cols_;
  std::vector<Term> terms_;
};

/// total += dy xᵀ, at once or when the sum is taken.
template <Real Scalar>
void add_product(Mat<Scalar>& total, std::type_identity_t<MatIn<Scalar>> dy, std::type_identity_t<MatIn<Scalar>> x) {
  gemm_add(dy, x.transpose(), total);
}
template <Real Scalar>
void add_product(ProductSum<Scalar>& total, std::type_identity_t<MatIn<Scalar>> dy,
                 std::type_identity_t<MatIn<Scalar>> x) {
  total.add(dy, x);
}

}  // namespace qllk
