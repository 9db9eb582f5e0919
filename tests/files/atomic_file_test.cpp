#include "qllk/files/atomic_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/temporary_folder.hpp"

namespace {

namespace fs = std::filesystem;
using qllk::files::AtomicFile;
using qllk::test::message_of;
using qllk::test::read_text;
using qllk::test::TemporaryFolder;
using qllk::test::write_text;

/// The calls that decide what is there after a loss of power, in their order, while `watched` points here.
struct Calls {
  std::vector<std::string> list;
};
Calls* watched = nullptr;

unsigned mode_of(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 0777u : 0u;
}

/// While it lives, a file longer than `bytes` cannot be written: EFBIG, as a full disk would fail.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &saved_);
    const rlimit limit{bytes, saved_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &saved_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit saved_{};
};

TEST(AtomicFile, AppearsWhenItIsCommitted) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a");
  file.write("hello, ");
  file.write(std::string(1 << 20, 'x'));
  EXPECT_FALSE(fs::exists(folder / "a"));
  file.commit();
  EXPECT_EQ(read_text(folder / "a"), "hello, " + std::string(1 << 20, 'x'));
  EXPECT_EQ(folder.entries(), 1);
  EXPECT_THROW(file.write("more"), std::logic_error);
  EXPECT_THROW(file.commit(), std::logic_error);
}

TEST(AtomicFile, ReplacesBytesBeforeItAppears) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a");
  file.write("hello, world");
  const std::string again = "HELL";
  file.rewrite(0, qllk::Bytes(reinterpret_cast<const qllk::Byte*>(again.data()), again.size()));
  file.write("!");
  file.commit();
  EXPECT_EQ(read_text(folder / "a"), "HELLo, world!");
}

TEST(AtomicFile, OfAnOpenPipePassesBytesOn) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  AtomicFile file(qllk::files::FileDescriptor(ends[1]), "pipe");
  file.write("bytes");
  EXPECT_THROW(file.rewrite(0, {}), std::logic_error);
  file.commit();
  char got[16];
  EXPECT_EQ(::read(ends[0], got, sizeof got), 5);
  EXPECT_EQ(::read(ends[0], got, sizeof got), 0) << "it is closed";
  ::close(ends[0]);
}

TEST(AtomicFile, ReplacesTheOldFileAtOnce) {
  const TemporaryFolder folder;
  write_text(folder / "a", "old");
  AtomicFile file(folder / "a");
  file.write("new");
  EXPECT_EQ(read_text(folder / "a"), "old");
  file.commit();
  EXPECT_EQ(read_text(folder / "a"), "new");
}

/// After a loss of power a name may stand for bytes that were not synced before it was given.
TEST(AtomicFile, IsSyncedBeforeItsNameAndItsFolderAfter) {
  const TemporaryFolder folder;
  for (const char* text : {"old", "new"}) {
    Calls calls;
    AtomicFile file(folder / "a");
    file.write(text);
    watched = &calls;
    file.commit();
    watched = nullptr;
    EXPECT_EQ(calls.list, (std::vector<std::string>{"sync file", "rename", "sync folder"}));
  }
}

