// The recurrence inside Mamba.
#pragma once

#include <algorithm>

#include "qllk/core/types.hpp"
#include "qllk/linalg/views.hpp"

namespace qllk::mixers {

using linalg::column, linalg::part, linalg::values;

/// A state-space model of every channel on its own, with `states` decays each; B and C are those of all channels:
///
///   h_t = exp(dt_t A) ⊙ h_{t-1} + dt_t u_t B_tᵀ                          h, A: [inner, states]
///   y_t = h_t C_t + D ⊙ u_t
///
/// backward, from dy and the final dh:
///
///   dh_t  = dy_t C_tᵀ + exp(dt_{t+1} A) ⊙ dh_{t+1}          q = dh_t ⊙ exp(dt_t A) ⊙ h_{t-1}
///   d(dt u)_t = dh_t B_t       ddt_t = q A 1 + d(dt u) ⊙ u       dA += dt ⊙ q
///   dB_t  = dh_tᵀ (dt ⊙ u)_t   dC_t  = h_tᵀ dy_t
///
/// Of the states h, backward finds one for every kSize positions, and computes those between again, some channels at a
/// time.
///
/// Shapes   u, dt, y: [inner, n]    B, C: [states, n]    A: [inner · states], those of a state side by side; n =
///          sequences × length
/// Cost     a position: inner·states of exp and 3·inner·states multiply-adds forward, about 3 times that backward
/// Source   Gu and Dao 2023, algorithm 2 and section 3.3.2
template <Real Scalar>
class SelectiveScan {
 public:
  struct Cache {
    Mat<Scalar> kept;           // h before every kSize positions [inner · states, pieces × sequences]
    Vec<Scalar> states, decay;  // of one piece and kTile channels
  };

  /// Of so many channels, with so many states each.
  SelectiveScan(Index inner, Index states) : inner_(inner), states_(states) {}

  /// Numbers that a sequence keeps.
  Index state_size() const { return inner_ * states_; }

  /// Writes y, advances the h of every sequence.
  void forward(MatIn<Scalar> u, MatIn<Scalar> dt, MatIn<Scalar> b, MatIn<Scalar> c, const Vec<Scalar>& a,
               const Vec<Scalar>& skip, Mat<Scalar>& memory, Cache& cache, MatOut<Scalar> y) const {
    const Index sequences = memory.cols(), length = sequences > 0 ? u.cols() / sequences : 0;
    const Index pieces = (length + kSize - 1) / kSize;
    cache.kept.resize(state_size(), pieces * sequences);
    alignas(64) Scalar buffer[2 * kTile];
    for (Index s = 0; s < sequences; ++s)
      for (Index i = 0; i < pieces; ++i) {
        column(cache.kept, s * pieces + i) = column(memory, s);
        const Index begin = s * length + i * kSize, end = std::min(begin + kSize, (s + 1) * length);
        for (Index at = 0; at < inner_; at += kTile)
          for (Index t = begin; t < end; ++t) {
            const Index size = std::min(kTile, inner_ - at);
            const auto step = part(dt, at, t, size), in = part(u, at, t, size);
            auto du = values(buffer, size), sum = values(buffer + kTile, size);
            du = step * in;
            sum = part(skip, at, 0, size) * in;
            for (Index k = 0; k < states_; ++k) {
              auto h = part(memory, k * inner_ + at, s, size);
              h = (step * part(a, k * inner_ + at, 0, size)).exp() * h + du * b(k, t);
              sum += h * c(k, t);
            }
            part(y, at, t, size) = sum;
          }
      }
  }

