// What qllk-train does.
#pragma once

#include <string>

#include "qllk/distributed/team.hpp"
#include "train/options.hpp"

namespace train_tool {

/// Trains, saves and scores a model: a new run, or the one to continue. Of a team, whose processes all call it, the
/// first speaks and writes. Returns the exit status.
int train(const Options& options, qllk::distributed::Team* team);

/// What --mixer can name: "latent, min_gru".
std::string mixer_names();

}  // namespace train_tool
