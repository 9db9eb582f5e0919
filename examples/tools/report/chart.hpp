// Line charts as SVG.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "report/html.hpp"

namespace report {

struct Curve {
  std::string name;
  int colour = 0;                                   // one of kColours
  bool faint = false;                               // thinner, behind the others
  bool dots = false;                                // for few points
  std::vector<std::pair<double, double>> points{};  // x does not fall
};

struct Chart {
  std::string title, x_label;
  bool log_x = false;
  bool from_zero = false;  // y
  bool crop = false;       // outliers, and the steep beginning, may leave the frame
  std::vector<Curve> curves{};
};

inline constexpr int kColours = 8;

namespace detail {

struct Interval {
  double least = std::numeric_limits<double>::infinity(), most = -least;
  bool empty() const { return least > most; }
  void add(double value) {
    least = std::min(least, value);
    most = std::max(most, value);
  }
};

/// A step of 1, 2 or 5 times a power of ten, such that there are about `count` in the interval.
inline double tick_step(const Interval& range, int count) {
  const double raw = (range.most - range.least) / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1., 2., 5.})
    if (raw <= factor * power) return factor * power;
  return 10 * power;
}

inline Interval x_range(const Chart& chart) {
  Interval range;
  for (const Curve& curve : chart.curves)
    for (const auto& [x, y] : curve.points)
      if (!chart.log_x || x > 0) range.add(x);
  if (!range.empty() && range.least == range.most) {
    range.least = chart.log_x ? range.most / 10 : 0;
    if (range.most == 0) range.most = 1;
  }
  return range;
}

/// With `crop`, that of 98 % of the points, once the first twentieth of them is over.
inline Interval y_range(const Chart& chart) {
  std::vector<double> values;
  for (const Curve& curve : chart.curves) {
    const std::size_t skip = chart.crop && curve.points.size() > 20 ? curve.points.size() / 20 : 0;
    for (std::size_t i = skip; i < curve.points.size(); ++i) values.push_back(curve.points[i].second);
  }
  Interval range;
  if (values.empty()) return range;
  std::sort(values.begin(), values.end());
  range.add(values.front());
  range.add(chart.crop ? values[(values.size() - 1) * 98 / 100] : values.back());
  if (chart.from_zero) range.add(0);
  const double room =
      range.least == range.most ? std::max(1e-9, std::abs(range.most) / 10) : 0.06 * (range.most - range.least);
  range.most += room;
  if (!chart.from_zero) range.least -= room;
  return range;
}

}  // namespace detail

/// Means of neighbours, such that no more than `most` points are left.
inline std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points,
                                                      std::size_t most) {
  if (points.size() <= most) return points;
  std::vector<std::pair<double, double>> out;
  for (std::size_t i = 0; i < most; ++i) {
    const std::size_t begin = points.size() * i / most, end = points.size() * (i + 1) / most;
    double x = 0, y = 0;
    for (std::size_t p = begin; p < end; ++p) x += points[p].first, y += points[p].second;
    out.emplace_back(x / static_cast<double>(end - begin), y / static_cast<double>(end - begin));
  }
  return out;
}

/// One chart, drawn.
class Drawing {
 public:
  /// `number` is another one for each chart of a page.
  Drawing(const Chart& chart, int number)
      : chart_(chart), id_("clip" + std::to_string(number)), x_(detail::x_range(chart)), y_(detail::y_range(chart)) {}

  /// An element of a page, with its title above.
  std::string figure() const {
    std::string out = "<figure><figcaption>" + escape(chart_.title) + "</figcaption>";
    if (empty()) return out + "<p class=\"none\">no data yet</p></figure>\n";
    out += "<svg viewBox=\"0 0 " + coordinate(kWidth) + " " + coordinate(kHeight) + "\" role=\"img\" aria-label=\"" +
           escape(description()) + "\">" + elements();
    return out + "</svg></figure>\n";
  }

  bool empty() const { return x_.empty() || y_.empty(); }
  std::string description() const {
    std::string out = chart_.title + " against " + chart_.x_label;
    for (const Curve& curve : chart_.curves)
      if (!curve.points.empty()) {
        out += "; " + curve.name + " ends at ";
        out += short_number(curve.points.back().second);
      }
    return out;
  }

