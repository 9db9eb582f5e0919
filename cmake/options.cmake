# qllk_options: how our own tests, benchmarks and tools are compiled. It is never exported: warnings and processor flags
# are the business of whoever builds a program.

add_library(qllk_options INTERFACE)
target_compile_features(qllk_options INTERFACE cxx_std_20)
target_link_libraries(qllk_options INTERFACE qllk::qllk qllk::io)

if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  target_compile_options(qllk_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion)
  # Nobody reads errno after exp or sqrt, and writing it keeps loops from being vectorised. No result changes.
  target_compile_options(qllk_options INTERFACE -fno-math-errno)
  # GCC 12 takes its own _mm512_undefined_pd() for a mistake, hundreds of times a file (GCC bug 105593). Clang still
  # looks.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(qllk_options INTERFACE -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
endif()

if(QLLK_NATIVE)
  target_link_libraries(qllk_options INTERFACE qllk::fast)
elseif(QLLK_PORTABLE AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # Processors since 2013 (Intel), 2015 (AMD), unless a target has flags of its own.
  set(own "$<TARGET_PROPERTY:QLLK_FLAGS>")
  target_compile_options(qllk_options INTERFACE "SHELL:$<IF:$<BOOL:${own}>,${own},-march=x86-64-v3>")
elseif(QLLK_PORTABLE AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)")
  target_compile_options(qllk_options INTERFACE -march=armv8-a)
endif()

if(QLLK_SANITIZE)
  target_compile_options(
    qllk_options INTERFACE -fsanitize=${QLLK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(qllk_options INTERFACE -fsanitize=${QLLK_SANITIZE})
endif()

# qllk_program(NAME SOURCES [LIBRARIES…]): an executable in bin/ with our options.
function(qllk_program name sources)
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE qllk_options ${ARGN})
  set_target_properties(
    ${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin" CXX_EXTENSIONS OFF)
endfunction()
