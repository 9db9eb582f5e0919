#include "qllk/data/corpus.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/temporary_folder.hpp"

namespace {

namespace fs = std::filesystem;
using qllk::Byte;
using qllk::data::Corpus;
using qllk::test::message_of;
using qllk::test::TemporaryFolder;
using qllk::test::write_text;

std::string text_of(const Corpus& corpus) {
  std::string text(static_cast<std::size_t>(corpus.size()), '\0');
  corpus.copy(0, std::span(reinterpret_cast<Byte*>(text.data()), text.size()));
  return text;
}

Corpus of_text(const std::string& text) { return Corpus::from_memory({text.begin(), text.end()}); }

/// Bytes that differ from place to place, so that a wrong offset shows.
std::string noise(std::size_t size, unsigned seed = 1) {
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>((seed = seed * 1664525u + 1013904223u) >> 24);
  return out;
}

std::string error_of_opening(const std::string& path) {
  return message_of<std::runtime_error>([&] { Corpus::open(path); });
}

TEST(Corpus, OfOneFileIsItsBytesInOnePiece) {
  const TemporaryFolder folder;
  const std::string text = noise(300'001);
  write_text(folder / "a.txt", text);
  const Corpus corpus = Corpus::open(folder / "a.txt");
  EXPECT_EQ(text_of(corpus), text);
  EXPECT_EQ(corpus.sources(), std::vector{folder / "a.txt"});
  int pieces = 0;
  corpus.for_each_span([&](qllk::Bytes) { ++pieces; });
  EXPECT_EQ(pieces, 1);
}

TEST(Corpus, OfSeveralFilesIsTheirBytesInTheOrderGiven) {
  const TemporaryFolder folder;
  const std::string large = noise(100'000), larger = noise(5'000'000, 2);
  write_text(folder / "small", "one");
  write_text(folder / "large", large);
  write_text(folder / "larger", larger);
  for (const char* name : {"second", "third", "fourth"}) write_text(folder / name, "one");
  const Corpus corpus = Corpus::open_all(
      {folder / "small", folder / "second", folder / "large", folder / "third", folder / "larger", folder / "fourth"});
  EXPECT_EQ(text_of(corpus), "oneone" + large + "one" + larger + "one");
  EXPECT_EQ(corpus.sources().size(), 6u);
  EXPECT_THROW(Corpus::open_all({}), std::invalid_argument);
}

TEST(Corpus, FilesHaveTheWeightOfTheirPath) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "of_two");
  write_text(folder / "of_two/a", "12");
  write_text(folder / "of_two/b", "345");
  write_text(folder / "c", "6789");
  const std::vector<std::string> paths{folder / "of_two", folder / "c", folder / "of_two/b"};
  const Corpus corpus = Corpus::open_all(paths, std::vector{2.0, 0.5, 7.0});
  EXPECT_EQ(corpus.weights(), (std::vector{2.0, 2.0, 0.5})) << "a file counts once, as it came first";
  EXPECT_EQ(corpus.slice(3, 7).weights(), (std::vector{2.0, 0.5}));
  EXPECT_EQ(corpus.select(std::vector<Corpus::Range>{{6, 9}, {0, 2}}).weights(), (std::vector{0.5, 2.0}));
  EXPECT_EQ(Corpus::open_all(paths).weights(), (std::vector{1.0, 1.0, 1.0}));
  EXPECT_THROW(Corpus::open_all(paths, std::vector{1.0, 1.0}), std::invalid_argument);
  for (const double weight : {0.0, -1.0, 1001.0, std::nan("")})
    EXPECT_THROW(Corpus::open_all(paths, std::vector{1.0, weight, 1.0}), std::invalid_argument) << weight;
}

TEST(Corpus, OfManySmallFilesPacksThemIntoFewPieces) {
  const TemporaryFolder folder;
  std::string all;
  for (int i = 0; i < 400; ++i) {
    const std::string text = noise(20'000, static_cast<unsigned>(i));
    write_text(folder / std::to_string(1000 + i), text);
    all += text;
  }
  const Corpus corpus = Corpus::open(folder.path());
  EXPECT_EQ(text_of(corpus), all);
  EXPECT_EQ(corpus.sources().size(), 400u);
  int pieces = 0;
  corpus.for_each_span([&](qllk::Bytes) { ++pieces; });
  EXPECT_LE(pieces, 3);
}

TEST(Corpus, OfAFolderSortsByTheBytesOfPathsAndPassesOverWhatHasNoBytes) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "b/deep");
  fs::create_directories(folder / "empty");
  write_text(folder / "b/deep/x", "3");
  write_text(folder / "b/a", "2");
  write_text(folder / "b.txt", "1");  // '.' comes before '/'
  write_text(folder / "Z", "0");      // capitals come before small letters
  write_text(folder / "\xC3\xA4", "5");
  write_text(folder / "z", "4");
  write_text(folder / "nothing", "");
  fs::create_symlink(folder / "z", folder / "zz");
  fs::create_symlink(folder / "missing", folder / "dangling");
  fs::create_directory_symlink(folder.path(), folder / "cycle");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);    // to open it would wait for ever
  EXPECT_EQ(text_of(Corpus::open(folder.path())), "012345");  // a file counts once
}