TEST(AtomicFile, LeavesNothingBehindWithoutCommit) {
  const TemporaryFolder folder;
  write_text(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("new");
    EXPECT_EQ(folder.entries(), 2);
  }
  EXPECT_EQ(read_text(folder / "a"), "old");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(AtomicFile, KeepsTheOldFileWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  write_text(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    const FileSizeLimit limit(10'000);
    file.write(std::string(9'000, 'x'));
    EXPECT_EQ(message_of<std::runtime_error>([&] { file.write(std::string(9'000, 'x')); }),
              "cannot write '" + (folder / "a") + "': File too large");
    EXPECT_EQ(folder.entries(), 1);
    EXPECT_THROW(file.commit(), std::logic_error);
  }
  EXPECT_EQ(read_text(folder / "a"), "old");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(AtomicFile, KeepsPermissionsAndGivesNewFilesTheUsualOnes) {
  const TemporaryFolder folder;
  const mode_t umask = ::umask(027);
  write_text(folder / "private", "old");
  fs::permissions(folder / "private", fs::perms(0600));
  for (const char* name : {"private", "new"}) {
    AtomicFile file(folder / name);
    file.write("new");
    file.commit();
  }
  ::umask(umask);
  EXPECT_EQ(mode_of(folder / "private"), 0600u);
  EXPECT_EQ(mode_of(folder / "new"), 0640u);
}

TEST(AtomicFile, KeepsTheOwnerWhereItMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  const TemporaryFolder folder;
  write_text(folder / "a", "old");
  ASSERT_EQ(::chown((folder / "a").c_str(), 1234, 5678), 0);
  fs::permissions(folder / "a", fs::perms(0640));
  AtomicFile file(folder / "a");
  file.write("new");
  file.commit();
  struct stat status;
  ASSERT_EQ(::stat((folder / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 1234u);
  EXPECT_EQ(status.st_gid, 5678u);
  EXPECT_EQ(mode_of(folder / "a"), 0640u);
}

TEST(AtomicFile, TakesEveryNameThatAFolderTakes) {
  const TemporaryFolder folder;
  for (const std::size_t size : {96u, 97u, 240u, 255u}) {
    const std::string path = folder / std::string(size, 'n');
    for (const char* text : {"old", "new"}) {
      AtomicFile file(path);
      file.write(text);
      file.commit();
      EXPECT_EQ(read_text(path), text);
    }
  }
  EXPECT_EQ(folder.entries(), 4);
  const std::string too_long = folder / std::string(256, 'n');
  EXPECT_EQ(message_of<std::runtime_error>([&] { AtomicFile file(too_long); }),
            "cannot write '" + too_long + "': File name too long");
}

TEST(AtomicFile, NeedsNoLookIntoItsFolder) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "blind");
  fs::permissions(folder / "blind", fs::perms::owner_write | fs::perms::owner_exec);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {  // as somebody whom permissions bind
    bool bound = ::geteuid() != 0;
    if (!bound)
      bound = ::chown((folder / "blind").c_str(), 1234, 1234) == 0 && ::chmod(folder.path().c_str(), 0711) == 0 &&
              ::setgid(1234) == 0 && ::setuid(1234) == 0;
    if (!bound) ::_exit(2);
    try {
      AtomicFile file(folder / "blind/a");
      file.write("new");
      file.commit();
      ::_exit(0);
    } catch (...) {
      ::_exit(1);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  fs::permissions(folder / "blind", fs::perms::owner_all);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_text(folder / "blind/a"), "new");
}

TEST(AtomicFile, FollowsLinksToTheirTarget) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "far");
  write_text(folder / "far/a", "old");
  fs::create_symlink("far/a", folder / "link");
  fs::create_symlink("link", folder / "link2");
  fs::create_symlink("far/b", folder / "dangling");
  for (const char* name : {"link2", "dangling"}) {
    AtomicFile file(folder / name);
    file.write("new");
    file.commit();
    EXPECT_TRUE(fs::is_symlink(folder / name));
  }
  EXPECT_EQ(read_text(folder / "far/a"), "new");
  EXPECT_EQ(read_text(folder / "far/b"), "new");
  fs::create_symlink("circle", folder / "circle");
  EXPECT_THROW(AtomicFile(folder / "circle"), std::runtime_error);
}

TEST(AtomicFile, WritesIntoTheCurrentFolder) {
  const TemporaryFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  {
    AtomicFile file("plain-name");
    file.write("new");
    file.commit();
  }
  fs::current_path(before);
  EXPECT_EQ(read_text(folder / "plain-name"), "new");
}

TEST(AtomicFile, RefusesWhatIsNotAFile) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "sub");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  for (const std::string& path : {folder / "sub", folder / "fifo", std::string("/dev/null")})
    EXPECT_EQ(message_of<std::runtime_error>([&] { AtomicFile file(path); }),
              "cannot write '" + path + "': it exists and is not a regular file");
  EXPECT_EQ(message_of<std::runtime_error>([&] { AtomicFile file(folder / "missing/a"); }),
            "cannot write '" + (folder / "missing/a") + "': No such file or directory");
  EXPECT_THROW(AtomicFile(""), std::runtime_error);
  EXPECT_THROW(AtomicFile(folder / "missing/"), std::runtime_error);
  if (::geteuid() != 0) {
    write_text(folder / "a", "old");
    fs::permissions(folder / "a", fs::perms(0400));
    EXPECT_EQ(message_of<std::runtime_error>([&] { AtomicFile file(folder / "a"); }),
              "cannot write '" + (folder / "a") + "': Permission denied");
  }
}

TEST(AtomicFile, RemovesWhatAKilledProcessLeft) {
  const TemporaryFolder folder;
  write_text(folder / "a", "old");
  write_text(folder / ".a.notes.tmp", "a stranger's");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    AtomicFile file(folder / "a");
    file.write("half");
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(folder.entries(), 3);
  EXPECT_EQ(read_text(folder / "a"), "old");
  {
    AtomicFile file(folder / "a");
    file.write("new");
    file.commit();
  }
  EXPECT_EQ(folder.entries(), 2);
  EXPECT_TRUE(fs::exists(folder / ".a.notes.tmp"));
}

TEST(AtomicFile, LivingWritersDoNotDisturbEachOther) {
  const TemporaryFolder folder;
  AtomicFile first(folder / "a");
  first.write("first");
  AtomicFile second(folder / "a");
  second.write("second");
  EXPECT_EQ(folder.entries(), 2);
  first.commit();
  EXPECT_EQ(read_text(folder / "a"), "first");
  second.commit();
  EXPECT_EQ(read_text(folder / "a"), "second");
  EXPECT_EQ(folder.entries(), 1);
}

}  // namespace

// In the place of the C library's.
extern "C" int fsync(int file) {
  struct stat status;
  if (watched != nullptr && ::fstat(file, &status) == 0)
    watched->list.push_back(S_ISDIR(status.st_mode) ? "sync folder" : "sync file");
  return static_cast<int>(::syscall(SYS_fsync, file));
}
extern "C" int rename(const char* from, const char* to) noexcept {
  if (watched != nullptr) watched->list.push_back("rename");
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
