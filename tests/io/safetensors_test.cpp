#include "qllk/io/safetensors.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <limits>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "support/allocations.hpp"
#include "support/temporary_folder.hpp"

namespace {

using qllk::Index;
using qllk::Mat;
using qllk::Random;
using qllk::Table;
using qllk::Vec;
using qllk::io::Dtype;
using qllk::io::SafetensorsReader;
using qllk::io::SafetensorsWriter;
using qllk::io::Shape;
using qllk::test::message_of;
using qllk::test::read_text;
using qllk::test::TemporaryFolder;
using qllk::test::write_text;
using namespace std::string_literals;

template <class T>
std::string raw(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

/// A file of this header, exactly as given, and this data.
std::string file_of(const std::string& header, const std::string& data) {
  return raw<std::uint64_t>({header.size()}) + header + data;
}

template <class Tensor>
Tensor random_tensor(Index rows, Index cols, std::uint64_t seed) {
  Tensor tensor(rows, cols);
  Random random(seed);
  qllk::fill_normal(tensor, 1, random);
  return tensor;
}

/// What a reader says of these bytes.
std::string verdict(const std::string& bytes) {
  const TemporaryFolder folder;
  const std::string path = folder / "f";
  write_text(path, bytes);
  const std::string message = message_of<std::runtime_error>([&] { SafetensorsReader reader(path); });
  const std::string start = "'" + path + "' ";
  return message.starts_with(start) ? message.substr(start.size()) : message;
}

TEST(Safetensors, WritesTheBytesThatTheFormatAsksFor) {
  const TemporaryFolder folder;
  Mat<float> weight(2, 3);
  weight << 1, 2, 3, 4, 5, 6;
  Vec<double> bias(2);
  bias << 0.5, -1;
  Table<float> table(2, 3);
  table << 1, 3, 5, 2, 4, 6;  // three keys: (1, 2), (3, 4), (5, 6)
  const std::vector<std::uint8_t> flags{7, 8, 9};
  SafetensorsWriter writer;
  writer.set_metadata("who", "me");
  writer.add("weight", weight);
  writer.add("bias", bias);
  writer.add("table", table);
  writer.add_values("flags", std::span<const std::uint8_t>(flags));
  writer.write(folder / "f");
  std::string header = R"({"__metadata__":{"checksum":"0000000000000000","who":"me"},)"
                       R"("bias":{"data_offsets":[0,16],"dtype":"F64","shape":[2]},)"
                       R"("flags":{"data_offsets":[64,67],"dtype":"U8","shape":[3]},)"
                       R"("table":{"data_offsets":[16,40],"dtype":"F32","shape":[3,2]},)"
                       R"("weight":{"data_offsets":[40,64],"dtype":"F32","shape":[2,3]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string written = read_text(folder / "f");
  const std::size_t digits = written.find("\"checksum\":\"") + 12;
  EXPECT_EQ(written.find_first_not_of("0123456789abcdef", digits), digits + 16);
  EXPECT_NE(written.substr(digits, 16), std::string(16, '0'));
  written.replace(digits, 16, 16, '0');
  EXPECT_EQ(written, file_of(header, raw({0.5, -1.0}) + raw({1.f, 2.f, 3.f, 4.f, 5.f, 6.f}) +
                                         raw({1.f, 2.f, 3.f, 4.f, 5.f, 6.f}) + "\7\10\11"));
}

TEST(Safetensors, ReadsAFileMadeByHand) {
  const TemporaryFolder folder;
  // As another program might write it: other order, spaces, no padding, so that the data are not aligned.
  write_text(folder / "f", file_of(R"({ "w": {"dtype":"F32","shape":[2,3],"data_offsets":[3,27]},
                         "n": {"shape":[3],"data_offsets":[0,3],"dtype":"U8"},
                         "empty": {"dtype":"F64","shape":[0, 7],"data_offsets":[27,27]},
                         "scalar": {"dtype":"I64","shape":[],"data_offsets":[27,35]},
                         "__metadata__": {"format":"pt"}} )",
                                   "abc" + raw({1.f, 2.f, 3.f, 4.f, 5.f, 6.f}) + raw<std::int64_t>({-5})));
  const SafetensorsReader reader(folder / "f");
  EXPECT_EQ(reader.names(), (std::vector<std::string>{"empty", "n", "scalar", "w"}));
  EXPECT_EQ(reader.metadata().at("format"), "pt");
  EXPECT_EQ(reader.metadata().size(), 1u);
  EXPECT_TRUE(reader.contains("w"));
  EXPECT_FALSE(reader.contains("__metadata__"));
  EXPECT_EQ(reader.entry("scalar").shape, Shape{});
  EXPECT_EQ(reader.entry("scalar").dtype, Dtype::I64);
  Mat<double> w(2, 3), expected(2, 3);
  expected << 1, 2, 3, 4, 5, 6;
  reader.read_into("w", w);
  EXPECT_EQ(w, expected);
  std::vector<std::uint8_t> n(3);
  reader.read_values("n", std::span(n));
  EXPECT_EQ(n, (std::vector<std::uint8_t>{'a', 'b', 'c'}));
  Mat<float> empty(0, 7);
  EXPECT_NO_THROW(reader.read_into("empty", empty));
}

