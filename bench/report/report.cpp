// bench_report: looks at the machine between benchmark programs, and ends a run with one table and one JSON file.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "report/machine.hpp"
#include "report/verdict.hpp"

namespace {

using nlohmann::json;
using namespace qllk::bench;

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// 84.5 G, 12.3 µ; empty where there is no number.
std::string scaled(const json& value, const char* unit) {
  if (!value.is_number()) return "";
  double number = value.get<double>();
  static const char* const kPrefixes[] = {"n", "µ", "m", "", "k", "M", "G", "T"};
  int prefix = 3;
  while (std::abs(number) >= 1000 && prefix < 7) number /= 1000, ++prefix;
  while (number != 0 && std::abs(number) < 1 && prefix > 0) number *= 1000, --prefix;
  return formatted(std::abs(number) < 100 ? "%.1f " : "%.0f ", number) + kPrefixes[prefix] + unit;
}
std::string percent(const json& value) {
  return value.is_number() ? formatted("%.1f %%", 100 * value.get<double>()) : "";
}

json read(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  return json::parse(file);
}

/// Of Google Benchmark's output: a benchmark's name, label, seconds a call (their median where it is told) and
/// counters.
json figures(const std::string& program, const json& output) {
  static const char* const kCounters[] = {"items_per_second", "flop",         "of_peak", "moved", "of_bandwidth",
                                          "byte_time",        "reading_time", "speedup", "slope"};
  json list = json::array();
  for (const auto& run : output.at("benchmarks")) {
    std::string name = run.at("name");
    for (const char* suffix : {"/real_time", "/manual_time", "/iterations:1"})  // how it was timed
      if (name.ends_with(suffix)) name.erase(name.size() - std::strlen(suffix));
    json entry{{"program", program}, {"name", name}, {"label", run.value("label", "")}};
    if (run.value("error_occurred", false)) {
      entry["error"] = run.value("error_message", "");
    } else {
      const std::string unit = run.at("time_unit");
      const double seconds = unit == "ns" ? 1e-9 : unit == "us" ? 1e-6 : unit == "ms" ? 1e-3 : 1;
      entry["seconds"] =
          run.contains("median") ? run["median"].get<double>() : run.at("real_time").get<double>() * seconds;
      for (const char* counter : kCounters)
        if (run.contains(counter)) entry[counter] = run[counter];
    }
    list.push_back(std::move(entry));
  }
  return list;
}

/// Columns are as wide as their widest cell; the first is flush left.
void print(const std::vector<std::vector<std::string>>& rows) {
  const auto width = [](const std::string& text) {  // of UTF-8
    return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  };
  std::vector<std::ptrdiff_t> widths;
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (widths.size() <= i) widths.push_back(0);
      widths[i] = std::max(widths[i], width(row[i]));
    }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string gap(static_cast<std::size_t>(widths[i] - width(row[i])), ' ');
      line += i == 0 ? row[i] + gap : "  " + gap + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::cout << line << '\n';
  }
}

std::string text(const json& value) { return value.is_null() ? "not known" : value.get<std::string>(); }

void print_machine(const json& results) {
  const json &first = results["looks"].front(), &last = results["looks"].back();
  const auto number = [](const json& value, const char* format, double scale) {
    return value.is_null() ? std::string("not known") : formatted(format, value.get<double>() * scale);
  };
  const auto both = [&](const char* name, const char* format, double scale = 1) {
    if (first[name].is_null() && last[name].is_null()) return std::string("not known");
    return number(first[name], format, scale) + " at the start, " + number(last[name], format, scale) + " at the end";
  };
  const auto bits = [](const json& value) {
    if (value.is_null()) return std::string("not known");
    char hex[16];
    std::snprintf(hex, sizeof hex, "0x%x", value.get<unsigned>());
    return std::string(hex);
  };
  const std::pair<const char*, std::string> facts[] = {
      {"machine", text(results["machine"]["model"])},
      {"cores", results["machine"]["cores"].get<std::string>()},
      {"clock, measured", both("clock_measured", "%.0f MHz", 1e-6)},
      {"clock, told", both("clock_told", "%.0f MHz", 1e-6)},
      {"clock, maximum", number(last["clock_maximum"], "%.0f MHz", 1e-6)},
      {"governor", text(last["governor"])},
      {"temperature", both("temperature", "%.1f °C")},
      {"throttling bits",
       first["throttling_bits"].is_null() && last["throttling_bits"].is_null()
           ? text(json())
           : bits(first["throttling_bits"]) + " at the start, " + bits(last["throttling_bits"]) + " at the end"},
      {"load average", both("load", "%.2f")},
      {"compiler", results["compiler"].get<std::string>()},
      {"flags", results["flags"].get<std::string>()},
  };
  std::cout << '\n';
  for (const auto& [name, value] : facts)
    std::cout << name << std::string(17 - std::strlen(name), ' ') << value << '\n';
}

