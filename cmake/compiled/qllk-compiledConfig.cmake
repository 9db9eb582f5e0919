# Found by qllkConfig.cmake, for find_package(qllk COMPONENTS compiled).
include("${CMAKE_CURRENT_LIST_DIR}/qllkCompiledTargets.cmake")
