// Plain structs to and from JSON, by one list of their members.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::io {

/// JSON values, as nlohmann/json has them.
using Json = nlohmann::json;

/// The members of a struct that a file keeps. Specialise it with
///
///   template <class Struct, class F> static void visit(Struct& s, F&& f) { f("dim", s.dim); f("layers", s.layers); }
///
/// which is called with const and mutable structs. Members are numbers, truth values, enumerations with EnumNames, such
/// structs, or vectors of these; a vector of one struct is written as that struct. A class can have its own
/// `static void members(Struct& s, F&& f)` instead. f("words", s.words, 0): a file without that member was written
/// before there was one, and means 0.
template <class T>
struct Members {
  template <class Struct, class F>
  static void visit(Struct& s, F&& f) {
    T::members(s, f);
  }
};

/// The names of an enumeration's values 0, 1, …: `static constexpr std::array names{"none", "learned"};`
/// Or a function beside the enumeration: constexpr auto enum_names(Decay).
template <class T>
struct EnumNames {
  /// In the order of the values.
  static constexpr auto names = enum_names(T{});
};

namespace detail {
template <class T>
inline constexpr bool is_vector_v = false;
template <class T>
inline constexpr bool is_vector_v<std::vector<T>> = true;

/// The configuration of one of several mixers: an object with the members of the chosen one, and its name as "name",
/// which is that of the first where a file does not have it.
template <class T>
concept Choice = requires(const T& choice) {
  { T::named("") } -> std::same_as<T>;
  { choice.mixer() } -> std::same_as<std::string_view>;
};
}  // namespace detail

/// The JSON that from_json reads.
template <class T>
Json to_json(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return EnumNames<T>::names.at(static_cast<std::size_t>(value));
  } else if constexpr (std::is_arithmetic_v<T>) {
    return value;
  } else if constexpr (detail::is_vector_v<T>) {
    Json out = Json::array();
    for (const auto& element : value) out.push_back(to_json(element));
    return out.size() == 1 && out[0].is_object() ? out[0] : out;
  } else if constexpr (detail::Choice<T>) {
    Json out = std::visit([](const auto& chosen) { return to_json(chosen); }, value.value);
    out["name"] = value.mixer();
    return out;
  } else {
    Json out = Json::object();
    Members<T>::visit(value,
                      [&](const char* name, const auto& member, const auto&...) { out[name] = to_json(member); });
    return out;
  }
}

template <class T>
void from_json(const Json& json, T& value, const std::string& name);

namespace detail {

RuntimeError unexpected(const Json& json, const std::string& name, const std::string& expected);

template <class Enum>
void enum_from_json(const Json& json, Enum& value, const std::string& name) {
  constexpr auto& names = EnumNames<Enum>::names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (json == names[i]) {
      value = static_cast<Enum>(i);
      return;
    }
  }
  throw unexpected(json, name, "one of " + Json(names).dump());
}

template <class Number>
void number_from_json(const Json& json, Number& value, const std::string& name) {
  if constexpr (std::same_as<Number, bool>) {
    if (!json.is_boolean()) throw unexpected(json, name, "true or false");
  } else if constexpr (std::is_integral_v<Number>) {
    if (!json.is_number_integer()) throw unexpected(json, name, "a whole number");
    const bool fits = json.is_number_unsigned() ? std::in_range<Number>(json.template get<std::uint64_t>())
                                                : std::in_range<Number>(json.template get<std::int64_t>());
    if (!fits) throw unexpected(json, name, "a smaller number");
  } else if (!json.is_number()) {
    throw unexpected(json, name, "a number");
  }
  value = json.template get<Number>();
}

template <class T>
void list_from_json(const Json& json, std::vector<T>& value, const std::string& name) {
  if (!json.is_array() && !json.is_object()) throw unexpected(json, name, "a list");
  const Json list = json.is_object() ? Json::array({json}) : json;
  value.assign(list.size(), {});
  for (std::size_t i = 0; i < value.size(); ++i) from_json(list[i], value[i], name + "[" + std::to_string(i) + "]");
}

template <Choice T>
void choice_from_json(const Json& json, T& value, const std::string& name) {
  if (!json.is_object()) throw unexpected(json, name, "an object");
  Json members = json;
  if (const auto found = members.find("name"); found != members.end()) {
    if (!found->is_string()) throw unexpected(json, name, "a string as its 'name'");
    value = T::named(found->template get<std::string>());
    members.erase(found);
  }
  std::visit([&](auto& chosen) { from_json(members, chosen, name); }, value.value);
}

template <class Struct>
void members_from_json(const Json& json, Struct& value, const std::string& name) {
  if (!json.is_object()) throw unexpected(json, name, "an object");
  std::size_t count = 0;
  Members<Struct>::visit(value, [&](const char* key, auto& member, const auto&... of_old_files) {
    const auto found = json.find(key);
    if (found != json.end()) {
      from_json(*found, member, name + "." + key);
      ++count;
    } else if constexpr (sizeof...(of_old_files) == 0) {
      throw RuntimeError("'" + name + "' lacks '" + key + "'");
    } else {
      ((member = of_old_files), ...);
    }
  });
  if (count == json.size()) return;
  for (const auto& item : json.items()) {
    bool known = false;
    Members<Struct>::visit(value, [&](const char* member, const auto&...) { known = known || item.key() == member; });
    if (!known) throw RuntimeError("'" + name + "' has an unknown member '" + item.key() + "'");
  }
}

}  // namespace detail

/// Reads what to_json wrote; doubles come back bit by bit. `name` is what errors call the value.
/// Throws std::runtime_error if a member is missing, unknown, of another kind or out of its type's range.
template <class T>
void from_json(const Json& json, T& value, const std::string& name) {
  if constexpr (std::is_enum_v<T>)
    detail::enum_from_json(json, value, name);
  else if constexpr (std::is_arithmetic_v<T>)
    detail::number_from_json(json, value, name);
  else if constexpr (detail::is_vector_v<T>)
    detail::list_from_json(json, value, name);
  else if constexpr (detail::Choice<T>)
    detail::choice_from_json(json, value, name);
  else
    detail::members_from_json(json, value, name);
}

/// The value of a JSON text of at most 32 levels: to copy or print a deeper one could take more stack than there is.
/// Errors as from_json.
Json parse_json(const std::string& text, const std::string& name);

}  // namespace qllk::io

#ifndef QLLK_COMPILED
#include "qllk/io/json_members_impl.hpp"
#endif
