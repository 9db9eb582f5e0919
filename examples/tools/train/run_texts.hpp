// The texts of a run: where they come from, and whether they are still what they were.
#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "display.hpp"
#include "qllk/core/build.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/distributed/state.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/train/checkpoint.hpp"
#include "run_files.hpp"
#include "text.hpp"
#include "train/choices.hpp"
#include "train/options.hpp"
#include "train/together.hpp"

namespace train_tool {

/// Of a new run, or of the one to continue.
class RunTexts {
 public:
  /// Opens them, and says what was left out. Throws std::invalid_argument if options disagree with the checkpoint, and
  /// std::runtime_error if the processes of a team have different texts.
  void open(const Options& options, const train::Checkpoint* checkpoint, distributed::Team* team,
            tool::Display& display) {
    const bool leads = team == nullptr || team->leads();
    sources_ =
        checkpoint != nullptr ? tool::TextSources::of_json(checkpoint->notes().at("sources")) : sources_of(options);
    if (checkpoint != nullptr) resume_sources(*checkpoint, options, display);
    sources_note_ = sources_.to_json();
    if (team != nullptr && options.resume) sources_ = tool::TextSources::of_json(from_leader(*team, sources_note_));
    try {
      if (!leads && sources_.val)
        texts_.training = data::Corpus::open_all(sources_.data, sources_.weights);
      else
        texts_ = tool::Texts::open(sources_);
    } catch (const std::runtime_error& error) {
      if (!options.resume || !options.data.empty()) throw;
      throw std::runtime_error(std::string(error.what()) +
                               "; if the text of this run has moved, give its new place with --data");
    }
    tool::warn_of_skipped(display, texts_.training);
    if (sources_.val) tool::warn_of_skipped(display, texts_.validation);
    unchanged_training_ = tool::UnchangedText(texts_.training);
    unchanged_validation_ = tool::UnchangedText(texts_.validation);
    if (team != nullptr)
      distributed::expect_same(*team, unchanged_training_.fingerprint(), "training text",
                               "give the same files, byte for byte, to all");
    if (team != nullptr)
      distributed::expect_same(*team, std::hash<std::string>()(io::Json(sources_.weights).dump()), "weights of texts",
                               "give the same --weight to all");
  }

  /// Whether the run with these notes had these texts.
  bool made(const io::Json& notes, tool::Display& display) {
    if (notes.contains("training_checksum"))
      return notes.at("training_checksum") == unchanged_training_.fingerprint() &&
             notes.at("validation_checksum") == unchanged_validation_.fingerprint();
    display.line(
        "note: this checkpoint is of an older version and knows samples of its text only: an edit may go unseen");
    return notes.at("training") == tool::sampled_fingerprint(texts_.training) &&
           notes.at("validation") == tool::sampled_fingerprint(texts_.validation);
  }

  /// Throws if a file was edited since the run began, but for what was added at its end.
  void check() const {
    unchanged_training_.check();
    unchanged_validation_.check();
  }

  const tool::Texts& texts() const { return texts_; }
  const tool::TextSources& sources() const { return sources_; }
  /// For the notes of a checkpoint.
  void add_to(io::Json& notes) const {
    notes["sources"] = sources_note_;
    notes["training_checksum"] = unchanged_training_.fingerprint();
    notes["validation_checksum"] = unchanged_validation_.fingerprint();
  }

 private:
  void resume_sources(const train::Checkpoint& checkpoint, const Options& options, tool::Display& display) {
    if (!checkpoint.has_checksum())
      display.line("warning: this checkpoint is of an older version and has no checksum: damage may go unseen");
    if (const std::string build = checkpoint.build(); build != build_name())
      display.line("warning: this run was trained by another build (" +
                   (build.empty() ? "of an older version" : build) + "; this one is " + build_name() +
                   "): its weights will not be, bit for bit, those of a run that was not stopped");
    if (!options.data.empty()) sources_.data = options.data;
    if (options.val) sources_.val = options.val;
    if (options.val_fraction && sources_.val)
      throw std::invalid_argument("--val-fraction is given, but the run to continue has a --val text; leave it out");
    agree("--val-fraction", options.val_fraction, sources_.val_fraction);
    if (!options.weights.empty()) agree("--weight", std::optional(options.weights), sources_.weights);
  }

  tool::TextSources sources_;
  io::Json sources_note_;  // made at the start: later the folder that the tool was started in may be gone
  tool::Texts texts_;
  tool::UnchangedText unchanged_training_, unchanged_validation_;
};

}  // namespace train_tool