TEST(Corpus, CountsAFileOnceByWhateverName) {
  const TemporaryFolder folder;
  write_text(folder / "a", "one");
  write_text(folder / "b", "two");
  fs::create_hard_link(folder / "a", folder / "twin");
  const std::string a = folder / "a", twin = folder / "twin";
  const Corpus twice = Corpus::open_all({a, a, folder / "b", twin, folder.path()});
  EXPECT_EQ(text_of(twice), "onetwo");
  ASSERT_EQ(twice.skipped().size(), 5u);
  EXPECT_EQ(twice.skipped()[1], "'" + twin + "' is the same file as '" + a + "', which counts once");
  write_text(folder / "c", "one");  // the same bytes are another file
  EXPECT_EQ(text_of(Corpus::open(folder.path())), "onetwoone");
}

TEST(Corpus, LeavesOutHiddenFoldersAndItsOwnFiles) {
  const TemporaryFolder folder;
  write_text(folder / "a", "text");
  write_text(folder / ".hidden", "file");
  fs::create_directories(folder / ".git/objects");
  write_text(folder / ".git/objects/x", "objects");
  write_text(folder / "packed", "QLLKzip\1 and more");
  const auto safetensors = [](const std::string& header) {
    return std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header;
  };
  write_text(folder / "model", safetensors(R"({"__metadata__":{"arch":"default","format":"qllk"}})"));
  write_text(folder / "run", safetensors(R"({"__metadata__":{"format":"qllk-training"}})"));
  write_text(folder / "foreign", safetensors(R"({"__metadata__":{"format":"pt"}})"));
  const Corpus corpus = Corpus::open(folder.path());
  EXPECT_EQ(text_of(corpus), "file" + std::string("text") + safetensors(R"({"__metadata__":{"format":"pt"}})"));
  EXPECT_EQ(corpus.skipped(),
            (std::vector<std::string>{"'" + (folder / ".git") + "' is a hidden folder",
                                      "'" + (folder / "model") + "' is a model or checkpoint of qllk",
                                      "'" + (folder / "packed") + "' is a file of qllk-compress",
                                      "'" + (folder / "run") + "' is a model or checkpoint of qllk"}));
  EXPECT_EQ(text_of(Corpus::open(folder / ".git")), "objects");  // asked for by name
  EXPECT_EQ(text_of(Corpus::open(folder / "packed")), "QLLKzip\1 and more");
}

TEST(Corpus, ReadsAFifoToItsEnd) {
  const TemporaryFolder folder;
  const std::string path = folder / "fifo", text = noise(4'500'000);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&] { write_text(path, text); });
  const Corpus corpus = Corpus::open(path);
  writer.join();
  EXPECT_EQ(text_of(corpus), text);
}

