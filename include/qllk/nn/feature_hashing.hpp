// Hashed n-gram embeddings.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/sparse_table.hpp"
#include "qllk/core/types.hpp"
#include "qllk/nn/dropout.hpp"

namespace qllk::nn {

/// Adds, to each position, one learned column for each n-gram that ends there.
///
///   forward    y_t += Σ_{n=2..N} s_n(t) · T[ r_n(t) ]        r_n, s_n: row and sign from the last n bytes
///   backward   dT[ r_n(t) ] += s_n(t) · dy_t                 only rows that occur are touched
///
/// Every order has 2^bits rows of its own. Order 2 is exact where they suffice (bits >= 16): its row is the two bytes.
/// Larger orders are hashed in unsigned 64-bit arithmetic, the same on every machine; the sign makes the n-grams that share
/// a row disturb each other without bias. Rows start at zero: an n-gram never seen adds nothing.
///
/// A training pass may leave out, at a share of the positions, all n-grams longer than a length drawn evenly from 1 … N-1:
/// there the model learns to do without them, as it must with n-grams that it has never seen.
///
/// Shapes   bytes: [n]    y, dy: [dim, n]    the table: [dim, (N-1)·2^bits]
/// Cost     (N-1)·dim additions a byte and as many random reads of a column, forward and backward
/// Source   Weinberger et al. 2009, section 2 (signed hashing); Pagnoni et al. 2024, section 3.2.1 (hash n-gram embeddings)
template <Real Scalar>
class FeatureHashing {
 public:
  struct Config {
    Index dim;
    Index orders = 6;  // N; 1 means no n-grams beyond the byte itself
    int bits = 16;
    bool operator==(const Config&) const = default;
  };

