// A file without a name, for what is too large for memory.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "qllk/core/types.hpp"
#include "qllk/files/input_file.hpp"

namespace qllk::files {

/// Where files go that nobody gave a place: $TMPDIR, or else /var/tmp.
inline std::string scratch_folder() {
  const char* const wanted = std::getenv("TMPDIR");
  return wanted != nullptr && *wanted != 0 ? wanted : "/var/tmp";
}

/// Lies in $TMPDIR, or else in /var/tmp, takes disk space until its last user is gone, and no memory. Appending is for
/// one thread; any number may read what was appended before.
///
/// Errors   std::runtime_error that names the folder, as when the disk is full
class ScratchFile {
 public:
  /// An empty file without a name.
  ScratchFile() : folder_(scratch_folder()) {
    std::string name = folder_ + "/qllk-XXXXXX";
    descriptor_ = FileDescriptor(::mkostemp(name.data(), O_CLOEXEC));
    if (!descriptor_.is_open()) throw_errno("cannot make a temporary file in the folder (see TMPDIR)", folder_, errno);
    ::unlink(name.c_str());
  }

  /// Bytes that were appended.
  std::uint64_t size() const { return size_; }

  /// Adds bytes at the end.
  void append(Bytes bytes) {
    while (!bytes.empty()) {
      const auto count = ::pwrite(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(size_));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0)
        throw_errno("cannot write a temporary file in the folder (see TMPDIR)", folder_, count < 0 ? errno : EIO);
      size_ += static_cast<std::uint64_t>(count);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }

  /// Forgets all bytes from `size` on.
  void shorten(std::uint64_t size) {
    if (::ftruncate(descriptor_.get(), static_cast<off_t>(size)) == 0) size_ = size;
  }

  /// Fills `out` from `offset` on; offset + out.size() <= size().
  void read_at(std::uint64_t offset, std::span<Byte> out) const {
    while (!out.empty()) {
      const auto count = ::pread(descriptor_.get(), out.data(), out.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) throw_errno("cannot read a temporary file in the folder", folder_, count < 0 ? errno : EIO);
      offset += static_cast<std::uint64_t>(count);
      out = out.subspan(static_cast<std::size_t>(count));
    }
  }

 private:
  std::string folder_;
  FileDescriptor descriptor_;
  std::uint64_t size_ = 0;
};

}  // namespace qllk::files