TEST(Safetensors, EverythingComesBackAsItWas) {
  const TemporaryFolder folder;
  for (const auto& [rows, cols] : {std::pair<Index, Index>{0, 0},
                                   {0, 5},
                                   {5, 0},
                                   {1, 1},
                                   {1, 9},
                                   {9, 1},
                                   {33, 7},
                                   {300, 500},
                                   {2, 70'000},
                                   {70'000, 2}}) {
    const auto m = random_tensor<Mat<float>>(rows, cols, 1);
    const auto d = random_tensor<Mat<double>>(rows, cols, 2);
    const Table<float> t(random_tensor<Mat<float>>(rows, cols, 3));
    const Vec<double> v = random_tensor<Mat<double>>(rows, 1, 4);
    SafetensorsWriter writer;
    writer.add("m", m);
    writer.add("d", d);
    writer.add("t", t);
    writer.add("v", v);
    writer.write(folder / "f");
    const SafetensorsReader reader(folder / "f");
    Mat<float> m2(rows, cols);
    Mat<double> d2(rows, cols);
    Table<float> t2(rows, cols);
    Vec<double> v2(rows);
    reader.read_into("m", m2);
    reader.read_into("d", d2);
    reader.read_into("t", t2);
    reader.read_into("v", v2);
    EXPECT_EQ(m2, m);
    EXPECT_EQ(d2, d);
    EXPECT_EQ(t2, t);
    EXPECT_EQ(v2, v);
    EXPECT_EQ(reader.entry("t").shape, (Shape{static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(rows)}));
    Mat<double> widened(rows, cols);
    Mat<float> narrowed(rows, cols);
    reader.read_into("m", widened);
    reader.read_into("d", narrowed);
    EXPECT_EQ(widened, m.cast<double>());
    EXPECT_EQ(narrowed, d.cast<float>());
  }
}

TEST(Safetensors, KeepsEveryBitOfNumbers) {
  const TemporaryFolder folder;
  Vec<float> odd(5);
  odd << -0.f, std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::infinity(),
      std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::max();
  const std::vector<std::uint64_t> u64{0, 1, std::numeric_limits<std::uint64_t>::max()};
  const std::vector<std::int64_t> i64{std::numeric_limits<std::int64_t>::min(), -1};
  const std::vector<std::int32_t> i32{-7};
  const std::vector<std::uint32_t> u32{};
  const std::vector<double> f64{0.1};
  SafetensorsWriter writer;
  writer.add("odd", odd);
  writer.add_values("u64", std::span(std::as_const(u64)));
  writer.add_values("i64", std::span(i64));
  writer.add_values("i32", std::span(i32));
  writer.add_values("u32", std::span(u32));
  writer.add_values("f64", std::span(f64));
  writer.write(folder / "f");
  const SafetensorsReader reader(folder / "f");
  Vec<float> back(5);
  reader.read_into("odd", back);
  EXPECT_EQ(std::memcmp(back.data(), odd.data(), 5 * sizeof(float)), 0);
  const auto comes_back = [&](const std::string& name, const auto& values) {
    auto read = values;
    std::fill(read.begin(), read.end(), 99);
    reader.read_values(name, std::span(read));
    EXPECT_EQ(read, values) << name;
  };
  comes_back("u64", u64);
  comes_back("i64", i64);
  comes_back("i32", i32);
  comes_back("u32", u32);
  comes_back("f64", f64);
}

/// The value of IEEE 754-2008, 3.4: exponent and fraction bits of a number that is stored in 16 bits.
double value_of(std::uint32_t bits, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits & ((1u << exponent_bits) - 1));
  const double fraction = std::ldexp(bits & ((1u << fraction_bits) - 1), -fraction_bits);
  const double sign = bits >> 15 != 0 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1)
    return fraction > 0 ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias));
}

