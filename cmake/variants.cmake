# The tools once more for better processors: QLLK_VARIANTS with QLLK_PORTABLE. A tool that starts becomes the variant for
# the processor it runs on (examples/tools/variant.hpp), so that one package suits old machines and is fast on new ones.
set(QLLK_VARIANTS "" CACHE STRING "Instruction sets to compile the tools for once more: avx512, avx512_bf16")

set(qllk_variants)
if(QLLK_PORTABLE AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(qllk_variants ${QLLK_VARIANTS})
endif()
set(qllk_flags_avx512 "-march=x86-64-v4 -mtune=haswell")
set(qllk_flags_avx512_bf16 "${qllk_flags_avx512} -mavx512vnni -mavx512bf16")
foreach(variant IN LISTS qllk_variants)
  if(NOT qllk_flags_${variant})
    message(FATAL_ERROR "QLLK_VARIANTS has '${variant}', expected avx512 or avx512_bf16")
  endif()
endforeach()

# From the folder of the tools, where they are built as where they are installed.
include(GNUInstallDirs)
set(qllk_variant_dir "${CMAKE_INSTALL_LIBEXECDIR}/qllk")
file(RELATIVE_PATH qllk_variant_path "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBEXECDIR}/qllk")

# qllk_variant(NAME VARIANT SOURCES [LIBRARIES…]): the tool NAME for a better processor.
function(qllk_variant name variant sources)
  set(target ${name}-${variant})
  qllk_program(${target} "${sources}" ${ARGN})
  set_target_properties(
    ${target} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY
                         "${PROJECT_BINARY_DIR}/bin/${qllk_variant_path}/${variant}"
                         QLLK_FLAGS "${qllk_flags_${variant}}")
  if(QLLK_INSTALL)
    install(TARGETS ${target} RUNTIME DESTINATION "${qllk_variant_dir}/${variant}" COMPONENT tools)
  endif()
endfunction()
