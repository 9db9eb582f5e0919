// The recurrence inside Mamba.
#pragma once

#include <algorithm>

#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"
#include "qllk/mixers/recurrence.hpp"

namespace qllk::mixers {

using linalg::column, linalg::part, linalg::values;

/// A state-space model of every channel on its own, with `states` decays each; B and C are those of all channels:
///
///   h_t = exp(dt_t A) ⊙ h_{t-1} + dt_t u_t B_tᵀ                          h, A: [inner, states]
///   y_t = h_t C_t + D ⊙ u_t
///
/// backward, from dy and the final dh, with q_t = dh_t ⊙ exp(dt_t A) ⊙ h_{t-1}:
///
///   dh_t = dy_t C_tᵀ + exp(dt_{t+1} A) ⊙ dh_{t+1}
///   d(dt u)_t = dh_t B_t,   du_t = d(dt u)_t ⊙ dt_t + dy_t ⊙ D,   ddt_t = (q_t ⊙ A) 1 + d(dt u)_t ⊙ u_t
///   dB_t = dh_tᵀ (dt ⊙ u)_t,   dC_t = h_tᵀ dy_t,   dA += dt_t ⊙ q_t,   dD += dy_t ⊙ u_t
///
/// Forward stores one h for every kSize positions. Backward computes those between again, some channels at a time.
///
/// Shapes   u, dt, y: [inner, n]    B, C: [states, n]    A: [inner · states], those of a state side by side; n =
///          sequences × length
/// Cost     a position: inner·states of exp and 3·inner·states multiply-adds forward, about 3 times that backward
/// Source   Gu and Dao 2023, algorithm 2 and section 3.3.2
template <Real Scalar>
class SelectiveScan {
 public:
  template <class Matrix, class Vector>
  struct Tensors {
    Matrix u, dt, b, c;  // [inner, n] and [states, n]
    Vector &a, &skip;    // A and D
  };
  /// What the recurrence reads.
  using Inputs = Tensors<Eigen::Ref<const Mat<Scalar>>, const Vec<Scalar>>;
  /// du and ddt may be u and dt.
  using Gradients = Tensors<MatOut<Scalar>, Vec<Scalar>>;

  struct Cache {
    Mat<Scalar> chunk_states;   // h before every kSize positions [inner · states, chunks × sequences]
    Vec<Scalar> states, decay;  // h and exp(dt A) of one chunk and kTile channels
  };

  /// Of so many channels, with so many states each.
  SelectiveScan(Index inner, Index states) : inner_(inner), states_(states) {}

  /// Numbers that a sequence keeps.
  Index state_size() const { return inner_ * states_; }

  /// Writes y, advances the h of every sequence.
  QLLK_NOINLINE void forward(const Inputs& in, Mat<Scalar>& memory, Cache& cache, MatOut<Scalar> y) const {
    const Chunks chunks = chunks_of(in, memory);
    cache.chunk_states.resize(state_size(), chunks.count());
    chunks.forward([&](const Chunk& chunk) {
      column(cache.chunk_states, chunk.index) = column(memory, chunk.sequence);
      for (Index at = 0; at < inner_; at += kTile)
        for (Index i = 0; i < chunk.size; ++i) step(in, tile(chunk, i, at), memory.col(chunk.sequence).data(), y);
    });
  }

  /// Adds to d.a and d.skip, overwrites the rest of d. Turns dmemory from the gradient of the final h into that of the
  /// initial one.
  QLLK_NOINLINE void backward(const Inputs& in, Cache& cache, MatIn<Scalar> dy, Mat<Scalar>& dmemory,
                              Gradients d) const {
    cache.states.resize((kSize + 1) * states_ * kTile);
    cache.decay.resize(kSize * states_ * kTile);
    for (Index t = 0; t < in.u.cols(); ++t) column(d.b, t).setZero(), column(d.c, t).setZero();
    chunks_of(in, dmemory).backward([&](const Chunk& chunk) {
      for (Index at = 0; at < inner_; at += kTile) {
        recompute(in, chunk, at, cache);
        for (Index i = chunk.size; i-- > 0;)
          step_backward(in, tile(chunk, i, at), cache, dy, dmemory.col(chunk.sequence).data(), d);
      }
    });
  }

