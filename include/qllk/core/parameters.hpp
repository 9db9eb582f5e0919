// One list of parameters: everything that must see every learned tensor walks `fields()`.
#pragma once

#include <algorithm>
#include <concepts>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::inline QLLK_ISA {

namespace detail {
struct Visit {
  void operator()(std::string_view name, const auto&... members) const;
};
}  // namespace detail

/// A struct that names its learned members, of itself or of several structs of that form at once. The names are those
/// of a checkpoint:
///
///   template <class Visit, class... T>
///   static void fields(Visit&& visit, T&... t) {
///     visit("weight", t.weight...);
///     visit("bias", t.bias...);
///   }
template <class T>
concept HasFields = requires(std::remove_cvref_t<T>& t) {
  std::remove_cvref_t<T>::fields(detail::Visit{}, t);
};

/// The dotted name of a leaf, kept as a chain on the stack so that a walk never allocates.
class Path {
 public:
  constexpr Path() = default;
  /// The member of that name.
  constexpr Path(const Path& parent, std::string_view name) : parent_(&parent), name_(name) {}
  /// The element of that number.
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
QLLK_NOINLINE QLLK_COLD void walk(const Path& path, F& f, First& first, Rest&... rest) {
  using Node = std::remove_cv_t<First>;
  if constexpr (HasFields<Node>) {
    Node::fields([&](std::string_view name, auto&... members) { walk(Path(path, name), f, members...); }, first,
                 rest...);
  } else if constexpr (is_vector_v<Node>) {
    QLLK_ASSERT(((rest.size() == first.size()) && ...));
    for (std::size_t i = 0; i < first.size(); ++i) walk(Path(path, i), f, first[i], rest[i]...);
  } else {
    f(path, first, rest...);
  }
}

template <class Source, class Target, class Make>
QLLK_NOINLINE QLLK_COLD void build(Source& source, Target& target, Make&& make) {
  using Node = std::remove_cv_t<Source>;
  if constexpr (HasFields<Node>) {
    if constexpr (requires { target.choose_like(source); }) target.choose_like(source);
    Node::fields([&](std::string_view, auto& from, auto& to) { build(from, to, make); }, source, target);
  } else if constexpr (is_vector_v<Node>) {
    target.resize(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) build(source[i], target[i], make);
  } else {
    make(source, target);
  }
}

}  // namespace detail

/// Calls `f(path, leaf, leaves…)` for every tensor of `first`, in declaration order, with the tensor at the same
/// place in each of `rest` (gradients, moments: the same shape of struct, whose leaf types may differ). Does not
/// allocate.
template <class F, HasFields First, HasFields... Rest>
void for_each_parameter(F&& f, First& first, Rest&... rest) {
  detail::walk(Path(), f, first, rest...);
}

/// A Target of source's structure (as many entries in every vector), its leaves made by `make(source_leaf,
/// target_leaf)`.
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

/// Throws std::invalid_argument, which begins with `what` and names the first tensor that differs, unless all of
/// `given` have the shapes of `expected`.
template <HasFields Tree>
QLLK_COLD void expect_shapes(const char* what, const Tree& expected, const Tree& given) {
  const auto shapes = [](const Tree& tree) {
    std::vector<std::string> list;
    for_each_parameter(
        [&](const Path& path, const auto& leaf) {
          list.push_back(path.str() + " [" + std::to_string(leaf.rows()) + ", " + std::to_string(leaf.cols()) + "]");
        },
        tree);
    return list;
  };
  const auto ours = shapes(expected), theirs = shapes(given);
  const auto [a, b] = std::ranges::mismatch(ours, theirs);
  if (a != ours.end() || b != theirs.end())
    throw InvalidArgument(std::string(what) + ": " + (b != theirs.end() ? *b : "no more") +
                          " is there where this model has " + (a != ours.end() ? *a : "no more"));
}

/// Sets every leaf to zero, keeping shapes.
template <HasFields Grads>
void set_zero(Grads& grads) {
  for_each_parameter([](const Path&, auto& leaf) { leaf.setZero(); }, grads);
}

/// Gradients of zero for parameters of these shapes, in the form that Grads has for each leaf.
template <HasFields Grads, HasFields Params>
Grads zero_grads_like(const Params& params) {
  return build_like<Grads>(params, [](const auto& p, auto& g) {
    using Leaf = std::remove_cvref_t<decltype(g)>;
    if constexpr (requires { g.setZero(p.rows(), p.cols()); })
      g.setZero(p.rows(), p.cols());
    else
      g = Leaf(p.rows(), p.cols());
  });
}

}  // namespace qllk::inline QLLK_ISA
