// qllk-generate: continues a prompt.
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <string>

#include "command_line.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/language_model.hpp"
#include "tool.hpp"

int main(int argc, char** argv) {
  using namespace qllk;
  CLI::App app(
      "Continues a prompt with a model. Standard output gets the continuation, byte by byte as it is made, without the "
      "prompt and with nothing added.",
      "qllk-generate");
  std::string model_file, prompt;
  std::uint64_t bytes = 512;
  GenerationOptions options{.temperature = 1};
  app.add_option("--model", model_file, "Model file that qllk-train made")->required()->type_name("FILE");
  app.add_option("--prompt", prompt,
                 "Text to continue, of any bytes and any length; - reads it from standard input. Default: empty")
      ->type_name("TEXT");
  using tool::add_number, tool::Range;
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  add_number(app, "--bytes", bytes, Range<std::uint64_t>{0, 1'000'000'000'000'000}, "How many bytes to make")
      ->default_str("512");
  add_number(app, "--temperature", options.temperature, Range<double>{0, 1e6},
             "Below 1 the likely gets likelier; 0 always takes the likeliest")
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
  add_number(app, "--seed", options.seed, Range<std::uint64_t>{0, kMost}, "The same seed gives the same bytes")
      ->default_str("1");
  app.add_flag("--int8", options.int8,
               "Round weights to 8 bits: faster, in a quarter of the memory, a little less exact");
  return tool::run(app, argc, argv, [&] {
    const auto model = LanguageModel::load(model_file);
    files::SharedBytes input;
    if (prompt == "-") {
      input = files::InputFile::standard_input().contents();
      prompt.assign(input.bytes.begin(), input.bytes.end());
    }
    model.generate(prompt, bytes, options, [](Byte byte) { tool::write_stdout(Bytes(&byte, 1)); });
    if (isatty(STDOUT_FILENO) != 0 && bytes > 0)
      tool::write_all(STDERR_FILENO, "\n");  // so that a shell's prompt begins a line
    return 0;
  });
}
