// Files that are written wholly or not at all.
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
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "qllk/core/types.hpp"
#include "qllk/files/input_file.hpp"

namespace qllk::files {

/// A file that appears under its name complete, on disk, or not at all; until `commit` the old one stays.
///
/// The bytes go to a temporary of a unique name in the same folder; `commit` syncs it, renames it over the target and
/// syncs the folder. Without `commit` the destructor removes it. A process that dies leaves its temporary behind; the
/// next AtomicFile for the same target removes it (a living writer holds a lock on its own).
///
/// A symbolic link is followed: the file that it names is replaced, the link stays. A replaced file keeps its
/// permissions, and its owner and group where the system allows that; a new one has 0666 less the umask. A folder that
/// the file system cannot sync, or that may not be opened, is no error: the file is there all the same.
///
/// Errors   std::runtime_error with the path and the system's reason, for every failure up to a full disk at the last
///          byte; then the temporary is gone already, and further calls throw std::logic_error
class AtomicFile {
 public:
  /// Throws std::runtime_error if the target exists but is no regular file or not writable, or its folder is missing
  /// or not writable.
  explicit AtomicFile(const std::filesystem::path& target) : name_(target.string()), target_(follow_links(target)) {
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

  /// What is no file of a folder: an open pipe, terminal or device. Bytes go there at once, and `commit` closes it.
  AtomicFile(FileDescriptor opened, std::string name) : name_(std::move(name)), file_(std::move(opened)) {
    if (!file_.is_open()) throw RuntimeError("cannot write '" + name_ + "': it is not open");
  }

  ~AtomicFile() { discard(); }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Every call is a system call: write blocks, not single numbers.
  void write(Bytes bytes) {
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
  /// Adds the bytes of a text.
  void write(std::string_view text) { write(Bytes(reinterpret_cast<const Byte*>(text.data()), text.size())); }

  /// Replaces bytes that were written already. Throws std::logic_error for a pipe or a device.
  void rewrite(std::uint64_t offset, Bytes bytes) {
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

  /// Makes the file appear. Call it once, last.
  void commit() {
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

 private:
  static std::filesystem::path folder_of(const std::filesystem::path& path) {
    return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  }

  static std::filesystem::path follow_links(std::filesystem::path path) {
    const std::string name = path.string();
    std::error_code error;
    for (int hops = 0; std::filesystem::is_symlink(path, error); ++hops) {
      if (hops == 40) throw_errno("cannot write", name, ELOOP);
      path = path.parent_path() / std::filesystem::read_symlink(path, error);
    }
    return path;
  }

  /// 0 or the errno, unless the file system cannot sync such a thing.
  static int sync(const FileDescriptor& file) {
    while (::fsync(file.get()) != 0)
      if (errno != EINTR) return errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : errno;
    return 0;
  }

  static FileDescriptor open(const std::string& path, int flags) {
    for (;;) {
      FileDescriptor file(::open(path.c_str(), flags, 0666));
      if (file.is_open() || errno != EINTR) return file;
    }
  }

  /// Owner and permissions of the file to replace. May fail where only root can give files away, or where files have
  /// neither (FAT), and then there is nothing to keep.
  void take_over(const struct stat& old) {
    struct stat own;
    if (::fstat(file_.get(), &own) != 0) return;
    bool same = own.st_uid == old.st_uid && own.st_gid == old.st_gid;
    same = same || ::fchown(file_.get(), old.st_uid, old.st_gid) == 0;
    same = same || ::fchown(file_.get(), static_cast<uid_t>(-1), old.st_gid) == 0;
    static_cast<void>(::fchmod(file_.get(), old.st_mode & 0777));
  }

  /// The name of the target, so that people see whose temporary it is. A long one is replaced by its hash: a folder
  /// would not take anything longer.
  std::string temporary_prefix() const {
    constexpr std::size_t kLongName = 96;
    const std::string file = target_.filename().string();
    if (file.size() <= kLongName) return "." + file + ".";
    std::uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
    for (const char c : file) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    return ".qllk-" + std::to_string(hash) + ".";
  }

  void create() {
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

  /// Best effort: what cannot be removed stays.
  void remove_abandoned() const {
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

  void require_open() const {
    if (!file_.is_open()) throw LogicError("'" + name_ + "' is committed or given up already");
  }

  void discard() noexcept {
    file_.close();
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  [[noreturn]] void give_up(int error) {
    discard();
    throw_errno("cannot write", name_, error);
  }

  std::string name_;  // as the caller wrote it
  std::filesystem::path target_;
  std::string temporary_;
  FileDescriptor file_;
};

}  // namespace qllk::files
