// The results as Markdown, JSON and plots.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "jobs.hpp"
#include "plan.hpp"
#include "plot/plot.hpp"
#include "tool.hpp"

namespace mixer_table {

namespace detail {

inline constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

/// A member of a result; NaN where there is no result, or no number in it.
inline double number(const Json* result, const char* key) {
  if (result == nullptr || !result->contains(key) || !(*result)[key].is_number()) return kNothing;
  return (*result)[key].get<double>();
}
inline std::string cell(const char* format, double value) {
  if (!std::isfinite(value)) return "–";
  char out[64];
  std::snprintf(out, sizeof out, format, value);
  return out;
}
/// "1,234" or, with a name of the unit, "1.2 kB"
inline std::string count(double value) {
  return std::isfinite(value) ? tool::grouped(static_cast<std::uint64_t>(std::llround(value))) : "–";
}
inline std::string size(double bytes) { return std::isfinite(bytes) ? tool::readable_bytes(bytes) : "–"; }

inline std::string row(const std::vector<std::string>& cells) {
  std::string out = "|";
  for (const std::string& one : cells) out += " " + one + " |";
  return out + "\n";
}
inline std::string head(const std::vector<std::string>& names) {
  std::string rule = "|";
  for (std::size_t i = 0; i < names.size(); ++i) rule += i == 0 ? "---|" : "---:|";
  return row(names) + rule + "\n";
}

/// NaN-free JSON: null where there is nothing.
inline Json value(double number) { return std::isfinite(number) ? Json(number) : Json(nullptr); }

/// "1.0 K", "100 K"
inline std::string thousands(Index positions) { return cell("%g K", static_cast<double>(positions) / 1000); }

/// Mean and range over seeds.
struct Spread {
  double sum = 0, least = std::numeric_limits<double>::infinity(), most = -least;
  int number = 0;

