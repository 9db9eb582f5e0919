// How fast memory is read, by the size of what is read over and over.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/threads.hpp"
#include "roofline/caches.hpp"
#include "roofline/fma_peak.hpp"
#include "roofline/timing.hpp"

namespace qllk::bench {

/// One level of the memory hierarchy. `bytes` is the size that the machine tells, 0 for DRAM.
struct Level {
  std::string name;
  std::size_t bytes;
  std::size_t measured_at;  // working set of one core, in bytes
  double core, all;         // bytes a second, read by one core and by all at once
};

/// Adds up all values, from an address aligned to a packet, in enough sums that they do not wait for each other.
template <std::size_t... I>
float read_all(const float* values, std::size_t count, std::index_sequence<I...>) {
  using Eigen::internal::padd, Eigen::internal::pload, Eigen::internal::pset1;
  constexpr auto kStride = sizeof...(I) * static_cast<std::size_t>(kPacket);
  Packet sum[sizeof...(I)] = {pset1<Packet>(static_cast<float>(I))...};
  const float* const end = values + count / kStride * kStride;
  for (; values != end; values += kStride)
    ((sum[I] = padd(sum[I], pload<Packet>(values + static_cast<Index>(I) * kPacket))), ...);
  Packet total = pset1<Packet>(0.0F);
  ((total = padd(total, sum[I])), ...);
  return Eigen::internal::predux(total);
}

/// Bytes a second that `pool` reads, each thread `bytes` of its own. `buffer` holds all of them.
inline double read_rate(ThreadPool& pool, const Vec<float>& buffer, std::size_t bytes) {
  constexpr std::size_t kEnough = std::size_t{32} << 20;
  const std::size_t count = bytes / 64 * 64 / sizeof(float), passes = std::max<std::size_t>(1, kEnough / bytes);
  return rate_at_once(pool, static_cast<double>(bytes * passes), bytes > kEnough ? 3 : 7, [&](Index thread) {
    volatile float sink;
    for (std::size_t pass = 0; pass < passes; ++pass)
      sink = read_all(buffer.data() + static_cast<std::size_t>(thread) * count, count, std::make_index_sequence<8>{});
    static_cast<void>(sink);
  });
}

/// Read bandwidth of one core against working-set size, and of every level of the memory.
class Bandwidth {
 public:
  struct Point {
    std::size_t bytes;
    double rate;
  };

  /// Measures for about a second.
  explicit Bandwidth(int threads) {
    const auto caches = data_caches();
    const std::size_t last = caches.empty() ? 0 : caches.back().bytes;
    std::size_t top = std::clamp<std::size_t>(2 * last, std::size_t{128} << 20, std::size_t{512} << 20);
    while (top > memory_bytes() / 8) top /= 2;
    const Vec<float> buffer = Vec<float>::Ones(static_cast<Index>(top / sizeof(float)));
    ThreadPool one(1), all(threads);
    for (std::size_t bytes = std::size_t{8} << 10; bytes <= top; bytes *= 2)
      curve_.push_back({bytes, read_rate(one, buffer, bytes)});

    const auto add = [&](std::string name, std::size_t size, std::size_t each, std::size_t working_set) {
      levels_.push_back({std::move(name), size, working_set, at(working_set), read_rate(all, buffer, each)});
    };
    const auto cores = static_cast<std::size_t>(threads);
    for (std::size_t i = 0; i < caches.size(); ++i) {
      // well inside the level and beyond the one before; virtual machines overstate the last one
      const double before = i == 0 ? 0 : static_cast<double>(caches[i - 1].bytes);
      const auto own = static_cast<double>(caches[i].bytes);
      const double target = i == 0 ? own / 2 : std::sqrt(before * std::min(own, 16 * before));
      const auto working_set = static_cast<std::size_t>(1) << static_cast<int>(std::log2(target) + 0.5);
      const bool shared = i + 1 == caches.size();
      std::string name = std::to_string(caches[i].level);
      name.insert(name.begin(), 'L');
      add(std::move(name), caches[i].bytes, shared ? working_set / cores : working_set, working_set);
    }
    add("DRAM", 0, top / cores, top);
  }

  const std::vector<Point>& curve() const { return curve_; }
  const std::vector<Level>& levels() const { return levels_; }

  /// Bytes a second at the smallest measured working set that holds this one.
  double at(std::size_t bytes) const {
    for (const Point& point : curve_)
      if (point.bytes >= bytes) return point.rate;
    return curve_.back().rate;
  }

  /// The level that a working set fits in. The last cache of a virtual machine is often smaller than it says: where
  /// reading is nearer to DRAM's speed than to that cache's, it is DRAM.
  const Level& level(std::size_t bytes) const {
    for (std::size_t i = 0; i + 1 < levels_.size(); ++i) {
      if (bytes > levels_[i].bytes) continue;
      const bool last = i + 2 == levels_.size();
      const double rate = at(bytes);
      if (!last || rate * rate >= levels_[i].core * levels_.back().core) return levels_[i];
    }
    return levels_.back();
  }

 private:
  std::vector<Point> curve_;
  std::vector<Level> levels_;
};

}  // namespace qllk::bench
