// Started by an MPI launcher; compiled once for each MPI that is installed.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>

#include "distributed/mpi/training.hpp"
#include "qllk/distributed/mpi.hpp"

int main() {
  qllk::distributed::MpiTeam team;
  try {
    const int failures = qllk::test::check_training(team);
    if (team.leads()) std::printf("%d processes, %d failures\n", team.size(), failures);
    team.meet();
    std::fflush(nullptr);
    std::thread([failures] {  // MPI_Finalize of MPICH 4.0 now and then does not end where a network is slow
      std::this_thread::sleep_for(std::chrono::seconds(10));
      std::_Exit(failures == 0 ? 0 : 1);
    })
        .detach();
    return failures == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "process %d: %s\n", team.rank(), error.what());
    team.end_all(1);
  }
  return 1;
}
