// What the quick and the full form measure.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "jobs.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/io/architectures.hpp"
#include "shell.hpp"
#include "speed.hpp"
#include "tasks.hpp"
#include "training.hpp"

namespace mixer_table {

/// Sizes of a form. Seconds are CPU seconds.
struct Plan {
  std::vector<std::string> mixers, task_mixers;
  std::vector<Index> positions{1000, 10'000, 100'000};
  Shell text_shell, task_shell;
  std::vector<double> rates{4e-3, 8e-3, 1.6e-2};  // of text; the best one is used for equal time, seeds and features
  std::vector<double> task_rates{2e-3, 5e-3};
  std::vector<std::uint64_t> seeds{1};  // of the final setting
  std::uint64_t sweep_bytes = 400'000, bytes = 400'000, held_out = 120'000;
  double seconds = 5;
  bool compare_features = false;
  std::vector<Index> task_dims{32};
  Index task_length = 32, task_batch = 16, task_steps = 3000;

  static Plan quick() { return {}; }
  static Plan full() {
    Plan plan;
    plan.text_shell.layers = 4;
    plan.rates = {3e-3, 6e-3, 1.2e-2};
    plan.seeds = {1, 2, 3};
    plan.sweep_bytes = 600'000;
    plan.bytes = 1'500'000;
    plan.held_out = 400'000;
    plan.seconds = 30;
    plan.compare_features = true;
    plan.task_dims = {32, 64};
    return plan;
  }
};

namespace detail {
inline Json ordered(const qllk::io::Json& json) { return Json::parse(json.dump()); }
}  // namespace detail

/// Every job of a plan. Those of text after the sweep need its results.
class Jobs {
 public:
  Jobs(const Plan& plan, const Text& text) : plan_(plan), text_(text) {}

  std::vector<Job> speed() const {
    std::vector<Job> jobs;
    for (const Index positions : plan_.positions)
      for (const std::string& mixer : plan_.mixers) {
        if (mixer.find('+') != std::string::npos) continue;  // several, each of which has a line of its own
        const Index dim = plan_.text_shell.dim;
        jobs.push_back({{{"kind", "speed"}, {"mixer", mixer}, {"dim", dim}, {"positions", positions}},
                        [=]() -> Json {
                          const Speed s = measure_speed(mixer, dim, positions);
                          return {{"train_seconds", s.train_seconds},
                                  {"peak_share", s.peak_share},
                                  {"generate_seconds", s.generate_seconds},
                                  {"state_bytes", s.state_bytes}};
                        },
                        expected_speed(mixer, positions),
                        true});
      }
    return jobs;
  }

  std::vector<Job> sweep() const {
    std::vector<Job> jobs;
    for (const std::string& mixer : plan_.mixers)
      for (const double rate : plan_.rates) jobs.push_back(text(mixer, of_sweep(rate), false));
    return jobs;
  }
  /// With the best rate: all seeds by bytes and by time, and stream features. Runs of the sweep are not run again.
  std::vector<Job> finals(const Results& results) const {
    std::vector<Job> jobs;
    for (const std::string& mixer : plan_.mixers) {
      const double rate = best_rate(results, mixer);
      for (const std::uint64_t seed : plan_.seeds) {
        jobs.push_back(text(mixer, of_bytes(rate, seed), false));
        jobs.push_back(text(mixer, of_seconds(rate, seed), false));
      }
      if (plan_.compare_features) jobs.push_back(text(mixer, of_bytes(rate, plan_.seeds[0]), true));
    }
    return jobs;
  }
  /// That with the fewest bits in the sweep, on text that no figure is of; the first one before there are results.
  double best_rate(const Results& results, const std::string& mixer) const {
    double best = 0, least = std::numeric_limits<double>::infinity();
    for (const double rate : plan_.rates) {
      const Json* result = results.find(text(mixer, of_sweep(rate), false).what);
      if (result == nullptr) continue;
      const Json& bits = result->at("choosing_bits_per_byte");  // null where training diverged
      if (bits.is_number() && bits.get<double>() < least) least = bits.get<double>(), best = rate;
    }
    return best > 0 ? best : plan_.rates[0];
  }

