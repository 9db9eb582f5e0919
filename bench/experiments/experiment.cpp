// qllk-experiment: trains one configuration within a budget and scores it: one JSON line for each, to be compared.
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "command_line.hpp"
#include "display.hpp"
#include "options.hpp"
#include "overrides.hpp"
#include "qllk/io/architectures.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/recipe.hpp"
#include "qllk/train/trainer.hpp"
#include "results.hpp"
#include "run_files.hpp"
#include "text.hpp"
#include "tool.hpp"

namespace {

using namespace qllk;
using experiments::Line, experiments::Options;
using io::Json;

constexpr double kSecondsBetweenNotes = 10;

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * double(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <class Model>
class Experiment {
 public:
  explicit Experiment(const Options& options) : options_(options), texts_(tool::Texts::open(sources(options))) {
    tool::Display display;
    tool::warn_of_skipped(display, texts_.training);
    if (options.val) tool::warn_of_skipped(display, texts_.validation);
    if (options.val_bytes > 0 && options.val_bytes < texts_.validation.size())
      texts_.validation = texts_.validation.slice(0, options.val_bytes);
    train::Recipe<Model> start{};
    if (!options.plain) start = train::recipe(std::type_identity<Model>{}, texts_.training.size(), options.expected());
    start.settings.seed = options.seed;
    config_ = start.config;
    settings_ = start.settings;
    tool::override_picks("", options.set, config_, settings_);
    budget_ = options.budget(settings_);
  }

  /// What was run: all that decides the result.
  Line description() const {
    Json settings = io::to_json(settings_);
    settings.erase("seed");
    Line line{{"label", options_.label}, {"arch", io::Architecture<Model>::name}, {"seed", settings_.seed}};
    line["text"] = {{"name", std::filesystem::path(options_.data).filename().string()},
                    {"train_bytes", texts_.training.size()},
                    {"val_bytes", texts_.validation.size()}};
    line["budget"] = train::detail::budget_to_json(budget_);
    if (options_.bytes) line["budget"]["bytes"] = *options_.bytes;
    line["threads"] = options_.threads;
    line["config"] = io::to_json(config_);
    line["settings"] = settings;
    return line;
  }

  /// Trains and scores; each interim line goes to interim(line).
  template <class Interim>
  Line run(Interim&& interim) {
    train::Trainer<Model> trainer(Model(config_), settings_, texts_.training, options_.threads);
    const double every = options_.eval_every.value_or(std::numeric_limits<double>::infinity());
    double cpu = 0, mark = cpu_seconds(), noted = 0, due = every, smooth = 0, weight = 0;
    trainer.run(budget_, [&](const train::StepReport& step) {
      cpu += cpu_seconds() - mark;
      constexpr double kKeep = 0.95;  // about the last 20 updates, as qllk-train has it
      if (!step.skipped) smooth = kKeep * smooth + (1 - kKeep) * step.bits_per_byte;
      if (!step.skipped) weight = kKeep * weight + (1 - kKeep);
      const train::Progress& now = trainer.progress();
      const double done = budget_.used(now.steps, now.seconds);
      if (now.seconds - noted >= kSecondsBetweenNotes) {
        noted = now.seconds;
        std::fprintf(stderr, "%s: step %lld  train %.3f bits/byte  %s/s  %s left\n", options_.label.c_str(),
                     static_cast<long long>(now.steps), smooth / weight,
                     tool::readable_bytes(static_cast<double>(now.bytes) / now.seconds).c_str(),
                     tool::clock_text(now.seconds * (1 - done) / done).c_str());
      }
      if (now.seconds >= due && done < 1) {
        Line line = result(trainer, smooth / weight, cpu);
        line["interim"] = true;
        interim(line);
        due = now.seconds + every;
      }
      mark = cpu_seconds();
      return true;
    });
    return result(trainer, smooth / weight, cpu);
  }

 private:
  static tool::TextSources sources(const Options& options) { return {.data = {options.data}, .val = options.val}; }

  Line result(train::Trainer<Model>& trainer, double train_bits, double cpu) const {
    std::fprintf(stderr, "%s: scoring %s bytes\n", options_.label.c_str(),
                 tool::grouped(texts_.validation.size()).c_str());
    const train::Score score = trainer.with_average([&](const auto& params) {
      return train::evaluate(trainer.model(), params, texts_.validation, {.threads = trainer.threads()});
    });
    const train::Progress& progress = trainer.progress();
    Line line = description();
    line["val_bits_per_byte"] = score.bits_per_byte();
    line["val_nats_per_byte"] = score.nats_per_byte();
    line["train_bits_per_byte"] = train_bits;
    line["bytes_seen"] = progress.bytes;
    line["steps"] = progress.steps;
    line["skipped_updates"] = progress.skipped;
    line["seconds"] = progress.seconds;
    line["cpu_seconds"] = cpu;
    line["bytes_per_second"] = static_cast<double>(progress.bytes) / progress.seconds;
    line["parameters"] = parameter_count(trainer.params());
    return line;
  }

  Options options_;
  tool::Texts texts_;
  typename Model::Config config_{};
  train::TrainerSettings settings_;
  train::Budget budget_;
};

void run_experiment(Options& options) {
  options.complete();
  io::visit_architecture<io::EveryModel>(options.arch, [&]<class Model>(std::type_identity<Model>) {
    Experiment<Model> experiment(options);
    std::optional<experiments::Results> results;
    if (options.results) results.emplace(*options.results);
    const Line wanted = experiment.description();
    const std::optional<Line> found = results ? results->find(wanted) : std::nullopt;
    if (found) std::fprintf(stderr, "%s: in '%s' already\n", options.label.c_str(), options.results->c_str());
    const Line line = found ? *found : experiment.run(tool::print_json);
    if (results) results->add(line);
    tool::print_json(line);
  });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains one configuration within a budget and scores it on held-out text. Progress goes to standard "
      "error; standard output is one JSON object a line, the score after the whole budget last.",
      "qllk-experiment");
  Options options;
  options.add_to(app);
  return tool::run(app, argc, argv, [&] {
    if (options.table)
      tool::write_stdout(experiments::Results(*options.table, experiments::Results::kMustExist).table());
    else
      run_experiment(options);
    return 0;
  });
}
