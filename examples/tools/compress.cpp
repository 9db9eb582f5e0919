// qllk-compress: makes a file smaller by a model's predictions.
#include "compress_tool.hpp"
#include "qllk/model/adapter.hpp"

int main(int argc, char** argv) {
  const auto work = [](const qllk::LanguageModel& model, const tool::CompressJob& job,
                       const tool::CompressArguments& arguments) {
    qllk::files::InputFile in = tool::open_input(job.in);
    qllk::files::AtomicFile out = tool::open_output(job.out);
    const auto sizes = model.compress(in, out, tool::CompressProgress(), arguments.adapt ? qllk::kUsualAdaptRate : 0);
    in.check_unchanged();
    out.commit();
    return sizes;
  };
  CLI::App app(
      "Compresses IN to OUT with a model: the better it predicts a byte, the fewer bits the byte costs. "
      "qllk-decompress restores IN with the same model.",
      "qllk-compress");
  return tool::run_compress(app, argc, argv, false, work);
}
