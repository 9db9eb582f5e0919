// What qllk-train does.
#pragma once

#include <string>

#include "train/options.hpp"

namespace train_tool {

/// Trains, saves and scores a model: a new run, or the one to continue. Returns the exit status.
int train(const Options& options);

/// What --mixer can name: "latent, min_gru".
std::string mixer_names();

}  // namespace train_tool
