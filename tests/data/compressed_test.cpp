#include "qllk/data/compressed.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/data/corpus.hpp"
#include "support/temporary_folder.hpp"
#include "support/words.hpp"

namespace qllk::data {
namespace {

using test::words;

void write(const std::filesystem::path& path, const std::vector<Byte>& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}
std::vector<Byte> read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::vector<Byte> all_of(const Corpus& corpus) {
  std::vector<Byte> bytes(static_cast<std::size_t>(corpus.size()));
  corpus.copy(0, bytes);
  return bytes;
}

/// By the program of the same format; skips the test where there is none.
class Compressed : public ::testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    read_compressed_files();
    const auto& format = compressed_formats()[GetParam()];
    program_ = std::array{"gzip", "xz", "zstd -q"}[GetParam()];
    extension_ = format.extension;
    if (format.decode == nullptr) GTEST_SKIP() << "skipped: built without " << format.library;
    write(folder_ / "probe", {1});
    if (!compress("probe")) GTEST_SKIP() << "skipped: there is no program '" << program_ << "'";
    std::filesystem::remove(name("probe"));
  }

  std::string name(const std::string& file) const { return folder_ / (file + extension_); }
  /// Replaces a file.
  bool compress(const std::string& file) const {
    const std::string path = folder_ / file;
    return std::system((program_ + " -f '" + path + "' 2>&1 >/dev/null && rm -f '" + path + "'").c_str()) == 0;
  }
  void add(const std::string& file, const std::vector<Byte>& bytes) const {
    write(folder_ / file, bytes);
    ASSERT_TRUE(compress(file));
  }

  test::TemporaryFolder folder_;
  std::string program_, extension_;
};

TEST_P(Compressed, IsReadAsWhatItHolds) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{1000}, std::size_t{300'000}, std::size_t{1'000'000}}) {
    const auto text = words(size, size);
    add("text", text);
    EXPECT_EQ(all_of(Corpus::open(name("text"))), text) << size;
  }
}

TEST_P(Compressed, KeepsItsPlaceAmongOthers) {
  std::vector<Byte> expected;
  for (const auto& [file, size] : std::vector<std::pair<std::string, std::size_t>>{
           {"a", 200'000}, {"b", 10}, {"c", 400'000}, {"d", 200'000}, {"e", 50}}) {
    const auto text = words(size, size + expected.size());
    expected.insert(expected.end(), text.begin(), text.end());
    if (file == "a" || file == "e")
      write(folder_ / file, text);
    else
      add(file, text);
  }
  const Corpus corpus = Corpus::open(folder_.path());
  EXPECT_TRUE(corpus.skipped().empty());
  EXPECT_EQ(all_of(corpus), expected);
  std::vector<Byte> part(1000);
  corpus.copy(199'900, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), expected.begin() + 199'900));
  std::vector<Byte> again;
  corpus.for_each_span([&](Bytes bytes) { again.insert(again.end(), bytes.begin(), bytes.end()); });
  EXPECT_EQ(again, expected);
}

TEST_P(Compressed, SeveralStreamsInOneFileAreOneText) {
  const auto first = words(100'000, 1), second = words(70'000, 2);
  add("first", first);
  add("second", second);
  auto both = read(name("first"));
  const auto rest = read(name("second"));
  both.insert(both.end(), rest.begin(), rest.end());
  write(name("both"), both);
  auto expected = first;
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_EQ(all_of(Corpus::open(name("both"))), expected);
}

TEST_P(Compressed, CutShortOrDamagedIsAnError) {
  add("text", words(400'000, 3));
  write(folder_ / "good", words(100, 4));
  const auto whole = read(name("text"));
  const auto message = [&] {
    try {
      Corpus::open(name("text"));
    } catch (const RuntimeError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  for (const std::size_t size : {whole.size() - 1, whole.size() / 2, std::size_t{10}}) {
    write(name("text"), {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    EXPECT_EQ(message(), "'" + name("text") + "' is cut short: the end of its compressed data is missing");
  }
  auto bad = whole;
  for (std::size_t i = bad.size() / 2; i < bad.size() / 2 + 64; ++i) bad[i] ^= 0x5A;
  write(name("text"), bad);
  EXPECT_NE(message().find("is damaged: "), std::string::npos) << message();

  const Corpus folder = Corpus::open(folder_.path());  // a folder goes on without it, and says so
  EXPECT_EQ(all_of(folder), words(100, 4));
  ASSERT_EQ(folder.skipped().size(), 1u);
  EXPECT_NE(folder.skipped()[0].find("is damaged: "), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Formats, Compressed, ::testing::Values(0, 1, 2));

TEST(CompressedFormat, NeedsBothNameAndBytes) {
  const test::TemporaryFolder folder;
  const auto text = words(1000, 1);
  write(folder / "text.gz", text);
  EXPECT_EQ(all_of(Corpus::open((folder / "text.gz"))), text);
  write(folder / "bytes", {0x1F, 0x8B, 8, 0});
  EXPECT_EQ(Corpus::open((folder / "bytes")).size(), 4u);
}

TEST(CompressedFormat, WithoutALibraryIsAnError) {
  const test::TemporaryFolder folder;
  write(folder / "text.zst", {0x28, 0xB5, 0x2F, 0xFD, 0, 0});
  auto& format = compressed_formats()[2];
  auto* const decode = std::exchange(format.decode, nullptr);
  try {
    Corpus::open((folder / "text.zst"));
    ADD_FAILURE() << "expected an error";
  } catch (const RuntimeError& error) {
    EXPECT_EQ(std::string(error.what()), "'" + (folder / "text.zst") +
                                             "' is compressed, but this program was built without libzstd: "
                                             "decompress it first");
  }
  format.decode = decode;
}

TEST(Patterns, StandForWhatTheyMatch) {
  const test::TemporaryFolder folder;
  for (const char* const file : {"b.txt", "a.txt", "c.md"}) write(folder / file, {static_cast<Byte>(*file)});
  EXPECT_EQ(all_of(Corpus::open((folder / "*.txt"))), (std::vector<Byte>{'a', 'b'}));
  EXPECT_THROW(Corpus::open((folder / "*.pdf")), RuntimeError);
  write(folder / "[x]", {'x'});
  EXPECT_EQ(all_of(Corpus::open((folder / "[x]"))), std::vector<Byte>{'x'});
}

}  // namespace
}  // namespace qllk::data
