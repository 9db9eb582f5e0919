// Files that are written wholly or not at all.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

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
  explicit AtomicFile(const std::filesystem::path& target);

  /// What is no file of a folder: an open pipe, terminal or device. Bytes go there at once, and `commit` closes it.
  AtomicFile(FileDescriptor opened, std::string name);

  ~AtomicFile() { discard(); }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Every call is a system call: write blocks, not single numbers.
  void write(Bytes bytes);
  /// Adds the bytes of a text.
  void write(std::string_view text) { write(Bytes(reinterpret_cast<const Byte*>(text.data()), text.size())); }

  /// Replaces bytes that were written already. Throws std::logic_error for a pipe or a device.
  void rewrite(std::uint64_t offset, Bytes bytes);

  /// Makes the file appear. Call it once, last.
  void commit();

 private:
  static std::filesystem::path folder_of(const std::filesystem::path& path) {
    return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  }

  static std::filesystem::path follow_links(std::filesystem::path path);

  /// 0 or the errno, unless the file system cannot sync such a thing.
  static int sync(const FileDescriptor& file);

  static FileDescriptor open(const std::string& path, int flags);

  /// Owner and permissions of the file to replace. May fail where only root can give files away, or where files have
  /// neither (FAT), and then there is nothing to keep.
  void take_over(const struct stat& old);

  /// The name of the target, so that people see whose temporary it is. A long one is replaced by its hash: a folder
  /// would not take anything longer.
  std::string temporary_prefix() const;

  void create();

  /// Best effort: what cannot be removed stays.
  void remove_abandoned() const;

  void require_open() const {
    if (!file_.is_open()) throw LogicError("'" + name_ + "' is committed or given up already");
  }

  void discard() noexcept;

  [[noreturn]] void give_up(int error);

  std::string name_;  // as the caller wrote it
  std::filesystem::path target_;
  std::string temporary_;
  FileDescriptor file_;
};

}  // namespace qllk::files

#ifndef QLLK_COMPILED
#include "qllk/files/atomic_file_impl.hpp"
#endif
