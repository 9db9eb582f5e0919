// qllk-report: training runs side by side.
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "command_line.hpp"
#include "display.hpp"
#include "metrics.hpp"
#include "output_file.hpp"
#include "qllk/io/safetensors_reader.hpp"
#include "report/page.hpp"
#include "report/picture.hpp"
#include "report/tensorboard.hpp"
#include "report/write.hpp"

namespace {

/// Where it is there, the model file tells what was trained.
void add_configuration(const std::filesystem::path& folder, report::Run& run) {
  std::error_code ignored;
  for (const char* const name : {"training.safetensors", "model.safetensors"}) {
    if (!std::filesystem::exists(folder / name, ignored)) continue;
    const qllk::io::SafetensorsReader file((folder / name).string());
    nlohmann::ordered_json configuration;
    for (const char* const key : {"arch", "optimizer", "budget", "config", "settings"}) {
      const auto found = file.metadata().find(key);
      if (found == file.metadata().end()) continue;
      const auto json = nlohmann::ordered_json::parse(found->second, nullptr, false);
      configuration[key] = json.is_discarded() ? nlohmann::ordered_json(found->second) : json;
    }
    run.configuration = configuration.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
    return;
  }
}

/// RUN is the folder of a run, or its file of metrics.
report::Run read_run(const std::string& path) {
  std::error_code ignored;
  std::filesystem::path metrics = path;
  if (std::filesystem::is_directory(metrics, ignored)) metrics /= "metrics.jsonl";
  report::Run run{.name = tool::visible_line(path), .rows = tool::read_metrics(metrics)};
  if (run.rows.empty()) throw std::runtime_error("'" + metrics.string() + "' has no metrics yet");
  try {
    add_configuration(metrics.parent_path(), run);
  } catch (const std::exception& error) {
    tool::Display().line(std::string("warning: ") + error.what() + ": its configuration is left out");
  }
  return run;
}

/// The run's own folder where that name is its alone, else its number.
std::string event_name(const std::vector<std::string>& paths, std::size_t number) {
  const auto name = [](const std::filesystem::path& path) {
    const auto folder = std::filesystem::absolute(path).lexically_normal();
    const auto last = folder.has_filename() ? folder : folder.parent_path();
    return (std::filesystem::is_directory(path) ? last : last.parent_path()).filename().string();
  };
  const std::string own = name(paths[number]);
  const auto same = std::ranges::count_if(paths, [&](const std::string& path) { return name(path) == own; });
  return same == 1 && !own.empty() ? own : std::to_string(number + 1);
}

/// When a run began, in seconds since 1970, by when its last row was written.
double start_of(const std::filesystem::path& path, const std::vector<tool::MetricsRow>& rows) {
  struct stat status;
  const auto metrics = std::filesystem::is_directory(path) ? path / "metrics.jsonl" : path;
  if (::stat(metrics.c_str(), &status) != 0) return 0;
  return static_cast<double>(status.st_mtime) - rows.back().seconds;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Shows training runs, alone or side by side, in one HTML file. qllk-train writes the metrics.",
               "qllk-report");
  std::vector<std::string> paths;
  std::string out = "qllk-report.html";
  app.add_option("RUN", paths, "Folders of runs, or their metrics.jsonl")->required()->option_text("…");
  app.add_option("--out", out, "The file to write; - is standard output")
      ->type_name("FILE")
      ->default_str("qllk-report.html");
  std::string svg, events;
  auto* const picture =
      app.add_option("--svg", svg, "Write the curves of bits per byte to this SVG file, in place of a page")
          ->type_name("FILE")
          ->excludes("--out");
  app.add_option("--tensorboard", events,
                 "Write the numbers of each run to an event file in this folder, for TensorBoard, in place of a page")
      ->type_name("FOLDER")
      ->excludes(picture)
      ->excludes("--out");
  return tool::run(app, argc, argv, [&] {
    std::vector<report::Run> runs;
    for (const std::string& path : paths) runs.push_back(read_run(path));
    if (!events.empty()) {
      for (std::size_t i = 0; i < runs.size(); ++i)
        report::write_events(events, event_name(paths, i), runs[i].rows, start_of(paths[i], runs[i].rows));
      return 0;
    }
    if (!svg.empty()) {
      report::write(svg, report::kPicture, report::picture(runs));
      return 0;
    }
    const std::string title = runs.size() == 1 ? runs.front().name : std::to_string(runs.size()) + " runs";
    report::write(out, report::kPage, report::page(title, runs));
    return 0;
  });
}
