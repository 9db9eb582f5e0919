// The losses of runs as a picture, for a document: an SVG file that needs nothing else.
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "metrics.hpp"
#include "qllk/data/own_files.hpp"
#include "report/chart.hpp"
#include "report/html.hpp"
#include "report/page.hpp"
#include "report/style.hpp"

namespace report {

namespace detail {

/// A line of the legend.
struct LegendLine {
  std::optional<int> colour;  // of a curve; none for a line of text
  bool faint;
  std::string text;
};

/// What all held-out text costs at the end of a run, where that is known. In front, as names may be long.
inline std::string end_score(const Run& run, const std::string& separator) {
  const double full = last(run, [](const auto& row) { return row.full_val; });
  return std::isfinite(full) ? "all held-out text at the end: " + number(full, 3) + separator : "";
}

inline std::vector<LegendLine> legend(const std::vector<Run>& runs) {
  std::vector<LegendLine> lines;
  if (runs.size() == 1) {
    lines = {{0, true, "training, smoothed"}, {1, false, "validation, quick score"}};
    if (const std::string text = end_score(runs.front(), ""); !text.empty())
      lines.push_back({std::nullopt, false, text});
    return lines;
  }
  for (std::size_t i = 0; i < runs.size(); ++i)
    lines.push_back({static_cast<int>(i), false, end_score(runs[i], ", ") + runs[i].name});
  return lines;
}

}  // namespace detail

/// Bits per byte against the time of training, with a legend below; light or dark as its reader's system is. Each run
/// has a row at least. Throws std::runtime_error if no run has a loss yet.
inline std::string picture(const std::vector<Run>& runs) {
  constexpr double kTitle = 26, kLine = 19;  // heights
  const detail::TimeUnit unit = detail::time_unit(runs);
  const Chart chart = detail::loss_chart(runs, std::string(unit.name) + " of training", false,
                                         [&](const tool::MetricsRow& row) { return row.seconds / unit.seconds; });
  const Drawing drawing(chart, 0);
  if (drawing.empty()) throw std::runtime_error("'" + runs.front().name + "' has no loss yet: nothing to draw");
  const auto at = [](double value) { return Drawing::coordinate(value); };
  const std::vector<detail::LegendLine> lines = detail::legend(runs);
  const double height = kTitle + Drawing::kHeight + kLine * static_cast<double>(lines.size()) + 10;

  std::string out(qllk::data::kPictureBegin);
  out += "xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + at(Drawing::kWidth) + " " + at(height) +
         "\" role=\"img\" aria-label=\"" + escape(drawing.description()) + "\">\n<style>";
  out += std::string(kChartStyle) + kPictureStyle + "</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n";
  out += "<text class=\"title\" x=\"" + at(Drawing::kLeft) + "\" y=\"" + at(kTitle - 8) + "\">" + escape(chart.title) +
         "</text>\n<g transform=\"translate(0 " + at(kTitle) + ")\">\n";
  out += drawing.elements() + "</g>\n";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const double y = kTitle + Drawing::kHeight + kLine * (static_cast<double>(i) + 0.8);
    if (lines[i].colour) {
      out += "<path class=\"c" + std::to_string(*lines[i].colour % kColours) + (lines[i].faint ? " faint" : "");
      out += " line\" d=\"M" + at(Drawing::kLeft) + " " + at(y - 4) + "h22\"/>";
    }
    out += "<text x=\"" + at(Drawing::kLeft + 30) + "\" y=\"" + at(y) + "\">" + escape(lines[i].text) + "</text>\n";
  }
  return out + "</svg>\n";
}

}  // namespace report
