// qllk-compress: makes a file smaller by a model's predictions.
#include "compress_tool.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  const auto work = [](const tool::CompressArguments& arguments) {
    qllk::files::InputFile in = tool::open_input(arguments.in);
    qllk::files::AtomicFile out = tool::open_output(arguments.out);
    const auto model = tool::load_model(arguments.model);
    const auto sizes = model.compress(in, out, tool::CompressProgress());
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