  void add(double value) {
    if (!std::isfinite(value)) return;
    sum += value, ++number;
    least = std::min(least, value), most = std::max(most, value);
  }
  double mean() const { return number > 0 ? sum / number : kNothing; }
  std::string text() const {
    return number > 1 ? cell("%.3f", mean()) + " (" + cell("%.3f", least) + " to " + cell("%.3f", most) + ")"
                      : cell("%.3f", mean());
  }
  Json json() const {
    return {{"mean", value(mean())},
            {"least", value(number > 0 ? least : kNothing)},
            {"most", value(number > 0 ? most : kNothing)},
            {"seeds", number}};
  }
};

}  // namespace detail

/// What a mixer by itself costs, at every length of a plan.
class SpeedTable {
 public:
  SpeedTable(const Jobs& jobs, const Results& results) : positions_(jobs.plan().positions) {
    for (const Job& job : jobs.speed()) {
      const std::string mixer = job.what["mixer"].get<std::string>();
      auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.mixer == mixer; });
      if (row == rows_.end()) row = rows_.insert(rows_.end(), Row{mixer, {}});
      row->results.push_back(results.find(job.what));
    }
  }

  std::string markdown() const {
    using namespace detail;
    std::vector<std::string> names{"mixer"};
    for (const Index n : positions_) names.push_back("train " + thousands(n));
    for (std::size_t i = 1; i < positions_.size(); ++i)
      names.push_back("exponent " + thousands(positions_[i - 1]) + " to " + thousands(positions_[i]));
    names.insert(names.end(), {"times attention", "faster from", "of peak " + thousands(positions_[middle()])});
    for (const Index n : positions_) names.push_back("generate " + thousands(n));
    for (const Index n : {positions_.front(), positions_.back()}) names.push_back("state " + thousands(n));
    names.push_back("peak memory");
    std::string out = head(names);
    for (const Row& r : rows_) {
      std::vector<std::string> cells{r.mixer};
      for (std::size_t i = 0; i < positions_.size(); ++i) cells.push_back(count(train_rate(r, i)));
      for (std::size_t i = 1; i < positions_.size(); ++i) cells.push_back(cell("%.2f", exponent(r, i)));
      cells.push_back(cell("%.1f", ratio(r, positions_.size() - 1)));
      cells.push_back(crossing(r));
      cells.push_back(cell("%.0f %%", 100 * number(r.results[middle()], "peak_share")));
      for (std::size_t i = 0; i < positions_.size(); ++i)
        cells.push_back(count(1 / number(r.results[i], "generate_seconds")));
      cells.push_back(size(number(r.results.front(), "state_bytes")));
      cells.push_back(size(number(r.results.back(), "state_bytes")));
      cells.push_back(size(number(r.results.back(), "peak_bytes")));
      out += row(cells);
    }
    return out;
  }

  Json json() const {
    using namespace detail;
    Json out = Json::array();
    for (const Row& r : rows_) {
      Json line{{"mixer", r.mixer}, {"crossing", crossing(r)}, {"lengths", Json::array()}};
      for (std::size_t i = 0; i < positions_.size(); ++i) {
        Json length{{"positions", positions_[i]}, {"train_positions_per_second", value(train_rate(r, i))}};
        length["generate_bytes_per_second"] = value(1 / number(r.results[i], "generate_seconds"));
        for (const char* key : {"state_bytes", "peak_bytes", "peak_share"})
          length[key] = value(number(r.results[i], key));
        if (i > 0) length["exponent"] = value(exponent(r, i));
        length["times_attention"] = value(ratio(r, i));
        line["lengths"].push_back(length);
      }
      out.push_back(line);
    }
    return out;
  }

  std::string plot(const char* key, const char* title) const {
    std::vector<plot::Series> series;
    for (const Row& r : rows_) {
      series.push_back({r.mixer, {}});
      for (std::size_t i = 0; i < positions_.size(); ++i)
        if (const double seconds = detail::number(r.results[i], key); seconds > 0)
          series.back().points.emplace_back(static_cast<double>(positions_[i]), seconds);
    }
    return plot::Plot({title, "positions", "CPU seconds"}, plot::Scale::logarithmic, series).svg();
  }

 private:
  struct Row {
    std::string mixer;
    std::vector<const Json*> results;  // at every length
  };

  std::size_t middle() const { return positions_.size() / 2; }
  double seconds(const Row& r, std::size_t i) const { return detail::number(r.results[i], "train_seconds"); }
  double train_rate(const Row& r, std::size_t i) const { return static_cast<double>(positions_[i]) / seconds(r, i); }
  /// Of the time of a whole sequence, between a length and the one before: 1 is linear, 2 quadratic.
  double exponent(const Row& r, std::size_t i) const {
    return std::log(seconds(r, i) / seconds(r, i - 1)) /
           std::log(static_cast<double>(positions_[i]) / static_cast<double>(positions_[i - 1]));
  }
  /// How many times faster than attention.
  double ratio(const Row& r, std::size_t i) const {
    for (const Row& other : rows_)
      if (other.mixer == kReferenceMixer) return seconds(other, i) / seconds(r, i);
    return detail::kNothing;
  }
  /// The length from which on it is faster than attention, on straight lines between measured lengths in the plot.
  std::string crossing(const Row& r) const {
    if (r.mixer == kReferenceMixer) return "–";
    if (ratio(r, 0) >= 1) return "below " + detail::thousands(positions_[0]);
    for (std::size_t i = 1; i < positions_.size(); ++i) {
      const double before = std::log(ratio(r, i - 1)), after = std::log(ratio(r, i));
      if (!(after >= 0)) continue;
      const double low = std::log(static_cast<double>(positions_[i - 1])),
                   high = std::log(static_cast<double>(positions_[i]));
      return "about " + detail::cell("%.2g K", std::exp(low + (high - low) * before / (before - after)) / 1000);
    }
    return "–";
  }

  std::vector<Index> positions_;
  std::vector<Row> rows_;
};

/// Quality on text and on the tasks. Rows of mixers whose sweep is not done are left out.
class QualityTable {
 public:
  QualityTable(const Jobs& jobs, const Results& results) : jobs_(jobs), results_(results) {
    for (const std::string& mixer : jobs.plan().mixers) {
      const auto done = [&](double rate) {
        return results.find(jobs.text(mixer, jobs.of_sweep(rate), false).what) != nullptr;
      };
      if (std::ranges::all_of(jobs.plan().rates, done)) rows_.push_back(text_row(mixer));
    }
  }

