// A budget of memory is kept, and one that is too small says which would do.
#include "qllk/train/fit.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "qllk/data/corpus.hpp"
#include "qllk/model/transformer.hpp"
#include "support/models.hpp"

namespace qllk::train {
namespace {

using Model = QLLKTransformer<float>;

class Fit : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::vector<Byte> some(100000);
    if (heap_bytes() < some.size()) GTEST_SKIP() << "this C library does not tell what is in use";
  }

  static std::pair<Model::Config, TrainerSettings> run(Index batch, Index context) {
    TrainerSettings s;
    s.batch = batch;
    s.context = context;
    return {{.dim_local = 64, .dim = 64, .layers = 1, .decoder = 1, .bits = 13}, s};
  }

  static double held_after_steps(const Model::Config& config, const TrainerSettings& settings) {
    Random random(1);
    std::vector<Byte> bytes(static_cast<std::size_t>(settings.context) + 1000);
    for (auto& byte : bytes) byte = static_cast<Byte>(random.bits());
    const auto corpus = data::Corpus::from_memory(std::move(bytes));
    const std::size_t before = heap_bytes();
    Trainer<Model> trainer(Model(config), settings, corpus, 2);
    for (int i = 0; i < 2; ++i) trainer.step(0);
    return static_cast<double>(heap_bytes() - before);
  }
};

TEST_F(Fit, NothingChangesWithoutNeed) {
  auto [config, settings] = run(4, 512);
  const auto before = config;
  const double held = fit<Model>(2e9, {}, config, settings);
  EXPECT_EQ(config, before);
  EXPECT_EQ(settings.batch, 4);
  EXPECT_EQ(settings.chunk, 0);
  EXPECT_LE(held_after_steps(config, settings), held);
}

TEST_F(Fit, TheBudgetIsKeptAndUsed) {
  for (const double budget : {100e6, 140e6}) {
    auto [config, settings] = run(4, 16000);
    const double held = fit<Model>(budget, {}, config, settings);
    EXPECT_LE(held, budget);
    EXPECT_GT(settings.chunk, 0);
    const double found = held_after_steps(config, settings);
    EXPECT_LE(found, budget);
    EXPECT_GE(found, 0.6 * budget) << settings.batch << " x " << settings.chunk;
  }
}

TEST_F(Fit, WhatIsGivenStays) {
  auto [config, settings] = run(2, 4000);
  fit<Model>(150e6, {.batch = true, .tables = true}, config, settings);
  EXPECT_EQ(settings.batch, 2);
  EXPECT_EQ(config.bits, 13);
}

/// Chunks that are too small keep too many states: the best is neither the smallest nor the largest.
TEST_F(Fit, LongContextsAreCutIntoChunksThatKeepFewStates) {
  for (const Index context : {Index{1} << 24, Index{1} << 30}) {
    auto [config, settings] = run(1, context);
    const double held = fit<Model>(160e6, {}, config, settings);
    EXPECT_LE(held, 160e6);
    EXPECT_GE(settings.chunk, 1024) << context;
    EXPECT_EQ(settings.borders > 0, context == Index{1} << 30);
    EXPECT_LT(settings.borders, context / settings.chunk);
    std::printf("%ld bytes: chunks of %ld, %ld states\n", static_cast<long>(context), static_cast<long>(settings.chunk),
                static_cast<long>(settings.borders));
  }
}

TEST_F(Fit, TooSmallABudgetNamesTheLeast) {
  auto [config, settings] = run(2, 4000);
  const Given given{.batch = true, .tables = true};
  double least = 0;
  try {
    fit<Model>(1e6, given, config, settings);
    ADD_FAILURE() << "1 MB is enough";
  } catch (const InvalidArgument& error) {
    const std::string text = error.what();
    ASSERT_NE(text.find("need "), std::string::npos) << text;
    least = 1e6 * std::strtod(text.c_str() + text.find("need ") + 5, nullptr);
  }
  EXPECT_GT(least, 1e6);
  fit<Model>(1.02 * least, given, config, settings);  // what is measured differs a little
  EXPECT_GE(settings.chunk, 256);
}

}  // namespace
}  // namespace qllk::train
