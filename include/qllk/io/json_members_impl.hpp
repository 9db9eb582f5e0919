// How JSON is parsed. Include qllk/io/json_members.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "qllk/core/types.hpp"
#include "qllk/io/json_members.hpp"

namespace qllk::io {

namespace detail {
/// Levels of lists and objects in a JSON text.
inline int nesting(std::string_view text) {
  int depth = 0, deepest = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\')
      ++i;
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted && (c == '[' || c == '{'))
      deepest = std::max(deepest, ++depth);
    else if (!quoted && (c == ']' || c == '}'))
      --depth;
  }
  return deepest;
}

QLLK_INLINE RuntimeError unexpected(const Json& json, const std::string& name, const std::string& expected) {
  const std::string found = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return RuntimeError("'" + name + "' is " + found.substr(0, 60) + ", expected " + expected);
}
}  // namespace detail

QLLK_INLINE Json parse_json(const std::string& text, const std::string& name) {
  constexpr int kMostLevels = 32;
  if (detail::nesting(text) > kMostLevels)
    throw RuntimeError("'" + name + "' has more than " + std::to_string(kMostLevels) + " levels of lists and objects");
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw RuntimeError("'" + name + "' is not valid JSON");
  return json;
}

}  // namespace qllk::io
