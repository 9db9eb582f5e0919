// qllk-plot: draws curves from a table, as an SVG.
#include "plot.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "number.hpp"
#include "tool.hpp"

namespace {

/// Lines "series, x, y" with tabs between; those of one series need not stand together.
std::vector<plot::Series> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open '" + path + "'");
  std::vector<plot::Series> series;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::istringstream fields(line);
    std::string name, x, y, rest;
    if (!std::getline(fields, name, '\t') || !std::getline(fields, x, '\t') || !std::getline(fields, y, '\t') ||
        std::getline(fields, rest))
      throw std::runtime_error("'" + path + "', line " + std::to_string(number) +
                               ", has not three fields with tabs between: series, x, y");
    constexpr tool::Range<double> kX{0, 1e300, true}, kY{-1e300, 1e300};
    auto found = std::ranges::find(series, name, &plot::Series::name);
    if (found == series.end()) found = series.insert(series.end(), {name, {}});
    found->points.emplace_back(tool::parse_number("x", x, kX), tool::parse_number("y", y, kY));
  }
  if (series.empty()) throw std::runtime_error("'" + path + "' is empty: expected lines of series, x and y");
  for (plot::Series& one : series) std::ranges::sort(one.points);
  return series;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Draws curves over a logarithmic x axis. Reads lines of series, x and y, with tabs between; prints an SVG.",
      "qllk-plot");
  std::string path;
  plot::Labels labels;
  app.add_option("TABLE", path, "The file to read")->required();
  app.add_option("--title", labels.title, "What stands above")->type_name("TEXT");
  app.add_option("--x", labels.x, "Name of the x axis")->type_name("TEXT");
  app.add_option("--y", labels.y, "Name of the y axis, which is linear")->type_name("TEXT");
  return tool::run(app, argc, argv, [&] {
    tool::write_stdout(plot::Plot(labels, plot::Scale::linear, read(path)).svg());
    return 0;
  });
}
