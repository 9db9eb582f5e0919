// Contexts of the last bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/nn/contexts/context.hpp"

namespace qllk::nn {

namespace detail {
/// Throws std::invalid_argument unless a table of 2^bits rows makes sense.
inline void check_bits(const char* context, int bits) {
  if (bits < 4 || bits > 24)
    throw InvalidArgument(std::string(context) + ": bits is " + std::to_string(bits) + ", expected 4 to 24");
}
}  // namespace detail

/// The last n bytes, for n = 2 … N: 2^bits rows for each n.
///
/// Order 2 is exact where the rows suffice (bits >= 16): its row is the two bytes. Larger orders are hashed in unsigned
/// 64-bit arithmetic, the same on every machine; a sign makes the n-grams that share a row disturb each other without
/// bias. Before a stream's first byte stand zeros.
///
/// Cost     (N-1) hashes a byte; 32 bytes of state
/// Source   Weinberger et al. 2009, section 2 (signed hashing); Pagnoni et al. 2024, section 3.2.1 (hash n-gram
///          embeddings)
class NgramContext {
 public:
  struct Config {
    Index orders = 6;  // N; 1 means no n-grams beyond the byte itself
    int bits = 16;     // log2 of the rows of an order
    bool operator==(const Config&) const = default;
  };
  struct State {
    std::array<Byte, 32> bytes{};  // the last N-1, oldest first, from the front
  };
  static constexpr LeftOut kLeftOut = LeftOut::longer;

  /// Throws std::invalid_argument when orders or bits make no sense.
  explicit NgramContext(Config config) : config_(config) {
    if (config.orders < 1 || config.orders > 32)
      throw InvalidArgument("NgramContext: orders is " + std::to_string(config.orders) + ", expected 1 to 32");
    detail::check_bits("NgramContext", config.bits);
  }

  Index orders() const { return config_.orders - 1; }
  Index rows() const { return orders() << config_.bits; }
  Index history() const { return orders(); }
  void reset(State& state) const { state = {}; }

  void look_up(Bytes bytes, State& state, const RowWriter& out) const {
    const Index orders = this->orders();
    const std::uint64_t mask = (std::uint64_t{1} << config_.bits) - 1;
    const auto at = [&](Index t) {
      return t < 0 ? state.bytes[static_cast<std::size_t>(orders + t)] : bytes[static_cast<std::size_t>(t)];
    };
    for (Index t = 0; t < std::ssize(bytes); ++t) {
      std::uint64_t hash = at(t);
      for (Index i = 0; i < orders; ++i) {
        hash = hash << 8 | at(t - 1 - i);
        const bool exact = i == 0 && config_.bits >= 16;
        // up to eight bytes are the hash itself; each further one is mixed in
        if (i >= 6) hash = mix64(hash);
        const std::uint64_t mixed = mix64(hash ^ static_cast<std::uint64_t>(i) << 56);
        out.row(t, i, (static_cast<std::uint64_t>(i) << config_.bits) + ((exact ? hash : mixed) & mask),
                !exact && mixed >> 63 != 0);
      }
    }
    prime(bytes, state);
  }

  void follow(Bytes bytes, State& state) const { prime(bytes, state); }

  void prime(Bytes bytes, State& state) const {
    const auto orders = static_cast<std::size_t>(this->orders());
    const std::size_t fresh = std::min(bytes.size(), orders);
    for (std::size_t i = 0; i < orders; ++i)
      state.bytes[i] = i + fresh < orders ? state.bytes[i + fresh] : bytes[bytes.size() - (orders - i)];
  }

 private:
  Config config_;
};

}  // namespace qllk::nn
