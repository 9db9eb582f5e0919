// How qllk-train runs: alone, or as one of the processes of an MPI launcher. Each program links one of the two.
#pragma once

#include "train/options.hpp"

namespace CLI {
class App;
}

namespace train_tool {

/// Parses the command line into `options`, which the app knows, and trains. Returns the exit status.
int run_program(CLI::App& app, int argc, char** argv, Options& options);

}  // namespace train_tool
