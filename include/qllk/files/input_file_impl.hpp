// How files are opened and read. Include qllk/files/input_file.hpp.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/files/machine.hpp"

namespace qllk::files {

QLLK_INLINE void expect_room(const std::string& name, std::uint64_t read, std::uint64_t more, const Machine& machine) {
  const std::uint64_t available = machine.available_memory();
  if (more <= available) return;
  throw RuntimeError("'" + name + "' has more bytes than there is memory for: it goes on after " +
                     std::to_string(read) + " bytes, and " + std::to_string(available) + " bytes are available");
}

QLLK_INLINE InputFile InputFile::standard_input() {
  InputFile file(FileDescriptor(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)), "standard input");
  file.regular_ = false;
  file.size_ = 0;
  return file;
}

QLLK_INLINE std::size_t InputFile::read(std::span<Byte> out) const {
  std::size_t filled = 0;
  while (filled < out.size()) {
    if (waits_) detail::wait_until_ready(descriptor_.get(), POLLIN);
    const auto count = ::read(descriptor_.get(), out.data() + filled, out.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {  // whoever opened a pipe may have made it so
      detail::wait_until_ready(descriptor_.get(), POLLIN);
      continue;
    }
    if (count < 0) throw_errno("cannot read", name_, errno);
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  return filled;
}

QLLK_INLINE void InputFile::read_at(std::uint64_t offset, std::span<Byte> out) const {
  while (!out.empty()) {
    const auto count = ::pread(descriptor_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_errno("cannot read", name_, errno);
    if (count == 0)
      throw RuntimeError(change().value_or("'" + name_ + "' has fewer bytes than its size, " + std::to_string(size_) +
                                           ": byte " + std::to_string(offset) + " cannot be read"));
    offset += static_cast<std::uint64_t>(count);
    out = out.subspan(static_cast<std::size_t>(count));
  }
}

QLLK_INLINE std::optional<std::string> InputFile::change() const {
  if (!regular_) return std::nullopt;
  struct stat now;
  if (::fstat(descriptor_.get(), &now) != 0) throw_errno("cannot read", name_, errno);
  const auto size = static_cast<std::uint64_t>(now.st_size);
  const bool touched = now.st_mtim.tv_sec != modified_.tv_sec || now.st_mtim.tv_nsec != modified_.tv_nsec;
  if (size == size_ && !touched) return std::nullopt;
  if (size == size_) return "'" + name_ + "' was changed by another program while it was in use";
  return "'" + name_ + "' " + (size < size_ ? "was shortened" : "grew") + " while it was in use: it had " +
         std::to_string(size_) + " bytes and now has " + std::to_string(size);
}

QLLK_INLINE SharedBytes InputFile::contents(const Machine& machine) const {
  constexpr std::size_t kStep = 1 << 16;
  std::vector<Byte> memory;
  for (std::size_t end = 0;;) {
    if (end >= kLargeStream && end + kStep > memory.capacity())  // which doubles
      expect_room(name_, end, 2 * std::uint64_t{memory.capacity()}, machine);
    memory.resize(end + std::max<std::size_t>(kStep, end == 0 ? static_cast<std::size_t>(size_) + 1 : 0));
    end += read(std::span(memory).subspan(end));
    if (end < memory.size()) {
      memory.resize(end);
      check_unchanged();
      return SharedBytes::of(std::move(memory));
    }
  }
}

QLLK_INLINE InputFile::InputFile(FileDescriptor descriptor, const std::string& name)
    : descriptor_(std::move(descriptor)), name_(name) {
  struct stat status;
  if (!descriptor_.is_open() || ::fstat(descriptor_.get(), &status) != 0) throw_errno("cannot open", name_, errno);
  if (S_ISDIR(status.st_mode)) throw RuntimeError("'" + name_ + "' is a folder, expected a file");
  if (S_ISBLK(status.st_mode)) throw RuntimeError("'" + name_ + "' is not a regular file, but a block device");
  regular_ = S_ISREG(status.st_mode) && status.st_size > 0;
  if (regular_) size_ = static_cast<std::uint64_t>(status.st_size);
  modified_ = status.st_mtim;
  identity_ = {status.st_dev, status.st_ino};
  waits_ = S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode) || S_ISSOCK(status.st_mode);
}

QLLK_INLINE FileDescriptor InputFile::open(const std::string& path) {
  for (;;) {
    FileDescriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (descriptor.is_open() || errno != EINTR) return descriptor;
    detail::waiting();  // a pipe is opened when somebody opens its other end
  }
}

}  // namespace qllk::files
