// A report of training runs: one self-contained HTML file without scripts.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "byte_bits.hpp"
#include "display.hpp"
#include "metrics.hpp"
#include "qllk/data/own_files.hpp"
#include "report/chart.hpp"
#include "report/costed_html.hpp"
#include "report/html.hpp"
#include "report/style.hpp"
#include "tool.hpp"

namespace report {

/// A run as a report shows it. Its texts may be any UTF-8; all of it is escaped.
struct Run {
  std::string name;
  std::vector<tool::MetricsRow> rows;
  std::vector<std::pair<std::string, std::string>> facts{};
  std::string configuration{};             // JSON, as people read it
  std::optional<tool::CostedText> text{};  // held out
};

namespace detail {

struct TimeUnit {
  const char* name;
  double seconds;
  static TimeUnit of(double longest) {
    if (longest < 300) return {"seconds", 1};
    if (longest < 3 * 3600) return {"minutes", 60};
    return {"hours", 3600};
  }
};

/// Of the longest run.
inline TimeUnit time_unit(const std::vector<Run>& runs) {
  double longest = 0;
  for (const Run& run : runs) longest = std::max(longest, run.rows.back().seconds);
  return TimeUnit::of(longest);
}

/// One curve of a number of the rows: points where both are known.
template <class X, class Y>
Curve curve(const Run& run, std::string name, int colour, X&& x, Y&& y) {
  Curve out{.name = std::move(name), .colour = colour};
  for (const tool::MetricsRow& row : run.rows)
    if (std::isfinite(y(row))) out.points.emplace_back(x(row), y(row));
  return out;
}

inline double bytes_of(const tool::MetricsRow& row) { return static_cast<double>(row.bytes); }
inline double quick_or_full(const tool::MetricsRow& row) {
  return std::isfinite(row.full_val) ? row.full_val : row.val;
}

/// With one run the two losses have colours of their own, with several each run has one.
template <class X>
Chart loss_chart(const std::vector<Run>& runs, std::string x_label, bool log_x, X&& x) {
  Chart chart{.title = "bits per byte", .x_label = std::move(x_label), .log_x = log_x, .crop = !log_x};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const int colour = static_cast<int>(i);
    const std::string prefix = runs.size() > 1 ? runs[i].name + ", " : "";
    Curve train = curve(runs[i], prefix + "training", colour, x, [](const auto& row) { return row.train; });
    Curve val =
        curve(runs[i], prefix + "validation", runs.size() > 1 ? colour : 1, x, [](const auto& r) { return r.val; });
    train.faint = true;
    val.dots = true;
    chart.curves.push_back(std::move(train));
    chart.curves.push_back(std::move(val));
  }
  return chart;
}

/// The last number of that kind that is known; NaN if none is.
template <class Number>
double last(const Run& run, Number&& of_row) {
  for (auto row = run.rows.rbegin(); row != run.rows.rend(); ++row)
    if (std::isfinite(of_row(*row))) return of_row(*row);
  return tool::MetricsRow::kUnknown;
}

inline std::string known(double value, int digits) { return std::isfinite(value) ? number(value, digits) : "–"; }

/// Of all training, not of the last row.
inline std::string mean_rate(const Run& run) {
  const auto& row = run.rows.back();
  return row.seconds > 0 ? tool::readable_bytes(bytes_of(row) / row.seconds) + "/s" : "–";
}

/// What is told of a run in a few numbers: heading and value.
inline std::vector<std::pair<std::string, std::string>> summary(const Run& run) {
  const tool::MetricsRow& end = run.rows.back();
  double memory = 0;
  for (const auto& row : run.rows)
    if (row.memory > memory) memory = row.memory;
  const double full = end.full_val;
  return {{std::isfinite(full) ? "validation, all of it" : "validation, quick score",
           known(std::isfinite(full) ? full : last(run, [](const auto& row) { return row.val; }), 4)},
          {"training, smoothed", known(last(run, [](const auto& row) { return row.train; }), 4)},
          {"steps", tool::grouped(static_cast<std::uint64_t>(end.step))},
          {"bytes seen", tool::readable_bytes(bytes_of(end))},
          {"training time", tool::clock_text(std::round(end.seconds))},
          {"throughput", mean_rate(run)},
          {"most memory", memory > 0 ? tool::readable_bytes(memory) : "–"}};
}

inline std::string swatch(int colour) {
  return "<span class=\"swatch\" style=\"background:var(--c" + std::to_string(colour % kColours) + ")\"></span>";
}

inline std::string runs_table(const std::vector<Run>& runs) {
  std::string out = "<div class=\"scroll\"><table><tr><th>run</th>";
  for (const auto& [heading, value] : summary(runs.front()))
    out += "<th class=\"n\">" + escape(heading.starts_with("validation") ? "validation" : heading) + "</th>";
  out += "</tr>\n";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    out += "<tr><td>" + swatch(static_cast<int>(i)) + escape(runs[i].name) + "</td>";
    for (const auto& [heading, value] : summary(runs[i])) {
      out += "<td class=\"n\">" + escape(value);
      out += heading == "validation, quick score" ? " (quick)</td>" : "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

inline std::string tiles(const Run& run) {
  std::string out = "<div class=\"tiles\">";
  for (const auto& [heading, value] : summary(run))
    out += "<div><span class=\"muted\">" + escape(heading) + "</span><b>" + escape(value) + "</b></div>";
  return out + "</div>\n";
}

inline std::string charts(const std::vector<Run>& runs) {
  const TimeUnit unit = time_unit(runs);
  const auto time = [&](const tool::MetricsRow& row) { return row.seconds / unit.seconds; };
  const std::string of_time = std::string(unit.name) + " of training";
  std::vector<Chart> all{loss_chart(runs, "bytes seen (logarithmic)", true, bytes_of),
                         loss_chart(runs, of_time, false, time)};
  const auto add = [&](Chart chart, auto&& number) {
    chart.x_label = of_time;
    for (std::size_t i = 0; i < runs.size(); ++i)
      chart.curves.push_back(curve(runs[i], runs[i].name, static_cast<int>(i), time, number));
    all.push_back(std::move(chart));
  };
  add({.title = "learning rate", .x_label = "", .from_zero = true}, [](const auto& row) { return row.learning_rate; });
  add({.title = "gradient norm, before clipping", .x_label = "", .from_zero = true, .crop = true},
      [](const auto& row) { return row.gradient_norm; });
  add({.title = "throughput, bytes per second", .x_label = "", .from_zero = true},
      [](const auto& row) { return row.rate; });
  add({.title = "memory of the process, bytes", .x_label = "", .from_zero = true},
      [](const auto& row) { return row.memory; });

  std::string out = "<p class=\"legend\">";
  if (runs.size() == 1)
    out += swatch(0) + "training, smoothed &ensp;" + swatch(1) + "validation, quick score";
  else
    out += "thin: training, smoothed; with dots: validation, quick score";
  out += "</p>\n<div class=\"charts\">\n";
  for (std::size_t i = 0; i < all.size(); ++i) out += Drawing(all[i], static_cast<int>(i)).figure();
  return out +
         "</div>\n<p class=\"muted\">The second chart and that of the gradient norm leave out the steepest "
         "beginning and outliers.</p>\n";
}

/// The first one, the last ones, and some between.
inline std::string samples(const Run& run) {
  constexpr std::size_t kMost = 12;
  std::vector<const tool::MetricsRow*> with;
  for (const auto& row : run.rows)
    if (row.sample) with.push_back(&row);
  if (with.empty()) return "";
  std::string out = "<h2>Samples through time</h2>\n";
  const std::size_t count = std::min(kMost, with.size());
  for (std::size_t i = 0; i < count; ++i) {
    const tool::MetricsRow& row = *with[count == 1 ? 0 : i * (with.size() - 1) / (count - 1)];
    out += "<p class=\"muted\">step " + tool::grouped(static_cast<std::uint64_t>(row.step)) + ", " +
           tool::readable_bytes(bytes_of(row)) + " seen: a prompt, and its continuation</p>\n";
    out += "<pre><i>" + escape(row.sample->prompt) + "</i>" + escape(row.sample->text) + "</pre>\n";
  }
  return out;
}

inline std::string facts(const Run& run) {
  std::string out;
  if (!run.facts.empty()) {
    out += "<div class=\"scroll\"><table>\n";
    for (const auto& [key, value] : run.facts)
      out += "<tr><th>" + escape(key) + "</th><td>" + escape(value) + "</td></tr>\n";
    out += "</table></div>\n";
  }
  if (!run.configuration.empty()) out += "<pre class=\"tall\">" + escape(run.configuration) + "</pre>\n";
  return out;
}

}  // namespace detail

/// The whole page, of one run or several; each has a row at least. Below 1 MB for any history of up to 50 runs: curves,
/// samples and text are cut to what a screen can show.
inline std::string page(const std::string& title, const std::vector<Run>& runs) {
  std::string out(qllk::data::kReportBegin);
  out +=
      "<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"icon\" "
      "href=\"data:,\">\n<title>";
  out += escape(title) + "</title>\n<style>" + kChartStyle + kPageStyle + "</style></head><body>\n<h1>" +
         escape(title) + "</h1>\n";
  out += runs.size() > 1 ? detail::runs_table(runs) : detail::tiles(runs.front());
  out += "<h2>Curves</h2>\n" + detail::charts(runs);
  for (const Run& run : runs)
    if (run.text) {
      out += "<h2>Held-out text by what it costs</h2>\n" + costed_legend();
      out += "<pre>" + costed_html(*run.text) + "</pre>\n";
    }
  for (const Run& run : runs) {
    if (runs.size() > 1) out += "<h2>" + escape(run.name) + "</h2>\n";
    if (runs.size() == 1) out += detail::samples(run) + "<h2>Configuration</h2>\n";
    out += detail::facts(run);
  }
  return out + "</body></html>\n";
}

}  // namespace report
