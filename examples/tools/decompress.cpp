// qllk-decompress: undoes qllk-compress.
#include "compress_tool.hpp"

int main(int argc, char** argv) {
  const auto work = [](const qllk::LanguageModel& model, const tool::CompressJob& job, const tool::CompressArguments&) {
    const auto in = tool::open_input(job.in).contents();
    qllk::files::AtomicFile out = tool::open_output(job.out);
    const auto sizes = model.decompress(in.bytes, out, tool::CompressProgress(), "'" + job.in + "'");
    out.commit();
    return sizes;
  };
  CLI::App app("Restores the file that qllk-compress compressed to IN with the same model, and writes it to OUT.",
               "qllk-decompress");
  return tool::run_compress(app, argc, argv, true, work);
}