  bool has_text() const { return !rows_.empty(); }
  std::string text_markdown() const {
    using namespace detail;
    std::string out = head({"mixer", "dim", "hidden", "parameters", "rate", "bits/byte, equal bytes",
                            "bits/byte, equal time", "with features", "train B/s", "generate B/s", "peak memory"});
    for (const TextRow& r : rows_)
      out += row({r.mixer, std::to_string(r.dim), std::to_string(r.hidden * r.dim), count(r.parameters),
                  cell("%g", r.rate), r.bytes.text(), r.seconds.text(), cell("%.3f", r.features), count(r.train_rate),
                  count(r.generate_rate), size(r.peak)});
    return out;
  }
  Json text_json() const {
    Json out = Json::array();
    for (const TextRow& r : rows_) {
      Json line{{"mixer", r.mixer}, {"dim", r.dim}, {"hidden", r.hidden * r.dim}, {"parameters", r.parameters}};
      line["learning_rate"] = r.rate;
      line["bits_per_byte_equal_bytes"] = r.bytes.json();
      line["bits_per_byte_equal_time"] = r.seconds.json();
      line["bits_per_byte_with_features"] = detail::value(r.features);
      line["train_bytes_per_second"] = detail::value(r.train_rate);
      line["generate_bytes_per_second"] = detail::value(r.generate_rate);
      line["peak_bytes"] = detail::value(r.peak);
      out.push_back(line);
    }
    return out;
  }

  /// A row for each mixer and width: accuracy at the trained length, then at kLonger times that.
  std::string tasks_markdown() const {
    using namespace detail;
    std::vector<std::string> names{"mixer", "width"}, chance{"(guessing)", ""};
    for (const Task& task : kTasks) names.emplace_back(task.name), chance.push_back(cell("%.2f", task.chance));
    std::string out = head(names) + row(chance);
    for (const std::string& mixer : jobs_.plan().task_mixers)
      for (const Index dim : jobs_.plan().task_dims) {
        std::vector<std::string> cells{mixer, std::to_string(dim)};
        for (const Task& task : kTasks) {
          const Accuracy best = accuracy(mixer, task, dim);
          cells.push_back(cell("%.2f", best.trained) + " / " + cell("%.2f", best.longer));
        }
        out += row(cells);
      }
    return out;
  }
  Json tasks_json() const {
    Json out = Json::array();
    for (const std::string& mixer : jobs_.plan().task_mixers)
      for (const Index dim : jobs_.plan().task_dims) {
        Json line{{"mixer", mixer}, {"width", dim}};
        for (const Task& task : kTasks) {
          const Accuracy best = accuracy(mixer, task, dim);
          line[std::string(task.name)] = {{"accuracy", detail::value(best.trained)},
                                          {"longer_accuracy", detail::value(best.longer)},
                                          {"learning_rate", detail::value(best.rate)}};
        }
        out.push_back(line);
      }
    return out;
  }

 private:
  struct TextRow {
    std::string mixer;
    Index dim = 0, hidden = 0;
    double parameters = 0, rate = 0;
    detail::Spread bytes, seconds;
    double features = detail::kNothing, train_rate = 0, generate_rate = 0, peak = 0;
  };

  TextRow text_row(const std::string& mixer) const {
    const Plan& plan = jobs_.plan();
    TextRow row;
    row.mixer = mixer;
    row.rate = jobs_.best_rate(results_, mixer);
    const Matched match = matched(plan.text_shell, mixer);
    row.dim = match.config.dim, row.hidden = match.config.hidden;
    row.parameters = static_cast<double>(match.parameters);
    const auto result = [&](const TextRun& run, bool features = false) {
      return results_.find(jobs_.text(mixer, run, features).what);
    };
    for (const std::uint64_t seed : plan.seeds) {
      row.bytes.add(detail::number(result(jobs_.of_bytes(row.rate, seed)), "bits_per_byte"));
      row.seconds.add(detail::number(result(jobs_.of_seconds(row.rate, seed)), "bits_per_byte"));
    }
    const TextRun first = jobs_.of_bytes(row.rate, plan.seeds[0]);
    row.features = detail::number(result(first, true), "bits_per_byte");
    row.train_rate = detail::number(result(first), "train_bytes_per_second");
    row.generate_rate = detail::number(result(first), "generate_bytes_per_second");
    row.peak = detail::number(result(first), "peak_bytes");
    return row;
  }

  struct Accuracy {
    double trained = detail::kNothing, longer = detail::kNothing, rate = detail::kNothing;
  };
  /// Of the learning rate that is best at the trained length.
  Accuracy accuracy(const std::string& mixer, const Task& task, Index dim) const {
    Accuracy best;
    for (const double rate : jobs_.plan().task_rates) {
      const Json* result = results_.find(jobs_.task(mixer, task, dim, rate).what);
      const double trained = detail::number(result, "accuracy");
      if (trained > best.trained || (std::isnan(best.trained) && !std::isnan(trained)))
        best = {trained, detail::number(result, "longer_accuracy"), rate};
    }
    return best;
  }

  const Jobs& jobs_;
  const Results& results_;
  std::vector<TextRow> rows_;
};

}  // namespace mixer_table