TEST(Safetensors, ReadsEveryNumberOf16BitsExactly) {
  constexpr Index kNumbers = 1 << 16, kRows = 1 << 9;
  std::string data;
  for (std::uint32_t bits = 0; bits < kNumbers; ++bits) data += raw<std::uint16_t>({static_cast<std::uint16_t>(bits)});
  for (const auto& [dtype, exponent_bits] : {std::pair<const char*, int>{"F16", 5}, {"BF16", 8}}) {
    const TemporaryFolder folder;
    write_text(folder / "f",
               file_of(R"({"w":{"dtype":")" + std::string(dtype) + R"(","shape":[512,128],"data_offsets":[0,131072]}})",
                       data));
    const SafetensorsReader reader(folder / "f");
    Mat<float> as_float(kRows, kNumbers / kRows);
    Mat<double> as_double(kRows, kNumbers / kRows);
    reader.read_into("w", as_float);
    reader.read_into("w", as_double);
    int nans = 0, subnormals = 0, infinities = 0;
    for (std::uint32_t bits = 0; bits < kNumbers; ++bits) {
      const double expected = value_of(bits, exponent_bits);
      const Index row = bits / 128, col = bits % 128;
      const float found = as_float(row, col);
      nans += std::isnan(expected), infinities += std::isinf(expected);
      subnormals += expected != 0 && std::abs(expected) < std::ldexp(1.0, 2 - (1 << (exponent_bits - 1)));
      const auto same = [&](double number) {
        return std::isnan(expected) ? std::isnan(number)
                                    : number == expected && std::signbit(number) == std::signbit(expected);
      };
      ASSERT_TRUE(same(found)) << dtype << " " << bits << " is " << found << ", expected " << expected;
      ASSERT_TRUE(same(as_double(row, col))) << dtype << " " << bits;
    }
    const int fractions = 1 << (15 - exponent_bits);
    EXPECT_EQ(nans, 2 * (fractions - 1));
    EXPECT_EQ(subnormals, 2 * (fractions - 1));
    EXPECT_EQ(infinities, 2);
  }
}

TEST(Safetensors, MetadataAndNamesMayBeAnyText) {
  const TemporaryFolder folder;
  const Vec<float> v = Vec<float>::Ones(1);
  SafetensorsWriter writer;
  writer.set_metadata("config", R"({"dim": 64, "quote": "\""})");
  writer.set_metadata("ä\n", "\0 zero"s);
  writer.add("Gewicht \"größer\" \\ 1", v);
  writer.write(folder / "f");
  const SafetensorsReader reader(folder / "f");
  EXPECT_EQ(reader.metadata().at("config"), R"({"dim": 64, "quote": "\""})");
  EXPECT_EQ(reader.metadata().at("ä\n"), "\0 zero"s);
  EXPECT_EQ(reader.names(), std::vector<std::string>{"Gewicht \"größer\" \\ 1"});
  writer.set_metadata("path", "\xFF");
  EXPECT_THROW(writer.write(folder / "f"), std::invalid_argument);
  EXPECT_NO_THROW(SafetensorsReader(folder / "f"));
}

TEST(Safetensors, AFileOfNothingIsAFile) {
  const TemporaryFolder folder;
  SafetensorsWriter().write(folder / "f");
  EXPECT_TRUE(SafetensorsReader(folder / "f").names().empty());
}

TEST(Safetensors, WriterRefusesANameTwice) {
  const Vec<float> v = Vec<float>::Ones(3);
  SafetensorsWriter writer;
  writer.add("v", v);
  EXPECT_THROW(writer.add("v", v), std::invalid_argument);
  EXPECT_THROW(writer.add("__metadata__", v), std::invalid_argument);
}

