// A text of a few words in random order, from which models learn soon.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"

namespace qllk::test {

/// Whole words, until there are `size` bytes or a few more. `last` is the eighth of them.
inline std::vector<Byte> words(std::size_t size, std::uint64_t seed = 5, const char* last = "dog. ") {
  const char* const kinds[] = {"the ", "quick ", "brown ", "fox ", "jumps ", "over ", "lazy ", last};
  Random random(seed);
  std::vector<Byte> bytes;
  while (bytes.size() < size)
    for (const char* c = kinds[random.below(8)]; *c != 0; ++c) bytes.push_back(static_cast<Byte>(*c));
  return bytes;
}

}  // namespace qllk::test
