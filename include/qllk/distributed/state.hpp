// The state of a run, from the process that has it to all others.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "qllk/core/parameters.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/train/trainer.hpp"

namespace qllk::distributed {

/// Puts weights, moments, average and progress of process 0 into the trainers of all, which were made alike: as after
/// a restore that only process 0 can read the file for.
///
/// Cost     the parameters, moments and average over the network, and a second time in memory while it runs
template <class Model, Optimizer Optim>
void send_state(Team& team, train::Trainer<Model, Optim>& trainer) {
  const auto receive = [&](auto& tree) {
    for_each_parameter(
        [&](const Path&, auto& leaf) {
          team.broadcast(bytes_of(std::span(leaf.data(), static_cast<std::size_t>(leaf.size()))));
        },
        tree);
  };
  auto params = trainer.params();
  auto optimizer = trainer.optimizer();
  auto average = trainer.average();
  auto progress = trainer.progress();
  receive(params);
  receive(optimizer);
  receive(average);
  optimizer.updates = from_leader(team, optimizer.updates);
  progress = from_leader(team, progress);
  if (!team.leads()) trainer.restore(std::move(params), std::move(optimizer), std::move(average), progress);
}

}  // namespace qllk::distributed
