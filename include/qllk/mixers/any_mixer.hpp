// One of several mixers, chosen at run time.
#pragma once

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "qllk/core/concepts.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace qllk::mixers {

namespace detail {

/// Calls f(std::integral_constant<std::size_t, index>{}), for an index below N.
template <std::size_t N, class F>
void with_index(std::size_t index, F&& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    static_cast<void>(((index == I ? (f(std::integral_constant<std::size_t, I>{}), true) : false) || ...));
  }
  (std::make_index_sequence<N>{});
}

/// What belongs to the chosen one of several mixers; its tensors are walked as if they stood here.
template <class... Values>
struct Chosen {
  std::variant<Values...> value;

  template <class Visit, class First, class... Rest>
  static void fields(Visit&& visit, First& first, Rest&... rest) {
    with_index<sizeof...(Values)>(first.value.index(), [&](auto i) {
      visit("", std::get<decltype(i)::value>(first.value), std::get<decltype(i)::value>(rest.value)...);
    });
  }
  void choose(std::size_t index) {
    if (value.index() == index) return;
    with_index<sizeof...(Values)>(index, [&](auto i) { value.template emplace<decltype(i)::value>(); });
  }
  /// Belongs to the same mixer as `other` from now on.
  template <class Other>
  void choose_like(const Other& other) {
    choose(other.value.index());
  }
};

}  // namespace detail

/// A sequence mixer that is one of `Mixers`; its Config says which. Every block of a model may have another one.
///
/// Params, State and Cache hold those of the chosen mixer, and its tensors keep their names: a file does not tell
/// whether the mixer was chosen at run time or when compiling. Cost: one branch a call.
template <SequenceMixer... Mixers>
class AnyMixer {
  static constexpr std::size_t kCount = sizeof...(Mixers);
  template <std::size_t I>
  using Mixer = std::tuple_element_t<I, std::tuple<Mixers...>>;

 public:
  using Scalar = typename Mixer<0>::Scalar;
  static constexpr std::string_view name = "any";
  /// Of the mixers, in their order.
  static constexpr std::array<std::string_view, kCount> names{Mixers::name...};

  /// The configuration of one of the mixers.
  class Config {
   public:
    std::variant<typename Mixers::Config...> value;  // that of the chosen mixer

    /// What the first mixer's Config is made as.
    Config() = default;
    /// That of one of the mixers.
    template <class C>
    requires(std::is_same_v<C, typename Mixers::Config> || ...) Config(C config) : value(std::move(config)) {}

    /// What the mixer of that name recommends. Throws std::invalid_argument if there is none.
    static Config named(std::string_view wanted) {
      std::string known;
      for (std::size_t index = 0; index < kCount; ++index) {
        if (names[index] == wanted) {
          Config config;
          detail::with_index<kCount>(index, [&](auto i) {
            config.value.template emplace<decltype(i)::value>(Mixer<decltype(i)::value>::recommended());
          });
          return config;
        }
        known += (known.empty() ? "" : ", ") + std::string(names[index]);
      }
      throw InvalidArgument("the mixer is '" + std::string(wanted) + "', expected one of: " + known);
    }
    /// The name of the chosen mixer.
    std::string_view mixer() const { return names[value.index()]; }
    /// Sets the width, which a model knows.
    void set_dim(Index dim) {
      std::visit([dim](auto& config) { config.dim = dim; }, value);
    }
    bool operator==(const Config&) const = default;
  };

  template <class Matrix>
  struct Tensors : detail::Chosen<TensorsOf<Mixers, Matrix>...> {};
  using Params = Tensors<Mat<Scalar>>;
  using Grads = Params;
  struct State : detail::Chosen<typename Mixers::State...> {};
  struct Cache : detail::Chosen<typename Mixers::Cache...> {};

  static Config recommended() { return Config(Mixer<0>::recommended()); }

  /// Throws as the chosen mixer does.
  explicit AnyMixer(const Config& config) : mixer_(make(config)) {}

  double flop() const {
    return std::visit([](const auto& mixer) -> double { return mixer.flop(); }, mixer_);
  }
  State initial_state(Index sequences) const {
    State state;
    reset(state, sequences);
    return state;
  }
  void reset(State& state, Index sequences) const {
    state.choose(mixer_.index());
    chosen([&](auto i, const auto& mixer) { mixer.reset(std::get<decltype(i)::value>(state.value), sequences); });
  }
  QLLK_COLD Params zeros() const {
    Params p;
    chosen([&](auto i, const auto& mixer) { p.value.template emplace<decltype(i)::value>(mixer.zeros()); });
    return p;
  }
  QLLK_COLD Params init(Random& random) const {
    Params p;
    chosen([&](auto i, const auto& mixer) { p.value.template emplace<decltype(i)::value>(mixer.init(random)); });
    return p;
  }

  template <class Matrix>
  void forward(const Tensors<Matrix>& p, MatIn<Scalar> x, State& state, Cache& cache, MatOut<Scalar> y) const {
    cache.choose(mixer_.index());
    chosen([&](auto i, const auto& mixer) {
      constexpr std::size_t I = decltype(i)::value;
      mixer.forward(std::get<I>(p.value), x, std::get<I>(state.value), std::get<I>(cache.value), y);
    });
  }
  template <class Matrix>
  void backward(const Params& p, MatIn<Scalar> x, Cache& cache, MatIn<Scalar> dy, State& dstate, Tensors<Matrix>& g,
                MatOut<Scalar> dx) const {
    chosen([&](auto i, const auto& mixer) {
      constexpr std::size_t I = decltype(i)::value;
      mixer.backward(std::get<I>(p.value), x, std::get<I>(cache.value), dy, std::get<I>(dstate.value),
                     std::get<I>(g.value), dx);
    });
  }

 private:
  using Model = std::variant<Mixers...>;

  static Model make(const Config& config) {
    return std::visit(
        [](const auto& chosen) {
          using C = std::remove_cvref_t<decltype(chosen)>;
          constexpr std::size_t index = [] {
            constexpr bool same[] = {std::is_same_v<C, typename Mixers::Config>...};
            std::size_t i = 0;
            while (!same[i]) ++i;
            return i;
          }();
          return Model(std::in_place_index<index>, chosen);
        },
        config.value);
  }
  /// Calls f(index, mixer).
  template <class F>
  void chosen(F&& f) const {
    detail::with_index<kCount>(mixer_.index(), [&](auto i) { f(i, std::get<decltype(i)::value>(mixer_)); });
  }

  Model mixer_;
};

}  // namespace qllk::mixers
