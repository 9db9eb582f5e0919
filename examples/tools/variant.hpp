// The same program for a better processor, in place of this one.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace tool {

#if defined(QLLK_VARIANTS) && defined(__x86_64__)

/// Replaces this process by the best program of its name in QLLK_VARIANTS, a path from its own folder, that this
/// processor runs. Returns where there is none, and where the environment has QLLK_VARIANT=none.
inline void become_best_variant(char** argv) {
  const char* const wanted = std::getenv("QLLK_VARIANT");
  if (wanted != nullptr && std::string_view(wanted) == "none") return;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  struct Variant {
    const char* name;
    bool runs;
  };
  std::error_code ignored;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  for (const Variant& variant : {Variant{"avx512_bf16", bf16}, Variant{"avx512", avx512}})
    if (variant.runs)  // execv returns where there is no such program
      ::execv((self.parent_path() / QLLK_VARIANTS / variant.name / self.filename()).c_str(), argv);
}

#else

inline void become_best_variant(char**) {}

#endif

}  // namespace tool
