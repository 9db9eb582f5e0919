// The fuzz targets without a fuzzer: seeds, and seeds that a fixed sequence of random numbers has changed. It keeps the
// targets whole in every build; main.cpp makes fuzzers of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "fuzz/compressed.hpp"
#include "fuzz/configuration.hpp"
#include "fuzz/corpus.hpp"
#include "fuzz/model.hpp"
#include "fuzz/numbers.hpp"
#include "fuzz/safetensors.hpp"
#include "fuzz/sampler.hpp"
#include "qllk/core/random.hpp"

namespace qllk::fuzz {
namespace {

/// Changes inputs as fuzzers do: bits, bytes, numbers, runs of bytes, and halves of two inputs.
class Mutator {
 public:
  explicit Mutator(std::vector<std::string> seeds) : seeds_(std::move(seeds)) {}

  std::string next() {
    std::string input = pick();
    for (std::uint64_t changes = 1 + random_.below(4); changes > 0; --changes) change(input);
    return input;
  }

 private:
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_.below(bound)); }
  const std::string& pick() { return seeds_[below(seeds_.size())]; }

  void change(std::string& input) {
    static const char* const kTexts[] = {
        "-1",   "0",    "1e999", "18446744073709551615", "9223372036854775808", "null", "[]", "{}", "\"",
        "\xFF", "true", "0.5"};
    const std::size_t at = below(input.size() + 1), rest = input.size() - at;
    switch (random_.below(8)) {
      case 0:
        if (rest > 0) input[at] = static_cast<char>(input[at] ^ (1 << random_.below(8)));
        return;
      case 1:
        if (rest > 0) input[at] = static_cast<char>(random_.bits());
        return;
      case 2:
        input.erase(at, below(std::min<std::size_t>(rest, 16) + 1));
        return;
      case 3:
        input.insert(at, 1 + below(16), static_cast<char>(random_.bits()));
        return;
      case 4:
        input.resize(at);
        return;
      case 5: {
        const std::string& other = pick();
        input = input.substr(0, at) + other.substr(below(other.size() + 1));
        return;
      }
      case 6:
        return replace_number(input, at, kTexts[random_.below(std::size(kTexts))]);
      default:
        const std::size_t from = below(input.size() + 1), size = below(32);
        input.insert(at, input.substr(from, size));
    }
  }

  /// Of a text; most numbers of binary files are texts too, in their headers.
  static void replace_number(std::string& input, std::size_t from, const char* text) {
    constexpr const char* kDigits = "0123456789";
    const std::size_t begin = input.find_first_of(kDigits, from);
    if (begin == std::string::npos) return;
    const std::size_t end = std::min(input.find_first_not_of(kDigits, begin), input.size());
    input.replace(begin, end - begin, text);
  }

  std::vector<std::string> seeds_;
  Random random_{1};
};

template <class Target>
class FuzzTarget : public ::testing::Test {};
using Targets = ::testing::Types<Safetensors, ModelFile, CheckpointFile, Configuration, Corpora, Compressed, Sampling,
                                 Numbers, Names>;
TYPED_TEST_SUITE(FuzzTarget, Targets);

TYPED_TEST(FuzzTarget, TakesSeedsAndWhatBecomesOfThem) {
  using Clock = std::chrono::steady_clock;
  constexpr int kMostInputs = 20'000;
  constexpr std::chrono::milliseconds kBudget(400);
  const auto seeds = TypeParam::seeds();
  for (const std::string& seed : seeds) TypeParam::run(bytes_of(seed));
  TypeParam::run({});
  Mutator mutator(seeds);
  const auto start = Clock::now();
  int inputs = 0;
  for (; inputs < kMostInputs && (inputs < 50 || Clock::now() - start < kBudget); ++inputs) {
    const std::string input = mutator.next();
    try {
      TypeParam::run(bytes_of(input));
    } catch (const std::exception& error) {
      std::string hex;
      for (const char c : input.substr(0, 2000)) {
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(c));
        hex += digits;
      }
      FAIL() << "input " << inputs << " throws \"" << error.what() << "\": " << hex;
    }
  }
  std::printf("%d inputs\n", inputs);
}

}  // namespace
}  // namespace qllk::fuzz
