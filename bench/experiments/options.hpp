// The command line of qllk-experiment.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "qllk/files/machine.hpp"
#include "qllk/train/recipe.hpp"
#include "qllk/train/trainer.hpp"

namespace experiments {

struct Options {
  std::string data, arch = "default", label;
  std::optional<std::string> val, results, table;
  std::vector<std::string> set;
  std::optional<double> seconds, eval_every;
  std::optional<std::uint64_t> bytes;
  std::uint64_t val_bytes = 0, seed = 1;
  int threads = qllk::files::Machine().processors();
  bool plain = false;

  void add_to(CLI::App& app) {
    app.add_option("--data", data, "Text to train on: a file or a folder")->type_name("PATH");
    app.add_option("--val", val, "Held-out text to score. Default: the last 10 % of --data")->type_name("PATH");
    using tool::add_number, tool::Range;
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
    constexpr Range<double> kSeconds{0, 1e9, true};
    add_number(app, "--val-bytes", val_bytes, Range<std::uint64_t>{0, kMost},
               "Score the first N bytes of it; 0: all. Default: 0");
    app.add_option("--arch", arch, "Model: default or classic. Default: default")->type_name("NAME");
    app.add_option("--label", label, "What the results call this run. Default: --arch and --set")->type_name("TEXT");
    add_number(app, "--bytes", bytes, Range<std::uint64_t>{1, 1'000'000'000'000'000},
               "Train on N bytes, rounded up to whole updates: the same weights on every run");
    add_number(app, "--seconds", seconds, kSeconds, "Train for T seconds. With --bytes: until the first of the two")
        ->type_name("T");
    add_number(app, "--threads", threads, tool::kThreads, "Default: all processors");
    add_number(app, "--seed", seed, Range<std::uint64_t>{0, kMost}, "Of weights and batches. Default: 1");
    add_number(app, "--eval-every", eval_every, kSeconds,
               "Score after every T seconds of training too, each a line of its own")
        ->type_name("T");
    tool::add_overrides(app, set, "Change a member of the model's Config or of the TrainerSettings");
    app.add_flag("--plain", plain, "Start from the defaults of the structs instead of what qllk-train would pick");
    app.add_option(
           "--results", results,
           "Add the line to FILE too. A run that is in it already is not made again, whatever it is called there")
        ->type_name("FILE");
    app.add_option("--table", table, "Do nothing but print the results in FILE as Markdown")->type_name("FILE");
  }

  void complete() {
    if (label.empty()) {
      label = arch;
      for (const auto& assignment : set) label += " " + assignment;
    }
    if (data.empty()) throw CLI::RequiredError("--data");
    if (!bytes && !seconds) throw CLI::RequiredError("--bytes or --seconds");
  }

  /// For train::recipe, which tells the bytes to expect from seconds or steps: seconds that are as good as --bytes.
  qllk::train::Budget expected() const {
    qllk::train::Budget budget;
    if (seconds) budget.seconds = *seconds;
    if (bytes)
      budget.seconds =
          std::min(budget.seconds, static_cast<double>(*bytes) / qllk::train::expected_bytes({.seconds = 1}, {}));
    return budget;
  }

  qllk::train::Budget budget(const qllk::train::TrainerSettings& settings) const {
    qllk::train::Budget budget;
    if (seconds) budget.seconds = *seconds;
    const auto step = static_cast<std::uint64_t>(std::max<qllk::Index>(1, settings.batch * settings.context));
    if (bytes) budget.steps = static_cast<std::int64_t>((*bytes - 1) / step + 1);
    return budget;
  }
};

}  // namespace experiments