TEST(Safetensors, ErrorsNameTheTensorTheFoundAndTheExpected) {
  const TemporaryFolder folder;
  const Mat<float> m = Mat<float>::Ones(2, 3);
  const std::vector<std::int32_t> n{1, 2, 3};
  SafetensorsWriter writer;
  writer.add("m", m);
  writer.add_values("n", std::span(n));
  writer.write(folder / "f");
  const SafetensorsReader reader(folder / "f");
  const std::string file = "'" + (folder / "f") + "' ";
  Mat<float> wrong = Mat<float>::Zero(3, 2);
  EXPECT_EQ(message_of<std::runtime_error>([&] { reader.read_into("m", wrong); }),
            file + "tensor 'm' has shape [2, 3], expected [3, 2]");
  EXPECT_EQ(wrong, Mat<float>::Zero(3, 2));
  Vec<float> flat(6);
  EXPECT_EQ(message_of<std::runtime_error>([&] { reader.read_into("m", flat); }),
            file + "tensor 'm' has shape [2, 3], expected [6]");
  Vec<float> three(3);
  EXPECT_EQ(message_of<std::runtime_error>([&] { reader.read_into("n", three); }),
            file + "tensor 'n' has dtype I32, expected F16, BF16, F32 or F64");
  EXPECT_EQ(message_of<std::runtime_error>([&] { reader.read_into("x", three); }), file + "has no tensor 'x'");
  std::vector<std::uint32_t> u(3);
  EXPECT_EQ(message_of<std::runtime_error>([&] { reader.read_values("n", std::span(u)); }),
            file + "tensor 'n' has dtype I32, expected U32");
  std::vector<std::int32_t> two(2);
  EXPECT_EQ(message_of<std::runtime_error>([&] { reader.read_values("n", std::span(two)); }),
            file + "tensor 'n' has shape [3], expected [2]");
  EXPECT_EQ(message_of<std::runtime_error>([&] { SafetensorsReader missing(folder / "missing"); }),
            "cannot open '" + (folder / "missing") + "': No such file or directory");
  EXPECT_EQ(message_of<std::runtime_error>([&] { SafetensorsReader folder_itself(folder.path()); }),
            "'" + folder.path() + "' is a folder, expected a file");
}

