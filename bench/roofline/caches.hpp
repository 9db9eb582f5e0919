// Sizes of this machine's data caches, as far as it tells them.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

namespace qllk::bench {

struct CacheLevel {
  int level;
  std::size_t bytes;
};

namespace detail {

/// Linux, in sysfs: "512K".
inline std::vector<CacheLevel> caches_of_sysfs() {
  std::vector<CacheLevel> found;
  for (int i = 0; i < 8; ++i) {
    const std::string at = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    int level = 0;
    std::string type;
    std::size_t size = 0;
    char unit = 0;
    if (!(std::ifstream(at + "level") >> level) || !(std::ifstream(at + "type") >> type)) continue;
    std::ifstream file(at + "size");
    if (type == "Instruction" || !(file >> size)) continue;
    if (file >> unit) size <<= unit == 'M' ? 20 : 10;
    found.push_back({level, size});
  }
  return found;
}

/// What the C library makes of the processor's own words.
inline std::vector<CacheLevel> caches_of_libc() {
  std::vector<CacheLevel> found;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  constexpr int kNames[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
  for (int i = 0; i < 3; ++i)
    if (const long size = sysconf(kNames[i]); size > 0) found.push_back({i + 1, static_cast<std::size_t>(size)});
#endif
  return found;
}

}  // namespace detail

/// From the first level on; empty where the machine does not tell.
inline std::vector<CacheLevel> data_caches() {
  auto found = detail::caches_of_sysfs();
  if (found.empty()) found = detail::caches_of_libc();
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.level < b.level; });
  return found;
}

inline std::size_t memory_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
}

}  // namespace qllk::bench
