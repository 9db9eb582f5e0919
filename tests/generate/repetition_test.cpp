#include "qllk/generate/repetition.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "qllk/core/random.hpp"

namespace qllk::generate {
namespace {

using Logits = std::array<double, static_cast<std::size_t>(kByteValues)>;

/// By the definition: for each byte the longest string that ends here and stood before it earlier.
std::array<Index, static_cast<std::size_t>(kByteValues)> longest(const std::string& text) {
  std::array<Index, static_cast<std::size_t>(kByteValues)> found{};
  const auto size = static_cast<Index>(text.size()), window = static_cast<Index>(Repetition::kWindow);
  for (Index end = std::max<Index>(1, size - window + 1); end < size; ++end) {  // text[end] follows the earlier string
    Index length = 0;
    while (length < std::min<Index>(end, Repetition::kLongest) &&
           text[static_cast<std::size_t>(end - 1 - length)] == text[static_cast<std::size_t>(size - 1 - length)])
      ++length;
    auto& most = found[static_cast<unsigned char>(text[static_cast<std::size_t>(end)])];
    most = std::max(most, length);
  }
  return found;
}

TEST(Repetition, LowersWhatWouldLengthenARepetition) {
  Random random(1);
  for (const std::size_t size : {0, 1, 2, 50, 500, 5000, 9000}) {
    Repetition repetition;
    std::string text;
    while (text.size() < size) {  // pieces that come again
      const char next =
          random.below(20) != 0 && text.size() > 40 ? text[text.size() - 37] : static_cast<char>('a' + random.below(3));
      text += next;
      repetition.read(static_cast<Byte>(next));
    }
    const auto lengths = longest(text);
    for (const Index free : {1, 4, 16}) {
      Logits z;
      z.fill(1);
      repetition.lower<double>(z, free);
      for (std::size_t b = 0; b < z.size(); ++b)
        ASSERT_EQ(z[b], 1 - static_cast<double>(std::max<Index>(lengths[b] - free, 0)) / 4)
            << "byte " << b << " after " << size << ", repeats " << lengths[b] << ", free " << free;
    }
  }
}

TEST(Repetition, LeavesNewTextAlone) {
  Repetition repetition;
  for (int i = 0; i < 256; ++i) repetition.read(static_cast<Byte>(i));
  Logits z{};
  repetition.lower<double>(z, 1);
  EXPECT_EQ(z, Logits{});
}

}  // namespace
}  // namespace qllk::generate
