#include "qllk/io/input_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <thread>
#include <utility>

#include "temporary_folder.hpp"

namespace {

using qllk::Bytes;
using qllk::io::FileDescriptor;
using qllk::io::InputFile;
using qllk::io::SharedBytes;
using qllk::testing::message_of;
using qllk::testing::TemporaryFolder;
using qllk::testing::write_text;

std::string text_of(const SharedBytes& shared) { return {shared.bytes.begin(), shared.bytes.end()}; }

TEST(InputFile, MapsARegularFile) {
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
