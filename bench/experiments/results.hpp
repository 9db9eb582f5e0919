// A file of results: a JSON object a line, in the order of the runs.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "tool.hpp"

namespace experiments {

using Line = nlohmann::ordered_json;

class Results {
 public:
  enum Presence { kMayBeNew, kMustExist };

  /// Throws std::runtime_error if it cannot be read or a line is none of ours. Lines cut off when a program was
  /// stopped do not count.
  explicit Results(std::string path, Presence presence = kMayBeNew) : path_(std::move(path)) {
    std::ifstream file(path_, std::ios::binary);
    if (!file && (presence == kMustExist || errno != ENOENT)) fail("cannot read", errno);
    std::string text;
    for (int number = 1; std::getline(file, text); ++number) {
      no_end_ = file.eof();
      if (text.empty()) continue;
      Line line = Line::parse(text, nullptr, false);
      if (line.is_discarded() && text.starts_with('{')) continue;
      if (!is_result(line))
        throw std::runtime_error("'" + path_ + "', line " + std::to_string(number) + " is not a result");
      if (!line.contains("interim")) lines_.push_back(std::move(line));
    }
    if (file.bad()) fail("cannot read", errno);
  }

  /// The result of a run like this one, under its label.
  std::optional<Line> find(const Line& wanted) const {
    for (const Line& line : lines_) {
      const auto same = [&](const char* key) { return line.at(key) == wanted.at(key); };
      if (!std::all_of(std::begin(kDecisive), std::end(kDecisive), same) || !same("seed")) continue;
      Line found = line;
      found["label"] = wanted.at("label");
      return found;
    }
    return std::nullopt;
  }

  /// Appends it, unless it is there.
  void add(const Line& line) {
    if (std::find(lines_.begin(), lines_.end(), line) != lines_.end()) return;
    const std::string text = (no_end_ ? "\n" : "") + line.dump() + "\n";
    std::ofstream file(path_, std::ios::binary | std::ios::app);
    if (!file.write(text.data(), std::ssize(text)).flush()) fail("cannot write", errno);
    lines_.push_back(line);
  }

  /// One table for each text and budget; seeds of one configuration share a row, with their mean and range.
  std::string table() const {
    std::string out;
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      const auto is_first = [&](const auto& same) {
        return std::none_of(lines_.begin(), lines_.begin() + static_cast<std::ptrdiff_t>(i),
                            [&](const Line& line) { return same(line, lines_[i]); });
      };
      if (is_first(same_contest)) out += (out.empty() ? "" : "\n") + contest(lines_[i]);
    }
    return out;
  }

 private:
  static constexpr const char* kDecisive[] = {"arch", "text", "budget", "threads", "config", "settings"};

  struct Row {
    const Line* line;  // the first of them
    double count = 0, bits = 0, low = std::numeric_limits<double>::infinity(), high = -low;
    double cpu = 0, seconds = 0, bytes = 0;
  };

  static bool is_result(const Line& line) {
    const auto has = [&](const char* key) { return line.contains(key); };
    return line.is_object() && std::all_of(std::begin(kDecisive), std::end(kDecisive), has) && has("label") &&
           has("seed") && has("cpu_seconds") && has("val_bits_per_byte");
  }
  [[noreturn]] void fail(const std::string& what, int error) const {
    throw std::runtime_error(what + " '" + path_ + "': " + std::generic_category().message(error));
  }

  /// Steps are what a budget in bytes comes to, and differ with the batch.
  static Line budget_of(const Line& line) {
    Line budget = line.at("budget");
    budget.erase("steps");
    return budget;
  }
  static bool same_contest(const Line& a, const Line& b) {
    return a.at("text") == b.at("text") && a.at("threads") == b.at("threads") && budget_of(a) == budget_of(b);
  }
  static bool same_row(const Line& a, const Line& b) {
    const auto same = [&](const char* key) { return a.at(key) == b.at(key); };
    return same("label") && std::all_of(std::begin(kDecisive), std::end(kDecisive), same);
  }
  /// Of a run that diverged there is null in the file.
  static double number(const Line& line, const char* key) {
    const auto found = line.find(key);
    return found != line.end() && found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
  }

  std::string contest(const Line& like) const {
    std::vector<Row> rows;
    for (const Line& line : lines_) {
      if (!same_contest(line, like)) continue;
      auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return same_row(*r.line, line); });
      if (row == rows.end()) row = rows.insert(rows.end(), Row{&line});
      const double bits = number(line, "val_bits_per_byte");
      row->count += 1, row->bits += bits, row->cpu += number(line, "cpu_seconds");
      row->seconds += number(line, "seconds"), row->bytes += number(line, "bytes_seen");
      row->low = std::min(row->low, bits), row->high = std::max(row->high, bits);
    }
    std::string out = "Text " + like.at("text").dump() + ", budget " + budget_of(like).dump() + ", " +
                      like.at("threads").dump() +
                      " threads. `*`: no other run had fewer bits for as little CPU time.\n\n";
    out += "| run | bits per byte | range | seeds | CPU seconds | MB trained on | kB a second | parameters |\n";
    out += "|---|---|---|---|---|---|---|---|\n";
    for (const Row& row : rows) {
      const bool beaten = std::any_of(rows.begin(), rows.end(), [&](const Row& other) {
        return other.bits / other.count < row.bits / row.count && other.cpu / other.count <= row.cpu / row.count;
      });
      char range[64] = "", figures[256];
      if (row.count > 1) std::snprintf(range, sizeof range, "%.4f to %.4f", row.low, row.high);
      std::snprintf(figures, sizeof figures, "%.4f%s | %s | %.0f | %.1f | %.2f | %.1f | %s", row.bits / row.count,
                    beaten ? "" : " *", range, row.count, row.cpu / row.count, row.bytes / row.count / 1e6,
                    row.bytes / row.seconds / 1e3,
                    tool::grouped(row.line->value("parameters", std::uint64_t{0})).c_str());
      out += "| " + row.line->at("label").get<std::string>() + " | " + figures + " |\n";
    }
    return out;
  }

  std::string path_;
  std::vector<Line> lines_;
  bool no_end_ = false;
};

}  // namespace experiments
