// What each process of an MPI launcher checks.
#pragma once

#include "qllk/distributed/team.hpp"

namespace qllk::test {

/// Trains tiny models alone and with the team, and compares every bit. Prints what it compared in process 0; returns
/// the number of failures, the same in all processes.
int check_training(distributed::Team& team);

}  // namespace qllk::test
