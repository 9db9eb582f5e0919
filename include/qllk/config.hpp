// Version, attributes, errors, and what QLLK needs of the compiler and of Eigen.
#pragma once

#include <Eigen/Core>
#include <stdexcept>

/// Of incompatible changes.
#define QLLK_VERSION_MAJOR 0
/// Of additions; before 1.0 public names may change.
#define QLLK_VERSION_MINOR 2
/// Of repairs.
#define QLLK_VERSION_PATCH 0

#ifdef __FAST_MATH__
#error \
    "QLLK cannot be compiled with -ffast-math or -Ofast: its checks for NaN would be left out. Use -O3 -fno-math-errno."
#elif defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "QLLK cannot be compiled with -ffinite-math-only: its checks for NaN would be left out."
#endif
#ifdef EIGEN_DEFAULT_TO_ROW_MAJOR
#error "QLLK needs Eigen's column-major default: EIGEN_DEFAULT_TO_ROW_MAJOR must not be defined."
#endif
#if EIGEN_WORLD_VERSION != 3 || EIGEN_MAJOR_VERSION != 4
#error "QLLK needs Eigen 3.4; it is not tested with any other version."
#endif

/// A function that runs rarely: the compiler optimises it for size and keeps it away from hot code. Models and files
/// have many of these, and they would otherwise take most of the time of compiling.
#define QLLK_COLD [[gnu::cold]]
/// A function that is compiled once, not into each of its callers: for bodies of many Eigen expressions.
#define QLLK_NOINLINE [[gnu::noinline]]
/// Before functions that are no templates and take long to compile: the compiled library holds them.
#ifdef QLLK_COMPILED
#define QLLK_INLINE
#else
#define QLLK_INLINE inline
#endif

// The name of the inline namespace that holds everything: objects that were compiled for other instruction sets have
// other names, so that a linker cannot put the function of one of them in the place of another's.
#if defined(__AVX512BF16__)
#define QLLK_ISA avx512_bf16
#elif defined(__AVX512VNNI__)
#define QLLK_ISA avx512_vnni
#elif defined(__AVX512F__)
#define QLLK_ISA avx512
#elif defined(__AVXVNNI__)
#define QLLK_ISA avx2_vnni
#elif defined(__AVX2__) && defined(__FMA__)
#define QLLK_ISA avx2_fma
#elif defined(__AVX__)
#define QLLK_ISA avx
#elif defined(__SSE4_2__)
#define QLLK_ISA sse4
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define QLLK_ISA neon_bf16
#elif defined(__ARM_FEATURE_DOTPROD)
#define QLLK_ISA neon_dotprod
#elif defined(__ARM_NEON)
#define QLLK_ISA neon
#else
/// The name of the inline namespace that holds everything: the instruction set of this compilation.
#define QLLK_ISA baseline
#endif

namespace qllk {
inline namespace QLLK_ISA {

// Every namespace is declared here once: `namespace qllk::nn {` then means this one.
namespace detail {}
namespace linalg {}
namespace files {}
namespace nn {}
namespace mixers {}
namespace optim {}
namespace data {}
namespace io {}
namespace train {}
namespace generate {}
namespace compress {}
namespace distributed {}
namespace conformance {}

/// What every exception that QLLK throws can be caught as; they are the standard's types besides, which documentation
/// names.
class Error {
 public:
  virtual const char* what() const noexcept = 0;

 protected:
  Error() = default;
  /// As a part of a copy.
  Error(const Error&) = default;
  /// As a part of an assignment.
  Error& operator=(const Error&) = default;
  ~Error() = default;
};

/// A standard exception that is an Error.
template <class Standard>
class ErrorAs : public Standard, public Error {
 public:
  using Standard::Standard;
  const char* what() const noexcept override { return Standard::what(); }
};

/// A configuration or an argument that cannot be.
using InvalidArgument = ErrorAs<std::invalid_argument>;
/// Something outside of the program: a file, the system, damaged bytes.
using RuntimeError = ErrorAs<std::runtime_error>;
/// A range that is not there.
using OutOfRange = ErrorAs<std::out_of_range>;
/// A function called outside of its domain.
using DomainError = ErrorAs<std::domain_error>;
/// An object used in the wrong order.
using LogicError = ErrorAs<std::logic_error>;

}  // namespace QLLK_ISA
}  // namespace qllk
