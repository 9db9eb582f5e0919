// One chunk of the recurrence of Mamba2, by matrix products.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/chunk.hpp"
#include "qllk/mixers/recurrence.hpp"

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

  /// log_decay is log a. Gradients may be the matrices that they are the gradients of.
  template <class Matrix>
  struct Tensors {
    Matrix x, b, c, dt, log_decay;  // [inner, n], [states, n] twice, [heads, n] twice
  };
  /// What the recurrence reads.
  using Inputs = Tensors<Eigen::Ref<const Mat<Scalar>>>;
  /// What backward overwrites.
  using Gradients = Tensors<MatOut<Scalar>>;

  /// Always sized for a whole chunk.
  struct Scratch {
    Vec<Scalar> share;                    // s, of one head
    Vec<Scalar> last;                     // s_L of every head
    Mat<Scalar> weight, masked, dmasked;  // G, BᵀC ∘ G and its gradient, of one head
    Mat<Scalar> gram, dgram;              // BᵀC and its gradient
    Mat<Scalar> b, c, v, dv;              // v is X̄
    Mat<Scalar> from_state, into_state, scaled_dy;
  };

  /// Of so many channels, in heads of that width.
  SsdChunk(Index inner, Index head_dim, Index states) : inner_(inner), head_dim_(head_dim), states_(states) {}

  /// Writes y at the chunk's positions, and advances the S of its sequence.
  void forward(const Inputs& in, const Chunk& chunk, Scalar* memory, Scratch& scratch, MatOut<Scalar> y) const {
    resize(scratch);
    const Index begin = chunk.begin, size = chunk.size;
    const auto B = block(in.b, 0, begin, states_, size), C = block(in.c, 0, begin, states_, size);
    auto Y = block(y, 0, begin, inner_, size), V = block(scratch.v, 0, 0, inner_, size);
    Eigen::Map<Mat<Scalar>> S(memory, states_, inner_);
    auto gram = block(scratch.gram, 0, 0, size, size), masked = block(scratch.masked, 0, 0, size, size);
    gemm(B.transpose(), C, gram);
    gemm(S.transpose(), C, Y);
    for (Index h = 0; h < inner_ / head_dim_; ++h) {
      const Index at = h * head_dim_;
      chunk_decays(in.log_decay, {h, begin, size}, scratch.weight, scratch.share);
      for (Index i = 0; i < size; ++i) {
        part(V, at, i, head_dim_) = part(in.x, at, begin + i, head_dim_) * in.dt(h, begin + i);
        part(Y, at, i, head_dim_) *= scratch.share[i];
        column(masked, i) = column(gram, i) * part(scratch.weight, 0, i, size);
      }
      gemm_add(block(V, at, 0, head_dim_, size), masked, block(Y, at, 0, head_dim_, size));
      for (Index i = 0; i < size; ++i) part(V, at, i, head_dim_) *= scratch.weight(i, size - 1);
      values(S.data() + at * states_, head_dim_ * states_) *= scratch.share[size - 1];
    }
    gemm_add(B, V.transpose(), S);
  }

  /// Overwrites d at the chunk's positions: dx, dB, dC, d(dt) as far as dt is a factor of x, and d(log a). Turns dS
  /// after the chunk into dS before it. With P = BᵀC ∘ G and Z = dY diag(s) a head, Ḡ = diag(G_1L … G_LL):
  ///
  ///   d(BᵀC) = Σ_heads (X̄ᵀdY ∘ G)
  ///   dC = S Z + B d(BᵀC),   dB = dS' (X̄ Ḡ)ᵀ + C d(BᵀC)ᵀ,   dS = s_L dS' + C Zᵀ
  void backward(const Inputs& in, const Chunk& chunk, ChunkStates<Scalar> states, MatIn<Scalar> dy, Scratch& scratch,
                Gradients& d) const {
    resize(scratch);
    const Index begin = chunk.begin, size = chunk.size, head_states = head_dim_ * states_;
    auto B = block(scratch.b, 0, 0, states_, size), C = block(scratch.c, 0, 0, states_, size);
    B = block(in.b, 0, begin, states_, size);
    C = block(in.c, 0, begin, states_, size);
    const Eigen::Map<const Mat<Scalar>> S(states.before, states_, inner_);
    Eigen::Map<Mat<Scalar>> dS(states.gradient, states_, inner_);
    auto dB = block(d.b, 0, begin, states_, size), dC = block(d.c, 0, begin, states_, size);
    auto gram = block(scratch.gram, 0, 0, size, size), dgram = block(scratch.dgram, 0, 0, size, size);
    const auto scaled_V = block(scratch.v, 0, 0, inner_, size),
               scaled_dY = block(scratch.scaled_dy, 0, 0, inner_, size);
    gemm(B.transpose(), C, gram);
    gemm(S.transpose(), C, block(scratch.from_state, 0, 0, inner_, size));
    gemm(dS.transpose(), B, block(scratch.into_state, 0, 0, inner_, size));
    for (Index i = 0; i < size; ++i) column(dgram, i).setZero();
    for (Index h = 0; h < inner_ / head_dim_; ++h) head_backward(in, {h, begin, size}, states, dy, scratch, d);
    gemm(S, scaled_dY, dC);
    gemm_add(B, dgram, dC);
    gemm(dS, scaled_V, dB);
    gemm_add(C, dgram.transpose(), dB);
    for (Index h = 0; h < inner_ / head_dim_; ++h) values(dS.data() + h * head_states, head_states) *= scratch.last[h];
    gemm_add(C, scaled_dY.transpose(), dS);
  }

 private:
  /// What one head adds to backward; leaves X̄ Ḡ in v and Z in scaled_dy:
  ///
  ///   dX̄ = dY Pᵀ + dS'ᵀB Ḡ,   dx = dX̄ diag(dt),   d(dt)_i = <dX̄_i, x_i>
  ///   gained_i = <(SᵀC)_i, Z_i> + Σ_j (P ∘ X̄ᵀdY)_ji                       of log s_i and column i of log G
  ///   passed_i = Σ_j (P ∘ X̄ᵀdY)_ij + G_iL <(dS'ᵀB)_i, X̄_i>                of row i of log G
  ///   d(log a_t) = s_L <S, dS'> + Σ_i G_iL <(dS'ᵀB)_i, X̄_i> + Σ_{i >= t} (gained_i - passed_i)
  void head_backward(const Inputs& in, HeadChunk chunk, ChunkStates<Scalar> states, MatIn<Scalar> dy, Scratch& scratch,
                     Gradients& d) const {
    const Index P = head_dim_, h = chunk.head, at = h * P, begin = chunk.begin, size = chunk.size;
    const auto dY = block(dy, at, begin, P, size);
    auto V = block(scratch.v, at, 0, P, size), dV = block(scratch.dv, at, 0, P, size);
    auto gram = block(scratch.gram, 0, 0, size, size), dgram = block(scratch.dgram, 0, 0, size, size),
         masked = block(scratch.masked, 0, 0, size, size), dmasked = block(scratch.dmasked, 0, 0, size, size);
    chunk_decays(in.log_decay, chunk, scratch.weight, scratch.share);
    for (Index i = 0; i < size; ++i) {
      column(V, i) = part(in.x, at, begin + i, P) * in.dt(h, begin + i);
      column(masked, i) = column(gram, i) * part(scratch.weight, 0, i, size);
    }
    gemm(V.transpose(), dY, dmasked);
    gemm(dY, masked.transpose(), dV);

    alignas(64) Scalar gained[kSize], passed[kSize];
    values(passed, size).setZero();
    scratch.last[h] = scratch.share[size - 1];
    Scalar dlog_a =
        scratch.last[h] *
        (values(states.before + at * states_, P * states_) * values(states.gradient + at * states_, P * states_)).sum();
    for (Index i = 0; i < size; ++i) {
      const Scalar left = scratch.weight(i, size - 1);
      auto scaled = part(scratch.scaled_dy, at, i, P), into = part(scratch.into_state, at, i, P);
      auto v = column(V, i), dv = column(dV, i), dlog_g = column(dmasked, i);
      column(dgram, i) += dlog_g * part(scratch.weight, 0, i, size);
      dlog_g *= column(masked, i);
      values(passed, size) += dlog_g;
      scaled = column(dY, i) * scratch.share[i];
      gained[i] = (part(scratch.from_state, at, i, P) * scaled).sum() + dlog_g.sum();
      dv += into * left;
      into *= v;
      const Scalar through = into.sum() * left;
      passed[i] += through;
      dlog_a += through;
      v *= left;
      const Scalar step = in.dt(h, begin + i);
      d.dt(h, begin + i) = (dv * part(in.x, at, begin + i, P)).sum();
      part(d.x, at, begin + i, P) = dv * step;
    }
    for (Index i = size; i-- > 0;) {
      dlog_a += gained[i] - passed[i];
      d.log_decay(h, begin + i) = dlog_a;
    }
  }

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
