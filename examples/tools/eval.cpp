// qllk-eval: the score of a model on texts, or on each line of one.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "build_info.hpp"
#include "command_line.hpp"
#include "display.hpp"
#include "line_scores.hpp"
#include "model.hpp"
#include "position_scores.hpp"
#include "qllk/files/machine.hpp"
#include "qllk/language_model.hpp"
#include "qllk/language_model_impl.hpp"
#include "qllk/model/adapter.hpp"
#include "text.hpp"
#include "tool.hpp"

namespace {

struct Arguments {
  std::string model;
  std::vector<std::string> data;
  int threads = qllk::files::Machine().processors();
  bool int8 = false, adapt = false, lines = false, fresh_lines = false;
  std::optional<std::uint64_t> positions;

  void add_to(CLI::App& app) {
    app.add_option("--model", model, "Model file that qllk-train made, or the folder of a run")
        ->required()
        ->type_name("FILE");
    app.add_option(
           "--data", data,
           "Text: a file, a folder (all files in it), or - for standard input. May be given several times: each "
           "is a text of its own")
        ->required()
        ->allow_extra_args(false)
        ->type_name("PATH");
    tool::add_number(
        app, "--threads", threads, tool::kThreads,
        "Threads; no score depends on it. --lines without --fresh-lines takes one. Default: all processors");
    auto* const rounded =
        app.add_flag("--int8", int8, "Score with weights rounded to 8 bits, as qllk-generate --int8 uses them");
    auto* const adapting = app.add_flag(
        "--adapt", adapt,
        "Let the model's hashed rows learn from each text while it is scored, every byte after it was predicted. Takes "
        "one thread, and memory for a copy of the model");
    adapting->excludes(rounded);
    auto* const each = app.add_flag("--lines", lines,
                                    "Print a row for each line in place of JSON: bits, bits per byte, line number and "
                                    "text, with tabs between. A line is scored given all lines before it")
                           ->excludes(adapting);
    app.add_flag("--fresh-lines", fresh_lines, "With --lines: score each line as if it were the whole text")
        ->needs(each);
    tool::add_number(app, "--positions", positions, tool::Range<std::uint64_t>{2, std::uint64_t{1} << 40},
                     "Cut the text into documents of N bytes, and print rows in place of JSON: fresh or carried, bytes "
                     "of the document before (1, 2, 4, …), and bits per byte. fresh: given the document so far. "
                     "carried: the same bytes given all text before them. Takes one thread")
        ->excludes(adapting)
        ->excludes(each);
  }

  bool rows() const { return lines || positions; }

  void check() const {
    if (rows() && data.size() > 1)
      throw std::invalid_argument(std::string(lines ? "--lines" : "--positions") +
                                  " takes one text, but --data is given " + std::to_string(data.size()) +
                                  " times: score one after the other");
    if (std::count(data.begin(), data.end(), "-") > 1)
      throw std::invalid_argument("standard input ('-') is asked for twice, but can be read once only");
  }
};

/// How far all texts together are: rate and time left.
class ScoreProgress {
 public:
  explicit ScoreProgress(std::uint64_t all) : all_(static_cast<double>(all)) {}

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  /// `before` are the bytes of the texts that are done. Returns false if there was an interrupt.
  bool show(const qllk::Score& so_far, std::uint64_t before) {
    const auto bytes = static_cast<double>(before + so_far.bytes);
    const double done = bytes / all_;
    display_.progress(done, [&] {
      return std::to_string(so_far.bits_per_byte()) + " bits/byte  " + tool::readable_bytes(bytes / seconds()) +
             "/s  " + tool::clock_text(seconds() * (1 - done) / done) + " left";
    });
    return !tool::Interrupt::requested();
  }

  tool::Display& display() { return display_; }

 private:
  using Clock = std::chrono::steady_clock;

