// Some positions of the recurrence of Mamba2, by matrix products.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/chunk.hpp"

namespace qllk::mixers {

using linalg::block, linalg::column, linalg::gemm, linalg::gemm_add, linalg::part, linalg::values;

/// L positions of a state-space model with a scalar decay for each head, at once; heads share B and C:
///
///   S_t = a_t S_{t-1} + dt_t B_t x_tᵀ,   y_t = S_tᵀ C_t                     for each head
///
/// With G_ji = a_{j+1} … a_i (0 for j > i), s_i = a_1 … a_i, X̄ = X diag(dt), S the state before the chunk:
///
///   Y  = X̄ (BᵀC ∘ G) + SᵀC diag(s)
///   S' = s_L S + B diag(G_1L … G_LL) X̄ᵀ
///
/// BᵀC, SᵀC and B X̄ᵀ are products for all heads at once. LatentChunk is the same with keys and queries of each
/// head's own.
///
/// Shapes   X, Y: [inner, L] of x, y; L <= kSize    B, C: [states, L]    S: [states, inner]    dt, log a: [heads, n]
/// Cost     inner·(L + 2·states) + L·states multiply-adds a position forward, about 3 times that backward
/// Source   Dao and Gu 2024, section 6
template <Real Scalar>
class SsdChunk {
 public:
  /// Positions of a chunk.
  static constexpr Index kSize = 32;

  /// Always sized for a whole chunk.
  struct Scratch {
    Vec<Scalar> share;  // s, of one head
    Mat<Scalar> weight, gram, dgram, masked, dmasked;
    Mat<Scalar> b, c, v, dv, from_state, into_state, scaled_dy;
    Vec<Scalar> last;  // s_L of every head
  };

  /// Of so many channels, in heads of that width.
  SsdChunk(Index inner, Index head_dim, Index states) : inner_(inner), head_dim_(head_dim), states_(states) {}

  /// Writes y at positions begin … begin + size - 1, and advances the S of one sequence.
  void forward(MatIn<Scalar> x, MatIn<Scalar> b, MatIn<Scalar> c, MatIn<Scalar> dt, MatIn<Scalar> log_decay,
               Index begin, Index size, Scalar* memory, Scratch& scratch, MatOut<Scalar> y) const {
    resize(scratch);
    const auto B = block(b, 0, begin, states_, size), C = block(c, 0, begin, states_, size);
    auto Y = block(y, 0, begin, inner_, size), V = block(scratch.v, 0, 0, inner_, size);
    Eigen::Map<Mat<Scalar>> S(memory, states_, inner_);
    auto gram = block(scratch.gram, 0, 0, size, size), masked = block(scratch.masked, 0, 0, size, size);
    gemm(B.transpose(), C, gram);
    gemm(S.transpose(), C, Y);
    for (Index h = 0; h < inner_ / head_dim_; ++h) {
      const Index at = h * head_dim_;
      chunk_decays(log_decay, h, begin, size, scratch.weight, scratch.share);
      for (Index i = 0; i < size; ++i) {
        part(V, at, i, head_dim_) = part(x, at, begin + i, head_dim_) * dt(h, begin + i);
        part(Y, at, i, head_dim_) *= scratch.share[i];
        column(masked, i) = column(gram, i) * part(scratch.weight, 0, i, size);
      }
      gemm_add(block(V, at, 0, head_dim_, size), masked, block(Y, at, 0, head_dim_, size));
      for (Index i = 0; i < size; ++i) part(V, at, i, head_dim_) *= scratch.weight(i, size - 1);
      values(S.data() + at * states_, head_dim_ * states_) *= scratch.share[size - 1];
    }
    gemm_add(B, V.transpose(), S);
  }

