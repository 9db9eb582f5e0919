// One list of parameters: everything that must see every learned tensor walks `fields()`.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk {

/// One learned member of a Params struct: the name it has in a checkpoint, and where it is.
template <class Owner, class Member>
struct Field {
  std::string_view name;
  Member Owner::*member;
};
template <class Owner, class Member>
Field(const char*, Member Owner::*) -> Field<Owner, Member>;

/// A struct that names its learned members: `static constexpr auto fields() { return std::tuple{Field{…}, …}; }`
template <class T>
concept HasFields = requires {
  std::remove_cvref_t<T>::fields();
};

/// The dotted name of a leaf, kept as a chain on the stack so that a walk never allocates.
class Path {
 public:
  constexpr Path() = default;
  constexpr Path(const Path& parent, std::string_view name) : parent_(&parent), name_(name) {}
  constexpr Path(const Path& parent, std::size_t index) : parent_(&parent), index_(index), indexed_(true) {}

  /// "blocks.3.mlp.up.weight"
  std::string str() const {
    std::string out = parent_ != nullptr ? parent_->str() : std::string();
    const std::string part = indexed_ ? std::to_string(index_) : std::string(name_);
    if (!out.empty() && !part.empty()) out += '.';
    return out + part;
  }

 private:
  const Path* parent_ = nullptr;
  std::string_view name_;
  std::size_t index_ = 0;
  bool indexed_ = false;
};

namespace detail {

template <class T>
inline constexpr bool is_vector_v = false;
template <class T, class A>
inline constexpr bool is_vector_v<std::vector<T, A>> = true;

template <class F, class First, class... Rest>
[[gnu::noinline]] void walk(const Path& path, F& f, First& first, Rest&... rest) {
  using Node = std::remove_cv_t<First>;
  if constexpr (HasFields<Node>) {
    constexpr auto count = std::tuple_size_v<decltype(Node::fields())>;
    const auto visit = [&]<std::size_t I>(std::integral_constant<std::size_t, I>) {
      constexpr auto at = std::get<I>(Node::fields());
      walk(Path(path, at.name), f, first.*(at.member), rest.*(std::get<I>(std::remove_cv_t<Rest>::fields()).member)...);
    };
    [&]<std::size_t... I>(std::index_sequence<I...>) { (visit(std::integral_constant<std::size_t, I>{}), ...); }
    (std::make_index_sequence<count>{});
  } else if constexpr (is_vector_v<Node>) {
    QLLK_ASSERT(((rest.size() == first.size()) && ...));
    for (std::size_t i = 0; i < first.size(); ++i) walk(Path(path, i), f, first[i], rest[i]...);
  } else {
    f(path, first, rest...);
  }
}

template <class Source, class Target, class Make>
[[gnu::noinline]] void build(Source& source, Target& target, Make&& make) {
  using Node = std::remove_cv_t<Source>;
  if constexpr (HasFields<Node>) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (build(source.*(std::get<I>(Node::fields()).member), target.*(std::get<I>(Target::fields()).member), make), ...);
    }
    (std::make_index_sequence<std::tuple_size_v<decltype(Node::fields())>>{});
  } else if constexpr (is_vector_v<Node>) {
    target.resize(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) build(source[i], target[i], make);
  } else {
    make(source, target);
  }
}

}  // namespace detail

/// Calls `f(path, leaf, leaves…)` for every tensor of `first`, in declaration order, with the tensor at the same place
/// in each of `rest` (gradients, moments: the same shape of struct, whose leaf types may differ). Does not allocate.
template <class F, HasFields First, HasFields... Rest>
void for_each_parameter(F&& f, First& first, Rest&... rest) {
  detail::walk(Path(), f, first, rest...);
}

/// A Target of source's structure (as many entries in every vector), its leaves made by `make(source_leaf, target_leaf)`.
template <HasFields Target, HasFields Source, class Make>
Target build_like(const Source& source, Make&& make) {
  Target target;
  detail::build(source, target, make);
  return target;
}

/// Number of learned scalars.
template <HasFields Params>
Index parameter_count(const Params& params) {
  Index count = 0;
  for_each_parameter([&](const Path&, const auto& leaf) { count += leaf.size(); }, params);
  return count;
}

/// Sets every leaf to zero, keeping shapes.
template <HasFields Grads>
void set_zero(Grads& grads) {
  for_each_parameter([](const Path&, auto& leaf) { leaf.setZero(); }, grads);
}

}  // namespace qllk
