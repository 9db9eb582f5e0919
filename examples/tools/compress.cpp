// qllk-compress: makes a file smaller by a model's predictions.
#include "compress_tool.hpp"

int main(int argc, char** argv) {
  const auto work = [](const qllk::LanguageModel& model, const tool::CompressJob& job) {
    qllk::files::InputFile in = tool::open_input(job.in);
    qllk::files::AtomicFile out = tool::open_output(job.out);
    const auto sizes = model.compress(in, out, tool::CompressProgress());
    in.check_unchanged();
    out.commit();
    return sizes;
  };
  CLI::App app(
      "Compresses IN to OUT: a byte costs as many bits as it surprises the model. qllk-decompress, with the same "
      "model, "
      "gives it back.",
      "qllk-compress");
  return tool::run_compress(app, argc, argv, false, work);
}