  /// Overwrites those of dx, db, dc, ddt and dlog_decay, which may be x, b, c, dt and log_decay; turns dS after the
  /// chunk into dS before it. `before` holds S before the chunk.
  void backward(MatIn<Scalar> x, MatIn<Scalar> b, MatIn<Scalar> c, MatIn<Scalar> dt, MatIn<Scalar> log_decay,
                Index begin, Index size, const Scalar* before, Scalar* dmemory, Scratch& scratch, MatIn<Scalar> dy,
                MatOut<Scalar> dx, MatOut<Scalar> db, MatOut<Scalar> dc, MatOut<Scalar> ddt,
                MatOut<Scalar> dlog_decay) const {
    resize(scratch);
    const Index P = head_dim_;
    auto B = block(scratch.b, 0, 0, states_, size), C = block(scratch.c, 0, 0, states_, size);
    B = block(b, 0, begin, states_, size);
    C = block(c, 0, begin, states_, size);
    const auto dY = block(dy, 0, begin, inner_, size);
    auto dB = block(db, 0, begin, states_, size), dC = block(dc, 0, begin, states_, size);
    const Eigen::Map<const Mat<Scalar>> S(before, states_, inner_);
    Eigen::Map<Mat<Scalar>> dS(dmemory, states_, inner_);
    auto V = block(scratch.v, 0, 0, inner_, size), dV = block(scratch.dv, 0, 0, inner_, size),
         from_state = block(scratch.from_state, 0, 0, inner_, size),
         into_state = block(scratch.into_state, 0, 0, inner_, size),
         scaled_dY = block(scratch.scaled_dy, 0, 0, inner_, size);
    auto gram = block(scratch.gram, 0, 0, size, size), dgram = block(scratch.dgram, 0, 0, size, size),
         masked = block(scratch.masked, 0, 0, size, size), dmasked = block(scratch.dmasked, 0, 0, size, size);
    gemm(B.transpose(), C, gram);
    gemm(S.transpose(), C, from_state);
    gemm(dS.transpose(), B, into_state);
    for (Index i = 0; i < size; ++i) column(dgram, i).setZero();
    for (Index h = 0; h < inner_ / P; ++h) {
      const Index at = h * P;
      chunk_decays(log_decay, h, begin, size, scratch.weight, scratch.share);
      for (Index i = 0; i < size; ++i) {
        part(V, at, i, P) = part(x, at, begin + i, P) * dt(h, begin + i);
        column(masked, i) = column(gram, i) * part(scratch.weight, 0, i, size);
      }
      const auto dYh = block(dY, at, 0, P, size);
      const auto Vh = block(V, at, 0, P, size);
      gemm(Vh.transpose(), dYh, dmasked);
      gemm(dYh, masked.transpose(), block(dV, at, 0, P, size));

      // of the logarithms: s_i and column i of G add to `gained`, row i of G to `passed`; d(log a_s) is a sum over i >=
      // s
      alignas(64) Scalar gained[kSize], passed[kSize];
      values(passed, size).setZero();
      const Scalar last = scratch.share[size - 1];
      Scalar later =
          last * (values(S.data() + at * states_, P * states_) * values(dS.data() + at * states_, P * states_)).sum();
      for (Index i = 0; i < size; ++i) {
        const Scalar share = scratch.share[i], left = scratch.weight(i, size - 1);
        auto scaled = part(scaled_dY, at, i, P), v = part(V, at, i, P), dv = part(dV, at, i, P),
             into = part(into_state, at, i, P), d = column(dmasked, i);
        column(dgram, i) += d * part(scratch.weight, 0, i, size);
        d *= column(masked, i);
        values(passed, size) += d;
        scaled = column(dYh, i) * share;
        gained[i] = (part(from_state, at, i, P) * scaled).sum() + d.sum();
        dv += into * left;
        into *= v;
        const Scalar through = into.sum() * left;
        passed[i] += through;
        later += through;
        v *= left;
        const Scalar step = dt(h, begin + i);
        ddt(h, begin + i) = (dv * part(x, at, begin + i, P)).sum();
        part(dx, at, begin + i, P) = dv * step;
      }
      for (Index s = size; s-- > 0;) {
        later += gained[s] - passed[s];
        dlog_decay(h, begin + s) = later;
      }
      scratch.last[h] = last;
    }
    gemm(S, scaled_dY, dC);
    gemm_add(B, dgram, dC);
    gemm(dS, V, dB);
    gemm_add(C, dgram.transpose(), dB);
    for (Index h = 0; h < inner_ / P; ++h) values(dS.data() + h * P * states_, P * states_) *= scratch.last[h];
    gemm_add(C, scaled_dY.transpose(), dS);
  }

 private:
  void resize(Scratch& scratch) const {
    scratch.share.resize(kSize);
    scratch.last.resize(inner_ / head_dim_);
    for (auto* square : {&scratch.weight, &scratch.gram, &scratch.dgram, &scratch.masked, &scratch.dmasked})
      square->resize(kSize, kSize);
    for (auto* narrow : {&scratch.b, &scratch.c}) narrow->resize(states_, kSize);
    for (auto* wide : {&scratch.v, &scratch.dv, &scratch.from_state, &scratch.into_state, &scratch.scaled_dy})
      wide->resize(inner_, kSize);
  }

  Index inner_, head_dim_, states_;
};

}  // namespace qllk::mixers
