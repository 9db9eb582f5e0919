// qllk-decompress: undoes qllk-compress.
#include <string>
#include <variant>

#include "compress_tool.hpp"
#include "qllk/compress/compressor.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/io/model_file.hpp"

int main(int argc, char** argv) {
  const auto work = [](const tool::CompressArguments& arguments) {
    const auto in = qllk::files::InputFile(arguments.in).contents();
    qllk::files::AtomicFile out(arguments.out);
    const auto loaded = qllk::io::load_model(arguments.model);
    tool::CompressProgress progress;
    const std::string name = "'" + arguments.in + "'";
    const auto sizes = std::visit(
        [&](const auto& stored) {
          return qllk::compress::decompress(stored.model, stored.params, in.bytes, out, progress, name);
        },
        loaded);
    out.commit();
    return sizes;
  };
  return tool::run_compress("qllk-decompress",
                            "Writes to OUT the file that qllk-compress compressed to IN with the same model.", argc,
                            argv, true, work);
}
