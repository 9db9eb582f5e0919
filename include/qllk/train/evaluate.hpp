// Scoring a text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "qllk/core/concepts.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/model/adapter.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/train/score.hpp"

namespace qllk::train {

/// How to score.
struct EvaluateSettings {
  Index chunk = 256;  // bytes of a forward pass
  int threads = 1;    // the score is the same for any number
};

namespace detail {
/// Numbers below a count that nobody uses now.
struct Idle {
  explicit Idle(std::size_t count) : numbers(count) { std::iota(numbers.begin(), numbers.end(), std::size_t{0}); }
  std::mutex mutex;
  std::vector<std::size_t> numbers;
};
/// One of them, given back at the end, by an exception too. There must be one.
struct Borrowed {
  explicit Borrowed(Idle& from) : idle(from) {
    const std::lock_guard lock(idle.mutex);
    index = idle.numbers.back();
    idle.numbers.pop_back();
  }
  ~Borrowed() {
    const std::lock_guard lock(idle.mutex);
    idle.numbers.push_back(index);
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Idle& idle;
  std::size_t index;
};
}  // namespace detail

/// Scores every byte of a corpus in order, the state carried from the first byte to the last. Threads work on chunks
/// that follow each other, each one layer behind the one before (see Turns).
///
/// Calls progress(score) after some chunks, of this thread; it returns false to stop there.
/// Errors: std::invalid_argument for a chunk or a number of threads outside its range.
/// Cost: one forward pass; memory for one chunk a thread, whatever the corpus's size.
template <PipelinedModel Model, class Params>
Score evaluate(const Model& model, const Params& params, const data::Corpus& corpus,
               const std::function<bool(const Score&)>& progress, EvaluateSettings settings = {}) {
  struct Chunk {
    typename Model::Cache cache;
    Mat<typename Model::Scalar> logits;
  };
  constexpr std::size_t kRounds = 8;  // chunks a thread, from one wait for all to the next
  if (settings.chunk < 1 || settings.chunk > (1 << 24))
    throw InvalidArgument("the chunk is " + std::to_string(settings.chunk) + " bytes, expected 1 to 16777216");
  ThreadPool pool(settings.threads);
  const auto threads = static_cast<std::size_t>(pool.size());
  const auto size = static_cast<std::size_t>(settings.chunk);
  auto state = model.initial_state(1);
  Turns turns(model.stages());
  std::vector<Chunk> chunks(threads);
  detail::Idle idle(threads);
  std::vector<Byte> text(threads * kRounds * size + 1);
  std::vector<double> nats(threads * kRounds);
  text[0] = kStartByte;
  Score score;
  while (score.bytes < corpus.size()) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(text.size() - 1, corpus.size() - score.bytes));
    corpus.copy(score.bytes, std::span(text).subspan(1, count));
    turns.reset();
    const std::size_t pieces = (count + size - 1) / size;
    pool.run(static_cast<Index>(pieces), [&](Index i) {
      const Turn turn(turns, i);
      turn.guard([&] {
        const std::size_t begin = static_cast<std::size_t>(i) * size, length = std::min(size, count - begin);
        const detail::Borrowed mine(idle);
        auto& [cache, logits] = chunks[mine.index];
        model.forward(params, Bytes(text).subspan(begin, length), state, cache, logits, turn);
        nats[static_cast<std::size_t>(i)] =
            nn::cross_entropy<typename Model::Scalar>(Bytes(text).subspan(begin + 1, length), logits);
      });
    });
    for (std::size_t i = 0; i < pieces; ++i) score.nats += nats[i];
    score.bytes += count;
    text[0] = text[count];
    if (!progress(score)) break;
  }
  return score;
}

/// Scores every byte of a corpus in order, with an adapter that learns from it on the way. Of one thread.
///
/// Calls progress(score) after some chunks; it returns false to stop there.
template <class Model>
Score evaluate_adapting(Adapter<Model>& adapter, const data::Corpus& corpus,
                        const std::function<bool(const Score&)>& progress) {
  constexpr auto kChunk = static_cast<std::uint64_t>(Adapter<Model>::kChunk);
  std::vector<Byte> text(kChunk + 1);
  text[0] = kStartByte;
  Score score;
  while (score.bytes < corpus.size()) {
    const auto count = static_cast<std::size_t>(std::min(kChunk, corpus.size() - score.bytes));
    corpus.copy(score.bytes, std::span(text).subspan(1, count));
    score.nats += adapter.learn(Bytes(text).first(count), Bytes(text).subspan(1, count));
    score.bytes += count;
    text[0] = text[count];
    if (!progress(score)) break;
  }
  return score;
}

/// As above, without a callback.
template <PipelinedModel Model, class Params>
Score evaluate(const Model& model, const Params& params, const data::Corpus& corpus, EvaluateSettings settings = {}) {
  return evaluate(
      model, params, corpus, [](const Score&) { return true; }, settings);
}

}  // namespace qllk::train

#ifdef QLLK_COMPILED
#include "qllk/model/compiled.hpp"
namespace qllk::train {
extern template Score evaluate(const EveryTransformer&, const EveryTransformer::Params&, const data::Corpus&,
                               const std::function<bool(const Score&)>&, EvaluateSettings);
extern template Score evaluate(const QLLKClassic<float>&, const QLLKClassic<float>::Params&, const data::Corpus&,
                               const std::function<bool(const Score&)>&, EvaluateSettings);
extern template Score evaluate(const EveryTransformer&, const EveryTransformer::Int8Params&, const data::Corpus&,
                               const std::function<bool(const Score&)>&, EvaluateSettings);
extern template Score evaluate(const QLLKClassic<float>&, const QLLKClassic<float>::Int8Params&, const data::Corpus&,
                               const std::function<bool(const Score&)>&, EvaluateSettings);
extern template Score evaluate_adapting(Adapter<EveryTransformer>&, const data::Corpus&,
                                        const std::function<bool(const Score&)>&);
extern template Score evaluate_adapting(Adapter<QLLKClassic<float>>&, const data::Corpus&,
                                        const std::function<bool(const Score&)>&);
}  // namespace qllk::train
#endif
