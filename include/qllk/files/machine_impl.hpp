// How Machine reads them. Include qllk/files/machine.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "qllk/config.hpp"
#include "qllk/files/machine.hpp"

namespace qllk::files {

QLLK_INLINE Machine::Machine(std::filesystem::path root) : root_(std::move(root)) {
  std::ifstream file(root_ / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // "4:memory,cpu:/a/b", or "0::/a/b" of version 2
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string path = line.substr(second + 1);
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    if (second == first + 1) add_groups("sys/fs/cgroup", path, groups_);
    for (std::string name; std::getline(controllers, name, ',');) {
      if (name == "memory") add_groups("sys/fs/cgroup/memory", path, memory_groups_);
      if (name == "cpu") add_groups("sys/fs/cgroup/cpu", path, cpu_groups_);
    }
  }
}

QLLK_INLINE std::uint64_t Machine::memory_limit() const {
  std::uint64_t limit = meminfo("MemTotal:").value_or(kUnlimited);
  for (const auto& group : groups_) limit = std::min(limit, number(group / "memory.max").value_or(kUnlimited));
  for (const auto& group : memory_groups_)
    limit = std::min(limit, number(group / "memory.limit_in_bytes").value_or(kUnlimited));
  return limit;
}

QLLK_INLINE std::uint64_t Machine::available_memory() const {
  std::uint64_t left = meminfo("MemAvailable:").value_or(kUnlimited);
  const auto consider = [&](std::optional<std::uint64_t> limit, std::optional<std::uint64_t> used,
                            std::uint64_t cached) {
    if (limit && used) left = std::min(left, *limit - std::min(*limit, *used - std::min(*used, cached)));
  };
  for (const auto& group : groups_)
    consider(number(group / "memory.max"), number(group / "memory.current"), entry(group, "inactive_file"));
  for (const auto& group : memory_groups_)
    consider(number(group / "memory.limit_in_bytes"), number(group / "memory.usage_in_bytes"),
             entry(group, "total_inactive_file"));
  return left;
}

QLLK_INLINE int Machine::processors() const {
  double most = std::max(1U, std::thread::hardware_concurrency());
  const auto consider = [&](std::optional<std::uint64_t> quota, std::optional<std::uint64_t> period) {
    if (quota && period && *quota > 0 && *period > 0)
      most = std::min(most, std::ceil(static_cast<double>(*quota) / static_cast<double>(*period)));
  };
  for (const auto& group : groups_) {
    std::ifstream file(group / "cpu.max");  // "200000 100000" or "max 100000", of microseconds
    std::string quota, period;
    if (file >> quota >> period) consider(parse(quota), parse(period));
  }
  for (const auto& group : cpu_groups_)
    consider(number(group / "cpu.cfs_quota_us"), number(group / "cpu.cfs_period_us"));
  return std::max(1, static_cast<int>(most));
}

QLLK_INLINE void Machine::add_groups(const char* mount, const std::string& path, std::vector<Path>& groups) const {
  groups.push_back(root_ / mount);
  Path group = root_ / mount;
  for (const auto& part : Path(path).relative_path()) groups.push_back(group /= part);
}

QLLK_INLINE std::optional<std::uint64_t> Machine::parse(const std::string& text) {
  std::uint64_t value = 0;
  if (text.empty() || text.size() > 19) return std::nullopt;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return std::nullopt;  // "max", or a negative number for none
    value = 10 * value + static_cast<std::uint64_t>(digit - '0');
  }
  return value;
}

QLLK_INLINE std::optional<std::uint64_t> Machine::number(const Path& path) {
  std::ifstream file(path);
  std::string text;
  return file >> text ? parse(text) : std::nullopt;
}

QLLK_INLINE std::uint64_t Machine::entry(const Path& group, const std::string& name) {
  std::ifstream file(group / "memory.stat");
  for (std::string key, value; file >> key >> value;)
    if (key == name) return parse(value).value_or(0);
  return 0;
}

QLLK_INLINE std::optional<std::uint64_t> Machine::meminfo(const std::string& name) const {
  std::ifstream file(root_ / "proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key, value;
    if (words >> key >> value && key == name)
      if (const auto kib = parse(value)) return *kib * 1024;
  }
  return std::nullopt;
}

}  // namespace qllk::files
