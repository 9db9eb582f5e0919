// qllk-generate: goes on where a prompt ends.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "command_line.hpp"
#include "qllk/core/int8_matrix.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/io/input_file.hpp"
#include "qllk/io/model_file.hpp"
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
  app.add_option("--bytes", bytes, "How many bytes to make")
      ->capture_default_str()
      ->check(tool::not_negative)
      ->type_name("N");
  app.add_option("--temperature", config.temperature, "Below 1 the likely gets likelier; 0 always takes the likeliest")
      ->capture_default_str()
      ->type_name("T");
  app.add_option("--top-k", config.top_k, "Draw from the K likeliest bytes only; 0: from all")
      ->capture_default_str()
      ->type_name("K");
  app.add_option("--top-p", config.top_p, "Draw from the likeliest bytes that have probability P together")
      ->capture_default_str()
      ->type_name("P");
  app.add_option("--seed", seed, "The same seed gives the same bytes")
      ->capture_default_str()
      ->check(tool::not_negative)
      ->type_name("N");
  bool int8 = false;
  app.add_flag("--int8", int8, "Round weights to 8 bits: faster, in a quarter of the memory, a little less exact");
  return tool::run(app, argc, argv, [&] {
    const generate::Sampler sampler(config);
    auto any = io::load_model(model_file);
    io::SharedBytes input;
    if (prompt == "-") input = io::InputFile::standard_input().contents();
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
    if (isatty(STDOUT_FILENO) != 0 && bytes > 0) std::fputc('\n', stderr);  // so that a shell's prompt begins a line
    return 0;
  });
}
