// What tells files that qllk wrote from text to learn from.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "qllk/core/types.hpp"
#include "qllk/files/input_file.hpp"

namespace qllk::data {

/// What the first row of a file of metrics has as its first member, "format".
inline constexpr std::string_view kMetricsFormat = "qllk-metrics";
/// How files of metrics begin.
inline constexpr std::string_view kMetricsBegin = "{\"format\":\"qllk-metrics\"";
/// How pages of reports begin.
inline constexpr std::string_view kReportBegin = "<!doctype html>\n<!-- qllk-report -->\n";
/// How pictures of runs begin.
inline constexpr std::string_view kPictureBegin = "<!-- qllk-report -->\n<svg ";

namespace detail {

/// "a file of qllk" that is no text: a model, a checkpoint, metrics, a report, or a compressed file; nullptr for any
/// other. Throws std::runtime_error if it cannot be read.
inline const char* kind_of_own_file(const files::InputFile& file) {
  constexpr std::uint64_t kMostHeader = std::uint64_t{1} << 20;  // metadata come first
  constexpr std::string_view kCompressed = "QLLKzip", kFormat = "\"format\":\"qllk", kMetadata = "\"__metadata__\":";
  std::array<Byte, 64> bytes;
  if (!file.is_regular() || file.size() < 9) return nullptr;
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), file.size()));
  file.read_at(0, std::span(bytes).first(count));
  const std::string_view begin(reinterpret_cast<const char*>(bytes.data()), count);
  if (begin.starts_with(kCompressed)) return "a file of qllk-compress";
  if (begin.starts_with(kMetricsBegin)) return "a file of metrics of qllk-train";
  if (begin.starts_with(kReportBegin)) return "a report of qllk";
  if (begin.starts_with(kPictureBegin)) return "a picture of qllk-report";
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) length = length << 8 | bytes[i];
  if (bytes[8] != '{' || length > file.size() - 8) return nullptr;
  std::string header(static_cast<std::size_t>(std::min(length, kMostHeader)), ' ');
  file.read_at(8, {reinterpret_cast<Byte*>(header.data()), header.size()});
  const std::size_t at = header.find(kMetadata);
  if (at == std::string::npos || header.find(kFormat, at) == std::string::npos) return nullptr;
  return "a model or checkpoint of qllk";
}

}  // namespace detail
}  // namespace qllk::data
