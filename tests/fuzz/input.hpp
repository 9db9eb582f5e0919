// What the targets of this folder share. A target is a struct:
//
//   static std::vector<std::string> seeds();     valid inputs to begin with
//   static void run(Bytes input);                anything but to return is a mistake of the code that is tested
//
// Each takes the exceptions that its reader promises, and no others.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "qllk/core/types.hpp"
#include "qllk/files/input_file.hpp"
#include "support/temporary_folder.hpp"

namespace qllk::fuzz {

/// Not assert: a target checks in every build.
inline void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

inline std::string text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline Bytes bytes_of(const std::string& text) {
  return Bytes(reinterpret_cast<const Byte*>(text.data()), text.size());
}

/// A file that has the bytes of an input. It lies in memory: a file system would take most of the time.
class InputPath {
 public:
  InputPath() : file_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (!file_.is_open()) files::throw_errno("cannot make", "a file in memory", errno);
  }

  /// The name ends with `extension`.
  std::string write(Bytes bytes, const std::string& extension = "") {
    expect(::ftruncate(file_.get(), 0) == 0, "no room for the input");
    expect(::pwrite(file_.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
           "no room for the input");
    const std::string target = "/proc/self/fd/" + std::to_string(file_.get());
    if (extension.empty()) return target;
    const std::string link = folder_ / ("input" + extension);
    expect(::symlink(target.c_str(), link.c_str()) == 0 || errno == EEXIST, "no link to the input");
    return link;
  }

 private:
  files::FileDescriptor file_;
  test::TemporaryFolder folder_;
};

/// Takes values from the begin of an input; zeros after its end.
class Reader {
 public:
  explicit Reader(Bytes bytes) : rest_(bytes) {}

  template <class T>
  T take() requires std::is_trivially_copyable_v<T> {
    T value{};
    const std::size_t count = std::min(sizeof value, rest_.size());
    if (count > 0) std::memcpy(&value, rest_.data(), count);
    rest_ = rest_.subspan(count);
    return value;
  }
  /// Up to the next newline, which is taken too.
  std::string line() {
    const std::string all = text_of(rest_);
    const std::size_t end = std::min(all.find('\n'), all.size());
    rest_ = rest_.subspan(std::min(end + 1, all.size()));
    return all.substr(0, end);
  }
  Bytes rest() const { return rest_; }

 private:
  Bytes rest_;
};

}  // namespace qllk::fuzz
