// A fixed amount of work, for count.sh to count the instructions of.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "qllk/data/corpus.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/trainer.hpp"
#include "text.hpp"

namespace {

using namespace qllk;

constexpr std::size_t kBytes = 128;  // a unit of training or reading

/// Tables smaller than usual: what instructions a byte takes does not depend on their size, what filling them takes
/// does.
template <class Model>
Model make() {
  typename Model::Config config;
  if constexpr (requires { config.bits; }) config.bits = 10;
  return Model(config);
}

/// `count` training steps of one sequence, their updates included.
template <class Model>
std::size_t train(long count) {
  const train::TrainerSettings settings{.batch = 1, .context = kBytes, .shards = 1};
  train::Trainer<Model> trainer(make<Model>(), settings, data::Corpus::from_memory(bench::words(1 << 16)), 1);
  for (long i = 0; i < count; ++i)
    if (trainer.step(0.5).skipped) std::abort();
  return kBytes;
}

/// `count` forward passes over one sequence.
template <class Model>
std::size_t read(long count) {
  const auto model = make<Model>();
  Random random(1);
  const auto params = model.init(random);
  const auto text = bench::words(kBytes);
  typename Model::Cache cache;
  Mat<float> logits;
  auto state = model.initial_state(1);
  for (long i = 0; i < count; ++i) model.forward(params, text, state, cache, logits);
  return kBytes;
}

/// `count` patches, byte by byte.
template <class Model>
std::size_t generate(long count) {
  const auto model = make<Model>();
  Random random(1);
  const auto params = model.init(random);
  generate::Generator generator(model, params);
  generator.feed(bench::words(64));
  const generate::Sampler sampler(generate::Sampler::Config{});
  for (long i = 0; i < count * model.config().patch; ++i) generator.next(sampler, random);
  return static_cast<std::size_t>(model.config().patch);
}

struct Work {
  std::string_view name;
  std::size_t (*run)(long count);  // returns the bytes of one unit
};
constexpr Work kWorks[] = {
    {"train-default", train<QLLKTransformer<float>>},       {"train-classic", train<QLLKClassic<float>>},
    {"read-default", read<QLLKTransformer<float>>},         {"read-classic", read<QLLKClassic<float>>},
    {"generate-default", generate<QLLKTransformer<float>>}, {"generate-classic", generate<QLLKClassic<float>>},
};

}  // namespace

/// Does the work named first as often as the second argument says, and prints how many bytes each time takes; without
/// arguments, prints the names.
int main(int argc, char** argv) {
  for (const Work& work : kWorks) {
    if (argc == 1) std::printf("%s\n", work.name.data());
    if (argc == 3 && work.name == argv[1]) {
      std::printf("%zu\n", work.run(std::atol(argv[2])));
      return 0;
    }
  }
  if (argc == 1) return 0;
  std::fprintf(stderr, "usage: %s [NAME COUNT]\n", argv[0]);
  return 1;
}
