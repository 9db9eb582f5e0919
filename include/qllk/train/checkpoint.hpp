// Training checkpoints: all that a run needs to go on as if it had never stopped.
//
// A safetensors file. Its tensors are "params.…", "average.…" and the optimiser's state: "adam.first.…" and
// "adam.second.…" of AdamW, "lion.momentum.…" of Lion; with consecutive crops also "carried.…", the streams'
// states. Its metadata are those of a model file, with format "qllk-training", and besides
//   optimizer                             the name of the optimiser; AdamW if it is missing, as in files of old
//   settings, budget, progress, updates   JSON
//   build                                 what the program was compiled by and for, see core/build.hpp; files of old
//                                         lack it
//   checksum                              of the whole file; those of old have none
//   notes                                 JSON, of the program that trains
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

#include "qllk/core/build.hpp"
#include "qllk/core/optimizer.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/io/json_members.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/io/safetensors.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/optim/step.hpp"
#include "qllk/train/trainer.hpp"

template <qllk::Optimizer Optim>
struct qllk::io::Members<Optim> {
  template <class Settings, class F>
  static void visit(Settings& s, F&& f) {
    Optim::members(s, f);
  }
};
template <>
struct qllk::io::Members<qllk::optim::RowWise> {
  template <class Settings, class F>
  static void visit(Settings& s, F&& f) {
    f("rate", s.rate), f("beta2", s.beta2), f("epsilon", s.epsilon);
  }
};
template <>
struct qllk::io::Members<qllk::optim::WarmupCosine> {
  template <class Settings, class F>
  static void visit(Settings& s, F&& f) {
    f("warmup", s.warmup), f("floor", s.floor);
  }
};
template <>
struct qllk::io::Members<qllk::optim::WeightAverage> {
  template <class Settings, class F>
  static void visit(Settings& s, F&& f) {
    f("every", s.every), f("degree", s.degree);
  }
};

namespace qllk::train::detail {
/// What an optimiser's settings and tensors are called in a checkpoint.
template <Optimizer Optim>
inline constexpr const char* key_v = Optim::kName;
template <>
inline constexpr const char* key_v<optim::AdamW> = "adam";  // as when there was no other optimiser
}  // namespace qllk::train::detail

template <qllk::Optimizer Optim>
struct qllk::io::Members<qllk::train::BasicTrainerSettings<Optim>> {
  template <class Settings, class F>
  static void visit(Settings& s, F&& f) {
    f("batch", s.batch), f("context", s.context), f("shards", s.shards), f("piece", s.piece);
    f(qllk::train::detail::key_v<Optim>, s.optimizer), f("rows", s.rows);
    f("schedule", s.schedule), f("average", s.average), f("dropout", s.dropout), f("clip", s.clip), f("seed", s.seed);
    f("order_dropout", s.order_dropout), f("match_dropout", s.match_dropout, 0.0);
    f("chunk", s.chunk, qllk::Index{0}), f("borders", s.borders, qllk::Index{0});
    f("crops", s.crops, qllk::train::Crops::random);
    f("precision", s.precision, qllk::linalg::Precision::full);
  }
};
template <>
struct qllk::io::Members<qllk::train::Progress> {
  template <class Progress, class F>
  static void visit(Progress& p, F&& f) {
    f("steps", p.steps), f("skipped", p.skipped), f("bytes", p.bytes), f("seconds", p.seconds);
  }
};

namespace qllk::train {

namespace detail {
/// A bound that is not there is not in the file: JSON has no infinity.
inline io::Json budget_to_json(const Budget& budget) {
  io::Json json = io::Json::object();
  if (budget.steps != std::numeric_limits<std::int64_t>::max()) json["steps"] = budget.steps;
  if (std::isfinite(budget.seconds)) json["seconds"] = budget.seconds;
  return json;
}
inline Budget budget_from_json(const io::Json& json) {
  Budget budget;
  if (const auto steps = json.find("steps"); steps != json.end()) io::from_json(*steps, budget.steps, "budget.steps");
  if (const auto seconds = json.find("seconds"); seconds != json.end())
    io::from_json(*seconds, budget.seconds, "budget.seconds");
  if (!(budget.steps > 0) || !(budget.seconds > 0)) throw RuntimeError("'budget' is " + json.dump());
  return budget;
}
}  // namespace detail

/// Writes a checkpoint, whole or not at all (see files::AtomicFile, also for the errors). `notes` are for the caller to
/// read back, as Checkpoint::notes; what is not UTF-8 in them is replaced by U+FFFD.
template <class Model, Optimizer Optim>
void save_checkpoint(const std::filesystem::path& path, const Trainer<Model, Optim>& trainer, const Budget& budget,
                     const io::Json& notes = io::Json::object()) {
  io::SafetensorsWriter writer;
  io::detail::describe(writer, "qllk-training", trainer.model());
  writer.set_metadata("optimizer", Optim::kName);
  writer.set_metadata("settings", io::to_json(trainer.settings()).dump());
  writer.set_metadata("budget", detail::budget_to_json(budget).dump());
  writer.set_metadata("progress", io::to_json(trainer.progress()).dump());
  writer.set_metadata("updates", io::to_json(trainer.optimizer().updates).dump());
  writer.set_metadata("build", build_name());
  writer.set_metadata("notes", notes.dump(-1, ' ', false, io::Json::error_handler_t::replace));
  io::save_parameters(writer, "params", trainer.params());
  io::save_parameters(writer, "average", trainer.average());
  io::save_parameters(writer, "carried", trainer.carried());
  io::save_parameters(writer, detail::key_v<Optim>, trainer.optimizer());
  writer.write(path);
}

/// A checkpoint that was opened and checked.
///
///   const Checkpoint checkpoint(path);
///   Trainer<Model> trainer(checkpoint.model<Model>(), checkpoint.settings(), corpus, threads);
///   checkpoint.restore(trainer);
///   trainer.run(checkpoint.budget(), …);
///
/// With another optimiser: Trainer<Model, optim::Lion> trainer(…, checkpoint.settings<optim::Lion>(), …).
///
/// Errors   every member throws std::runtime_error that names the file and what is wrong with it
class Checkpoint {
 public:
  /// Throws if the file is missing, cut short, or not a training checkpoint.
  explicit Checkpoint(const std::filesystem::path& path);

