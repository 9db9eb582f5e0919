// Which file a tool means by the path of a model.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

namespace tool {

/// The path, or the model in it where it is a folder: that of a run.
inline std::string model_path(std::string path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) path += "/model.safetensors";
  return path;
}

}  // namespace tool
