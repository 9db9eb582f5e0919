// qllk-generate: continues a prompt.
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "command_line.hpp"
#include "line_reader.hpp"
#include "model.hpp"
#include "qllk/core/random.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/generate/sampler.hpp"
#include "qllk/language_model.hpp"
#include "qllk/language_model_impl.hpp"
#include "stop_strings.hpp"
#include "tool.hpp"

namespace {

struct Arguments {
  std::string model, prompt;
  std::uint64_t bytes = 512;
  std::vector<std::string> stop;
  bool interactive = false;
  qllk::GenerationOptions options{.temperature = 1};

  /// The text of --prompt, or standard input.
  std::string read_prompt() const {
    if (prompt != "-") return prompt;
    const auto input = qllk::files::InputFile::standard_input().contents();
    return {input.bytes.begin(), input.bytes.end()};
  }
};

/// A text that a model continues, several times if it is asked to.
template <class Generator>
class Continuation {
 public:
  Continuation(Generator& generator, const Arguments& arguments)
      : generator_(generator),
        sampler_({.temperature = arguments.options.temperature,
                  .top_k = arguments.options.top_k,
                  .top_p = arguments.options.top_p,
                  .repeat = arguments.options.repeat}),
        random_(arguments.options.seed),
        stops_(arguments.stop),
        bytes_(arguments.bytes) {}

  void feed(const std::string& text) { generator_.feed(qllk::detail::as_bytes(text)); }

  /// Writes the next bytes to standard output as they are made, up to a stop string.
  void write() {
    for (std::uint64_t i = 0; i < bytes_ && !stops_.found(); ++i)
      if (const std::string out = stops_.take(generator_.next(sampler_, random_)); !out.empty())
        tool::write_stdout(out);
    tool::write_stdout(stops_.finish());
  }

 private:
  Generator& generator_;
  qllk::generate::Sampler sampler_;
  qllk::Random random_;
  tool::StopStrings stops_;
  std::uint64_t bytes_;
};

/// Each line that comes is added to the text, and the model goes on from there.
template <class Text>
void converse(Text& text) {
  const bool people = isatty(STDIN_FILENO) != 0;
  if (people)
    tool::write_stderr("Write a text, and the model goes on. An empty line: it goes on further. Ctrl-D ends.\n");
  tool::LineReader lines;
  for (;;) {
    if (people) tool::write_stderr("> ");
    const auto line = lines.next();
    if (!line) break;
    text.feed(*line);
    text.write();
    tool::write_stdout("\n");
  }
  if (people) tool::write_stderr("\n");
}

void continue_text(const qllk::LanguageModel& model, const Arguments& arguments) {
  const std::string prompt = arguments.read_prompt();
  qllk::detail::visit_model(model.stored(), arguments.options.int8, [&](const auto& chosen, const auto& params) {
    qllk::generate::Generator generator(chosen, params);
    Continuation text(generator, arguments);
    text.feed(prompt);
    if (arguments.interactive) return converse(text);
    text.write();
    if (isatty(STDOUT_FILENO) != 0 && arguments.bytes > 0)
      tool::write_all(STDERR_FILENO, "\n");  // so that a shell's prompt begins a line
  });
}

void add_options(CLI::App& app, Arguments& arguments) {
  using namespace qllk;
  GenerationOptions& options = arguments.options;
  app.add_option("--model", arguments.model, "Model file that qllk-train made, or the folder of a run")
      ->required()
      ->type_name("FILE");
  app.add_option("--prompt", arguments.prompt,
                 "Text to continue, of any bytes and any length; - reads it from standard input. Default: empty")
      ->type_name("TEXT");
  using tool::add_number, tool::Range;
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  add_number(app, "--bytes", arguments.bytes, Range<std::uint64_t>{0, 1'000'000'000'000'000}, "Bytes to generate")
      ->default_str("512");
  add_number(app, "--temperature", options.temperature, Range<double>{0, 1e6},
             "Below 1 likely bytes get likelier; 0 always takes the likeliest byte")
      ->default_str("1")
      ->type_name("T");
  add_number(app, "--top-k", options.top_k, Range<Index>{0, kByteValues},
             "Draw from the K likeliest bytes only; 0: from all")
      ->default_str("0")
      ->type_name("K");
  add_number(app, "--top-p", options.top_p, Range<double>{0, 1, true},
             "Draw from the likeliest bytes that have probability P together")
      ->default_str("1")
      ->type_name("P");
  add_number(
      app, "--repeat", options.repeat, Range<Index>{0, 1'000'000},
      "A byte gets less likely where it would repeat more than N bytes of earlier text; 0: it may repeat anything")
      ->default_str("16");
  add_number(app, "--seed", options.seed, Range<std::uint64_t>{0, kMost}, "The same seed gives the same bytes")
      ->default_str("1");
  app.add_flag("--int8", options.int8, "Round weights to 8 bits: faster, slightly less exact");
  app.add_option("--stop", arguments.stop,
                 "End where the model writes this, which is not printed. May be given several times")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  app.add_flag(
      "--interactive", arguments.interactive,
      "Read lines from standard input: each is added to the text, and the model continues it by up to --bytes. "
      "What it wrote stays in the text. An empty line lets it go on");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Continues a prompt with a model. Standard output gets the continuation, byte by byte as it is made, without the "
      "prompt and with nothing added.",
      "qllk-generate");
  Arguments arguments;
  add_options(app, arguments);
  return tool::run(app, argc, argv, [&] {
    static_cast<void>(tool::StopStrings(arguments.stop));
    if (arguments.interactive && arguments.prompt == "-")
      throw std::invalid_argument(
          "--interactive reads standard input, and so does --prompt -: give the prompt as text");
    continue_text(tool::load_model(arguments.model), arguments);
    return 0;
  });
}
