// Whether a run fits in memory, told before it takes any.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"
#include "qllk/files/machine.hpp"
#include "qllk/optim/step.hpp"
#include "qllk/train/memory.hpp"
#include "qllk/train/settings.hpp"

namespace qllk::train {

namespace detail {
inline std::string megabytes(double bytes) {
  char text[48];
  std::snprintf(text, sizeof text, "%.0f MB", bytes / 1e6);
  return text;
}

struct Parameters {
  double dense, rows;  // rows: of hashed tables
};

/// Fewer parameters than our models have of such a configuration, without making them; none for another model.
template <class Config>
Parameters least_parameters(const Config& c) {
  const auto real = [](Index value) { return static_cast<double>(value); };
  if constexpr (requires { c.bits; }) {
    const double patch_level = real(c.layers) * real(c.dim) * real(c.dim);
    const double rows = real(c.orders - 1 + c.words) * static_cast<double>(std::uint64_t{1} << c.bits);
    const double byte_level = real(c.encoder + c.decoder) * real(c.dim_local) * real(c.dim_local);
    return {2 * real(c.hidden) * (byte_level + patch_level) + 2 * real(c.patch) * real(c.dim_local) * real(c.dim),
            rows * real(c.dim_local)};
  } else if constexpr (requires { c.patch; }) {
    return {8 * real(c.layers) * real(c.dim) * real(c.dim) + real(kByteValues) * real(c.patch) * real(c.dim), 0};
  } else {
    return {0, 0};
  }
}

[[noreturn]] inline void refuse(const std::string& needs, std::uint64_t available) {
  throw InvalidArgument("the run needs " + needs + " of memory, but " + megabytes(static_cast<double>(available)) +
                        " are available: choose a smaller batch, context or model");
}
}  // namespace detail

/// The memory that a Trainer of this model and these settings holds, from what one sequence of `kMeasured` bytes takes.
/// Activations are 0 where the C library does not tell.
///
/// Cost: one pass forward and backward of that sequence, and the parameters and moments once, which must fit.
template <TrainableModel Model, Optimizer Optim>
QLLK_COLD Memory required_memory(const Model& model, const BasicTrainerSettings<Optim>& settings) {
  constexpr Index kMeasured = 1024;
  const auto params = model.zeros();
  Memory memory{};
  memory.parameters = held(params);
  {
    const auto state = optim::zero_state<Optim>(params);
    const auto grads = model.zero_grads();
    memory.gradients = held(grads);
    memory.optimizer = held(state);
    if (settings.average.every > 0) memory.optimizer += memory.gradients;  // it has as many as the dense gradients
  }
  const Index length = std::min(settings.context, kMeasured);
  const std::vector<Byte> bytes(static_cast<std::size_t>(length));
  auto grads = zero_grads_like<typename Model::DeferredGrads>(params);
  const std::size_t before = heap_bytes();
  typename Model::State state = model.initial_state(1);
  typename Model::StateGrads dstate;
  model.reset(dstate, 1);
  typename Model::Cache cache;
  Mat<typename Model::Scalar> logits;
  model.set_noise(cache, {settings.dropout, settings.order_dropout, settings.match_dropout, Random(0)});
  model.forward(params, bytes, state, cache, logits);
  model.backward(params, bytes, cache, logits, dstate, grads);
  const std::size_t after = heap_bytes(), taken = after > before ? after - before : 0;
  const Index at_once = settings.chunk > 0 ? std::min(settings.chunk, settings.context) : settings.context;
  memory.activations = taken / static_cast<std::size_t>(length) * static_cast<std::size_t>(settings.batch) *
                       static_cast<std::size_t>(at_once);
  return memory;
}

/// Throws std::invalid_argument, with the numbers, if training this model with these settings takes more memory than
/// there is. Nothing large is allocated before that is known not to be too much.
template <TrainableModel Model, Optimizer Optim>
QLLK_COLD void expect_fits(const Model& model, const BasicTrainerSettings<Optim>& settings,
                           std::uint64_t available = files::Machine().available_memory()) {
  const auto limit = static_cast<double>(available);
  // beside dense parameters their gradients, moments and average, which a table has not
  constexpr auto kMoments = qllk::detail::moments_v<typename Optim::template State<typename Model::Params>>;
  const double copies = static_cast<double>(2 + kMoments) + (settings.average.every > 0 ? 1 : 0);
  const detail::Parameters parameters = detail::least_parameters(model.config());
  const double least = (copies * parameters.dense + parameters.rows) * sizeof(typename Model::Scalar);
  if (least > limit) detail::refuse("at least " + detail::megabytes(least), available);
  const Memory memory = required_memory(model, settings);
  if (static_cast<double>(memory.total()) <= limit) return;
  const auto part = [](std::size_t bytes) { return detail::megabytes(static_cast<double>(bytes)); };
  detail::refuse(part(memory.total()) + " (parameters " + part(memory.parameters) + ", gradients " +
                     part(memory.gradients) + ", optimiser " + part(memory.optimizer) + ", activations " +
                     part(memory.activations) + ")",
                 available);
}

}  // namespace qllk::train

#ifdef QLLK_COMPILED
namespace qllk::train {
extern template Memory required_memory(const EveryTransformer&, const TrainerSettings&);
extern template Memory required_memory(const QLLKClassic<float>&, const TrainerSettings&);
extern template void expect_fits(const EveryTransformer&, const TrainerSettings&, std::uint64_t);
extern template void expect_fits(const QLLKClassic<float>&, const TrainerSettings&, std::uint64_t);
}  // namespace qllk::train
#endif