  struct Params {
    HashTable<Scalar> table;  // [dim, (N-1)·2^bits]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("table", t.table...);
    }
  };
  struct Grads {
    SparseGrads<Scalar> table;

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("table", t.table...);
    }
  };

  /// The last N-1 bytes of every sequence; before a stream's first byte stand zeros.
  struct State {
    std::vector<Byte> bytes;
  };

  struct Cache {
    std::vector<std::uint32_t> rows;  // [n, N-1]: row · 2 + sign, or kLeftOut
  };

  /// Throws std::invalid_argument when orders or bits make no sense.
  explicit FeatureHashing(Config config) : config_(config) {
    if (config.dim <= 0)
      throw std::invalid_argument("FeatureHashing: dim is " + std::to_string(config.dim) + ", expected > 0");
    if (config.orders < 1 || config.orders > 32)
      throw std::invalid_argument("FeatureHashing: orders is " + std::to_string(config.orders) + ", expected 1 to 32");
    if (config.bits < 4 || config.bits > 24)
      throw std::invalid_argument("FeatureHashing: bits is " + std::to_string(config.bits) + ", expected 4 to 24");
  }

  const Config& config() const { return config_; }
  Index rows() const { return (config_.orders - 1) << config_.bits; }

  void reset(State& state, Index sequences) const {
    state.bytes.assign(static_cast<std::size_t>((config_.orders - 1) * sequences), Byte{0});
  }
  Params zeros() const {
    Params p;
    p.table.setZero(config_.dim, rows());
    return p;
  }
  Params init(Random&) const { return zeros(); }
  Grads zero_grads() const { return {SparseGrads<Scalar>(config_.dim, rows())}; }

  /// Adds to y, advances the state.
  void forward(const Params& p, Bytes bytes, Index sequences, State& state, Noise& noise, Cache& cache,
               MatOut<Scalar> y) const {
    QLLK_ASSERT(y.rows() == config_.dim && y.cols() == std::ssize(bytes));
    look_up(bytes, sequences, state, cache);
    leave_out(noise, cache);
    const auto orders = static_cast<std::size_t>(config_.orders - 1);
    const std::size_t n = bytes.size();
    for (std::size_t e = 0; e < std::min(kAhead, n) * orders; ++e) prefetch(p, cache.rows[e]);
    for (std::size_t t = 0; t < n; ++t) {
      if (t + kAhead < n)
        for (std::size_t i = 0; i < orders; ++i) prefetch(p, cache.rows[(t + kAhead) * orders + i]);
      auto out = column(y, static_cast<Index>(t));
      for (std::size_t i = 0; i < orders; ++i) {
        const std::uint32_t entry = cache.rows[t * orders + i];
        if (entry == kLeftOut) break;  // the longer ones are left out too
        if ((entry & 1) != 0)
          out -= column(p.table, entry >> 1);
        else
          out += column(p.table, entry >> 1);
      }
    }
  }

  /// Adds to g. Bytes have no gradient.
  void backward(const Params&, const Cache& cache, MatIn<Scalar> dy, Grads& g) const {
    const auto orders = static_cast<std::size_t>(config_.orders - 1);
    QLLK_ASSERT(dy.rows() == config_.dim && static_cast<std::size_t>(dy.cols()) * orders == cache.rows.size());
    const Index first = g.table.append(dy);
    g.table.reserve(g.table.entries().size() + cache.rows.size());
    for (std::size_t e = 0; e < cache.rows.size(); ++e)
      if (cache.rows[e] != kLeftOut)
        g.table.add(cache.rows[e] >> 1, first + static_cast<Index>(e / orders), (cache.rows[e] & 1) != 0);
  }

 private:
  static constexpr std::size_t kAhead = 6;  // positions whose rows are fetched while others are added

  static constexpr std::uint32_t kLeftOut = 0xFFFFFFFF;

  void leave_out(Noise& noise, Cache& cache) const {
    if (noise.orders <= 0 || config_.orders < 2) return;
    const auto orders = static_cast<std::size_t>(config_.orders - 1);
    for (std::size_t at = 0; at < cache.rows.size(); at += orders) {
      if (noise.random.uniform() >= noise.orders) continue;
      const auto kept = static_cast<std::size_t>(noise.random.below(orders));
      std::fill_n(cache.rows.begin() + static_cast<std::ptrdiff_t>(at + kept), orders - kept, kLeftOut);
    }
  }

  void prefetch(const Params& p, std::uint32_t entry) const {
    if (entry == kLeftOut) return;
    const auto* column = reinterpret_cast<const char*>(p.table.data() + static_cast<Index>(entry >> 1) * config_.dim);
    const auto size = static_cast<Index>(sizeof(Scalar)) * config_.dim;
    for (Index at = 0; at < size; at += 64) __builtin_prefetch(column + at);
  }

  void look_up(Bytes bytes, Index sequences, State& state, Cache& cache) const {
    const Index orders = config_.orders - 1, length = sequences > 0 ? std::ssize(bytes) / sequences : 0;
    const std::uint64_t mask = (std::uint64_t{1} << config_.bits) - 1;
    cache.rows.resize(bytes.size() * static_cast<std::size_t>(orders));
    auto out = cache.rows.begin();
    for (Index s = 0; s < sequences; ++s) {
      Byte* const before = state.bytes.data() + s * orders;
      const Byte* const chunk = bytes.data() + s * length;
      const auto at = [&](Index t) { return t < 0 ? before[orders + t] : chunk[t]; };
      for (Index t = 0; t < length; ++t) {
        std::uint64_t hash = at(t);
        for (Index i = 0; i < orders; ++i) {
          hash = hash << 8 | at(t - 1 - i);
          const bool exact = i == 0 && config_.bits >= 16;
          // up to eight bytes are the hash itself; each further one is mixed in
          if (i >= 6) hash = mix64(hash);
          const std::uint64_t mixed = mix64(hash ^ static_cast<std::uint64_t>(i) << 56);
          const std::uint64_t row = (exact ? hash : mixed) & mask;
          const std::uint64_t minus = exact ? 0 : mixed >> 63;
          *out++ = static_cast<std::uint32_t>(((static_cast<std::uint64_t>(i) << config_.bits) + row) << 1 | minus);
        }
      }
      if (orders > 0) {  // the last N-1 bytes, oldest first
        for (Index i = -orders; i < 0; ++i) before[orders + i] = at(length + i);
      }
    }
  }

  Config config_;
};

}  // namespace qllk::nn
