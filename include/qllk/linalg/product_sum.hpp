// The gradient of a weight matrix before its matrix products are taken.
#pragma once

#include <type_traits>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/weight_gemm.hpp"

namespace qllk::linalg {

namespace detail {
/// A matrix that can be referred to: its values lie in memory, and it is no temporary that owns them.
template <class M>
concept Referable = (std::remove_cvref_t<M>::Flags & Eigen::DirectAccessBit) != 0 &&
                    (std::is_lvalue_reference_v<M> ||
                     !std::is_base_of_v<Eigen::PlainObjectBase<std::remove_cvref_t<M>>, std::remove_cvref_t<M>>);
}  // namespace detail

/// Σ dY Xᵀ as a list of the factors, which stay where they are: the sum is taken later, a range of columns at a
/// time, so that many backward passes can share one matrix and many threads can share the work. The factors must live
/// and keep their values until then. Otherwise as the dense gradient [rows, cols] that it stands for.
template <Real Scalar>
class ProductSum {
 public:
  /// No terms, of that shape.
  explicit ProductSum(Index rows = 0, Index cols = 0) : rows_(rows), cols_(cols) {}

  /// Forgets the terms, and keeps the memory of the list.
  void setZero() { terms_.clear(); }

  /// Temporaries are refused.
  template <detail::Referable Dy, detail::Referable X>
  void add(Dy&& dy, X&& x) {
    QLLK_ASSERT(dy.rows() == rows_ && x.rows() == cols_ && dy.cols() == x.cols());
    terms_.push_back({dy.cols(), dy.data(), dy.outerStride(), x.data(), x.outerStride()});
  }

  /// Adds `columns` columns of the sum, from column `begin` on, to out, whose columns follow each other without a gap;
  /// overwrites out when it is `fresh`, which it is no longer.
  void add_to(Scalar* out, Index begin, Index columns, bool& fresh) const {
    for (std::size_t i = 0; i < terms_.size(); ++i) {
      const Term& term = terms_[i];
      if (detail::rounds<Mat<Scalar>>()) {
        const Eigen::Map<const Mat<Scalar>, 0, Eigen::OuterStride<>> dy(term.dy, rows_, term.positions, term.dy_stride);
        const Eigen::Map<const Mat<Scalar>, 0, Eigen::OuterStride<>> x(term.x + begin, columns, term.positions,
                                                                       term.x_stride);
        Eigen::Map<Mat<Scalar>> sum(out, rows_, columns);
        if (fresh)
          weight_gemm(dy, x.transpose(), sum);
        else
          weight_gemm_add(dy, x.transpose(), sum);
        fresh = false;
        continue;
      }
      detail::GemmLater<Scalar> later;
      if (i + 1 < terms_.size()) later = {terms_[i + 1].dy, terms_[i + 1].x + begin};
      const detail::GemmStart<Scalar> start =
          fresh ? detail::gemm_zeros<Scalar>(rows_) : detail::GemmStart<Scalar>{out, rows_};
      detail::gemm<Scalar, false, true>({.rows = rows_,
                                         .cols = columns,
                                         .depth = term.positions,
                                         .a = {term.dy, term.dy_stride},
                                         .b = {term.x + begin, term.x_stride},
                                         .c = {out, rows_},
                                         .start = start,
                                         .later = later});
      fresh = false;
    }
  }

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index size() const { return rows_ * cols_; }

 private:
  struct Term {
    Index positions;
    const Scalar* dy;
    Index dy_stride;
    const Scalar* x;
    Index x_stride;
  };

  Index rows_, cols_;
  std::vector<Term> terms_;
};

/// total += dy xᵀ, at once or when the sum is taken.
template <Real Scalar>
void add_product(Mat<Scalar>& total, std::type_identity_t<MatIn<Scalar>> dy, std::type_identity_t<MatIn<Scalar>> x) {
  weight_gemm_add(dy, x.transpose(), total);
}
/// As above; the product is taken with all others.
template <Real Scalar>
void add_product(ProductSum<Scalar>& total, std::type_identity_t<MatIn<Scalar>> dy,
                 std::type_identity_t<MatIn<Scalar>> x) {
  total.add(dy, x);
}

}  // namespace qllk::linalg
