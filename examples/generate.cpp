// qllk-generate: goes on where a prompt ends.
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "command_line.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/linalg/int8_matrix.hpp"
#include "tool.hpp"

int main(int argc, char** argv) {
  using namespace qllk;
  CLI::App app(
      "Continues a prompt with a model. Standard output gets the continuation, byte by byte as it is made, without the "
      "prompt and with nothing added.",
      "qllk-generate");
  std::string model_file, prompt;
  std::uint64_t bytes = 512, seed = 1;
  generate::Sampler::Config config;
  app.add_option("--model", model_file, "Model file that qllk-train made")->required()->type_name("FILE");
  app.add_option("--prompt", prompt,
                 "Text to continue, of any bytes and any length; - reads it from standard input. Default: empty")
      ->type_name("TEXT");
  using tool::add_number, tool::Range;
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  add_number(app, "--bytes", bytes, Range<std::uint64_t>{0, 1'000'000'000'000'000}, "How many bytes to make")
      ->default_str("512");
  add_number(app, "--temperature", config.temperature, Range<double>{0, 1e6},
             "Below 1 the likely gets likelier; 0 always takes the likeliest")
      ->default_str("1")
      ->type_name("T");
  add_number(app, "--top-k", config.top_k, Range<Index>{0, kByteValues},
             "Draw from the K likeliest bytes only; 0: from all")
      ->default_str("0")
      ->type_name("K");
  add_number(app, "--top-p", config.top_p, Range<double>{0, 1, true},
             "Draw from the likeliest bytes that have probability P together")
      ->default_str("1")
      ->type_name("P");
  add_number(app, "--seed", seed, Range<std::uint64_t>{0, kMost}, "The same seed gives the same bytes")
      ->default_str("1");
  bool int8 = false;
  app.add_flag("--int8", int8, "Round weights to 8 bits: faster, in a quarter of the memory, a little less exact");
  return tool::run(app, argc, argv, [&] {
    const generate::Sampler sampler(config);
    auto any = io::load_model(model_file);
    files::SharedBytes input;
    if (prompt == "-") input = files::InputFile::standard_input().contents();
    const Bytes text = prompt == "-" ? input.bytes : Bytes(reinterpret_cast<const Byte*>(prompt.data()), prompt.size());
    std::visit(
        [&](auto& stored) {
          using Model = typename std::remove_cvref_t<decltype(stored)>::Model;
          const auto write = [&](const auto& params) {
            generate::Generator generator(stored.model, params);
            Random random(seed);
            generator.feed(text);
            for (std::uint64_t i = 0; i < bytes; ++i) {
              const Byte byte = generator.next(sampler, random);
              tool::write_stdout(Bytes(&byte, 1));
            }
          };
          if (int8)
            write(to_int8<Model>(std::move(stored.params)));
          else
            write(stored.params);
        },
        any);
    if (isatty(STDOUT_FILENO) != 0 && bytes > 0)
      tool::write_all(STDERR_FILENO, "\n");  // so that a shell's prompt begins a line
    return 0;
  });
}
