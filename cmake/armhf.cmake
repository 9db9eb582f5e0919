# 32-bit Arm (Raspberry Pi OS, 32-bit) with Debian's cross compiler (g++-arm-linux-gnueabihf); programs run under
# qemu-user where it is installed.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(CMAKE_CXX_COMPILER arm-linux-gnueabihf-g++)
set(CMAKE_CXX_FLAGS_INIT "-mfpu=neon-vfpv4")

set(CMAKE_FIND_ROOT_PATH /usr/arm-linux-gnueabihf)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)

find_program(QLLK_QEMU NAMES qemu-arm qemu-arm-static)
if(QLLK_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${QLLK_QEMU} -L /usr/arm-linux-gnueabihf)
endif()
