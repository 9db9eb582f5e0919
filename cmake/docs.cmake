# `cmake --build --preset release --target docs`: the API reference, from the headers and the guides, in build/…/docs.
# No other target needs it.
find_program(QLLK_DOXYGEN doxygen)
find_program(QLLK_AWK awk)
if(NOT QLLK_DOXYGEN OR NOT QLLK_AWK)
  message(STATUS "Doxygen or awk is not installed: there is no target docs")
  return()
endif()

# A warning is an error with the version of Debian 12. Other versions warn of other things.
execute_process(COMMAND "${QLLK_DOXYGEN}" --version OUTPUT_VARIABLE version)
set(QLLK_DOXYGEN_FAILS NO)
if(version MATCHES "^1\\.9\\.4")
  set(QLLK_DOXYGEN_FAILS FAIL_ON_WARNINGS)
endif()

configure_file(cmake/docs/Doxyfile.in docs/Doxyfile @ONLY)
add_custom_target(
  docs
  COMMAND "${QLLK_DOXYGEN}" "${PROJECT_BINARY_DIR}/docs/Doxyfile"
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  COMMENT "API reference in ${PROJECT_BINARY_DIR}/docs/html"
  VERBATIM)
