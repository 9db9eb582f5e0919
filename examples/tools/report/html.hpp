// Text and numbers in HTML.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>

namespace report {

/// Text as text, in elements and in quoted attributes. What is not UTF-8, and control characters that HTML does not
/// know, must be gone already: `tool::visible` makes such text.
inline std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// "1.25", without zeros at the end.
inline std::string number(double value, int digits) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  std::string out = text;
  if (out.find('.') == std::string::npos) return out;
  out.erase(out.find_last_not_of('0') + 1);
  if (out.back() == '.') out.pop_back();
  return out == "-0" ? "0" : out;
}

/// "1.5M", "20k", "0.003"
inline std::string short_number(double value) {
  const char* const units[] = {"", "k", "M", "G", "T"};
  if (value != 0 && std::abs(value) < 0.001) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g", value);
    return text;
  }
  int unit = 0;
  for (; std::abs(value) >= 1000 && unit < 4; ++unit) value /= 1000;
  return number(value, std::abs(value) < 1 ? 4 : 2) + units[unit];
}

}  // namespace report
