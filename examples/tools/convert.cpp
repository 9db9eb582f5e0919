// qllk-convert: a model file in half the bytes, or in full again.
#include <filesystem>
#include <map>
#include <string>

#include "command_line.hpp"
#include "display.hpp"
#include "model_path.hpp"
#include "qllk/io/convert.hpp"
#include "qllk/io/safetensors_reader.hpp"
#include "qllk/io/tensor_form.hpp"
#include "tool.hpp"

namespace {

using qllk::io::Dtype;

const std::map<std::string, Dtype> kNumbers{
    {"float16", Dtype::F16}, {"bfloat16", Dtype::BF16}, {"float32", Dtype::F32}};

int convert(const std::string& in, const std::string& out, const std::string& numbers) {
  const qllk::io::SafetensorsReader file(in);
  const auto format = file.metadata().find("format");
  if (format != file.metadata().end() && format->second == "qllk-training")
    file.fail("is a training checkpoint, which must keep every bit: convert model.safetensors in the same folder");
  file.verify();
  qllk::io::convert(file, out, kNumbers.at(numbers));
  tool::Display().line("'" + in + "' " + tool::readable_bytes(static_cast<double>(std::filesystem::file_size(in))) +
                       ", '" + out + "' " + tool::readable_bytes(static_cast<double>(std::filesystem::file_size(out))));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Writes a model file with its numbers in another size: 16 bits take half the room on disk, and every tool reads "
      "them. The weights are rounded; in memory all tools compute with 32 bits.",
      "qllk-convert");
  std::string in, out, numbers = "float16";
  app.add_option("IN", in, "The model file, or the folder of a run")->required()->option_text(" ");
  app.add_option("OUT", out, "The file to write")->required()->option_text(" ");
  app.add_option("--to", numbers, "float16 (11 significant bits), bfloat16 (8) or float32. Default: float16")
      ->check(CLI::IsMember({"float16", "bfloat16", "float32"}))
      ->type_name("TYPE");
  return tool::run(app, argc, argv, [&] { return convert(tool::model_path(in), out, numbers); });
}
