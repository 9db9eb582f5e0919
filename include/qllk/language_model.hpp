// The front door: train, save, load, score, generate and compress, in one class.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "qllk/compress/compressor.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/generate/sampler.hpp"
#include "qllk/io/architectures.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/recipe.hpp"
#include "qllk/train/trainer.hpp"

namespace qllk::inline QLLK_ISA {

using data::Corpus;
using train::Score;

/// How far training is.
struct TrainingProgress {
  double done;           // share of the budget, 0 to 1
  double bits_per_byte;  // of the last batch, before its update
  std::uint64_t bytes;   // trained on
  double seconds;
};

/// How to train. Without a budget, for 90 seconds.
struct TrainingOptions {
  double seconds = 0;      // of training; 0: no limit
  std::int64_t steps = 0;  // updates; 0: no limit. The same steps, text and seed give the same weights
  std::uint64_t seed = 1;
  int threads = 0;  // 0: all processors; the weights do not depend on it
  std::string arch = "default";
  /// Called after every update; false ends the training there.
  std::function<bool(const TrainingProgress&)> on_progress{};
};

/// How to generate.
struct GenerationOptions {
  double temperature = 0.8;
  Index top_k = 0;   // 0: all
  double top_p = 1;  // 1: all
  std::uint64_t seed = 1;
};

/// A trained model, whatever its architecture. A value: copies have weights of their own.
///
///   auto text = qllk::Corpus::open("book.txt");
///   auto model = qllk::LanguageModel::train(text, {.seconds = 60});
///   std::cout << model.generate("Once upon a time", 200) << '\n';
///   model.save("book.safetensors");
///
/// Settings are those of train/recipe.hpp, which qllk-train picks too: the same text, steps and seed give the weights of the tool,
/// bit for bit. All of the text is trained on; keep back what you want to score.
///
/// Errors   std::invalid_argument for an option outside its range or a text too short, std::runtime_error for files
class LanguageModel {
 public:
  /// Trains a new model on all of `text`. Cost: the budget, and about a second to set up.
  static LanguageModel train(const Corpus& text, const TrainingOptions& options = {}) {
    train::Budget budget;
    if (options.seconds < 0 || options.steps < 0)
      throw InvalidArgument("the budget is " + std::to_string(options.seconds) + " seconds and " +
                            std::to_string(options.steps) + " steps, expected 0 or more");
    if (options.seconds > 0) budget.seconds = options.seconds;
    if (options.steps > 0) budget.steps = options.steps;
    if (options.seconds == 0 && options.steps == 0) budget.seconds = 90;
    std::optional<LanguageModel> trained;
    io::visit_architecture(options.arch, [&]<class Model>(std::type_identity<Model>) {
      trained = LanguageModel(run<Model>(text, budget, options));
    });
    return *std::move(trained);
  }

  /// Reads a file that save or qllk-train has made.
  static LanguageModel load(const std::filesystem::path& path) { return LanguageModel(io::load_model(path)); }

  /// Writes a model file, whole or not at all.
  void save(const std::filesystem::path& path) const {
    visit([&](const auto& stored) { io::save_model(path, stored.model, stored.params); });
  }

  /// Scores every byte of a text, each predicted from all before it.
  Score score(const Corpus& text, int threads = 0) const {
    Score score;
    visit([&](const auto& stored) {
      score = train::evaluate(stored.model, stored.params, text, {.threads = threads_of(threads)});
    });
    return score;
  }

  /// The next `bytes` bytes after a prompt.
  std::string generate(std::string_view prompt, std::size_t bytes, const GenerationOptions& options = {}) const {
    const generate::Sampler sampler(
        {.temperature = options.temperature, .top_k = options.top_k, .top_p = options.top_p});
    std::string text;
    visit([&](const auto& stored) {
      generate::Generator generator(stored.model, stored.params);
      generator.feed(as_bytes(prompt));
      Random random(options.seed);
      for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>(generator.next(sampler, random));
    });
    return text;
  }

  /// Fewer bytes, from which decompress makes these again: with the same weights, on the same build.
  std::vector<Byte> compress(std::string_view text) const {
    std::vector<Byte> file;
    visit([&](const auto& stored) { file = compress::compress(stored.model, stored.params, as_bytes(text)); });
    return file;
  }
  /// Throws std::runtime_error if `file` is damaged, or was made with another model or build.
  std::string decompress(const std::vector<Byte>& file) const {
    std::vector<Byte> text;
    visit([&](const auto& stored) { text = compress::decompress(stored.model, stored.params, Bytes(file)); });
    return {text.begin(), text.end()};
  }

  /// The architecture with its parameters: for whatever this class does not offer.
  const io::AnyModel& stored() const { return stored_; }

 private:
  explicit LanguageModel(io::AnyModel stored) : stored_(std::move(stored)) {}

  template <class F>
  void visit(F&& f) const {
    std::visit(std::forward<F>(f), stored_);
  }
  static Bytes as_bytes(std::string_view text) { return {reinterpret_cast<const Byte*>(text.data()), text.size()}; }
  static int threads_of(int wanted) {
    return wanted > 0 ? wanted : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }

  template <class Model>
  static io::StoredModel<Model> run(const Corpus& text, const train::Budget& budget, const TrainingOptions& options) {
    auto recipe = train::recipe(std::type_identity<Model>{}, text.size(), budget);
    recipe.settings.seed = options.seed;
    train::Trainer<Model> trainer(Model(recipe.config), recipe.settings, text, threads_of(options.threads));
    trainer.run(budget, [&](const train::StepReport& step) {
      const train::Progress& now = trainer.progress();
      return !options.on_progress ||
             options.on_progress({budget.used(now.steps, now.seconds), step.bits_per_byte, now.bytes, now.seconds});
    });
    return trainer.with_average([&](const auto& params) { return io::StoredModel<Model>{trainer.model(), params}; });
  }

  io::AnyModel stored_;
};

}  // namespace qllk::inline QLLK_ISA