TEST(Corpus, ReadsStandardInput) {
  const TemporaryFolder folder;
  const std::string text = noise(70'000);
  write_text(folder / "in", text);
  const int saved = ::dup(STDIN_FILENO);
  ASSERT_NE(std::freopen((folder / "in").c_str(), "rb", stdin), nullptr);
  const Corpus corpus = Corpus::open("-");
  const std::string again = error_of_opening("-");
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  EXPECT_EQ(text_of(corpus), text);
  EXPECT_EQ(corpus.sources(), std::vector<std::string>{"standard input"});
  EXPECT_EQ(again, "standard input is empty");
}

TEST(Corpus, OutlivesTheRemovalOfItsFile) {
  const TemporaryFolder folder;
  write_text(folder / "a", noise(100'000));
  const Corpus corpus = Corpus::open(folder / "a");
  fs::remove(folder / "a");
  EXPECT_EQ(text_of(corpus), noise(100'000));
}

TEST(Corpus, IsAnErrorWhereItsFileWasShortened) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  write_text(path, noise(400'000));
  const Corpus corpus = Corpus::open(path);
  EXPECT_EQ(corpus.change(), std::nullopt);
  ASSERT_EQ(::truncate(path.c_str(), 100'000), 0);
  const std::string shortened =
      "'" + path + "' was shortened while it was in use: it had 400000 bytes and now has 100000";
  std::vector<Byte> out(512);
  EXPECT_NO_THROW(corpus.copy(99'488, out));
  EXPECT_EQ(message_of<std::runtime_error>([&] { corpus.copy(99'489, out); }), shortened);
  EXPECT_EQ(message_of<std::runtime_error>([&] { corpus.for_each_span([](qllk::Bytes) {}); }), shortened);
  EXPECT_EQ(corpus.slice(0, 10).change(), shortened);
  ASSERT_EQ(::truncate(path.c_str(), 0), 0);
  EXPECT_THROW(corpus.copy(0, out), std::runtime_error);
}

TEST(Corpus, KeepsItsSizeWhenItsFileGrows) {
  const TemporaryFolder folder;
  write_text(folder / "a", noise(100'000));
  const Corpus corpus = Corpus::open(folder / "a");
  std::ofstream(folder / "a", std::ios::app) << "more";
  EXPECT_EQ(text_of(corpus), noise(100'000));
  EXPECT_TRUE(corpus.change().has_value());
}

TEST(Corpus, ReadsFilesWhoseSizeIsNotTold) {
  EXPECT_TRUE(text_of(Corpus::open("/proc/self/status")).starts_with("Name:"));
}

TEST(Corpus, OpensNoMoreFilesThanItMay) {
  const TemporaryFolder folder;
  std::string all;
  for (int i = 0; i < 30; ++i) {
    const std::string text = noise(70'000, static_cast<unsigned>(i));
    write_text(folder / std::to_string(100 + i), text);
    all += text;
  }
  rlimit saved{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &saved), 0);
  const rlimit few{24, saved.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const Corpus corpus = Corpus::open(folder.path());
  ::setrlimit(RLIMIT_NOFILE, &saved);
  EXPECT_EQ(text_of(corpus), all);
  EXPECT_TRUE(corpus.skipped().empty());
}

/// Root may read everything, but nobody may read the memory of this process at its address 0: "mem" can be opened only.
TEST(Corpus, PassesOverWhatCannotBeReadInAFolder) {
  const TemporaryFolder folder;
  write_text(folder / "a", "one");
  write_text(folder / "c", "two");
  const std::string closed = folder / "b";
  write_text(closed, "secret");
  fs::create_directory(folder / "d");
  fs::create_symlink("/proc/self/mem", folder / "mem");
  std::vector<std::string> expected{"cannot read '" + (folder / "mem") + "': Input/output error"};
  if (::geteuid() != 0) {
    fs::permissions(closed, fs::perms::none);
    fs::permissions(folder / "d", fs::perms::none);
    expected = {"cannot read the folder '" + (folder / "d") + "': Permission denied",
                "cannot open '" + closed + "': Permission denied", expected[0]};
  } else {
    fs::remove(closed);
  }
  const Corpus corpus = Corpus::open(folder.path());
  EXPECT_EQ(text_of(corpus), "onetwo");
  EXPECT_EQ(corpus.skipped(), expected);
  EXPECT_EQ(corpus.slice(1, 2).skipped(), expected);
  EXPECT_EQ(corpus.sources(), (std::vector{folder / "a", folder / "c"}));
  EXPECT_EQ(error_of_opening(folder / "mem"), expected.back());  // named, it is an error
  fs::remove(folder / "a");
  fs::remove(folder / "c");
  EXPECT_EQ(error_of_opening(folder.path()), expected[0]);
  fs::permissions(folder / "d", fs::perms::owner_all);
}

TEST(Corpus, OfAStreamWithoutAnEndIsAnError) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "proc");
  write_text(folder / "proc/meminfo", "MemTotal: 200000 kB\nMemAvailable: 100000 kB\n");
  qllk::data::detail::PiecesBuilder builder{qllk::files::Machine(folder.path())};
  const std::string message =
      message_of<std::runtime_error>([&] { builder.add_file(qllk::files::InputFile("/dev/zero")); });
  EXPECT_TRUE(message.starts_with("'/dev/zero' has more bytes than there is memory for")) << message;
}

TEST(Corpus, ErrorsNameThePath) {
  const TemporaryFolder folder;
  write_text(folder / "empty", "");
  fs::create_directories(folder / "void/void");
  write_text(folder / "void/nothing", "");
  EXPECT_EQ(error_of_opening(folder / "missing"),
            "cannot open '" + (folder / "missing") + "': No such file or directory");
  EXPECT_EQ(error_of_opening(""), "cannot open '': No such file or directory");
  EXPECT_EQ(error_of_opening(folder / "empty"), "the file '" + (folder / "empty") + "' is empty");
  EXPECT_EQ(error_of_opening(folder / "void"),
            "the folder '" + (folder / "void") + "' is empty: no regular file in it has any bytes");
  EXPECT_EQ(error_of_opening("/dev/null"), "the file '/dev/null' is empty");
  if (::geteuid() != 0) {
    write_text(folder / "secret", "x");
    fs::permissions(folder / "secret", fs::perms::none);
    EXPECT_EQ(error_of_opening(folder / "secret"), "cannot open '" + (folder / "secret") + "': Permission denied");
    fs::permissions(folder / "void", fs::perms::none);
    EXPECT_EQ(error_of_opening(folder / "void"),
              "cannot read the folder '" + (folder / "void") + "': Permission denied");
    fs::permissions(folder / "void", fs::perms::owner_all);
  }
}

TEST(Corpus, CopiesAnyRangeAcrossPieces) {
  const TemporaryFolder folder;
  std::string all;
  std::vector<std::string> paths;
  for (const std::size_t size : std::vector<std::size_t>{70'000, 1, 65'536, 3, 5, 65'535, 80'000}) {
    paths.push_back(folder / std::to_string(paths.size()));
    write_text(paths.back(), noise(size, static_cast<unsigned>(size)));
    all += noise(size, static_cast<unsigned>(size));
  }
  const Corpus corpus = Corpus::open_all(paths);
  ASSERT_EQ(corpus.size(), all.size());
  for (const std::size_t size : std::vector<std::size_t>{0, 1, 2, 7, 100, 65'536, 150'000})
    for (std::size_t begin = 0; begin + size <= all.size(); begin += 997 + begin / 100) {
      std::string out(size, '\0');
      corpus.copy(begin, std::span(reinterpret_cast<Byte*>(out.data()), size));
      ASSERT_EQ(out, all.substr(begin, size)) << begin << " + " << size;
    }
  for (std::size_t begin = 69'998; begin < 70'004; ++begin) {
    std::string out(4, '\0');
    corpus.copy(begin, std::span(reinterpret_cast<Byte*>(out.data()), 4));
    EXPECT_EQ(out, all.substr(begin, 4));
  }
}

TEST(Corpus, RefusesRangesThatAreNotThere) {
  const Corpus corpus = of_text("0123456789");
  std::vector<Byte> out(4);
  constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
  EXPECT_THROW(corpus.copy(7, out), std::out_of_range);
  EXPECT_THROW(corpus.copy(kHuge - 1, out), std::out_of_range);
  EXPECT_THROW(corpus.slice(3, 2), std::out_of_range);
  EXPECT_THROW(corpus.slice(0, 11), std::out_of_range);
  EXPECT_THROW(corpus.slice(2, 8).copy(3, out), std::out_of_range);
  EXPECT_NO_THROW(corpus.copy(10, {}));
}

TEST(Corpus, SlicesOfSlicesShareTheBytes) {
  Corpus part;
  {
    const Corpus corpus = of_text("0123456789");
    part = corpus.slice(2, 9).slice(1, 6);
  }
  EXPECT_EQ(text_of(part), "34567");
  EXPECT_EQ(text_of(part.slice(5, 5)), "");
  EXPECT_EQ(Corpus().size(), 0u);
  EXPECT_EQ(Corpus::from_memory({}).size(), 0u);
}

TEST(Order0Entropy, IsThatOfTheByteCounts) {
  std::vector<Byte> all(256);
  std::iota(all.begin(), all.end(), Byte{0});
  EXPECT_TRUE(std::abs(qllk::data::order0_entropy(Corpus::from_memory(all)) - 8) <= 1e-12);
  EXPECT_TRUE(std::abs(qllk::data::order0_entropy(of_text("aabc")) - 1.5) <= 1e-12);
  EXPECT_EQ(qllk::data::order0_entropy(of_text("aaaa")), 0);
  EXPECT_EQ(qllk::data::order0_entropy(Corpus()), 0);
  EXPECT_TRUE(std::abs(qllk::data::order0_entropy(of_text("xxabyy").slice(2, 4)) - 1) <= 1e-12);
}

}  // namespace