TEST(Safetensors, ReadsAHeaderInTimeLinearInItsTensors) {
  const auto seconds = [](int tensors) {
    std::string header = "{";
    for (int i = 0; i < tensors; ++i)
      header += (i > 0 ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    const std::string file = file_of(header + "}", "");
    double least = std::numeric_limits<double>::infinity();
    for (int attempt = 0; attempt < 3; ++attempt) {
      const std::clock_t start = std::clock();
      EXPECT_EQ(verdict(file), "(nothing was thrown)");
      least = std::min(least, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    return least;
  };
  const double few = seconds(2'000), many = seconds(20'000);
  EXPECT_TRUE(many < 40 * few) << few << " s, then " << many;  // with the square it would be a hundred times as long
}

TEST(Safetensors, SaysWhatIsWrongWithAForeignFile) {
  const std::string four(4, 'x');
  EXPECT_EQ(verdict(""), "is not a safetensors file, or cut short: it has 0 bytes");
  EXPECT_EQ(verdict("PK\3\4    any zip file, a PyTorch one, say"),
            "is not a safetensors file, or cut short: a header of 2314885530346802000 bytes in a file of 40");
  EXPECT_EQ(verdict(file_of("", "")), "is not a safetensors file: its header does not begin with '{'");
  EXPECT_EQ(verdict(file_of("[1]", "")), "is not a safetensors file: its header does not begin with '{'");
  EXPECT_TRUE(verdict(file_of("{\"a\"", "")).starts_with("has a header that is not valid JSON: "));
  EXPECT_TRUE(verdict(file_of("{} {}", "")).starts_with("has a header that is not valid JSON: "));
  EXPECT_TRUE(verdict(file_of("{\"\xFF\":{}}", "")).starts_with("has a header that is not valid JSON: "));
  EXPECT_EQ(verdict(file_of("{}", "more")), "has 4 bytes of data, its header tells of 0");
  EXPECT_EQ(verdict(file_of(R"({"a":)" + std::string(100'000, '['), "")), "has a header that is nested too deep");
  EXPECT_EQ(verdict(file_of(R"({"a":{"dtype":"U8","shape":[[4]],"data_offsets":[0,4]}})", four)),
            "has a header that is nested too deep");
  const std::string a = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  EXPECT_EQ(verdict(file_of("{" + a + "}", four)), "(nothing was thrown)");
  EXPECT_EQ(verdict(file_of("{" + a + "," + a + "}", four)), "has the name 'a' twice in its header");
  EXPECT_EQ(verdict(file_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})", four)),
            "has the name 'dtype' twice in its header");
  EXPECT_EQ(verdict(file_of("{" + a + "}", "xyz")), "is cut short: tensor 'a' ends at data byte 4 of 3");
  EXPECT_EQ(verdict(file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})", "12345")),
            "has overlapping tensors at data byte 3");
  EXPECT_EQ(verdict(file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})", four)),
            "has overlapping tensors at data byte 2");
  EXPECT_EQ(verdict(file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})", "1234567")),
            "has a gap between tensors at data byte 4");
  EXPECT_EQ(verdict(file_of(R"({"__metadata__":[]})", "")), "has '__metadata__' that is not an object");
  EXPECT_EQ(verdict(file_of(R"({"__metadata__":{"a":1}})", "")), "has metadata 'a' that is not a string");
  const auto tensor = [&](const std::string& value) { return verdict(file_of(R"({"a":)" + value + "}", four)); };
  EXPECT_EQ(tensor("1"), "has a tensor 'a' without a list 'data_offsets'");
  EXPECT_EQ(tensor(R"({"dtype":"U8","shape":4,"data_offsets":[0,4]})"), "has a tensor 'a' without a list 'shape'");
  EXPECT_EQ(tensor(R"({"shape":[4],"data_offsets":[0,4]})"), "has a tensor 'a' without a 'dtype'");
  EXPECT_EQ(tensor(R"({"dtype":8,"shape":[4],"data_offsets":[0,4]})"), "has a tensor 'a' without a 'dtype'");
  EXPECT_EQ(tensor(R"({"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]})"),
            "has a tensor 'a' of dtype 'F8_E4M3', expected U8, I32, U32, I64, U64, F16, BF16, F32 or F64");
  EXPECT_EQ(tensor(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4],"extra":1})"),
            "has a tensor 'a' with other members than dtype, shape and data_offsets");
  for (const char* number : {"-4", "4.0", "1e300", "\"4\"", "null", "99999999999999999999"})
    EXPECT_EQ(tensor(R"({"dtype":"U8","shape":[)"s + number + R"(],"data_offsets":[0,4]})"),
              "has a tensor 'a' with a number in 'shape' that is no size");
  EXPECT_EQ(tensor(R"({"dtype":"U8","shape":[4],"data_offsets":[4,0]})"),
            "has a tensor 'a' whose data_offsets are not [begin, end]");
  EXPECT_EQ(tensor(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4,4]})"),
            "has a tensor 'a' whose data_offsets are not [begin, end]");
  EXPECT_EQ(tensor(R"({"dtype":"F32","shape":[4],"data_offsets":[0,4]})"),
            "has a tensor 'a' of shape [4] and dtype F32 in 4 bytes, expected 16");
  EXPECT_EQ(tensor(R"({"dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,4]})"),
            "has a tensor 'a' whose shape [4294967296, 4294967297] is too large");
  EXPECT_EQ(tensor(R"({"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]})"),
            "has a tensor 'a' whose shape [4611686018427387905] is too large");
  EXPECT_EQ(tensor(R"({"dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551615]})"),
            "is cut short: tensor 'a' ends at data byte 18446744073709551615 of 4");
}

/// Bytes, and then zeros up to a size, which take no room on the disk.
struct Malformed {
  const char* kind;
  std::string bytes;
  std::uint64_t size = 0;
};

