// One training run: progress, samples, saves, the score.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "display.hpp"
#include "interrupt.hpp"
#include "overrides.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/distributed/state.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/clock.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/required_memory.hpp"
#include "qllk/train/trainer.hpp"
#include "run_files.hpp"
#include "tool.hpp"
#include "train/choices.hpp"
#include "train/held_out.hpp"
#include "train/introduction.hpp"
#include "train/journal.hpp"
#include "train/options.hpp"
#include "train/picks.hpp"
#include "train/result.hpp"
#include "train/run_report.hpp"
#include "train/run_texts.hpp"
#include "train/smooth.hpp"
#include "train/together.hpp"

namespace train_tool {

using namespace qllk;
using tool::grouped, tool::Interrupt;

/// Updates cannot be made any more.
struct Diverged : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// One training run of one architecture.
template <class Model>
class Run {
 public:
  /// A new run, or the one to continue, which process 0 of a team has read.
  Run(const Options& options, const train::Checkpoint* checkpoint, distributed::Team* team) : team_(team) {
    try {
      prepare(options, checkpoint);
    } catch (const io::Json::exception&) {
      throw std::runtime_error("the checkpoint to continue was not made by qllk-train: it lacks the tool's notes");
    }
  }

  void print_config() const {
    tool::write_stdout(tool::picks_to_json(trainer_->model().config(), trainer_->settings()).dump(2) + "\n");
  }

  /// Trains as process 0 of the team says, which saves and scores.
  int follow() {
    trainer_->run(budget_, [](const train::StepReport&) { return true; });
    return 0;
  }

