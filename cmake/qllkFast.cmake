# qllk::fast: flags with which QLLK's headers run at the speed of the processor that compiles them. Link it where a
# program is to run on the machine that builds it; no other target of QLLK's carries flags.
if(NOT TARGET qllk::fast)
  add_library(qllk::fast INTERFACE IMPORTED GLOBAL)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm)")
    set(qllk_native -mcpu=native)
  else()
    set(qllk_native -march=native)
  endif()
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(${qllk_native} QLLK_HAS_NATIVE)
  set(qllk_fast)
  if(QLLK_HAS_NATIVE)
    list(APPEND qllk_fast ${qllk_native})
    # GCC 12's scheduling for Haswell suits our products better than that for Zen 4: training takes 1 or 2 % less time
    # with AVX-512, up to 5 % less with AVX2 (bench_model_models).
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
      list(APPEND qllk_fast -mtune=haswell)
    endif()
  else()
    message(WARNING "${CMAKE_CXX_COMPILER} does not know ${qllk_native}: QLLK is compiled for any processor of this kind")
  endif()
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    # Nobody reads errno after exp or sqrt, and writing it keeps loops from being vectorised. No result changes.
    list(APPEND qllk_fast -fno-math-errno)
  endif()
  set_target_properties(qllk::fast PROPERTIES INTERFACE_COMPILE_OPTIONS "${qllk_fast}")
endif()
