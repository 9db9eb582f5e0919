// Files to read: opened with clear errors, mapped into memory where that is possible.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::io {

/// Throws std::runtime_error: "cannot open 'a/b': No such file or directory".
[[noreturn]] inline void throw_errno(const std::string& attempt, const std::string& path, int error) {
  throw std::runtime_error(attempt + " '" + path + "': " + std::generic_category().message(error));
}

/// Owns an open file descriptor, or none (-1).
class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor = -1) : descriptor_(descriptor) {}
  ~FileDescriptor() { close(); }
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }

  int get() const { return descriptor_; }
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
  std::shared_ptr<const void> owner;
  Bytes bytes;

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
  explicit InputFile(const std::string& path)
      : InputFile(FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path) {}

  /// Read from where it stands to its end, also if it is a file. Throws std::runtime_error if it is closed.
  static InputFile standard_input() {
    InputFile file(FileDescriptor(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)), "standard input");
    file.regular_ = false;
    file.size_ = 0;
    return file;
  }

  const std::string& name() const { return name_; }

  /// A regular file has a size and can be mapped; anything else can be read once, to its end.
  bool is_regular() const { return regular_; }
  std::uint64_t size() const { return size_; }

  /// Reads until `out` is full or the file ends; returns the number of bytes. Throws std::runtime_error on an error.
  std::size_t read(std::span<Byte> out) const {
    std::size_t filled = 0;
    while (filled < out.size()) {
      const auto count = ::read(descriptor_.get(), out.data() + filled, out.size() - filled);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw_errno("cannot read", name_, errno);
      if (count == 0) break;
      filled += static_cast<std::size_t>(count);
    }
    return filled;
  }

  /// The regular file itself as memory, without a copy. It must not be shortened while it is in use: the system ends
  /// a process that touches a mapped byte that is gone (SIGBUS). Replacing it by a rename is safe.
  SharedBytes map() const {
    if (size_ == 0) return {};
    if (size_ > std::numeric_limits<std::size_t>::max()) throw_errno("cannot map", name_, EFBIG);
    const auto size = static_cast<std::size_t>(size_);
    void* const memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor_.get(), 0);
    if (memory == MAP_FAILED) throw_errno("cannot map", name_, errno);
    // What fits in memory is fetched ahead. Of what does not, read-ahead would fetch mostly bytes that nobody wants.
    const double physical =
        static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
    ::madvise(memory, size, static_cast<double>(size) < physical / 4 ? MADV_WILLNEED : MADV_RANDOM);
    const auto unmap = [size](void* mapped) { ::munmap(mapped, size); };
    return {std::shared_ptr<void>(memory, unmap), Bytes(static_cast<const Byte*>(memory), size)};
  }

  /// All bytes in one piece: mapped if that can be done, read into memory otherwise.
  SharedBytes contents() const {
    if (regular_) return map();
    constexpr std::size_t kStep = 1 << 16;
    std::vector<Byte> memory;
    for (std::size_t end = 0;;) {
      memory.resize(end + kStep);
      end += read(std::span(memory).subspan(end));
      if (end < memory.size()) {
        memory.resize(end);
        return SharedBytes::of(std::move(memory));
      }
    }
  }

 private:
  InputFile(FileDescriptor descriptor, const std::string& name) : descriptor_(std::move(descriptor)), name_(name) {
    struct stat status;
    if (!descriptor_.is_open() || ::fstat(descriptor_.get(), &status) != 0) throw_errno("cannot open", name_, errno);
    if (S_ISDIR(status.st_mode)) throw std::runtime_error("'" + name_ + "' is a folder, expected a file");
    if (S_ISBLK(status.st_mode)) throw std::runtime_error("'" + name_ + "' is not a regular file, but a block device");
    regular_ = S_ISREG(status.st_mode);
    if (regular_) size_ = static_cast<std::uint64_t>(status.st_size);
  }

  FileDescriptor descriptor_;
  std::string name_;
  std::uint64_t size_ = 0;
  bool regular_ = false;
};

}  // namespace qllk::io
