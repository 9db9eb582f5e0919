// Files to read: opened with clear errors, and read where they lie.
//
// No file is mapped. The system ends a process that touches a mapped byte which another program has cut off (SIGBUS),
// and some file systems cannot map at all. To read such a byte is an error like any other.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/files/machine.hpp"

namespace qllk::files {

/// Throws std::runtime_error: "cannot open 'a/b': No such file or directory".
[[noreturn]] inline void throw_errno(const std::string& attempt, const std::string& path, int error) {
  throw RuntimeError(attempt + " '" + path + "': " + std::generic_category().message(error));
}

/// Called while this process waits for another one: before a pipe, terminal or socket is read or written, twice a
/// second until it is ready, and after a signal has interrupted the wait. A program that watches for signals sets it,
/// and throws from it to give up. At first it does nothing.
inline std::atomic<void (*)()> on_wait{nullptr};

/// Throws std::runtime_error unless there is memory for so many more bytes of a stream, which nobody knows the end of:
/// the system would end a process that takes more than there is without a word.
void expect_room(const std::string& name, std::uint64_t read, std::uint64_t more, const Machine& machine);
inline constexpr std::uint64_t kLargeStream = std::uint64_t{1} << 26;  // bytes from which on expect_room is asked

namespace detail {
inline void waiting() {
  if (void (*const hook)() = on_wait.load()) hook();
}

/// Returns when the descriptor is ready for `events`, or has an error to tell. Throws what on_wait throws.
inline void wait_until_ready(int descriptor, short events) {
  constexpr int kMilliseconds = 500;  // a signal may arrive just before the wait begins
  pollfd wait{descriptor, events, 0};
  do waiting();
  while (::poll(&wait, 1, kMilliseconds) <= 0);
}
}  // namespace detail

/// Owns an open file descriptor, or none (-1).
class FileDescriptor {
 public:
  /// Takes over a descriptor.
  explicit FileDescriptor(int descriptor = -1) : descriptor_(descriptor) {}
  ~FileDescriptor() { close(); }
  /// Leaves the other one without a descriptor.
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  /// The two change their descriptors.
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }

  /// The descriptor, or -1.
  int get() const { return descriptor_; }
  /// Whether there is one.
  bool is_open() const { return descriptor_ >= 0; }

  /// Closes at most once; returns 0 or the errno. After EINTR the descriptor is gone too, and nothing is lost.
  int close() {
    if (!is_open() || ::close(std::exchange(descriptor_, -1)) == 0 || errno == EINTR) return 0;
    return errno;
  }

 private:
  int descriptor_;
};

/// Read-only bytes and whatever keeps them alive. Copies share them.
struct SharedBytes {
  std::shared_ptr<const void> owner;  // keeps the bytes alive
  Bytes bytes;                        // read-only

  /// Takes over bytes that are in memory already.
  static SharedBytes of(std::vector<Byte> memory) {
    const auto owner = std::make_shared<const std::vector<Byte>>(std::move(memory));
    return {owner, Bytes(*owner)};
  }
};

/// A file, pipe or terminal open for reading.
class InputFile {
 public:
  /// Throws std::runtime_error that names the path if it is missing, unreadable, a folder or a block device.
  explicit InputFile(const std::string& path) : InputFile(open(path), path) {}

  /// Read from where it stands to its end, also if it is a file. Throws std::runtime_error if it is closed.
  static InputFile standard_input();

  /// What errors call it.
  const std::string& name() const { return name_; }

  /// A regular file has a size and can be read at any place; anything else can be read once, to its end. Files of no
  /// bytes count as the latter: those of /proc have some all the same.
  bool is_regular() const { return regular_; }
  /// Bytes of a regular file; 0 of anything else.
  std::uint64_t size() const { return size_; }

  /// What a regular file is on this machine, whatever its names: its device and its number there.
  std::pair<std::uint64_t, std::uint64_t> identity() const { return identity_; }

  /// Reads until `out` is full or the file ends; returns the number of bytes. Throws std::runtime_error on an error.
  std::size_t read(std::span<Byte> out) const;

  /// Fills `out` with the bytes of a regular file from `offset` on; any number of threads may call it.
  /// Throws std::runtime_error on an error, and if the file ends before.
  void read_at(std::uint64_t offset, std::span<Byte> out) const;

  /// What another program did to the regular file since it was opened, by its size and time of modification; nothing if
  /// these are as they were. A file that is removed, or replaced by a rename, stays as it was for whoever has it open.
  std::optional<std::string> change() const;

  /// Throws std::runtime_error with the change, if there is one.
  void check_unchanged() const {
    if (const auto what = change()) throw RuntimeError(*what);
  }

  /// All bytes up to its end, in memory. Throws std::runtime_error on an error, if the file changes meanwhile, and if
  /// there is not enough memory.
  SharedBytes contents(const Machine& machine = Machine()) const;

 private:
  InputFile(FileDescriptor descriptor, const std::string& name);

  static FileDescriptor open(const std::string& path);

  FileDescriptor descriptor_;
  std::string name_;
  std::uint64_t size_ = 0;
  timespec modified_{};
  std::pair<std::uint64_t, std::uint64_t> identity_{};
  bool regular_ = false;
  bool waits_ = false;  // for other programs
};

/// Bytes at any offset, for any number of threads: in memory, or in a file that is read where it lies. Copies share
/// them.
class StoredBytes {
 public:
  /// No bytes.
  StoredBytes() = default;
  /// Bytes in memory.
  explicit StoredBytes(SharedBytes memory) : memory_(std::move(memory)) {}

  /// A large regular file stays where it lies and needs no memory. Anything else is read to its end now.
  explicit StoredBytes(InputFile file) {
    if (!is_large(file)) {
      memory_ = file.contents();
      return;
    }
    file_ = std::make_shared<const InputFile>(std::move(file));
  }

  /// Small files are not worth an open descriptor each; those of /sys are shorter than their size says.
  static bool is_large(const InputFile& file) { return file.is_regular() && file.size() >= kLargeFile; }

  /// The number of bytes.
  std::uint64_t size() const { return file_ ? file_->size() : memory_.bytes.size(); }

  /// The bytes themselves where they are in memory; of a file, none.
  Bytes in_memory() const { return memory_.bytes; }

  /// Fills `out` from `offset` on; offset + out.size() <= size(). Throws std::runtime_error as InputFile::read_at.
  void read(std::uint64_t offset, std::span<Byte> out) const {
    if (file_)
      file_->read_at(offset, out);
    else
      std::copy_n(memory_.bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
  }

  /// As those of InputFile; bytes in memory do not change.
  std::optional<std::string> change() const { return file_ ? file_->change() : std::nullopt; }
  /// Throws std::runtime_error if another program changed the file.
  void check_unchanged() const {
    if (file_) file_->check_unchanged();
  }

 private:
  static constexpr std::uint64_t kLargeFile = std::uint64_t{1} << 16;

  std::shared_ptr<const InputFile> file_;
  SharedBytes memory_;
};

}  // namespace qllk::files

#ifndef QLLK_COMPILED
#include "qllk/files/input_file_impl.hpp"
#endif
