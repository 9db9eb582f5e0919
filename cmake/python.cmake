# QLLK_PYTHON: the Python 3 of the system, whose packages (numpy, PyTorch, pybind11) are the system's too, or the one
# that the user names. QLLK_HAS_PYTHON: whether the Python module is built.
find_program(QLLK_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH DOC "Python 3 for the module and the tests of it")
find_program(QLLK_PYTHON NAMES python3)
set(QLLK_BUILD_PYTHON AUTO CACHE STRING "Build the Python module: ON, OFF, or AUTO (where its needs are installed)")
set_property(CACHE QLLK_BUILD_PYTHON PROPERTY STRINGS AUTO ON OFF)

set(QLLK_HAS_PYTHON OFF)
# An interpreter of this machine loads neither a module for another one nor one with a sanitizer.
if(QLLK_BUILD_PYTHON AND QLLK_BUILD_EXAMPLES AND NOT CMAKE_CROSSCOMPILING AND NOT QLLK_SANITIZE)
  set(Python_EXECUTABLE "${QLLK_PYTHON}")
  find_package(Python 3.9 QUIET COMPONENTS Interpreter Development.Module NumPy)
  set(PYBIND11_FINDPYTHON ON)
  if(Python_FOUND)
    find_package(pybind11 2.10 QUIET CONFIG)
  endif()
  if(Python_FOUND AND pybind11_FOUND)
    set(QLLK_HAS_PYTHON ON)
  elseif(NOT QLLK_BUILD_PYTHON STREQUAL "AUTO")
    message(
      FATAL_ERROR
        "The Python module needs packages that are not installed. On Debian, Ubuntu or Raspberry Pi OS:\n"
        "  sudo apt-get install -y python3-dev python3-numpy pybind11-dev\n"
        "Elsewhere name a Python that has numpy with -DQLLK_PYTHON=…, and pybind11 with -Dpybind11_DIR=….")
  endif()
endif()
