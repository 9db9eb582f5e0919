// Contexts of words.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/nn/contexts/context.hpp"
#include "qllk/nn/contexts/ngrams.hpp"

namespace qllk::nn {

/// The word so far, lower-cased, alone (order 1) and with the 1, 2, … words before it: 2^bits rows for each order.
///
/// Words are defined on bytes, so that any input has them: letters, digits, `_` and all bytes from 0x80 on (UTF-8 of
/// other scripts) belong to a word, everything else ends it. Between words the last byte stands for the word so far. A
/// script without spaces is one long word whose prefixes hardly come again: these orders are then of no use, and do no
/// harm.
///
/// Cost     one hash an order and byte; 40 bytes of state
/// Source   Mahoney 2005, section 3.2 (the word models of PAQ)
class WordContext {
 public:
  struct Config {
    Index orders = 0;  // 0: none; 1: the word so far; 2: also with the word before; at most 4
    int bits = 16;     // log2 of the rows of an order
    bool operator==(const Config&) const = default;
  };
  struct State {
    std::uint64_t prefix = 0;               // hash of the word so far; 0: none
    std::array<std::uint64_t, 3> before{};  // hashes of the words before, the last one first
    Byte last = 0;                          // the last byte
  };
  static constexpr LeftOut kLeftOut = LeftOut::longer;

  /// Throws std::invalid_argument when orders or bits make no sense.
  explicit WordContext(Config config) : config_(config) {
    if (config.orders < 0 || config.orders > 4)
      throw InvalidArgument("WordContext: orders is " + std::to_string(config.orders) + ", expected 0 to 4");
    detail::check_bits("WordContext", config.bits);
  }

  Index orders() const { return config_.orders; }
  Index rows() const { return orders() << config_.bits; }
  Index history() const { return orders() == 0 ? 0 : kHistory; }
  void reset(State& state) const { state = {}; }

  void look_up(Bytes bytes, State& state, const RowWriter& out) const {
    if (orders() == 0) return;
    const std::uint64_t mask = (std::uint64_t{1} << config_.bits) - 1;
    State now = state;
    for (Index t = 0; t < std::ssize(bytes); ++t) {
      read(bytes[static_cast<std::size_t>(t)], now);
      std::uint64_t hash = now.prefix != 0 ? now.prefix : now.last;
      for (Index i = 0; i < orders(); ++i) {
        if (i > 0) hash = mix64(hash + now.before[static_cast<std::size_t>(i - 1)]);
        const std::uint64_t mixed = mix64(hash ^ static_cast<std::uint64_t>(i + 1) << 56);
        out.row(t, i, (static_cast<std::uint64_t>(i) << config_.bits) + (mixed & mask), mixed >> 63 != 0);
      }
    }
    state = now;
  }

  void follow(Bytes bytes, State& state) const { prime(bytes, state); }

  void prime(Bytes bytes, State& state) const {
    if (orders() == 0) return;
    State now = state;
    for (const Byte byte : bytes) read(byte, now);
    state = now;
  }

 private:
  static constexpr Index kHistory = 256;  // four words, in any text that has some

  static constexpr bool is_letter(Byte byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || byte >= 0x80;
  }

  static void read(Byte byte, State& s) {
    s.last = byte;
    if (is_letter(byte)) {
      const Byte lower = byte >= 'A' && byte <= 'Z' ? static_cast<Byte>(byte + ('a' - 'A')) : byte;
      s.prefix = mix64(s.prefix << 1 ^ lower) | 1;
    } else if (s.prefix != 0) {
      for (std::size_t i = s.before.size(); i-- > 1;) s.before[i] = s.before[i - 1];
      s.before[0] = s.prefix;
      s.prefix = 0;
    }
  }

  Config config_;
};

}  // namespace qllk::nn
