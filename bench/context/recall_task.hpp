// The recall task: pairs of a key and a value are shown once, and asked for far behind.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace recall {

using qllk::Byte, qllk::Bytes, qllk::Index, qllk::Random;

inline constexpr std::size_t kKeys = 4, kValues = 8;

namespace detail {
inline Byte filler(Random& random) { return static_cast<Byte>('a' + random.below(16)); }

/// "+A=3" or "?A=3"
inline void write_pair(char sign, std::size_t key, Byte value, std::vector<Byte>& text) {
  text.insert(text.end(), {static_cast<Byte>(sign), static_cast<Byte>('A' + key), Byte{'='}, value});
}
}  // namespace detail

/// A text of `size` bytes: every key with a value ("+A=3"), a few random letters between them, and later each key once
/// again as a question ("?A=3"), distance() bytes behind its pair, or as soon as the questions before leave room. All
/// else is random letters, so that pairs and questions stand at any offset within a patch. Questions that find no room
/// before the end are left out.
template <class Distance>
std::vector<Byte> episode(std::size_t size, Distance&& distance, Random& random) {
  constexpr std::size_t kMostBetween = 8, kPair = 4;
  struct Question {
    std::size_t due, key;
    Byte value;
  };
  std::array<std::size_t, kKeys> keys;
  std::iota(keys.begin(), keys.end(), std::size_t{0});
  for (std::size_t i = 0; i + 1 < kKeys; ++i) std::swap(keys[i], keys[i + random.below(kKeys - i)]);
  std::vector<Byte> text;
  const auto fill = [&](std::size_t end) {
    while (text.size() < end) text.push_back(detail::filler(random));
  };
  std::vector<Question> questions;
  for (const std::size_t key : keys) {
    fill(text.size() + 1 + random.below(kMostBetween));
    const auto value = static_cast<Byte>('0' + random.below(kValues));
    questions.push_back({text.size() + static_cast<std::size_t>(distance()), key, value});
    detail::write_pair('+', key, value, text);
  }
  std::ranges::sort(questions, {}, &Question::due);
  for (const Question& question : questions) {
    const std::size_t begin = std::max(question.due, text.size() + 1);
    if (begin + kPair > size) break;
    fill(begin);
    detail::write_pair('?', question.key, question.value, text);
  }
  text.resize(std::min(text.size(), size));
  fill(size);
  return text;
}

/// Draws numbers from `least` to `most`, evenly in the logarithm.
inline auto log_uniform(double least, double most, Random& random) {
  return [=, &random] { return least * std::pow(most / least, random.uniform()); };
}

/// Whether the byte after position t is the answer to a question.
inline bool asks(Bytes text, std::size_t t) { return t >= 2 && text[t] == '=' && text[t - 2] == '?'; }

}  // namespace recall
