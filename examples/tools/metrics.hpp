// metrics.jsonl, the history of a training run: one JSON object a line.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "names.hpp"
#include "qllk/data/own_files.hpp"
#include "qllk/files/input_file.hpp"

namespace tool {

/// What a model wrote in the course of its training. Text that does no harm, as `visible` makes it.
struct Sample {
  std::string prompt, text;
};

/// Where a run stood at one time. A number that is not known is NaN, and is not in the file.
struct MetricsRow {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

  std::int64_t step = 0;
  std::uint64_t bytes = 0;     // trained on
  double seconds = 0;          // of training
  double train = kUnknown;     // smoothed, bits per byte
  double val = kUnknown;       // the quick score, where it was taken
  double full_val = kUnknown;  // the score of all held-out text, at the end
  double learning_rate = kUnknown, gradient_norm = kUnknown;
  double rate = kUnknown;    // bytes per second since the row before
  double memory = kUnknown;  // bytes that the process holds
  std::optional<Sample> sample{};

  /// Calls f(key, number) for each number that may be unknown.
  template <class Row, class F>
  static void numbers(Row& row, F&& f) {
    f("train_bits_per_byte", row.train), f("val_bits_per_byte", row.val), f("full_val_bits_per_byte", row.full_val);
    f("learning_rate", row.learning_rate), f("gradient_norm", row.gradient_norm), f("bytes_per_second", row.rate);
    f("rss_bytes", row.memory);
  }

  /// A line of the file. The first one tells whose file it is.
  std::string line(bool first) const {
    nlohmann::ordered_json json;
    if (first) json["format"] = qllk::data::kMetricsFormat;
    json["step"] = step;
    json["bytes_seen"] = bytes;
    json["seconds"] = seconds;
    numbers(*this, [&](const char* key, double value) {
      if (std::isfinite(value)) json[key] = value;
    });
    if (sample) {
      json["sample_prompt"] = sample->prompt;
      json["sample"] = sample->text;
    }
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }

  /// Nothing if it is no such line, as the last one of a process that died while it wrote.
  static std::optional<MetricsRow> parse(std::string_view line) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    try {
      MetricsRow row;
      json.at("step").get_to(row.step);
      json.at("bytes_seen").get_to(row.bytes);
      json.at("seconds").get_to(row.seconds);
      numbers(row, [&](const char* key, double& value) { value = json.value(key, kUnknown); });
      if (json.contains("sample")) row.sample = {json.at("sample_prompt"), json.at("sample")};
      return row;
    } catch (const nlohmann::json::exception&) {
      return std::nullopt;
    }
  }
};

/// The rows of a file, without lines that are none. Throws std::runtime_error if it cannot be read or is another's
/// file.
inline std::vector<MetricsRow> read_metrics(const std::filesystem::path& path) {
  const auto contents = qllk::files::InputFile(path.string()).contents();
  std::string_view text(reinterpret_cast<const char*>(contents.bytes.data()), contents.bytes.size());
  if (!text.starts_with(qllk::data::kMetricsBegin))
    throw std::runtime_error("'" + path.string() + "' is not a file of metrics that qllk-train made");
  std::vector<MetricsRow> rows;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (auto row = MetricsRow::parse(text.substr(0, end))) rows.push_back(*std::move(row));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return rows;
}

}  // namespace tool
