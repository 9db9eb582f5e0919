// The front door: train, save, load, score, generate and compress, in one class.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qllk/compress/sizes.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/train/score.hpp"

namespace qllk::inline QLLK_ISA {

using data::Corpus;
using train::Score;

/// How far training is.
struct TrainingProgress {
  double done;           // share of the budget, 0 to 1
  double bits_per_byte;  // of the last batch, before its update
  std::uint64_t bytes;   // trained on
  double seconds;        // of training
};

/// How to train. Without a budget, for 90 seconds.
struct TrainingOptions {
  double seconds = 0;            // of training; 0: no limit
  std::int64_t steps = 0;        // updates; 0: no limit. The same steps, text and seed give the same weights
  std::uint64_t seed = 1;        // of weights and batches
  int threads = 0;               // 0: all processors; the weights do not depend on it
  std::string arch = "default";  // or "classic"
  /// Called after every update; false ends the training there.
  std::function<bool(const TrainingProgress&)> on_progress{};
};

/// How to score.
struct ScoringOptions {
  int threads = 0;    // 0: all processors; the score does not depend on it
  bool int8 = false;  // with weights rounded to 8 bits
  double adapt = 0;   // rate at which hashed rows learn from the text on the way (Adapter); 0: not. 0.04 is usual
  /// Called from time to time with the score so far; false ends the scoring there.
  std::function<bool(const Score&)> on_progress{};
};

/// How to generate.
struct GenerationOptions {
  double temperature = 0.8;  // 0: always the likeliest byte
  Index top_k = 0;           // 0: all
  double top_p = 1;          // 1: all
  Index repeat = 16;         // longest repetition in bytes that costs nothing (generate::Repetition); 0: any
  std::uint64_t seed = 1;    // the same seed gives the same bytes
  bool int8 = false;         // with weights rounded to 8 bits: faster, a little less exact
};

/// Called with the bytes of the original that are done, and all of them, 0 where that is not known. It may throw to
/// stop.
using CompressionProgress = std::function<void(std::uint64_t done, std::uint64_t all)>;

/// The models that a LanguageModel can be: an io::AnyModel or an io::EveryModel, see language_model_impl.hpp.
struct StoredAnyModel;
struct StoredEveryModel;

/// A trained model, whatever its architecture. A value that never changes; copies share the weights.
///
///   auto text = qllk::Corpus::open("book.txt");
///   auto model = qllk::LanguageModel::train(text, {.seconds = 60});
///   std::cout << model.generate("Once upon a time", 200) << '\n';
///   model.save("book.safetensors");
///
/// Settings are those of train/recipe.hpp, which qllk-train picks too: the same text, steps and seed give the weights
/// of the tool, bit for bit. All of the text is trained on; keep back what you want to score.
///
/// The class is LanguageModel, below. It is a template so that a program compiles only those members that it calls.
///
/// Errors   std::invalid_argument for an option outside its range or a text too short, std::runtime_error for files
template <class Stored>
class BasicLanguageModel {
 public:
  /// Trains a new model on all of `text`. Cost: the budget, and about a second to set up.
  static BasicLanguageModel train(const Corpus& text, const TrainingOptions& options = {});

  /// Reads a file that save or qllk-train has made.
  static BasicLanguageModel load(const std::filesystem::path& path);

  /// Writes a model file, whole or not at all.
  void save(const std::filesystem::path& path) const;

  /// Scores every byte of a text, each predicted from all before it.
  Score score(const Corpus& text, const ScoringOptions& options = {}) const;

  /// The next `bytes` bytes after a prompt.
  std::string generate(std::string_view prompt, std::uint64_t bytes, const GenerationOptions& options = {}) const {
    std::string text;
    generate(prompt, bytes, options, [&](Byte byte) { text += static_cast<char>(byte); });
    return text;
  }
  /// Calls write(byte) for each of them, as soon as it is known.
  void generate(std::string_view prompt, std::uint64_t bytes, const GenerationOptions& options,
                const std::function<void(Byte)>& write) const;

  /// Fewer bytes, from which decompress makes these again: with the same weights, on the same build. With a rate
  /// `adapt`, hashed rows learn from the text on the way; decompress knows.
  std::vector<Byte> compress(std::string_view text, double adapt = 0) const;
  /// Throws std::runtime_error if `file` is damaged, or was made with another model or build.
  std::string decompress(const std::vector<Byte>& file) const;

  /// The same from file to file; `out` is complete, and still to be committed.
  compress::Sizes compress(files::InputFile& in, files::AtomicFile& out, const CompressionProgress& progress,
                           double adapt = 0) const;
  /// `file` is all that compress wrote; errors call it by `name`.
  compress::Sizes decompress(Bytes file, files::AtomicFile& out, const CompressionProgress& progress,
                             const std::string& name) const;

  /// The architecture with its parameters, for whatever this class does not offer.
  const Stored& stored() const { return *stored_; }

 private:
  explicit BasicLanguageModel(std::shared_ptr<const Stored> stored) : stored_(std::move(stored)) {}

  std::shared_ptr<const Stored> stored_;
};

// The definitions are in the compiled library, with every mixer; or they follow here, and models have the recommended
// one.
#ifdef QLLK_COMPILED
extern template class BasicLanguageModel<StoredEveryModel>;
/// A BasicLanguageModel of any architecture and mixer.
using LanguageModel = BasicLanguageModel<StoredEveryModel>;
#else
/// A BasicLanguageModel of any architecture, with the recommended mixer.
using LanguageModel = BasicLanguageModel<StoredAnyModel>;
#endif

}  // namespace qllk::inline QLLK_ISA

#ifndef QLLK_COMPILED
#include "qllk/language_model_impl.hpp"
#endif