void print_benchmarks(const json& list) {
  std::vector<std::vector<std::string>> rows{
      {"benchmark", "time", "items/s", "FLOP/s", "of peak", "bytes/s", "of bandwidth", "level", ""}};
  std::string program;
  for (const auto& run : list) {
    if (run["name"].get<std::string>().rfind("ReadCurve/", 0) == 0) continue;  // in the file
    if (run["program"] != program) {
      program = run["program"];
      rows.push_back({""});
      rows.push_back({program});
    }
    const auto at = [&](const char* name) { return run.contains(name) ? run[name] : json(); };
    if (run.contains("error")) {
      rows.push_back({"  " + text(run["name"]), "", text(run["error"])});
      continue;
    }
    const bool limit = run["program"] == "bench_roofline";
    std::string more = limit ? text(run["label"]) : "";
    if (run.contains("speedup")) more = formatted("%.2f × one thread", run["speedup"]);
    if (run.contains("slope")) more = formatted("slope %.3f", run["slope"]);
    if (run.contains("byte_time"))
      more = scaled(run["byte_time"], "s") + " a byte, " + scaled(run["reading_time"], "s") + " to read the weights";
    rows.push_back({"  " + text(run["name"]), limit ? "" : scaled(run["seconds"], "s"),
                    scaled(at("items_per_second"), "/s"), scaled(at("flop"), "FLOP/s"), percent(at("of_peak")),
                    scaled(at("moved"), "B/s"), percent(at("of_bandwidth")), limit ? "" : text(run["label"]), more});
  }
  print(rows);
}

/// Puts all programs' output together, prints it and writes it to a file.
void finish(const std::string& looks, const std::string& out, const std::vector<std::string>& files) {
  json results;
  std::vector<json> samples;
  std::ifstream lines(looks);
  for (std::string line; std::getline(lines, line);) samples.push_back(json::parse(line));
  const auto reasons = reasons_against(samples);
  results["valid"] = reasons.empty();
  results["reasons"] = reasons;
  results["looks"] = samples;
  results["benchmarks"] = json::array();
  for (const auto& file : files) {
    const json output = read(file), &context = output.at("context");
    const std::string program = file.substr(0, file.rfind('.'));
    for (auto& run : figures(program, output)) results["benchmarks"].push_back(std::move(run));
    results["peaks"][program] = {{"fma_core", std::stod(text(context.at("fma_peak_core")))},
                                 {"fma_all", std::stod(text(context.at("fma_peak_all")))}};
    results["compiler"] = context.at("compiler");
    results["flags"] = context.at("flags");
    results["machine"]["cores"] = context.at("cores");
    results["date"] = context.at("date");
  }
  const auto model = machine_model();
  results["machine"]["model"] = model ? json(*model) : json();

  std::ofstream file(out);
  file << results.dump(1) << '\n';
  if (!file.flush()) throw std::runtime_error("cannot write " + out);
  print_machine(results);
  std::cout << '\n';
  print_benchmarks(results["benchmarks"]);
  std::cout << "\nAll figures: " << std::filesystem::absolute(out).string() << '\n';
  for (const auto& reason : reasons) std::cout << "INVALID: " << reason << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  const std::string what = args.empty() ? "" : args[0];
  try {
    if ((what == "begin" || what == "sample") && args.size() == 2) {
      const auto sample = sample_machine();
      std::ofstream file(args[1], what == "begin" ? std::ios::trunc : std::ios::app);
      file << sample.dump() << '\n';
      if (!file.flush()) throw std::runtime_error("cannot write " + args[1]);
      return 0;
    }
    if (what == "table" && args.size() > 3) {
      finish(args[1], args[2], {args.begin() + 3, args.end()});
      return 0;
    }
    std::cerr << "bench_report begin|sample MACHINE.jsonl\n"
                 "bench_report table MACHINE.jsonl RESULTS.json BENCHMARK.json...\n";
  } catch (const std::exception& error) {
    std::cerr << "bench_report: " << error.what() << '\n';
  }
  return 1;
}
