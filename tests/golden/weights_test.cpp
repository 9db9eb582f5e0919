// The promise of determinism: with the same program, text and settings the weights are the same to the last bit. This
// program is compiled as the preset `portable` compiles the tools, wherever GCC 12 compiles it for x86-64: its hashes are
// those of every machine then.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "qllk/compress/fingerprint.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/train/checkpoint.hpp"
#include "support/golden_training.hpp"
#ifdef QLLK_GOLDEN_HASHES
#include <gnu/libc-version.h>
#endif

namespace qllk {
namespace {

using Classic = QLLKClassic<float>;
using Transformer = QLLKTransformer<float>;

constexpr double kOldBits = 7.01729385, kOldBitsLater = 6.9232988;  // after 20 and 30 steps

/// Why this program may have other bits; empty if it may not.
std::string other_bits() {
#ifndef QLLK_GOLDEN_HASHES
  return "the hashes are those of g++ 12 with the flags of the preset portable, for x86-64";
#else
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return "the processor has no AVX2";
  // tanh, erf and others of the mathematical library
  if (gnu_get_libc_version() != std::string_view("2.36"))
    return std::string("the hashes are those of glibc 2.36, this is ") + gnu_get_libc_version();
  return "";
#endif
}

template <class Model>
void expect_golden(std::uint64_t hash) {
  auto trainer = test::golden_training<Model>();
  const double bits = test::golden_score(trainer);
  constexpr double expected = test::Golden<Model>::kBitsPerByte;
  EXPECT_TRUE(std::abs(bits - expected) <= test::kGoldenTolerance * expected) << bits << ", expected " << expected;
  const std::uint64_t found = compress::weights_fingerprint(trainer.params());
  std::printf("%.9f bits per byte, weights 0x%016llx\n", bits, static_cast<unsigned long long>(found));
  if (const std::string why = other_bits(); !why.empty()) GTEST_SKIP() << why;
  EXPECT_EQ(found, hash);
}

TEST(GoldenWeights, OfTheClassicModel) { expect_golden<Classic>(0xe15bf61e9411f209); }
TEST(GoldenWeights, OfTheDefaultModel) { expect_golden<Transformer>(0x6f9581c52fad8370); }

/// As version 0.1.0 scored it, which knew no words, matches, recency or checksums.
TEST(OlderFiles, AModelOfVersion010ScoresAsItDid) {
  const auto stored = io::load_model_as<Transformer>(QLLK_TEST_DATA "/version_0.1.0_model.safetensors");
  const double bits = train::evaluate(stored.model, stored.params, test::golden_text()).bits_per_byte();
  EXPECT_NEAR(bits, kOldBits, 1e-5 * kOldBits);
}

TEST(OlderFiles, ACheckpointOfVersion010GoesOnAsItDid) {
  const train::Checkpoint checkpoint(QLLK_TEST_DATA "/version_0.1.0_training.safetensors");
  EXPECT_FALSE(checkpoint.has_checksum());
  EXPECT_EQ(checkpoint.progress().steps, 20);
  train::Trainer<Transformer> trainer(checkpoint.model<Transformer>(), checkpoint.settings(), test::golden_text(), 2);
  checkpoint.restore(trainer);
  EXPECT_NEAR(test::golden_score(trainer), kOldBits, 1e-5 * kOldBits);
  trainer.run(checkpoint.budget(), [](const train::StepReport&) { return true; });
  EXPECT_EQ(trainer.progress().steps, 30);
  EXPECT_NEAR(test::golden_score(trainer), kOldBitsLater, test::kGoldenTolerance * kOldBitsLater);
}

}  // namespace
}  // namespace qllk
