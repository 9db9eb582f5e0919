#include "qllk/data/split.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/temporary_folder.hpp"

namespace {

using qllk::Byte;
using qllk::data::Corpus;
using qllk::data::HeldOut;

std::string text_of(const Corpus& corpus) {
  std::string text(corpus.size(), ' ');
  corpus.copy(0, {reinterpret_cast<Byte*>(text.data()), text.size()});
  return text;
}

Corpus of_text(const std::string& text) { return Corpus::from_memory({text.begin(), text.end()}); }

/// A folder with files of these sizes, each of one letter.
Corpus of_sizes(const qllk::test::TemporaryFolder& folder, const std::vector<std::size_t>& sizes) {
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const char letter = static_cast<char>('a' + i % 26);
    std::ofstream(folder / std::to_string(100 + i)) << std::string(sizes[i], letter);
  }
  return Corpus::open(folder.path());
}

TEST(SplitTail, HoldsOutTheLastPart) {
  const auto [training, validation] = qllk::data::split_tail(of_text("0123456789"), 0.1);
  EXPECT_EQ(text_of(training), "012345678");
  EXPECT_EQ(text_of(validation), "9");
  const auto [most, rest] = qllk::data::split_tail(Corpus::from_memory(std::vector<Byte>(1'115'394)), 0.1);
  EXPECT_EQ(most.size(), 1'003'854u);
  EXPECT_EQ(rest.size(), 111'540u);
}

TEST(SplitTail, RefusesEmptyPartsAndFractionsThatAreNone) {
  for (const double fraction : {0.0, 1.0, -0.1, 1.5, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THROW(qllk::data::split_tail(of_text("0123456789"), fraction), std::invalid_argument) << fraction;
  EXPECT_THROW(qllk::data::split_tail(of_text("0"), 0.5), std::invalid_argument);
  EXPECT_THROW(qllk::data::split_tail(of_text("0123456789"), 0.95), std::invalid_argument);
  EXPECT_THROW(qllk::data::split_tail(Corpus(), 0.5), std::invalid_argument);
  EXPECT_THROW(qllk::data::split_tail(of_text("0123456789"), 1e-30), std::invalid_argument);
}

TEST(SplitFiles, HoldsOutEveryTenthOfFilesOfOneSize) {
  const qllk::test::TemporaryFolder folder;
  const auto [training, validation, held_out] =
      qllk::data::split_files(of_sizes(folder, std::vector<std::size_t>(25, 3)), 0.1);
  EXPECT_EQ(held_out, HeldOut::files);
  EXPECT_EQ(text_of(validation), "eeeoooyyy");
  EXPECT_EQ(text_of(training), "aaabbbcccdddfffggghhhiiijjjkkklllmmmnnnpppqqqrrrssstttuuuvvvwwwxxx");
  EXPECT_EQ(validation.sources().size(), 3u);
  EXPECT_EQ(validation.files(), (std::vector<Corpus::Range>{{0, 3}, {3, 6}, {6, 9}}));
  EXPECT_EQ(training.files().size(), 22u);
}

/// Small files stand in one block of memory, large ones each on their own.
TEST(SplitFiles, HoldsOutAboutTheShareOfTheBytes) {
  const qllk::test::TemporaryFolder folder;
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < 60; ++i) sizes.push_back(1 + i * 7919 % 3000 + (i % 9 == 0 ? 100000 : 0));
  const Corpus all = of_sizes(folder, sizes);
  for (const double fraction : {0.05, 0.1, 0.3}) {
    const auto [training, validation, held_out] = qllk::data::split_files(all, fraction);
    EXPECT_EQ(held_out, HeldOut::files);
    EXPECT_EQ(training.size() + validation.size(), all.size());
    const double share = static_cast<double>(validation.size()) / static_cast<double>(all.size());
    EXPECT_TRUE(share >= 0.5 * fraction && share <= 1.5 * fraction) << share << " of " << fraction;
    std::vector<std::size_t> lengths;  // every file is in one part, whole
    for (const Corpus& part : {training, validation})
      for (const auto [begin, end] : part.files()) {
        const std::string text = text_of(part.slice(begin, end));
        EXPECT_EQ(text, std::string(text.size(), text[0]));
        lengths.push_back(text.size());
      }
    std::sort(lengths.begin(), lengths.end());
    auto expected = sizes;
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(lengths, expected);
  }
}

TEST(SplitFiles, DividesASingleFileAndFewFilesAtTheEnd) {
  const auto one = qllk::data::split_files(of_text("0123456789"), 0.2);
  EXPECT_EQ(one.held_out, HeldOut::end);
  EXPECT_EQ(text_of(one.validation), "89");
  const qllk::test::TemporaryFolder folder;
  const auto two = qllk::data::split_files(of_sizes(folder, {10, 10}), 0.1);
  EXPECT_EQ(two.held_out, HeldOut::end);
  EXPECT_EQ(text_of(two.validation), "bb");
  EXPECT_EQ(text_of(two.training), "aaaaaaaaaabbbbbbbb");
  EXPECT_THROW(qllk::data::split_files(of_text("0123456789"), 0), std::invalid_argument);
  EXPECT_THROW(qllk::data::split_files(Corpus(), 0.5), std::invalid_argument);
}

TEST(CorpusSelect, TakesPartsOfPartsInOrder) {
  const qllk::test::TemporaryFolder folder;
  const Corpus all = of_sizes(folder, {4, 4, 4});
  const std::vector<Corpus::Range> parts{{1, 3}, {6, 9}, {5, 5}, {11, 12}};
  const Corpus some = all.select(parts);
  EXPECT_EQ(text_of(some), "aabbcc");
  EXPECT_EQ(some.files(), (std::vector<Corpus::Range>{{0, 2}, {2, 5}, {5, 6}}));
  const std::vector<Corpus::Range> again{{1, 5}};
  EXPECT_EQ(text_of(some.select(again)), "abbc");
  EXPECT_EQ(all.slice(2, 6).files(), (std::vector<Corpus::Range>{{0, 2}, {2, 4}}));
  const std::vector<Corpus::Range> outside{{10, 13}};
  EXPECT_THROW(all.select(outside), std::out_of_range);
}

}  // namespace
