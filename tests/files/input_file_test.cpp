#include "qllk/files/input_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/temporary_folder.hpp"

namespace {

using qllk::Bytes;
using qllk::files::FileDescriptor;
using qllk::files::InputFile;
using qllk::files::SharedBytes;
using qllk::files::StoredBytes;
using qllk::test::message_of;
using qllk::test::TemporaryFolder;
using qllk::test::write_text;

std::string text_of(const SharedBytes& shared) { return {shared.bytes.begin(), shared.bytes.end()}; }

TEST(InputFile, ReadsARegularFile) {
  const TemporaryFolder folder;
  write_text(folder / "a", "hello");
  SharedBytes bytes;
  {
    const InputFile file(folder / "a");
    EXPECT_TRUE(file.is_regular());
    EXPECT_EQ(file.size(), 5u);
    bytes = file.contents();
  }
  const SharedBytes copy = bytes;
  bytes = {};
  EXPECT_EQ(text_of(copy), "hello");
}

TEST(InputFile, OfNoBytesIsEmpty) {
  const TemporaryFolder folder;
  write_text(folder / "a", "");
  EXPECT_EQ(InputFile(folder / "a").contents().bytes.size(), 0u);
}

TEST(InputFile, ReadsAFifoIntoMemory) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{65'536}, std::size_t{200'000}}) {
    std::thread writer([&] { write_text(folder / "fifo", std::string(size, 'x')); });
    const InputFile file(folder / "fifo");
    EXPECT_FALSE(file.is_regular());
    EXPECT_EQ(text_of(file.contents()), std::string(size, 'x'));
    writer.join();
  }
}

TEST(InputFile, ReadsFilesWhoseSizeIsNotTold) {
  const InputFile file("/proc/self/status");
  EXPECT_FALSE(file.is_regular());
  EXPECT_NE(text_of(file.contents()).find("files_inp"), std::string::npos);
}

TEST(InputFile, WaitsForAPipeThatDoesNotBlock) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK), 0);
  std::thread writer([&] {
    for (int i = 0; i < 3; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      EXPECT_EQ(::write(ends[1], "hello", 5), 5);
    }
    ::close(ends[1]);
  });
  const int saved = ::dup(STDIN_FILENO);
  ::dup2(ends[0], STDIN_FILENO);
  ::close(ends[0]);
  const SharedBytes bytes = InputFile::standard_input().contents();
  writer.join();
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  EXPECT_EQ(text_of(bytes), "hellohellohello");
}

TEST(InputFile, GivesUpWaitingWhenItIsTold) {
  struct GivenUp {};
  const TemporaryFolder folder;
  const std::string path = folder / "fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const FileDescriptor writer(::open(path.c_str(), O_RDWR));  // who writes nothing
  const InputFile file(path);
  static int calls;
  calls = 0;
  qllk::files::on_wait = [] {
    if (++calls == 2) throw GivenUp();
  };
  std::vector<qllk::Byte> bytes(10);
  EXPECT_THROW(file.read(bytes), GivenUp);
  qllk::files::on_wait = nullptr;
  EXPECT_EQ(calls, 2);
}

TEST(InputFile, TellsOfEveryChange) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  write_text(path, "hello");
  const InputFile file(path);
  EXPECT_EQ(file.change(), std::nullopt);
  EXPECT_NO_THROW(file.check_unchanged());

  ASSERT_EQ(::truncate(path.c_str(), 3), 0);
  const std::string shortened = "'" + path + "' was shortened while it was in use: it had 5 bytes and now has 3";
  EXPECT_EQ(file.change(), shortened);
  EXPECT_EQ(message_of<std::runtime_error>([&] { file.check_unchanged(); }), shortened);
  std::vector<qllk::Byte> out(5);
  EXPECT_EQ(message_of<std::runtime_error>([&] { file.read_at(0, out); }), shortened);
  EXPECT_EQ(message_of<std::runtime_error>([&] { file.contents(); }), shortened);
  EXPECT_NO_THROW(file.read_at(0, std::span(out).first(3)));

  ASSERT_EQ(::truncate(path.c_str(), 6), 0);
  EXPECT_EQ(file.change(), "'" + path + "' grew while it was in use: it had 5 bytes and now has 6");
  ASSERT_EQ(::truncate(path.c_str(), 5), 0);
  const timespec long_ago[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), long_ago, 0), 0);
  EXPECT_EQ(file.change(), "'" + path + "' was changed by another program while it was in use");
}

