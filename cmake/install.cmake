# `cmake --install`: headers with a CMake package and a pkg-config file (--component headers), the tools (tools) and the
# compiled library (compiled). All of it may be moved afterwards.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME headers)
set(qllk_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/qllk")
set(qllk_pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")

install(
  DIRECTORY "${PROJECT_SOURCE_DIR}/include/"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING
  PATTERN "*.hpp")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

# Two export sets, so that a program which reads no files of ours does not need nlohmann_json.
install(
  TARGETS qllk
  EXPORT qllkTargets
  INCLUDES
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(
  EXPORT qllkTargets
  NAMESPACE qllk::
  DESTINATION "${qllk_package_dir}")
# The io targets hold no paths: they are the same whether or not this build found nlohmann_json.
install(FILES "${PROJECT_SOURCE_DIR}/cmake/qllkIo.cmake" "${PROJECT_SOURCE_DIR}/cmake/qllkFast.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/qllkMpi.cmake" "${PROJECT_SOURCE_DIR}/cmake/qllkCompressed.cmake"
        DESTINATION "${qllk_package_dir}")

# The compiled library is for one architecture, so it does not stand in share/.
if(TARGET qllk_compiled AND QLLK_BUILD_COMPILED)
  install(
    TARGETS qllk_compiled
    EXPORT qllkCompiledTargets
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT compiled)
  install(
    EXPORT qllkCompiledTargets
    NAMESPACE qllk::
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/qllk-compiled"
    COMPONENT compiled)
  install(FILES "${PROJECT_SOURCE_DIR}/cmake/compiled/qllk-compiledConfig.cmake"
          DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/qllk-compiled" COMPONENT compiled)
endif()
if(QLLK_BUILD_EXAMPLES)
  install(TARGETS ${qllk_tools} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT tools)
endif()

set(qllk_compiled_dir "${CMAKE_INSTALL_LIBDIR}/cmake/qllk-compiled")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/qllkConfig.cmake.in" "${PROJECT_BINARY_DIR}/package/qllkConfig.cmake"
  INSTALL_DESTINATION "${qllk_package_dir}"
  PATH_VARS qllk_compiled_dir NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/package/qllkConfigVersion.cmake" COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
# Of folders inside the prefix, so that all of it may be moved; an absolute folder stays where it is.
if(IS_ABSOLUTE "${qllk_pkgconfig_dir}")
  set(qllk_pc_prefix "${CMAKE_INSTALL_PREFIX}")
else()
  file(RELATIVE_PATH qllk_pc_prefix "/${qllk_pkgconfig_dir}" "/")
  string(REGEX REPLACE "/$" "" qllk_pc_prefix "\${pcfiledir}/${qllk_pc_prefix}")
endif()
set(qllk_pc_includedir "\${prefix}")
cmake_path(APPEND qllk_pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
string(REPLACE " " "\\ " qllk_pc_includedir "${qllk_pc_includedir}")  # pkg-config does so with pcfiledir itself
string(REPLACE " " "\\ " qllk_pc_prefix "${qllk_pc_prefix}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/qllk.pc.in" "${PROJECT_BINARY_DIR}/package/qllk.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/package/qllkConfig.cmake" "${PROJECT_BINARY_DIR}/package/qllkConfigVersion.cmake"
        DESTINATION "${qllk_package_dir}")
install(FILES "${PROJECT_BINARY_DIR}/package/qllk.pc" DESTINATION "${qllk_pkgconfig_dir}")
