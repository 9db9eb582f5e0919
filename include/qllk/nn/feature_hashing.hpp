// Hashed embeddings of what a byte stream looks like around a position.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/nn/contexts/context.hpp"
#include "qllk/nn/contexts/documents.hpp"
#include "qllk/nn/dropout.hpp"

namespace qllk::nn {

using linalg::column, linalg::HashTable, linalg::SparseGrads;

/// Adds, to each position, one learned column for each order of each context (n-grams, words, matches) that has a row
/// there.
///
///   forward    y_t += Σ_i s_i(t) · T[ r_i(t) ]        r_i, s_i: row and sign that order i gives to position t
///   backward   dT[ r_i(t) ] += s_i(t) · dy_t          only rows that occur are touched
///
/// All contexts share one table, in which each has rows of its own. Rows start at zero: what was never seen adds
/// nothing.
///
/// A training pass may leave out, at a share of the positions, the longer orders of contexts with LeftOut::longer: of
/// their K orders in turn all from one drawn evenly from 0 … K-1 on; and at another share all of those with
/// LeftOut::together. There the model learns to do without them, as it must with what it has never seen.
///
/// All contexts begin anew with each of the Documents.
///
/// Shapes   bytes: [n]    y, dy: [dim, n]    the table: [dim, rows()]
/// Cost     orders()·dim additions a byte and as many random reads of a column, forward and backward, and the
///          contexts' own
/// Source   Weinberger et al. 2009, section 2; Pagnoni et al. 2024, section 3.2.1 (hash n-gram embeddings)
template <Real Scalar, StreamContext... Contexts>
class FeatureHashing {
 public:
  /// Table is HashTable, or another form of one that add_key, is_trained and prefetch_key take.
  template <class Table>
  struct Tensors {
    Table table;  // [dim, rows()]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("table", t.table...);
    }
  };
  using Params = Tensors<HashTable<Scalar>>;
  using Grads = Tensors<SparseGrads<Scalar>>;  // rows that occurred

  /// What the contexts remember, for each sequence.
  struct State {
    std::vector<std::tuple<typename Contexts::State...>> streams;  // one for each sequence
  };

  struct Cache {
    std::vector<std::uint32_t> rows;  // [n, orders()], of RowWriter
  };

  /// Throws std::invalid_argument unless dim > 0.
  explicit FeatureHashing(Index dim, Contexts... contexts) : FeatureHashing(dim, Documents(), std::move(contexts)...) {}
  /// The same, with documents.
  FeatureHashing(Index dim, Documents documents, Contexts... contexts)
      : dim_(dim), documents_(documents), contexts_(std::move(contexts)...) {
    if (dim <= 0) throw InvalidArgument("FeatureHashing: dim is " + std::to_string(dim) + ", expected > 0");
    for_each_context([&]<std::size_t I>(const auto& context) {
      first_order_[I] = orders_;
      first_row_[I] = rows_;
      orders_ += context.orders();
      rows_ += context.rows();
      if (context.kLeftOut == LeftOut::longer) longer_ += context.orders();
      history_ = std::max(history_, context.history());
    });
  }

  Index dim() const { return dim_; }
  Index orders() const { return orders_; }
  Index rows() const { return rows_; }
  /// Bytes before a crop that a trainer should prime a stream with.
  Index history() const { return history_; }
  /// Where a context's entries begin in those of a position, and its rows in the table.
  template <std::size_t I>
  Index first_order() const {
    return first_order_[I];
  }
  /// The row of the table with which the I-th context begins.
  template <std::size_t I>
  Index first_row() const {
    return first_row_[I];
  }

  void reset(State& state, Index sequences) const {
    state.streams.resize(static_cast<std::size_t>(sequences));
    for (auto& stream : state.streams)
      for_each_context([&]<std::size_t I>(const auto& context) { context.reset(std::get<I>(stream)); });
  }
  /// Reads bytes of a sequence that no row is wanted for: those before a training crop.
  void prime(State& state, Index sequence, Bytes bytes) const {
    auto& stream = state.streams[static_cast<std::size_t>(sequence)];
    for_each_context([&]<std::size_t I>(const auto& context) {
      context.prime(begin_document(context, std::get<I>(stream), bytes), std::get<I>(stream));
    });
  }
  /// Reads the next bytes of all sequences as forward does, but for no rows: leaves the same state, bit by bit. Priming
  /// does not, as it need not find what was read long before.
  void follow(Bytes bytes, State& state) const {
    const std::size_t length = length_of(bytes, state);
    for (std::size_t s = 0; s < state.streams.size(); ++s)
      for_each_context([&]<std::size_t I>(const auto& context) {
        auto& stream = std::get<I>(state.streams[s]);
        nn::follow(context, begin_document(context, stream, bytes.subspan(s * length, length)), stream);
      });
  }

  Params zeros() const {
    Params p;
    p.table.setZero(dim_, rows_);
    return p;
  }
  Params init(Random&) const { return zeros(); }
  Grads zero_grads() const { return {SparseGrads<Scalar>(dim_, rows_)}; }

