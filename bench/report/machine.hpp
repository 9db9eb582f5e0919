// What this machine is and how it fares at this moment. What it does not tell stays empty.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "report/clock.hpp"

namespace qllk::bench {

/// First line of a file, without the zero byte that ends a device tree's strings.
inline std::optional<std::string> line_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return {};
  line.erase(std::find(line.begin(), line.end(), '\0'), line.end());
  if (line.empty()) return {};
  return line;
}

inline std::optional<double> number_of(const std::filesystem::path& path) {
  double number = 0;
  if (std::ifstream file(path); file >> number) return number;
  return {};
}

/// A board's name, or else the processor's.
inline std::optional<std::string> machine_model() {
  if (auto model = line_of("/proc/device-tree/model")) return model;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return {};
}

/// The hottest sensor, in degrees Celsius.
inline std::optional<double> temperature() {
  std::optional<double> hottest;
  for (int i = 0; i < 32; ++i)
    if (const auto t = number_of("/sys/class/thermal/thermal_zone" + std::to_string(i) + "/temp"))
      hottest = std::max(hottest.value_or(-300), *t / 1000);
  return hottest;
}

/// A Raspberry Pi's word on throttling. Bits 0-3: now under-voltage, clock capped, throttled, at the soft limit of
/// temperature; bits 16-19: one of these since the board started.
inline std::optional<std::uint32_t> throttling_bits() {
  const auto parse = [](const std::string& text) -> std::optional<std::uint32_t> {
    try {
      return static_cast<std::uint32_t>(std::stoul(text, nullptr, 16));
    } catch (const std::exception&) {
      return {};
    }
  };
  if (const auto line = line_of("/sys/devices/platform/soc/soc:firmware/get_throttled")) return parse(*line);
  if (!std::filesystem::exists("/proc/device-tree/model")) return {};
  std::string answer;
  if (FILE* const pipe = popen("vcgencmd get_throttled 2>/dev/null", "r")) {
    char buffer[128];
    while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) answer += buffer;
    pclose(pipe);
  }
  const auto at = answer.find('=');
  return at == std::string::npos ? std::nullopt : parse(answer.substr(at + 1));
}

/// Times that an x86 processor slowed a core down for heat, summed over the cores.
inline std::optional<double> throttle_count() {
  std::optional<double> sum;
  for (int i = 0; i < 1024; ++i) {
    const std::string cpu = "/sys/devices/system/cpu/cpu" + std::to_string(i);
    if (!std::filesystem::exists(cpu)) break;
    if (const auto count = number_of(cpu + "/thermal_throttle/core_throttle_count")) sum = sum.value_or(0) + *count;
  }
  return sum;
}

/// One look at the machine, with all cores at work while the clock is taken (a third of a second).
inline nlohmann::json sample_machine() {
  nlohmann::json sample;
  const auto put = [&](const char* name, const auto& value) {
    sample[name] = value ? nlohmann::json(*value) : nlohmann::json();
  };
  const std::string cpufreq = "/sys/devices/system/cpu/cpu0/cpufreq/";
  const auto hertz = [](std::optional<double> kilohertz) {
    return kilohertz ? std::optional(*kilohertz * 1000) : std::nullopt;
  };
  std::optional<double> told;
  sample["clock_measured"] = clock_under_load([&] { told = hertz(number_of(cpufreq + "scaling_cur_freq")); });
  put("clock_told", told);
  put("clock_maximum", hertz(number_of(cpufreq + "cpuinfo_max_freq")));
  put("governor", line_of(cpufreq + "scaling_governor"));
  put("temperature", temperature());
  put("throttling_bits", throttling_bits());
  put("throttle_count", throttle_count());
  put("load", number_of("/proc/loadavg"));
  return sample;
}

}  // namespace qllk::bench
