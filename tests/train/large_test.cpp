// Models with most of their parameters in matrices, or in hashed rows: they learn, and a run that was saved and resumed
// has the weights of one that never stopped. By default they are small. QLLK_LARGE_PARAMETERS=1000000000 is what
// bench/README.md has: up to 20 GB of memory and 20 GB of disk in the folder for temporary files, for minutes.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/files/checksum.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/required_memory.hpp"
#include "qllk/train/trainer.hpp"
#include "support/temporary_folder.hpp"

namespace qllk::train {
namespace {

using Model = QLLKTransformer<float>;

double parameters() {
  const char* const given = std::getenv("QLLK_LARGE_PARAMETERS");
  return given != nullptr ? std::atof(given) : 2e6;
}

/// Two blocks of the patch level have 20·dim² parameters. Without memory: what is known before anything is learned would
/// hide what is learned in few steps.
Model::Config dense() {
  constexpr Index kStep = 64;
  const auto dim = static_cast<Index>(std::ceil(std::sqrt(parameters() / 20) / kStep)) * kStep;
  return Model::Config{.dim = dim, .orders = 2, .words = 0, .bits = 8}.without_memory();
}

/// Eight orders of 2^bits rows with 128 values each.
Model::Config hashed() {
  const int bits = static_cast<int>(std::ceil(std::log2(parameters() / (8 * 128))));
  return Model::Config{.orders = 7, .words = 2, .bits = bits}.without_memory();
}

TrainerSettings settings() {
  TrainerSettings s;
  s.batch = 2;
  s.context = 256;
  s.shards = 2;
  s.optimizer = {.learning_rate = 1e-3, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.1};
  s.schedule.warmup = 5;
  s.average.every = 0;
  return s;
}

data::Corpus text() {
  Random random(7);
  std::vector<Byte> bytes;
  while (bytes.size() < 200'000) {
    const std::uint64_t word = random.below(50);
    for (std::uint64_t i = 0; i <= word % 7; ++i) bytes.push_back(static_cast<Byte>('a' + (word * 5 + i * i) % 26));
    bytes.push_back(' ');
  }
  return data::Corpus::from_memory(std::move(bytes));
}

template <class Tree>
std::uint64_t checksum(const Tree& tree) {
  files::Checksum sum;
  for_each_parameter(
      [&](const Path&, const auto& leaf) {
        sum.update(
            {reinterpret_cast<const Byte*>(leaf.data()), static_cast<std::size_t>(leaf.size()) * sizeof(*leaf.data())});
      },
      tree);
  return sum.value();
}

/// Never holds two trainers at a time.
void trains_saves_and_resumes(const Model::Config& config) {
  constexpr int kSteps = 20, kSaved = 10;
  const Model model(config);
  expect_fits(model, settings());
  const test::TemporaryFolder folder;
  const auto file = folder / "training.safetensors";
  double first = 0, last = 0;
  std::uint64_t whole = 0;
  {
    Trainer<Model> trainer(model, settings(), text(), 2);
    for (int step = 0; step < kSteps; ++step) {
      if (step == kSaved) save_checkpoint(file, trainer, {.steps = kSteps});
      const StepReport report = trainer.step(static_cast<double>(step) / kSteps);
      ASSERT_FALSE(report.skipped);
      (step == 0 ? first : last) = report.bits_per_byte;
    }
    whole = checksum(trainer.params());
    std::cout << parameter_count(trainer.params()) << " parameters: " << trainer.progress().seconds / kSteps
              << " seconds a step, bits per byte " << first << " to " << last << ", holds "
              << static_cast<double>(trainer.memory().total()) / 1e9 << " GB, checkpoint "
              << static_cast<double>(std::filesystem::file_size(file)) / 1e9 << " GB\n";
    EXPECT_LE(last, first - 0.5);
  }
  const Checkpoint checkpoint(file);
  Trainer<Model> trainer(checkpoint.model<Model>(), checkpoint.settings(), text(), 1);
  checkpoint.restore(trainer);
  for (int step = kSaved; step < kSteps; ++step) trainer.step(static_cast<double>(step) / kSteps);
  EXPECT_EQ(checksum(trainer.params()), whole);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::cout << "peak memory of this process " << static_cast<double>(usage.ru_maxrss) * 1024 / 1e9 << " GB\n";
}

TEST(Large, DenseTrainsSavesAndResumes) { trains_saves_and_resumes(dense()); }
/// Models of a terabyte, one whose matrices fit but not their moments, and a table that is too large.
TEST(Large, WhatCannotFitIsRefusedBeforeItIsAllocated) {
  EXPECT_THROW(expect_fits(Model({.dim = 200'000}), settings()), std::invalid_argument);
  EXPECT_THROW(expect_fits(Model({.dim = 15'000}), settings(), 10'000'000'000), std::invalid_argument);
  EXPECT_THROW(expect_fits(Model({.bits = 24}), settings(), 10'000'000'000), std::invalid_argument);
}

TEST(Large, HashedTrainsSavesAndResumes) { trains_saves_and_resumes(hashed()); }

}  // namespace
}  // namespace qllk::train
