// What the recurrences of mixers read and write, by name, and how sequences are cut into chunks.
#pragma once

#include <algorithm>

#include "qllk/core/types.hpp"

namespace qllk::mixers {

/// The tensors of a recurrence S_t = f(S_{t-1}, k_t, v_t, …), y_t = S_tᵀ q_t; a column is a position. Those that a
/// recurrence does not have are left out, and are empty. `decay` holds a or log a: the recurrence says which.
///
/// Shapes   q, k, v: [dim, n]    decay, beta: [heads, n]
template <class Matrix>
struct RecurrenceTensors {
  /// A matrix that a recurrence does not have.
  using Empty = Eigen::Map<typename Matrix::PlainObject>;

  Matrix q, k, v;                       // [dim, n]
  Matrix decay = Empty(nullptr, 0, 0);  // [heads, n], or empty
  Matrix beta = Empty(nullptr, 0, 0);   // [heads, n], or empty
};

/// What a recurrence reads. Refers to matrices, and copies none: they must stay alive.
template <Real Scalar>
using RecurrenceInputs = RecurrenceTensors<Eigen::Ref<const Mat<Scalar>>>;
/// The gradients of the same, which backward overwrites. Each may be the matrix that it is the gradient of.
template <Real Scalar>
using RecurrenceGrads = RecurrenceTensors<MatOut<Scalar>>;

/// Positions begin … begin + size - 1 of one head.
struct HeadChunk {
  Index head, begin, size;  // its number, its first position, its positions
};

/// S before a chunk, and dS: backward takes dS after the chunk, and leaves dS before it. Both point to the states of
/// all heads of one sequence.
template <Real Scalar>
struct ChunkStates {
  const Scalar* before;  // S
  Scalar* gradient;      // dS
};

/// Columns begin … begin + size - 1, which belong to `sequence`. `index` counts the chunks of all sequences.
struct Chunk {
  Index sequence, index, begin, size;  // as above
};

/// Sequences of `length` positions, one behind the other, each cut into chunks of `most` positions; the last chunk of a
/// sequence may have fewer.
struct Chunks {
  Index sequences, length, most;  // as above

  /// How many chunks a sequence has.
  Index in_sequence() const { return (length + most - 1) / most; }
  /// How many chunks there are.
  Index count() const { return sequences * in_sequence(); }
  /// The chunk of that number in that sequence.
  Chunk at(Index sequence, Index number) const {
    const Index offset = number * most;
    return {sequence, sequence * in_sequence() + number, sequence * length + offset, std::min(most, length - offset)};
  }

  /// f(chunk) for each, the first of a sequence first.
  template <class F>
  void forward(F&& f) const {
    for (Index s = 0; s < sequences; ++s)
      for (Index i = 0; i < in_sequence(); ++i) f(at(s, i));
  }
  /// f(chunk) for each, the last of a sequence first.
  template <class F>
  void backward(F&& f) const {
    for (Index s = 0; s < sequences; ++s)
      for (Index i = in_sequence(); i-- > 0;) f(at(s, i));
  }
};

}  // namespace qllk::mixers
