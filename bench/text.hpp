// Text to measure on: what it says does not matter, how often its n-grams come back does.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace qllk::bench {

/// Made-up words of 2 to 9 letters, used as often as real ones are: the r-th about 1/r of the time (Zipf's law).
inline std::vector<Byte> words(std::size_t size) {
  constexpr std::size_t kWords = 4096;
  Random random(1);
  std::vector<std::string> vocabulary(kWords);
  for (auto& word : vocabulary) {
    word.resize(2 + random.below(8));
    for (auto& letter : word) letter = static_cast<char>('a' + random.below(26));
    word += ' ';
  }
  std::vector<Byte> text;
  text.reserve(size + 10);
  while (text.size() < size) {
    const double rank = std::pow(static_cast<double>(kWords), random.uniform()) - 1;
    const std::string& word = vocabulary[static_cast<std::size_t>(rank)];
    text.insert(text.end(), word.begin(), word.end());
  }
  text.resize(size);
  return text;
}

}  // namespace qllk::bench
