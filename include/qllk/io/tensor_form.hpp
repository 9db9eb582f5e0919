// How numbers lie in a tensor file: element types, shapes, and the order of a matrix's elements.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::io {

static_assert(std::endian::native == std::endian::little, "safetensors: written for little-endian machines");

/// The kinds of numbers that a file may hold.
enum class Dtype { U8, I32, U32, I64, U64, F16, BF16, F32, F64 };

namespace detail {
struct DtypeInfo {
  Dtype dtype;
  std::string_view name;
  std::uint64_t size;
};
inline constexpr std::array<DtypeInfo, 9> kDtypes{{{Dtype::U8, "U8", 1},
                                                   {Dtype::I32, "I32", 4},
                                                   {Dtype::U32, "U32", 4},
                                                   {Dtype::I64, "I64", 8},
                                                   {Dtype::U64, "U64", 8},
                                                   {Dtype::F16, "F16", 2},
                                                   {Dtype::BF16, "BF16", 2},
                                                   {Dtype::F32, "F32", 4},
                                                   {Dtype::F64, "F64", 8}}};
constexpr const DtypeInfo& info(Dtype dtype) { return kDtypes[static_cast<std::size_t>(dtype)]; }
}  // namespace detail

/// "F32"
constexpr std::string_view dtype_name(Dtype dtype) { return detail::info(dtype).name; }
/// Bytes of one element.
constexpr std::uint64_t dtype_size(Dtype dtype) { return detail::info(dtype).size; }

/// Calls f(std::type_identity<T>) with the C++ type of that dtype's numbers, and returns true; false where it has
/// integers.
template <class F>
bool visit_real(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::F16:
      f(std::type_identity<Eigen::half>{});
      return true;
    case Dtype::BF16:
      f(std::type_identity<Eigen::bfloat16>{});
      return true;
    case Dtype::F32:
      f(std::type_identity<float>{});
      return true;
    case Dtype::F64:
      f(std::type_identity<double>{});
      return true;
    default:
      return false;
  }
}

/// The dtype of a C++ number; one that has none does not compile.
template <class T>
consteval Dtype dtype_of() {
  if (std::is_floating_point_v<T> && sizeof(T) == 4) return Dtype::F32;
  if (std::is_floating_point_v<T> && sizeof(T) == 8) return Dtype::F64;
  if (std::is_integral_v<T> && sizeof(T) == 4) return std::is_signed_v<T> ? Dtype::I32 : Dtype::U32;
  if (std::is_integral_v<T> && sizeof(T) == 8) return std::is_signed_v<T> ? Dtype::I64 : Dtype::U64;
  if (std::is_same_v<T, Byte>) return Dtype::U8;
  if (std::is_same_v<T, Eigen::half>) return Dtype::F16;
  if (std::is_same_v<T, Eigen::bfloat16>) return Dtype::BF16;
  throw "no dtype for this type";
}

/// Extents of a tensor, the slowest first.
using Shape = std::vector<std::uint64_t>;

/// "[256, 64]"
inline std::string shape_string(const Shape& shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return out + "]";
}

/// How a learned tensor lies in a file: its shape there, and the column-major [rows, cols] view of its memory whose
/// rows the file holds one after the other.
struct TensorForm {
  Shape shape;  // in the file
  Index rows;   // of the view
  Index cols;   // of the view
};

/// One overload for each kind of leaf in a Params struct.
template <Real Scalar>
TensorForm tensor_form(const Mat<Scalar>& m) {
  return {{static_cast<std::uint64_t>(m.rows()), static_cast<std::uint64_t>(m.cols())}, m.rows(), m.cols()};
}
/// A file has [size].
template <Real Scalar>
TensorForm tensor_form(const Vec<Scalar>& v) {
  return {{static_cast<std::uint64_t>(v.size())}, v.size(), 1};
}
/// A file has [keys, dim].
template <Real Scalar>
TensorForm tensor_form(const Table<Scalar>& t) {  // [keys, dim], memory as it is
  return {{static_cast<std::uint64_t>(t.cols()), static_cast<std::uint64_t>(t.rows())}, t.size(), 1};
}
/// What has a form in a file.
template <class T>
concept Tensor = requires(const T& tensor) {
  tensor_form(tensor);
};

namespace detail {
template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Rows that are moved at a time, so that a transposition needs a small buffer only.
inline Index rows_per_block(const TensorForm& form) {
  constexpr Index kElements = 1 << 16;
  return std::max<Index>(1, std::min(form.rows, kElements / std::max<Index>(1, form.cols)));
}
}  // namespace detail

}  // namespace qllk::io
