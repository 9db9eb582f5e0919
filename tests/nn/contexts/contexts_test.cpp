// What every context promises, and the rows of n-grams and words.
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "qllk/nn/contexts/matches.hpp"
#include "qllk/nn/contexts/ngrams.hpp"
#include "qllk/nn/contexts/words.hpp"
#include "qllk/testing/subject.hpp"

namespace qllk::nn {
namespace {

using conformance::random_bytes;

std::vector<Byte> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

/// Entries of all orders, position by position; `lengths` are those of the calls.
template <class Context>
std::vector<std::uint32_t> rows_of(const Context& context, typename Context::State& state,
                                   const std::vector<Byte>& text, const std::vector<std::size_t>& lengths) {
  const auto orders = static_cast<std::size_t>(context.orders());
  std::vector<std::uint32_t> out(text.size() * orders, 12345);
  std::size_t at = 0;
  for (const std::size_t length : lengths) {
    context.look_up(Bytes(text).subspan(at, length), state, RowWriter(out.data() + at * orders, orders, 0));
    at += length;
  }
  EXPECT_EQ(at, text.size());
  return out;
}
template <class Context>
std::vector<std::uint32_t> rows_of(const Context& context, const std::vector<Byte>& text) {
  typename Context::State state;
  context.reset(state);
  return rows_of(context, state, text, {text.size()});
}

template <class C>
C make();
template <>
NgramContext make() {
  return NgramContext({.orders = 9, .bits = 12});
}
template <>
WordContext make() {
  return WordContext({.orders = 3, .bits = 12});
}
template <>
MatchContext make() {
  return MatchContext({.lengths = {9, 4, 2}, .window_bits = 8});
}

/// Lower-case words of few letters: everything comes again soon.
std::vector<Byte> babble(std::size_t size, std::uint64_t seed) {
  Random random(seed);
  std::vector<Byte> text(size);
  for (auto& byte : text) byte = static_cast<Byte>("abcAB \n"[random.below(7)]);
  return text;
}

template <class Context>
class Contexts : public ::testing::Test {};
using All = ::testing::Types<NgramContext, WordContext, MatchContext>;
TYPED_TEST_SUITE(Contexts, All);

TYPED_TEST(Contexts, AreTheSameInAnyChunks) {
  static_assert(StreamContext<TypeParam>);
  const auto context = make<TypeParam>();
  const auto text = babble(900, 1);
  const auto whole = rows_of(context, text);
  for (const std::size_t chunk : {1, 2, 7, 31, 300}) {
    std::vector<std::size_t> lengths{0};
    for (std::size_t left = text.size(); left > 0; left -= lengths.back()) lengths.push_back(std::min(chunk, left));
    typename TypeParam::State state;
    context.reset(state);
    EXPECT_EQ(rows_of(context, state, text, lengths), whole) << chunk;
  }
}

TYPED_TEST(Contexts, AreCausalAndWithinTheirRows) {
  const auto context = make<TypeParam>();
  const auto text = babble(400, 2);
  const auto whole = rows_of(context, text);
  const auto orders = static_cast<std::size_t>(context.orders());
  bool reacts = false;
  for (std::size_t t = 0; t < text.size(); t += 7) {
    auto changed = text;
    changed[t] ^= 0x55;
    const auto other = rows_of(context, changed);
    for (std::size_t e = 0; e < t * orders; ++e) ASSERT_EQ(other[e], whole[e]) << t;
    reacts = reacts || other != whole;
  }
  EXPECT_TRUE(reacts);
  for (const auto entry : whole)
    EXPECT_TRUE(entry == RowWriter::kNone || static_cast<Index>(entry >> 1) < context.rows()) << entry;
}

/// The last history() bytes decide, whatever was read before them.
TYPED_TEST(Contexts, PrimingIsHavingReadAndResettingIsNotHavingRead) {
  const auto context = make<TypeParam>();
  const auto text = babble(200, 3), before = babble(240, 4);
  auto both = before;
  both.insert(both.end(), text.begin(), text.end());
  const auto expected = rows_of(context, both);
  typename TypeParam::State state;
  context.reset(state);
  context.prime(before, state);
  const auto primed = rows_of(context, state, text, {text.size()});
  EXPECT_TRUE(std::equal(primed.begin(), primed.end(), expected.end() - std::ssize(primed)));
  EXPECT_NE(primed, rows_of(context, text));
  context.reset(state);
  EXPECT_EQ(rows_of(context, state, text, {text.size()}), rows_of(context, text));
}

/// Whatever the tables still hold: texts shorter and longer than the window, of the same few bytes.
TYPED_TEST(Contexts, ForgettingIsNotHavingRead) {
  const auto context = make<TypeParam>();
  typename TypeParam::State state;
  context.reset(state);
  std::uint64_t seed = 100;
  for (const std::size_t size : {1, 3, 40, 200, 255, 256, 257, 900, 5, 2000, 30, 300}) {
    nn::forget(context, state);
    const auto text = babble(size, seed++);
    ASSERT_EQ(rows_of(context, state, text, {text.size()}), rows_of(context, text)) << size;
  }
}

/// Changed together with the hashes: files made before would be read with other rows.
/// A context of someone else's, without what it may leave out.
template <class Context>
struct Without {
  using Config = typename Context::Config;
  using State = typename Context::State;
  static constexpr LeftOut kLeftOut = Context::kLeftOut;
  Context context;

