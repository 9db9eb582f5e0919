// The default model's sizes.
#pragma once

#include <cstddef>
#include <string>
#include <tuple>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/nn/contexts/context.hpp"
#include "qllk/nn/contexts/matches.hpp"

namespace qllk::inline QLLK_ISA {

/// What decides the parameters and the cost of a QLLKTransformer.
template <class Mixer, nn::StreamContext... More>
struct TransformerConfig {
  Index dim_local = 128;                                 // width at the byte level
  Index dim = 256;                                       // width at the patch level
  Index patch = 8;                                       // P, bytes of a patch
  Index encoder = 0;                                     // byte-level blocks before patching
  Index layers = 2;                                      // patch-level blocks
  Index decoder = 2;                                     // byte-level blocks after unpatching
  Index orders = 6;                                      // n-grams up to this many bytes
  Index words = 2;                                       // orders of words
  int bits = 16;                                         // log2 of the rows for each of these orders
  nn::MatchContext::Config match{.lengths = {8, 4, 2}};  // lengths of matches, and their window
  int recency = 16;                                      // log2 of the bytes whose recency counts; 0: none
  int document_start = -1;                               // byte that clears the memory of the stream; -1: none
  /// Block i of a level has mixer i, counted from the front again where there are more blocks.
  std::vector<typename Mixer::Config> mixer_local{Mixer::recommended()};
  /// As mixer_local, of the patch level.
  std::vector<typename Mixer::Config> mixer{Mixer::recommended()};
  Index hidden = 2;                             // width of an Mlp's hidden layer, in multiples of its input's
  std::tuple<typename More::Config...> more{};  // of contexts of your own

  /// What files and command lines name (io/json_members.hpp).
  template <class Self, class F>
  static void members(Self& c, F&& f) {
    f("dim_local", c.dim_local), f("dim", c.dim), f("patch", c.patch), f("encoder", c.encoder), f("layers", c.layers);
    f("decoder", c.decoder), f("orders", c.orders), f("bits", c.bits), f("hidden", c.hidden);
    f("words", c.words, Index{0}), f("match", c.match, nn::MatchContext::Config{}), f("recency", c.recency, 0);
    f("document_start", c.document_start, -1);
    f("mixer_local", c.mixer_local), f("mixer", c.mixer);
  }
  bool operator==(const TransformerConfig&) const = default;

  /// The same model without the memory of the stream: no matches and no recency.
  TransformerConfig without_memory() const {
    TransformerConfig config = *this;
    config.match.lengths.clear();
    config.recency = 0;
    return config;
  }
  /// Nor with n-grams and words: what its mixers can do alone.
  TransformerConfig without_features() const {
    TransformerConfig config = without_memory();
    config.orders = 1;
    config.words = 0;
    return config;
  }
};

/// The configurations of a level's blocks. Throws std::invalid_argument if there is no mixer or count is negative.
template <class Block, class MixerConfig>
std::vector<typename Block::Config> level_blocks(const char* name, const std::vector<MixerConfig>& mixers, Index count,
                                                 Index dim, Index hidden) {
  if (count < 0)
    throw InvalidArgument(std::string("QLLKTransformer: ") + name + " is " + std::to_string(count) + ", expected >= 0");
  if (mixers.empty()) throw InvalidArgument(std::string("QLLKTransformer: no mixer for ") + name);
  std::vector<typename Block::Config> blocks;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
    blocks.push_back({.mixer = mixers[i % mixers.size()], .dim = dim, .hidden = hidden});
  return blocks;
}

}  // namespace qllk::inline QLLK_ISA
