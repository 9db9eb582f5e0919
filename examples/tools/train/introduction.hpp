// What a run says before it starts: of what it is made, and what to think of first.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <system_error>

#include "build_info.hpp"
#include "display.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/data/overlap.hpp"
#include "qllk/io/architectures.hpp"
#include "qllk/io/json_members.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/trainer.hpp"
#include "run_files.hpp"
#include "tool.hpp"
#include "train/choices.hpp"

namespace train_tool {

using tool::grouped;

inline constexpr double kSecondsBetweenSaves = 60;

/// Share of the held-out text that may be in the training text, as a licence in many files, without a word.
inline constexpr double kOverlapToTell = 0.01;

/// What there is to know of a held-out text without a model.
struct HeldOutFacts {
  double order0 = 0, overlap = 0;

  static HeldOutFacts of(const tool::Texts& texts) {
    return {data::order0_entropy(texts.validation), data::overlap(texts.validation, texts.training)};
  }
};

/// Before the work, not after.
inline void warn_of_little_room(tool::Display& display, const train::Memory& memory, const train::Budget& budget,
                                const tool::RunFolder& folder) {
  const auto available = folder.free_bytes();
  if (!available) return;
  const auto free = static_cast<double>(*available), model = static_cast<double>(memory.parameters),
             checkpoint = model + static_cast<double>(memory.optimizer);
  std::error_code error;
  const bool replaces = std::filesystem::exists(folder.training(), error);
  const double once = replaces ? checkpoint : model + checkpoint, again = once + (replaces ? 0 : checkpoint);
  const bool saves_once = budget.seconds < kSecondsBetweenSaves;
  if (free >= (saves_once ? once : again)) return;
  const auto text = [](double bytes) { return tool::readable_bytes(bytes); };
  display.line("warning: little room: the file system of '" + folder.path.string() + "' has " + text(free) +
               " left, but to save takes " + text(once) + " (the model has " + text(model) + ", the checkpoint " +
               text(checkpoint) + ")" +
               (saves_once || replaces ? "" : ", and to replace the checkpoint later " + text(again) + " in all") +
               "; the model is saved first");
}

/// Which part of the text is held out, in brackets.
inline std::string held_out_name(const tool::Texts& texts, const tool::TextSources& sources) {
  if (sources.val) return " (" + *sources.val + ")";
  if (texts.held_out == data::HeldOut::end) return " (its end)";
  return " (" + grouped(texts.validation.files().size()) + " whole files, spread over it)";
}

/// Tells what is trained on and scored, and what there is to know of it without a model.
inline void introduce_texts(tool::Display& display, const tool::Texts& texts, const tool::TextSources& sources,
                            const HeldOutFacts& facts) {
  for (const auto& warning : tool::build_warnings()) display.line("warning: " + warning);
  display.line("text        " + sources.description());
  display.line("            " + grouped(texts.training.size()) + " bytes to train on, " +
               grouped(texts.validation.size()) + " bytes held out" + held_out_name(texts, sources));
  if (facts.overlap >= kOverlapToTell)
    display.line("warning: " + number(100 * facts.overlap, 1) +
                 " % of the held-out text is in the training text too, in pieces of 64 bytes or more: the score is "
                 "better than on new text");
  display.line("baselines   8.0 bits per byte (uniform), " + number(facts.order0) +
               " (order-0 entropy of the held-out text)");
}

/// Tells the model, its memory beside `text` bytes of text, and the machine.
template <class Model>
void introduce_model(tool::Display& display, const train::Trainer<Model>& trainer, std::size_t text) {
  const train::Memory& memory = trainer.memory();
  const auto mega = [](std::size_t bytes) { return tool::readable_bytes(static_cast<double>(bytes)); };
  display.line("model       " + std::string(io::Architecture<Model>::name) + ", " +
               grouped(static_cast<std::uint64_t>(parameter_count(trainer.params()))) + " parameters, " +
               io::to_json(trainer.model().config()).dump());
  display.line("memory      parameters " + mega(memory.parameters) + ", gradients " + mega(memory.gradients) +
               ", optimiser " + mega(memory.optimizer) + ", activations " + mega(memory.activations) + ", text " +
               mega(text) + ": " + mega(memory.total() + text));
  display.line("machine     " + std::to_string(trainer.threads()) + " threads, compiled for " +
               tool::instruction_set());
}

/// Tells how long and with which settings the run trains, and where it saves.
template <class Model>
void introduce_training(tool::Display& display, const train::Trainer<Model>& trainer, const train::Budget& budget,
                        const tool::RunFolder& folder) {
  const auto& settings = trainer.settings();
  std::string until;
  if (budget.steps != std::numeric_limits<std::int64_t>::max())
    until = grouped(static_cast<std::uint64_t>(budget.steps)) + " steps";
  if (std::isfinite(budget.seconds)) until += (until.empty() ? "" : " or ") + number(budget.seconds, 0) + " s";
  display.line("training    " + until + ", batches of " + std::to_string(settings.batch) + " x " +
               std::to_string(settings.context) + " bytes" +
               (settings.chunk > 0 && settings.chunk < settings.context
                    ? " in chunks of " + std::to_string(settings.chunk)
                    : "") +
               (settings.crops == train::Crops::consecutive ? ", state carried on" : "") + ", seed " +
               std::to_string(settings.seed));
  display.line("settings    " + io::to_json(settings).dump());
  const auto steps = static_cast<std::uint64_t>(trainer.progress().steps);
  display.line("saves to    " + folder.path.string() +
               (steps > 0 ? ", going on from step " + grouped(steps) : std::string()));
  warn_of_little_room(display, trainer.memory(), budget, folder);
}

}  // namespace train_tool
