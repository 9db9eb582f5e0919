// qllk-mixer-table: every mixer of the registry in one shell, measured.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "build_info.hpp"
#include "command_line.hpp"
#include "jobs.hpp"
#include "plan.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/data/split.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/machine.hpp"
#include "report.hpp"
#include "tool.hpp"

namespace {

using namespace mixer_table;
using tool::add_number, tool::Range;

struct Options {
  std::string form = "full", out = "mixer-table", data = QLLK_DEFAULT_CORPUS;
  std::vector<std::string> mixers, only;
  std::optional<Index> dim, layers, task_steps, task_length;
  std::vector<double> rates, task_rates;
  std::optional<std::uint64_t> bytes;
  std::optional<double> seconds;
  int jobs = qllk::files::Machine().processors();
  bool features = false, table = false;

  void add_to(CLI::App& app) {
    app.add_option("--form", form, "quick (about 10 minutes on 2 cores) or full (up to 2 hours). Default: full")
        ->check(CLI::IsMember({"quick", "full"}));
    app.add_option("--out", out, "Folder of the results. What is there already is not measured again")
        ->type_name("FOLDER");
    app.add_option("--data", data,
                   "Text to train on. Of its last 10 % the end is for scoring only. Default: that of qllk-train")
        ->type_name("PATH");
    app.add_option(
           "--mixers", mixers,
           "Mixers, or several joined by + that the blocks take in turn. Default: all of the library, and in the "
           "full form hybrids with one attention or delta-rule block in four, for the tasks in two")
        ->type_name("NAME");
    app.add_option("--only", only, "Parts to measure. Default: speed text tasks")
        ->check(CLI::IsMember({"speed", "text", "tasks"}));
    add_number(app, "--dim", dim, Range<Index>{16, 4096}, "Width for speed and text, a multiple of 8. Default: 64");
    add_number(app, "--layers", layers, Range<Index>{1, 64}, "Blocks. Default: 2; 4 for text in the full form");
    add_number(app, "--bytes", bytes, Range<std::uint64_t>{1, 1'000'000'000'000}, "Of text for each training run");
    add_number(app, "--seconds", seconds, Range<double>{0, 1e9, true},
               "CPU seconds of each training run at equal time");
    add_number(app, "--task-length", task_length, Range<Index>{kShortestExample, 65536},
               "Positions of a task's sequence");
    add_number(app, "--task-steps", task_steps, Range<Index>{1, 1'000'000'000}, "Updates of each task's run");
    const Range<double> positive{0, 1, true};
    tool::add_numbers(app, "--rates", rates, positive, "Learning rates to try on text");
    tool::add_numbers(app, "--task-rates", task_rates, positive, "Learning rates to try on the tasks");
    add_number(app, "--jobs", jobs, tool::kThreads,
               "Training runs at a time, one thread each. Speed is measured one at a time. Default: all processors");
    app.add_flag("--features", features,
                 "Also train with n-grams, words, matches and recency. The full form always does");
    app.add_flag("--table", table, "Measure nothing, but write the table of what is there");
  }

  bool has(const char* part) const { return only.empty() || std::ranges::count(only, part) > 0; }

  /// Throws std::invalid_argument that names what cannot be.
  Plan plan() const {
    Plan plan = form == "quick" ? Plan::quick() : Plan::full();
    plan.text_shell.dim = dim.value_or(plan.text_shell.dim);
    if (plan.text_shell.dim % 8 != 0)
      throw std::invalid_argument("--dim is " + std::to_string(plan.text_shell.dim) + ", expected a multiple of 8");
    if (layers) plan.text_shell.layers = plan.task_shell.layers = *layers;
    if (bytes) plan.bytes = plan.sweep_bytes = *bytes;
    plan.seconds = seconds.value_or(plan.seconds);
    plan.task_steps = task_steps.value_or(plan.task_steps);
    plan.task_length = task_length.value_or(plan.task_length);
    if (!rates.empty()) plan.rates = rates;
    if (!task_rates.empty()) plan.task_rates = task_rates;
    plan.compare_features = plan.compare_features || features;
    choose_mixers(plan);
    return plan;
  }

 private:
  /// In the full form also hybrids: one block in four of the model for text, one in two of that for the tasks.
  void choose_mixers(Plan& plan) const {
    plan.mixers = plan.task_mixers = mixers;
    if (mixers.empty()) {
      plan.mixers.assign(Mixer::names.begin(), Mixer::names.end());
      plan.task_mixers = plan.mixers;
      for (const char* other : {"attention", "gated_delta"}) {
        const std::string hybrid = std::string("latent+") + other;
        if (form == "full" && plan.text_shell.layers % 4 == 0) plan.mixers.push_back("latent+latent+" + hybrid);
        if (form == "full" && plan.task_shell.layers % 2 == 0) plan.task_mixers.push_back(hybrid);
      }
    }
    for (const std::string& mixer : plan.mixers) check(mixer, plan.text_shell.layers);
    for (const std::string& mixer : plan.task_mixers) check(mixer, plan.task_shell.layers);
  }
  static void check(const std::string& name, Index blocks) {
    const auto parts = split_mixers(name);
    for (const std::string& part : parts) Mixer::Config::named(part);
    if (std::ssize(parts) > blocks)
      throw std::invalid_argument("--mixers " + name + " has " + std::to_string(parts.size()) +
                                  " mixers, but the model " + std::to_string(blocks) +
                                  " blocks: give fewer, or more --layers");
  }
};

Text open_text(const std::string& path, const Plan& plan) {
  auto [training, held_out] = qllk::data::split_tail(qllk::data::Corpus::open(path), 0.1);
  const std::uint64_t size = held_out.size(), scored = std::min(plan.held_out, size), middle = size - scored / 2;
  const auto context = static_cast<std::uint64_t>(plan.text_shell.context);
  if (training.size() <= context || scored / 2 < context)
    throw std::invalid_argument("--data '" + path + "' is too short: its last 10 % must have " +
                                std::to_string(2 * context) + " bytes or more");
  return {std::filesystem::path(path).filename().string(), training, held_out.slice(size - scored, middle),
          held_out.slice(middle, size)};
}

void write(const std::filesystem::path& path, const std::string& text) {
  if (text.empty()) return;
  qllk::files::AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string about(const Plan& plan, const Text& text) {
  return "Blocks: " + std::to_string(plan.text_shell.layers) + " of width " + std::to_string(plan.text_shell.dim) +
         ", patch 1, context " + std::to_string(plan.text_shell.context) +
         "; tasks: " + std::to_string(plan.task_shell.layers) +
         " blocks. Parameters within 5 % of attention's by the width and the Mlp. Text: " + text.name + ", " +
         tool::grouped(plan.bytes) + " bytes or " + detail::cell("%g", plan.seconds) +
         " CPU seconds a run on one thread. Learning rates are chosen after " + tool::grouped(plan.sweep_bytes) +
         " bytes on " + tool::grouped(text.choosing.size()) + " bytes, figures are of the " +
         tool::grouped(text.held_out.size()) + " bytes behind them. Compiled for " + tool::instruction_set() + ".\n";
}

void write_table(const Options& options, const Jobs& jobs, const Results& results, const Text& text) {
  const SpeedTable speed(jobs, results);
  const QualityTable quality(jobs, results);
  std::string out = about(jobs.plan(), text);
  Json json{{"form", options.form}, {"instructions", tool::instruction_set()}};
  if (options.has("speed")) {
    out += "\nThe mixer alone, one layer and one sequence, no window, one thread, positions per CPU second:\n\n";
    out += speed.markdown();
    json["speed"] = speed.json();
  }
  if (options.has("text") && quality.has_text()) {
    out += "\nText, held-out bits per byte:\n\n" + quality.text_markdown();
    json["text"] = quality.text_json();
  }
  if (options.has("tasks")) {
    const Index length = jobs.plan().task_length;
    out += "\nTasks, accuracy at " + std::to_string(length) + " positions as trained / at " +
           std::to_string(kLonger * length) + ":\n\n" + quality.tasks_markdown();
    json["tasks"] = quality.tasks_json();
  }
  const std::filesystem::path folder(options.out);
  write(folder / "table.md", out);
  write(folder / "table.json", json.dump(1) + "\n");
  if (options.has("speed")) {
    write(folder / "training.svg", speed.plot("train_seconds", "Forward and backward of one sequence"));
    write(folder / "generation.svg", speed.plot("generate_seconds", "One position after a sequence"));
  }
  tool::write_stdout(out);
}

int measure(const Options& options) {
  const Plan plan = options.plan();
  const Text text = open_text(options.data, plan);
  std::filesystem::create_directories(options.out);
  Results results((std::filesystem::path(options.out) / "results.jsonl").string());
  const Jobs jobs(plan, text);
  if (!options.table) {
    Runner runner(results, static_cast<std::size_t>(options.jobs));
    std::vector<Job> speed, sweep, tasks;
    if (options.has("speed")) speed = jobs.speed();
    if (options.has("text")) sweep = jobs.sweep();
    if (options.has("tasks")) tasks = jobs.tasks();
    for (const auto* part : {&speed, &sweep, &tasks}) runner.expect(*part);
    if (options.has("text")) runner.expect(jobs.finals(results));
    runner.run(speed);
    runner.run(sweep);
    if (options.has("text")) runner.run(jobs.finals(results));
    runner.run(tasks);
  }
  write_table(options, jobs, results, text);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Measures every mixer of the library in one shell: speed and memory by length, bits per byte of text, accuracy "
      "on "
      "small tasks. Writes table.md, table.json and plots into --out, and results.jsonl as results come: the same "
      "command goes on where it was interrupted. The time left goes to standard error.",
      "qllk-mixer-table");
  Options options;
  options.add_to(app);
  return tool::run(app, argc, argv, [&] { return measure(options); });
}