  /// What stands in an <svg> of kWidth × kHeight. There must be a point.
  std::string elements() const {
    std::string out = "<clipPath id=\"" + id_ + "\"><rect x=\"" + coordinate(kLeft) + "\" y=\"" + coordinate(kTop) +
                      "\" width=\"" + coordinate(kWidth - kLeft - kRight) + "\" height=\"" +
                      coordinate(kHeight - kTop - kBottom) + "\"/></clipPath>";
    add_y_axis(out);
    add_x_axis(out);
    out += "<g clip-path=\"url(#" + id_ + ")\">";
    for (const bool faint : {true, false})
      for (const Curve& curve : chart_.curves)
        if (curve.faint == faint) add_curve(out, curve);
    return out + "</g>";
  }

  static constexpr double kWidth = 440, kHeight = 260, kLeft = 50;
  static std::string coordinate(double value) { return number(value, 1); }

 private:
  static constexpr double kRight = 14, kTop = 10, kBottom = 42;

  double x_at(double x) const {
    const double share =
        chart_.log_x ? std::log(x / x_.least) / std::log(x_.most / x_.least) : (x - x_.least) / (x_.most - x_.least);
    return kLeft + share * (kWidth - kLeft - kRight);
  }
  /// Far outside of the frame is as good as just outside.
  double y_at(double y) const {
    const double share = std::clamp((y - y_.least) / (y_.most - y_.least), -1., 2.);
    return kHeight - kBottom - share * (kHeight - kTop - kBottom);
  }

  void add_y_axis(std::string& out) const {
    const double step = detail::tick_step(y_, 5);
    for (double tick = std::ceil(y_.least / step) * step; tick <= y_.most; tick += step) {
      const std::string at = coordinate(y_at(tick));
      out += "<path class=\"grid\" d=\"M" + coordinate(kLeft) + " " + at + "H" + coordinate(kWidth - kRight) + "\"/>";
      out += "<text class=\"y\" x=\"" + coordinate(kLeft - 6) + "\" y=\"" + coordinate(y_at(tick) + 4) + "\">" +
             short_number(std::abs(tick) < step / 1e6 ? 0 : tick) + "</text>";
    }
  }

  std::vector<double> x_ticks() const {
    std::vector<double> ticks;
    if (!chart_.log_x) {
      const double step = detail::tick_step(x_, 5);
      for (double tick = std::ceil(x_.least / step) * step; tick <= x_.most; tick += step) ticks.push_back(tick);
      return ticks;
    }
    const bool few = x_.most / x_.least < 300;
    for (double power = std::pow(10, std::floor(std::log10(x_.least))); power <= x_.most; power *= 10)
      for (const double factor : {1., 2., 5.})
        if ((few || factor == 1.) && factor * power >= x_.least && factor * power <= x_.most)
          ticks.push_back(factor * power);
    return ticks;
  }

  void add_x_axis(std::string& out) const {
    for (const double tick : x_ticks()) {
      const std::string at = coordinate(x_at(tick));
      out += "<path class=\"grid\" d=\"M" + at + " " + coordinate(kTop) + "V" + coordinate(kHeight - kBottom) + "\"/>";
      out += "<text class=\"x\" x=\"" + at + "\" y=\"" + coordinate(kHeight - kBottom + 17) + "\">" +
             short_number(tick) + "</text>";
    }
    out += "<text class=\"x\" x=\"" + coordinate((kLeft + kWidth - kRight) / 2) + "\" y=\"" + coordinate(kHeight - 5) +
           "\">" + escape(chart_.x_label) + "</text>";
  }

  /// Of a curve: many runs side by side have fewer points each, so that a page stays small.
  std::size_t most_points(std::size_t alone) const {
    return std::clamp(4 * alone / chart_.curves.size(), alone / 10, alone);
  }

  void add_curve(std::string& out, const Curve& curve) const {
    const std::string kind = "class=\"c" + std::to_string(curve.colour % kColours) + (curve.faint ? " faint" : "");
    std::string path, dots;
    for (const auto& [x, y] : thinned(curve.points, most_points(curve.dots ? 100 : 400))) {
      if (chart_.log_x && x <= 0) continue;
      const std::string at_x = coordinate(x_at(x)), at_y = coordinate(y_at(y));
      path += (path.empty() ? "M" : "L") + at_x + " " + at_y;
      if (curve.dots)
        dots += "<circle " + kind + "\" cx=\"" + at_x + "\" cy=\"" + at_y + "\" r=\"2.6\"><title>" +
                escape(curve.name + ": " + number(y, 4) + " at " + short_number(x)) + "</title></circle>";
    }
    if (!path.empty()) out += "<path " + kind + " line\" d=\"" + path + "\"/>" + dots;
  }

  const Chart& chart_;
  std::string id_;
  detail::Interval x_, y_;
};

}  // namespace report
