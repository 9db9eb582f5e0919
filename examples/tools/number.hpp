// The numbers of a command line: decimal, complete, and within a range that the message tells.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>

namespace tool {

/// What an option takes. The bounds of whole numbers belong to it; those of others do unless said otherwise.
template <class T>
struct Range {
  T least, most;
  bool above = false, below = false;  // least, most do not belong to it

  bool contains(T value) const {
    return (above ? value > least : value >= least) && (below ? value < most : value <= most);  // not of a NaN
  }

  /// "a whole number from 1 to 1024", "a number above 0 and below 1"
  std::string text() const {
    if constexpr (std::integral<T>) {
      return "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
    } else {
      const auto number = [](T value) {
        char out[32];
        std::snprintf(out, sizeof out, "%.15g", static_cast<double>(value));
        return std::string(out);
      };
      return std::string("a number ") + (above ? "above " : "from ") + number(least) +
             (above || below ? " and " : " ") +
             (below   ? "below "
              : above ? "at most "
                      : "to ") +
             number(most);
    }
  }
};

/// Throws std::invalid_argument, "--threads is 'abc', expected a whole number from 1 to 1024", unless all of the text
/// is a number of that range. Spaces, a plus, other bases and, for whole numbers, a point or an exponent are no
/// numbers.
template <class T>
T parse_number(const std::string& name, const std::string& text, const Range<T>& range) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const bool number = error == std::errc() && rest == end;
  if (number && range.contains(value)) return value;
  throw std::invalid_argument(name + " is " + (number ? text : "'" + text + "'") + ", expected " + range.text());
}

}  // namespace tool