TEST(InputFile, IsAsItWasWhenTheNameIsGivenToAnother) {
  const TemporaryFolder folder;
  write_text(folder / "a", "hello");
  write_text(folder / "b", "other");
  const InputFile file(folder / "a");
  ASSERT_EQ(::rename((folder / "b").c_str(), (folder / "a").c_str()), 0);
  EXPECT_EQ(text_of(file.contents()), "hello");
}

TEST(StoredBytes, LeavesLargeFilesWhereTheyLie) {
  const TemporaryFolder folder;
  for (const std::size_t size : {std::size_t{0}, std::size_t{65'535}, std::size_t{65'536}}) {
    const std::string path = folder / std::to_string(size);
    write_text(path, std::string(size, 'x'));
    const StoredBytes bytes{InputFile(path)};
    EXPECT_EQ(bytes.size(), size);
    EXPECT_EQ(bytes.in_memory().size(), size < 65'536 ? size : 0u);
    std::vector<qllk::Byte> out(size / 2);
    bytes.read(size - out.size(), out);
    EXPECT_EQ(std::string(out.begin(), out.end()), std::string(out.size(), 'x'));
    if (size == 0) continue;
    ASSERT_EQ(::truncate(path.c_str(), 1), 0);
    EXPECT_EQ(bytes.change().has_value(), size == 65'536);
    if (size == 65'536)
      EXPECT_EQ(message_of<std::runtime_error>([&] { bytes.read(0, out); }),
                "'" + path + "' was shortened while it was in use: it had 65536 bytes and now has 1");
    else
      EXPECT_NO_THROW(bytes.read(0, out));
  }
}

/// A stream without an end ends a program in good order, before the system does.
TEST(InputFile, OfMoreBytesThanThereIsMemoryForIsAnError) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "proc");
  write_text(folder / "proc/meminfo", "MemTotal: 200000 kB\nMemAvailable: 100000 kB\n");
  const qllk::files::Machine small(folder.path());
  const std::string message = message_of<std::runtime_error>([&] { InputFile("/dev/zero").contents(small); });
  EXPECT_TRUE(message.starts_with("'/dev/zero' has more bytes than there is memory for: it goes on after ")) << message;
  EXPECT_TRUE(message.ends_with(" bytes, and 102400000 bytes are available")) << message;
}

TEST(InputFile, ErrorsNameThePath) {
  const TemporaryFolder folder;
  EXPECT_EQ(message_of<std::runtime_error>([&] { InputFile file(folder / "missing"); }),
            "cannot open '" + (folder / "missing") + "': No such file or directory");
  EXPECT_EQ(message_of<std::runtime_error>([&] { InputFile file(folder.path()); }),
            "'" + folder.path() + "' is a folder, expected a file");
}

TEST(FileDescriptor, MovesItsOwnership) {
  FileDescriptor first(::open("/dev/null", O_RDONLY));
  ASSERT_TRUE(first.is_open());
  FileDescriptor second(std::move(first));
  EXPECT_TRUE(second.is_open());
  FileDescriptor third;
  third = std::move(second);
  EXPECT_TRUE(third.is_open());
  EXPECT_EQ(third.close(), 0);
  EXPECT_FALSE(third.is_open());
  EXPECT_EQ(third.close(), 0);
  EXPECT_EQ(FileDescriptor(1 << 20).close(), EBADF);
}

}  // namespace
