#include "speed.hpp"

#include <algorithm>
#include <limits>

#include "clock.hpp"
#include "flops.hpp"
#include "qllk/core/concepts.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/mixers/registry.hpp"
#include "qllk/train/memory.hpp"
#include "roofline/fma_peak.hpp"
#include "shell.hpp"

namespace mixer_table {

namespace {

using qllk::Mat;

constexpr double kEnoughSeconds = 0.3;  // of all runs together
constexpr double kLongRun = 10;         // one such run is enough: its first touch of memory does not count any more

/// The least CPU time of a call, of calls that take kEnoughSeconds together; the first one only warms up.
template <class F>
double least_seconds(F&& f) {
  double least = std::numeric_limits<double>::infinity(), all = 0;
  for (int run = 0; run < 2 || all < kEnoughSeconds; ++run) {
    const double start = cpu_seconds();
    f();
    const double seconds = cpu_seconds() - start;
    if (run > 0 || seconds > kLongRun) least = std::min(least, seconds), all += seconds;
    if (seconds > kLongRun) break;
  }
  return least;
}

/// Of one position after those that `state` has seen. Every run starts from that state again, as some grow.
double seconds_of_a_step(const Mixer& mixer, const Mixer::Params& params, const Mat<float>& x,
                         const Mixer::State& state) {
  constexpr int kRuns = 20;
  constexpr Index kSteps = 16;  // the clock's resolution is nothing beside them
  Mixer::Cache cache;
  Mat<float> y(x.rows(), 1);
  double least = std::numeric_limits<double>::infinity();
  for (int run = 0; run < kRuns; ++run) {
    Mixer::State copy = state;
    mixer.forward(params, x.col(0), copy, cache, y);
    const double start = cpu_seconds();
    for (Index i = 1; i <= kSteps; ++i) mixer.forward(params, x.col(i % x.cols()), copy, cache, y);
    least = std::min(least, (cpu_seconds() - start) / static_cast<double>(kSteps));
  }
  return least;
}

/// Of forward and backward, for a whole sequence. A position without a window sees half the sequence on average. What
/// backward computes again is not counted.
double training_flop(const std::string& name, Index dim, Index positions) {
  const Mixer mixer(qllk::with_dim(mixer_config(name, std::max<Index>(positions / 2, 1)), dim));
  return qllk::bench::kTraining * mixer.flop() * static_cast<double>(positions);
}

}  // namespace

Speed measure_speed(const std::string& name, Index dim, Index positions) {
  const Mixer mixer(qllk::with_dim(mixer_config(name, 0), dim));
  qllk::Random random(1);
  const auto params = mixer.init(random);
  auto gradients = mixer.zeros();
  auto state = mixer.initial_state(1), dstate = mixer.initial_state(1);
  Mixer::Cache cache;
  Mat<float> x(dim, positions), y(dim, positions), dy(dim, positions), dx(dim, positions);
  qllk::fill_normal(x, 1, random);
  qllk::fill_normal(dy, 1, random);

  Speed speed{};
  speed.train_seconds = least_seconds([&] {
    mixer.reset(state, 1);
    mixer.reset(dstate, 1);
    mixer.forward(params, x, state, cache, y);
    mixer.backward(params, x, cache, dy, dstate, gradients, dx);
  });
  speed.peak_share =
      training_flop(name, dim, positions) / speed.train_seconds / qllk::bench::fma_peak(1, /*attempts=*/5);
  speed.state_bytes = static_cast<double>(qllk::train::held(state));

  speed.generate_seconds = seconds_of_a_step(mixer, params, x, state);
  return speed;
}

}  // namespace mixer_table