std::vector<Malformed> malformed_files() {
  const auto length = [](std::uint64_t value) { return raw<std::uint64_t>({value}); };
  const auto tensor = [](const std::string& value) { return file_of(R"({"a":)" + value + "}", "1234"); };
  const auto shaped = [&](const std::string& shape, const std::string& offsets = "[0,4]") {
    return tensor(R"({"dtype":"U8","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}");
  };
  const std::string a = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})", deep(1'000'000, '['),
                    digits(1'000'000, '9');
  std::string many = "{", twice = "{";
  for (int i = 0; i < 20'000; ++i)
    many += "\"" + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)";
  for (int i = 0; i < 10'000; ++i) twice += R"("x":1,)";
  return {{"no bytes", ""},
          {"half a length", "\x08\0\0"s},
          {"a length of 2^64 - 1", length(~std::uint64_t{0}) + "{}"},
          {"a length of 2^63", length(std::uint64_t{1} << 63) + "{}"},
          {"a length beyond the file", length(100) + "{}"},
          {"a length above the limit", length(200'000'000), 200'000'100},
          {"a header of 90 MB of zeros", length(90'000'000) + "{", 90'000'100},
          {"a header of zeros", length(1000), 2000},
          {"no header", length(0) + "1234"},
          {"a list", file_of("[]", "")},
          {"text", file_of("\"text\"", "")},
          {"a cut header", file_of(R"({"a":{"dtype")", "")},
          {"two headers", file_of("{}{}", "")},
          {"no UTF-8", file_of("{\"\xC0\xAF\":{}}", "")},
          {"a control character", file_of("{\"\n\":{}}", "")},
          {"a bad escape", file_of(R"({"\ud800":{}})", "")},
          {"a comment", file_of("{/**/}", "")},
          {"deep nesting", file_of(R"({"a":)" + deep, "")},
          {"deep objects", file_of(R"({"a":{"b":{"c":{"d":{}}}}})", "")},
          {"a number of a million digits", file_of(R"({"a":)" + digits + "}", "")},
          {"a size of a million digits", shaped("[" + digits + "]")},
          {"20,000 tensors and a cut", file_of(many, "")},
          {"10,000 times one name", file_of(twice + "\"y\":1}", "")},
          {"a tensor twice", file_of("{" + a + "," + a + "}", "1234")},
          {"metadata twice", file_of(R"({"__metadata__":{},"__metadata__":{}})", "")},
          {"metadata that are a number", file_of(R"({"__metadata__":1})", "")},
          {"metadata of numbers", file_of(R"({"__metadata__":{"a":1}})", "")},
          {"a tensor that is null", tensor("null")},
          {"a tensor that is a list", tensor("[]")},
          {"no dtype", tensor(R"({"shape":[4],"data_offsets":[0,4]})")},
          {"an unknown dtype", tensor(R"({"dtype":"F8_E5M2","shape":[4],"data_offsets":[0,4]})")},
          {"a dtype of a million letters", tensor(R"({"dtype":")" + digits + R"(","shape":[4],"data_offsets":[0,4]})")},
          {"no shape", tensor(R"({"dtype":"U8","data_offsets":[0,4]})")},
          {"a negative size", shaped("[-4]")},
          {"a fraction", shaped("[4.0]")},
          {"a product of 2^64", shaped("[4294967296,4294967296]")},
          {"a product that wraps to 4", shaped("[4,9223372036854775809,2]")},
          {"sizes of 0 and 2^63", shaped("[0,9223372036854775808]")},
          {"offsets the wrong way round", shaped("[4]", "[4,0]")},
          {"offsets beyond the file", shaped("[4]", "[0,8]")},
          {"offsets of 2^64 - 1", shaped("[4]", "[18446744073709551611,18446744073709551615]")},
          {"one offset", shaped("[4]", "[0]")},
          {"three offsets", shaped("[4]", "[0,4,4]")},
          {"fewer bytes than the shape", shaped("[5]")},
          {"another member", tensor(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":0})")},
          {"an overlap", file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", "1234")},
          {"a gap", file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})", "1234567")},
          {"bytes that nobody owns", file_of("{" + a + "}", "12345")},
          {"1 TB that nobody owns", file_of("{" + a + "}", "1234"), std::uint64_t{1} << 40}};
}

/// In a process of its own each, whose memory is known: what a file pretends must not be what it costs.
TEST(Safetensors, MalformedFilesAreRefusedAtOnceAndInLittleMemory) {
  const TemporaryFolder folder;
  const std::string path = folder / "f";
  const auto files = malformed_files();
  EXPECT_GE(files.size(), 30u);
  long most_memory = 0;
  double most_seconds = 0;
  for (const auto& [kind, bytes, size] : files) {
    SCOPED_TRACE(kind);
    write_text(path, bytes);
    if (size > 0 && ::truncate(path.c_str(), static_cast<off_t>(size)) != 0) continue;  // a small file system
    struct Cost {
      bool refused;
      double seconds;
      long kilobytes;
    } cost{};
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      rusage before{}, after{};
      ::getrusage(RUSAGE_SELF, &before);
      const std::clock_t start = std::clock();
      const std::string message = message_of<qllk::RuntimeError>([&] { SafetensorsReader reader(path); });
      cost.seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      ::getrusage(RUSAGE_SELF, &after);
      cost.kilobytes = after.ru_maxrss - before.ru_maxrss;
      cost.refused = message.starts_with("'" + path + "' ") && message.size() < 1000;
      ::_exit(::write(ends[1], &cost, sizeof cost) == sizeof cost ? 0 : 1);
    }
    ::close(ends[1]);
    EXPECT_EQ(::read(ends[0], &cost, sizeof cost), static_cast<ssize_t>(sizeof cost));
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(cost.refused);
    if (qllk::test::kCountsAllocations) {  // a sanitizer has memory of its own
      const double emulated = std::string_view(QLLK_TEST_EMULATOR).empty() ? 1 : 10;
      EXPECT_TRUE(cost.seconds < 0.1 * emulated) << cost.seconds << " s";
      EXPECT_TRUE(cost.kilobytes < 16 * 1024) << cost.kilobytes << " kB";
    }
    most_memory = std::max(most_memory, cost.kilobytes);
    most_seconds = std::max(most_seconds, cost.seconds);
  }
  std::printf("%zu kinds, at most %.3f s and %ld kB\n", files.size(), most_seconds, most_memory);
}