  /// Adds to y, advances the state of every sequence.
  template <class Table>
  void forward(const Tensors<Table>& p, Bytes bytes, State& state, Noise& noise, Cache& cache, MatOut<Scalar> y) const {
    QLLK_ASSERT(y.rows() == dim_ && y.cols() == std::ssize(bytes));
    look_up(bytes, state, cache);
    leave_out(noise, cache);
    const auto orders = static_cast<std::size_t>(orders_);
    const std::size_t n = bytes.size();
    for (std::size_t e = 0; e < std::min(kAhead, n) * orders; ++e) prefetch(p.table, cache.rows[e]);
    for (std::size_t t = 0; t < n; ++t) {
      if (t + kAhead < n)
        for (std::size_t i = 0; i < orders; ++i) prefetch(p.table, cache.rows[(t + kAhead) * orders + i]);
      auto out = column(y, static_cast<Index>(t));
      for (std::size_t i = 0; i < orders; ++i) {
        const std::uint32_t entry = cache.rows[t * orders + i];
        if (!RowWriter::left_out(entry)) add_key(p.table, RowWriter::row_of(entry), RowWriter::minus(entry), out);
      }
    }
  }

  /// Adds to g. Bytes have no gradient.
  void backward(const Params&, const Cache& cache, MatIn<Scalar> dy, Grads& g) const {
    const auto orders = static_cast<std::size_t>(orders_);
    QLLK_ASSERT(dy.rows() == dim_ && static_cast<std::size_t>(dy.cols()) * orders == cache.rows.size());
    const Index first = g.table.append(dy);
    g.table.reserve(g.table.entries().size() + cache.rows.size());
    for (std::size_t e = 0; e < cache.rows.size(); ++e)
      if (!RowWriter::left_out(cache.rows[e]))
        g.table.add(static_cast<std::uint32_t>(RowWriter::row_of(cache.rows[e])),
                    first + static_cast<Index>(e / orders), RowWriter::minus(cache.rows[e]));
  }

 private:
  static constexpr std::size_t kAhead = 6;  // positions whose rows are fetched while others are added

  /// Calls f.operator()<I>(context I) for each context.
  template <class F>
  void for_each_context(F&& f) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) { (f.template operator()<I>(std::get<I>(contexts_)), ...); }
    (std::index_sequence_for<Contexts...>{});
  }

  void look_up(Bytes bytes, State& state, Cache& cache) const {
    const std::size_t length = length_of(bytes, state);
    const auto orders = static_cast<std::size_t>(orders_);
    cache.rows.resize(bytes.size() * orders);
    for (std::size_t s = 0; s < state.streams.size(); ++s)
      for_each_context([&]<std::size_t I>(const auto& context) {
        auto& stream = std::get<I>(state.streams[s]);
        documents_.for_each(bytes.subspan(s * length, length), [&](std::size_t offset, Bytes document, bool anew) {
          if (anew) nn::forget(context, stream);
          const RowWriter out(cache.rows.data() + (s * length + offset) * orders + first_order_[I], orders,
                              static_cast<std::uint64_t>(first_row_[I]));
          context.look_up(document, stream, out);
        });
      });
  }

  /// What of some bytes still counts at their end. Forgets all before the last document.
  template <class Context>
  Bytes begin_document(const Context& context, typename Context::State& state, Bytes bytes) const {
    const Bytes last = documents_.last(bytes);
    if (last.empty()) return bytes;
    nn::forget(context, state);
    return last;
  }

  static std::size_t length_of(Bytes bytes, const State& state) {
    return state.streams.empty() ? 0 : bytes.size() / state.streams.size();
  }

  void leave_out(Noise& noise, Cache& cache) const {
    const auto orders = static_cast<std::size_t>(orders_);
    const bool longer = noise.orders > 0 && longer_ > 0, together = noise.matches > 0;
    for (std::size_t at = 0; (longer || together) && at < cache.rows.size(); at += orders) {
      // how many orders stay, of all that may be left out for being long
      Index kept = longer_;
      if (longer && noise.random.uniform() < noise.orders)
        kept = static_cast<Index>(noise.random.below(static_cast<std::uint64_t>(longer_)));
      const bool all = together && noise.random.uniform() < noise.matches;
      for_each_context([&]<std::size_t I>(const auto& context) {
        Index stay = context.orders();
        if (context.kLeftOut == LeftOut::together && all) stay = 0;
        if (context.kLeftOut == LeftOut::longer) {
          stay = std::min(kept, context.orders());
          kept -= stay;
        }
        for (Index i = stay; i < context.orders(); ++i)
          cache.rows[at + static_cast<std::size_t>(first_order_[I] + i)] |= RowWriter::kLeftOut;
      });
    }
  }

  template <class Table>
  static void prefetch(const Table& table, std::uint32_t entry) {
    if (!RowWriter::left_out(entry)) prefetch_key(table, RowWriter::row_of(entry));
  }

  Index dim_;
  Documents documents_;
  std::tuple<Contexts...> contexts_;
  std::array<Index, sizeof...(Contexts)> first_order_{}, first_row_{};
  Index orders_ = 0, rows_ = 0, longer_ = 0, history_ = 0;
};

}  // namespace qllk::nn
