#include "qllk/generate/generator.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "support/allocations.hpp"
#include "support/models.hpp"

namespace qllk::generate {
namespace {

template <class Model>
Model small();
template <>
QLLKClassic<float> small() {
  return QLLKClassic<float>({.dim = 32, .layers = 2, .patch = 4});
}
template <>
QLLKTransformer<float> small() {
  QLLKTransformer<float>::Config config;
  config.dim_local = 16;
  config.dim = 32;
  config.patch = 4;
  config.layers = config.decoder = 1;
  config.bits = 10;
  return QLLKTransformer<float>(config);
}

template <class Model>
class GeneratorOf : public ::testing::Test {
 protected:
  std::vector<Byte> prompt(std::size_t size) const {
    Random draws(3);
    std::vector<Byte> bytes(size);
    for (auto& byte : bytes) byte = static_cast<Byte>(draws.bits());
    return bytes;
  }
  std::vector<Byte> write(Generator<Model>& generator, int count, std::uint64_t seed = 1) const {
    const Sampler sampler({.temperature = 0.9, .top_k = 40});
    Random draws(seed);
    std::vector<Byte> out;
    for (int i = 0; i < count; ++i) out.push_back(generator.next(sampler, draws));
    return out;
  }

  Model model = small<Model>();
  Random random{1};
  typename Model::Params params = model.init(random);
};
using Models = ::testing::Types<QLLKClassic<float>, QLLKTransformer<float>>;
TYPED_TEST_SUITE(GeneratorOf, Models);

TYPED_TEST(GeneratorOf, TheSameBytesHoweverThePromptIsCut) {
  constexpr auto kChunk = Generator<TypeParam>::kChunk;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kChunk - 2, kChunk - 1, kChunk, 2 * kChunk + 37}) {
    const auto prompt = this->prompt(size);
    Generator<TypeParam> whole(this->model, this->params);
    whole.feed(prompt);
    const auto expected = this->write(whole, 50);
    for (const std::size_t step : {std::size_t{1}, std::size_t{100}, kChunk}) {
      Generator<TypeParam> cut(this->model, this->params);
      for (std::size_t at = 0; at < size; at += step) cut.feed(Bytes(prompt).subspan(at, std::min(step, size - at)));
      EXPECT_EQ(this->write(cut, 50), expected) << size << " in steps of " << step;
    }
  }
}

TYPED_TEST(GeneratorOf, ExpectsWhatOneForwardPassExpects) {
  const auto prompt = this->prompt(700);
  std::vector<Byte> stream(prompt);
  stream.insert(stream.begin(), kStartByte);
  auto state = this->model.initial_state(1);
  typename TypeParam::Cache cache;
  Mat<float> expected;
  this->model.forward(this->params, stream, state, cache, expected);

  Generator<TypeParam> generator(this->model, this->params);
  generator.feed(Bytes(prompt).first(650));
  for (std::size_t t = 650; t < prompt.size(); ++t) {  // as generation does: one byte at a time
    const auto logits = generator.logits();
    for (Index c = 0; c < kByteValues; ++c)
      EXPECT_TRUE(std::abs(logits[static_cast<std::size_t>(c)] - expected(c, static_cast<Index>(t))) <= 1e-3) << t;
    generator.feed(Bytes(prompt).subspan(t, 1));
  }
}

TYPED_TEST(GeneratorOf, TheSeedDecides) {
  Generator<TypeParam> a(this->model, this->params), b(this->model, this->params), c(this->model, this->params);
  const auto first = this->write(a, 40, 1);
  EXPECT_EQ(this->write(b, 40, 1), first);
  EXPECT_NE(this->write(c, 40, 2), first);
}

TYPED_TEST(GeneratorOf, AllocatesNothingByteByByte) {
  if (!test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  Generator<TypeParam> generator(this->model, this->params);
  generator.feed(this->prompt(600));
  const Sampler sampler({.temperature = 0.9});
  Random draws(1);
  for (int i = 0; i < 40; ++i) generator.next(sampler, draws);
  const long before = test::allocations();
  for (int i = 0; i < 2000; ++i) generator.next(sampler, draws);
  EXPECT_EQ(test::allocations(), before);
}

}  // namespace
}  // namespace qllk::generate
