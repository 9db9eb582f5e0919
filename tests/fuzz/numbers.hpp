// Numbers of a command line, names in JSON, and rows of metrics.
#pragma once

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "display.hpp"
#include "fuzz/input.hpp"
#include "metrics.hpp"
#include "names.hpp"
#include "number.hpp"

namespace qllk::fuzz {

/// Whole and other numbers: what is taken is what it says.
struct Numbers {
  static std::vector<std::string> seeds() {
    return {"0",
            "1",
            "010",
            "-1",
            "1024",
            "18446744073709551615",
            "9223372036854775807",
            "0.5",
            "1e-3",
            "-1.5e300",
            "nan",
            "inf",
            " 1",
            "+1",
            "0x10",
            "1e999",
            "4.9406564584124654e-324"};
  }

  static void run(Bytes input) {
    const std::string text = text_of(input);
    if (text.find('\0') != std::string::npos) return;  // no command line has it
    whole<int>(text, {1, 1024});
    whole<std::int64_t>(text, {-5, std::numeric_limits<std::int64_t>::max() - 1});
    whole<std::uint64_t>(text, {0, std::numeric_limits<std::uint64_t>::max()});
    const tool::Range<double> range{0, 1e15, true};
    try {
      const double value = tool::parse_number("--x", text, range);
      expect(range.contains(value) && std::isfinite(value), "a number outside its range");
      expect(text.find_first_not_of("0123456789.eE+-") == std::string::npos && text[0] != '+', "no decimal number");
      char* end = nullptr;
      expect(std::strtod(text.c_str(), &end) == value && *end == 0, "another number");
    } catch (const std::invalid_argument& error) {
      expect(std::string(error.what()).find("expected a number above 0") != std::string::npos, "no range");
    }
  }

 private:
  template <class T>
  static void whole(const std::string& text, const tool::Range<T>& range) {
    try {
      const T value = tool::parse_number("--x", text, range);
      expect(range.contains(value), "a number outside its range");
      std::string digits =
          text.substr(text.find_first_not_of("-0") == std::string::npos ? text.size() : text.find_first_not_of("-0"));
      if (digits.empty()) digits = "0";
      if (value < T{}) digits = "-" + digits;
      expect(digits == std::to_string(value), "another number");
    } catch (const std::invalid_argument& error) {
      expect(std::string(error.what()).find("expected a whole number from") != std::string::npos, "no range");
    }
  }
};

/// Names come back whatever bytes they have, and no byte of them does harm to a terminal.
struct Names {
  static std::vector<std::string> seeds() {
    return {"a/b.txt",
            "new\nline",
            "\x1b[31m red",
            "not \xff UTF-8",
            "\xC3\xA4\xE2\x82\xAC",
            "{\"hex\":\"6e\"}",
            R"({"format":"qllk-metrics","step":1,"bytes_seen":16,"seconds":0.5,"sample_prompt":"a","sample":"b"})"};
  }

  static void run(Bytes input) {
    const std::string name = text_of(input);
    expect(tool::name_of_json(nlohmann::json::parse(tool::name_to_json(name).dump())) == name, "another name");
    const std::string line = tool::visible_line(name);
    for (const char c : line)
      expect(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F, "a control character reaches the terminal");
    expect(tool::is_utf8(line), "a line that is not UTF-8 reaches the terminal");
    static_cast<void>(tool::MetricsRow::parse(name));
    const auto json = nlohmann::json::parse(name, nullptr, false);
    if (json.is_discarded()) return;
    try {
      const std::string read = tool::name_of_json(json);
      expect(json.is_string() || 2 * read.size() == json.at("hex").get<std::string>().size(), "digits are lost");
    } catch (const nlohmann::json::exception&) {
    } catch (const std::invalid_argument&) {
    }
  }
};

}  // namespace qllk::fuzz
