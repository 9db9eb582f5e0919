// Changes to what the recipe picks: KEY=VALUE from a command line, or a JSON file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "names.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/io/json_members.hpp"

namespace tool {

using qllk::io::Json;

/// Sets a member of a model's Config or of the TrainerSettings, as "mixer.decay=none" or "batch=8". Throws
/// std::invalid_argument if there is no such member.
inline void set_member(const std::string& assignment, Json& config, Json& settings) {
  const auto fail = [&](const std::string& why) { throw std::invalid_argument("--set " + assignment + ": " + why); };
  const std::size_t equals = assignment.find('=');
  if (equals == std::string::npos) fail("expected KEY=VALUE");
  if (!is_utf8(assignment)) fail("expected UTF-8 text");
  Json::json_pointer member;
  for (std::size_t at = 0; at <= equals;) {
    const std::size_t end = std::min(assignment.find('.', at), equals);
    member.push_back(assignment.substr(at, end - at));
    at = end + 1;
  }
  const auto has = [&](const Json& json) {
    try {
      return json.contains(member);
    } catch (const Json::exception&) {  // a name where a list has numbers
      return false;
    }
  };
  Json* const owner = has(config) ? &config : &settings;
  if (!has(*owner)) fail("no such member of the model's " + config.dump() + " or of the trainer's " + settings.dump());
  const std::string text = assignment.substr(equals + 1);
  const bool is_json = Json::accept(text);  // names of an enumeration have no quotes
  (*owner)[member] = is_json ? qllk::io::parse_json(text, "--set " + assignment.substr(0, equals)) : Json(text);
}

/// What --print-config prints and --config reads.
template <class Config, class Settings>
Json picks_to_json(const Config& config, const Settings& settings) {
  return {{"config", qllk::io::to_json(config)}, {"settings", qllk::io::to_json(settings)}};
}

/// Changes config and settings by a file, if there is one, and then by assignments. Throws std::runtime_error or
/// std::invalid_argument that says what cannot be used.
template <class Config, class Settings>
void override_picks(const std::string& file, const std::vector<std::string>& assignments, Config& config,
                    Settings& settings) {
  Json picks = picks_to_json(config, settings);
  if (!file.empty()) {
    const auto contents = qllk::files::InputFile(file).contents();
    const std::string text(reinterpret_cast<const char*>(contents.bytes.data()), contents.bytes.size());
    const Json changes = qllk::io::parse_json(text, file);
    for (const auto& [key, value] : changes.items())
      if (!picks.contains(key) || !value.is_object())
        throw std::runtime_error("'" + file + "' has '" + key + "', expected the objects 'config' and 'settings'");
    picks.merge_patch(changes);
  }
  for (const auto& assignment : assignments) set_member(assignment, picks["config"], picks["settings"]);
  qllk::io::from_json(picks["config"], config, "config");
  qllk::io::from_json(picks["settings"], settings, "settings");
}

}  // namespace tool
