// qllk-eval: the score of a model on a text.
#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <variant>

#include "build_info.hpp"
#include "command_line.hpp"
#include "display.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/linalg/int8_matrix.hpp"
#include "qllk/train/evaluate.hpp"
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
  int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  tool::add_number(app, "--threads", threads, tool::kThreads,
                   "Threads; the score does not depend on it. Default: all processors");
  bool int8 = false;
  app.add_flag("--int8", int8, "Score with weights rounded to 8 bits, as qllk-generate --int8 uses them");
  return tool::run(app, argc, argv, [&] {
    auto any = qllk::io::load_model(model_file);
    const auto text = qllk::data::Corpus::open(data);
    tool::Interrupt::watch();
    tool::Display display;
    for (const auto& warning : tool::build_warnings()) display.line("warning: " + warning);
    tool::warn_of_skipped(display, text);
    const tool::UnchangedText unchanged(text);

    const auto start = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    const auto show = [&](const qllk::train::Score& so_far) {
      const double done = static_cast<double>(so_far.bytes) / static_cast<double>(text.size());
      display.progress(done, [&] {
        return std::to_string(so_far.bits_per_byte()) + " bits/byte  " +
               tool::readable_bytes(static_cast<double>(so_far.bytes) / elapsed()) + "/s  " +
               tool::clock_text(elapsed() * (1 - done) / done) + " left";
      });
      return !tool::Interrupt::requested();
    };
    const auto score = std::visit(
        [&](auto& stored) {
          using Model = typename std::remove_cvref_t<decltype(stored)>::Model;
          const auto evaluate = [&](const auto& params) {
            return qllk::train::evaluate(stored.model, params, text, show, {.threads = threads});
          };
          return int8 ? evaluate(qllk::to_int8<Model>(std::move(stored.params))) : evaluate(stored.params);
        },
        any);
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
