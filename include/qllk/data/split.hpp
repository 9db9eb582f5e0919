// Which part of a text is kept back, to score what was learned of the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"

namespace qllk::data {

/// How the held-out part lies in the text.
enum class HeldOut { end, files };

/// A text, divided.
struct Split {
  Corpus training, validation;  // neither has a byte of the other
  HeldOut held_out;             // which form of division it is
};

namespace detail {
inline void check_fraction(double fraction) {
  if (!(fraction > 0 && fraction < 1))
    throw InvalidArgument("validation fraction is " + std::to_string(fraction) + ", expected more than 0, less than 1");
}
}  // namespace detail

/// (training, validation): the last `fraction` of the corpus is for validation, the first ⌊size · (1 - fraction)⌋
/// bytes for training. Throws std::invalid_argument unless 0 < fraction < 1 and both parts have bytes.
inline std::pair<Corpus, Corpus> split_tail(const Corpus& corpus, double fraction) {
  detail::check_fraction(fraction);
  const auto training = static_cast<std::uint64_t>(static_cast<double>(corpus.size()) * (1 - fraction));
  if (training == 0 || training >= corpus.size())
    throw InvalidArgument("a corpus of " + std::to_string(corpus.size()) + " bytes is too short to hold out " +
                          std::to_string(fraction) + " of it for validation: one part would be empty");
  return {corpus.slice(0, training), corpus.slice(training, corpus.size())};
}

/// Of several files, whole ones are held out, spread over the text: going through them in order, a file when a
/// `fraction` of all bytes so far, it included, exceeds what is held out already by half of it. So files of equal size
/// are held out every 1/fraction, and about that share of the bytes is, whatever the sizes. The end of a folder's last
/// files, which split_tail would hold out, may be of one kind, and its files have their other half in the training
/// text.
///
/// A single file, or files of which none would be held out or all, are divided by split_tail. Throws as split_tail.
inline Split split_files(const Corpus& corpus, double fraction) {
  detail::check_fraction(fraction);
  std::vector<Corpus::Range> training, validation;
  double owed = 0;
  for (const Corpus::Range& file : corpus.files()) {
    const auto size = static_cast<double>(file.end - file.begin);
    owed += fraction * size;
    if (owed >= size / 2) {
      owed -= size;
      validation.push_back(file);
    } else {
      training.push_back(file);
    }
  }
  if (!training.empty() && !validation.empty())
    return {corpus.select(training), corpus.select(validation), HeldOut::files};
  auto [first, last] = split_tail(corpus, fraction);
  return {std::move(first), std::move(last), HeldOut::end};
}

}  // namespace qllk::data