  /// Trains, saves and scores; returns the exit status.
  int operator()(tool::RunFolder folder) {
    folder_ = std::move(folder);
    facts_ = HeldOutFacts::of(texts_.texts());
    const tool::Texts& texts = texts_.texts();
    introduce_texts(display_, texts, texts_.sources(), facts_);
    introduce_model(display_, *trainer_, static_cast<std::size_t>(texts.bytes_in_memory()));
    introduce_training(display_, *trainer_, budget_, folder_);
    if (Interrupt::requested()) throw tool::Interrupted();  // nothing is trained that could be saved
    held_out_.emplace(*trainer_, texts_.texts().validation, display_);
    journal_.emplace(folder_, trainer_->progress(), display_);
    report_.emplace(describe(*trainer_, texts_.texts(), texts_.sources(), facts_), display_);
    last_save_ = Clock::now();
    const std::uint64_t before = steps();
    try {
      if (share() < 1) {
        sample_ = held_out_->sample();
        held_out_->quick_score(share());
        record(true);
        train_now();
      } else {
        display_.line("nothing left to train: the budget is used up; --steps or --seconds can raise it");
        trainer_->run(budget_, [](const train::StepReport&) { return true; });  // the other processes hear it there
      }
      texts_.check();
    } catch (const Diverged&) {
      throw;                           // what there is to save is no better than what is saved
    } catch (const std::exception&) {  // as when the text is gone: what was learned from it is not lost
      if (steps() > before && (try_to_save() || rescue()))
        display_.line("saved " + folder_.path.string() + ": what was trained up to step " + grouped(steps()));
      throw;
    }
    save_at_last(before);
    if (Interrupt::requested()) {
      display_.line("interrupted after step " + grouped(steps()) + "; continue with: qllk-train --resume --out " +
                    folder_.path.string());
      return Interrupt::exit_status();
    }
    display_.line("saved " + folder_.model().string());
    sample_ = held_out_->sample();
    for (const double place : {0.9, 0.95}) held_out_->sample(place);
    const auto score = held_out_->full_score();
    if (!score) {
      display_.line("interrupted while scoring; the model is trained and saved");
      return Interrupt::exit_status();
    }
    texts_.check();
    record(false, score);
    display_.line("validation: " + number(score->bits_per_byte(), 4) + " bits per byte over all " +
                  grouped(score->bytes) + " bytes (order 0: " + number(facts_.order0, 4) + ")");
    if (!(score->bits_per_byte() < facts_.order0))
      display_.line("warning: that is no better than the frequencies of single bytes: train longer, or on more text");
    write_report();
    tool::print_json(result(*trainer_, *score, facts_, smooth_.value(), folder_.model().string()));
    return 0;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kMostSkippedInARow = 10;

  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  const data::Corpus& training() const { return texts_.texts().training; }
  bool leads() const { return team_ == nullptr || team_->leads(); }

  void prepare(const Options& options, const train::Checkpoint* checkpoint) {
    if (!leads()) display_.mute();
    texts_.open(options, checkpoint, team_, display_);
    budget_ = budget_of(options);
    Picks<Model> picks;
    if (leads())
      picks = checkpoint == nullptr ? new_picks<Model>(options, texts_.texts(), budget_, display_)
                                    : continued(*checkpoint, options);
    if (team_ != nullptr) agree_on(picks);
    const Model model(picks.config);
    train::expect_fits(model, picks.settings);
    const io::Json notes = checkpoint != nullptr ? checkpoint->notes() : io::Json::object();
    if (team_ != nullptr) come_together(options, notes);
    trainer_.emplace(model, picks.settings, training(), options.threads, exchange_.get());
    if (checkpoint != nullptr) {
      checkpoint->restore(*trainer_);
      smooth_ = {notes.at("smooth_sum").get<double>(), notes.at("smooth_weight").get<double>()};
    }
    if (team_ != nullptr && options.resume) distributed::send_state(*team_, *trainer_);
  }

  void come_together(const Options& options, const io::Json& notes) {
    const io::Json json = leads() ? Together::of(options, notes).to_json() : io::Json();
    together_ = Together::of({}, {{"together", from_leader(*team_, json)}});
    exchange_ = RunExchange<typename Model::Scalar>(*together_, *team_);
    display_.line("processes   " + std::to_string(team_->size()) + ", which exchange " + together_->description());
  }

  Picks<Model> continued(const train::Checkpoint& checkpoint, const Options& options) {
    const auto picks = picks_of<Model>(checkpoint, options);
    if (!texts_.made(checkpoint.notes(), display_))
      throw std::invalid_argument("the text differs from that of the run to continue, which was " +
                                  tool::TextSources::of_json(checkpoint.notes().at("sources")).description() +
                                  "; give the same --data, or begin a new run");
    const train::Budget before = checkpoint.budget();
    if (!options.steps && !options.seconds)
      budget_ = before;
    else if (budget_.steps != before.steps || budget_.seconds != before.seconds)
      display_.line(
          "note: the learning rate follows the new budget from here on, unlike in a run that had it from the start");
    check_length(training(), picks.settings.context);
    return picks;
  }

  /// Those of process 0, which may have measured its machine, for all.
  void agree_on(Picks<Model>& picks) {
    io::Json json;
    if (leads())
      json = {{"config", io::to_json(picks.config)},
              {"settings", io::to_json(picks.settings)},
              {"budget", train::detail::budget_to_json(budget_)}};
    json = from_leader(*team_, json);
    io::from_json(json.at("config"), picks.config, "config");
    io::from_json(json.at("settings"), picks.settings, "settings");
    budget_ = train::detail::budget_from_json(json.at("budget"));
  }

  std::uint64_t steps() const { return static_cast<std::uint64_t>(trainer_->progress().steps); }
  double share() const { return budget_.used(trainer_->progress().steps, trainer_->progress().seconds); }

  void train_now() {
    const train::Progress before = trainer_->progress();
    const distributed::Traffic sent_before = exchange_.traffic();
    bool middle = share() >= 0.5;
    display_.begin();
    const train::SuspensionWatch suspensions;
    trainer_->run(budget_, [&](const train::StepReport& step) {
      journal_->step(step);
      if (step.skipped) {
        if (trainer_->progress().skipped == 1)
          display_.line("warning: the loss or gradient of step " + grouped(steps()) +
                        " is not finite; that update is left out, and counted");
        if (++skipped_in_a_row_ == kMostSkippedInARow) end_diverged();
      } else {
        skipped_in_a_row_ = 0;
        smooth_.add(step.bits_per_byte);
      }
      if (Interrupt::requested()) return false;
      const double done = share();
      if (done < 1 && !middle && done >= 0.5) {
        middle = true;
        sample_ = held_out_->sample();
      }
      const bool scores = done < 1 && held_out_->quick_due(done);
      if (scores) held_out_->quick_score(done);
      if (scores || journal_->due(trainer_->progress())) record(scores);
      if (seconds_since(last_save_) >= kSecondsBetweenSaves && skipped_in_a_row_ == 0) save_on_the_way();
      if (Interrupt::take_save_request() && save_on_the_way())
        display_.line("saved " + folder_.path.string() + " after step " + grouped(steps()) + ", as SIGUSR1 asks");
      display_.progress(done, [&] { return status(before, done); });
      return !Interrupt::requested();
    });
    display_.line(status(before, share()));
    record(false);
    if (team_ != nullptr) tell_traffic(sent_before, static_cast<double>(trainer_->progress().steps - before.steps));
  }

  /// Where the run stands, for the metrics; with the quick score if it was taken now, and the sample that was made
  /// last.
  void record(bool scored, const std::optional<train::Score>& full = std::nullopt) {
    tool::MetricsRow row = journal_->row(trainer_->progress(), smooth_.value());
    if (scored) row.val = held_out_->quick();
    if (full) row.full_val = full->bits_per_byte();
    row.sample = std::exchange(sample_, std::nullopt);
    journal_->record(folder_, trainer_->progress(), std::move(row));
  }

  void tell_traffic(const distributed::Traffic& before, double steps) {
    const distributed::Traffic now = exchange_.traffic();
    const auto each = [&](std::uint64_t sent, std::uint64_t sent_before) {
      return tool::readable_bytes(static_cast<double>(sent - sent_before) / steps);
    };
    display_.line("network     this process sent " + each(now.dense, before.dense) + " of dense and " +
                  each(now.sparse, before.sparse) + " of sparse values a step");
  }

  std::string status(const train::Progress& before, double done) const {
    const train::Progress& now = trainer_->progress();
    const double rate = static_cast<double>(now.bytes - before.bytes) / (now.seconds - before.seconds);
    std::string text = "step " + std::to_string(now.steps) + "  train " + number(smooth_.value()) + "  val " +
                       number(held_out_->quick()) + " bits/byte  " + tool::readable_bytes(rate) + "/s";
    if (now.skipped > 0) text += "  skipped " + std::to_string(now.skipped);
    if (done < 1) text += "  " + tool::clock_text(now.seconds * (1 - done) / done) + " left";
    return text;
  }

  /// Throws std::runtime_error that says what is not saved, and what is.
  void save() {
    for (bool first = true;; first = false) {
      if (folder_.restore())
        display_.line("warning: the folder '" + folder_.path.string() + "' was gone, and is made again");
      try {
        save_files();
        break;
      } catch (const std::exception&) {
        if (!first || folder_.exists()) throw;  // else it went while it was written to
      }
    }
    last_save_ = Clock::now();
    journal_->save(folder_);
    write_report();
  }

  /// Hours of training are not lost for want of a place: a disk may have become read-only, or its mount be gone.
  void save_at_last(std::uint64_t before) {
    try {
      save();
    } catch (const std::exception& error) {
      if (steps() == before || !rescue()) throw;
      throw std::runtime_error(std::string(error.what()) + "; what was trained is saved in '" + folder_.path.string() +
                               "': continue with --resume --out " + folder_.path.string());
    }
  }

  /// Saves elsewhere, and goes on there. Returns whether it is saved.
  bool rescue() {
    std::optional<tool::RunFolder> other;
    try {
      other = tool::RunFolder::rescue();
      std::swap(folder_, *other);
      save_files();
      return true;
    } catch (const std::exception&) {
      if (!other) return false;
      std::error_code ignored;
      std::filesystem::remove_all(folder_.path, ignored);
      std::swap(folder_, *other);
      return false;
    }
  }

  void write_report() {
    report_->write(folder_, journal_->rows(), [&] { return held_out_->costed(); });
  }

  /// The model first: it is the smaller one, and can be used without the other.
  void save_files() {
    std::string failure;
    try {
      with_room([&] {
        trainer_->with_average([&](const auto& params) { io::save_model(folder_.model(), trainer_->model(), params); });
      });
    } catch (const std::exception& error) {
      failure = error.what();
    }
    try {
      folder_.keep_previous();
      with_room([&] { save_checkpoint(); });
      folder_.saved();
    } catch (const std::exception& error) {
      if (!failure.empty()) throw std::runtime_error(failure);
      std::error_code ignored;
      throw std::runtime_error(std::string(error.what()) + "; the model is saved in '" + folder_.model().string() +
                               (std::filesystem::exists(folder_.training(), ignored)
                                    ? "', and the checkpoint is the one of before"
                                    : "', but there is no checkpoint to continue from"));
    }
    if (!failure.empty()) throw std::runtime_error(failure + "; the checkpoint is saved");
  }

  /// Where there is none, that of the previous checkpoint is used.
  template <class Save>
  void with_room(Save&& save) const {
    try {
      save();
    } catch (const std::exception&) {
      if (!folder_.drop_previous()) throw;
      save();
    }
  }

  void save_checkpoint() const {
    io::Json notes{{"smooth_sum", smooth_.sum}, {"smooth_weight", smooth_.weight}};
    texts_.add_to(notes);
    if (together_) notes["together"] = together_->to_json();
    train::save_checkpoint(folder_.training(), *trainer_, budget_, notes);
  }

  bool save_on_the_way() {
    texts_.check();
    return try_to_save();
  }

  /// The weights are as they were before the first of these updates, and what they lead to is known: it is not worth
  /// the checkpoint that is there.
  [[noreturn]] void end_diverged() {
    std::error_code ignored;
    const bool kept = std::filesystem::exists(folder_.training(), ignored);
    if (!kept) try_to_save();
    throw Diverged(std::to_string(kMostSkippedInARow) + " updates in a row, up to that of step " + grouped(steps()) +
                   ", have a loss or gradient that is not finite: the training has diverged. '" +
                   folder_.training().string() + "' " +
                   (kept ? "is kept as it was saved before" : "has the weights before these updates") +
                   "; begin a new run with a smaller --learning-rate");
  }

  /// Returns whether it is saved. A full disk may be emptied before the end: no reason to give up the training.
  bool try_to_save() {
    try {
      save();
      return true;
    } catch (const std::exception& error) {
      display_.line(std::string("warning: not saved: ") + error.what());
      last_save_ = Clock::now();
      return false;
    }
  }

  distributed::Team* team_ = nullptr;
  std::optional<Together> together_;
  RunExchange<typename Model::Scalar> exchange_;
  tool::RunFolder folder_;
  RunTexts texts_;
  train::Budget budget_;
  std::optional<train::Trainer<Model>> trainer_;
  tool::Display display_;
  std::optional<HeldOut<Model>> held_out_;
  std::optional<Journal> journal_;
  std::optional<RunReport> report_;
  std::optional<tool::Sample> sample_;  // not in the journal yet
  Smooth smooth_;
  HeldOutFacts facts_;
  int skipped_in_a_row_ = 0;
  Clock::time_point last_save_;
};

/// Without a folder, makes one, but only when all else is well: a wrong command line leaves no empty folder behind.
template <class Model>
int train_model(const Options& options, const train::Checkpoint* checkpoint, std::optional<tool::RunFolder> folder,
                distributed::Team* team) {
  Run<Model> run(options, checkpoint, team);
  const bool leads = team == nullptr || team->leads();
  if (options.print_config) {
    if (leads) run.print_config();
    return 0;
  }
  if (!leads) return run.follow();
  if (!folder) folder = tool::RunFolder::create(options.out);
  return run(*std::move(folder));
}

}  // namespace train_tool
