// Checkpoints: learned tensors to and from safetensors files, by the names of `fields()`.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/io/safetensors_reader.hpp"
#include "qllk/io/safetensors_writer.hpp"

namespace qllk::io {

namespace detail {
inline std::string prefixed(const std::string& prefix, const Path& path) {
  return prefix.empty() ? path.str() : prefix + "." + path.str();
}

/// "'a', 'b', 'c' and 5 more"
inline std::string some_of(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 8;
  std::string out;
  for (std::size_t i = 0; i < names.size() && i < kMost; ++i) out += (i == 0 ? "'" : ", '") + names[i] + "'";
  if (names.size() > kMost) out += " and " + std::to_string(names.size() - kMost) + " more";
  return out;
}
/// Not so a state that grows with its stream.
template <class Leaf>
inline constexpr bool kStorable = requires(SafetensorsWriter& writer, const Leaf& leaf) {
  writer.add(std::string(), leaf);
};
}  // namespace detail

/// Adds every tensor of `params` that has elements, named "prefix.path", or "path" if the prefix is empty. Not copied:
/// `params` must live and keep its place until the writer has written.
template <HasFields Params>
void save_parameters(SafetensorsWriter& writer, const std::string& prefix, const Params& params) {
  for_each_parameter(
      [&](const Path& path, const auto& leaf) {
        if (leaf.size() == 0) return;
        if constexpr (detail::kStorable<decltype(leaf)>)
          writer.add(detail::prefixed(prefix, path), leaf);
        else
          throw LogicError("'" + path.str() + "' has no fixed shape and cannot be saved");
      },
      params);
}
template <HasFields Params>
void save_parameters(SafetensorsWriter& writer, const std::string& prefix, const Params&& temporary) = delete;

/// Fills every tensor of `params`, which has its shapes already (`zeros()`), from those under the prefix; under the
/// empty prefix are all of the file.
///
/// Throws std::runtime_error with the names if tensors are missing in the file, if there are others under the prefix,
/// or if a shape or dtype differs; then `params` is as it was.
template <HasFields Params>
void load_parameters(const SafetensorsReader& reader, const std::string& prefix, Params& params) {
  std::vector<std::string> missing, unexpected;
  std::set<std::string> expected;
  for_each_parameter(
      [&](const Path& path, const auto& leaf) {
        if (leaf.size() == 0) return;
        const std::string name = detail::prefixed(prefix, path);
        expected.insert(name);
        if (!reader.contains(name)) missing.push_back(name);
      },
      params);
  for (const std::string& name : reader.names())
    if ((prefix.empty() || name.starts_with(prefix + ".")) && !expected.contains(name)) unexpected.push_back(name);
  if (!missing.empty() || !unexpected.empty()) {
    std::string what = "is not a checkpoint of this model:";
    if (!missing.empty()) what += " missing " + detail::some_of(missing);
    if (!unexpected.empty()) what += (missing.empty() ? " unexpected " : ", unexpected ") + detail::some_of(unexpected);
    reader.fail(what);
  }
  const auto each = [&](auto&& f) {
    for_each_parameter(
        [&](const Path& path, auto& leaf) {
          if constexpr (detail::kStorable<decltype(leaf)>)
            if (leaf.size() > 0) f(detail::prefixed(prefix, path), leaf);
        },
        params);
  };
  each([&](const std::string& name, const auto& leaf) { reader.check(name, leaf); });
  each([&](const std::string& name, auto& leaf) { reader.read_into(name, leaf); });
}

}  // namespace qllk::io
