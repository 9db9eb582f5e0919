// Training a mixer in the shell: on text, and on the tasks.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "shell.hpp"
#include "tasks.hpp"

namespace mixer_table {

struct TextRun {
  double learning_rate = 3e-3;
  std::uint64_t seed = 1;
  Index batch = 4, context = 512;
  std::uint64_t bytes = std::numeric_limits<std::uint64_t>::max();  // whichever ends first
  double seconds = std::numeric_limits<double>::infinity();         // CPU seconds of training
};
/// A text in parts, under the name that results call it.
struct Text {
  std::string name;
  qllk::data::Corpus training, choosing, held_out;
};
struct TextResult {
  double bits_per_byte;           // on held-out text, the state carried through all of it
  double choosing_bits_per_byte;  // on text to choose settings by
  std::uint64_t bytes_seen;
  double seconds, generate_bytes_per_second;
};

/// One thread.
TextResult train_on_text(const Model::Config& config, const TextRun& run, const Text& text);

struct TaskRun {
  double learning_rate = 3e-3;
  std::uint64_t seed = 1;
  Index length = 64, batch = 32, steps = 300;
};
inline constexpr Index kLonger = 4;

struct TaskResult {
  double accuracy;         // of the scored positions of sequences that training has not shown
  double longer_accuracy;  // the same on sequences of kLonger times the length, with as many items
  double seconds;
};

/// One thread. The loss is that of positions with an answer only.
TaskResult train_on_task(const Model::Config& config, const TaskRun& run, const Task& task);

}  // namespace mixer_table
