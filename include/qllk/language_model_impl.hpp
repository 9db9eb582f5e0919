// How LanguageModel does what language_model.hpp says. Include that one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "qllk/compress/compressor.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/files/machine.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/generate/sampler.hpp"
#include "qllk/io/architectures.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/language_model.hpp"
#include "qllk/linalg/int8_matrix.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/required_memory.hpp"
#include "qllk/train/speed.hpp"
#include "qllk/train/trainer.hpp"

namespace qllk::inline QLLK_ISA {

/// A model with the recommended mixer.
struct StoredAnyModel {
  /// One of the architectures.
  using Any = io::AnyModel;
  Any any;  // the model
};
/// A model with any mixer.
struct StoredEveryModel {
  /// One of the architectures.
  using Any = io::EveryModel;
  Any any;  // the model
};

namespace detail {

inline Bytes as_bytes(std::string_view text) { return {reinterpret_cast<const Byte*>(text.data()), text.size()}; }

inline int threads_or_all(int wanted) { return wanted > 0 ? wanted : files::Machine().processors(); }

inline train::Budget budget_of(const TrainingOptions& options) {
  if (!(options.seconds >= 0) || options.steps < 0)
    throw InvalidArgument("the budget is " + std::to_string(options.seconds) + " seconds and " +
                          std::to_string(options.steps) + " steps, expected 0 or more");
  train::Budget budget;
  if (options.seconds > 0) budget.seconds = options.seconds;
  if (options.steps > 0) budget.steps = options.steps;
  if (options.seconds == 0 && options.steps == 0) budget.seconds = 90;
  return budget;
}

template <class Model>
io::StoredModel<Model> train_model(const Corpus& text, const TrainingOptions& options) {
  const train::Budget budget = budget_of(options);
  const int threads = threads_or_all(options.threads);
  auto recipe = train::measured_recipe<Model>(text, budget, threads);
  recipe.settings.seed = options.seed;
  const Model model(recipe.config);
  train::expect_fits(model, recipe.settings);
  train::Trainer<Model> trainer(model, recipe.settings, text, threads);
  trainer.run(budget, [&](const train::StepReport& step) {
    const train::Progress& now = trainer.progress();
    return !options.on_progress ||
           options.on_progress({budget.used(now.steps, now.seconds), step.bits_per_byte, now.bytes, now.seconds});
  });
  return trainer.with_average([&](const auto& params) { return io::StoredModel<Model>{trainer.model(), params}; });
}

/// f(model, params): the weights as they are, or rounded to 8 bits.
template <class Stored, class F>
void visit_model(const Stored& stored, bool int8, F&& f) {
  std::visit(
      [&](const auto& chosen) {
        using Model = typename std::remove_cvref_t<decltype(chosen)>::Model;
        if (int8)
          f(chosen.model, linalg::to_int8<Model>(chosen.params));
        else
          f(chosen.model, chosen.params);
      },
      stored.any);
}

}  // namespace detail

template <class Stored>
BasicLanguageModel<Stored> BasicLanguageModel<Stored>::train(const Corpus& text, const TrainingOptions& options) {
  std::shared_ptr<const Stored> trained;
  io::visit_architecture<typename Stored::Any>(options.arch, [&]<class Model>(std::type_identity<Model>) {
    trained = std::make_shared<const Stored>(Stored{detail::train_model<Model>(text, options)});
  });
  return BasicLanguageModel(std::move(trained));
}

template <class Stored>
BasicLanguageModel<Stored> BasicLanguageModel<Stored>::load(const std::filesystem::path& path) {
  return BasicLanguageModel(std::make_shared<const Stored>(Stored{io::load_model<typename Stored::Any>(path)}));
}

template <class Stored>
void BasicLanguageModel<Stored>::save(const std::filesystem::path& path) const {
  std::visit([&](const auto& chosen) { io::save_model(path, chosen.model, chosen.params); }, stored_->any);
}

template <class Stored>
Score BasicLanguageModel<Stored>::score(const Corpus& text, const ScoringOptions& options) const {
  const auto go_on = [&](const Score& so_far) { return !options.on_progress || options.on_progress(so_far); };
  Score score;
  if (options.adapt != 0) {
    if (options.int8) throw InvalidArgument("weights of 8 bits cannot adapt: leave out int8, or adapt");
    std::visit(
        [&](const auto& chosen) {
          Adapter adapter(chosen.model, chosen.params, options.adapt);
          score = train::evaluate_adapting(adapter, text, go_on);
        },
        stored_->any);
    return score;
  }
  detail::visit_model(*stored_, options.int8, [&](const auto& model, const auto& params) {
    score = train::evaluate(model, params, text, go_on, {.threads = detail::threads_or_all(options.threads)});
  });
  return score;
}

template <class Stored>
void BasicLanguageModel<Stored>::generate(std::string_view prompt, std::uint64_t bytes,
                                          const GenerationOptions& options,
                                          const std::function<void(Byte)>& write) const {
  const generate::Sampler sampler(
      {.temperature = options.temperature, .top_k = options.top_k, .top_p = options.top_p, .repeat = options.repeat});
  detail::visit_model(*stored_, options.int8, [&](const auto& model, const auto& params) {
    generate::Generator generator(model, params);
    generator.feed(detail::as_bytes(prompt));
    Random random(options.seed);
    for (std::uint64_t i = 0; i < bytes; ++i) write(generator.next(sampler, random));
  });
}

template <class Stored>
std::vector<Byte> BasicLanguageModel<Stored>::compress(std::string_view text, double adapt) const {
  return std::visit(
      [&](const auto& chosen) {
        return compress::compress(chosen.model, chosen.params, detail::as_bytes(text), adapt);
      },
      stored_->any);
}

template <class Stored>
std::string BasicLanguageModel<Stored>::decompress(const std::vector<Byte>& file) const {
  const std::vector<Byte> text = std::visit(
      [&](const auto& chosen) { return compress::decompress(chosen.model, chosen.params, Bytes(file)); }, stored_->any);
  return {text.begin(), text.end()};
}

template <class Stored>
compress::Sizes BasicLanguageModel<Stored>::compress(files::InputFile& in, files::AtomicFile& out,
                                                     const CompressionProgress& progress, double adapt) const {
  const std::uint64_t all = in.size();
  return std::visit(
      [&](const auto& chosen) {
        return compress::compress(
            chosen.model, chosen.params, in, out, [&](std::uint64_t done) { progress(done, all); }, adapt);
      },
      stored_->any);
}

template <class Stored>
compress::Sizes BasicLanguageModel<Stored>::decompress(Bytes file, files::AtomicFile& out,
                                                       const CompressionProgress& progress,
                                                       const std::string& name) const {
  return std::visit(
      [&](const auto& chosen) { return compress::decompress(chosen.model, chosen.params, file, out, progress, name); },
      stored_->any);
}

}  // namespace qllk::inline QLLK_ISA
