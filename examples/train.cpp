// qllk-train: trains a model on text, shows how it gets on, and scores it on text that it has not seen.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "build_info.hpp"
#include "display.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"
#include "recipe.hpp"
#include "run_files.hpp"
#include "tool.hpp"

namespace {

using namespace qllk;
using tool::grouped, tool::Interrupt;
using Clock = std::chrono::steady_clock;

constexpr double kDefaultSeconds = 90;
constexpr double kSecondsBetweenSaves = 60;
constexpr std::uint64_t kQuickBytes = 32768;  // of the validation text, scored now and then during training

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string number(double value, int digits = 3) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// As the command line gives them: what is not there is picked, or comes from the checkpoint.
struct Options {
  std::vector<std::string> data;
  std::optional<std::string> val, arch, mixer, out;
  std::optional<double> val_fraction, seconds;
  std::optional<std::int64_t> steps;
  std::optional<Index> batch, context;
  std::optional<std::uint64_t> seed;
  int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  bool resume = false;

  void add_to(CLI::App& app) {
    app.add_option("--data", data,
                   "Text to train on: a file, a folder (all files in it), or - for standard input. May be "
                   "given several times. Default: the Eigen headers that this tool was built with")
        ->allow_extra_args(false)
        ->type_name("PATH");
    auto* const path =
        app.add_option("--val", val, "Text to score on; all of --data is for training then")->type_name("PATH");
    app.add_option("--val-fraction", val_fraction,
                   "Share of --data, at its end, to score on and not to train on. Default: 0.1")
        ->type_name("F")
        ->excludes(path);
    app.add_option("--arch", arch, "Model: default or classic. Default: default")->type_name("NAME");
    app.add_option("--mixer", mixer, "Sequence mixer: latent. Default: latent")->type_name("NAME");
    app.add_option("--steps", steps, "Train for N updates (with --resume: N in all)")->type_name("N");
    app.add_option(
           "--seconds", seconds,
           "Train for T seconds, scoring not counted (with --resume: T in all). With --steps: until the first of the "
           "two. Default, without both: 90")
        ->type_name("T");
    app.add_option("--batch", batch, "Sequences in an update")->type_name("N");
    app.add_option("--context", context, "Bytes in a sequence")->type_name("N");
    app.add_option("--threads", threads, "Threads; weights do not depend on it. Default: all processors")
        ->type_name("N");
    app.add_option("--seed", seed, "Of weights and batches: the same seed gives the same model. Default: 1")
        ->check(tool::not_negative)
        ->type_name("N");
    app.add_option("--out", out,
                   "Folder for model.safetensors and training.safetensors. Default: qllk-out/1, or the next "
                   "number that is free. A run that is there already is never overwritten")
        ->type_name("DIR");
    app.add_flag(
        "--resume", resume,
        "Continue the run in --out. Its options hold; those given must agree with it, but for --threads, and for "
        "--steps and --seconds, which replace its budget");
  }

  void check() const {
    const auto positive = [](const char* name, auto value) {
      if (!(value > 0) || !std::isfinite(static_cast<double>(value)))
        throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + ", expected a number above 0");
    };
    if (steps) positive("--steps", *steps);
    if (seconds) positive("--seconds", *seconds);
    if (batch) positive("--batch", *batch);
    if (context) positive("--context", *context);
    positive("--threads", threads);
    if (val_fraction && !(*val_fraction > 0 && *val_fraction < 1))
      throw std::invalid_argument("--val-fraction is " + std::to_string(*val_fraction) + ", expected between 0 and 1");
    if (mixer && *mixer != "latent") throw std::invalid_argument("--mixer is '" + *mixer + "', expected latent");
    if (resume && !out) throw std::invalid_argument("--resume needs --out DIR, the folder of the run to continue");
  }

  train::Budget budget() const {
    train::Budget budget;
    if (steps) budget.steps = *steps;
    if (seconds) budget.seconds = *seconds;
    if (!steps && !seconds) budget.seconds = kDefaultSeconds;
    return budget;
  }

  tool::TextSources sources() const {
    return {data.empty() ? std::vector<std::string>{QLLK_DEFAULT_CORPUS} : data, val, val_fraction.value_or(0.1)};
  }
};

