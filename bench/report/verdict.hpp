// Whether figures can be trusted: nothing slowed the machine down while they were taken.
#pragma once

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace qllk::bench {

/// Reasons why a run does not count, from looks at the machine in the order in which they were taken; none if it does.
///
/// A Raspberry Pi's bits say what is so now, and what was so since it started: the latter count where they were not yet
/// set at the first look. The clock counts as fallen when it ends more than 5 % under where it began.
inline std::vector<std::string> reasons_against(const std::vector<nlohmann::json>& looks) {
  struct Bit {
    std::uint32_t now;
    const char* name;
  };
  constexpr Bit kBits[] = {{0x1, "under-voltage"}, {0x2, "clock capped"}, {0x4, "throttled"}, {0x8, "too hot"}};
  std::vector<std::string> reasons;
  if (looks.size() < 2) return {"the machine was not looked at before and after"};
  const auto bits = [](const nlohmann::json& look) {
    return look["throttling_bits"].is_null() ? 0 : look["throttling_bits"].get<std::uint32_t>();
  };
  for (const Bit& bit : kBits) {
    bool seen = false;
    for (const auto& look : looks) {
      const std::uint32_t since_start = bit.now << 16;
      seen |= (bits(look) & bit.now) != 0 || (bits(look) & ~bits(looks.front()) & since_start) != 0;
    }
    if (seen) reasons.emplace_back(bit.name);
  }
  const auto number = [](const nlohmann::json& value) { return value.is_null() ? 0 : value.get<double>(); };
  const auto &first = looks.front(), &last = looks.back();
  if (number(last["throttle_count"]) > number(first["throttle_count"])) reasons.emplace_back("throttled");
  for (const char* clock : {"clock_measured", "clock_told"}) {
    const double begin = number(first[clock]), end = number(last[clock]);
    if (end >= 0.95 * begin || end <= 0) continue;
    char text[96];
    std::snprintf(text, sizeof text, "the clock fell from %.0f to %.0f MHz", begin * 1e-6, end * 1e-6);
    reasons.emplace_back(text);
    break;
  }
  return reasons;
}

}  // namespace qllk::bench
