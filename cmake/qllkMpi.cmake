# qllk::mpi: what the headers of distributed/ that speak MPI need besides qllk::qllk.
if(NOT TARGET qllk::mpi)
  add_library(qllk::mpi INTERFACE IMPORTED GLOBAL)
  set_target_properties(qllk::mpi PROPERTIES INTERFACE_LINK_LIBRARIES "qllk::qllk;MPI::MPI_CXX")
endif()
