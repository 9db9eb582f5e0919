// What this program was compiled by and for, as far as its arithmetic depends on it.
#pragma once

#include <string>

#include "qllk/config.hpp"

#define QLLK_DETAIL_TEXT(x) #x
#define QLLK_DETAIL_TEXT_OF(x) QLLK_DETAIL_TEXT(x)

namespace qllk {

/// "0.2.0, avx512, GCC 12.2.0, Eigen 3.4.0". Programs of one name round alike, but for libraries of other versions.
inline std::string build_name() {
  std::string name = QLLK_DETAIL_TEXT_OF(QLLK_VERSION_MAJOR) "." QLLK_DETAIL_TEXT_OF(
      QLLK_VERSION_MINOR) "." QLLK_DETAIL_TEXT_OF(QLLK_VERSION_PATCH) ", " QLLK_DETAIL_TEXT_OF(QLLK_ISA);
#ifdef __clang__
  name += ", Clang ";
  name += __clang_version__;
#else
  name += ", GCC ";
  name += __VERSION__;
#endif
  name += ", Eigen " QLLK_DETAIL_TEXT_OF(EIGEN_WORLD_VERSION) "." QLLK_DETAIL_TEXT_OF(
      EIGEN_MAJOR_VERSION) "." QLLK_DETAIL_TEXT_OF(EIGEN_MINOR_VERSION);
#ifdef __OPTIMIZE__
  return name;
#else
  name += ", not optimised";
  return name;
#endif
}

}  // namespace qllk

#undef QLLK_DETAIL_TEXT_OF
#undef QLLK_DETAIL_TEXT
