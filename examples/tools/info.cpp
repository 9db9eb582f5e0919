// qllk-info: what is inside a model file or a checkpoint.
#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "command_line.hpp"
#include "display.hpp"
#include "model_path.hpp"
#include "qllk/io/safetensors_reader.hpp"
#include "tool.hpp"

namespace {

using Json = nlohmann::ordered_json;
using qllk::io::SafetensorsReader;

/// What metadata hold JSON, and what for.
constexpr std::array<std::string_view, 6> kJsonMembers{"config", "settings", "budget", "progress", "updates", "notes"};

/// "ok", "none" (files of before, and those of other programs), or "wrong".
std::string checksum_of(const SafetensorsReader& file) {
  if (!file.has_checksum()) return "none";
  try {
    file.verify();
    return "ok";
  } catch (const std::exception&) {
    return "wrong";
  }
}

std::string kind_of(const SafetensorsReader& file) {
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end()) return "safetensors of another program";
  if (format->second == "qllk") return "model";
  if (format->second == "qllk-training") return "checkpoint";
  return "safetensors of another program";
}

/// The learned numbers: of a checkpoint those to train on, without averages and moments.
std::uint64_t parameters_of(const SafetensorsReader& file, bool checkpoint) {
  std::uint64_t count = 0;
  for (const auto& [name, entry] : file.entries()) {
    if (checkpoint && !name.starts_with("params.")) continue;
    std::uint64_t size = 1;
    for (const std::uint64_t extent : entry.shape) size *= extent;
    count += size;
  }
  return count;
}

Json tensors_of(const SafetensorsReader& file) {
  Json tensors = Json::array();
  for (const auto& [name, entry] : file.entries())
    tensors.push_back({{"name", name},
                       {"dtype", std::string(qllk::io::dtype_name(entry.dtype))},
                       {"shape", entry.shape},
                       {"bytes", entry.size}});
  return tensors;
}

Json describe(const std::string& path) {
  const SafetensorsReader file(path);
  const std::string kind = kind_of(file);
  Json out;
  tool::set_text(out, "file", path);
  out["kind"] = kind;
  out["bytes"] = std::filesystem::file_size(path);
  out["checksum"] = checksum_of(file);
  out["parameters"] = parameters_of(file, kind == "checkpoint");
  Json& metadata = out["metadata"] = Json::object();
  for (const auto& [key, text] : file.metadata()) {
    if (key == "checksum") continue;
    const bool is_json = std::ranges::find(kJsonMembers, key) != kJsonMembers.end();
    const Json value = is_json ? Json::parse(text, nullptr, false) : Json(text);
    metadata[key] = value.is_discarded() ? Json(text) : value;
  }
  out["tensors"] = tensors_of(file);
  return out;
}

/// "12 x 34"
std::string shape_text(const Json& shape) {
  std::string out;
  for (const Json& extent : shape) out += (out.empty() ? "" : " x ") + extent.dump();
  return out.empty() ? "1" : out;
}

/// Sums over the first part of the tensors' names, as "blocks" and "embedding", in the order of the names.
std::vector<std::pair<std::string, std::uint64_t>> parts_of(const Json& tensors) {
  std::vector<std::pair<std::string, std::uint64_t>> parts;
  for (const Json& tensor : tensors) {
    const auto name = tensor["name"].get<std::string>();
    std::size_t end = name.find('.');
    for (const char* const group : {"params.", "average.", "adam.first.", "adam.second.", "lion.momentum.", "carried."})
      if (name.starts_with(group)) end = std::string_view(group).size() - 1;
    const std::string part = name.substr(0, end);
    if (parts.empty() || parts.back().first != part) parts.emplace_back(part, 0);
    parts.back().second += tensor["bytes"].get<std::uint64_t>();
  }
  return parts;
}

void print_line(std::string key, const std::string& value) {
  key.resize(std::max<std::size_t>(key.size() + 1, 14), ' ');
  tool::write_stdout(key + tool::visible_line(value) + "\n");
}

/// Text as it is, anything else as JSON.
std::string value_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void print(const Json& info, bool tensors) {
  for (const char* const key : {"file", "kind", "checksum"}) print_line(key, value_text(info[key]));
  for (const char* const key : {"bytes", "parameters"}) print_line(key, tool::grouped(info[key].get<std::uint64_t>()));
  for (const auto& [key, value] : info["metadata"].items()) print_line(tool::visible_line(key), value_text(value));
  print_line("tensors", std::to_string(info["tensors"].size()));
  if (tensors)
    for (const Json& tensor : info["tensors"])
      print_line("", tensor["name"].get<std::string>() + "  " + tensor["dtype"].get<std::string>() + "  " +
                         shape_text(tensor["shape"]));
  else
    for (const auto& [part, bytes] : parts_of(info["tensors"]))
      print_line("", part + "  " + tool::readable_bytes(static_cast<double>(bytes)));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Shows what is inside a model file, a training checkpoint, or another safetensors file. Reads the whole file and "
      "checks its checksum; a wrong one is exit status 1.",
      "qllk-info");
  std::string path;
  bool json = false, tensors = false;
  app.add_option("FILE", path, "The file to show, or the folder of a run, whose model is meant")
      ->required()
      ->option_text(" ");
  app.add_flag("--json", json, "Print one JSON object, with every tensor");
  app.add_flag("--tensors", tensors, "Print a line for every tensor, with dtype and shape");
  return tool::run(app, argc, argv, [&] {
    path = tool::model_path(path);
    const Json info = describe(path);
    if (json)
      tool::print_json(info);
    else
      print(info, tensors);
    if (info["checksum"] != "wrong") return 0;
    tool::Display().line("qllk-info: '" + path + "' is damaged: its checksum is wrong");
    return 1;
  });
}
