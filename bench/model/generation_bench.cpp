// Generation, byte by byte, beside the time that it takes to read the weights once.
#include <benchmark/benchmark.h>

#include <type_traits>
#include <vector>

#include "qllk/core/int8_matrix.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/generate/generator.hpp"
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
        bytes += static_cast<double>(leaf.size()) * (std::is_same_v<Leaf, Int8Matrix> ? 1 : sizeof(float));
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
Weights weights(const Params& p) {
  if constexpr (requires { p.decoder_head; })
    return {0, held(p.hash_proj) + held(p.layers) + held(p.decoder_head)};
  else
    return {held(p.encoder) + held(p.decoder) + held(p.norm) + held(p.head),
            held(p.patching) + held(p.blocks) + held(p.patch_norm) + held(p.unpatching)};
}

/// One iteration is one patch, after a prompt. Counters: seconds a byte, and those that reading takes at the bandwidth
/// of a working set of their size: those of each byte by themselves, those of each patch together with them. The label
/// names the level that the latter fit in.
template <class Model, class Params>
void Generate(benchmark::State& state) {
  using benchmark::Counter;
  const Model model(typename Model::Config{});
  Random random(1);
  static const Params params = [&] {
    if constexpr (std::is_same_v<Params, typename Model::Params>)
      return model.init(random);
    else
      return to_int8<Model>(model.init(random));
  }();
  generate::Generator generator(model, params);
  generator.feed(bench::words(1000));
  const generate::Sampler sampler(generate::Sampler::Config{});
  const Index patch = model.config().patch;
  for (auto _ : state)
    for (Index i = 0; i < patch; ++i) benchmark::DoNotOptimize(generator.next(sampler, random));

  const Weights bytes = weights(params);
  const auto at = [](double size) { return static_cast<std::size_t>(size); };
  const double each = bytes.byte + bytes.patch / static_cast<double>(patch), all = bytes.byte + bytes.patch;
  const double reading = bytes.byte / bench::bandwidth().at(at(bytes.byte)) +
                         bytes.patch / bench::bandwidth().at(at(all)) / static_cast<double>(patch);
  const double total = static_cast<double>(state.iterations() * patch);
  state.SetItemsProcessed(static_cast<std::int64_t>(total));
  state.counters["byte_time"] = Counter(total, Counter::kIsRate | Counter::kInvert);
  state.counters["reading_time"] = reading;
  state.counters["moved"] = Counter(total * each, Counter::kIsRate);
  state.counters["of_bandwidth"] = Counter(total * reading, Counter::kIsRate);
  state.SetLabel(bench::bandwidth().level(at(all)).name);
}
using Classic = QLLKClassic<float>;
using Default = QLLKTransformer<float>;
BENCHMARK(Generate<Classic, Classic::Params>)->Name("GenerateClassic")->Unit(benchmark::kMicrosecond);
BENCHMARK(Generate<Classic, Classic::Int8Params>)->Name("GenerateClassicInt8")->Unit(benchmark::kMicrosecond);
BENCHMARK(Generate<Default, Default::Params>)->Name("GenerateDefault")->Unit(benchmark::kMicrosecond);
BENCHMARK(Generate<Default, Default::Int8Params>)->Name("GenerateDefaultInt8")->Unit(benchmark::kMicrosecond);

}  // namespace
