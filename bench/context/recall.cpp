// qllk-recall: trains a small model to recall what it read once, and tells how far back it can.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "overrides.hpp"
#include "qllk/io/architectures.hpp"
#include "qllk/train/checkpoint.hpp"
#include "recall_training.hpp"

namespace {

using namespace qllk;

struct Options {
  std::string label = "default";
  std::vector<std::string> set;
  std::uint64_t bytes = 12'000'000, most = 1'000'000, questions = 128, seed = 1;
  std::optional<double> longest;
  bool features = false;

  void add_to(CLI::App& app) {
    using tool::add_number, tool::Range;
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
    app.add_option("--label", label, "What the output calls this run")->type_name("TEXT");
    tool::add_overrides(app, set, "Change a member of the model's Config or of the TrainerSettings");
    app.add_flag("--features", features, "With n-grams, words, matches and recency, as the default model has them");
    add_number(app, "--longest", longest, Range<double>{16, 1e9},
               "Spread the first memories of the latent kernel over up to N bytes. Default: what the kernel does");
    add_number(app, "--bytes", bytes, Range<std::uint64_t>{1, 1'000'000'000'000},
               "Train on N bytes. Default: 12000000");
    add_number(app, "--most", most, Range<std::uint64_t>{100, 1'000'000'000},
               "The largest distance that is tried, in bytes. Default: 1000000");
    add_number(app, "--questions", questions, Range<std::uint64_t>{1, 1'000'000},
               "Questions for each distance. Default: 128");
    add_number(app, "--seed", seed, Range<std::uint64_t>{0, kMost}, "Of weights and texts. Default: 1");
  }
};

/// Small sizes, no features of the stream unless asked for, one block of bytes more than mixers need to see a pair.
EveryTransformer::Config small_config(bool features) {
  const EveryTransformer::Config config{.dim_local = 64, .dim = 128, .bits = 10};
  return features ? config : config.without_features();
}

train::TrainerSettings small_settings(std::uint64_t seed) {
  train::TrainerSettings settings;
  settings.batch = 32;
  settings.context = 8192;
  settings.chunk = 2048;
  settings.optimizer = {.learning_rate = 4e-3, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.01};
  settings.schedule.floor = 0.05;
  settings.rows.rate = 20;
  settings.seed = seed;
  return settings;
}

/// Makes the decays of every latent kernel begin spread evenly, in the logarithm, over memories of one patch to
/// `longest` bytes.
void spread_memories(const EveryTransformer::Config& config, double longest, EveryTransformer::Params& params) {
  for_each_parameter(
      [&](const Path& path, auto& leaf) {
        const std::string name = path.str();
        if (!name.ends_with("decay.bias")) return;
        const double first = name.starts_with("blocks") ? 1.0 : static_cast<double>(config.patch);
        const double last = longest * first / static_cast<double>(config.patch);  // positions
        for (Index h = 0; h < leaf.size(); ++h) {
          const double share = leaf.size() > 1 ? static_cast<double>(h) / static_cast<double>(leaf.size() - 1) : 0.5;
          leaf.data()[h] = static_cast<float>(std::log(std::max(first, 2.0) * std::pow(last / first, share) - 1));
        }
      },
      params);
}

void run(const Options& options) {
  auto config = small_config(options.features);
  auto settings = small_settings(options.seed);
  tool::override_picks("", options.set, config, settings);
  recall::Training training(config, train::checked(settings));
  if (options.longest) spread_memories(config, *options.longest, training.params());
  training.run(options.bytes, [&](Index context, std::uint64_t bytes, std::uint64_t skipped) {
    const double now = recall::accuracy(training.model(), training.params(), static_cast<std::size_t>(context / 2),
                                        options.questions, options.seed);
    std::fprintf(stderr, "%s: %llu bytes, texts of %lld: accuracy %.3f at half of that, skipped %llu\n",
                 options.label.c_str(), static_cast<unsigned long long>(bytes), static_cast<long long>(context), now,
                 static_cast<unsigned long long>(skipped));
  });
  for (double distance = 100; distance < 1.01 * static_cast<double>(options.most); distance *= std::sqrt(10.0)) {
    const auto rounded = static_cast<std::size_t>(std::lround(distance));
    const double right =
        recall::accuracy(training.model(), training.params(), rounded, options.questions, options.seed);
    char line[64];
    std::snprintf(line, sizeof line, "\t%zu\t%.4f\n", rounded, right);
    tool::write_stdout(options.label + line);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains a small model on texts that show pairs of a key and a value once and ask for them later, and prints the "
      "accuracy by distance: lines of label, bytes between pair and question, and share of right answers. Guessing has "
      "0.13.",
      "qllk-recall");
  Options options;
  options.add_to(app);
  return tool::run(app, argc, argv, [&] {
    run(options);
    return 0;
  });
}
