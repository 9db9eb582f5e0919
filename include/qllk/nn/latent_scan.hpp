// The recurrence inside LatentKernel, forward and backward, by scan or by chunks of matrix products.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <tuple>

#include "qllk/core/gemm.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/types.hpp"

namespace qllk::nn {

/// What the recurrence remembers: for each sequence (a column) and head a [head_dim, head_dim] matrix S.
/// The same type holds the gradient of a state.
template <Real Scalar>
struct LatentState {
  Mat<Scalar> memory;  // [head_dim · dim, sequences]

  /// The tensors that have a gradient.
  static constexpr auto fields() { return std::tuple{Field{"memory", &LatentState::memory}}; }
  Index sequences() const { return memory.cols(); }
};

/// Linear-time associative memory, `dim / head_dim` heads of it:
///
///   S_t = a_t S_{t-1} + (1 - a_t) k_t v_tᵀ     (with `decay`; 0 < a_t < 1, one for each head)
///   S_t = S_{t-1} + k_t v_tᵀ                   (without; the cumulative sum)
///   y_t = S_tᵀ q_t
///
/// backward, from dy and the final dS:   dS_t = q_t dy_tᵀ + a_{t+1} dS_{t+1};   dq_t = S_t dy_t,
///   dk_t = w_t dS_t v_t,   dv_t = w_t dS_tᵀ k_t   (w_t the weight of k_t v_tᵀ),
///   da_t = <dS_t, S_{t-1} - k_t v_tᵀ>,   returned as the gradient a (1 - a) da of the logit of a, which stays finite
///
/// head_dim 1 is a scan over [dim] vectors. Larger heads go in chunks of C positions: inside a chunk the recurrence is a
/// masked C×C product, between chunks one S is kept, so that the cost is matrix products (Dao and Gu 2024, section 6;
/// Yang et al. 2024, section 3). Both are exact; they differ by rounding only.
///
/// Shapes   q, k, v, y: [dim, n]    decay: [heads, n] or empty    n = sequences × length
/// Cost     a position: head_dim 1: 3·dim multiply-adds; else dim·(2·head_dim + 2·C) forward, about 2.5 times that backward
template <Real Scalar>
class LatentScan {
 public:
  using State = LatentState<Scalar>;

  struct Cache {
    Mat<Scalar>
        kept;  // head_dim 1: S_t before every position; else S before every chunk [head_dim·dim, chunks × sequences]
    // scratch of one chunk, always sized for a whole one
    Vec<Scalar> log_decay;
    Mat<Scalar> weight, score, masked, dmasked, scaled, from_state, into_state;
  };

  /// Throws std::invalid_argument unless head_dim divides dim.
  LatentScan(Index dim, Index head_dim) : dim_(dim), head_dim_(head_dim) {
    if (dim <= 0 || head_dim <= 0 || dim % head_dim != 0)
      throw std::invalid_argument("LatentKernel: dim is " + std::to_string(dim) + " and head_dim " +
                                  std::to_string(head_dim) + ", expected head_dim to divide dim");
  }

  Index heads() const { return dim_ / head_dim_; }
  void reset(State& state, Index sequences) const { state.memory.setZero(head_dim_ * dim_, sequences); }

  /// Writes y, advances the state.
  void forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, State& state, Cache& cache,
               MatOut<Scalar> y) const {
    QLLK_ASSERT(state.memory.rows() == head_dim_ * dim_);
    const Index sequences = state.sequences(), length = sequences > 0 ? q.cols() / sequences : 0;
    QLLK_ASSERT(q.cols() == sequences * length);
    QLLK_ASSERT(decay.size() == 0 || (decay.rows() == heads() && decay.cols() == q.cols()));
    if (head_dim_ == 1) {
      cache.kept.resize(dim_, q.cols());
      for (Index s = 0; s < sequences; ++s)
        scan_forward(q, k, v, decay, s * length, length, state.memory.col(s), cache.kept, y);
    } else {
      const Index chunks = (length + kChunk - 1) / kChunk;
      cache.kept.resize(head_dim_ * dim_, chunks * sequences);
      for (Index s = 0; s < sequences; ++s)
        for (Index c = 0; c < chunks; ++c) {
          cache.kept.col(s * chunks + c) = state.memory.col(s);
          const Index begin = c * kChunk, size = std::min(kChunk, length - begin);
          for (Index h = 0; h < heads(); ++h)
            chunk_forward(q, k, v, decay, h, s * length + begin, size, state.memory.col(s), cache, y);
        }
    }
  }

