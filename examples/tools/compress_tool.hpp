// What qllk-compress and qllk-decompress share: arguments, progress, interruption, the result.
#pragma once

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

#include "command_line.hpp"
#include "display.hpp"
#include "interrupt.hpp"
#include "output_file.hpp"
#include "qllk/language_model.hpp"
#include "tool.hpp"

namespace tool {

struct CompressArguments {
  std::string model, in, out;

  void add_to(CLI::App& app) {
    app.add_option("--model", model, "The model file, the same on both sides")->required()->option_text("FILE");
    app.add_option("IN", in, "The file to read; - is standard input")->required()->option_text(" ");
    app.add_option("OUT", out,
                   "The file to write: it appears complete or not at all, and replaces an old one. Pipes and devices "
                   "are written to as the bytes come; - is standard output, and the sizes go to standard error then")
        ->required()
        ->option_text(" ");
  }

  /// Throws std::runtime_error if OUT is one of the files that are read.
  void check_apart() const {
    std::error_code ignored;  // what is not there is not the same
    const std::string written = is_standard_output(out) ? "/dev/stdout" : out;
    for (const std::string& given : {in, model}) {
      const std::string read = given == "-" ? "/dev/stdin" : given;
      if (read != written && !std::filesystem::equivalent(read, written, ignored)) continue;
      if (std::filesystem::is_regular_file(read, ignored) || !std::filesystem::exists(read, ignored))
        throw std::runtime_error("OUT '" + out + "' is the same file as '" + given + "', which is read: name another");
    }
  }
};

/// Rate and time left on standard error, of the bytes of the original.
class CompressProgress {
 public:
  void operator()(std::uint64_t done, std::uint64_t all) const {
    if (Interrupt::requested()) throw Interrupted();
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (seconds < 1) return;  // of short work, nothing
    const double rate = static_cast<double>(done) / seconds;
    const double share = all > 0 ? static_cast<double>(done) / static_cast<double>(all) : 0;
    display_->progress(share, [&] {
      std::string text = readable_bytes(static_cast<double>(done));
      if (all > 0) text += " of " + readable_bytes(static_cast<double>(all));
      text += ", " + readable_bytes(rate) + "/s";
      if (all >= done) text += ", " + clock_text(static_cast<double>(all - done) / rate) + " left";
      return text;
    });
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
  std::shared_ptr<Display> display_ = std::make_shared<Display>();
};

/// The whole program: work(arguments) returns the sizes of both sides.
template <class Work>
int run_compress(const std::string& name, const std::string& description, int argc, char** argv, bool decompresses,
                 Work&& work) {
  CLI::App app(description, name);
  CompressArguments arguments;
  arguments.add_to(app);
  return run(app, argc, argv, [&] {
    Interrupt::watch();
    signal(SIGPIPE, SIG_IGN);  // whoever reads the progress may leave; of the result it is an error like others
    arguments.check_apart();
    const bool streams = is_standard_output(arguments.out);
    try {
      const qllk::compress::Sizes sizes = work(arguments);
      const nlohmann::ordered_json json{{"bytes_in", decompresses ? sizes.compressed : sizes.original},
                                        {"bytes_out", decompresses ? sizes.original : sizes.compressed},
                                        {"bits_per_byte", sizes.bits_per_byte()}};
      if (streams)
        Display().line(json.dump());
      else
        print_json(json);
      return 0;
    } catch (const Interrupted&) {
      Display().line(name + ": interrupted: '" + arguments.out + "' is not written");
      return Interrupt::exit_status();
    }
  });
}

}  // namespace tool
