// What a trainer is made of: the recipe, what the options change in it, or what a checkpoint has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "display.hpp"
#include "overrides.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/fit.hpp"
#include "qllk/train/speed.hpp"
#include "tool.hpp"
#include "train/choices.hpp"
#include "train/options.hpp"

namespace train_tool {

template <class Model>
struct Picks {
  typename Model::Config config;
  train::TrainerSettings settings;
};

/// Throws std::invalid_argument unless there is text for one sequence.
inline void check_length(const data::Corpus& text, Index context) {
  if (text.size() > static_cast<std::uint64_t>(context)) return;
  throw std::invalid_argument("the training text has " + std::to_string(text.size()) + " bytes, but --context " +
                              std::to_string(context) + " needs " + std::to_string(context) +
                              " and one more: give more text, or a smaller --context");
}

/// Makes them fit in --memory beside `text` bytes of text, and says what they hold.
template <class Model>
void fit_picks(const Options& options, double text, Picks<Model>& picks, tool::Display& display) {
  if (options.chunk) throw std::invalid_argument("--memory picks the chunk: leave out --chunk, or --memory");
  constexpr double kLeast = 1e6;
  if (*options.memory < kLeast)
    throw std::invalid_argument("--memory is " + number(*options.memory, 0) +
                                " bytes, expected at least a million: give it as 300M or 2G");
  const bool tables = !options.config.empty() || std::ranges::any_of(options.set, [](const std::string& member) {
    return member.rfind("bits=", 0) == 0;
  });
  if (text >= *options.memory)
    throw std::invalid_argument("--memory is " + tool::readable_bytes(*options.memory) + ", but the text alone takes " +
                                tool::readable_bytes(text));
  train::give_back_freed_memory();  // of what is only tried out
  const double held = train::fit<Model>(*options.memory - text, {.batch = options.batch.has_value(), .tables = tables},
                                        picks.config, picks.settings);
  std::string line = "budget      " + tool::readable_bytes(*options.memory) + ": holds " +
                     tool::readable_bytes(held + text) + " at most, with batches of " +
                     std::to_string(picks.settings.batch);
  if constexpr (requires { picks.config.bits; }) line += ", tables of 2^" + std::to_string(picks.config.bits) + " rows";
  display.line(line +
               (picks.settings.chunk > 0
                    ? ", chunks of " + grouped(static_cast<std::uint64_t>(picks.settings.chunk)) + " bytes"
                    : ", whole sequences") +
               (picks.settings.borders > 0 ? ", " + std::to_string(picks.settings.borders) + " states kept" : ""));
}

/// By the recipe and the options.
template <class Model>
Picks<Model> new_picks(const Options& options, const tool::Texts& texts, const train::Budget& budget,
                       tool::Display& display) {
  const data::Corpus& text = texts.training;
  const train::Wanted wanted{.batch = options.batch, .context = options.context, .precision = precision_of(options)};
  auto [config, settings] = options.memory  // which a measurement would not keep to
                                ? train::recipe(std::type_identity<Model>{}, text.size(), budget, wanted)
                                : train::measured_recipe<Model>(text, budget, options.threads, wanted);
  settings.seed = options.seed.value_or(settings.seed);
  if (options.mixer) set_mixers(config, *options.mixer);
  tool::override_picks(options.config, options.set, config, settings);
  if (options.chunk) settings.chunk = *options.chunk;
  if (options.carry) settings.crops = train::Crops::consecutive;
  check_length(text, settings.context);
  Picks<Model> picks{config, settings};
  if (options.memory) fit_picks(options, static_cast<double>(texts.bytes_in_memory()), picks, display);
  return picks;
}

/// Those of the run to continue. Throws std::invalid_argument if the options disagree with them.
template <class Model>
Picks<Model> picks_of(const train::Checkpoint& checkpoint, const Options& options) {
  const train::TrainerSettings& settings = checkpoint.settings();
  const Model model = checkpoint.model<Model>();
  agree("--batch", options.batch, settings.batch);
  agree("--context", options.context, settings.context);
  agree("--chunk", options.chunk, settings.chunk);
  if (options.carry && settings.crops != train::Crops::consecutive)
    throw std::invalid_argument("--carry is given, but the run to continue has random places; leave it out");
  agree("--seed", options.seed, settings.seed);
  if (options.precision && precision_of(options) != settings.precision)
    agree("--precision", options.precision, io::to_json(settings).at("precision").template get<std::string>());
  if (options.mixer) agree("--mixer", options.mixer, mixers_of(model.config()));
  return {model.config(), settings};
}

}  // namespace train_tool
