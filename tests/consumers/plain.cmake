# cmake -D CXX=… -D SOURCE=… -D OUTPUT=… -D FLAGS=… -P plain.cmake: compiles and runs one file without a build system.
# With PKG_CONFIG_PATH in place of FLAGS, pkg-config gives them.
cmake_minimum_required(VERSION 3.25)

if(DEFINED PKG_CONFIG_PATH)
  find_program(PKG_CONFIG NAMES pkg-config pkgconf)
  if(NOT PKG_CONFIG)
    message(STATUS "skipped: pkg-config is not installed")
    return()
  endif()
  set(ENV{PKG_CONFIG_PATH} "${PKG_CONFIG_PATH}")
  execute_process(
    COMMAND "${PKG_CONFIG}" --cflags --libs qllk
    OUTPUT_VARIABLE FLAGS
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endif()
separate_arguments(FLAGS UNIX_COMMAND "${FLAGS}")

execute_process(COMMAND "${CXX}" -std=c++20 "${SOURCE}" ${FLAGS} -o "${OUTPUT}" COMMAND_ECHO STDOUT
                        COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${OUTPUT}" COMMAND_ERROR_IS_FATAL ANY)