/// Throws if an option was given that the run to continue was not made with.
template <class T, class U>
void agree(const char* name, const std::optional<T>& given, const U& was) {
  if (given && *given != was)
    throw std::invalid_argument(std::string(name) + " is " + io::Json(*given).dump() +
                                ", but the run to continue has " + io::Json(was).dump() +
                                "; leave it out, or begin a new run");
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

  /// Trains, saves and scores; returns the exit status.
  int operator()(tool::RunFolder folder) {
    folder_ = std::move(folder);
    introduce();
    last_save_ = Clock::now();
    if (share() < 1) {
      sample();
      quick_score();
      train_now();
    } else {
      display_.line("nothing left to train: the budget is used up; --steps or --seconds can raise it");
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
    display_.line("validation: " + number(score->bits_per_byte(), 4) + " bits per byte over all " +
                  grouped(score->bytes) + " bytes (order 0: " + number(order0_, 4) + ")");
    report(*score);
    return 0;
  }

 private:
  void prepare(const Options& options, const train::Checkpoint* checkpoint) {
    sources_ =
        checkpoint != nullptr ? tool::TextSources::of_json(checkpoint->notes().at("sources")) : options.sources();
    if (checkpoint != nullptr) resume_sources(options);
    texts_ = tool::Texts::open(sources_);
    training_print_ = tool::fingerprint(texts_.training);
    validation_print_ = tool::fingerprint(texts_.validation);
    budget_ = options.budget();
    if (checkpoint == nullptr) {
      auto [config, settings] = tool::recipe(std::type_identity<Model>{}, texts_.training.size(), budget_,
                                             {.batch = options.batch, .context = options.context});
      settings.seed = options.seed.value_or(settings.seed);
      check_length(settings.context);
      trainer_.emplace(Model(config), settings, texts_.training, options.threads);
      return;
    }
    const io::Json& notes = checkpoint->notes();
    const train::TrainerSettings& settings = checkpoint->settings();
    agree("--batch", options.batch, settings.batch);
    agree("--context", options.context, settings.context);
    agree("--seed", options.seed, settings.seed);
    if (notes.at("training") != training_print_ || notes.at("validation") != validation_print_)
      throw std::invalid_argument("the text differs from that of the run to continue, which was " +
                                  notes.at("sources").dump() + "; give the same --data, or begin a new run");
    if (!options.steps && !options.seconds) budget_ = checkpoint->budget();
    check_length(settings.context);
    trainer_.emplace(checkpoint->model<Model>(), settings, texts_.training, options.threads);
    checkpoint->restore(*trainer_);
    smooth_ = {notes.at("smooth_sum").get<double>(), notes.at("smooth_weight").get<double>()};
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
                  grouped(texts_.validation.size()) + " bytes to score on" +
                  (sources_.val ? " (" + *sources_.val + ")" : " (its end)"));
    display_.line("baselines   8.0 bits per byte (uniform), " + number(order0_) +
                  " (order-0 entropy of the text to score on)");
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
                  std::to_string(settings.context) + " bytes, seed " + std::to_string(settings.seed));
    display_.line("settings    " + io::to_json(settings).dump());
    display_.line("saves to    " + folder_.path.string() +
                  (steps() > 0 ? ", going on from step " + grouped(steps()) : std::string()));
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
      display_.line("val below   of the first " + grouped(part.size()) + " bytes to score on; all of them at the end");
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
    display_.line("--- sample after step " + grouped(steps()) + ": a beginning from the text to score on");
    display_.line(tool::visible(prompt, "    "));
    display_.line("--- and how the model goes on");
    display_.line(tool::visible(written, "    "));
    display_.line("---");
  }

  void save() {
    io::Json notes{{"sources", sources_.to_json()},
                   {"training", training_print_},
                   {"validation", validation_print_},
                   {"smooth_sum", smooth_.sum},
                   {"smooth_weight", smooth_.weight}};
    train::save_checkpoint(folder_.training(), *trainer_, budget_, notes);
    trainer_->with_average([&](const auto& params) { io::save_model(folder_.model(), trainer_->model(), params); });
    last_save_ = Clock::now();
  }

  /// A full disk may be emptied before the end: no reason to give up the training.
  void save_on_the_way() {
    try {
      save();
    } catch (const std::exception& error) {
      display_.line(std::string("warning: not saved: ") + error.what());
      last_save_ = Clock::now();
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
  tool::Texts texts_;
  std::uint64_t training_print_ = 0, validation_print_ = 0;
  train::Budget budget_;
  std::optional<train::Trainer<Model>> trainer_;
  tool::Display display_;
  Smooth smooth_;
  double order0_ = 0;
  double quick_ = 0, quick_share_ = -1, quick_at_ = 0, quick_took_ = 0;
  Clock::time_point last_save_;
};

int train_model(const Options& options) {
  options.check();
  std::optional<tool::RunFolder> folder;
  std::optional<train::Checkpoint> checkpoint;
  std::string arch = options.arch.value_or("default");
  if (options.resume) {
    folder = tool::RunFolder::existing(*options.out);
    checkpoint.emplace(folder->training());
    agree("--arch", options.arch, checkpoint->arch());
    arch = checkpoint->arch();
  } else if (options.out) {
    tool::RunFolder::check_unused(*options.out);
  }
  int status = 1;
  io::visit_architecture(arch, [&]<class Model>(std::type_identity<Model>) {
    Run<Model> run(options, checkpoint ? &*checkpoint : nullptr);
    // Only now, when all else is well: a wrong command line leaves no empty folder behind.
    if (!folder) folder = tool::RunFolder::create(options.out);
    status = run(*std::move(folder));
  });
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains a byte-level language model. Progress goes to standard error; the last line of standard output is one "
      "JSON object with the score.",
      "qllk-train");
  Options options;
  options.add_to(app);
  return tool::run(app, argc, argv, [&] {
    Interrupt::watch();
    signal(SIGPIPE, SIG_IGN);  // whoever reads the progress may leave; training goes on
    signal(SIGXFSZ, SIG_IGN);  // a file-size limit is an error of a write like others
    return train_model(options);
  });
}
