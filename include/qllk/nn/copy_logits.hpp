// Copying: what a match predicts, straight on the logits.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/nn/contexts/context.hpp"
#include "qllk/nn/contexts/matches.hpp"

namespace qllk::nn {

using linalg::column, linalg::values;

/// Learned scalars for each order i and length bucket l of MatchContext that act on the logit of the predicted byte
/// b_i.
///
///   trained row      z'[b_i] = z[b_i] + w[i, l_i]                                  the row has said most of it already
///   any other row    z'[b]   = log( e^z[b] + Σ_{i: b_i = b} e^v[i, l_i] · Σ_k e^z[k] )
///
/// The second form is the mixture p' = (p + Σ_i e^v_i · onehot(b_i)) / (1 + Σ_i e^v_i): whatever the network thinks
/// of a byte, and be it one that the training text never had, a long match makes it likely. It is learned where rows
/// are left out on purpose (LeftOut::together) and where they are new.
///
/// Shapes   rows: [n, stride], FeatureHashing's, from the first match order on    z, dz: [256, n]
/// Cost     one addition an order and position; an exponential for each byte value where the second form applies
/// Source   mixture: See et al. 2017, eq. 9 (pointer-generator)
template <Real Scalar>
class CopyLogits {
 public:
  struct Params {
    Vec<Scalar> weight;    // w [16 · orders]
    Vec<Scalar> log_odds;  // v [16 · orders]

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("weight", t.weight...);
      visit("log_odds", t.log_odds...);
    }
  };
  using Grads = Params;

  struct Cache {
    struct Mixed {
      Index position, byte, weight;
      Scalar share;  // of e^z'[byte] that this order gave
      std::size_t column;
    };
    std::vector<Mixed> mixed;
    // [256, positions with a mixture], of z; aligned, as sums over values are taken in an order that depends on where
    // they lie
    std::vector<Scalar, Eigen::aligned_allocator<Scalar>> softmax;
  };

  /// Of `orders` match orders whose rows begin at `first_row` of the table.
  CopyLogits(Index orders, Index first_row) : orders_(orders), first_row_(first_row) {}

  Params zeros() const {
    const auto none = Vec<Scalar>::Zero(MatchContext::kBuckets * orders_);
    return {none, none};
  }
  Params init(Random&) const { return zeros(); }

  /// Turns z into z'.
  template <class Table>
  void forward(const Params& p, const Table& table, std::span<const std::uint32_t> rows, std::size_t stride,
               Cache& cache, Mat<Scalar>& z) const {
    cache.mixed.clear();
    cache.softmax.clear();
    for (Index t = 0; t < z.cols(); ++t) {
      const std::size_t first = cache.mixed.size();
      each(rows, stride, t, [&](Index row, Index weight, bool left_out) {
        if (left_out || !is_trained(table, row + first_row_))
          cache.mixed.push_back({t, row % kByteValues, weight, Scalar(0), 0});
        else
          z(row % kByteValues, t) += p.weight[weight];
      });
      if (cache.mixed.size() > first) mix(p, cache, first, z);
    }
  }

  /// Turns dz' into dz, adds to g. rows and table are those of forward.
  void backward(std::span<const std::uint32_t> rows, std::size_t stride, const Cache& cache, Mat<Scalar>& dz,
                Grads& g) const {
    auto mixed = cache.mixed.begin();
    for (Index t = 0; t < dz.cols(); ++t) {
      const auto begin = mixed;
      Scalar through = 0;  // dz' by way of Σ_k e^z[k]
      for (; mixed != cache.mixed.end() && mixed->position == t; ++mixed) {
        const Scalar d = mixed->share * dz(mixed->byte, t);
        g.log_odds[mixed->weight] += d;
        through += d;
      }
      if (mixed != begin) {
        for (auto m = begin; m != mixed; ++m) {  // what e^z[b] itself gave, once for each byte
          Scalar others = 0;
          bool again = false;
          for (auto o = begin; o != mixed; ++o) {
            if (o->byte != m->byte) continue;
            again = again || o < m;
            others += o->share;
          }
          if (!again) dz(m->byte, t) *= Scalar(1) - others;
        }
        column(dz, t) += through * values(cache.softmax.data() + begin->column * kByteValues, kByteValues);
      }
      each(rows, stride, t, [&](Index row, Index weight, bool) {
        for (auto m = begin; m != mixed; ++m)
          if (m->weight == weight) return;
        g.weight[weight] += dz(row % kByteValues, t);
      });
    }
  }

 private:
  /// Calls f(row, number of the weight, whether the row is left out) for each match of position t.
  template <class F>
  void each(std::span<const std::uint32_t> rows, std::size_t stride, Index t, F&& f) const {
    for (Index i = 0; i < orders_; ++i) {
      const std::uint32_t entry = rows[static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(i)];
      if (entry == RowWriter::kNone) continue;
      const Index row = RowWriter::row_of(entry) - first_row_;
      f(row, row / kByteValues, RowWriter::left_out(entry));
    }
  }

  void mix(const Params& p, Cache& cache, std::size_t first, Mat<Scalar>& z) const {
    const std::size_t place = cache.softmax.size();
    cache.softmax.resize(place + kByteValues);
    const Index t = cache.mixed[first].position;
    auto softmax = values(cache.softmax.data() + place, kByteValues);
    auto logits = column(z, t);
    const Scalar most = logits.maxCoeff();
    softmax = (logits - most).exp();
    const Scalar sum = softmax.sum(), log_sum = most + std::log(sum);
    softmax /= sum;
    for (std::size_t i = first; i < cache.mixed.size(); ++i) {
      Scalar mass = softmax[cache.mixed[i].byte];  // all in multiples of Σ e^z
      for (std::size_t j = first; j < cache.mixed.size(); ++j)
        if (cache.mixed[j].byte == cache.mixed[i].byte) mass += std::exp(p.log_odds[cache.mixed[j].weight]);
      cache.mixed[i].share = std::exp(p.log_odds[cache.mixed[i].weight]) / mass;
      cache.mixed[i].column = place / kByteValues;
      logits[cache.mixed[i].byte] = log_sum + std::log(mass);
    }
  }

  Index orders_, first_row_;
};

}  // namespace qllk::nn
