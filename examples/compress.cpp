// qllk-compress: makes a file smaller by a model's predictions.
#include "qllk/compress/compressor.hpp"

#include <variant>

#include "compress_tool.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/io/model_file.hpp"

int main(int argc, char** argv) {
  const auto work = [](const tool::CompressArguments& arguments) {
    qllk::files::InputFile in(arguments.in);
    qllk::files::AtomicFile out(arguments.out);
    const auto loaded = qllk::io::load_model(arguments.model);
    tool::CompressProgress progress(in.size());
    const auto sizes = std::visit(
        [&](const auto& stored) { return qllk::compress::compress(stored.model, stored.params, in, out, progress); },
        loaded);
    in.check_unchanged();
    out.commit();
    return sizes;
  };
  return tool::run_compress(
      "qllk-compress",
      "Compresses IN to OUT: a byte costs as many bits as it surprises the model. qllk-decompress, "
      "with the same model, gives it back.",
      argc, argv, false, work);
}