  double all_;
  Clock::time_point start_ = Clock::now();
  tool::Display display_;
};

struct Text {
  std::string name;
  qllk::Corpus corpus;
  tool::UnchangedText unchanged;
};

nlohmann::ordered_json to_json(const qllk::Score& score, double seconds) {
  return {{"bits_per_byte", score.bits_per_byte()},
          {"nats_per_byte", score.nats_per_byte()},
          {"bytes", score.bytes},
          {"seconds", seconds}};
}

/// One object for each text and, of several, one for all of them.
int score_texts(const qllk::LanguageModel& model, const std::vector<Text>& texts, const Arguments& arguments,
                ScoreProgress& progress) {
  qllk::Score all;
  for (const Text& text : texts) {
    const double start = progress.seconds();
    const auto show = [&](const qllk::Score& so_far) { return progress.show(so_far, all.bytes); };
    const qllk::Score score = model.score(text.corpus, {.threads = arguments.threads,
                                                        .int8 = arguments.int8,
                                                        .adapt = arguments.adapt ? qllk::kUsualAdaptRate : 0,
                                                        .on_progress = show});
    progress.display().clear();
    if (score.bytes < text.corpus.size()) return tool::Interrupt::exit_status();
    text.unchanged.check();
    nlohmann::ordered_json out;
    if (texts.size() > 1) tool::set_text(out, "text", text.name);
    out.update(to_json(score, progress.seconds() - start));
    tool::print_json(out);
    all.bytes += score.bytes;
    all.nats += score.nats;
  }
  if (texts.size() == 1) return 0;
  nlohmann::ordered_json out{{"texts", texts.size()}};
  out.update(to_json(all, progress.seconds()));
  tool::print_json(out);
  return 0;
}

/// A row for each line; the score of all of them goes to standard error.
int score_lines(const qllk::LanguageModel& model, const Text& text, const Arguments& arguments,
                ScoreProgress& progress) {
  qllk::Score score;
  const auto write = [&](const std::string& rows) { tool::write_stdout(rows); };
  const auto show = [&](const qllk::Score& so_far) { return progress.show(so_far, 0); };
  qllk::detail::visit_model(model.stored(), arguments.int8, [&](const auto& chosen, const auto& params) {
    using Model = std::remove_cvref_t<decltype(chosen)>;
    using Params = std::remove_cvref_t<decltype(params)>;
    if (arguments.fresh_lines)
      score = tool::score_lines(tool::FreshLines<Model, Params>(chosen, params, arguments.threads), text.corpus, write,
                                show);
    else
      score = tool::score_lines(tool::CarriedLines<Model, Params>(chosen, params), text.corpus, write, show);
  });
  progress.display().clear();
  if (score.bytes < text.corpus.size()) return tool::Interrupt::exit_status();
  text.unchanged.check();
  progress.display().line(to_json(score, progress.seconds()).dump());
  return 0;
}

/// Rows of bits by position.
int score_positions(const qllk::LanguageModel& model, const Text& text, const Arguments& arguments,
                    ScoreProgress& progress) {
  std::vector<tool::PositionScore> scores;
  qllk::detail::visit_model(model.stored(), arguments.int8, [&](const auto& chosen, const auto& params) {
    scores = tool::score_positions(chosen, params, text.corpus, *arguments.positions,
                                   [&](const qllk::Score& so_far) { return progress.show(so_far, 0); });
  });
  progress.display().clear();
  if (scores.empty()) return tool::Interrupt::exit_status();
  text.unchanged.check();
  tool::write_stdout(tool::position_rows(scores));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Scores texts with a model: every byte in order, each given all bytes before it. Prints one JSON object for each "
      "text. Of several texts, another object is for all together.",
      "qllk-eval");
  Arguments arguments;
  arguments.add_to(app);
  return tool::run(app, argc, argv, [&] {
    arguments.check();
    tool::Interrupt::watch();
    if (!arguments.lines)
      signal(SIGPIPE, SIG_IGN);  // whoever reads the progress may leave; of the rows, that is the end
    const auto model = tool::load_model(arguments.model);
    tool::Display display;
    for (const auto& warning : tool::build_warnings()) display.line("warning: " + warning);
    std::vector<Text> texts;
    std::uint64_t all = 0;
    for (const std::string& path : arguments.data) {
      auto corpus = qllk::Corpus::open(path);
      tool::warn_of_skipped(display, corpus);
      all += corpus.size();
      texts.push_back({path, corpus, tool::UnchangedText(corpus)});
    }
    ScoreProgress progress(all);
    if (arguments.positions) return score_positions(model, texts.front(), arguments, progress);
    return arguments.lines ? score_lines(model, texts.front(), arguments, progress)
                           : score_texts(model, texts, arguments, progress);
  });
}