  Index orders() const { return context.orders(); }
  Index rows() const { return context.rows(); }
  Index history() const { return context.history(); }
  void reset(State& state) const { context.reset(state); }
  void look_up(Bytes bytes, State& state, const RowWriter& out) const { context.look_up(bytes, state, out); }
  void prime(Bytes bytes, State& state) const { context.prime(bytes, state); }
};

/// Longer than any window, so that much of it is found again only if it was really read.
TYPED_TEST(Contexts, FollowingLeavesTheStateThatLookingUpLeaves) {
  const auto context = make<TypeParam>();
  const Without<TypeParam> without{context};
  for (const std::size_t size : {0, 1, 5, 255, 256, 257, 5000}) {
    const auto before = babble(size, 4), after = babble(600, 5);
    typename TypeParam::State read, followed, also;
    for (auto* state : {&read, &followed, &also}) {
      context.reset(*state);
      context.prime(babble(100, 6), *state);
    }
    rows_of(context, read, before, {before.size()});
    follow(context, before, followed);
    follow(without, before, also);
    const auto expected = rows_of(context, read, after, {after.size()});
    EXPECT_EQ(rows_of(context, followed, after, {after.size()}), expected) << size;
    EXPECT_EQ(rows_of(context, also, after, {after.size()}), expected) << size;
  }
}

TEST(NgramContext, RowsAreTheSameOnEveryMachine) {
  const auto rows = rows_of(NgramContext({.orders = 4, .bits = 16}), bytes_of("the"));
  ASSERT_EQ(rows.size(), 9U);
  EXPECT_EQ(rows[0] >> 1, std::uint32_t{'t'} << 8);  // exact: the byte and the one before it
  EXPECT_EQ(rows[3] >> 1, std::uint32_t{'h'} << 8 | std::uint32_t{'t'});
  EXPECT_EQ(rows[0] & 1, 0U);
  const std::uint64_t the = mix64((std::uint64_t{'e'} << 16 | std::uint64_t{'h'} << 8 | 't') ^ std::uint64_t{1} << 56);
  EXPECT_EQ(rows[7] >> 1, (1U << 16) + (the & 0xFFFF));
  EXPECT_EQ(rows[7] & 1, the >> 63);
}

TEST(NgramContext, SpreadsNgramsAndSigns) {
  Random random(3);
  const auto entries = rows_of(NgramContext({.orders = 9, .bits = 14}), random_bytes(2000, random));
  for (std::size_t order = 0; order < 8; ++order) {
    std::set<std::uint32_t> rows;
    int minus = 0;
    for (std::size_t t = 0; t < 2000; ++t) {
      const auto entry = entries[t * 8 + order];
      EXPECT_EQ((entry >> 1) >> 14, order);
      rows.insert(entry >> 1);
      minus += static_cast<int>(entry & 1);
    }
    // 2,000 balls in 16,384 bins leave 1,882 ± 10 taken
    EXPECT_NEAR(static_cast<double>(rows.size()), 1882, 60) << order;
    EXPECT_NEAR(minus, 1000, 120) << order;
  }
}

/// The rows after the last byte of a text.
std::vector<std::uint32_t> last_words(std::string_view text) {
  const auto all = rows_of(WordContext({.orders = 3, .bits = 20}), bytes_of(text));
  return {all.end() - 3, all.end()};
}

TEST(WordContext, IsThePrefixAloneAndWithTheWordsBefore) {
  const auto a = last_words("the cat sat"), b = last_words("a dog, \"SAT"), c = last_words("the  CAT -- sat"),
             d = last_words("one cat sat");
  EXPECT_EQ(a[0], b[0]);  // the same word so far, whatever its case and what stands before
  EXPECT_NE(a[1], b[1]);
  EXPECT_EQ(a, c);  // words count, not what is between them
  EXPECT_EQ(a[1], d[1]);
  EXPECT_NE(a[2], d[2]);
  EXPECT_NE(a[0], last_words("the cat sa")[0]);
  EXPECT_NE(a[0], last_words("the cat sat ")[0]);
  EXPECT_NE(last_words("x y,")[0], last_words("x y.")[0]);  // between words the last byte stands for the prefix
  EXPECT_EQ(last_words("x y,")[0], last_words("z,")[0]);
}

TEST(WordContext, HasWordsInAnyScriptAndInCode) {
  EXPECT_EQ(last_words("на дом")[0], last_words("под дом")[0]);
  EXPECT_NE(last_words("на дом")[1], last_words("под дом")[1]);
  EXPECT_EQ(last_words("f(max_size1")[0], last_words("x = max_size1")[0]);
  EXPECT_NE(last_words("max_size1")[0], last_words("max.size1")[0]);
}

TEST(Contexts, RefuseBadSettings) {
  EXPECT_THROW(NgramContext({.orders = 0}), std::invalid_argument);
  EXPECT_THROW(NgramContext({.orders = 33}), std::invalid_argument);
  EXPECT_THROW(NgramContext({.bits = 3}), std::invalid_argument);
  EXPECT_THROW(NgramContext({.bits = 25}), std::invalid_argument);
  EXPECT_THROW(WordContext({.orders = -1}), std::invalid_argument);
  EXPECT_THROW(WordContext({.orders = 5}), std::invalid_argument);
  EXPECT_THROW(WordContext({.orders = 1, .bits = 25}), std::invalid_argument);
  EXPECT_THROW(MatchContext({.lengths = {0}}), std::invalid_argument);
  EXPECT_THROW(MatchContext({.lengths = {17}}), std::invalid_argument);
  EXPECT_THROW(MatchContext({.lengths = {4, 4}}), std::invalid_argument);
  EXPECT_THROW(MatchContext({.lengths = {4, 6}}), std::invalid_argument);
  EXPECT_THROW(MatchContext({.lengths = {9, 8, 7, 6, 5}}), std::invalid_argument);
  EXPECT_THROW(MatchContext({.lengths = {4}, .window_bits = 17}), std::invalid_argument);
  EXPECT_THROW(MatchContext({.lengths = {4}, .window_bits = 7}), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::nn
