// A text coloured by what each byte cost.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>

#include "byte_bits.hpp"
#include "display.hpp"
#include "qllk/core/types.hpp"
#include "report/html.hpp"

namespace report {

/// The bits from which on a character has the next colour.
inline constexpr std::array<double, 5> kCostLevels{0.5, 1, 2, 4, 8};

inline std::size_t cost_level(double bits) {
  return static_cast<std::size_t>(std::upper_bound(kCostLevels.begin(), kCostLevels.end(), bits) - kCostLevels.begin());
}

/// Bytes of the character that begins there: a well-formed UTF-8 sequence, or a byte that is none.
inline std::size_t character_length(qllk::Bytes text, std::size_t at) {
  const unsigned first = text[at];
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 1;
  if (at + length > text.size()) return 1;
  for (std::size_t i = 1; i < length; ++i)
    if ((text[at + i] & 0xC0) != 0x80) return 1;
  return length;
}

/// A character of several bytes has the sum of their costs. Neighbours of one colour share an element.
inline std::string costed_html(const tool::CostedText& text) {
  constexpr std::size_t kTold = 3;  // from this level on, the cost is told where the pointer is
  const qllk::Bytes bytes(text.bytes);
  std::string out, open;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = character_length(bytes, at);
    double bits = 0;
    for (std::size_t i = 0; i < length; ++i) bits += static_cast<double>(text.bits[at + i]);
    const std::size_t level = cost_level(bits);
    std::string element = "<span class=\"b" + std::to_string(level) + "\"";
    if (level >= kTold) element += " title=\"" + number(bits, 1) + " bits\"";
    element += ">";
    if (element != open) {
      if (!open.empty()) out += "</span>";
      out += open = element;
    }
    out += escape(bytes[at] == '\n' ? "\n" : tool::visible(bytes.subspan(at, length), ""));
    at += length;
  }
  return open.empty() ? out : out + "</span>";
}

/// What the colours mean.
inline std::string costed_legend() {
  std::string out = "<p class=\"legend\">bits for a character: ";
  for (std::size_t level = 0; level <= kCostLevels.size(); ++level) {
    out += "<span class=\"b" + std::to_string(level) + " key\">";
    out += level == 0 ? "below " + number(kCostLevels[0], 1) : number(kCostLevels[level - 1], 1) + "+";
    out += "</span> ";
  }
  return out + "</p>\n";
}

}  // namespace report
