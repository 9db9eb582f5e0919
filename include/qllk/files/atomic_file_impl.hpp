// How AtomicFile keeps what it promises. Include qllk/files/atomic_file.hpp.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "qllk/core/types.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"

namespace qllk::files {

QLLK_INLINE AtomicFile::AtomicFile(const std::filesystem::path& target)
    : name_(target.string()), target_(follow_links(target)) {
  if (!target_.has_filename()) throw RuntimeError("cannot write '" + name_ + "': it names no file");
  struct stat old;
  const bool replaces = ::stat(target_.c_str(), &old) == 0;
  if (!replaces && errno != ENOENT) throw_errno("cannot write", name_, errno);  // a name that is too long, for one
  if (replaces && !S_ISREG(old.st_mode))
    throw RuntimeError("cannot write '" + name_ + "': it exists and is not a regular file");
  if (replaces && ::access(target_.c_str(), W_OK) != 0) throw_errno("cannot write", name_, errno);
  remove_abandoned();
  create();
  if (replaces) take_over(old);
}

QLLK_INLINE AtomicFile::AtomicFile(FileDescriptor opened, std::string name)
    : name_(std::move(name)), file_(std::move(opened)) {
  if (!file_.is_open()) throw RuntimeError("cannot write '" + name_ + "': it is not open");
}

QLLK_INLINE void AtomicFile::write(Bytes bytes) {
  require_open();
  while (!bytes.empty()) {
    if (temporary_.empty()) detail::wait_until_ready(file_.get(), POLLOUT);
    const auto size = temporary_.empty() ? std::min<std::size_t>(bytes.size(), PIPE_BUF) : bytes.size();
    const auto count = ::write(file_.get(), bytes.data(), size);
    if (count < 0 && (errno == EINTR || (temporary_.empty() && errno == EAGAIN))) continue;
    if (count <= 0) give_up(count < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

QLLK_INLINE void AtomicFile::rewrite(std::uint64_t offset, Bytes bytes) {
  require_open();
  if (temporary_.empty())
    throw LogicError(std::string("'") + name_ + "' is no file: what was written there cannot be replaced");
  while (!bytes.empty()) {
    const auto count = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) give_up(count < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

QLLK_INLINE void AtomicFile::commit() {
  require_open();
  if (temporary_.empty()) {
    if (const int error = file_.close()) give_up(error);
    return;
  }
  if (const int error = sync(file_)) give_up(error);
  const FileDescriptor lock(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));  // keeps the lock while file_ closes
  if (const int error = file_.close()) give_up(error);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) give_up(errno);
  temporary_.clear();
  const FileDescriptor folder(open(folder_of(target_).string(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (const int error = folder.is_open() ? sync(folder) : 0; error == EIO || error == ENOSPC || error == EDQUOT)
    throw_errno("cannot sync the folder of", name_, error);
}

QLLK_INLINE std::filesystem::path AtomicFile::follow_links(std::filesystem::path path) {
  const std::string name = path.string();
  std::error_code error;
  for (int hops = 0; std::filesystem::is_symlink(path, error); ++hops) {
    if (hops == 40) throw_errno("cannot write", name, ELOOP);
    path = path.parent_path() / std::filesystem::read_symlink(path, error);
  }
  return path;
}

QLLK_INLINE int AtomicFile::sync(const FileDescriptor& file) {
  while (::fsync(file.get()) != 0)
    if (errno != EINTR) return errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : errno;
  return 0;
}

QLLK_INLINE FileDescriptor AtomicFile::open(const std::string& path, int flags) {
  for (;;) {
    FileDescriptor file(::open(path.c_str(), flags, 0666));
    if (file.is_open() || errno != EINTR) return file;
  }
}

QLLK_INLINE void AtomicFile::take_over(const struct stat& old) {
  struct stat own;
  if (::fstat(file_.get(), &own) != 0) return;
  bool same = own.st_uid == old.st_uid && own.st_gid == old.st_gid;
  same = same || ::fchown(file_.get(), old.st_uid, old.st_gid) == 0;
  same = same || ::fchown(file_.get(), static_cast<uid_t>(-1), old.st_gid) == 0;
  static_cast<void>(::fchmod(file_.get(), old.st_mode & 0777));
}

QLLK_INLINE std::string AtomicFile::temporary_prefix() const {
  constexpr std::size_t kLongName = 96;
  const std::string file = target_.filename().string();
  if (file.size() <= kLongName) return "." + file + ".";
  std::uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
  for (const char c : file) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return ".qllk-" + std::to_string(hash) + ".";
}

QLLK_INLINE void AtomicFile::create() {
  static std::atomic<unsigned> counter{0};
  for (;;) {
    const std::string unique = std::to_string(::getpid()) + "-" + std::to_string(counter++);
    const std::string path = (folder_of(target_) / (temporary_prefix() + unique + ".tmp")).string();
    FileDescriptor file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC);
    if (!file.is_open() && errno == EEXIST) continue;
    if (!file.is_open()) throw_errno("cannot write", name_, errno);
    // Where locks are not supported nobody gets one, so nobody takes this file for abandoned either.
    while (::flock(file.get(), LOCK_EX) != 0 && errno == EINTR) continue;
    struct stat status;
    if (::fstat(file.get(), &status) == 0 && status.st_nlink == 0) continue;  // removed before it was locked
    file_ = std::move(file);
    temporary_ = path;
    return;
  }
}

QLLK_INLINE void AtomicFile::remove_abandoned() const {
  constexpr std::string_view kSuffix = ".tmp";
  const std::string prefix = temporary_prefix();
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder_of(target_), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string path = entry->path().string();
    const std::string found = entry->path().filename().string();
    if (found.size() <= prefix.size() + kSuffix.size() || !found.starts_with(prefix) || !found.ends_with(kSuffix))
      continue;
    const auto unique = std::string_view(found).substr(prefix.size(), found.size() - prefix.size() - kSuffix.size());
    if (!std::ranges::all_of(unique, [](char c) { return (c >= '0' && c <= '9') || c == '-'; })) continue;
    const FileDescriptor file = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat status;
    if (file.is_open() && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 && ::fstat(file.get(), &status) == 0 &&
        status.st_nlink == 1)
      ::unlink(path.c_str());
  }
}

QLLK_INLINE void AtomicFile::discard() noexcept {
  file_.close();
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

QLLK_INLINE void AtomicFile::give_up(int error) {
  discard();
  throw_errno("cannot write", name_, error);
}

}  // namespace qllk::files
