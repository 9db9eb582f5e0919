#include "qllk/nn/contexts/occurrences.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qllk/testing/subject.hpp"

namespace qllk::nn {
namespace {

using List = std::vector<std::pair<Index, Byte>>;  // distance, byte that followed

constexpr int kMost = 1 << 20;

/// Words of few letters: everything comes again soon.
std::vector<Byte> babble(std::size_t size, std::uint64_t seed, std::string_view alphabet = "abAB \n") {
  Random random(seed);
  std::vector<Byte> text(size);
  for (auto& byte : text) byte = static_cast<Byte>(alphabet[random.below(alphabet.size())]);
  return text;
}

List list_of(const Occurrences& occurrences, const Occurrences::State& state, std::size_t context, int most = kMost) {
  List out;
  occurrences.each(state, context, most, [&](std::uint32_t distance, Byte byte) {
    out.emplace_back(distance, byte);
    return true;
  });
  return out;
}

/// After each byte, those of all contexts; `chunk` bytes are read at a time.
std::vector<List> lists_of(const Occurrences& occurrences, Occurrences::State& state, const std::vector<Byte>& text) {
  std::vector<List> out;
  for (const Byte& byte : text) {
    occurrences.read(Bytes(&byte, 1), state);
    for (std::size_t c = 0; c < Occurrences::kContexts; ++c) out.push_back(list_of(occurrences, state, c));
  }
  return out;
}
std::vector<List> lists_of(const Occurrences& occurrences, const std::vector<Byte>& text) {
  Occurrences::State state;
  occurrences.reset(state);
  return lists_of(occurrences, state, text);
}

/// The word context before byte t, by its definition; empty: none.
std::string word_before(const std::vector<Byte>& text, std::size_t t) {
  const auto letter = [&](std::size_t i) { return std::isalnum(text[i]) != 0; };
  const auto word = [&](std::size_t end) {  // the letters before `end`, lower-cased; of a first word nothing is known
    std::size_t begin = end;
    while (begin > 0 && letter(begin - 1)) --begin;
    std::string out;
    for (std::size_t i = begin; begin > 0 && end - begin <= 32 && i < end; ++i)
      out += static_cast<char>(std::tolower(text[i]));
    return out;
  };
  if (letter(t - 1)) return word(t);
  std::size_t end = t;
  while (end > 0 && !letter(end - 1)) --end;
  const std::string before = t - end <= 32 ? word(end) : "";
  return before.empty() ? "" : before + static_cast<char>(text[t - 1]);
}

TEST(Occurrences, AreAllThatTheWindowHas) {
  for (const char* alphabet : {"abAB \n", "ab       ", "abcdefghijkl"})
    for (const int bits : {8, 12}) {
      const auto text = babble(1500, 1, alphabet);
      const auto found = lists_of(Occurrences(bits), text);
      const std::size_t window = std::size_t{1} << bits;
      std::vector<std::string> words(1);
      for (std::size_t t = 1; t <= text.size(); ++t) words.push_back(word_before(text, t));
      for (std::size_t t = 1; t <= text.size(); ++t)
        for (std::size_t c = 0; c < Occurrences::kContexts; ++c) {
          const auto same = [&](std::size_t p) {
            if (c == 2) return t - p <= window - 128 && p > 0 && !words[t].empty() && words[p] == words[t];
            return p >= 2 && t - p <= window - 2 && text[p - 1] == text[t - 1] &&
                   (c == 0 || text[p - 2] == text[t - 2]);
          };
          List expected;
          for (std::size_t p = t; p-- > 0;)
            if (same(p)) expected.emplace_back(t - p, text[p]);
          ASSERT_EQ(found[(t - 1) * Occurrences::kContexts + c], expected)
              << alphabet << bits << ", " << t << ", " << c;
        }
    }
}

TEST(Occurrences, AreTheSameHoweverTheStreamIsCut) {
  const Occurrences occurrences(8);
  const auto text = babble(900, 2);
  Occurrences::State one, other;
  occurrences.reset(one);
  occurrences.reset(other);
  occurrences.read(text, one);
  for (const Byte& byte : text) occurrences.read(Bytes(&byte, 1), other);
  for (std::size_t c = 0; c < Occurrences::kContexts; ++c)
    EXPECT_EQ(list_of(occurrences, one, c), list_of(occurrences, other, c));
}

/// The last window's bytes decide, whatever was read before them; after a reset nothing that was read does.
TEST(Occurrences, DependOnTheWindowOnly) {
  const Occurrences occurrences(9);
  const std::size_t window = 512;
  for (const char* alphabet : {"abAB \n", "abcde     "}) {
    const auto history = babble(window, 3, alphabet), text = babble(600, 4, alphabet);
    const auto expected = [&] {
      Occurrences::State fresh;
      occurrences.reset(fresh);
      occurrences.read(history, fresh);
      return lists_of(occurrences, fresh, text);
    }();
    Occurrences::State state;
    occurrences.reset(state);
    for (int i = 0; i < 5; ++i) {
      occurrences.read(babble(300 + static_cast<std::size_t>(i) * 777, 5 + static_cast<std::uint64_t>(i), alphabet),
                       state);
      if (i >= 3) occurrences.reset(state);
      occurrences.read(history, state);
      EXPECT_EQ(lists_of(occurrences, state, text), expected) << i;
    }
    occurrences.reset(state);
    EXPECT_EQ(lists_of(occurrences, state, text), lists_of(occurrences, text));
    EXPECT_NE(lists_of(occurrences, text), expected);
  }
}

TEST(Occurrences, StopWhereTheyAreToldTo) {
  const Occurrences occurrences(10);
  Occurrences::State state;
  occurrences.reset(state);
  occurrences.read(std::vector<Byte>(700, Byte{'a'}), state);
  EXPECT_EQ(list_of(occurrences, state, 0).size(), 698U);
  EXPECT_EQ(list_of(occurrences, state, 0, 5), (List{{1, 'a'}, {2, 'a'}, {3, 'a'}, {4, 'a'}, {5, 'a'}}));
  int calls = 0;
  occurrences.each(state, 1, kMost, [&](std::uint32_t, Byte) { return ++calls < 3; });
  EXPECT_EQ(calls, 3);
}

TEST(Occurrences, RefuseOtherSizes) {
  for (const int bits : {-1, 1, 7, 17, 64}) EXPECT_THROW(Occurrences{bits}, std::invalid_argument);
  EXPECT_NO_THROW(Occurrences{0});
}

}  // namespace
}  // namespace qllk::nn
