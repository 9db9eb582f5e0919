#include "qllk/train/checkpoint.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "support/models.hpp"
#include "support/temporary_folder.hpp"

namespace qllk::train {
namespace {

using test::message_of, test::TemporaryFolder;
using Model = QLLKClassic<float>;

data::Corpus text() {
  std::vector<Byte> bytes(2000);
  Random random(1);
  for (auto& byte : bytes) byte = static_cast<Byte>('a' + random.below(6));
  return data::Corpus::from_memory(std::move(bytes));
}

/// Every member differs from its default. The bindings name all members: one that is added to a struct does not compile
/// here until it is, and then fails below until a checkpoint holds it.
TrainerSettings unusual_settings() {
  TrainerSettings s;
  auto& [batch, context, shards, piece, chunk, borders, crops, precision, adam, rows, schedule, average, dropout,
         order_dropout, match_dropout, clip, seed] = s;
  auto& [learning_rate, beta1, beta2, epsilon, weight_decay] = adam;
  auto& [rate, row_beta2, row_epsilon] = rows;
  auto& [warmup, floor] = schedule;
  auto& [every, degree] = average;
  batch = 3, context = 17, shards = 2, piece = 100, match_dropout = 0.4, clip = 0.7;
  dropout = order_dropout = 0;  // the classic model has none
  chunk = 5, borders = 2, crops = Crops::consecutive, precision = linalg::Precision::bfloat16;
  seed = std::numeric_limits<std::uint64_t>::max();
  learning_rate = 1e-3 / 3, beta1 = 0.85, beta2 = 0.95, epsilon = 1e-7, weight_decay = 0.03;
  rate = 3, row_beta2 = 0.9, row_epsilon = 1e-6;
  warmup = 2, floor = 0.01;
  every = 2, degree = 1.5;
  return s;
}

void expect_same(const TrainerSettings& a, const TrainerSettings& b) {
  const auto& [batch, context, shards, piece, chunk, borders, crops, precision, adam, rows, schedule, average, dropout,
               order_dropout, match_dropout, clip, seed] = a;
  EXPECT_EQ(batch, b.batch);
  EXPECT_EQ(context, b.context);
  EXPECT_EQ(shards, b.shards);
  EXPECT_EQ(piece, b.piece);
  EXPECT_EQ(chunk, b.chunk);
  EXPECT_EQ(borders, b.borders);
  EXPECT_EQ(crops, b.crops);
  EXPECT_EQ(precision, b.precision);
  const auto& [learning_rate, beta1, beta2, epsilon, weight_decay] = adam;
  EXPECT_EQ(learning_rate, b.optimizer.learning_rate);
  EXPECT_EQ(beta1, b.optimizer.beta1);
  EXPECT_EQ(beta2, b.optimizer.beta2);
  EXPECT_EQ(epsilon, b.optimizer.epsilon);
  EXPECT_EQ(weight_decay, b.optimizer.weight_decay);
  const auto& [rate, row_beta2, row_epsilon] = rows;
  EXPECT_EQ(rate, b.rows.rate);
  EXPECT_EQ(row_beta2, b.rows.beta2);
  EXPECT_EQ(row_epsilon, b.rows.epsilon);
  const auto& [warmup, floor] = schedule;
  EXPECT_EQ(warmup, b.schedule.warmup);
  EXPECT_EQ(floor, b.schedule.floor);
  const auto& [every, degree] = average;
  EXPECT_EQ(every, b.average.every);
  EXPECT_EQ(degree, b.average.degree);
  EXPECT_EQ(dropout, b.dropout);
  EXPECT_EQ(order_dropout, b.order_dropout);
  EXPECT_EQ(match_dropout, b.match_dropout);
  EXPECT_EQ(clip, b.clip);
  EXPECT_EQ(seed, b.seed);
}

class CheckpointFile : public ::testing::Test {
 protected:
  CheckpointFile() {
    trainer.run({.steps = 3}, [](const StepReport&) { return true; });
    save_checkpoint(file, trainer, {.steps = 7, .seconds = 1.5}, {{"text", "a\xFFz"}, {"number", 1.0 / 3}});
    bytes = test::read_text(file);
  }
  void expect_error(const std::string& words) const {
    const auto message = message_of<std::runtime_error>([&] {
      const Checkpoint checkpoint(file);
      Trainer<Model> other(checkpoint.model<Model>(), checkpoint.settings(), text(), 1);
      checkpoint.restore(other);
    });
    EXPECT_NE(message.find("'" + file + "'"), std::string::npos) << message;
    EXPECT_NE(message.find(words), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  void replace(const std::string& from, const std::string& to) {
    ASSERT_EQ(from.size(), to.size());
    const auto at = bytes.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    test::write_text(file, std::string(bytes).replace(at, from.size(), to));
  }

  TemporaryFolder folder;
  std::string file = folder / "training.safetensors";
  Trainer<Model> trainer{Model({.dim = 8, .layers = 2, .patch = 2}), unusual_settings(), text(), 2};
  std::string bytes;
};

TEST(Settings, ComeBackFromJson) {
  TrainerSettings settings = unusual_settings(), read;
  settings.dropout = 0.125;
  settings.order_dropout = 0.3;
  io::from_json(io::to_json(settings), read, "settings");
  expect_same(settings, read);
}

TEST_F(CheckpointFile, HoldsEverything) {
  const Checkpoint checkpoint(file);
  EXPECT_EQ(checkpoint.arch(), "classic");
  EXPECT_EQ(checkpoint.model<Model>().config(), trainer.model().config());
  expect_same(unusual_settings(), checkpoint.settings());
  EXPECT_EQ(checkpoint.budget().steps, 7);
  EXPECT_EQ(checkpoint.budget().seconds, 1.5);
  const auto& [steps, skipped, seen, seconds] = trainer.progress();
  EXPECT_EQ(checkpoint.progress().steps, steps);
  EXPECT_EQ(checkpoint.progress().skipped, skipped);
  EXPECT_EQ(checkpoint.progress().bytes, seen);
  EXPECT_EQ(checkpoint.progress().seconds, seconds);
  EXPECT_EQ(checkpoint.notes().at("number"), 1.0 / 3);
  EXPECT_EQ(checkpoint.notes().at("text"), "a\xEF\xBF\xBDz");
}

TEST_F(CheckpointFile, ABudgetWithoutBoundsComesBackWithout) {
  save_checkpoint(file, trainer, {});
  const Checkpoint checkpoint(file);
  EXPECT_EQ(checkpoint.budget().steps, Budget().steps);
  EXPECT_EQ(checkpoint.budget().seconds, Budget().seconds);
}

/// As when AdamW was the only optimiser.
TEST_F(CheckpointFile, WithoutTheNameOfAnOptimizerItIsOfAdamW) {
  EXPECT_EQ(Checkpoint(file).optimizer(), "adamw");
  bytes.replace(bytes.find("\"checksum\""), 10, "\"checksux\"");  // nor a checksum
  replace(R"("optimizer":"adamw")", R"("ptimizero":"other")");
  const Checkpoint checkpoint(file);
  EXPECT_EQ(checkpoint.optimizer(), "adamw");
  expect_same(unusual_settings(), checkpoint.settings());
  Trainer<Model> resumed(checkpoint.model<Model>(), checkpoint.settings(), text(), 1);
  checkpoint.restore(resumed);
  EXPECT_EQ(resumed.optimizer().first.hash_proj.weight, trainer.optimizer().first.hash_proj.weight);
}

TEST_F(CheckpointFile, AnAlteredNumberIsAnError) {
  for (const std::size_t at : {std::size_t{1}, bytes.size() / 3, bytes.size() / 2}) {
    std::string altered = bytes;
    altered[bytes.size() - at] = static_cast<char>(altered[bytes.size() - at] ^ 1);
    test::write_text(file, altered);
    expect_error("is damaged: its checksum is wrong");
  }
}

TEST_F(CheckpointFile, DamageIsAnError) {
  for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 3) {
    test::write_text(file, bytes.substr(0, size));
    expect_error("");
  }
  replace(R"("version":"1")", R"("version":"9")");
  expect_error("version '9'");
  replace(R"(\"context\":17)", R"(\"cantext\":17)");
  expect_error("context");
  replace(R"(\"skipped\":0)", R"(\"skipped\":4)");
  expect_error("progress");
  replace(R"(\"layers\":2)", R"(\"layers\":3)");
  expect_error("configuration");
  replace(R"("format":"qllk-training")", R"("format":"qllk-drainage")");
  expect_error("not a training checkpoint");
  replace(R"("adam.first.hash_proj")", R"("adam.third.hash_proj")");
  expect_error("adam.first.hash_proj");
  // tensors follow each other as they were written: weights, their averages, two moments
  const float bad = std::numeric_limits<float>::quiet_NaN();
  const auto tree = static_cast<std::size_t>(parameter_count(trainer.params())) * sizeof bad;
  for (const std::size_t trees : {1u, 2u, 3u, 4u}) {
    std::string poisoned = bytes;
    std::memcpy(poisoned.data() + poisoned.size() - trees * tree, &bad, sizeof bad);
    test::write_text(file, poisoned);
    expect_error("not finite");
  }
}

TEST_F(CheckpointFile, AModelFileIsNotATrainingCheckpointNorTheOtherWayRound) {
  const auto message = message_of<std::runtime_error>([&] { io::load_model(file); });
  EXPECT_NE(message.find("training checkpoint"), std::string::npos) << message;
  io::save_model(file, trainer.model(), trainer.params());
  expect_error("not a training checkpoint");
}

TEST_F(CheckpointFile, AFullDiskLeavesTheOldOne) {
  EXPECT_THROW(save_checkpoint("/dev/full", trainer, {}), std::runtime_error);
  EXPECT_THROW(save_checkpoint(folder / "missing/training.safetensors", trainer, {}), std::runtime_error);
  EXPECT_EQ(test::read_text(file), bytes);
  EXPECT_EQ(folder.entries(), 1);
}

}  // namespace
}  // namespace qllk::train
