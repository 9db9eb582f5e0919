// qllk-decompress: undoes qllk-compress.
#include "compress_tool.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  const auto work = [](const tool::CompressArguments& arguments) {
    const auto in = tool::open_input(arguments.in).contents();
    qllk::files::AtomicFile out = tool::open_output(arguments.out);
    const auto model = tool::load_model(arguments.model);
    const auto sizes = model.decompress(in.bytes, out, tool::CompressProgress(), "'" + arguments.in + "'");
    out.commit();
    return sizes;
  };
  return tool::run_compress("qllk-decompress",
                            "Writes to OUT the file that qllk-compress compressed to IN with the same model.", argc,
                            argv, true, work);
}
