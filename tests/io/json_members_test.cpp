#include "qllk/io/json_members.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include "support/temporary_folder.hpp"

namespace {
enum class Colour { red, green };
struct Inner {
  double value = 0;
  bool flag = false;
};
struct Outer {
  int number = 0;
  std::uint64_t seed = 0;
  Colour colour = Colour::red;
  Inner inner;
};
}  // namespace

template <>
struct qllk::io::EnumNames<Colour> {
  static constexpr std::array names{"red", "green"};
};
template <>
struct qllk::io::Members<Inner> {
  template <class S, class F>
  static void visit(S& s, F&& f) {
    f("value", s.value), f("flag", s.flag);
  }
};
template <>
struct qllk::io::Members<Outer> {
  template <class S, class F>
  static void visit(S& s, F&& f) {
    f("number", s.number), f("seed", s.seed), f("colour", s.colour), f("inner", s.inner);
  }
};

namespace qllk::io {
namespace {

const std::string kText =
    R"({"colour":"green","inner":{"flag":true,"value":0.1},"number":-3,"seed":18446744073709551615})";

TEST(JsonMembers, ComeBackBitByBit) {
  Outer outer{
      .number = -3, .seed = std::numeric_limits<std::uint64_t>::max(), .colour = Colour::green, .inner = {0.1, true}};
  EXPECT_EQ(to_json(outer).dump(), kText);
  for (const double value : {0.1, 1.0 / 3, 1e-300, 5e-324, -0.0, 1.7976931348623157e308}) {
    outer.inner.value = value;
    Outer read;
    from_json(parse_json(to_json(outer).dump(), "x"), read, "x");
    EXPECT_EQ(read.inner.value, value);
    EXPECT_EQ(read.seed, outer.seed);
    EXPECT_EQ(read.number, -3);
    EXPECT_EQ(read.colour, Colour::green);
    EXPECT_TRUE(read.inner.flag);
  }
}

TEST(JsonMembers, ErrorsNameTheMember) {
  const auto error = [](const std::string& from, const std::string& to) {
    std::string text = kText;
    text.replace(text.find(from), from.size(), to);
    Outer outer;
    return test::message_of<std::runtime_error>([&] { from_json(parse_json(text, "x"), outer, "x"); });
  };
  EXPECT_EQ(error("-3", "3.5"), "'x.number' is 3.5, expected a whole number");
  EXPECT_EQ(error("-3", "3000000000"), "'x.number' is 3000000000, expected a smaller number");
  EXPECT_EQ(error("18446744073709551615", "-1"), "'x.seed' is -1, expected a smaller number");
  EXPECT_EQ(error("green", "blue"), R"('x.colour' is "blue", expected one of ["red","green"])");
  EXPECT_EQ(error("true", "1"), "'x.inner.flag' is 1, expected true or false");
  EXPECT_EQ(error("0.1", "\"a\""), "'x.inner.value' is \"a\", expected a number");
  EXPECT_EQ(error("number", "numbar"), "'x' lacks 'number'");
  EXPECT_EQ(error("\"number\":-3", "\"number\":-3,\"more\":1"), "'x' has an unknown member 'more'");
  EXPECT_EQ(error(R"({"flag":true,"value":0.1})", "[]"), "'x.inner' is [], expected an object");
  EXPECT_EQ(error("{", "}"), "'x' is not valid JSON");
  EXPECT_EQ(error("-3", std::string(33, '[')), "'x' has more than 32 levels of lists and objects");
}

/// To copy or print what is nested a million times would take more stack than there is.
TEST(JsonMembers, NestingIsBounded) {
  const auto nested = [](int levels) {
    const auto count = static_cast<std::size_t>(levels);
    return std::string(count, '[') + std::string(count, ']');
  };
  EXPECT_EQ(parse_json(nested(32), "x").size(), 1u);
  EXPECT_EQ(parse_json(R"(["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]"])", "x").size(), 1u);  // in a string
  EXPECT_THROW(parse_json(nested(33), "x"), std::runtime_error);
  EXPECT_THROW(parse_json(nested(1'000'000), "x"), std::runtime_error);
}

}  // namespace
}  // namespace qllk::io
