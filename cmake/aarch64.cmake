# 64-bit Arm with Debian's cross compiler (g++-aarch64-linux-gnu); programs run under qemu-user where it is installed.
# QLLK_CPU, such as cortex-a72, is the processor that both compile for and emulate.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES QLLK_CPU)

set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)

find_program(QLLK_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(QLLK_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${QLLK_QEMU} -L /usr/aarch64-linux-gnu)
endif()
if(QLLK_CPU)
  set(CMAKE_CXX_FLAGS_INIT "-mcpu=${QLLK_CPU}")
  if(QLLK_QEMU)
    list(APPEND CMAKE_CROSSCOMPILING_EMULATOR -cpu ${QLLK_CPU})
  endif()
endif()
