// qllk-classify: which of several models explains a text best.
#include <signal.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "command_line.hpp"
#include "display.hpp"
#include "model.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/files/machine.hpp"
#include "qllk/language_model.hpp"
#include "text.hpp"
#include "tool.hpp"

namespace {

struct Class {
  std::string name;
  qllk::LanguageModel model;
};

struct Arguments {
  std::vector<std::string> models, data;
  std::optional<std::uint64_t> first;
  int threads = qllk::files::Machine().processors();

  void add_to(CLI::App& app) {
    app.add_option("--model", models, "A class and the model file, or run folder, of its texts; two of them at least")
        ->required()
        ->allow_extra_args(false)
        ->type_name("NAME=FILE");
    app.add_option(
           "--data", data,
           "Text: a file, a folder (each file in it is a text), or - for standard input. May be given several times")
        ->required()
        ->allow_extra_args(false)
        ->type_name("PATH");
    tool::add_number(app, "--first", first, tool::Range<std::uint64_t>{1, std::numeric_limits<std::uint64_t>::max()},
                     "Read the first N bytes of each text only. Default: all of them");
    tool::add_number(app, "--threads", threads, tool::kThreads,
                     "Threads, which share the models; no score depends on it. Default: all processors");
  }
};

/// Throws before anything is read if the models do not fit in memory together.
void expect_fits(const std::vector<std::pair<std::string, std::string>>& named) {
  std::uint64_t needed = 0;
  for (const auto& [name, file] : named) {
    std::error_code error;
    if (const std::uint64_t size = std::filesystem::file_size(file, error); !error) needed += size;
  }
  const std::uint64_t available = qllk::files::Machine().available_memory();
  if (needed > available)
    throw std::runtime_error("the " + std::to_string(named.size()) + " models need " +
                             tool::readable_bytes(static_cast<double>(needed)) + " of memory, but " +
                             tool::readable_bytes(static_cast<double>(available)) +
                             " are available: give fewer or smaller ones");
}

std::vector<Class> load_classes(const std::vector<std::string>& models) {
  std::vector<std::pair<std::string, std::string>> named;
  std::set<std::string> names;
  for (const std::string& model : models) {
    const std::size_t equals = model.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == model.size())
      throw std::invalid_argument("--model is '" + model + "', expected NAME=FILE");
    named.emplace_back(model.substr(0, equals), model.substr(equals + 1));
    if (!names.insert(named.back().first).second)
      throw std::invalid_argument("--model names '" + named.back().first + "' twice");
  }
  if (named.size() < 2) throw std::invalid_argument("--model is given once, expected two classes at least");
  expect_fits(named);
  std::vector<Class> classes;
  for (const auto& [name, file] : named) classes.push_back({name, tool::load_model(file)});
  return classes;
}

/// The texts that a path names: of a folder every file that a training would read.
std::vector<std::string> texts_of(const std::vector<std::string>& paths, tool::Display& display) {
  std::vector<std::string> texts;
  for (const std::string& path : paths) {
    std::error_code ignored;
    if (path == "-" || !std::filesystem::is_directory(path, ignored)) {
      texts.push_back(path);
      continue;
    }
    const auto all = qllk::Corpus::open(path);
    tool::warn_of_skipped(display, all);
    texts.insert(texts.end(), all.sources().begin(), all.sources().end());
  }
  if (std::count(texts.begin(), texts.end(), "-") > 1)
    throw std::invalid_argument("standard input ('-') is asked for twice, but can be read once only");
  return texts;
}

/// Bits per byte of a text by each class; fewer than all if there was an interrupt.
std::vector<double> score(const std::vector<Class>& classes, const qllk::Corpus& text, qllk::ThreadPool& pool) {
  std::vector<double> bits(classes.size());
  pool.run(static_cast<qllk::Index>(classes.size()), [&](qllk::Index i) {
    const auto at = static_cast<std::size_t>(i);
    const auto go_on = [](const qllk::Score&) { return !tool::Interrupt::requested(); };
    bits[at] = classes[at].model.score(text, {.threads = 1, .on_progress = go_on}).bits_per_byte();
  });
  return bits;
}

nlohmann::ordered_json to_json(const std::string& text, const std::vector<Class>& classes,
                               const std::vector<double>& bits, std::size_t best) {
  nlohmann::ordered_json out, all;
  double second = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < classes.size(); ++i) {
    all[classes[i].name] = bits[i];
    if (i != best) second = std::min(second, bits[i]);
  }
  tool::set_text(out, "text", text);
  out["class"] = classes[best].name;
  out["margin"] = second - bits[best];
  out["bits_per_byte"] = all;
  return out;
}

int classify(const Arguments& arguments) {
  tool::Display display;
  const auto classes = load_classes(arguments.models);
  const auto texts = texts_of(arguments.data, display);
  qllk::ThreadPool pool(std::min(arguments.threads, static_cast<int>(classes.size())));
  std::vector<std::uint64_t> counts(classes.size());
  display.begin();
  for (std::size_t done = 0; done < texts.size(); ++done) {
    display.progress(static_cast<double>(done) / static_cast<double>(texts.size()),
                     [&] { return tool::grouped(done) + " of " + tool::grouped(texts.size()) + " texts"; });
    const auto text = qllk::Corpus::open(texts[done]);
    const auto bits = score(classes, text.slice(0, std::min(arguments.first.value_or(text.size()), text.size())), pool);
    if (tool::Interrupt::requested()) return tool::Interrupt::exit_status();
    const auto best = static_cast<std::size_t>(std::min_element(bits.begin(), bits.end()) - bits.begin());
    ++counts[best];
    display.clear();
    tool::print_json(to_json(texts[done], classes, bits, best));
  }
  if (texts.size() == 1) return 0;
  nlohmann::ordered_json all;
  for (std::size_t i = 0; i < classes.size(); ++i) all[classes[i].name] = counts[i];
  tool::print_json({{"texts", texts.size()}, {"classes", all}});
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Tells which of several models explains a text best: the one for which it costs the fewest bits per byte. Train "
      "one model for each class of texts: languages, authors, kinds of logs. Prints one JSON object for each text. Of "
      "several texts, another object has the number of texts of each class.",
      "qllk-classify");
  Arguments arguments;
  arguments.add_to(app);
  return tool::run(app, argc, argv, [&] {
    tool::Interrupt::watch();
    signal(SIGPIPE, SIG_IGN);  // whoever reads the progress may leave
    return classify(arguments);
  });
}