  /// The name of the model's io::Architecture.
  const std::string& arch() const { return io::detail::metadata(reader_, "arch"); }
  /// The name of the optimiser.
  std::string optimizer() const {
    const auto name = reader_.metadata().find("optimizer");
    return name == reader_.metadata().end() ? optim::AdamW::kName : name->second;
  }
  /// The build_name() of the program that made the checkpoint; empty if it does not say. Another build may round
  /// otherwise, and what it goes on to is not bit for bit what this one would have gone on to.
  std::string build() const {
    const auto name = reader_.metadata().find("build");
    return name == reader_.metadata().end() ? std::string() : name->second;
  }
  /// False of files of an earlier version.
  bool has_checksum() const { return reader_.has_checksum(); }
  /// Throws if the file has a checksum and any byte of it is not what was written; `restore` does so too.
  void verify() const { reader_.verify(); }
  /// The budget of the run.
  const Budget& budget() const { return budget_; }
  /// Where the run stood.
  const Progress& progress() const { return progress_; }
  /// What save_checkpoint was given.
  const io::Json& notes() const { return notes_; }

  /// Throws also if another optimiser made the checkpoint.
  template <Optimizer Optim = optim::AdamW>
  BasicTrainerSettings<Optim> settings() const;

  /// The model, without its weights. Throws also if it is another.
  template <class Model>
  Model model() const;

  /// Puts weights, moments and progress into a trainer that was made with this model and these settings, in place: no
  /// tensor is held twice. When it throws, the trainer has parts of both, and is of no use.
  template <class Model, Optimizer Optim>
  void restore(Trainer<Model, Optim>& trainer) const;

 private:
  template <Optimizer Optim>
  void expect_optimizer() const {
    if (optimizer() != Optim::kName)
      reader_.fail("was trained with the optimiser '" + optimizer() + "', expected '" + Optim::kName + "'");
  }

  io::SafetensorsReader reader_;
  io::Json settings_;
  Budget budget_;
  Progress progress_;
  std::int64_t updates_ = 0;
  io::Json notes_;
};

template <Optimizer Optim>
BasicTrainerSettings<Optim> Checkpoint::settings() const {
  expect_optimizer<Optim>();
  BasicTrainerSettings<Optim> settings;
  io::detail::naming(reader_, [&] { io::from_json(settings_, settings, "settings"); });
  return settings;
}

template <class Model>
Model Checkpoint::model() const {
  if (arch() != io::Architecture<Model>::name)
    reader_.fail("is of architecture '" + arch() + "', expected '" + std::string(io::Architecture<Model>::name) + "'");
  return io::detail::described_model<Model>(reader_, "params.");
}

template <class Model, Optimizer Optim>
void Checkpoint::restore(Trainer<Model, Optim>& trainer) const {
  expect_optimizer<Optim>();
  trainer.fill(progress_, [&](auto& params, auto& optimizer, auto& average, auto& carried) {
    const auto load = [&](const char* prefix, auto& tree) {
      io::load_parameters(reader_, prefix, tree);
      io::detail::check_finite(reader_, tree);
    };
    load("params", params);
    if (trainer.settings().average.every > 0) load("average", average);  // which files of old have always
    load("carried", carried);
    load(detail::key_v<Optim>, optimizer);
    optimizer.updates = updates_;
    reader_.verify();
  });
}

}  // namespace qllk::train

#ifdef QLLK_COMPILED
namespace qllk::io {
extern template Json to_json(const train::TrainerSettings&);
extern template void from_json(const Json&, train::TrainerSettings&, const std::string&);
}  // namespace qllk::io
namespace qllk::train {
extern template void save_checkpoint(const std::filesystem::path&, const Trainer<EveryTransformer>&, const Budget&,
                                     const io::Json&);
extern template void save_checkpoint(const std::filesystem::path&, const Trainer<QLLKClassic<float>>&, const Budget&,
                                     const io::Json&);
extern template EveryTransformer Checkpoint::model<EveryTransformer>() const;
extern template QLLKClassic<float> Checkpoint::model<QLLKClassic<float>>() const;
extern template TrainerSettings Checkpoint::settings<optim::AdamW>() const;
extern template void Checkpoint::restore(Trainer<EveryTransformer>&) const;
extern template void Checkpoint::restore(Trainer<QLLKClassic<float>>&) const;
}  // namespace qllk::train
#else
#include "qllk/train/checkpoint_impl.hpp"
#endif
