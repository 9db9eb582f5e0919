// Whole models: a training step (its update included) and a forward pass, by one thread and by all cores.
#include <benchmark/benchmark.h>

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "flops.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/trainer.hpp"
#include "roofline/roofline.hpp"
#include "text.hpp"

namespace {

using namespace qllk;

/// Median of the seconds that iterations of `body` take, three at least. A first one, which has the pages of its memory
/// to get, is not counted.
template <class Body>
double repeat(benchmark::State& state, Body&& body) {
  body();
  std::vector<double> seconds;
  for (auto _ : state) seconds.push_back(bench::seconds_of(body));
  while (seconds.size() < 3) seconds.push_back(bench::seconds_of(body));
  return bench::median(seconds);
}

/// Counters: bytes a second, FLOP a second, share of peak and, by all cores, how many times faster than one thread.
template <class Model>
void report(benchmark::State& state, const std::string& name, double flop, double seconds) {
  static std::map<std::tuple<std::string, Index, Index>, double> alone;
  const Index batch = state.range(0), context = state.range(1), threads = state.range(2);
  const auto bytes = static_cast<double>(batch * context);
  bench::report_flop_of_median(state, bytes, flop, seconds, static_cast<int>(threads));
  if (threads == 1)
    alone[{name, batch, context}] = seconds;
  else if (const auto found = alone.find({name, batch, context}); found != alone.end())
    state.counters["speedup"] = found->second / seconds;
}

bool fits_memory(benchmark::State& state, Index bytes) {
  constexpr std::size_t kEach = 24 << 10;  // what a byte of a batch holds in activations, roughly
  if (static_cast<std::size_t>(bytes) * kEach < bench::memory_bytes() / 4 * 3) return true;
  state.SkipWithError("not enough memory");
  return false;
}

/// The trainer of these arguments, with a shard for each core; the one made last is kept, as a benchmark is called
/// several times.
template <class Model>
train::Trainer<Model>& trainer(Index batch, Index context, Index threads) {
  static std::unique_ptr<train::Trainer<Model>> made;
  if (!made || made->settings().batch != batch || made->settings().context != context || made->threads() != threads) {
    made.reset();
    const train::TrainerSettings settings{
        .batch = batch, .context = context, .shards = std::max<Index>(2, bench::cores())};
    made = std::make_unique<train::Trainer<Model>>(Model(typename Model::Config{}), settings,
                                                   data::Corpus::from_memory(bench::words(1 << 20)),
                                                   static_cast<int>(threads));
  }
  return *made;
}

template <class Model>
void Train(benchmark::State& state) {
  if (!fits_memory(state, state.range(0) * state.range(1))) return;
  auto& made = trainer<Model>(state.range(0), state.range(1), state.range(2));
  const double seconds = repeat(state, [&] { made.step(0.5); });
  report<Model>(state, "train", bench::kTraining * made.model().flop(), seconds);
}

/// Every thread takes its share of the sequences, or pieces of one.
template <class Model>
void Forward(benchmark::State& state) {
  const Index batch = state.range(0), context = state.range(1);
  if (!fits_memory(state, batch * context)) return;
  const Model model(typename Model::Config{});
  static const auto params = [&] {
    Random source(1);
    return model.init(source);
  }();
  struct Group {
    typename Model::State state;
    Turns turns;
  };
  struct Piece {
    typename Model::Cache cache;
    Mat<float> logits;
  };
  ThreadPool pool(static_cast<int>(state.range(2)));
  const Index groups = std::min<Index>(pool.size(), batch), each = batch > 1 ? 1 : std::max<Index>(1, context / 2048);
  std::vector<Group> group;
  for (Index g = 0; g < groups; ++g) group.push_back({{}, Turns(model.stages())});
  std::vector<Piece> pieces(static_cast<std::size_t>(groups * each));
  const auto text = bench::words(static_cast<std::size_t>(batch * context));
  const double seconds = repeat(state, [&] {
    for (Index g = 0; g < groups; ++g) {
      model.reset(group[static_cast<std::size_t>(g)].state, (g + 1) * batch / groups - g * batch / groups);
      group[static_cast<std::size_t>(g)].turns.reset();
    }
    pool.run(groups * each, [&](Index i) {
      Piece& piece = pieces[static_cast<std::size_t>(i)];
      const Index g = i % groups, number = i / groups, first = g * batch / groups * context;
      const Index size = (g + 1) * batch / groups * context - first;
      const Index begin = number * size / each, length = (number + 1) * size / each - begin;
      const auto bytes = Bytes(text).subspan(static_cast<std::size_t>(first + begin), static_cast<std::size_t>(length));
      auto& [stream, turns] = group[static_cast<std::size_t>(g)];
      model.forward(params, bytes, stream, piece.cache, piece.logits, Turn(turns, number));
    });
  });
  report<Model>(state, "forward", model.flop(), seconds);
}

/// Each shape by one thread, then by all cores.
void add(const std::string& name, void (*run)(benchmark::State&),
         std::initializer_list<std::pair<Index, Index>> shapes) {
  auto* const made = benchmark::RegisterBenchmark(name.c_str(), run);
  made->ArgNames({"batch", "context", "threads"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const auto& [batch, context] : shapes) {
    made->Args({batch, context, 1});
    if (bench::cores() > 1) made->Args({batch, context, bench::cores()});
  }
}

const bool registered = [] {
  using Classic = QLLKClassic<float>;
  using Default = QLLKTransformer<float>;
  add("TrainClassic", Train<Classic>, {{16, 512}, {4, 128}, {1, 65536}});
  add("ForwardClassic", Forward<Classic>, {{16, 512}, {4, 128}, {1, 65536}});
  add("TrainDefault", Train<Default>, {{8, 512}, {16, 512}});
  add("ForwardDefault", Forward<Default>, {{8, 512}, {16, 512}});
  return true;
}();

}  // namespace
