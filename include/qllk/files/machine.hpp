// What this process may use of the machine: processors and memory, as the system and its containers (cgroups) allow.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "qllk/config.hpp"

namespace qllk::files {

/// Reads /proc and /sys/fs/cgroup (versions 1 and 2), from another root in tests. What cannot be read limits nothing.
class Machine {
 public:
  /// The limit where there is none.
  static constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

  /// Finds the containers of this process.
  explicit Machine(std::filesystem::path root = "/");

  /// Bytes of memory that this process and the others of its containers may hold together.
  std::uint64_t memory_limit() const;

  /// Bytes of memory that are left. File contents that the system keeps to save reading count as left.
  std::uint64_t available_memory() const;

  /// Threads that can run at the same time: affinity and quotas count.
  int processors() const;

 private:
  using Path = std::filesystem::path;

  /// The group and all above it; inside a container the path from outside may not exist.
  void add_groups(const char* mount, const std::string& path, std::vector<Path>& groups) const;

  static std::optional<std::uint64_t> parse(const std::string& text);
  static std::optional<std::uint64_t> number(const Path& path);
  static std::uint64_t entry(const Path& group, const std::string& name);
  std::optional<std::uint64_t> meminfo(const std::string& name) const;

  Path root_;
  std::vector<Path> groups_, memory_groups_, cpu_groups_;  // of version 2; of version 1
};

}  // namespace qllk::files

#ifndef QLLK_COMPILED
#include "qllk/files/machine_impl.hpp"
#endif
