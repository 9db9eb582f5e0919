// What qllk-train does.
#pragma once

#include "train/options.hpp"

namespace train_tool {

/// Trains, saves and scores a model: a new run, or the one to continue. Returns the exit status.
int train(const Options& options);

}  // namespace train_tool
