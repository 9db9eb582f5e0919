// Whole models: bytes a second in training (an update included) and forward, by all cores.
#include <benchmark/benchmark.h>

#include <thread>

#include "qllk/data/corpus.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/trainer.hpp"

namespace {

using namespace qllk;

int cores() { return static_cast<int>(std::max(1U, std::thread::hardware_concurrency())); }

std::vector<Byte> text(std::size_t size) {
  Random source(1);
  std::vector<Byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<Byte>(source.below(96));
  return bytes;
}

template <class Model>
void Train(benchmark::State& state) {
  train::TrainerSettings settings{.batch = state.range(0), .context = state.range(1)};
  train::Trainer<Model> trainer(Model(typename Model::Config{}), settings, data::Corpus::from_memory(text(1 << 20)),
                                cores());
  for (auto _ : state) trainer.step(0.5);
  state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(1));
}

/// Every core takes its share of the sequences.
template <class Model>
void Forward(benchmark::State& state) {
  const Model model(typename Model::Config{});
  Random source(1);
  const auto params = model.init(source);
  ThreadPool pool(cores());
  struct Part {
    typename Model::State state;
    typename Model::Cache cache;
    Mat<float> logits;
  };
  std::vector<Part> parts(static_cast<std::size_t>(pool.size()));
  const Index share = state.range(0) / pool.size();
  const auto bytes = text(static_cast<std::size_t>(share * state.range(1)));
  for (auto _ : state)
    pool.run(pool.size(), [&](Index i) {
      Part& part = parts[static_cast<std::size_t>(i)];
      model.reset(part.state, share);
      model.forward(params, bytes, part.state, part.cache, part.logits);
    });
  state.SetBytesProcessed(state.iterations() * pool.size() * share * state.range(1));
}

BENCHMARK(Train<QLLKClassic<float>>)->Args({4, 128})->Args({16, 512})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Forward<QLLKClassic<float>>)->Args({4, 128})->Args({16, 512})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Train<QLLKTransformer<float>>)->Args({16, 512})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Forward<QLLKTransformer<float>>)->Args({16, 512})->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
