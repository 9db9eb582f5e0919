// Model files and checkpoints of the classic model: what can be loaded can be run.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "fuzz/input.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/train/checkpoint.hpp"
#include "qllk/train/trainer.hpp"

namespace qllk::fuzz {

using Classic = QLLKClassic<float>;

inline data::Corpus training_text() {
  std::vector<Byte> bytes(500);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<Byte>('a' + i * i % 11);
  return data::Corpus::from_memory(std::move(bytes));
}

inline train::TrainerSettings tiny_settings() {
  train::TrainerSettings settings;
  settings.batch = 2;
  settings.context = 8;
  settings.shards = 1;
  settings.match_dropout = 0;
  return settings;
}

struct ModelFile {
  static std::vector<std::string> seeds() {
    const test::TemporaryFolder folder;
    Random random(1);
    std::vector<std::string> seeds;
    for (const auto& config :
         {Classic::Config{.dim = 4, .layers = 1, .patch = 2}, {.dim = 6, .layers = 2, .patch = 1}}) {
      const Classic model(config);
      io::save_model(folder / "f", model, model.init(random));
      seeds.push_back(test::read_text(folder / "f"));
    }
    io::SafetensorsWriter nested;
    nested.set_metadata("format", "qllk");
    nested.set_metadata("version", "1");
    nested.set_metadata("arch", "classic");
    nested.set_metadata("config", std::string(100'000, '[') + std::string(100'000, ']'));
    nested.write(folder / "f");
    seeds.push_back(test::read_text(folder / "f"));
    return seeds;
  }

  static void run(Bytes input) {
    static InputPath path;
    try {
      const auto any = io::load_model<std::variant<io::StoredModel<Classic>>>(path.write(input));
      const auto& [model, params] = std::get<0>(any);
      expect(static_cast<std::size_t>(parameter_count(params)) <= input.size(), "weights that are not in the file");
      auto state = model.initial_state(1);
      Classic::Cache cache;
      Mat<float> logits;
      model.forward(params, bytes_of("abc"), state, cache, logits);
      expect(logits.rows() == kByteValues && logits.cols() == 3, "no logits");
    } catch (const RuntimeError& error) {
      expect(std::string(error.what()).starts_with("'/proc/self/fd/"), "an error does not name the file");
    }
  }
};

struct CheckpointFile {
  static std::vector<std::string> seeds() {
    const test::TemporaryFolder folder;
    std::vector<std::string> seeds;
    for (const auto crops : {train::Crops::random, train::Crops::consecutive}) {
      auto settings = tiny_settings();
      settings.crops = crops;
      train::Trainer<Classic> trainer(Classic({.dim = 4, .layers = 1, .patch = 2}), settings, training_text(), 1);
      trainer.step(0);
      train::save_checkpoint(folder / "f", trainer, {.steps = 7}, {{"note", 1}});
      seeds.push_back(test::read_text(folder / "f"));
    }
    return seeds;
  }

  static void run(Bytes input) {
    static InputPath path;
    try {
      const train::Checkpoint checkpoint(path.write(input));
      const auto settings = checkpoint.settings();
      // Whoever opens a checkpoint compares the sizes with the memory that there is: RequiredMemory.
      if (settings.batch > 8 || settings.context > 64 || settings.shards > 8) return;
      train::Trainer<Classic> trainer(checkpoint.model<Classic>(), settings, training_text(), 1);
      checkpoint.restore(trainer);
      trainer.step(0.5);
    } catch (const RuntimeError& error) {
      expect(std::string(error.what()).starts_with("'/proc/self/fd/"), "an error does not name the file");
    } catch (const InvalidArgument&) {  // settings that make no sense
    }
  }
};

}  // namespace qllk::fuzz
