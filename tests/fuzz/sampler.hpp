// Settings of a sampler, and logits of any kind.
#pragma once

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "fuzz/input.hpp"
#include "qllk/core/random.hpp"
#include "qllk/generate/sampler.hpp"

namespace qllk::fuzz {

struct Sampling {
  using Config = generate::Sampler::Config;

  static std::vector<std::string> seeds() {
    std::vector<std::string> seeds;
    for (const Config& config : {Config{},
                                 {.temperature = 0},
                                 {.temperature = 0.7, .top_k = 40},
                                 {.top_p = 0.9},
                                 {.temperature = 1e-300, .top_k = 1, .top_p = 1e-9, .repeat = 4}}) {
      std::string seed;
      const auto add = [&](const auto& value) { seed.append(reinterpret_cast<const char*>(&value), sizeof value); };
      add(config.temperature), add(config.top_k), add(config.top_p), add(config.repeat);
      for (int i = 0; i < 40; ++i) add(std::sin(static_cast<float>(i)) * 10);
      seeds.push_back(seed);
    }
    return seeds;
  }

  static void run(Bytes input) {
    Reader reader(input);
    const Config config{.temperature = reader.take<double>(),
                        .top_k = reader.take<Index>(),
                        .top_p = reader.take<double>(),
                        .repeat = reader.take<Index>()};
    std::array<float, kByteValues> logits;
    for (float& logit : logits) logit = reader.take<float>();
    try {
      const generate::Sampler sampler{config};
      const std::span<const float, kByteValues> z(logits);
      const auto probabilities = sampler.probabilities(z);
      const double sum = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
      expect(std::abs(sum - 1) <= 1e-9, "probabilities do not sum to 1");
      Random random(input.size());
      for (int i = 0; i < 4; ++i) {
        const Byte byte = sampler.pick(z, random);
        expect(std::isfinite(logits[byte]), "a byte of no possible logit");
        if (config.temperature == 0) expect(probabilities[byte] == 1, "not the likeliest byte");
        if (config.top_k == 1) expect(logits[byte] == *std::ranges::max_element(logits), "not the likeliest byte");
      }
    } catch (const InvalidArgument&) {
    } catch (const DomainError&) {  // logits
    }
  }
};

}  // namespace qllk::fuzz
