// Lines over a logarithmic axis, as an SVG.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace plot {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // coordinates on a logarithmic axis are above 0
};

enum class Scale { logarithmic, linear };

/// One coordinate: from one round number to another that include all values.
class Axis {
 public:
  explicit Axis(Scale scale) : scale_(scale) {}

  void include(double value) { low_ = std::min(low_, on_scale(value)), high_ = std::max(high_, on_scale(value)); }
  bool empty() const { return !(low_ <= high_); }
  /// 0 at the axis's begin, 1 at its end.
  double share(double value) const { return (on_scale(value) - begin()) / (end() - begin()); }
  /// Where the grid has its lines: decades, or four to ten round numbers.
  std::vector<double> marks() const {
    std::vector<double> values;
    const auto count = static_cast<int>(std::lround((end() - begin()) / step()));
    for (int i = 0; i <= count; ++i) {
      const double at = begin() + i * step();
      values.push_back(scale_ == Scale::linear ? at : std::pow(10, at));
    }
    return values;
  }

 private:
  double on_scale(double value) const { return scale_ == Scale::linear ? value : std::log10(value); }
  double step() const {
    if (scale_ == Scale::logarithmic) return 1;
    const double range = std::max(high_ - low_, 1e-9), decade = std::pow(10, std::floor(std::log10(range)));
    return range > 5 * decade ? decade : range > 2 * decade ? decade / 2 : decade / 5;
  }
  double begin() const { return std::floor(low_ / step() + kRounding) * step(); }
  double end() const { return std::max(std::ceil(high_ / step() - kRounding) * step(), begin() + step()); }

  static constexpr double kRounding = 1e-9;

  Scale scale_;
  double low_ = std::numeric_limits<double>::infinity(), high_ = -low_;
};

struct Labels {
  std::string title, x, y;
};

/// A plot with a logarithmic x axis and a legend on the right.
class Plot {
 public:
  Plot(Labels labels, Scale y, std::vector<Series> series)
      : labels_(std::move(labels)), series_(std::move(series)), y_(y) {
    for (const Series& one : series_)
      for (const auto& [px, py] : one.points) x_.include(px), y_.include(py);
  }

  /// Empty if there is no point.
  std::string svg() const {
    if (x_.empty()) return "";
    std::string out =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 480\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n<rect width=\"760\" height=\"480\" fill=\"white\"/>\n";
    out += text(kLeft, 24, labels_.title, "start");
    grid(out);
    for (std::size_t i = 0; i < series_.size(); ++i) line(out, i);
    return out + "</svg>\n";
  }

 private:
  static constexpr double kLeft = 70, kRight = 570, kTop = 40, kBottom = 430;

  static std::string format(const char* pattern, auto... values) {
    char out[256];
    std::snprintf(out, sizeof out, pattern, values...);
    return out;
  }
  static std::string escaped(const std::string& what) {
    std::string out;
    for (const char c : what) {
      if (c == '&')
        out += "&amp;";
      else if (c == '<')
        out += "&lt;";
      else
        out += c;
    }
    return out;
  }
  static std::string text(double x, double y, const std::string& what, const char* anchor) {
    return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor) + escaped(what) + "</text>\n";
  }
  double at_x(double value) const { return kLeft + (kRight - kLeft) * x_.share(value); }
  double at_y(double value) const { return kBottom - (kBottom - kTop) * y_.share(value); }

  void grid(std::string& out) const {
    const auto rule = [&](double x1, double y1, double x2, double y2) {
      out += format("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", x1, y1, x2, y2);
    };
    for (const double mark : x_.marks()) {
      rule(at_x(mark), kTop, at_x(mark), kBottom);
      out += text(at_x(mark), kBottom + 18, format("%g", mark), "middle");
    }
    for (const double mark : y_.marks()) {
      rule(kLeft, at_y(mark), kRight, at_y(mark));
      out += text(kLeft - 8, at_y(mark) + 4, format("%g", mark), "end");
    }
    out += text((kLeft + kRight) / 2, kBottom + 40, labels_.x, "middle");
    out += format("<text transform=\"translate(16 %.1f) rotate(-90)\" text-anchor=\"middle\">", (kTop + kBottom) / 2) +
           escaped(labels_.y) + "</text>\n";
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
    out += format("<line x1=\"580\" y1=\"%.1f\" x2=\"605\" y2=\"%.1f\" ", y, y) + style + "/>\n";
    out += text(610, y + 4, series_[i].name, "start");
  }

  Labels labels_;
  std::vector<Series> series_;
  Axis x_{Scale::logarithmic}, y_;
};

}  // namespace plot
