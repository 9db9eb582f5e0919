// Names of files, which may be any bytes, in JSON, which holds text.
#pragma once

#include <charconv>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <system_error>

namespace tool {

inline bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(nlohmann::json(text).dump());
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

/// Two digits for each byte.
inline std::string hex(const std::string& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

/// A string where it is text, {"hex": "…"} where it is not: nothing is lost.
inline nlohmann::json name_to_json(const std::string& name) {
  if (is_utf8(name)) return name;
  return {{"hex", hex(name)}};
}

/// Throws a nlohmann::json::exception if it is neither, std::invalid_argument if its digits are not two for each byte.
inline std::string name_of_json(const nlohmann::json& json) {
  if (json.is_string()) return json.get<std::string>();
  const auto digits = json.at("hex").get<std::string>();
  std::string name;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    const std::string both = digits.substr(i, 2);
    unsigned byte = 0;
    const auto [end, error] = std::from_chars(both.data(), both.data() + both.size(), byte, 16);
    if (error != std::errc() || end != both.data() + 2)
      throw std::invalid_argument("a name has '" + both + "', expected two hexadecimal digits for each byte");
    name += static_cast<char>(byte);
  }
  return name;
}

}  // namespace tool
