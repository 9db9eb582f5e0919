// The models that files can hold and tools can run. To add one: an Architecture, and an alternative of AnyModel.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "qllk/core/types.hpp"
#include "qllk/io/json_members.hpp"
#include "qllk/io/safetensors_reader.hpp"
#include "qllk/mixers/default.hpp"
#include "qllk/mixers/registry.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/nn/contexts/matches.hpp"

namespace qllk::io {

/// What a file needs to know of a model class. Specialisations have
///
///   static constexpr std::string_view name;
///       what files and command lines call it
///   static void check(reader, prefix, config);
///       throws unless tensors have that configuration's sizes, so that no absurd configuration makes a reader allocate
///
/// and the Config has io::Members.
template <class Model>
struct Architecture;

/// A model with its learned parameters.
template <class M>
struct StoredModel {
  /// The architecture.
  using Model = M;
  M model;                    // its configuration
  typename M::Params params;  // its learned tensors
};

/// Where the default model has any mixer: what tools and the compiled library run.
using EveryModel =
    std::variant<StoredModel<QLLKTransformer<float, mixers::Registered>>, StoredModel<QLLKClassic<float>>>;
#ifdef QLLK_COMPILED
/// What a program loads that names no other.
using AnyModel = EveryModel;
#else
/// What a program compiles that names no other: the default model has the mixer that it recommends.
using AnyModel = std::variant<StoredModel<QLLKTransformer<float>>, StoredModel<QLLKClassic<float>>>;
#endif

namespace detail {
template <class F, class... Stored>
void visit_names(std::string_view name, F&& f, std::type_identity<std::variant<Stored...>>) {
  const auto try_one = [&]<class Model>(std::type_identity<Model> model) {
    if (name != Architecture<Model>::name) return false;
    f(model);
    return true;
  };
  if ((try_one(std::type_identity<typename Stored::Model>{}) || ...)) return;
  std::string names;
  ((names += (names.empty() ? "" : " or ") + std::string(Architecture<typename Stored::Model>::name)), ...);
  throw InvalidArgument("the architecture is '" + std::string(name) + "', expected " + names);
}
}  // namespace detail

/// Calls f(std::type_identity<Model>) for the architecture of that name. Throws std::invalid_argument if there is none.
template <class Any = AnyModel, class F>
void visit_architecture(std::string_view name, F&& f) {
  detail::visit_names(name, f, std::type_identity<Any>{});
}

/// The classic model.
template <Real S>
struct Architecture<QLLKClassic<S>> {
  using Config = typename QLLKClassic<S>::Config;
  static constexpr std::string_view name = "classic";

  /// The configuration that the tensors' shapes tell; also of files of the original PyTorch code, whose names are
  /// these.
  static Config infer(const SafetensorsReader& reader, const std::string& prefix) {
    const auto extent = [&](const std::string& tensor) {
      const Shape& shape = reader.entry(prefix + tensor).shape;
      return shape.empty() ? Index{0} : static_cast<Index>(shape.back());
    };
    Config config{
        .dim = extent("byte_embedding.weight"), .layers = 0, .patch = extent("decoder_head.bias") / kByteValues};
    while (reader.contains(prefix + "layers." + std::to_string(config.layers) + ".0.q_proj.weight")) ++config.layers;
    if (config.dim <= 0 || config.layers <= 0 || config.patch <= 0)
      reader.fail("is not a checkpoint of the classic model: its tensors have other names or shapes");
    return config;
  }

  static void check(const SafetensorsReader& reader, const std::string& prefix, const Config& config) {
    const Config found = infer(reader, prefix);
    if (found == config) return;
    const auto text = [](const Config& c) { return to_json(c).dump(); };
    reader.fail("has the configuration " + text(config) + ", but tensors of " + text(found));
  }
};

/// The sizes of the classic model.
template <>
struct Members<QLLKClassic<float>::Config> {
  template <class Config, class F>
  static void visit(Config& c, F&& f) {
    auto& [dim, layers, patch] = c;
    f("dim", dim), f("layers", layers), f("patch", patch);
  }
};

/// The default model with whatever mixer: GCC 12 does not match its constrained template parameter.
template <class Model>
requires requires(typename Model::Config c) { c.dim_local, c.match, c.mixer_local; }
struct Architecture<Model> {
  using Config = typename Model::Config;
  static constexpr std::string_view name = "default";

  static void check(const SafetensorsReader& reader, const std::string& prefix, const Config& c) {
    const auto expect = [&](const std::string& tensor, Index rows, Index cols) {
      const Shape expected{static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols)};
      const Shape& found = reader.entry(prefix + tensor).shape;
      if (found != expected)
        reader.fail("has '" + tensor + "' of shape " + shape_string(found) + ", expected " + shape_string(expected));
    };
    const auto count = [&](const std::string& stack, Index expected) {
      Index found = 0;
      while (reader.contains(prefix + stack + "." + std::to_string(found) + ".mixer_norm.weight")) ++found;
      if (found != expected)
        reader.fail("has " + std::to_string(found) + " blocks in '" + stack + "', expected " +
                    std::to_string(expected));
    };
    expect("embedding.weight", kByteValues, c.dim_local);
    if (c.orders < 1 || c.orders > 32 || c.words < 0 || c.words > 32 || c.bits < 0 || c.bits > 24)
      reader.fail("has hashed tables of no possible size");
    const Index matches = std::ssize(c.match.lengths);
    const Index rows = ((c.orders - 1 + c.words) << c.bits) + matches * nn::MatchContext::kRowsPerOrder;
    if (rows > 0) expect("hashing.table", rows, c.dim_local);
    if (c.patch <= 0 || c.patch > 4096) reader.fail("has patch " + std::to_string(c.patch));
    expect("patching.weight", c.dim, c.dim_local * c.patch);
    count("encoder", c.encoder);
    count("blocks", c.layers);
    count("decoder", c.decoder);
    if (c.encoder > 0) expect("encoder.0.mlp.up.weight", c.hidden * c.dim_local, c.dim_local);
    if (c.decoder > 0) expect("decoder.0.mlp.up.weight", c.hidden * c.dim_local, c.dim_local);
    if (c.layers > 0) expect("blocks.0.mlp.up.weight", c.hidden * c.dim, c.dim);
  }
};

/// The sizes of matches.
template <>
struct Members<nn::MatchContext::Config> {
  template <class Config, class F>
  static void visit(Config& c, F&& f) {
    f("lengths", c.lengths), f("window_bits", c.window_bits);
  }
};

}  // namespace qllk::io

#ifdef QLLK_COMPILED
namespace qllk::io {
extern template Json to_json(const EveryTransformer::Config&);
extern template void from_json(const Json&, EveryTransformer::Config&, const std::string&);
}  // namespace qllk::io
#endif
