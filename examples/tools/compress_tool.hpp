// What qllk-compress and qllk-decompress share: arguments, progress, interruption, the result.
#pragma once

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "command_line.hpp"
#include "display.hpp"
#include "interrupt.hpp"
#include "model.hpp"
#include "output_file.hpp"
#include "qllk/language_model.hpp"
#include "tool.hpp"

namespace tool {

/// One file to read and one to write.
struct CompressJob {
  std::string in, out;
  bool named_here = false;  // OUT was not given, but follows from IN

  /// Throws std::runtime_error if OUT is one of the files that are read, by this job or another.
  void check_apart(const std::vector<std::string>& files) const {
    std::error_code ignored;  // what is not there is not the same
    const std::string written = is_standard_output(out) ? "/dev/stdout" : out;
    for (const std::string& given : files) {
      const std::string read = given == "-" ? "/dev/stdin" : given;
      if (read != written && !std::filesystem::equivalent(read, written, ignored)) continue;
      if (std::filesystem::is_regular_file(read, ignored) || !std::filesystem::exists(read, ignored))
        throw std::runtime_error("OUT '" + out + "' is the same file as '" + given + "', which is read: name another");
    }
  }
};

/// The command line: IN OUT; IN alone; or, with --suffix, several of them. IN is always kept.
struct CompressArguments {
  std::string model, in;
  std::vector<std::string> rest;  // OUT, or further files to read
  std::optional<std::string> suffix;
  bool to_stdout = false, overwrites = false, adapt = false;

  void add_to(CLI::App& app, bool decompresses) {
    if (!decompresses)
      app.add_flag(
          "--adapt", adapt,
          "Let the model's hashed rows learn from the text on the way: smaller, slower, with memory for a copy of "
          "the model on both sides");
    app.add_option("--model", model, "The model file, the same on both sides, or the folder of a run")
        ->required()
        ->option_text("FILE REQUIRED");
    app.add_option("IN", in, "The file to read, which is kept; - is standard input")->required()->option_text(" ");
    app.add_option("OUT", rest,
                   "The file to write: it appears complete or not at all, and replaces an old one. Pipes and devices "
                   "are written to as the bytes come; - is standard output, and the sizes go to standard error then. "
                   "Default: " +
                       std::string(decompresses ? "IN without .qllk" : "IN.qllk") + ", or - for -")
        ->option_text(" ");
    app.add_flag("-c", to_stdout, "Write to standard output, as OUT - does");
    app.add_flag("-f", overwrites, "Replace files that are there, where OUT is not given");
    app.add_option("--suffix", suffix,
                   std::string("All files named are read; each is written to its name ") +
                       (decompresses ? "without SUFFIX" : "with SUFFIX"))
        ->type_name("SUFFIX");
  }

  /// Throws std::invalid_argument if what is to be written is not clear, std::runtime_error if it would replace what
  /// nobody named.
  std::vector<CompressJob> jobs(bool decompresses) const {
    std::vector<CompressJob> jobs;
    if (suffix) {
      if (suffix->empty()) throw std::invalid_argument("--suffix is empty, expected the end of a name, as .qllk");
      if (to_stdout) throw std::invalid_argument("-c writes one stream, --suffix files: leave one of them out");
      jobs.push_back(by_name(in, *suffix, decompresses));
      for (const std::string& path : rest) jobs.push_back(by_name(path, *suffix, decompresses));
    } else if (rest.size() > 1) {
      throw std::invalid_argument("there are " + std::to_string(rest.size() + 1) +
                                  " files, expected IN and OUT; for several files to read, add --suffix .qllk");
    } else if (!rest.empty()) {
      if (to_stdout) throw std::invalid_argument("-c writes to standard output, but OUT is '" + rest.front() + "'");
      jobs.push_back({in, rest.front()});
    } else {
      jobs.push_back(to_stdout || in == "-" ? CompressJob{in, "-"} : by_name(in, ".qllk", decompresses));
    }
    std::vector<std::string> read{model};
    for (const CompressJob& job : jobs) read.push_back(job.in);
    for (const CompressJob& job : jobs) {
      job.check_apart(read);
      check_unused(job);
    }
    return jobs;
  }

 private:
  static CompressJob by_name(const std::string& path, const std::string& end, bool decompresses) {
    if (path == "-") throw std::invalid_argument("standard input has no name to add --suffix to: give it alone");
    if (!decompresses) return {path, path + end, true};
    const auto name = std::filesystem::path(path).filename().string();
    if (!name.ends_with(end) || name.size() == end.size())
      throw std::invalid_argument("'" + path + "' does not end in " + end + ": give OUT");
    return {path, path.substr(0, path.size() - end.size()), true};
  }

  void check_unused(const CompressJob& job) const {
    std::error_code ignored;
    if (job.named_here && !overwrites && std::filesystem::exists(job.out, ignored))
      throw std::runtime_error("'" + job.out + "' is there already: -f replaces it");
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

/// The result of a job, where people or programs look for it.
inline void print_sizes(const CompressJob& job, const qllk::compress::Sizes& sizes, bool decompresses) {
  nlohmann::ordered_json json;
  if (job.named_here) {
    set_text(json, "in", job.in);
    set_text(json, "out", job.out);
  }
  json["bytes_in"] = decompresses ? sizes.compressed : sizes.original;
  json["bytes_out"] = decompresses ? sizes.original : sizes.compressed;
  json["bits_per_byte"] = sizes.bits_per_byte();
  if (is_standard_output(job.out))
    Display().line(json.dump());
  else
    print_json(json);
}

/// The whole program: work(model, job, arguments) writes a file and returns the sizes of both sides.
template <class Work>
int run_compress(CLI::App& app, int argc, char** argv, bool decompresses, Work&& work) {
  CompressArguments arguments;
  arguments.add_to(app, decompresses);
  return run(app, argc, argv, [&] {
    Interrupt::watch();
    signal(SIGPIPE, SIG_IGN);  // whoever reads the progress may leave; of the result it is an error like others
    const auto jobs = arguments.jobs(decompresses);
    const auto model = load_model(arguments.model);
    for (const CompressJob& job : jobs) try {
        print_sizes(job, work(model, job, arguments), decompresses);
      } catch (const Interrupted&) {
        Display().line(app.get_name() + ": interrupted: '" + job.out + "' is not written");
        return Interrupt::exit_status();
      }
    return 0;
  });
}

}  // namespace tool
