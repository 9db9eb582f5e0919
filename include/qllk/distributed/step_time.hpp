// How long a step of several processes takes, by what they compute and send.
#pragma once

#include <algorithm>

#include "qllk/config.hpp"

namespace qllk::distributed {

/// Of one link, in each direction.
struct Network {
  double bytes_per_second;  // of one process, in each direction
  double latency;           // seconds from one process to another, for a short message
};

/// What a step of the whole batch takes: seconds of one process, and bytes.
struct StepWork {
  double shared;     // seconds that processes share: forward, backward and sums of their shards
  double products;   // of these the products that make gradients of weights, during which gradients travel
  double each;       // seconds that each process spends: the update
  double dense;      // bytes of all dense gradients, as they travel
  double sparse;     // bytes of the sparse gradients of the whole batch, likewise
  double parts = 8;  // in which dense gradients travel
};

/// Seconds of a step with DataParallel, of N equal processes on N machines, a power of 2 that divides the number of
/// shards: with c = products / N computed, and w = (2 dense + sparse) · (N-1)/N / bandwidth sent meanwhile,
///
///   (shared - products) / N + each + max(c + w / parts, w + c / parts) + 5 latency
///
/// and shared + each of one process. Each process sends and receives as many bytes, in both directions at the same
/// time.
inline double step_seconds(const StepWork& work, const Network& network, int processes) {
  constexpr double kMessages = 5;  // that wait for one another: budget, losses, sizes, and two of the last part
  const double n = processes;
  if (processes == 1) return work.shared + work.each;
  const double computed = work.products / n;
  const double sent = (2 * work.dense + work.sparse) * (n - 1) / n / network.bytes_per_second;
  return (work.shared - work.products) / n + work.each +
         std::max(computed + sent / work.parts, sent + computed / work.parts) + kMessages * network.latency;
}

/// Likewise with PeriodicAverage of `steps` steps between two meetings, of batches that each process has for itself,
/// on average; `rows`: bytes of the rows that a process touches from meeting to meeting.
inline double local_step_seconds(const StepWork& work, const Network& network, int processes, double steps,
                                 double rows) {
  const double n = processes, compute = work.shared + work.each;
  if (processes == 1) return compute;
  const double sent = 2 * work.dense * (n - 1) / n + rows * (n - 1);
  return compute + (sent / network.bytes_per_second + 5 * network.latency) / steps;
}

}  // namespace qllk::distributed
