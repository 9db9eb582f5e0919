// Started by an MPI launcher; compiled once for each MPI that is installed.
#include <cstdio>
#include <exception>

#include "distributed/mpi/training.hpp"
#include "qllk/distributed/mpi.hpp"
#include "train/mpi/end.hpp"

int main() {
  qllk::distributed::MpiTeam team;
  try {
    const int failures = qllk::test::check_training(team);
    if (team.leads()) std::printf("%d processes, %d failures\n", team.size(), failures);
    team.meet();
    std::fflush(nullptr);
    train_tool::end_in_time(failures == 0 ? 0 : 1);
    return failures == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "process %d: %s\n", team.rank(), error.what());
    team.end_all(1);
  }
  return 1;
}
