// qllk-train-mpi: qllk-train as one of the processes of an MPI launcher.
#include "train/program.hpp"

#include <signal.h>

#include <algorithm>
#include <exception>
#include <new>
#include <string>

#include "command_line.hpp"
#include "qllk/distributed/launcher.hpp"
#include "qllk/distributed/mpi.hpp"
#include "qllk/files/machine.hpp"
#include "train/mpi/end.hpp"
#include "train/train.hpp"

namespace train_tool {

using namespace qllk;
using distributed::MpiTeam;

namespace {
/// What one process alone knows of would leave the others waiting.
[[noreturn]] void end_all(const CLI::App& app, const MpiTeam& team, const std::string& error, int status) {
  std::string line = app.get_name() + ": process " + std::to_string(team.rank()) + " (on " + team.machine() + "): ";
  line += tool::visible_line(error) + "\n";
  tool::write_stderr(line);
  team.end_all(status);
  std::terminate();
}

int train_together(const CLI::App& app, MpiTeam& team, const Options& options) {
  if (team.size() == 1) return train(options, nullptr);
  try {
    return train(options, &team);
  } catch (const distributed::Disagreement&) {
    throw;  // in all processes
  } catch (const tool::Interrupted&) {
    end_all(app, team, "interrupted", tool::Interrupt::exit_status());
  } catch (const std::bad_alloc&) {
    end_all(app, team, "out of memory", 1);
  } catch (const std::exception& error) {
    end_all(app, team, error.what(), 1);
  }
}
}  // namespace

int run_program(CLI::App& app, int argc, char** argv, Options& options) {
  tool::open_standard_streams();
  if (distributed::launched_processes() == 0) {
    tool::write_stderr(
        "qllk-train-mpi: no MPI launcher started it: use mpirun -n N qllk-train …, or qllk-train alone\n");
    return 2;
  }
  try {
    MpiTeam team;
    options.threads = std::max(1, options.threads / team.on_this_machine());
    const auto body = [&] {
      tool::Interrupt::watch();
      signal(SIGPIPE, SIG_IGN);
      return train_together(app, team, options);
    };
    const int status = tool::run(app, argc, argv, body, team.leads());
    team.meet();
    end_in_time(status);
    return status;
  } catch (const std::exception& error) {
    tool::write_stderr(app.get_name() + ": " + tool::visible_line(error.what()) + "\n");
    return 1;
  }
}

}  // namespace train_tool