  /// Adds to da and dskip, overwrites du, ddt (which may be u and dt), db and dc; turns dmemory from the gradient of
  /// the final h into that of the initial one.
  void backward(MatIn<Scalar> u, MatIn<Scalar> dt, MatIn<Scalar> b, MatIn<Scalar> c, const Vec<Scalar>& a,
                const Vec<Scalar>& skip, Cache& cache, MatIn<Scalar> dy, Mat<Scalar>& dmemory, MatOut<Scalar> du,
                MatOut<Scalar> ddt, MatOut<Scalar> db, MatOut<Scalar> dc, Vec<Scalar>& da, Vec<Scalar>& dskip) const {
    const Index sequences = dmemory.cols(), length = sequences > 0 ? u.cols() / sequences : 0;
    const Index pieces = (length + kSize - 1) / kSize;
    cache.states.resize((kSize + 1) * states_ * kTile);
    cache.decay.resize(kSize * states_ * kTile);
    for (Index t = 0; t < u.cols(); ++t) column(db, t).setZero(), column(dc, t).setZero();
    for (Index s = 0; s < sequences; ++s)
      for (Index i = pieces; i-- > 0;) {
        const Index begin = s * length + i * kSize, end = std::min(begin + kSize, (s + 1) * length);
        for (Index at = 0; at < inner_; at += kTile) {
          const Index size = std::min(kTile, inner_ - at);
          again(u, dt, b, a, cache, s * pieces + i, begin, end, at, size);
          for (Index t = end; t-- > begin;)
            back(u, dt, b, c, a, skip, cache, dy, t - begin, t, at, size, dmemory.col(s).data(), du, ddt, db, dc, da,
                 dskip);
        }
      }
  }

 private:
  static constexpr Index kSize = 16, kTile = 64;  // what one piece needs then stays in a second-level cache

  /// The states of a piece, and their decays.
  void again(MatIn<Scalar> u, MatIn<Scalar> dt, MatIn<Scalar> b, const Vec<Scalar>& a, Cache& cache, Index piece,
             Index begin, Index end, Index at, Index size) const {
    for (Index k = 0; k < states_; ++k)
      values(cache.states.data() + k * kTile, size) = part(cache.kept, k * inner_ + at, piece, size);
    for (Index t = begin; t < end; ++t)
      for (Index k = 0; k < states_; ++k) {
        const Scalar* const before = cache.states.data() + ((t - begin) * states_ + k) * kTile;
        auto decay = values(cache.decay.data() + ((t - begin) * states_ + k) * kTile, size),
             after = values(cache.states.data() + ((t - begin + 1) * states_ + k) * kTile, size);
        decay = (part(dt, at, t, size) * part(a, k * inner_ + at, 0, size)).exp();
        after = decay * values(before, size) + part(dt, at, t, size) * part(u, at, t, size) * b(k, t);
      }
  }

  void back(MatIn<Scalar> u, MatIn<Scalar> dt, MatIn<Scalar> b, MatIn<Scalar> c, const Vec<Scalar>& a,
            const Vec<Scalar>& skip, const Cache& cache, MatIn<Scalar> dy, Index position, Index t, Index at,
            Index size, Scalar* dmemory, MatOut<Scalar> du, MatOut<Scalar> ddt, MatOut<Scalar> db, MatOut<Scalar> dc,
            Vec<Scalar>& da, Vec<Scalar>& dskip) const {
    alignas(64) Scalar buffer[4 * kTile];
    auto written = values(buffer, size), dwritten = values(buffer + kTile, size),
         dstep = values(buffer + 2 * kTile, size), q = values(buffer + 3 * kTile, size);
    const auto step = part(dt, at, t, size), in = part(u, at, t, size), out = part(dy, at, t, size);
    written = step * in;
    dwritten.setZero();
    dstep.setZero();
    for (Index k = 0; k < states_; ++k) {
      const auto before = values(cache.states.data() + (position * states_ + k) * kTile, size),
                 after = values(cache.states.data() + ((position + 1) * states_ + k) * kTile, size),
                 decay = values(cache.decay.data() + (position * states_ + k) * kTile, size);
      auto dh = values(dmemory + k * inner_ + at, size);
      dh += out * c(k, t);
      dc(k, t) += (out * after).sum();
      db(k, t) += (dh * written).sum();
      dwritten += dh * b(k, t);
      dh *= decay;
      q = dh * before;
      dstep += q * part(a, k * inner_ + at, 0, size);
      part(da, k * inner_ + at, 0, size) += q * step;
    }
    part(dskip, at, 0, size) += out * in;
    dstep += dwritten * in;
    dwritten = dwritten * step + out * part(skip, at, 0, size);
    part(du, at, t, size) = dwritten;
    part(ddt, at, t, size) = dstep;
  }

  Index inner_, states_;
};

}  // namespace qllk::mixers