struct Inner {
  Mat<float> weight;
  Vec<float> bias;
  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("weight", t.weight...);
    visit("bias", t.bias...);
  }
};
struct Outer {
  std::vector<Inner> blocks;
  Table<double> table;
  Mat<float> unused;
  template <class Visit, class... T>
  static void fields(Visit&& visit, T&... t) {
    visit("blocks", t.blocks...);
    visit("table", t.table...);
    visit("unused", t.unused...);
  }
};

Outer outer(std::uint64_t seed) {
  Outer o;
  for (Index i = 0; i < 2; ++i)
    o.blocks.push_back({random_tensor<Mat<float>>(3 + i, 2, seed), random_tensor<Mat<float>>(3 + i, 1, seed + 1)});
  o.table = random_tensor<Mat<double>>(2, 5, seed + 2);
  return o;
}

/// A valid file with every kind of thing in it.
std::string sample(const TemporaryFolder& folder) {
  const Outer params = outer(1);
  const std::vector<std::uint64_t> step{17};
  SafetensorsWriter writer;
  writer.set_metadata("format", "qllk");
  qllk::io::save_parameters(writer, "model", params);
  writer.add_values("step", std::span(step));
  writer.write(folder / "sample");
  return read_text(folder / "sample");
}

/// Opens the bytes and reads all that they hold. Any exception but std::runtime_error ends the test.
bool is_read(const std::string& path, const std::string& bytes) {
  write_text(path, bytes);
  try {
    const SafetensorsReader reader(path);
    Outer params = outer(0);
    qllk::io::load_parameters(reader, "model", params);
    std::uint64_t step = 0;
    reader.read_values("step", std::span(&step, 1));
    return true;
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    return false;
  }
}

TEST(Safetensors, CutShortAnywhereIsAnError) {
  const TemporaryFolder folder;
  const std::string whole = sample(folder);
  EXPECT_TRUE(is_read(folder / "f", whole));
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(is_read(folder / "f", whole.substr(0, size))) << size;
  EXPECT_FALSE(is_read(folder / "f", whole + "x"));
}

TEST(Safetensors, AnyByteChangedIsAnErrorOrAnotherValidFile) {
  const TemporaryFolder folder;
  const std::string whole = sample(folder);
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), sizeof header);
  Random random(5);
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (int change = 0; change < 12; ++change) {
      std::string bytes = whole;
      const auto flip = change < 8 ? 1u << change : 1 + random.below(255);
      bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ flip);
      const bool read = is_read(folder / "f", bytes);
      // A wrong length always shows, wrong numbers never do, and within the header either may be.
      EXPECT_FALSE(read && at < sizeof header) << at;
      EXPECT_TRUE(read || at < sizeof header + header) << at;
    }
}

TEST(Safetensors, VerifyFindsEveryByteThatIsAltered) {
  const TemporaryFolder folder;
  const std::string whole = sample(folder), path = folder / "f";
  SafetensorsReader(folder / "sample").verify();
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), sizeof header);
  Random random(6);
  for (std::size_t at = sizeof header; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1 + random.below(255)));
    write_text(path, bytes);
    const std::string message = message_of<std::runtime_error>([&] {
      const SafetensorsReader reader(path);
      if (reader.has_checksum()) reader.verify();
      if (!reader.has_checksum()) reader.fail("has no checksum");
    });
    EXPECT_TRUE(message.starts_with("'" + path + "' ")) << at << message;
    const bool in_data = at >= sizeof header + header;
    EXPECT_TRUE(!in_data || message.find("is damaged: its checksum is wrong") != std::string::npos) << at << message;
  }
}

