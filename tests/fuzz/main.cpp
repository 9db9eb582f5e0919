// A libFuzzer program of one target. With QLLK_FUZZ_SEEDS=DIR it writes the target's seeds into that folder, and ends.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include QLLK_FUZZ_HEADER

using Target = qllk::fuzz::QLLK_FUZZ_TARGET;

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  const char* const folder = std::getenv("QLLK_FUZZ_SEEDS");
  if (folder == nullptr) return 0;
  int number = 0;
  for (const std::string& seed : Target::seeds())
    qllk::test::write_text(std::string(folder) + "/seed-" + std::to_string(number++), seed);
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Target::run(qllk::Bytes(data, size));
  return 0;
}
