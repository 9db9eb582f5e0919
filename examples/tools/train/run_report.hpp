// report.html of a run.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "build_info.hpp"
#include "byte_bits.hpp"
#include "display.hpp"
#include "metrics.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/io/architectures.hpp"
#include "qllk/io/json_members.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/trainer.hpp"
#include "report/page.hpp"
#include "report/write.hpp"
#include "run_files.hpp"
#include "train/choices.hpp"
#include "train/introduction.hpp"

namespace train_tool {

/// What a run is made of; its history and its text are still to come.
template <class Model>
report::Run describe(const train::Trainer<Model>& trainer, const tool::Texts& texts, const tool::TextSources& sources,
                     const HeldOutFacts& facts) {
  const auto bytes = [](std::uint64_t count) { return tool::grouped(count) + " bytes"; };
  report::Run run;
  run.facts = {
      {"model", std::string(io::Architecture<Model>::name) + ", " +
                    tool::grouped(static_cast<std::uint64_t>(parameter_count(trainer.params()))) + " parameters"},
      {"text", tool::visible_line(sources.description())},
      {"trained on", bytes(texts.training.size())},
      {"held out", bytes(texts.validation.size()) + ", order-0 entropy " + number(facts.order0) + ", " +
                       number(100 * facts.overlap, 1) + " % of it in the training text too"},
      {"batch",
       std::to_string(trainer.settings().batch) + " × " + std::to_string(trainer.settings().context) + " bytes"},
      {"machine", std::to_string(trainer.threads()) + " threads, compiled for " + tool::instruction_set()}};
  run.configuration =
      io::Json{{"config", io::to_json(trainer.model().config())}, {"settings", io::to_json(trainer.settings())}}.dump(
          2);
  return run;
}

/// The file is written anew each time. That it cannot be written is a warning, once: nothing that people look at may
/// end a training.
class RunReport {
 public:
  RunReport(report::Run description, tool::Display& display) : run_(std::move(description)), display_(display) {}

  /// text() gives a piece of held-out text with its costs. Without rows there is nothing to show yet: a run that is
  /// continued may have lost its metrics.
  template <class Text>
  void write(const tool::RunFolder& folder, const std::vector<tool::MetricsRow>& rows, Text&& text) {
    if (rows.empty()) return;
    try {
      run_.rows = rows;
      try {
        run_.text = text();
      } catch (const std::exception&) {  // as when its file was cut short: the piece of before stays
      }
      const std::string title = "qllk-train: " + tool::visible_line(folder.path.string());
      report::write(folder.report().string(), report::kPage, report::page(title, {run_}));
    } catch (const std::exception& error) {
      if (!warned_) display_.line(std::string("warning: the report of the run is not written: ") + error.what());
      warned_ = true;
    }
  }

 private:
  report::Run run_;
  tool::Display& display_;
  bool warned_ = false;
};

}  // namespace train_tool
