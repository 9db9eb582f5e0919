# What stands beside the tools when they are installed, manual pages and completions of shells, and packages:
# `cmake --workflow --preset package` makes qllk_VERSION_ARCHITECTURE.deb, libqllk-dev_….deb and a .tar.gz.

set(QLLK_ZSH_DIR "${CMAKE_INSTALL_DATADIR}/zsh/site-functions" CACHE STRING "Folder of completions for zsh")

# Made by running the tools: not where a cross-compiled one cannot run, or without a POSIX shell.
find_program(QLLK_SH sh)
if(QLLK_BUILD_EXAMPLES AND QLLK_SH AND (NOT CMAKE_CROSSCOMPILING OR CMAKE_CROSSCOMPILING_EMULATOR))
  set(qllk_documents "${PROJECT_BINARY_DIR}/package/documents")
  set(qllk_manuals)
  set(documented ${qllk_tools})
  list(REMOVE_ITEM documented qllk-train-mpi) # which qllk-train starts, and nobody else
  list(JOIN documented " " names)
  foreach(tool IN LISTS documented)
    add_custom_command(
      OUTPUT "${qllk_documents}/${tool}.1"
      COMMAND "${QLLK_SH}" "${PROJECT_SOURCE_DIR}/cmake/package/documents.sh" ${tool} ${PROJECT_VERSION} "${names}"
              "${qllk_documents}" ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${tool}>
      DEPENDS ${tool} "${PROJECT_SOURCE_DIR}/cmake/package/documents.sh"
              "${PROJECT_SOURCE_DIR}/cmake/package/documents.awk"
      COMMENT "Manual page and completions of ${tool}"
      VERBATIM)
    list(APPEND qllk_manuals "${qllk_documents}/${tool}.1")
    # Where only some targets are built, the tools are installed without these.
    foreach(pair "${tool}.1:${CMAKE_INSTALL_MANDIR}/man1" "${tool}:${CMAKE_INSTALL_DATADIR}/bash-completion/completions"
                 "_${tool}:${QLLK_ZSH_DIR}" "${tool}.fish:${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d")
      string(REGEX MATCH "^([^:]*):(.*)$" pair "${pair}")
      install(
        FILES "${qllk_documents}/${CMAKE_MATCH_1}"
        DESTINATION "${CMAKE_MATCH_2}"
        COMPONENT tools OPTIONAL)
    endforeach()
  endforeach()
  add_custom_target(documents ALL DEPENDS ${qllk_manuals})
endif()
# All of the library in one header, for programs that cannot have a folder of them.
set(qllk_single_header "${PROJECT_BINARY_DIR}/package/qllk-${PROJECT_VERSION}.hpp")
set(qllk_single_header_roots "qllk/qllk.hpp qllk/language_model.hpp qllk/mixers/registry.hpp"
                             "qllk/testing/conformance.hpp qllk/testing/gradient_check.hpp")
list(JOIN qllk_single_header_roots " " qllk_single_header_roots)
find_program(QLLK_AWK awk)
if(QLLK_AWK AND QLLK_SH AND PROJECT_IS_TOP_LEVEL)
  include(cmake/glob.cmake)
  qllk_glob(headers "${PROJECT_SOURCE_DIR}/include" *.hpp RECURSE)
  list(TRANSFORM headers PREPEND "${PROJECT_SOURCE_DIR}/include/")
  add_custom_command(
    OUTPUT "${qllk_single_header}"
    COMMAND "${QLLK_AWK}" -v "include=${PROJECT_SOURCE_DIR}/include" -v "roots=${qllk_single_header_roots}" -f
            "${PROJECT_SOURCE_DIR}/cmake/package/single_header.awk" "${PROJECT_SOURCE_DIR}/LICENSE" >
            "${qllk_single_header}"
    DEPENDS ${headers} "${PROJECT_SOURCE_DIR}/cmake/package/single_header.awk" "${PROJECT_SOURCE_DIR}/LICENSE"
    COMMENT "All headers in one"
    VERBATIM)
  add_custom_target(single_header ALL DEPENDS "${qllk_single_header}")
endif()
install(
  FILES "${PROJECT_SOURCE_DIR}/LICENSE"
  DESTINATION "${CMAKE_INSTALL_DOCDIR}"
  COMPONENT tools
  RENAME copyright)

if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()

set(CPACK_PACKAGE_NAME qllk)
set(CPACK_PACKAGE_CONTACT "The QLLK authors <qllk@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_GENERATOR TGZ DEB)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_THREADS 0)
set(CPACK_COMPONENTS_ALL tools headers compiled)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_PACKAGE_FILE_NAME "qllk-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}")

# Debian's name of the processor; that of the building machine unless it is compiled for another.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^arm")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE armhf)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE amd64)
endif()
set(qllk_processors "The programs are compiled for all processors of this kind.")
if(CPACK_DEBIAN_PACKAGE_ARCHITECTURE STREQUAL "amd64")
  set(qllk_processors "The programs need a processor with AVX2 and FMA (x86-64-v3).")
elseif(CPACK_DEBIAN_PACKAGE_ARCHITECTURE STREQUAL "armhf")
  set(qllk_processors "The programs need a processor with NEON and VFPv4.")
endif()

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME qllk)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION science)
set(CPACK_DEBIAN_TOOLS_DESCRIPTION
    "Tools that train, score and run models, and compress with them.\n${qllk_processors}")
set(CPACK_DEBIAN_TOOLS_PACKAGE_RECOMMENDS "libeigen3-dev") # the text that qllk-train reads where no other is given
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libqllk-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION
    "Headers, a library of them compiled, and files for CMake and pkg-config.\n${qllk_processors}")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libeigen3-dev (>= 3.4), libstdc++-dev")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_RECOMMENDS "nlohmann-json3-dev (>= 3.11)")

# dpkg-shlibdeps reads what the programs are linked with; for another machine's it needs that machine's packages.
find_program(QLLK_SHLIBDEPS dpkg-shlibdeps)
if(QLLK_SHLIBDEPS AND NOT CMAKE_CROSSCOMPILING)
  set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)
else()
  set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "libc6, libgcc-s1, libstdc++6 (>= 12)")
endif()

include(CPack)
cpack_add_component_group(development)
cpack_add_component(tools)
cpack_add_component(headers GROUP development)
cpack_add_component(compiled GROUP development)
