// To be preloaded: makes one system call of those that write files fail, or the process die at it.
//
//   QLLK_FAULT_PATH   part of the paths that count
//   QLLK_FAULT_AT     the number of the call, from 1
//   QLLK_FAULT_KIND   EIO, ENOSPC, EDQUOT, EOPNOTSUPP, EINTR, short (half of a write is done), kill (before the call),
//                     killed (after it, of a write after half of it)
//   QLLK_FAULT_COUNT  a file that gets the number of calls when the process ends
//   QLLK_FAULT_CLOCK  a number: the clock of the day jumps by up to an hour, back and forth, at each look
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace {

std::atomic<long> calls{0};

bool matches(const char* path) {
  const char* const part = std::getenv("QLLK_FAULT_PATH");
  return part != nullptr && path != nullptr && std::strstr(path, part) != nullptr;
}

bool matches(int descriptor) {
  char link[64], path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t size = ::readlink(link, path, sizeof path - 1);
  if (size < 0) return false;
  path[size] = 0;
  return matches(path);
}

enum class Fault { kNone, kError, kShort, kDeath };

/// Counts a call; errno is set for an error.
Fault next_fault(bool counts) {
  if (!counts) return Fault::kNone;
  const long number = ++calls;
  const char *const at = std::getenv("QLLK_FAULT_AT"), *const text = std::getenv("QLLK_FAULT_KIND");
  if (at == nullptr || text == nullptr || number != std::atol(at)) return Fault::kNone;
  const std::string_view kind = text;
  if (kind == "kill") std::raise(SIGKILL);
  if (kind == "killed") return Fault::kDeath;
  if (kind == "short") return Fault::kShort;
  errno = kind == "ENOSPC"       ? ENOSPC
          : kind == "EDQUOT"     ? EDQUOT
          : kind == "EOPNOTSUPP" ? EOPNOTSUPP
          : kind == "EINTR"      ? EINTR
                                 : EIO;
  return Fault::kError;
}

/// The result of call(), or what the fault makes of it.
template <class Call>
auto inject(bool counts, Call&& call) -> decltype(call(false)) {
  const Fault fault = next_fault(counts);
  if (fault == Fault::kError) return -1;
  const auto result = call(fault != Fault::kNone);
  if (fault == Fault::kDeath) std::raise(SIGKILL);
  return result;
}

template <class F>
F* real(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

struct Tell {
  ~Tell() {
    const char* const path = std::getenv("QLLK_FAULT_COUNT");
    std::FILE* const file = path != nullptr ? std::fopen(path, "w") : nullptr;
    if (file == nullptr) return;
    std::fprintf(file, "%ld\n", calls.load());
    std::fclose(file);
  }
} tell;

}  // namespace

extern "C" {

ssize_t write(int file, const void* data, size_t size) {
  return inject(matches(file), [&](bool half) {
    return real<ssize_t(int, const void*, size_t)>("write")(file, data, half ? (size + 1) / 2 : size);
  });
}
ssize_t pwrite(int file, const void* data, size_t size, off_t offset) {
  return inject(matches(file), [&](bool half) {
    return real<ssize_t(int, const void*, size_t, off_t)>("pwrite")(file, data, half ? (size + 1) / 2 : size, offset);
  });
}
int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
  va_end(list);
  return inject(matches(path) && (flags & (O_CREAT | O_DIRECTORY)) != 0,
                [&](bool) { return real<int(const char*, int, ...)>("open")(path, flags, mode); });
}
int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static const char* const jumps = std::getenv("QLLK_FAULT_CLOCK");
  static std::atomic<unsigned> looks{0};
  const long result = ::syscall(SYS_clock_gettime, clock, time);
  if (result == 0 && jumps != nullptr && clock == CLOCK_REALTIME)
    time->tv_sec += static_cast<long>((looks++ * 2654435761U + static_cast<unsigned>(std::atol(jumps))) % 7200) - 3600;
  return static_cast<int>(result);
}
int fsync(int file) {
  return inject(matches(file), [&](bool) { return real<int(int)>("fsync")(file); });
}
int close(int file) {
  const bool writes = (::fcntl(file, F_GETFL) & O_ACCMODE) != O_RDONLY;
  return inject(writes && matches(file), [&](bool) { return real<int(int)>("close")(file); });
}
int rename(const char* from, const char* to) noexcept {
  return inject(matches(to), [&](bool) { return real<int(const char*, const char*)>("rename")(from, to); });
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) noexcept {
  return inject(matches(to), [&](bool) {
    return real<int(int, const char*, int, const char*, int)>("linkat")(from_folder, from, to_folder, to, flags);
  });
}
int unlink(const char* path) noexcept {
  return inject(matches(path), [&](bool) { return real<int(const char*)>("unlink")(path); });
}
int flock(int file, int operation) noexcept {
  return inject(matches(file), [&](bool) { return real<int(int, int)>("flock")(file, operation); });
}
int fchown(int file, uid_t owner, gid_t group) noexcept {
  return inject(matches(file), [&](bool) { return real<int(int, uid_t, gid_t)>("fchown")(file, owner, group); });
}
int fchmod(int file, mode_t mode) noexcept {
  return inject(matches(file), [&](bool) { return real<int(int, mode_t)>("fchmod")(file, mode); });
}

}  // extern "C"