  /// Overwrites dq, dk, dv and ddecay (the gradient of logit(a), where there is decay); turns dstate from that of the final state
  /// into that of the initial one.
  void backward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Cache& cache, MatIn<Scalar> dy,
                State& dstate, MatOut<Scalar> dq, MatOut<Scalar> dk, MatOut<Scalar> dv, MatOut<Scalar> ddecay) const {
    const Index sequences = dstate.sequences(), length = sequences > 0 ? q.cols() / sequences : 0;
    QLLK_ASSERT(dy.cols() == q.cols() && ddecay.size() == decay.size());
    if (head_dim_ == 1) {
      for (Index s = 0; s < sequences; ++s)
        scan_backward(q, k, v, decay, s * length, length, cache.kept, dy, dstate.memory.col(s), dq, dk, dv, ddecay);
    } else {
      const Index chunks = (length + kChunk - 1) / kChunk;
      for (Index s = 0; s < sequences; ++s)
        for (Index c = chunks; c-- > 0;) {
          const Index begin = c * kChunk, size = std::min(kChunk, length - begin);
          for (Index h = 0; h < heads(); ++h)
            chunk_backward(q, k, v, decay, h, s * length + begin, size, cache.kept.col(s * chunks + c),
                           dstate.memory.col(s), cache, dy, dq, dk, dv, ddecay);
        }
    }
  }

 private:
  static constexpr Index kChunk =
      32;  // the C×C and C×head_dim products then cost about the same for heads of 16 and 32

  using Column = Eigen::Ref<Vec<Scalar>>;
  using ConstColumn = const Eigen::Ref<const Vec<Scalar>>&;

  static void scan_forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index begin,
                           Index length, Column memory, Mat<Scalar>& kept, MatOut<Scalar> y) {
    for (Index t = begin; t < begin + length; ++t) {
      kept.col(t) = memory;
      const auto kv = k.col(t).array() * v.col(t).array();
      if (decay.size() == 0)
        memory.array() += kv;
      else
        memory.array() = kv + decay.col(t).array() * (memory.array() - kv);
      y.col(t).array() = q.col(t).array() * memory.array();
    }
  }

  static void scan_backward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index begin,
                            Index length, const Mat<Scalar>& kept, MatIn<Scalar> dy, Column dmemory, MatOut<Scalar> dq,
                            MatOut<Scalar> dk, MatOut<Scalar> dv, MatOut<Scalar> ddecay) {
    for (Index t = begin + length; t-- > begin;) {
      const auto ka = k.col(t).array(), va = v.col(t).array();
      const auto before = kept.col(t).array();
      if (decay.size() == 0) {
        dq.col(t).array() = dy.col(t).array() * (before + ka * va);
        dmemory.array() += dy.col(t).array() * q.col(t).array();
        dk.col(t).array() = dmemory.array() * va;
        dv.col(t).array() = dmemory.array() * ka;
      } else {
        const auto a = decay.col(t).array();
        dq.col(t).array() = dy.col(t).array() * (ka * va + a * (before - ka * va));
        dmemory.array() += dy.col(t).array() * q.col(t).array();
        ddecay.col(t).array() = dmemory.array() * (before - ka * va) * a * (Scalar(1) - a);
        dk.col(t).array() = dmemory.array() * (Scalar(1) - a) * va;
        dv.col(t).array() = dmemory.array() * (Scalar(1) - a) * ka;
        dmemory.array() *= a;
      }
    }
  }

  /// Fills cache.log_decay with λ_i = Σ_{s<=i} log a_s, and cache.weight with the upper-triangular
  /// M_ji = e^{λ_i-λ_j} w_j, the share of k_j v_jᵀ in S_i.
  void masks(MatIn<Scalar> decay, Index head, Index begin, Index size, Cache& cache) const {
    cache.weight.resize(kChunk, kChunk);
    cache.log_decay.resize(kChunk);
    if (decay.size() == 0) {
      cache.log_decay.setZero();
      cache.weight.setOnes();
      cache.weight.template triangularView<Eigen::StrictlyLower>().setZero();
      return;
    }
    Scalar sum = 0;
    for (Index i = 0; i < size; ++i) {
      const Scalar a = decay(head, begin + i);
      sum += std::log(a);  // -inf where a is 0: it is only ever exponentiated
      cache.log_decay[i] = sum;
      auto column = cache.weight.col(i);
      if (i > 0) column.head(i) = cache.weight.col(i - 1).head(i) * a;
      column[i] = Scalar(1) - a;
      column.tail(kChunk - i - 1).setZero();
    }
  }

  static auto square(Mat<Scalar>& scratch, Index size) {
    scratch.resize(kChunk, kChunk);
    return scratch.topLeftCorner(size, size);
  }
  auto wide(Mat<Scalar>& scratch, Index size) const {
    scratch.resize(head_dim_, kChunk);
    return scratch.leftCols(size);
  }

  using Block = Eigen::Map<Mat<Scalar>>;
  using ConstBlock = Eigen::Map<const Mat<Scalar>>;

  void chunk_forward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index head, Index begin,
                     Index size, Column memory, Cache& cache, MatOut<Scalar> y) const {
    const Index d = head_dim_, at = head * d;
    const auto Q = q.block(at, begin, d, size), K = k.block(at, begin, d, size), V = v.block(at, begin, d, size);
    auto Y = y.block(at, begin, d, size);
    Block S(memory.data() + at * d, d, d);
    masks(decay, head, begin, size, cache);
    const auto M = cache.weight.topLeftCorner(size, size);
    const auto lambda = cache.log_decay.head(size).array();
    auto score = square(cache.score, size);
    auto scaled = wide(cache.scaled, size);
    gemm(K.transpose(), Q, score);
    score.array() *= M.array();
    scaled = Q * lambda.exp().matrix().asDiagonal();
    gemm(S.transpose(), scaled, Y);
    gemm_add(V, score, Y);
    scaled = K * M.col(size - 1).asDiagonal();
    S *= std::exp(lambda[size - 1]);
    gemm_add(scaled, V.transpose(), S);
  }

  void chunk_backward(MatIn<Scalar> q, MatIn<Scalar> k, MatIn<Scalar> v, MatIn<Scalar> decay, Index head, Index begin,
                      Index size, ConstColumn before, Column dmemory, Cache& cache, MatIn<Scalar> dy, MatOut<Scalar> dq,
                      MatOut<Scalar> dk, MatOut<Scalar> dv, MatOut<Scalar> ddecay) const {
    const Index d = head_dim_, at = head * d;
    const auto Q = q.block(at, begin, d, size), K = k.block(at, begin, d, size), V = v.block(at, begin, d, size);
    const auto dY = dy.block(at, begin, d, size);
    auto dQ = dq.block(at, begin, d, size), dK = dk.block(at, begin, d, size), dV = dv.block(at, begin, d, size);
    const ConstBlock S(before.data() + at * d, d, d);
    Block dS(dmemory.data() + at * d, d, d);
    masks(decay, head, begin, size, cache);
    const auto M = cache.weight.topLeftCorner(size, size);
    const auto lambda = cache.log_decay.head(size).array();

    // inside the chunk: Y = V (KᵀQ ∘ M)
    auto score = square(cache.score, size), masked = square(cache.masked, size), dmasked = square(cache.dmasked, size);
    gemm(K.transpose(), Q, score);
    gemm(V.transpose(), dY, dmasked);
    masked = score.cwiseProduct(M);
    dmasked.array() *= M.array();
    gemm(dY, masked.transpose(), dV);
    gemm(K, dmasked, dQ);
    gemm(Q, dmasked.transpose(), dK);

    // from the state before: Y += Sᵀ Q e^λ
    auto from_state = wide(cache.from_state, size);
    gemm(S, dY, from_state);
    from_state *= lambda.exp().matrix().asDiagonal();
    dQ += from_state;

    // into the state after: S' = e^λ_C S + K w Vᵀ
    const auto last = M.col(size - 1);
    auto into_state = wide(cache.into_state, size), scaled = wide(cache.scaled, size);
    gemm(dS, V, into_state);
    into_state *= last.asDiagonal();
    dK += into_state;
    gemm(dS.transpose(), K, scaled);
    scaled *= last.asDiagonal();
    dV += scaled;

    if (decay.size() != 0) {
      score.array() *= dmasked.array();  // d(log M_ji)
      Scalar later = std::exp(lambda[size - 1]) * S.cwiseProduct(dS).sum() + into_state.cwiseProduct(K).sum();
      for (Index s = size; s-- > 0;) {  // later = Σ_{i>=s} dλ_i = d(log a_s)
        const Scalar dlog_w = score.row(s).sum() + into_state.col(s).dot(K.col(s));
        later += score.col(s).sum() + from_state.col(s).dot(Q.col(s)) - dlog_w;
        const Scalar a = decay(head, begin + s);
        ddecay(head, begin + s) = later * (Scalar(1) - a) - dlog_w * a;
      }
    }

    scaled = Q * lambda.exp().matrix().asDiagonal();
    dS *= std::exp(lambda[size - 1]);
    gemm_add(scaled, dY.transpose(), dS);
  }

  Index dim_, head_dim_;
};

}  // namespace qllk::nn
