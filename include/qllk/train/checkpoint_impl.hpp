// How a checkpoint is opened. Include qllk/train/checkpoint.hpp.
#pragma once

#include <filesystem>

#include "qllk/core/build.hpp"
#include "qllk/core/optimizer.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/io/json_members.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/io/safetensors.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/optim/step.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/trainer.hpp"

namespace qllk::train {

QLLK_INLINE Checkpoint::Checkpoint(const std::filesystem::path& path) : reader_(path) {
  const auto format = reader_.metadata().find("format");
  if (format == reader_.metadata().end() || format->second != "qllk-training")
    reader_.fail("is not a training checkpoint");
  io::detail::check_version(reader_);
  io::detail::naming(reader_, [&] {
    const auto json = [&](const char* key) { return io::parse_json(io::detail::metadata(reader_, key), key); };
    settings_ = json("settings");
    io::from_json(json("progress"), progress_, "progress");
    io::from_json(json("updates"), updates_, "updates");
    budget_ = detail::budget_from_json(json("budget"));
    notes_ = json("notes");
    if (!(progress_.skipped >= 0 && progress_.steps >= progress_.skipped &&
          updates_ == progress_.steps - progress_.skipped && progress_.seconds >= 0))
      throw RuntimeError("'progress' makes no sense: " + io::to_json(progress_).dump());
  });
}

}  // namespace qllk::train
