// qllk-decompress: undoes qllk-compress.
#include "compress_tool.hpp"

int main(int argc, char** argv) {
  const auto work = [](const tool::CompressArguments& arguments) {
    const auto in = qllk::files::InputFile(arguments.in).contents();
    qllk::files::AtomicFile out(arguments.out);
    const auto model = qllk::LanguageModel::load(arguments.model);
    const auto sizes = model.decompress(in.bytes, out, tool::CompressProgress(), "'" + arguments.in + "'");
    out.commit();
    return sizes;
  };
  return tool::run_compress("qllk-decompress",
                            "Writes to OUT the file that qllk-compress compressed to IN with the same model.", argc,
                            argv, true, work);
}
