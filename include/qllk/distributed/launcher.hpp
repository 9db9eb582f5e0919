// Whether this process is one of several that a launcher started.
#pragma once

#include <cstdlib>

#include "qllk/config.hpp"

namespace qllk::distributed {

/// How many processes mpirun, mpiexec or srun started, as the environment of OpenMPI, MPICH, Intel MPI and Slurm
/// tells; 0 without a launcher, and 2 where one does not tell.
inline int launched_processes() {
  for (const char* const name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
    if (const char* const size = std::getenv(name)) return std::atoi(size);
  for (const char* const name : {"PMIX_RANK", "PMI_RANK", "PMI_FD"})
    if (std::getenv(name) != nullptr) return 2;
  return 0;
}

}  // namespace qllk::distributed
