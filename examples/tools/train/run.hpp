// One training run: progress, samples, saves, the score.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "build_info.hpp"
#include "display.hpp"
#include "overrides.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/fit.hpp"
#include "qllk/train/required_memory.hpp"
#include "qllk/train/speed.hpp"
#include "qllk/train/trainer.hpp"
#include "run_files.hpp"
#include "text.hpp"
#include "tool.hpp"
#include "train/options.hpp"

namespace train_tool {

using namespace qllk;
using tool::grouped, tool::Interrupt;

/// "1.235"
inline std::string number(double value, int digits = 3) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

inline train::Budget budget_of(const Options& options) {
  constexpr double kUsualSeconds = 90;
  train::Budget budget;
  if (options.steps) budget.steps = *options.steps;
  if (options.seconds) budget.seconds = *options.seconds;
  if (!options.steps && !options.seconds) budget.seconds = kUsualSeconds;
  return budget;
}

inline tool::TextSources sources_of(const Options& options) {
  return {options.data.empty() ? std::vector<std::string>{QLLK_DEFAULT_CORPUS} : options.data, options.val,
          options.val_fraction.value_or(0.1)};
}

/// Throws if an option was given that the run to continue was not made with.
template <class T, class U>
void agree(const char* name, const std::optional<T>& given, const U& was) {
  if (given && *given != was)
    throw std::invalid_argument(std::string(name) + " is " + io::Json(*given).dump() +
                                ", but the run to continue has " + io::Json(was).dump() +
                                "; leave it out, or begin a new run");
}

/// The mixers of a comma-separated list, in all blocks of both levels in turn.
template <class Config>
void set_mixers(Config& config, const std::string& list) {
  if constexpr (requires { config.mixer; }) {
    config.mixer.clear();
    for (std::size_t at = 0; at <= list.size();) {
      const std::size_t end = std::min(list.find(',', at), list.size());
      config.mixer.push_back(decltype(config.mixer)::value_type::named(list.substr(at, end - at)));
      at = end + 1;
    }
    config.mixer_local = config.mixer;
  } else {
    throw std::invalid_argument("--mixer is '" + list +
                                "', but the classic model has no choice of mixers: leave it out");
  }
}

/// Names of a model's mixers, as --mixer has them.
template <class Config>
std::string mixers_of(const Config& config) {
  std::string names;
  if constexpr (requires { config.mixer; })
    for (const auto& mixer : config.mixer) {
      if (!names.empty()) names += ',';
      names += mixer.mixer();
    }
  return names;
}

/// One training run of one architecture.
template <class Model>
class Run {
 public:
  /// A new run, or the one to continue.
  Run(const Options& options, const train::Checkpoint* checkpoint) {
    try {
      prepare(options, checkpoint);
    } catch (const io::Json::exception&) {
      throw std::runtime_error("the checkpoint to continue was not made by qllk-train: it lacks the tool's notes");
    }
  }

  void print_config() const {
    tool::write_stdout(tool::picks_to_json(trainer_->model().config(), trainer_->settings()).dump(2) + "\n");
  }