 private:
  static constexpr Index kSize = 16, kTile = 64;  // what one chunk needs then stays in a second-level cache

  /// Channels at … at + size - 1 of position t, which is the i-th of its chunk.
  struct Tile {
    Index t, i, at, size;
  };
  Tile tile(const Chunk& chunk, Index i, Index at) const {
    return {chunk.begin + i, i, at, std::min(kTile, inner_ - at)};
  }
  Chunks chunks_of(const Inputs& in, const Mat<Scalar>& memory) const {
    return {memory.cols(), memory.cols() > 0 ? in.u.cols() / memory.cols() : 0, kSize};
  }

  /// One position forward: h ← exp(dt A) ⊙ h + dt u Bᵀ, y = h C + D ⊙ u.
  void step(const Inputs& in, const Tile& tile, Scalar* memory, MatOut<Scalar>& y) const {
    const auto [t, i, at, size] = tile;
    alignas(64) Scalar buffer[2 * kTile];
    const auto dt = part(in.dt, at, t, size), u = part(in.u, at, t, size);
    auto written = values(buffer, size), sum = values(buffer + kTile, size);
    written = dt * u;
    sum = part(in.skip, at, 0, size) * u;
    for (Index k = 0; k < states_; ++k) {
      auto h = values(memory + k * inner_ + at, size);
      h = (dt * part(in.a, k * inner_ + at, 0, size)).exp() * h + written * in.b(k, t);
      sum += h * in.c(k, t);
    }
    part(y, at, t, size) = sum;
  }

  /// The h of every position of a chunk, and their decays, from the h before it.
  void recompute(const Inputs& in, const Chunk& chunk, Index at, Cache& cache) const {
    const Index size = std::min(kTile, inner_ - at);
    for (Index k = 0; k < states_; ++k)
      values(cache.states.data() + k * kTile, size) = part(cache.chunk_states, k * inner_ + at, chunk.index, size);
    for (Index t = chunk.begin; t < chunk.begin + chunk.size; ++t)
      for (Index k = 0; k < states_; ++k) {
        const Index i = (t - chunk.begin) * states_ + k;
        const Scalar* const before = cache.states.data() + i * kTile;
        auto decay = values(cache.decay.data() + i * kTile, size),
             after = values(cache.states.data() + (i + states_) * kTile, size);
        decay = (part(in.dt, at, t, size) * part(in.a, k * inner_ + at, 0, size)).exp();
        after = decay * values(before, size) + part(in.dt, at, t, size) * part(in.u, at, t, size) * in.b(k, t);
      }
  }

  /// One position backward; dmemory holds dh.
  void step_backward(const Inputs& in, const Tile& tile, const Cache& cache, MatIn<Scalar> dy, Scalar* dmemory,
                     Gradients& d) const {
    const auto [t, i, at, size] = tile;
    alignas(64) Scalar buffer[4 * kTile];
    auto written = values(buffer, size), dwritten = values(buffer + kTile, size),
         ddt = values(buffer + 2 * kTile, size), q = values(buffer + 3 * kTile, size);
    const auto dt = part(in.dt, at, t, size), u = part(in.u, at, t, size), out = part(dy, at, t, size);
    written = dt * u;
    dwritten.setZero();
    ddt.setZero();
    for (Index k = 0; k < states_; ++k) {
      const auto before = values(cache.states.data() + (i * states_ + k) * kTile, size),
                 after = values(cache.states.data() + ((i + 1) * states_ + k) * kTile, size),
                 decay = values(cache.decay.data() + (i * states_ + k) * kTile, size);
      auto dh = values(dmemory + k * inner_ + at, size);
      dh += out * in.c(k, t);
      d.c(k, t) += (out * after).sum();
      d.b(k, t) += (dh * written).sum();
      dwritten += dh * in.b(k, t);
      dh *= decay;
      q = dh * before;
      ddt += q * part(in.a, k * inner_ + at, 0, size);
      part(d.a, k * inner_ + at, 0, size) += q * dt;
    }
    part(d.skip, at, 0, size) += out * u;
    ddt += dwritten * u;
    dwritten = dwritten * dt + out * part(in.skip, at, 0, size);
    part(d.u, at, t, size) = dwritten;
    part(d.dt, at, t, size) = ddt;
  }

  Index inner_, states_;
};

}  // namespace qllk::mixers
