// Causal softmax attention of one head, in tiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm, linalg::gemm_add, linalg::scratch, linalg::values;

/// Softmax attention of one head of width d: query i sees keys max(0, offset + i + 1 - window) … offset + i, or from
/// 0 on when window is 0.
///
///   S = Kᵀ Q,   l_i = log Σ_j exp S_ji over the keys that i sees,   P_ji = exp(S_ji - l_i) or 0,   U = V P
///
///   backward   D_i = <du_i, u_i>,   dS = P ∘ (Vᵀ dU - 1 Dᵀ)
///              dQ = K dS,   dK += Q dSᵀ,   dV += dU Pᵀ
///
/// S is there for one tile of keys and queries at a time. Forward keeps the largest value seen so far of each column
/// and divides by the sum at the end; it leaves l, from which backward makes every tile again.
///
/// Shapes   Q, U, dU, dQ: [d, n]    K, V, dK, dV: [d, keys]    l: [n]
/// Cost     4·d FLOP for each pair of a query and a key that it sees forward, 10·d backward, and one exp for each
///          both times
/// Source   Dao et al. 2022, "FlashAttention", section 3.1; Milakov and Gimelshein 2018, algorithm 3
template <Real Scalar>
class SoftmaxTiles {
 public:
  /// Which keys a query sees.
  struct Span {
    Index offset;      // of the first query among the keys
    Index window = 0;  // keys that a query sees, or 0 for all

    /// The first key that query i sees.
    Index begin(Index i) const { return window > 0 ? std::max<Index>(0, offset + i + 1 - window) : 0; }
    /// The key after the last that query i sees.
    Index end(Index i) const { return offset + i + 1; }
  };

  /// A matrix that is read.
  using MatrixIn = Eigen::Ref<const Mat<Scalar>>;

  /// What attention reads.
  struct Inputs {
    MatrixIn q, k, v;  // [d, queries] and [d, keys]
    Span span;         // which keys a query sees
  };
  /// What forward computed.
  struct Outputs {
    MatrixIn u;       // [d, queries]
    const Scalar* l;  // one for each query
  };
  /// What backward overwrites, q, and adds to, k and v.
  struct Gradients {
    MatOut<Scalar> q, k, v;  // in the shapes of the inputs
  };

  /// Overwrites u and l.
  QLLK_NOINLINE static void forward(const Inputs& in, MatOut<Scalar> u, Scalar* l) {
    const Index d = in.q.rows();
    auto memory = scratch<SoftmaxTiles, Scalar>(kKeys, kQueries);
    alignas(64) Scalar most[kQueries], sum[kQueries];
    for (Index at = 0; at < in.q.cols(); at += kQueries) {
      const Index queries = std::min(kQueries, in.q.cols() - at);
      const auto Q = block(in.q, 0, at, d, queries);
      auto U = block(u, 0, at, d, queries);
      std::fill_n(most, queries, -std::numeric_limits<Scalar>::infinity());
      std::fill_n(sum, queries, Scalar(0));
      for (Index j = 0; j < queries; ++j) column(U, j).setZero();
      for_each_tile(in.span, at, queries, [&](Index first, Index keys) {
        auto S = block(memory, 0, 0, keys, queries);
        gemm(block(in.k, 0, first, d, keys).transpose(), Q, S);
        for (Index i = 0; i < queries; ++i) {
          auto [head, seen, tail] = parts(S, i, in.span.begin(at + i) - first, in.span.end(at + i) - first);
          head.setZero();
          tail.setZero();
          if (seen.size() == 0) continue;
          const Scalar largest = std::max(most[i], seen.maxCoeff());
          seen = (seen - largest).exp();
          if (largest > most[i]) {
            const Scalar share = std::exp(most[i] - largest);
            sum[i] *= share;
            column(U, i) *= share;
            most[i] = largest;
          }
          sum[i] += seen.sum();
        }
        gemm_add(block(in.v, 0, first, d, keys), S, U);
      });
      for (Index i = 0; i < queries; ++i) {
        column(U, i) *= Scalar(1) / sum[i];
        l[at + i] = most[i] + std::log(sum[i]);
      }
    }
  }

  /// Overwrites dq, which may be q; adds to dk and dv.
  QLLK_NOINLINE static void backward(const Inputs& in, const Outputs& out, MatIn<Scalar> du, Gradients grads) {
    const Index d = in.q.rows();
    auto memory = scratch<SoftmaxTiles, Scalar>(2 * kKeys + d, kQueries);
    alignas(64) Scalar dot[kQueries];
    for (Index at = 0; at < in.q.cols(); at += kQueries) {
      const Index queries = std::min(kQueries, in.q.cols() - at);
      Eigen::Map<Mat<Scalar>> Q(memory.data() + 2 * kKeys * kQueries, d, queries);
      Q = block(in.q, 0, at, d, queries);
      const auto dU = block(du, 0, at, d, queries);
      auto dQ = block(grads.q, 0, at, d, queries);
      for (Index i = 0; i < queries; ++i) {
        dot[i] = (column(dU, i) * column(out.u, at + i)).sum();
        column(dQ, i).setZero();
      }
      for_each_tile(in.span, at, queries, [&](Index first, Index keys) {
        const auto K = block(in.k, 0, first, d, keys), V = block(in.v, 0, first, d, keys);
        Eigen::Map<Mat<Scalar>> P(memory.data(), keys, queries), dS(memory.data() + kKeys * kQueries, keys, queries);
        gemm(K.transpose(), Q, P);
        gemm(V.transpose(), dU, dS);
        for (Index i = 0; i < queries; ++i) {
          const Index begin = in.span.begin(at + i) - first, end = in.span.end(at + i) - first;
          auto [head, seen, tail] = parts(P, i, begin, end);
          auto [dhead, dseen, dtail] = parts(dS, i, begin, end);
          for (auto* part : {&head, &tail, &dhead, &dtail}) part->setZero();
          seen = (seen - out.l[at + i]).exp();
          dseen = seen * (dseen - dot[i]);
        }
        gemm_add(dU, P.transpose(), block(grads.v, 0, first, d, keys));
        gemm_add(Q, dS.transpose(), block(grads.k, 0, first, d, keys));
        gemm_add(K, dS, dQ);
      });
    }
  }

 private:
  static constexpr Index kQueries = 96, kKeys = 256;  // a tile of S stays in a second-level cache

  /// What keys the queries at, at + 1, … see together, some at a time.
  template <class F>
  static void for_each_tile(const Span& span, Index at, Index queries, F&& f) {
    const Index end = span.end(at + queries - 1);
    for (Index first = span.begin(at); first < end; first += kKeys) f(first, std::min(kKeys, end - first));
  }

  struct Parts {
    linalg::Values<Scalar> head, seen, tail;
  };
  /// Column i of a tile, cut where a query begins and ends to see.
  template <class Tile>
  static Parts parts(Tile& tile, Index i, Index begin, Index end) {
    const Index size = tile.rows(), from = std::clamp<Index>(begin, 0, size), to = std::clamp<Index>(end, from, size);
    Scalar* const data = tile.data() + i * tile.outerStride();
    return {values(data, from), values(data + from, to - from), values(data + to, size - to)};
  }
};

}  // namespace qllk::mixers
