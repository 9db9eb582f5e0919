// Small tasks that tell sequence mixers apart, each a generator of sequences with a rule for every answer.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace mixer_table {

using qllk::Byte, qllk::Index, qllk::Random;

/// One sequence: at position t a model reads inputs[t] and should predict targets[t].
struct Example {
  enum Role : std::uint8_t {
    kFree,     // the target is random: neither trained nor scored
    kTrained,  // has an answer, which is too easy to be scored
    kScored,   // has an answer
  };
  std::vector<Byte> inputs, targets;
  std::vector<Role> roles;
};

/// Draws one sequence of `length` positions. `items` is how much it has to remember; tasks without items ignore it.
using Generator = Example (*)(Index length, Index items, Random& random);

namespace detail {

/// Inputs and targets of a text of length + 1 bytes: predict the next one. All positions are free.
inline Example next_byte(const std::vector<Byte>& text) {
  return {{text.begin(), text.end() - 1},
          {text.begin() + 1, text.end()},
          std::vector<Example::Role>(text.size() - 1, Example::kFree)};
}

/// The first `count` of the numbers below `bound` in random order.
inline std::vector<Index> distinct(Index bound, Index count, Random& random) {
  std::vector<Index> numbers(static_cast<std::size_t>(bound));
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<Index>(i);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
    std::swap(numbers[i], numbers[i + random.below(numbers.size() - i)]);
  numbers.resize(static_cast<std::size_t>(count));
  return numbers;
}

inline Byte symbol(char first, Index number) { return static_cast<Byte>(first + number); }
inline Byte draw(char first, std::uint64_t count, Random& random) {
  return symbol(first, static_cast<Index>(random.below(count)));
}

/// The sum of the inputs so far, modulo `modulus`. The first half is easy, and is what a model can begin to learn from.
inline Example running_sum(Index length, std::uint64_t modulus, Random& random) {
  Example out;
  std::uint64_t sum = 0;
  for (Index t = 0; t < length; ++t) {
    const std::uint64_t digit = random.below(modulus);
    sum = (sum + digit) % modulus;
    out.inputs.push_back(symbol('0', static_cast<Index>(digit)));
    out.targets.push_back(symbol('0', static_cast<Index>(sum)));
    out.roles.push_back(t < length / 2 ? Example::kTrained : Example::kScored);
  }
  return out;
}

}  // namespace detail

inline constexpr Index kKeys = 48, kValues = 32;

inline Index most_pairs(Index length) { return std::min(length / 4, kKeys); }

/// Multi-query associative recall: pairs of a key and a value, then the keys in another order, and again while there is
/// room. Answer: the value of each. `items` pairs, all keys distinct. Source: Arora et al. 2023, section 3, without
/// gaps between queries.
inline Example associative_recall(Index length, Index items, Random& random) {
  const std::vector<Index> keys = detail::distinct(kKeys, items, random);
  std::vector<Byte> text, values;
  for (const Index key : keys) {
    values.push_back(detail::draw(-128, kValues, random));
    text.insert(text.end(), {detail::symbol('@', key), values.back()});
  }
  while (std::ssize(text) + 2 * items <= length)
    for (const Index pair : detail::distinct(items, items, random))
      text.insert(text.end(),
                  {detail::symbol('@', keys[static_cast<std::size_t>(pair)]), values[static_cast<std::size_t>(pair)]});
  const auto queries = static_cast<std::size_t>(std::ssize(text));
  text.resize(static_cast<std::size_t>(length) + 1, Byte{' '});
  Example out = detail::next_byte(text);
  for (std::size_t t = 2 * static_cast<std::size_t>(items); t < queries; t += 2) out.roles[t] = Example::kScored;
  return out;
}

inline Index most_letters(Index length) { return length / 8; }

/// Selective copying: `items` letters at random places among noise, then '|' and the letters in their order. Source: Gu
/// and Dao 2023, section 4.1.1, by next-byte prediction.
inline Example selective_copying(Index length, Index items, Random& random) {
  const Index count = items, field = length - count;
  std::vector<Byte> text(static_cast<std::size_t>(field), Byte{'.'}), letters;
  std::vector<Index> places = detail::distinct(field, count, random);
  std::sort(places.begin(), places.end());
  for (const Index place : places) {
    letters.push_back(detail::draw('a', 16, random));
    text[static_cast<std::size_t>(place)] = letters.back();
  }
  text.push_back('|');
  text.insert(text.end(), letters.begin(), letters.end());
  Example out = detail::next_byte(text);
  std::fill(out.roles.end() - count, out.roles.end(), Example::kScored);
  return out;
}

/// Induction: random letters, '#' and a letter somewhere among them, '#' again as the last input. Answer: the letter
/// that followed the first '#'. Source: Gu and Dao 2023, section 4.1.2.
inline Example induction(Index length, Index, Random& random) {
  std::vector<Byte> text;
  for (Index t = 0; t < length; ++t) text.push_back(detail::draw('a', 16, random));
  const auto mark = static_cast<std::size_t>(random.below(static_cast<std::uint64_t>(length - 2)));
  text[mark] = text.back() = '#';
  text.push_back(text[mark + 1]);
  Example out = detail::next_byte(text);
  out.roles.back() = Example::kScored;
  return out;
}

/// Parity: whether the ones so far are odd. Scored in the second half.
inline Example parity(Index length, Index, Random& random) { return detail::running_sum(length, 2, random); }

/// Modular addition: the sum of the digits so far modulo 5. Scored in the second half.
inline Example modular_addition(Index length, Index, Random& random) { return detail::running_sum(length, 5, random); }

inline Index one_item(Index) { return 1; }

struct Task {
  std::string_view name;
  Generator generate;
  Index (*most)(Index length);  // items of a sequence
  double chance;                // accuracy of guessing
};
inline constexpr std::array kTasks{
    Task{"recall", associative_recall, most_pairs, 1.0 / kValues},
    Task{"selective_copying", selective_copying, most_letters, 1.0 / 16},
    Task{"induction", induction, one_item, 1.0 / 16},
    Task{"parity", parity, one_item, 1.0 / 2},
    Task{"modular_addition", modular_addition, one_item, 1.0 / 5},
};

/// Throws std::invalid_argument if there is none of that name.
inline const Task& task_named(std::string_view name) {
  for (const Task& task : kTasks)
    if (task.name == name) return task;
  throw std::invalid_argument("the task is '" + std::string(name) +
                              "', expected recall, selective_copying, induction, parity or modular_addition");
}

inline constexpr Index kShortestExample = 16;

/// How many items the sequences of a batch have.
enum class Items {
  most,  // to score
  any,   // 1 to the most, drawn evenly: to train, as small cases are what larger ones are learned from
};

/// `count` sequences of a task, one after the other. `most` items fit any length of task.most(length) or more.
inline Example examples(const Task& task, Index count, Index length, Index most, Items items, Random& random) {
  if (length < kShortestExample)
    throw std::invalid_argument("the length of a task is " + std::to_string(length) + ", expected at least 16");
  Example all;
  for (Index i = 0; i < count; ++i) {
    Index number = most;
    if (items == Items::any && number > 1)
      number = 1 + static_cast<Index>(random.below(static_cast<std::uint64_t>(number)));
    const Example one = task.generate(length, number, random);
    all.inputs.insert(all.inputs.end(), one.inputs.begin(), one.inputs.end());
    all.targets.insert(all.targets.end(), one.targets.begin(), one.targets.end());
    all.roles.insert(all.roles.end(), one.roles.begin(), one.roles.end());
  }
  return all;
}

}  // namespace mixer_table
