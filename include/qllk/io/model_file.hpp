// Model files: what training makes and every other tool takes.
//
// A safetensors file with a model's tensors under the names of fields(), and the metadata
//   format   "qllk"
//   version  "1"
//   arch     the name of an Architecture
//   config   JSON, by the Members of its Config
//   checksum of the whole file; those of old have none
#pragma once

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"
#include "qllk/io/architectures.hpp"
#include "qllk/io/json_members.hpp"
#include "qllk/io/safetensors.hpp"

namespace qllk::io {

namespace detail {

inline constexpr const char* kVersion = "1";

inline const std::string& metadata(const SafetensorsReader& reader, const std::string& key) {
  const auto found = reader.metadata().find(key);
  if (found == reader.metadata().end()) reader.fail("has no metadata '" + key + "'");
  return found->second;
}

inline void check_version(const SafetensorsReader& reader) {
  if (const std::string& version = metadata(reader, "version"); version != kVersion)
    reader.fail("has version '" + version + "' of the format, expected '" + kVersion + "'");
}

/// Calls f, and names the file in the error of what it read there.
template <class F>
auto naming(const SafetensorsReader& reader, F&& f) {
  try {
    return f();
  } catch (const std::logic_error& error) {
    reader.fail(std::string("cannot be used: ") + error.what());
  } catch (const std::runtime_error& error) {
    if (std::string_view(error.what()).starts_with("'" + reader.file() + "'")) throw;
    reader.fail(std::string("cannot be used: ") + error.what());
  }
}

template <HasFields Params>
void check_finite(const SafetensorsReader& reader, const Params& params) {
  for_each_parameter(
      [&](const Path& path, const auto& leaf) {
        if (!leaf.allFinite()) reader.fail("has a value in tensor '" + path.str() + "' that is not finite");
      },
      params);
}

template <class Model>
void describe(SafetensorsWriter& writer, const char* format, const Model& model) {
  writer.set_metadata("format", format);
  writer.set_metadata("version", kVersion);
  writer.set_metadata("arch", std::string(Architecture<Model>::name));
  writer.set_metadata("config", to_json(model.config()).dump());
}

template <class Model>
Model described_model(const SafetensorsReader& reader, const std::string& prefix) {
  return naming(reader, [&] {
    typename Model::Config config;
    from_json(parse_json(metadata(reader, "config"), "config"), config, "config");
    Architecture<Model>::check(reader, prefix, config);
    return Model(config);
  });
}

template <class Model>
StoredModel<Model> with_params(const SafetensorsReader& reader, Model model) {
  auto params = model.zeros();
  load_parameters(reader, "", params);
  check_finite(reader, params);
  reader.verify();
  return {std::move(model), std::move(params)};
}

}  // namespace detail

/// Writes a model file, whole or not at all (see AtomicFile, also for the errors).
template <class Model>
void save_model(const std::filesystem::path& path, const Model& model, const typename Model::Params& params) {
  SafetensorsWriter writer;
  detail::describe(writer, "qllk", model);
  save_parameters(writer, "", params);
  writer.write(path);
}

/// Reads a model file of any architecture, or a safetensors file of the original PyTorch code as a classic model.
///
/// Throws std::runtime_error that names the file if it is missing, cut short, no model file, or has weights that are
/// not finite: what comes back can be run.
template <class Any = AnyModel>
Any load_model(const std::filesystem::path& path) {
  const SafetensorsReader reader(path);
  const auto format = reader.metadata().find("format");
  if (format != reader.metadata().end() && format->second == "qllk-training")
    reader.fail("is a training checkpoint, expected a model file: model.safetensors in the same folder");
  if (format == reader.metadata().end() || format->second != "qllk") {
    using Classic = QLLKClassic<float>;
    if (!reader.contains("byte_embedding.weight") || !reader.contains("decoder_head.bias"))
      reader.fail("is a safetensors file, but not of a QLLK model");
    return detail::with_params(reader, Classic(Architecture<Classic>::infer(reader, "")));
  }
  detail::check_version(reader);
  std::optional<Any> loaded;
  const auto load = [&]<class Model>(std::type_identity<Model>) {
    loaded = detail::with_params(reader, detail::described_model<Model>(reader, ""));
  };
  detail::naming(reader, [&] { visit_architecture<Any>(detail::metadata(reader, "arch"), load); });
  return std::move(*loaded);
}

/// Reads a model file of one architecture. Throws as load_model, also if it holds another.
template <class Model>
StoredModel<Model> load_model_as(const std::filesystem::path& path) {
  using Any = std::conditional_t<std::is_same_v<Model, QLLKClassic<float>>, AnyModel,
                                 std::variant<StoredModel<Model>, StoredModel<QLLKClassic<float>>>>;
  Any any = load_model<Any>(path);
  if (auto* stored = std::get_if<StoredModel<Model>>(&any)) return std::move(*stored);
  const auto name =
      std::visit([](const auto& s) { return Architecture<std::remove_cvref_t<decltype(s.model)>>::name; }, any);
  throw RuntimeError("'" + path.string() + "' holds a model of architecture '" + std::string(name) + "', expected '" +
                     std::string(Architecture<Model>::name) + "'");
}

}  // namespace qllk::io

#ifdef QLLK_COMPILED
namespace qllk::io {
extern template void save_model(const std::filesystem::path&, const EveryTransformer&, const EveryTransformer::Params&);
extern template void save_model(const std::filesystem::path&, const QLLKClassic<float>&,
                                const QLLKClassic<float>::Params&);
extern template EveryModel load_model<EveryModel>(const std::filesystem::path&);
}  // namespace qllk::io
#endif
