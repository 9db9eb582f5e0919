// qllk-train: one process. Where a launcher started several, each becomes a qllk-train-mpi.
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

#include "command_line.hpp"
#include "qllk/distributed/launcher.hpp"
#include "train/program.hpp"
#include "train/train.hpp"

namespace train_tool {

int run_program(CLI::App& app, int argc, char** argv, Options& options) {
  const int processes = qllk::distributed::launched_processes();
  std::error_code ignored;
  const auto together = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() / "qllk-train-mpi";
  if (processes > 1) ::execv(together.c_str(), argv);  // returns if there is none
  return tool::run(app, argc, argv, [&] {
    if (processes > 1)
      throw std::runtime_error("an MPI launcher started " + std::to_string(processes) +
                               " processes, but there is no '" + together.string() +
                               "': build it where MPI is installed, or start qllk-train once");
    tool::Interrupt::watch();
    signal(SIGPIPE, SIG_IGN);  // whoever reads the progress may leave; training goes on
    return train(options, nullptr);
  });
}

}  // namespace train_tool
