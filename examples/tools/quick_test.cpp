// qllk-quick-test: ten training steps on built-in text, to see that this build works on this machine.
#include <stdlib.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "build_info.hpp"
#include "command_line.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"

namespace {

using namespace qllk;

/// Sentences drawn from a few words: text enough for a few steps, the same everywhere.
std::vector<Byte> built_in_text() {
  const char* const words[] = {"the ",  "river ", "carries ", "small ",   "boats ",
                               "past ", "old ",   "stone ",   "bridges. "};
  Random random(7);
  std::string text;
  while (text.size() < 20'000) text += words[random.below(std::size(words))];
  return {text.begin(), text.end()};
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "qllk-quick-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder like '" + name + "'");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

template <class Params>
bool same_bits(const Params& a, const Params& b) {
  bool same = true;
  for_each_parameter(
      [&](const Path&, const auto& x, const auto& y) {
        const auto bytes = static_cast<std::size_t>(x.size()) * sizeof(*x.data());
        same = same && x.size() == y.size() && (bytes == 0 || std::memcmp(x.data(), y.data(), bytes) == 0);
      },
      a, b);
  return same;
}

template <class Model>
class QuickTest {
 public:
  explicit QuickTest(typename Model::Config config) : model_(config) {}

  bool operator()() {
    std::printf("%s\n", std::string(io::Architecture<Model>::name).c_str());
    const train::Budget budget{.steps = 10};
    auto one = trainer(1), two = trainer(2);
    const double before = score(one);
    bool finite = true;
    one.run(budget, [&](const train::StepReport& step) {
      finite = finite && !step.skipped && std::isfinite(step.bits_per_byte);
      return true;
    });
    const double after = score(one);
    two.run(budget, [](const train::StepReport&) { return true; });
    char text[120];
    std::snprintf(text, sizeof text, "10 steps lower the score of unseen text: %.3f to %.3f bits per byte", before,
                  after);
    check(finite && after < before - 0.5, text);
    check(same_bits(one.params(), two.params()), "1 and 2 threads give the same weights, bit for bit");
    check(causal(one.params()), "logits do not depend on bytes that come later, bit for bit");
    files(one, budget);
    return passed_;
  }

 private:
  train::Trainer<Model> trainer(int threads) {
    train::TrainerSettings settings;
    settings.batch = 8;
    settings.context = 64;
    settings.optimizer.learning_rate = 5e-3;
    settings.schedule.warmup = 1;
    return {model_, settings, text_.slice(0, 18'000), threads};
  }

  double score(const train::Trainer<Model>& trainer) {
    return train::evaluate(model_, trainer.params(), text_.slice(18'000, 20'000)).bits_per_byte();
  }

  bool causal(const typename Model::Params& params) {
    std::vector<Byte> bytes(40);
    text_.copy(0, bytes);
    const auto logits = [&] {
      auto state = model_.initial_state(1);
      typename Model::Cache cache;
      Mat<typename Model::Scalar> out;
      model_.forward(params, bytes, state, cache, out);
      return out;
    };
    const auto reference = logits();
    bool good = reference.allFinite();
    for (std::size_t t = 0; t < bytes.size(); ++t) {
      bytes[t] ^= 0x55;
      const auto changed = logits();
      bytes[t] ^= 0x55;
      const auto rows = static_cast<Index>(t);
      good = good && changed.leftCols(rows) == reference.leftCols(rows);
      if (t + 16 < bytes.size()) good = good && changed != reference;  // the last few may tell on rows after these only
    }
    return good;
  }

  void files(const train::Trainer<Model>& trainer, const train::Budget& budget) {
    const TemporaryFolder folder;
    io::save_model(folder / "model.safetensors", model_, trainer.params());
    const auto stored = io::load_model_as<Model>(folder / "model.safetensors");
    check(stored.model.config() == model_.config() && same_bits(stored.params, trainer.params()),
          "a model file gives back the same weights, bit for bit");

    auto straight = this->trainer(2), stopped = this->trainer(2);
    straight.run(budget, [](const train::StepReport&) { return true; });
    stopped.run(budget, [&](const train::StepReport&) { return stopped.progress().steps < 4; });
    train::save_checkpoint(folder / "training.safetensors", stopped, budget);
    const train::Checkpoint checkpoint(folder / "training.safetensors");
    train::Trainer<Model> resumed(checkpoint.model<Model>(), checkpoint.settings(), text_.slice(0, 18'000), 1);
    checkpoint.restore(resumed);
    resumed.run(checkpoint.budget(), [](const train::StepReport&) { return true; });
    check(same_bits(resumed.params(), straight.params()),
          "a run that was stopped and resumed ends with the same weights, bit for bit");
  }

  void check(bool good, const char* what) {
    std::printf("  %s  %s\n", good ? "ok    " : "FAILED", what);
    passed_ = passed_ && good;
    if (tool::Interrupt::requested()) throw tool::Interrupted();  // not without removing the temporary folder
  }

  Model model_;
  data::Corpus text_ = data::Corpus::from_memory(built_in_text());
  bool passed_ = true;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Trains two small models for ten steps and checks this build on this machine. Takes seconds.",
               "qllk-quick-test");
  return tool::run(app, argc, argv, [] {
    tool::Interrupt::watch();
    for (const auto& warning : tool::build_warnings()) std::fprintf(stderr, "warning: %s\n", warning.c_str());
    EveryTransformer::Config small;
    small.dim_local = 32;
    small.dim = 64;
    small.layers = small.decoder = 1;
    small.bits = 12;
    small.match.lengths = {};  // with matches this text, which repeats itself, scores well before any training
    const bool classic = QuickTest<QLLKClassic<float>>({.dim = 64, .layers = 2, .patch = 4})();
    const bool passed = QuickTest<EveryTransformer>(small)() && classic;
    std::printf("%s\n", passed ? "all is well" : "something is wrong with this build");
    return passed ? 0 : 1;
  });
}
