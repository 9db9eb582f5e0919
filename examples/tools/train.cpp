// qllk-train: trains a model on text, shows progress, and scores it on held-out text.
#include <cstdint>
#include <limits>

#include "command_line.hpp"
#include "tool.hpp"
#include "train/options.hpp"
#include "train/program.hpp"
#include "train/train.hpp"

namespace {

using tool::add_number, tool::Range;

void add_texts(CLI::App& app, train_tool::Options& options) {
  app.add_option("--data", options.data,
                 "Text to train on: a file, a folder (all files in it but hidden folders and qllk's own files), a "
                 "pattern in quotes, or - for standard input. Files in .gz, .xz and .zst are decompressed. May be "
                 "given several times. "
                 "Default: the Eigen headers that this tool was built with")
      ->allow_extra_args(false)
      ->type_name("PATH");
  tool::add_numbers(app, "--weight", options.weights, Range<double>{0.001, 1000},
                    "How often bytes of each --data are drawn, in their order, relative to their number: 2 is twice as "
                    "often as 1. Default: 1 for all");
  auto* const path = app.add_option("--val", options.val, "Held-out text to score; all of --data is training text then")
                         ->type_name("PATH");
  add_number(
      app, "--val-fraction", options.val_fraction, Range<double>{0, 1, true, true},
      "Share of --data that is held out for scoring: the end of a file; of several files whole ones, spread over "
      "all. Default: 0.1")
      ->type_name("F")
      ->excludes(path);
}

void add_model(CLI::App& app, train_tool::Options& options) {
  app.add_option("--arch", options.arch, "Model: default or classic. Default: default")->type_name("NAME");
  app.add_option(
         "--mixer", options.mixer,
         "Sequence mixers of the default model's blocks in turn: " + train_tool::mixer_names() + ". Default: latent")
      ->type_name("NAME,…");
  const auto add_member = [&](const char* name, const char* key, const char* what, const auto& range,
                              const char* type) {
    const auto assign = [&options, name, key, range](const std::string& value) {
      try {
        tool::parse_number(name, value, range);
      } catch (const std::invalid_argument& error) {
        throw CLI::ValidationError(error.what());
      }
      options.set.push_back(std::string(key) + "=" + value);
    };
    app.add_option_function<std::string>(name, assign, what)->type_name(type);
  };
  constexpr Range<std::int64_t> kWidth{1, 1 << 20}, kBlocks{0, 1 << 16}, kPatch{1, 1 << 16};
  add_member("--dim", "dim", "Width of the model's patch level", kWidth, "N");
  add_member("--dim-local", "dim_local", "Width of its byte level", kWidth, "N");
  add_member("--layers", "layers", "Blocks of its patch level", kBlocks, "N");
  add_member("--patch", "patch", "Bytes of a patch", kPatch, "N");
  add_member("--learning-rate", "adam.learning_rate", "Peak of the learning rate", Range<double>{0, 1e3, true}, "X");
  add_member("--dropout", "dropout", "Share of values left out in training", Range<double>{0, 1, false, true}, "F");
  app.add_option("--config", options.config, "Start from a file that --print-config printed, whole or in part")
      ->type_name("FILE");
  tool::add_overrides(app, options.set, "Change any member that --print-config shows");
  app.add_flag("--print-config", options.print_config,
               "Print the configuration and settings of the run as JSON, and stop");
}

void add_training(CLI::App& app, train_tool::Options& options) {
  add_number(app, "--steps", options.steps, Range<std::int64_t>{1, 1'000'000'000'000},
             "Train for N updates (with --resume: N in all)");
  add_number(app, "--seconds", options.seconds, Range<double>{0, 1e9, true},
             "Train for T seconds, scoring not counted (with --resume: T in all). With --steps: until the first of the "
             "two. Default, without both: 90")
      ->type_name("T");
  add_number(app, "--batch", options.batch, Range<qllk::Index>{1, 1'000'000}, "Sequences in an update");
  add_number(app, "--context", options.context, Range<qllk::Index>{1, 1'000'000'000}, "Bytes in a sequence");
  add_number(
      app, "--chunk", options.chunk, Range<qllk::Index>{1, 1'000'000'000},
      "Bytes of a sequence to hold in memory at once; a longer sequence is computed in parts, exactly, in 1.3 times "
      "the time. Default: all");
  tool::add_bytes(app, "--memory", options.memory,
                  "Pick tables, batch and chunk such that training takes at most N bytes, as 512M or 2G");
  app.add_flag(
      "--carry", options.carry,
      "Read the text in order, each sequence from where the one before it ended, with the state it left, in place of "
      "random places");
  add_number(app, "--threads", options.threads, tool::kThreads,
             "Threads; weights do not depend on it. Default: all processors");
  add_number(app, "--seed", options.seed, Range<std::uint64_t>{0, std::numeric_limits<std::uint64_t>::max()},
             "Seed of weights and batches: the same seed gives the same model. Default: 1");
  app.add_option(
         "--precision", options.precision,
         "What factors of products with weights are rounded to in training: float (not at all), bfloat16, or auto, "
         "the faster one on the processor that this program is compiled for. Default: auto")
      ->check(CLI::IsMember({"float", "bfloat16", "auto"}));
}

void add_cluster(CLI::App& app, train_tool::Options& options) {
  app.add_option("--exchange", options.exchange,
                 "Under mpirun: values on the network are full, or half: in 16 bits with error feedback. Default: full")
      ->type_name("FORM");
  add_number(app, "--local-steps", options.local_steps, Range<std::int64_t>{1, 1'000'000},
             "Under mpirun: each process trains on batches of its own, and every N steps all take the mean of their "
             "weights. Default: gradients are exchanged in every step");
  add_number(app, "--outer-rate", options.outer_rate, Range<double>{0, 2, true},
             "With --local-steps: how far to go towards the mean. Default: 1")
      ->type_name("X");
  add_number(app, "--outer-momentum", options.outer_momentum, Range<double>{0, 1, false, true},
             "With --local-steps: Nesterov momentum from mean to mean. Default: 0")
      ->type_name("X");
}

void add_run(CLI::App& app, train_tool::Options& options) {
  app.add_option(
         "--out", options.out,
         "Folder for model.safetensors, training.safetensors, metrics.jsonl and report.html. Default: qllk-out/1, "
         "or the next free number. An existing run is never overwritten")
      ->type_name("DIR");
  app.add_flag(
      "--resume", options.resume,
      "Continue the run in --out with its options. Options that are given must agree with it, except --threads, "
      "and --steps and --seconds, which replace its budget");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains a byte-level language model. Progress goes to standard error; the last line of standard output is one "
      "JSON object with the score. Ctrl-C, or SIGTERM, SIGHUP or SIGXCPU, saves and ends the run; SIGUSR1 saves and "
      "goes on.",
      "qllk-train");
  train_tool::Options options;
  add_texts(app, options);
  add_model(app, options);
  add_training(app, options);
  add_cluster(app, options);
  add_run(app, options);
  return train_tool::run_program(app, argc, argv, options);
}
