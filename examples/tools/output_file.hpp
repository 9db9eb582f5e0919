// Where a tool writes: a file that appears whole, or a stream that takes bytes as they come.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "interrupt.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"

namespace tool {

/// Whether a path names what standard output is: "-", /dev/stdout, or the file or pipe that it was directed to.
inline bool is_standard_output(const std::string& path) {
  if (path == "-" || path == "/dev/stdout" || path == "/dev/fd/1" || path == "/proc/self/fd/1") return true;
  struct stat named, output;
  return ::stat(path.c_str(), &named) == 0 && ::fstat(STDOUT_FILENO, &output) == 0 && named.st_dev == output.st_dev &&
         named.st_ino == output.st_ino && (S_ISREG(named.st_mode) || S_ISFIFO(named.st_mode));
}

/// A pipe, a terminal or a device, as /dev/null, is written to, and never replaced.
inline qllk::files::AtomicFile open_output(const std::string& path) {
  using qllk::files::AtomicFile, qllk::files::FileDescriptor;
  if (is_standard_output(path))
    return AtomicFile(FileDescriptor(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)), "standard output");
  struct stat status;
  if (::stat(path.c_str(), &status) != 0 || !(S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode)))
    return AtomicFile(path);
  for (;;) {
    FileDescriptor stream(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (stream.is_open()) return AtomicFile(std::move(stream), path);
    if (errno != EINTR) qllk::files::throw_errno("cannot write", path, errno);
    if (Interrupt::requested()) throw Interrupted();  // a pipe that nobody reads
  }
}

/// "-" is standard input.
inline qllk::files::InputFile open_input(const std::string& path) {
  return path == "-" ? qllk::files::InputFile::standard_input() : qllk::files::InputFile(path);
}

}  // namespace tool
