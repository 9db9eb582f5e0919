# Finds what the chosen options need. What is not installed is fetched, pinned by hash, if QLLK_FETCH_DEPENDENCIES says
# so; otherwise one error names everything that is missing and the Debian packages that hold it.
#
# The pinned versions are Debian 12's. The hashes are of the archives the projects publish, which for Eigen, GoogleTest,
# Google Benchmark and nlohmann_json are also Debian's own source archives (*.orig.tar.*), bit for bit.

include(FetchContent)

set(qllk_missing)

# qllk_dependency(PACKAGE VERSION DEBIAN_PACKAGE TARGET URL SHA256 [HEADERS FOLDER])
# HEADERS: the archive is only unpacked, and TARGET is made of FOLDER in it; else the archive's CMake project is used.
function(qllk_dependency package version debian target url sha256)
  cmake_parse_arguments(PARSE_ARGV 6 arg "" "HEADERS" "")
  if(TARGET ${target})
    return()
  endif()
  find_package(${package} ${version} QUIET CONFIG)
  set(${package}_VERSION "${${package}_VERSION}" PARENT_SCOPE)
  if(TARGET ${target})
    return()
  endif()
  if(NOT QLLK_FETCH_DEPENDENCIES)
    set(qllk_missing ${qllk_missing} ${debian} PARENT_SCOPE)
    return()
  endif()
  string(TOLOWER "qllk_${package}" name)
  if(DEFINED arg_HEADERS)
    # There is no such folder in it, so the archive is unpacked but not added to the build.
    FetchContent_Declare(${name} URL ${url} URL_HASH SHA256=${sha256} SOURCE_SUBDIR headers-only)
    FetchContent_MakeAvailable(${name})
    add_library(${target} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${target} INTERFACE "${${name}_SOURCE_DIR}/${arg_HEADERS}")
  else()
    set(BUILD_GMOCK OFF)
    set(INSTALL_GTEST OFF)
    set(BENCHMARK_ENABLE_TESTING OFF)
    set(BENCHMARK_ENABLE_INSTALL OFF)
    set(BENCHMARK_ENABLE_WERROR OFF)
    set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
    FetchContent_Declare(${name} SYSTEM URL ${url} URL_HASH SHA256=${sha256})
    FetchContent_MakeAvailable(${name})
  endif()
endfunction()

find_package(Threads REQUIRED)
qllk_dependency(
  Eigen3 3.4.0 libeigen3-dev Eigen3::Eigen
  https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.bz2
  b4c198460eba6f28d34894e3a5710998818515104d6e74e5cc331ce31e46e626 HEADERS .)
if(Eigen3_VERSION VERSION_GREATER_EQUAL 3.5)
  message(FATAL_ERROR "QLLK needs Eigen 3.4, but found ${Eigen3_VERSION} in ${Eigen3_DIR}: set Eigen3_DIR to another")
endif()
if(QLLK_BUILD_TESTS OR QLLK_BUILD_BENCH OR QLLK_BUILD_EXAMPLES)
  qllk_dependency(
    nlohmann_json 3.11 nlohmann-json3-dev nlohmann_json::nlohmann_json
    https://github.com/nlohmann/json/archive/refs/tags/v3.11.2.tar.gz
    d69f9deb6a75e2580465c6c4c5111b89c4dc2fa94e3a85fcd2ffcd9a143d9273 HEADERS single_include)
elseif(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json 3.11 QUIET CONFIG)
endif()
if(QLLK_BUILD_TESTS)
  qllk_dependency(
    GTest 1.12 libgtest-dev GTest::gtest_main
    https://github.com/google/googletest/archive/refs/tags/release-1.12.1.tar.gz
    81964fe578e9bd7c94dfdb09c8e4d6e6759e19967e397dbea48d1c10e45d0df2)
endif()
if(QLLK_BUILD_BENCH)
  qllk_dependency(
    benchmark 1.7 libbenchmark-dev benchmark::benchmark_main
    https://github.com/google/benchmark/archive/refs/tags/v1.7.1.tar.gz
    6430e4092653380d9dc4ccb45a1e2dc9259d581f4866dc0759713126056bc1d7)
endif()
if(QLLK_BUILD_EXAMPLES)
  qllk_dependency(
    CLI11 2.1 libcli11-dev CLI11::CLI11
    https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.1.2.tar.gz
    26291377e892ba0e5b4972cdfd4a2ab3bf53af8dac1f4ea8fe0d1376b625c8cb HEADERS include)
endif()

if(qllk_missing)
  list(JOIN qllk_missing " " qllk_missing)
  message(
    FATAL_ERROR
      "QLLK needs packages that are not installed. On Debian, Ubuntu or Raspberry Pi OS:\n"
      "  sudo apt-get install -y ${qllk_missing}\n"
      "Elsewhere install them your way, or let CMake download them with -DQLLK_FETCH_DEPENDENCIES=ON.\n"
      "(The library alone needs Eigen only: -DQLLK_BUILD_TESTS=OFF -DQLLK_BUILD_BENCH=OFF -DQLLK_BUILD_EXAMPLES=OFF.)")
endif()
