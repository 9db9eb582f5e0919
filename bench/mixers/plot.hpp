// Lines on two logarithmic axes, as an SVG.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace mixer_table {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // both coordinates above 0
};

/// A log-log plot with whole decades on both axes and a legend on the right.
class LogPlot {
 public:
  LogPlot(std::string title, std::string x_name, std::string y_name, std::vector<Series> series)
      : title_(std::move(title)), x_name_(std::move(x_name)), y_name_(std::move(y_name)), series_(std::move(series)) {
    for (const Series& one : series_)
      for (const auto& [px, py] : one.points) x_.include(px), y_.include(py);
  }

  /// Empty if there is no point.
  std::string svg() const {
    if (!(x_.low <= x_.high)) return "";
    std::string out =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 480\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n<rect width=\"760\" height=\"480\" fill=\"white\"/>\n";
    out += text(kLeft, 24, title_, "start");
    grid(out);
    for (std::size_t i = 0; i < series_.size(); ++i) line(out, i);
    return out + "</svg>\n";
  }

 private:
  static constexpr double kLeft = 70, kRight = 590, kTop = 40, kBottom = 430;

  /// Whole decades.
  struct Axis {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    void include(double value) {
      low = std::min(low, std::floor(std::log10(value)));
      high = std::max(high, std::ceil(std::log10(value)));
    }
    double share(double value) const { return (std::log10(value) - low) / std::max(1.0, high - low); }
  };

  static std::string format(const char* pattern, auto... values) {
    char out[256];
    std::snprintf(out, sizeof out, pattern, values...);
    return out;
  }
  static std::string text(double x, double y, const std::string& what, const char* anchor) {
    return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor) + what + "</text>\n";
  }
  double at_x(double value) const { return kLeft + (kRight - kLeft) * x_.share(value); }
  double at_y(double value) const { return kBottom - (kBottom - kTop) * y_.share(value); }

  void grid(std::string& out) const {
    const auto rule = [&](double x1, double y1, double x2, double y2) {
      out += format("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", x1, y1, x2, y2);
    };
    for (double decade = x_.low; decade <= x_.high; ++decade) {
      const double x = at_x(std::pow(10, decade));
      rule(x, kTop, x, kBottom);
      out += text(x, kBottom + 18, format("%g", std::pow(10, decade)), "middle");
    }
    for (double decade = y_.low; decade <= y_.high; ++decade) {
      const double y = at_y(std::pow(10, decade));
      rule(kLeft, y, kRight, y);
      out += text(kLeft - 8, y + 4, format("%g", std::pow(10, decade)), "end");
    }
    out += text((kLeft + kRight) / 2, kBottom + 40, x_name_, "middle");
    out += format("<text transform=\"translate(16 %.1f) rotate(-90)\" text-anchor=\"middle\">", (kTop + kBottom) / 2) +
           y_name_ + "</text>\n";
  }

  /// Colours go around the circle; every second line is dashed, so that neighbours differ without colours too.
  void line(std::string& out, std::size_t i) const {
    const double hue = 360.0 * static_cast<double>(i) / static_cast<double>(series_.size());
    const std::string style = format("stroke=\"hsl(%.0f,70%%,%d%%)\" stroke-width=\"2\" fill=\"none\"%s", hue,
                                     i % 3 == 0 ? 40 : 50, i % 2 == 1 ? " stroke-dasharray=\"6 3\"" : "");
    out += "<polyline " + style + " points=\"";
    for (const auto& [x, y] : series_[i].points) out += format("%.1f,%.1f ", at_x(x), at_y(y));
    out += "\"/>\n";
    const double y = kTop + 10 + 20 * static_cast<double>(i);
    out += format("<line x1=\"605\" y1=\"%.1f\" x2=\"635\" y2=\"%.1f\" ", y, y) + style + "/>\n";
    out += text(642, y + 4, series_[i].name, "start");
  }

  std::string title_, x_name_, y_name_;
  std::vector<Series> series_;
  Axis x_, y_;
};

}  // namespace mixer_table
