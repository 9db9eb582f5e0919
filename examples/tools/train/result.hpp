// What a run prints at its end.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "qllk/core/parameters.hpp"
#include "qllk/train/score.hpp"
#include "qllk/train/trainer.hpp"
#include "tool.hpp"
#include "train/introduction.hpp"

namespace train_tool {

template <class Model>
nlohmann::ordered_json result(const train::Trainer<Model>& trainer, const train::Score& score,
                              const HeldOutFacts& facts, double train_bits_per_byte, const std::string& model) {
  const train::Progress& progress = trainer.progress();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  nlohmann::ordered_json out;
  out["val_bits_per_byte"] = score.bits_per_byte();
  out["val_nats_per_byte"] = score.nats_per_byte();
  out["val_overlap"] = facts.overlap;
  out["train_bits_per_byte"] = train_bits_per_byte;
  out["bytes_seen"] = progress.bytes;
  out["seconds"] = progress.seconds;
  out["bytes_per_second"] = progress.seconds > 0 ? static_cast<double>(progress.bytes) / progress.seconds : 0.0;
  out["parameters"] = parameter_count(trainer.params());
  out["peak_rss_bytes"] = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
  out["threads"] = trainer.threads();
  tool::set_text(out, "model", model);
  out["steps"] = progress.steps;
  out["skipped_updates"] = progress.skipped;
  return out;
}

}  // namespace train_tool
