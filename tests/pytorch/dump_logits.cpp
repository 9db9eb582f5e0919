// Makes model files with random weights, and writes the logits that the library computes: for other programs to
// compare.
//
//   dump_logits make NAME MODEL          NAME: classic, or one of `configuration`
//   dump_logits logits MODEL TEXT OUT    OUT: float32 [bytes of TEXT, 256], row-major

#include <exception>
#include <iostream>
#include <string>
#include <variant>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/io/model_file.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace qllk;
using Model = EveryTransformer;

/// Small models that have between them every part and every option of LatentKernel.
Model::Config configuration(const std::string& name) {
  Model::Config c{.dim_local = 16, .dim = 24, .patch = 4, .encoder = 1, .layers = 1, .decoder = 1};
  const bool normalise = name == "normalised";
  auto& latent = std::get<0>(c.mixer[0].value);
  if (name == "small_windows") {
    c.orders = 9, c.words = 4, c.bits = 9, c.recency = 8;
    c.match = {.lengths = {10, 4, 1}, .window_bits = 8};
  } else if (name == "heads" || normalise) {
    c.patch = 3, c.decoder = 2, c.orders = 3, c.words = 0, c.bits = 16, c.recency = 16, c.hidden = 3;
    c.match = {.lengths = {5}, .window_bits = 16};
    latent.head_dim = 8, latent.decay = mixers::Decay::learned, latent.normalise = normalise;
    auto without_projection = c.mixer[0];
    std::get<0>(without_projection.value).project = false;
    c.mixer_local = {c.mixer[0], without_projection};
  } else if (name == "bare") {
    c.encoder = 0, c.orders = 1, c.words = 0, c.recency = 0, c.match.lengths = {};
    latent.decay = mixers::Decay::none, latent.project = false;
  } else {
    throw InvalidArgument("no configuration '" + name + "'");
  }
  return c;
}

/// As a trained model has them: nothing is zero but rows of the table that no training has met.
template <class M>
typename M::Params random_params(const M& model) {
  Random random(7);
  auto params = model.init(random);
  for_each_parameter(
      [&](const Path& path, auto& leaf) {
        auto noise = leaf;
        fill_normal(noise, path.str().starts_with("copy") ? 1.0 : 0.1, random);
        leaf += noise;
      },
      params);
  if constexpr (requires { params.hashing.table; })
    for (Index row = 0; row < params.hashing.table.cols(); row += 2) params.hashing.table.col(row).setZero();
  return params;
}

void make(const std::string& name, const std::string& file) {
  if (name == "classic") {
    const QLLKClassic<float> model({.dim = 24, .layers = 2, .patch = 5});
    io::save_model(file, model, random_params(model));
  } else {
    const Model model(configuration(name));
    io::save_model(file, model, random_params(model));
  }
}

void logits(const std::string& file, const std::string& text_file, const std::string& out) {
  const std::string text = test::read_text(text_file);
  const auto any = io::load_model(file);
  std::visit(
      [&](const auto& stored) {
        auto state = stored.model.initial_state(1);
        typename std::remove_cvref_t<decltype(stored.model)>::Cache cache;
        Mat<float> values;
        stored.model.forward(stored.params, Bytes(reinterpret_cast<const Byte*>(text.data()), text.size()), state,
                             cache, values);
        test::write_text(out, std::string(reinterpret_cast<const char*>(values.data()),
                                          static_cast<std::size_t>(values.size()) * sizeof(float)));
      },
      any);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string command = argc > 1 ? argv[1] : "";
    if (command == "make" && argc == 4)
      make(argv[2], argv[3]);
    else if (command == "logits" && argc == 5)
      logits(argv[2], argv[3], argv[4]);
    else
      throw InvalidArgument("dump_logits make NAME MODEL | logits MODEL TEXT OUT");
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
