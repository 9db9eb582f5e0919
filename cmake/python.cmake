# QLLK_PYTHON: the Python 3 of the system, whose packages (numpy, PyTorch, pybind11) are those of the system too; or another one
# that the user names. It is used by tests and by the Python module, and by nothing that is installed.
find_program(QLLK_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH DOC "Python 3 for examples/python and examples/pytorch")
find_program(QLLK_PYTHON NAMES python3)
