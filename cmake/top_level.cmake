# Defaults that belong to whoever builds QLLK itself, not to a project that includes it.

get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT multi_config AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
endif()

# A compiler takes up to 1.3 GB on Eigen's expressions: no more of them at once than fit, or a small board swaps.
cmake_host_system_information(RESULT megabytes QUERY TOTAL_PHYSICAL_MEMORY)
if(CMAKE_GENERATOR MATCHES "Ninja" AND NOT DEFINED CMAKE_JOB_POOL_COMPILE)
  cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
  math(EXPR jobs "${megabytes} / 1300")
  if(jobs GREATER cores)
    set(jobs ${cores})
  elseif(jobs LESS 1)
    set(jobs 1)
  endif()
  set_property(GLOBAL APPEND PROPERTY JOB_POOLS qllk_compile=${jobs})
  set(CMAKE_JOB_POOL_COMPILE qllk_compile)
endif()

# Where not even one fits, GCC looks for what it can free sooner: 0.9 GB, but up to 1.8 times as long.
if(megabytes LESS 1300 AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(--param=ggc-min-expand=10)
endif()
