// The model that a tool is given.
#pragma once

#include <string>

#include "display.hpp"
#include "qllk/io/safetensors_reader.hpp"
#include "qllk/language_model.hpp"

namespace tool {

/// Throws std::runtime_error as LanguageModel::load. Files of old have no checksum: that is told.
inline qllk::LanguageModel load_model(const std::string& path) {
  auto model = qllk::LanguageModel::load(path);
  const qllk::io::SafetensorsReader file(path);
  if (file.metadata().contains("format") && !file.has_checksum())
    Display().line("warning: '" + path + "' is of an older version and has no checksum: damage may go unseen");
  return model;
}

}  // namespace tool