  /// Trains, saves and scores; returns the exit status.
  int operator()(tool::RunFolder folder) {
    folder_ = std::move(folder);
    introduce();
    last_save_ = Clock::now();
    const std::uint64_t before = steps();
    try {
      if (share() < 1) {
        sample();
        quick_score();
        train_now();
      } else {
        display_.line("nothing left to train: the budget is used up; --steps or --seconds can raise it");
      }
      check_texts();
    } catch (const std::exception&) {  // as when the text is gone: what was learned from it is not lost
      if (steps() > before && try_to_save())
        display_.line("saved " + folder_.path.string() + ": what was trained up to step " + grouped(steps()));
      throw;
    }
    save();
    if (Interrupt::requested()) {
      display_.line("interrupted after step " + grouped(steps()) + "; continue with: qllk-train --resume --out " +
                    folder_.path.string());
      return Interrupt::exit_status();
    }
    display_.line("saved " + folder_.model().string());
    for (const double place : {0.8, 0.9, 0.95}) sample(place);
    const auto score = full_score();
    if (!score) {
      display_.line("interrupted while scoring; the model is trained and saved");
      return Interrupt::exit_status();
    }
    check_texts();
    display_.line("validation: " + number(score->bits_per_byte(), 4) + " bits per byte over all " +
                  grouped(score->bytes) + " bytes (order 0: " + number(order0_, 4) + ")");
    report(*score);
    return 0;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr double kSecondsBetweenSaves = 60;
  static constexpr std::uint64_t kQuickBytes = 32768;  // of the validation text, scored now and then during training

  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  void prepare(const Options& options, const train::Checkpoint* checkpoint) {
    sources_ =
        checkpoint != nullptr ? tool::TextSources::of_json(checkpoint->notes().at("sources")) : sources_of(options);
    if (checkpoint != nullptr) resume_sources(options);
    sources_note_ = sources_.to_json();
    texts_ = tool::Texts::open(sources_);
    tool::warn_of_skipped(display_, texts_.training);
    if (sources_.val) tool::warn_of_skipped(display_, texts_.validation);
    unchanged_training_ = tool::UnchangedText(texts_.training);
    unchanged_validation_ = tool::UnchangedText(texts_.validation);
    budget_ = budget_of(options);
    if (checkpoint == nullptr) {
      const train::Wanted wanted{.batch = options.batch, .context = options.context};
      auto [config, settings] =
          options.memory  // which a measurement would not keep to
              ? train::recipe(std::type_identity<Model>{}, texts_.training.size(), budget_, wanted)
              : train::measured_recipe<Model>(texts_.training, budget_, options.threads, wanted);
      settings.seed = options.seed.value_or(settings.seed);
      if (options.mixer) set_mixers(config, *options.mixer);
      tool::override_picks(options.config, options.set, config, settings);
      if (options.chunk) settings.chunk = *options.chunk;
      if (options.carry) settings.crops = train::Crops::consecutive;
      check_length(settings.context);
      if (options.memory) fit(options, config, settings);
      const Model model(config);
      train::expect_fits(model, settings);
      trainer_.emplace(model, settings, texts_.training, options.threads);
      return;
    }
    const io::Json& notes = checkpoint->notes();
    const train::TrainerSettings& settings = checkpoint->settings();
    agree("--batch", options.batch, settings.batch);
    agree("--context", options.context, settings.context);
    agree("--chunk", options.chunk, settings.chunk);
    if (options.carry && settings.crops != train::Crops::consecutive)
      throw std::invalid_argument("--carry is given, but the run to continue has random places; leave it out");
    agree("--seed", options.seed, settings.seed);
    if (options.mixer) agree("--mixer", options.mixer, mixers_of(checkpoint->model<Model>().config()));
    if (!made_of_these_texts(notes))
      throw std::invalid_argument("the text differs from that of the run to continue, which was " +
                                  notes.at("sources").dump() + "; give the same --data, or begin a new run");
    if (!options.steps && !options.seconds) budget_ = checkpoint->budget();
    check_length(settings.context);
    train::expect_fits(checkpoint->model<Model>(), settings);
    trainer_.emplace(checkpoint->model<Model>(), settings, texts_.training, options.threads);
    checkpoint->restore(*trainer_);
    smooth_ = {notes.at("smooth_sum").get<double>(), notes.at("smooth_weight").get<double>()};
  }

  /// Within --memory.
  void fit(const Options& options, typename Model::Config& config, train::TrainerSettings& settings) {
    if (options.chunk) throw std::invalid_argument("--memory picks the chunk: leave out --chunk, or --memory");
    const bool tables = !options.config.empty() || std::ranges::any_of(options.set, [](const std::string& member) {
      return member.rfind("bits=", 0) == 0;
    });
    const double held =
        train::fit<Model>(*options.memory, {.batch = options.batch.has_value(), .tables = tables}, config, settings);
    std::string line = "budget      " + tool::readable_bytes(*options.memory) + ": holds " +
                       tool::readable_bytes(held) + " at the most, with batches of " + std::to_string(settings.batch);
    if constexpr (requires { config.bits; }) line += ", tables of 2^" + std::to_string(config.bits) + " rows";
    display_.line(line + (settings.chunk > 0
                              ? ", chunks of " + grouped(static_cast<std::uint64_t>(settings.chunk)) + " bytes"
                              : ", whole sequences"));
  }

  /// Whether the run to continue had these texts.
  bool made_of_these_texts(const io::Json& notes) {
    if (notes.contains("training_checksum"))
      return notes.at("training_checksum") == unchanged_training_.fingerprint() &&
             notes.at("validation_checksum") == unchanged_validation_.fingerprint();
    display_.line(
        "note: this checkpoint is of an older version and knows samples of its text only: an edit may go unseen");
    return notes.at("training") == tool::sampled_fingerprint(texts_.training) &&
           notes.at("validation") == tool::sampled_fingerprint(texts_.validation);
  }

  /// Throws if a file was edited since the run began, but for what was added at its end.
  void check_texts() const {
    unchanged_training_.check();
    unchanged_validation_.check();
  }

  struct Smooth {
    double sum = 0, weight = 0;
    void add(double value) {
      constexpr double kKeep = 0.95;  // about the last 20 updates
      sum = kKeep * sum + (1 - kKeep) * value;
      weight = kKeep * weight + (1 - kKeep);
    }
    double value() const { return weight > 0 ? sum / weight : std::numeric_limits<double>::quiet_NaN(); }
  };

  void resume_sources(const Options& options) {
    if (!options.data.empty()) sources_.data = options.data;
    if (options.val) sources_.val = options.val;
    if (options.val_fraction && sources_.val)
      throw std::invalid_argument("--val-fraction is given, but the run to continue has a --val text; leave it out");
    agree("--val-fraction", options.val_fraction, sources_.val_fraction);
  }

  void check_length(Index context) const {
    if (texts_.training.size() > static_cast<std::uint64_t>(context)) return;
    throw std::invalid_argument("the training text has " + std::to_string(texts_.training.size()) +
                                " bytes, but --context " + std::to_string(context) + " needs " +
                                std::to_string(context) + " and one more: give more text, or a smaller --context");
  }

  std::uint64_t steps() const { return static_cast<std::uint64_t>(trainer_->progress().steps); }
  double share() const { return budget_.used(trainer_->progress().steps, trainer_->progress().seconds); }

  void introduce() {
    for (const auto& warning : tool::build_warnings()) display_.line("warning: " + warning);
    const auto& settings = trainer_->settings();
    const train::Memory& memory = trainer_->memory();
    const auto text = static_cast<std::size_t>(texts_.training.size() + texts_.validation.size());
    const auto mega = [](std::size_t bytes) { return tool::readable_bytes(static_cast<double>(bytes)); };
    order0_ = data::order0_entropy(texts_.validation);
    std::string from;
    for (const auto& path : sources_.data) from += (from.empty() ? "" : ", ") + (path == "-" ? "standard input" : path);
    display_.line("text        " + from);
    display_.line("            " + grouped(texts_.training.size()) + " bytes to train on, " +
                  grouped(texts_.validation.size()) + " bytes held out" +
                  (sources_.val ? " (" + *sources_.val + ")" : " (its end)"));
    display_.line("baselines   8.0 bits per byte (uniform), " + number(order0_) +
                  " (order-0 entropy of the held-out text)");
    display_.line("model       " + std::string(io::Architecture<Model>::name) + ", " +
                  grouped(static_cast<std::uint64_t>(parameter_count(trainer_->params()))) + " parameters, " +
                  io::to_json(trainer_->model().config()).dump());
    display_.line("memory      parameters " + mega(memory.parameters) + ", gradients " + mega(memory.gradients) +
                  ", optimiser " + mega(memory.optimizer) + ", activations " + mega(memory.activations) + ", text " +
                  mega(text) + ": " + mega(memory.total() + text));
    display_.line("machine     " + std::to_string(trainer_->threads()) + " threads, compiled for " +
                  tool::instruction_set());
    std::string until;
    if (budget_.steps != std::numeric_limits<std::int64_t>::max())
      until = grouped(static_cast<std::uint64_t>(budget_.steps)) + " steps";
    if (std::isfinite(budget_.seconds)) until += (until.empty() ? "" : " or ") + number(budget_.seconds, 0) + " s";
    display_.line("training    " + until + ", batches of " + std::to_string(settings.batch) + " x " +
                  std::to_string(settings.context) + " bytes" +
                  (settings.chunk > 0 && settings.chunk < settings.context
                       ? " in chunks of " + std::to_string(settings.chunk)
                       : "") +
                  (settings.crops == train::Crops::consecutive ? ", state carried on" : "") + ", seed " +
                  std::to_string(settings.seed));
    display_.line("settings    " + io::to_json(settings).dump());
    display_.line("saves to    " + folder_.path.string() +
                  (steps() > 0 ? ", going on from step " + grouped(steps()) : std::string()));
    warn_of_little_room();
  }

  /// Before the work, not after.
  void warn_of_little_room() {
    const auto available = folder_.free_bytes();
    if (!available) return;
    const train::Memory& memory = trainer_->memory();
    const auto free = static_cast<double>(*available), model = static_cast<double>(memory.parameters),
               checkpoint = model + static_cast<double>(memory.optimizer);
    std::error_code error;
    const bool replaces = std::filesystem::exists(folder_.training(), error);
    const double once = replaces ? checkpoint : model + checkpoint, again = once + (replaces ? 0 : checkpoint);
    const bool saves_once = budget_.seconds < kSecondsBetweenSaves;
    if (free >= (saves_once ? once : again)) return;
    const auto text = [](double bytes) { return tool::readable_bytes(bytes); };
    display_.line("warning: little room: the file system of '" + folder_.path.string() + "' has " + text(free) +
                  " left, but to save takes " + text(once) + " (the model has " + text(model) + ", the checkpoint " +
                  text(checkpoint) + ")" +
                  (saves_once || replaces ? "" : ", and to replace the checkpoint later " + text(again) + " in all") +
                  "; the model is saved first");
  }

  void train_now() {
    const train::Progress before = trainer_->progress();
    bool middle = share() >= 0.5;
    display_.begin();
    trainer_->run(budget_, [&](const train::StepReport& step) {
      if (step.skipped) {
        if (trainer_->progress().skipped == 1)
          display_.line("warning: the loss or gradient of step " + grouped(steps()) +
                        " is not finite; that update is left out, and counted");
      } else {
        smooth_.add(step.bits_per_byte);
      }
      if (Interrupt::requested()) return false;
      const double done = share();
      if (done < 1 && !middle && done >= 0.5) {
        middle = true;
        sample();
      }
      if (done < 1 && quick_due(done)) quick_score();
      if (seconds_since(last_save_) >= kSecondsBetweenSaves) save_on_the_way();
      display_.progress(done, [&] { return status(before, done); });
      return !Interrupt::requested();
    });
    display_.line(status(before, share()));
  }

  std::string status(const train::Progress& before, double done) const {
    const train::Progress& now = trainer_->progress();
    const double rate = static_cast<double>(now.bytes - before.bytes) / (now.seconds - before.seconds);
    std::string text = "step " + std::to_string(now.steps) + "  train " + number(smooth_.value()) + "  val " +
                       number(quick_) + " bits/byte  " + tool::readable_bytes(rate) + "/s";
    if (now.skipped > 0) text += "  skipped " + std::to_string(now.skipped);
    if (done < 1) text += "  " + tool::clock_text(now.seconds * (1 - done) / done) + " left";
    return text;
  }

  /// After each tenth of the budget, unless that would take more than a tenth of the time.
  bool quick_due(double done) const {
    return done - quick_share_ >= 0.1 && trainer_->progress().seconds - quick_at_ >= 10 * quick_took_;
  }

  void quick_score() {
    const auto start = Clock::now();
    const auto part = texts_.validation.slice(0, std::min(kQuickBytes, texts_.validation.size()));
    if (quick_share_ < 0)
      display_.line("val below   of the first " + grouped(part.size()) + " held-out bytes; all of them at the end");
    const auto score = evaluate(part, [](const train::Score&) {});
    quick_ = score.bits_per_byte();
    quick_share_ = share();
    quick_at_ = trainer_->progress().seconds;
    quick_took_ = seconds_since(start);
  }

  /// The score of the averaged weights, so far as there was no interrupt.
  template <class OnScore>
  train::Score evaluate(const data::Corpus& text, OnScore&& on_score) {
    const auto go_on = [&](const train::Score& so_far) {
      on_score(so_far);
      return !Interrupt::requested();
    };
    return trainer_->with_average([&](const auto& params) {
      return train::evaluate(trainer_->model(), params, text, go_on, {.threads = trainer_->threads()});
    });
  }

  std::optional<train::Score> full_score() {
    display_.begin();
    const auto all = static_cast<double>(texts_.validation.size());
    const auto score = evaluate(texts_.validation, [&](const train::Score& so_far) {
      display_.progress(static_cast<double>(so_far.bytes) / all,
                        [&] { return "scoring  " + number(so_far.bits_per_byte()) + " bits/byte"; });
    });
    display_.clear();
    if (score.bytes < texts_.validation.size()) return std::nullopt;
    return score;
  }

  /// What the model makes of a beginning that it has not seen, at a share of that text. Late: its start is often of one piece
  /// with the end of what the model trains on.
  void sample(double place = 0.8) {
    constexpr std::size_t kPrompt = 120;
    constexpr int kLength = 400;
    if (Interrupt::requested()) return;
    const std::uint64_t size = texts_.validation.size();
    const auto at = static_cast<std::uint64_t>(place * static_cast<double>(size));
    std::vector<Byte> text(static_cast<std::size_t>(std::min<std::uint64_t>(size - at, 4096)));
    texts_.validation.copy(at, text);
    auto begin = std::find(text.begin(), text.end(), Byte{'\n'});
    begin = std::distance(begin, text.end()) > static_cast<std::ptrdiff_t>(kPrompt) ? begin + 1 : text.begin();
    const Bytes prompt =
        Bytes(text).subspan(static_cast<std::size_t>(begin - text.begin())).first(std::min(kPrompt, text.size()));

    std::vector<Byte> written;
    trainer_->with_average([&](const auto& params) {
      generate::Generator<Model> generator(trainer_->model(), params);
      const generate::Sampler sampler({.temperature = 0.7});
      Random random = Random::of(trainer_->settings().seed, 0x53616D706C65);
      generator.feed(prompt);
      for (int i = 0; i < kLength; ++i) written.push_back(generator.next(sampler, random));
    });
    display_.line("--- sample after step " + grouped(steps()) + ": a prompt from the held-out text");
    display_.line(tool::visible(prompt, "    "));
    display_.line("--- and the continuation");
    display_.line(tool::visible(written, "    "));
    display_.line("---");
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
  }

  /// The model first: it is the smaller one, and can be used without the other.
  void save_files() {
    std::string failure;
    try {
      trainer_->with_average([&](const auto& params) { io::save_model(folder_.model(), trainer_->model(), params); });
    } catch (const std::exception& error) {
      failure = error.what();
    }
    try {
      save_checkpoint();
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

  void save_checkpoint() const {
    const io::Json notes{{"sources", sources_note_},
                         {"training_checksum", unchanged_training_.fingerprint()},
                         {"validation_checksum", unchanged_validation_.fingerprint()},
                         {"smooth_sum", smooth_.sum},
                         {"smooth_weight", smooth_.weight}};
    train::save_checkpoint(folder_.training(), *trainer_, budget_, notes);
  }

  void save_on_the_way() {
    check_texts();
    try_to_save();
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

  void report(const train::Score& score) const {
    const train::Progress& progress = trainer_->progress();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    nlohmann::ordered_json out;
    out["val_bits_per_byte"] = score.bits_per_byte();
    out["val_nats_per_byte"] = score.nats_per_byte();
    out["train_bits_per_byte"] = smooth_.value();
    out["bytes_seen"] = progress.bytes;
    out["seconds"] = progress.seconds;
    out["bytes_per_second"] = progress.seconds > 0 ? static_cast<double>(progress.bytes) / progress.seconds : 0.0;
    out["parameters"] = parameter_count(trainer_->params());
    out["peak_rss_bytes"] = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
    out["threads"] = trainer_->threads();
    out["model"] = folder_.model().string();
    out["steps"] = progress.steps;
    out["skipped_updates"] = progress.skipped;
    tool::print_json(out);
  }

  tool::RunFolder folder_;
  tool::TextSources sources_;
  io::Json sources_note_;  // made at the start: later the folder that the tool was started in may be gone
  tool::Texts texts_;
  tool::UnchangedText unchanged_training_, unchanged_validation_;
  train::Budget budget_;
  std::optional<train::Trainer<Model>> trainer_;
  tool::Display display_;
  Smooth smooth_;
  double order0_ = 0;
  double quick_ = 0, quick_share_ = -1, quick_at_ = 0, quick_took_ = 0;
  Clock::time_point last_save_;
};

/// Without a folder, makes one, but only when all else is well: a wrong command line leaves no empty folder behind.
template <class Model>
int train_model(const Options& options, const train::Checkpoint* checkpoint, std::optional<tool::RunFolder> folder) {
  Run<Model> run(options, checkpoint);
  if (options.print_config) {
    run.print_config();
    return 0;
  }
  if (!folder) folder = tool::RunFolder::create(options.out);
  return run(*std::move(folder));
}

}  // namespace train_tool
