// The model that a tool is given.
#pragma once

#include <string>

#include "display.hpp"
#include "model_path.hpp"
#include "qllk/io/safetensors_reader.hpp"
#include "qllk/language_model.hpp"

namespace tool {

/// A model file, or the folder of a run, whose model is meant. Throws std::runtime_error as LanguageModel::load. Old
/// files have no checksum: that is told.
inline qllk::LanguageModel load_model(const std::string& given) {
  const std::string path = model_path(given);
  auto model = qllk::LanguageModel::load(path);
  const qllk::io::SafetensorsReader file(path);
  if (file.metadata().contains("format") && !file.has_checksum())
    Display().line("warning: '" + path + "' is of an older version and has no checksum: damage may go unseen");
  return model;
}

}  // namespace tool
