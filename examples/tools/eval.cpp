// qllk-eval: the score of a model on a text.
#include <signal.h>

#include <chrono>
#include <string>

#include "build_info.hpp"
#include "command_line.hpp"
#include "display.hpp"
#include "model.hpp"
#include "qllk/files/machine.hpp"
#include "qllk/language_model.hpp"
#include "text.hpp"
#include "tool.hpp"

int main(int argc, char** argv) {
  CLI::App app(
      "Scores a text with a model: every byte in order, each given all bytes before it. Prints one JSON object.",
      "qllk-eval");
  std::string model_file, data;
  app.add_option("--model", model_file, "Model file that qllk-train made")->required()->type_name("FILE");
  app.add_option("--data", data, "Text: a file, a folder (all files in it), or - for standard input")
      ->required()
      ->type_name("PATH");
  int threads = qllk::files::Machine().processors();
  tool::add_number(app, "--threads", threads, tool::kThreads,
                   "Threads; the score does not depend on it. Default: all processors");
  bool int8 = false;
  app.add_flag("--int8", int8, "Score with weights rounded to 8 bits, as qllk-generate --int8 uses them");
  return tool::run(app, argc, argv, [&] {
    tool::Interrupt::watch();
    signal(SIGPIPE, SIG_IGN);  // whoever reads the progress may leave
    const auto model = tool::load_model(model_file);
    const auto text = qllk::Corpus::open(data);
    tool::Display display;
    for (const auto& warning : tool::build_warnings()) display.line("warning: " + warning);
    tool::warn_of_skipped(display, text);
    const tool::UnchangedText unchanged(text);

    const auto start = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    const auto show = [&](const qllk::Score& so_far) {
      const double done = static_cast<double>(so_far.bytes) / static_cast<double>(text.size());
      display.progress(done, [&] {
        return std::to_string(so_far.bits_per_byte()) + " bits/byte  " +
               tool::readable_bytes(static_cast<double>(so_far.bytes) / elapsed()) + "/s  " +
               tool::clock_text(elapsed() * (1 - done) / done) + " left";
      });
      return !tool::Interrupt::requested();
    };
    const qllk::Score score = model.score(text, {.threads = threads, .int8 = int8, .on_progress = show});
    display.clear();
    if (score.bytes < text.size()) return tool::Interrupt::exit_status();
    unchanged.check();
    nlohmann::ordered_json out;
    out["bits_per_byte"] = score.bits_per_byte();
    out["nats_per_byte"] = score.nats_per_byte();
    out["bytes"] = score.bytes;
    out["seconds"] = elapsed();
    tool::print_json(out);
    return 0;
  });
}
