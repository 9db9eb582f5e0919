# Stands for an installed Eigen 5: QLLK must refuse it by name.
set(Eigen3_FOUND TRUE)
add_library(Eigen3::Eigen INTERFACE IMPORTED)
