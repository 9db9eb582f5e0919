// The one model in which every mixer is measured.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"
#include "qllk/model/compiled.hpp"

namespace mixer_table {

using qllk::Index;
using Model = qllk::EveryTransformer;
using Mixer = qllk::mixers::Registered<float>;

/// Sizes that all mixers share. Blocks are at one position a byte: patch 1, no byte-level blocks of their own.
struct Shell {
  Index dim = 64;         // of the reference, which others are matched to
  Index layers = 2;       //
  Index context = 512;    // window of mixers that have one: no distance that training has not shown
  bool features = false;  // n-grams, words, matches and recency, as the default model has them
};

/// "attention", or several that the blocks take in turn: "latent+latent+latent+attention".
inline std::vector<std::string> split_mixers(std::string_view name) {
  std::vector<std::string> parts(1);
  for (const char c : name)
    if (c == '+')
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

/// What a mixer recommends, with another window where it has one. Melf's is counted in folds of positions; 0 means no
/// limit.
inline Mixer::Config mixer_config(const std::string& name, Index window) {
  Mixer::Config config = Mixer::Config::named(name);
  std::visit(
      [&](auto& chosen) {
        using Config = std::remove_cvref_t<decltype(chosen)>;
        constexpr Index fold =
            std::is_same_v<Config, qllk::mixers::Melf<float>::Config> ? qllk::mixers::Melf<float>::kFold : 1;
        if constexpr (requires { chosen.window; }) chosen.window = (window + fold - 1) / fold;
      },
      config.value);
  return config;
}

inline Model::Config model_config(const Shell& shell, std::string_view mixers, Index dim, Index hidden) {
  Model::Config config;
  config.dim = config.dim_local = dim;
  config.patch = 1;
  config.encoder = config.decoder = 0;
  config.layers = shell.layers;
  config.hidden = hidden;
  if (!shell.features) config = config.without_features();
  config.mixer.clear();
  for (const std::string& name : split_mixers(mixers)) config.mixer.push_back(mixer_config(name, shell.context));
  return config;
}

/// A model's size without its hash tables, which are the same for all.
inline Index dense_parameters(const Model::Config& config) {
  return qllk::parameter_count(Model(config.without_features()).zeros());
}

/// The configuration of a mixer that comes to as many parameters as the reference.
struct Matched {
  Model::Config config;
  Index parameters;
  double excess;  // over the reference, as a share of it
};

inline constexpr std::string_view kReferenceMixer = "attention";
inline constexpr Index kReferenceHidden = 4;
inline constexpr double kTolerance = 0.05;

/// The Mlp that brings a mixer of this width closest to `reference` parameters.
inline Matched best_hidden(const Shell& shell, std::string_view mixers, Index dim, double reference) {
  Matched best{{}, 0, 1};
  for (Index hidden = 1; hidden <= 2 * kReferenceHidden; ++hidden) {
    Matched candidate{model_config(shell, mixers, dim, hidden), 0, 0};
    candidate.parameters = dense_parameters(candidate.config);
    candidate.excess = static_cast<double>(candidate.parameters) / reference - 1;
    if (std::abs(candidate.excess) < std::abs(best.excess)) best = candidate;
  }
  return best;
}

/// The width closest to the reference's at which some Mlp brings the size within 5 %. Widths in steps of 16 come first:
/// at 72 mixers train 0.56 to 0.75 times as fast as at 64, which their larger size does not explain and is not the
/// mixer's own cost. Throws std::runtime_error if there is none.
inline Matched matched(const Shell& shell, std::string_view mixers) {
  const auto reference =
      static_cast<double>(dense_parameters(model_config(shell, kReferenceMixer, shell.dim, kReferenceHidden)));
  for (const Index step : {16, 8})
    for (Index away = 0; away <= shell.dim / 2; away += step)
      for (const Index dim : {shell.dim + away, shell.dim - away}) {
        const Matched best = best_hidden(shell, mixers, dim, reference);
        if (std::abs(best.excess) <= kTolerance) return best;
      }
  throw std::runtime_error("no width brings '" + std::string(mixers) + "' within 5 % of the reference's parameters");
}

}  // namespace mixer_table
