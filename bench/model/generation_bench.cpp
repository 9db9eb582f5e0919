// Generation, byte by byte, beside the time that it takes to read the weights once.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/linalg/int8_matrix.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "roofline/roofline.hpp"
#include "text.hpp"

namespace {

using namespace qllk;

/// Bytes of weights that a model reads for each byte, and for each patch.
struct Weights {
  double byte, patch;
};

/// A weight of an Int8Matrix is a byte; its scales are left out.
template <class Tree>
double held(const Tree& tree) {
  double bytes = 0;
  for_each_parameter(
      [&](const Path&, const auto& leaf) {
        using Leaf = std::remove_cvref_t<decltype(leaf)>;
        bytes += static_cast<double>(leaf.size()) * (std::is_same_v<Leaf, linalg::Int8Matrix> ? 1 : sizeof(float));
      },
      tree);
  return bytes;
}
template <class Tree>
double held(const std::vector<Tree>& trees) {
  double sum = 0;
  for (const auto& tree : trees) sum += held(tree);
  return sum;
}

template <class Params>
Weights weights_of(const Params& p) {
  if constexpr (requires { p.decoder_head; })
    return {0, held(p.hash_proj) + held(p.layers) + held(p.decoder_head)};
  else
    return {held(p.encoder) + held(p.decoder) + held(p.norm) + held(p.head),
            held(p.patching) + held(p.blocks) + held(p.patch_norm) + held(p.unpatching)};
}

/// Reads as many bytes as the weights are, another buffer front to back, as often as generation reads those: what is of
/// each byte, and once what is of the patch.
class Reading {
 public:
  Reading(const Weights& weights, Index patch)
      : byte_(values(weights.byte)),
        patch_(values(weights.patch)),
        times_(patch),
        buffer_(Vec<float>::Ones(static_cast<Index>(byte_ + patch_))) {}

  void run() const {
    volatile float sink;
    for (Index i = 0; i < times_; ++i) sink = read(0, byte_);
    sink = read(byte_, patch_);
    static_cast<void>(sink);
  }

 private:
  /// A multiple of what is read at once.
  static std::size_t values(double bytes) { return static_cast<std::size_t>(bytes / sizeof(float) / 128) * 128; }
  float read(std::size_t begin, std::size_t count) const {
    return bench::read_all(buffer_.data() + begin, count, std::make_index_sequence<8>{});
  }

  std::size_t byte_, patch_;
  Index times_;
  Vec<float> buffer_;
};

/// One iteration is kTurn patches, after a prompt; in turn with each, as many weights are read as often. Counters:
/// seconds a byte, and those that the reading takes, both medians; of_bandwidth is their ratio. The label names the
/// level that all weights together fit in.
template <class Model, class Params>
void Generate(benchmark::State& state) {
  constexpr Index kTurn = 32;
  const Model model(typename Model::Config{});
  Random random(1);
  static const Params params = [&] {
    if constexpr (std::is_same_v<Params, typename Model::Params>)
      return model.init(random);
    else
      return qllk::linalg::to_int8<Model>(model.init(random));
  }();
  generate::Generator generator(model, params);
  generator.feed(bench::words(1000));
  const generate::Sampler sampler(generate::Sampler::Config{});
  const Index patch = model.config().patch, bytes = kTurn * patch;
  const Weights weights = weights_of(params);
  const Reading reading(weights, patch);
  std::vector<double> byte_times, reading_times;
  for (auto _ : state) {
    const double seconds = bench::seconds_of([&] {
      for (Index i = 0; i < bytes; ++i) benchmark::DoNotOptimize(generator.next(sampler, random));
    });
    state.SetIterationTime(seconds);
    byte_times.push_back(seconds / static_cast<double>(bytes));
    reading_times.push_back(bench::seconds_of([&] {
                              for (Index i = 0; i < kTurn; ++i) reading.run();
                            }) /
                            static_cast<double>(bytes));
  }

  const double each = weights.byte + weights.patch / static_cast<double>(patch);
  const double byte_time = bench::median(byte_times), reading_time = bench::median(reading_times);
  state.counters["median"] = byte_time * static_cast<double>(bytes);
  state.counters["items_per_second"] = 1 / byte_time;
  state.counters["byte_time"] = byte_time;
  state.counters["reading_time"] = reading_time;
  state.counters["moved"] = each / byte_time;
  state.counters["of_bandwidth"] = reading_time / byte_time;
  state.SetLabel(bench::bandwidth().level(static_cast<std::size_t>(weights.byte + weights.patch)).name);
}
using Classic = QLLKClassic<float>;
using Default = QLLKTransformer<float>;
BENCHMARK(Generate<Classic, Classic::Params>)->Name("GenerateClassic")->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Generate<Classic, Classic::Int8Params>)
    ->Name("GenerateClassicInt8")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(Generate<Default, Default::Params>)->Name("GenerateDefault")->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Generate<Default, Default::Int8Params>)
    ->Name("GenerateDefaultInt8")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