  std::vector<Job> tasks() const {
    std::vector<Job> jobs;
    for (const Task& t : kTasks)
      for (const std::string& mixer : plan_.task_mixers)
        for (const Index dim : plan_.task_dims)
          for (const double rate : plan_.task_rates) jobs.push_back(task(mixer, t, dim, rate));
    return jobs;
  }

  /// Of a text job: kinds "bytes" and "seconds".
  Job text(const std::string& mixer, const TextRun& run, bool features) const {
    Shell shell = plan_.text_shell;
    shell.features = features;
    const Matched match = matched(shell, mixer);
    const bool by_time = run.seconds < std::numeric_limits<double>::infinity();
    Json what{{"kind", by_time ? "seconds" : "bytes"}, {"mixer", mixer}, {"features", features}};
    what["learning_rate"] = run.learning_rate;
    what["seed"] = run.seed;
    what["budget"] = by_time ? Json(run.seconds) : Json(run.bytes);
    what["batch"] = run.batch;
    what["context"] = run.context;
    what["text"] = {{"name", text_.name},
                    {"train_bytes", text_.training.size()},
                    {"choosing_bytes", text_.choosing.size()},
                    {"val_bytes", text_.held_out.size()}};
    what["parameters"] = match.parameters;
    what["config"] = detail::ordered(qllk::io::to_json(match.config));
    const double bytes = by_time ? run.seconds * kBytesPerSecond : static_cast<double>(run.bytes);
    return {std::move(what),
            [=, *this]() -> Json {
              const TextResult r = train_on_text(match.config, run, text_);
              return {{"bits_per_byte", r.bits_per_byte},
                      {"choosing_bits_per_byte", r.choosing_bits_per_byte},
                      {"bytes_seen", r.bytes_seen},
                      {"seconds", r.seconds},
                      {"train_bytes_per_second", static_cast<double>(r.bytes_seen) / r.seconds},
                      {"generate_bytes_per_second", r.generate_bytes_per_second}};
            },
            bytes / kBytesPerSecond};
  }
  Job task(const std::string& mixer, const Task& t, Index dim, double rate) const {
    Shell shell = plan_.task_shell;
    shell.dim = dim;
    shell.context = 0;  // the longer sequences are seen as a whole, too
    const Matched match = matched(shell, mixer);
    const TaskRun run{
        .learning_rate = rate, .length = plan_.task_length, .batch = plan_.task_batch, .steps = plan_.task_steps};
    Json what{{"kind", "task"}, {"task", t.name}, {"mixer", mixer}, {"learning_rate", rate}, {"seed", run.seed}};
    what["length"] = run.length;
    what["batch"] = run.batch;
    what["steps"] = run.steps;
    what["parameters"] = match.parameters;
    what["config"] = detail::ordered(qllk::io::to_json(match.config));
    return {std::move(what),
            [=]() -> Json {
              const TaskResult r = train_on_task(match.config, run, t);
              return {{"accuracy", r.accuracy}, {"longer_accuracy", r.longer_accuracy}, {"seconds", r.seconds}};
            },
            static_cast<double>(run.length * run.batch * run.steps * dim) / (200 * kBytesPerSecond)};
  }

  TextRun of_sweep(double rate) const {
    TextRun run = of_bytes(rate, plan_.seeds[0]);
    run.bytes = plan_.sweep_bytes;
    return run;
  }
  TextRun of_bytes(double rate, std::uint64_t seed) const {
    TextRun run{.learning_rate = rate, .seed = seed, .context = plan_.text_shell.context};
    run.bytes = plan_.bytes;
    return run;
  }
  TextRun of_seconds(double rate, std::uint64_t seed) const {
    TextRun run{.learning_rate = rate, .seed = seed, .context = plan_.text_shell.context};
    run.seconds = plan_.seconds;
    return run;
  }
  const Plan& plan() const { return plan_; }

 private:
  static constexpr double kBytesPerSecond = 60'000;  // of training; only for the time left

  /// Attention takes the longest by far.
  static double expected_speed(const std::string& mixer, Index positions) {
    const double thousands = static_cast<double>(positions) / 1000;
    const double quadratic = mixer == "attention" ? 0.01 : mixer == "melf" ? 0.001 : 0;
    return 1 + 0.03 * thousands + quadratic * thousands * thousands;
  }

  Plan plan_;
  Text text_;
};

}  // namespace mixer_table