TEST(Safetensors, KeepsTheOldFileWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  const std::string old = sample(folder);
  const Mat<float> large = Mat<float>::Ones(100, 100);
  SafetensorsWriter writer;
  writer.add("large", large);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit saved{};
  ::getrlimit(RLIMIT_FSIZE, &saved);
  const rlimit limit{20'000, saved.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const std::string message = message_of<std::runtime_error>([&] { writer.write(folder / "sample"); });
  ::setrlimit(RLIMIT_FSIZE, &saved);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(message, "cannot write '" + (folder / "sample") + "': File too large");
  EXPECT_EQ(read_text(folder / "sample"), old);
  EXPECT_EQ(folder.entries(), 1);
}

TEST(Safetensors, AFileThatChangesWhileItIsReadIsAnError) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  const Mat<float> large = Mat<float>::Constant(300, 300, 1.5f);
  SafetensorsWriter writer;
  writer.add("large", large);
  writer.write(path);
  const SafetensorsReader reader(path);
  Mat<float> back(300, 300);
  reader.read_into("large", back);
  EXPECT_EQ(back, large);
  ASSERT_EQ(::truncate(path.c_str(), 1000), 0);
  EXPECT_TRUE(message_of<std::runtime_error>([&] {
                reader.read_into("large", back);
              }).starts_with("'" + path + "' was shortened while it was in use"));
}

TEST(Parameters, ComeBackAsTheyWereAndEmptyOnesAreSkipped) {
  for (const char* prefix : {"model", ""}) {
    const TemporaryFolder folder;
    const Outer saved = outer(1);
    SafetensorsWriter writer;
    qllk::io::save_parameters(writer, prefix, saved);
    writer.write(folder / "f");
    const SafetensorsReader reader(folder / "f");
    EXPECT_EQ(reader.names().size(), 5u);
    const std::string start = *prefix == '\0' ? "" : "model.";
    EXPECT_EQ(reader.entry(start + "blocks.1.weight").shape, (Shape{4, 2}));
    EXPECT_EQ(reader.entry(start + "blocks.1.bias").shape, (Shape{4}));
    EXPECT_EQ(reader.entry(start + "table").shape, (Shape{5, 2}));
    Outer loaded = outer(9);
    qllk::io::load_parameters(reader, prefix, loaded);
    EXPECT_EQ(loaded.blocks[0].weight, saved.blocks[0].weight);
    EXPECT_EQ(loaded.blocks[0].bias, saved.blocks[0].bias);
    EXPECT_EQ(loaded.blocks[1].weight, saved.blocks[1].weight);
    EXPECT_EQ(loaded.blocks[1].bias, saved.blocks[1].bias);
    EXPECT_EQ(loaded.table, saved.table);
  }
}

TEST(Parameters, MissingAndUnexpectedTensorsAreNamed) {
  const TemporaryFolder folder;
  const Outer saved = outer(1);
  const Vec<float> stray = Vec<float>::Ones(2);
  SafetensorsWriter writer;
  qllk::io::save_parameters(writer, "model", saved.blocks[0]);
  writer.add("model.stray", stray);
  writer.add("models", stray);  // not under the prefix
  writer.write(folder / "f");
  const SafetensorsReader reader(folder / "f");
  Outer loaded = outer(9);
  EXPECT_EQ(
      message_of<std::runtime_error>([&] { qllk::io::load_parameters(reader, "model", loaded); }),
      "'" + (folder / "f") +
          "' is not a checkpoint of this model: missing 'model.blocks.0.weight', 'model.blocks.0.bias', "
          "'model.blocks.1.weight', 'model.blocks.1.bias', 'model.table', unexpected 'model.bias', 'model.stray', "
          "'model.weight'");
  EXPECT_EQ(loaded.table, outer(9).table);
}

TEST(Parameters, OfAnotherShapeChangeNothing) {
  const TemporaryFolder folder;
  Outer saved = outer(1);
  saved.table = random_tensor<Mat<double>>(2, 6, 1);
  SafetensorsWriter writer;
  qllk::io::save_parameters(writer, "model", std::as_const(saved));
  writer.write(folder / "f");
  const SafetensorsReader reader(folder / "f");
  Outer loaded = outer(9);
  EXPECT_EQ(message_of<std::runtime_error>([&] { qllk::io::load_parameters(reader, "model", loaded); }),
            "'" + (folder / "f") + "' tensor 'model.table' has shape [6, 2], expected [5, 2]");
  EXPECT_EQ(loaded.blocks[0].weight, outer(9).blocks[0].weight);
}

}  // namespace
